#include "runtime/model/inspect.hpp"
#include "tests/unit/runtime/model/checkpoint_fixture.hpp"
#include "tools/synthetic_checkpoint.hpp"

#include <gtest/gtest.h>

#include <numeric>

namespace atl::model {
namespace {

parameter_counts published(const std::string& shape) {
  const std::string text = tools::synthetic_config({.shape = shape}).value();
  return count_parameters(parse_config(text, shape).value());
}

TEST(inspect, counts_the_parameters_of_published_models) {
  EXPECT_EQ(published("v2-lite").total, 15'706'484'224);
  EXPECT_EQ(published("v2").total, 235'741'434'880);
  EXPECT_EQ(published("v3").total, 671'026'419'200);
  EXPECT_EQ(published("v3").active, 37'552'297'472);
}

TEST(inspect, counts_bytes_of_cached_tokens) {
  // 576 values a layer: 70,272 bytes at two bytes a value over 61 layers, twice that in float32.
  const auto bytes_of = [](const std::string& shape) {
    return kv_bytes_per_token(
        parse_config(tools::synthetic_config({.shape = shape}).value(), shape).value());
  };
  EXPECT_EQ(bytes_of("v3"), 2 * 70'272);
  EXPECT_EQ(bytes_of("v2-lite"), 2 * 31'104);
}

TEST(inspect, accounts_for_every_byte) {
  const auto disk = system_disk();
  for (const std::string name : {"v2-lite", "v2", "v3-fp8", "v3-norope-scaling", "tiny"}) {
    const auto report = inspect(*disk, golden_directory(name));
    ASSERT_TRUE(report.has_value()) << report.error().message();
    EXPECT_TRUE(report->is_supported()) << report->unsupported;
    const auto& parts = report->bytes_by_part;
    EXPECT_EQ(std::accumulate(parts.begin(), parts.end(), std::size_t{0}), report->bytes);
    EXPECT_EQ(report->bytes_other, 0U);
    const editable_checkpoint all{name};
    std::map<std::string, std::size_t> types;
    for (const auto& [tensor, t] : all.tensors) types[t.dtype] += t.data.size();
    EXPECT_EQ(report->bytes_by_type, types);
    EXPECT_EQ(report->tensors, all.tensors.size());
  }
}

TEST(inspect, tells_parts_apart) {
  const inspection r = inspect(*system_disk(), golden_directory("v3-fp8")).value();
  const auto part = [&](model_part p) { return r.bytes_by_part[static_cast<std::size_t>(p)]; };
  EXPECT_EQ(r.shards, 2U);
  EXPECT_EQ(part(model_part::embeddings), 352U * 160 * 2);
  EXPECT_EQ(part(model_part::head), 352U * 160 * 2);
  EXPECT_EQ(part(model_part::router), 2U * (8 * 160 * 2 + 8 * 4));
  // Two MoE layers of eight experts: three 136 x 160 matrices with 2 x 2 float32 scales.
  EXPECT_EQ(part(model_part::routed_experts), 2U * 8 * 3 * (136 * 160 + 16));
  EXPECT_EQ(part(model_part::dense_ffn), 3U * (200 * 160 + 16));
  EXPECT_GT(part(model_part::mtp), 0U);
}

TEST(inspect, names_what_is_not_supported) {
  editable_checkpoint c{"v3"};
  c.replace("\"deepseek_v3\"", "\"deepseek_v32\"");
  memory_disk other = c.on_disk();
  const inspection config = inspect(other, "/m").value();
  EXPECT_FALSE(config.is_supported());
  EXPECT_NE(config.unsupported.find("model_type is \"deepseek_v32\""), std::string::npos);
  EXPECT_NE(to_json(config).find("\"supported\":false"), std::string::npos);

  editable_checkpoint more{"v3"};
  more.tensors["model.layers.0.self_attn.indexer.wk.weight"] = {"U8", {1}, bytes(1)};
  memory_disk disk = more.on_disk();
  const inspection tensors = inspect(disk, "/m").value();
  EXPECT_NE(tensors.unsupported.find("indexer.wk"), std::string::npos);
  EXPECT_EQ(tensors.bytes_other, 1U);

  disk.files["/m/config.json"] = to_bytes("{");
  EXPECT_TRUE(inspect(disk, "/m").has_error());
}

TEST(inspect, reports_in_both_forms) {
  const inspection r = inspect(*system_disk(), golden_directory("tiny")).value();
  const std::string json = to_json(r);
  for (const std::string part : {"\"supported\":true",
                                 "\"model_type\":\"deepseek_v3\"",
                                 "\"kv_bytes_per_token\":1600",
                                 "\"F8_E4M3\":",
                                 "\"mtp\":"})
    EXPECT_NE(json.find(part), std::string::npos) << json;
  const std::string text = to_text(r);
  for (const std::string part : {"supported: yes", "active for a token", "routed_experts", "BF16"})
    EXPECT_NE(text.find(part), std::string::npos) << text;
}

}  // namespace
}  // namespace atl::model
