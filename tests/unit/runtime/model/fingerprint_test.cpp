#include "runtime/model/fingerprint.hpp"
#include "tests/unit/runtime/model/checkpoint_fixture.hpp"

#include <gtest/gtest.h>

#include <set>

namespace atl::model {
namespace {

std::string of(memory_disk disk) {
  const auto opened = checkpoint::open(disk, "/m");
  EXPECT_TRUE(opened.has_value());
  return opened.has_value() ? fingerprint(*opened) : "";
}

std::string of(const editable_checkpoint& c) { return of(c.on_disk()); }

TEST(fingerprint, is_32_digits_and_the_same_each_time) {
  const editable_checkpoint c{"v3-fp8"};
  const std::string print = of(c);
  EXPECT_EQ(print, of(c));
  ASSERT_EQ(print.size(), 32U);
  EXPECT_EQ(print.find_first_not_of("0123456789abcdef"), std::string::npos);
}

TEST(fingerprint, does_not_depend_on_how_tensors_are_spread_over_files) {
  const editable_checkpoint c{"v3"};
  EXPECT_EQ(of(c.on_disk(3)), of(c));  // moved within the file
  memory_disk spread;
  spread.files["/m/config.json"] = to_bytes(c.config);
  tensor_map halves[2];
  std::string index = R"({"weight_map":{)";
  std::size_t i = 0;
  for (const auto& [name, tensor] : c.tensors) {
    const std::size_t half = i++ % 2;
    halves[half][name] = tensor;
    if (i > 1) index += ",";
    index += "\"" + name + "\":\"part-" + std::to_string(half) + ".safetensors\"";
  }
  spread.files["/m/part-0.safetensors"] = to_safetensors(halves[0]);
  spread.files["/m/part-1.safetensors"] = to_safetensors(halves[1]);
  spread.files["/m/model.safetensors.index.json"] = to_bytes(index + "}}");
  EXPECT_EQ(of(spread), of(c));
  // A published checkpoint of two files against the same tensors in one.
  const auto disk = system_disk();
  const auto stored = checkpoint::open(*disk, golden_directory("v3-fp8"));
  ASSERT_TRUE(stored.has_value());
  ASSERT_EQ(stored->shards().size(), 2U);
  memory_disk joined = editable_checkpoint{"v3-fp8"}.on_disk();
  const std::string generation = "/generation_config.json";
  joined.files["/m" + generation] =
      to_bytes(disk->read(golden_directory("v3-fp8") + generation, 1 << 20).value());
  EXPECT_EQ(fingerprint(*stored), of(joined));
}

TEST(fingerprint, tells_models_apart_by_values_types_names_and_configuration) {
  std::set<std::string> all;
  for (const std::string name : {"v2-lite", "v2", "v3", "v3-fp8", "v3-norope-scaling", "tiny"}) {
    const auto disk = system_disk();
    const auto opened = checkpoint::open(*disk, golden_directory(name));
    ASSERT_TRUE(opened.has_value());
    EXPECT_TRUE(all.insert(fingerprint(*opened)).second) << name;
  }
  const editable_checkpoint original{"v3"};
  all.insert(of(original));
  const auto expect_new = [&](const editable_checkpoint& c) {
    EXPECT_TRUE(all.insert(of(c)).second);
  };
  for (const char* name : {"model.embed_tokens.weight",
                           "model.layers.2.mlp.experts.7.up_proj.weight",
                           "model.norm.weight"}) {
    editable_checkpoint first = original;
    first.tensors.at(name).data.front() ^= std::byte{1};
    expect_new(first);
    editable_checkpoint last = original;
    last.tensors.at(name).data.back() ^= std::byte{1};
    expect_new(last);
  }
  // A bit in the middle of what no expert's check row shows.
  editable_checkpoint damaged = original;
  auto& bytes = damaged.tensors.at("model.layers.1.self_attn.o_proj.weight").data;
  bytes[bytes.size() / 2] ^= std::byte{0x80};
  expect_new(damaged);
  editable_checkpoint base = original;
  base.replace("\"rope_theta\": 10000", "\"rope_theta\": 20000");
  expect_new(base);
}

}  // namespace
}  // namespace atl::model
