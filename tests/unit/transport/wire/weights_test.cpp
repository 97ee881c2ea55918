#include "tests/unit/transport/wire/refusals.hpp"
#include "tests/unit/transport/wire/samples.hpp"

#include <gtest/gtest.h>

namespace atl::transport::wire {
namespace {

TEST(weights, rules_of_asking) {
  fetch good{1, layer_index{layers_max - 1}, experts_max - 1, expert_bytes_max - 1, 1};
  expect_each_refused<fetch>(good,
                             {{"layer", [](fetch& m) { m.layer = layer_index{layers_max}; }},
                              {"expert", [](fetch& m) { m.expert = experts_max; }},
                              {"offset", [](fetch& m) { m.offset = expert_bytes_max; }},
                              {"length", [](fetch& m) { m.length = 0; }},
                              {"length", [](fetch& m) { m.length = chunk_bytes_max + 1; }}});
  good.length = chunk_bytes_max;
  EXPECT_TRUE(encode(good, {}, {}).has_value());
}

TEST(weights, bytes_lie_within_the_expert) {
  chunk good = sample_chunk();
  good.offset = good.total - good.bytes.bytes.size();
  constexpr std::uint64_t far = ~std::uint64_t{0};
  expect_each_refused<chunk>(good,
                             {{"layer", [](chunk& m) { m.layer = layer_index{layers_max}; }},
                              {"expert", [](chunk& m) { m.expert = experts_max; }},
                              {"total", [](chunk& m) { m.total = expert_bytes_max + 1; }},
                              {"offset", [](chunk& m) { ++m.offset; }},
                              {"offset", [](chunk& m) { m.offset = m.total + 1; }},
                              {"offset", [](chunk& m) { m.offset = far; }},
                              {"cause", [](chunk& m) { m.bytes = {}; }},
                              {"cause", [](chunk& m) { m.cause = failure{}; }},
                              {"bytes", [](chunk& m) {
                                 m.offset = 0;
                                 m.total = expert_bytes_max;
                                 m.bytes = own_payload(std::vector<std::byte>(chunk_bytes_max + 1));
                               }}});
  good.offset = 0;
  good.total = expert_bytes_max;
  good.bytes = own_payload(std::vector<std::byte>(chunk_bytes_max));
  EXPECT_TRUE(encode(good, {}, {}).has_value());
}

TEST(weights, matrices_lie_within_the_expert) {
  chunk good = sample_chunk();
  good.parts[2] = {600, 916, 5, 20, 3, 7, tensor::dtype::f32};
  constexpr std::uint64_t far = ~std::uint64_t{0};
  expect_each_refused<chunk>(
      good,
      {{
           "elements",
           [](chunk& m) { ++m.parts[2].at; },
       },
       {"elements", [](chunk& m) { m.parts[2].at = far - 100; }},
       {"elements", [](chunk& m) { m.parts[0].rows = 101; }},
       {"elements", [](chunk& m) { m.parts[1].rows = m.parts[1].columns = 0xFFFFFFFF; }},
       {"elements", [](chunk& m) { m.parts[2].rows = m.parts[2].columns = 0x80000000; }},
       {"scales", [](chunk& m) { ++m.parts[2].scales_at; }},
       {"scales", [](chunk& m) { m.parts[0].scales_at = 993; }},
       {"scales", [](chunk& m) { m.parts[0].scales_at = far; }},
       {"scales", [](chunk& m) { m.parts[1].scale_rows = m.parts[1].scale_columns = 0x80000000; }},
       {"type", [](chunk& m) { m.parts[1].type = static_cast<tensor::dtype>(4); }}});
}

TEST(weights, what_travels_is_hashed_whatever_the_medium) {
  frame f = encode(sample_chunk(), {}, {}).value();
  EXPECT_EQ(f.header.flags, flag_payload_checksummed);
  ASSERT_TRUE(seal(f).has_value());
  std::vector<std::byte> bytes(f.payload.bytes.begin(), f.payload.bytes.end());
  EXPECT_TRUE(check_payload(f.header, bytes).has_value());
  bytes[149] ^= std::byte{1};
  EXPECT_TRUE(check_payload(f.header, bytes).has_error());
}

}  // namespace
}  // namespace atl::transport::wire
