#include "runtime/model/weights.hpp"
#include "tests/unit/runtime/model/checkpoint_fixture.hpp"
#include "tools/synthetic_checkpoint.hpp"

#include <gtest/gtest.h>

#include <cmath>

namespace atl::tools {
namespace {

using model::memory_disk;

/// A memory_disk that can be written.
class writable_disk final : public disk {
public:
  memory_disk inner;

  class writer final : public file_writer {
  public:
    writer(memory_disk& target, std::string path) : target_{target}, path_{std::move(path)} {}
    result<void> write(std::span<const std::byte> data) override {
      content_.insert(content_.end(), data.begin(), data.end());
      return {};
    }
    result<void> commit() override {
      target_.files[path_] = std::move(content_);
      return {};
    }

  private:
    memory_disk& target_;
    std::string path_;
    std::vector<std::byte> content_;
  };

  result<std::unique_ptr<file_writer>> create(const std::string& path) override {
    return std::unique_ptr<file_writer>{std::make_unique<writer>(inner, path)};
  }
  result<std::shared_ptr<const mapped_file>> map(const std::string& path) override {
    return inner.map(path);
  }
  result<std::string> read(const std::string& path, std::size_t bytes_max) override {
    return inner.read(path, bytes_max);
  }
  result<std::unique_ptr<file_appender>> append(const std::string& path) override {
    return inner.append(path);
  }
  bool is_file(const std::string& path) override { return inner.is_file(path); }
  bool is_directory(const std::string& path) override { return inner.is_directory(path); }
  result<std::vector<std::string>> list(const std::string& path) override {
    return inner.list(path);
  }
};

std::string golden_config(const std::string& name) {
  return system_disk()->read(model::golden_directory(name) + "/config.json", 1 << 20).value();
}

TEST(synthetic_checkpoint, loads_in_every_type_whole_and_sharded) {
  for (const std::string name : {"v2-lite", "v2", "v3", "v3-norope-scaling"})
    for (const auto type : {tensor::dtype::bf16, tensor::dtype::f32, tensor::dtype::f8_e4m3})
      for (const std::size_t shard_bytes : {std::size_t{200'000}, std::size_t{1} << 30}) {
        writable_disk disk;
        const std::string config = golden_config(name);
        const weight_options options{.type = type, .seed = 3, .shard_bytes_max = shard_bytes};
        ASSERT_TRUE(write_synthetic(disk, "/m", config, options, {}).has_value());
        EXPECT_EQ(disk.is_file("/m/model.safetensors"), shard_bytes > 200'000);
        const auto loaded = model::load_weights(disk, "/m", {});
        ASSERT_TRUE(loaded.has_value()) << name << ": " << loaded.error().message();
        EXPECT_EQ((*loaded)->bytes, synthetic_bytes(config, type).value());
        EXPECT_EQ((*loaded)->layers[1].experts[0].up.type, type);
        EXPECT_NE((*loaded)->embeddings.type, tensor::dtype::f8_e4m3);
      }
}

TEST(synthetic_checkpoint, the_same_arguments_give_the_same_bytes) {
  const auto files = [](std::uint64_t seed) {
    writable_disk disk;
    const weight_options options{.seed = seed};
    EXPECT_TRUE(write_synthetic(disk, "/m", golden_config("v3"), options, {}).has_value());
    return disk.inner.files;
  };
  const auto first = files(1);
  EXPECT_EQ(first, files(1));
  EXPECT_NE(first, files(2));
}

TEST(synthetic_checkpoint, values_have_the_spread_that_keeps_activations_near_one) {
  for (const auto type : {tensor::dtype::f32, tensor::dtype::f8_e4m3}) {
    writable_disk disk;
    ASSERT_TRUE(
        write_synthetic(disk, "/m", golden_config("v3-fp8"), {.type = type}, {}).has_value());
    const auto loaded = model::load_weights(disk, "/m", {}).value();
    const auto& gate = loaded->layers[0].dense.gate;  // (200, 160)
    double squares = 0;
    for (std::int64_t row = 0; row < gate.rows; ++row)
      for (std::int64_t col = 0; col < gate.cols; ++col) {
        const auto* at = gate.data + static_cast<std::size_t>(row) * gate.row_bytes();
        float value = 0;
        if (type == tensor::dtype::f32)
          std::memcpy(&value, at + col * 4, 4);
        else
          value =
              tensor::f8_e4m3_to_f32(std::to_integer<std::uint8_t>(at[col])) * gate.scale(row, col);
        squares += static_cast<double>(value) * static_cast<double>(value);
      }
    EXPECT_NEAR(squares / static_cast<double>(gate.rows), 1.0, 0.1);
  }
}

TEST(synthetic_checkpoint, a_step_that_fails_ends_it) {
  writable_disk disk;
  std::size_t calls = 0;
  const auto step = [&](std::size_t) -> result<void> {
    if (++calls == 3) return error{errc::cancelled, "stop"};
    return {};
  };
  const auto written = write_synthetic(disk, "/m", golden_config("v3"), {}, step);
  ASSERT_TRUE(written.has_error());
  EXPECT_EQ(written.error().code(), errc::cancelled);
  EXPECT_EQ(calls, 3U);
  EXPECT_TRUE(disk.inner.files.empty());
}

TEST(synthetic_checkpoint, shapes_shrink_to_what_is_asked) {
  for (const std::string shape : {"v2-lite", "v2", "v3"})
    for (const std::int64_t layers : {1, 2, 5})
      for (const std::int64_t experts : {2, 3, 6, 7, 16, 63}) {
        const auto text = synthetic_config({.shape = shape, .layers = layers, .experts = experts});
        ASSERT_TRUE(text.has_value()) << text.error().message();
        const auto config = model::parse_config(*text, shape).value();
        EXPECT_EQ(config.layers, layers);
        EXPECT_EQ(config.routed_experts, experts);
        EXPECT_EQ(config.moe_layers() > 0, layers > 1);
      }
}

TEST(synthetic_checkpoint, refuses_what_it_cannot_make) {
  EXPECT_TRUE(synthetic_config({.shape = "v4"}).has_error());
  EXPECT_TRUE(synthetic_config({.shape = "v3", .layers = 0}).has_error());
  EXPECT_TRUE(synthetic_config({.shape = "v3", .layers = -1}).has_error());
  EXPECT_TRUE(synthetic_config({.shape = "v3", .experts = 1}).has_error());
  EXPECT_TRUE(synthetic_config({.shape = "v3", .experts = 1'000'000}).has_error());
  EXPECT_TRUE(synthetic_config({.shape = "v3", .type = tensor::dtype::f16}).has_error());
}

}  // namespace
}  // namespace atl::tools
