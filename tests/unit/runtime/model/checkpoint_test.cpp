#include "runtime/model/checkpoint.hpp"
#include "tests/unit/runtime/model/checkpoint_fixture.hpp"

#include <gtest/gtest.h>

namespace atl::model {
namespace {

environment variables(std::map<std::string, std::string, std::less<>> values) {
  return [values = std::move(values)](std::string_view name) -> std::optional<std::string> {
    const auto at = values.find(name);
    return at == values.end() ? std::nullopt : std::optional{at->second};
  };
}

template <class T>
void expect_refused(const result<T>& r, errc code, const std::string& part) {
  ASSERT_TRUE(r.has_error()) << part;
  EXPECT_EQ(r.error().code(), code) << r.error().message();
  EXPECT_NE(r.error().message().find(part), std::string::npos) << r.error().message();
}

TEST(resolve_model, a_directory_stands_for_itself) {
  memory_disk disk;
  disk.files["org/name/config.json"] = to_bytes("{}");
  EXPECT_EQ(resolve_model(disk, "org/name", variables({})).value(), "org/name");
  expect_refused(resolve_model(disk, "org/name/config.json", variables({})),
                 errc::invalid_argument,
                 "is a file");
  expect_refused(resolve_model(disk, "", variables({})), errc::invalid_argument, "empty");
}

TEST(resolve_model, looks_into_the_cache_the_environment_names) {
  const std::string model = "/models--org--name/";
  memory_disk disk;
  for (const std::string cache :
       {"/a", "/b/hub", "/c/huggingface/hub", "/d/.cache/huggingface/hub"}) {
    disk.files[cache + model + "refs/main"] = to_bytes("abc123\n");
    disk.files[cache + model + "snapshots/abc123/config.json"] = to_bytes("{}");
    disk.files[cache + model + "snapshots/other/config.json"] = to_bytes("{}");
  }
  const std::string tail = model + "snapshots/abc123";
  const auto resolved = [&](const environment& env) {
    return resolve_model(disk, "org/name", env).value();
  };
  EXPECT_EQ(resolved(variables({{"HF_HUB_CACHE", "/a"}, {"HF_HOME", "/b"}})), "/a" + tail);
  EXPECT_EQ(resolved(variables({{"HF_HOME", "/b"}, {"HOME", "/d"}})), "/b/hub" + tail);
  EXPECT_EQ(resolved(variables({{"XDG_CACHE_HOME", "/c"}, {"HOME", "/d"}})),
            "/c/huggingface/hub" + tail);
  EXPECT_EQ(resolved(variables({{"HOME", "/d"}, {"HF_HOME", ""}})),
            "/d/.cache/huggingface/hub" + tail);
}

TEST(resolve_model, says_where_it_looked) {
  memory_disk disk;
  const environment env = variables({{"HF_HUB_CACHE", "/a"}});
  expect_refused(resolve_model(disk, "org/name", env), errc::not_found, "/a/models--org--name");
  for (const std::string name : {"name", "org/name/more", "../x", "org/../x", "/no/such"})
    expect_refused(resolve_model(disk, name, env), errc::not_found, "no such directory");
}

TEST(resolve_model, refuses_broken_caches) {
  const environment env = variables({{"HF_HUB_CACHE", "/a"}});
  memory_disk disk;
  disk.files["/a/models--o--n/refs/main"] = to_bytes("../../etc");
  expect_refused(resolve_model(disk, "o/n", env), errc::invalid_model, "refs/main");
  disk.files["/a/models--o--n/refs/main"] = to_bytes("gone");
  expect_refused(resolve_model(disk, "o/n", env), errc::invalid_model, "snapshots/gone");
  disk.files.erase("/a/models--o--n/refs/main");
  disk.files["/a/models--o--n/snapshots/s1/config.json"] = to_bytes("{}");
  EXPECT_EQ(resolve_model(disk, "o/n", env).value(), "/a/models--o--n/snapshots/s1");
  disk.files["/a/models--o--n/snapshots/s2/config.json"] = to_bytes("{}");
  expect_refused(resolve_model(disk, "o/n", env), errc::invalid_argument, "2 snapshots");
}

/// The v2 golden case: three shards and an index.
memory_disk sharded() {
  memory_disk disk;
  const auto real = system_disk();
  const std::string directory = golden_directory("v2");
  for (const std::string& name : real->list(directory).value()) {
    const auto mapped = real->map(directory + "/" + name).value();
    disk.files["/m/" + name] = bytes(mapped->bytes().begin(), mapped->bytes().end());
  }
  return disk;
}

const std::string index_path = "/m/model.safetensors.index.json";
const std::string second = "model-00002-of-000003.safetensors";

void replace_in_index(memory_disk& disk, const std::string& from, const std::string& to) {
  bytes& content = disk.files[index_path];
  std::string text{reinterpret_cast<const char*>(content.data()), content.size()};
  const std::size_t at = text.find(from);
  ASSERT_NE(at, std::string::npos) << from;
  text.replace(at, from.size(), to);
  content = to_bytes(text);
}

TEST(checkpoint, opens_shards_and_nothing_else) {
  memory_disk disk = sharded();
  const auto opened = checkpoint::open(disk, "/m");
  ASSERT_TRUE(opened.has_value()) << opened.error().message();
  EXPECT_EQ(opened->shards().size(), 3U);  // golden.safetensors lies there too
  EXPECT_TRUE(opened->find("lm_head.weight"));
  EXPECT_FALSE(opened->find("prompt.0.logits"));
  EXPECT_EQ(opened->config().eos, std::vector<token_id>{391});
}

TEST(checkpoint, generation_config_is_heard) {
  memory_disk disk = sharded();
  disk.files["/m/generation_config.json"] = to_bytes(R"({"eos_token_id": [3, 4]})");
  EXPECT_EQ(checkpoint::open(disk, "/m")->config().eos, (std::vector<token_id>{3, 4}));
  disk.files["/m/generation_config.json"] = to_bytes(R"({"eos_token_id": 1000})");
  expect_refused(checkpoint::open(disk, "/m"), errc::invalid_model, "generation_config.json");
}

TEST(checkpoint, missing_files_are_named) {
  memory_disk disk = sharded();
  expect_refused(checkpoint::open(disk, "/none"), errc::not_found, "/none");
  disk.files.erase("/m/" + second);
  expect_refused(checkpoint::open(disk, "/m"), errc::invalid_model, "/m/" + second);
  disk.files.erase(index_path);
  expect_refused(checkpoint::open(disk, "/m"), errc::invalid_model, "neither model.safetensors");
  disk.files.erase("/m/config.json");
  expect_refused(checkpoint::open(disk, "/m"), errc::invalid_model, "config.json: is missing");
}

TEST(checkpoint, a_truncated_shard_is_named) {
  memory_disk disk = sharded();
  disk.files["/m/" + second].resize(disk.files["/m/" + second].size() - 2);
  expect_refused(checkpoint::open(disk, "/m"), errc::invalid_model, second);
}

TEST(checkpoint, file_names_stay_in_the_directory) {
  for (const std::string& name : {"../m/" + second,
                                  std::string{"/etc/passwd"},
                                  std::string{".."},
                                  std::string{""},
                                  std::string{"a\\\\b"}}) {
    memory_disk disk = sharded();
    replace_in_index(disk, second, name);
    expect_refused(checkpoint::open(disk, "/m"), errc::invalid_model, "bare name");
  }
}

TEST(checkpoint, the_index_must_tell_the_truth) {
  memory_disk moved = sharded();
  replace_in_index(moved,
                   "\"lm_head.weight\": \"model-00003-of-000003.safetensors\"",
                   "\"lm_head.weight\": \"model-00001-of-000003.safetensors\"");
  expect_refused(checkpoint::open(moved, "/m"), errc::invalid_model, "tensor lm_head.weight");
  memory_disk invented = sharded();
  replace_in_index(invented, "\"lm_head.weight\"", "\"lm_head.bias\"");
  expect_refused(checkpoint::open(invented, "/m"), errc::invalid_model, "tensor lm_head.bias");
  memory_disk none = sharded();
  replace_in_index(none, "weight_map", "weights");
  expect_refused(checkpoint::open(none, "/m"), errc::invalid_model, "weight_map is missing");
}

TEST(checkpoint, a_tensor_in_two_shards_is_refused) {
  memory_disk disk = sharded();
  tensor_map extra;
  extra["lm_head.weight"] = {"BF16", {1}, bytes(2)};
  disk.files["/m/extra.safetensors"] = to_safetensors(extra);
  replace_in_index(disk, "\"weight_map\": {", "\"weight_map\": {\"x\": \"extra.safetensors\",");
  expect_refused(checkpoint::open(disk, "/m"), errc::invalid_model, "is also in");
}

}  // namespace
}  // namespace atl::model
