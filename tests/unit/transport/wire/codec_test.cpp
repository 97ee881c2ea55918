#include "tests/unit/transport/wire/refusals.hpp"
#include "tests/unit/transport/wire/same.hpp"
#include "tests/unit/transport/wire/samples.hpp"
#include "transport/wire/codec.hpp"

#include <gtest/gtest.h>

#include <limits>
#include <string>

namespace atl::transport::wire {
namespace {

TEST(codec, every_message_comes_back_as_it_was) {
  const address from{node_id{3}, 4};
  const address to{node_id{5}, 6};
  for (const message& m : sample_messages()) {
    frame f = encode_any(m, from, to).value();
    ASSERT_TRUE(seal(f).has_value());
    EXPECT_EQ(static_cast<std::size_t>(f.header.kind), m.index() + 1);
    EXPECT_EQ(f.header.source, from);
    EXPECT_EQ(f.header.destination, to);
    const auto back = decode(f);
    ASSERT_TRUE(back.has_value()) << back.error().message();
    EXPECT_TRUE(same(m, *back)) << to_string(f.header.kind);
  }
}

TEST(codec, rows_are_shared_and_not_copied) {
  const dispatch m = sample_dispatch();
  const frame f = encode(m, {}, {}).value();
  EXPECT_EQ(f.payload.bytes.data(), m.input.payload.bytes.data());
  const auto back = decode(f);
  EXPECT_EQ(std::get<dispatch>(*back).input.payload.bytes.data(), f.payload.bytes.data());
  EXPECT_EQ(f.header.epoch, atl::epoch{77});
}

TEST(codec, the_defaults_travel_too) {
  submit m;
  m.prompt = {1};
  const auto back = decode(encode(m, {}, {}).value());
  ASSERT_TRUE(back.has_value());
  EXPECT_EQ(std::get<submit>(*back), m);
}

TEST(codec, a_large_message_comes_back_and_one_token_more_does_not_leave) {
  submit m;
  m.prompt.assign(tokens_max, 129279);
  const auto f = encode(m, {}, {});
  ASSERT_TRUE(f.has_value());
  EXPECT_LT(f->metadata.size(), metadata_bytes_max);
  EXPECT_EQ(std::get<submit>(*decode(*f)), m);
  m.prompt.push_back(0);
  EXPECT_EQ(encode(m, {}, {}).error().code(), errc::invalid_argument);
}

TEST(codec, the_largest_table_fits_a_frame) {
  place m;
  m.entries.assign(entries_max, {layer_index{1}, 2, group_id{3}, 1.0F});
  const auto f = encode(m, {}, {});
  ASSERT_TRUE(f.has_value());
  EXPECT_LE(f->metadata.size(), metadata_bytes_max);
  EXPECT_TRUE(decode(*f).has_value());
}

TEST(codec, long_error_texts_are_cut_between_characters) {
  refused m;
  m.cause.text.assign(text_bytes_max - 1, 'x');
  m.cause.text += "\xE4\xBD\xA0\xE4\xBD\xA0";
  const auto back = decode(encode(m, {}, {}).value());
  ASSERT_TRUE(back.has_value()) << back.error().message();
  EXPECT_EQ(std::get<refused>(*back).cause.text, std::string(text_bytes_max - 1, 'x'));
}

TEST(codec, row_sizes_of_every_type) {
  EXPECT_EQ(row_bytes(tensor::dtype::f32, 7), 28U);
  EXPECT_EQ(row_bytes(tensor::dtype::bf16, 7), 14U);
  EXPECT_EQ(row_bytes(tensor::dtype::f8_e4m3, 128), 4U + 128U);
  EXPECT_EQ(row_bytes(tensor::dtype::f8_e4m3, 129), 8U + 132U);
  EXPECT_EQ(row_bytes(tensor::dtype::f16, 7), 0U);
  EXPECT_EQ(row_bytes(tensor::dtype::f32, width_max), 4ULL << 20);
}

/// Whatever is accepted obeys every rule: it encodes, and comes back the same.
void expect_refused_or_sound(const frame& f) {
  const auto m = decode(f);
  if (m.has_error()) {
    EXPECT_EQ(m.error().code(), errc::malformed_frame);
    return;
  }
  const auto again = encode_any(*m);
  ASSERT_TRUE(again.has_value()) << again.error().message();
  const auto back = decode(*again);
  ASSERT_TRUE(back.has_value()) << back.error().message();
  EXPECT_TRUE(same(*m, *back));
}

TEST(codec, metadata_truncated_at_any_byte_is_refused_or_sound) {
  std::size_t refused_count = 0;
  std::size_t count = 0;
  for (const message& m : sample_messages()) {
    frame f = encode_any(m).value();
    while (!f.metadata.empty()) {
      f.metadata.pop_back();
      expect_refused_or_sound(f);
      refused_count += decode(f).has_error() ? 1U : 0U;
      ++count;
    }
  }
  EXPECT_GT(refused_count, count * 9 / 10);
}

TEST(codec, any_byte_changed_under_a_valid_checksum_is_refused_or_sound) {
  for (const message& m : sample_messages()) {
    frame f = encode_any(m).value();
    for (std::byte& b : f.metadata) {
      const std::byte original = b;
      for (const int value : {0, 1, 2, 4, 0x7F, 0x80, 0xFF}) {
        b = static_cast<std::byte>(value);
        expect_refused_or_sound(f);
      }
      b = original;
    }
  }
}

TEST(codec, metadata_of_one_kind_under_another_is_refused_or_sound) {
  for (const message& m : sample_messages()) {
    frame f = encode_any(m).value();
    for (std::uint16_t kind = 0; kind <= frame_kind_last + 1; ++kind) {
      f.header.kind = static_cast<frame_kind>(kind);
      expect_refused_or_sound(f);
    }
  }
}

TEST(codec, payload_that_does_not_fit_the_shape_is_refused) {
  for (const message& m : sample_messages()) {
    const frame f = encode_any(m).value();
    frame longer = f;
    std::vector<std::byte> bytes(f.payload.bytes.begin(), f.payload.bytes.end());
    bytes.push_back(std::byte{0});
    longer.payload = own_payload(bytes);
    const bool has_any_size = f.header.kind == frame_kind::chunk && !f.payload.bytes.empty();
    EXPECT_NE(decode(longer).has_error(), has_any_size) << to_string(f.header.kind);
    if (f.payload.bytes.empty()) continue;
    frame shorter = f;
    shorter.payload.bytes = f.payload.bytes.first(f.payload.bytes.size() - 1);
    EXPECT_NE(decode(shorter).has_error(), has_any_size) << to_string(f.header.kind);
    shorter.payload = {};
    EXPECT_TRUE(decode(shorter).has_error()) << to_string(f.header.kind);
  }
}

TEST(codec, well_formed_dispatches_without_meaning_are_refused_by_name) {
  using u32s = std::vector<std::uint32_t>;
  const frame f = encode(sample_dispatch(), {}, {}).value();
  const auto says = [&](const u32s& before, const u32s& after, const char* text) {
    const std::string message = refusal(patched(f, before, after));
    EXPECT_NE(message.find(text), std::string::npos) << message;
  };
  says({0, 2, 3, 6}, {0, 2, 1, 6}, "offsets give row 1");
  says({0, 2, 3, 6}, {0, 2, 2, 6}, "offsets give row 1");
  says({0, 2, 3, 6}, {0, 2, 3, 5}, "offsets do not span");
  says({0, 2, 3, 6}, {1, 2, 3, 6}, "offsets do not span");
  says({0, 2, 3, 6}, {0, 0xFFFFFFFF, 3, 6}, "offsets give row 0");
  says({3, 200}, {2, 200}, "the payload has");
  says({3, 200}, {3, 201}, "the payload has");
  says({3, 200}, {0xFFFFFFFF, 0xFFFFFFFF}, "input.count");
  says({3, 200}, {3, 0xFFFFFFFF}, "input.width");
  says({3, 200}, {65536, 1U << 20}, "larger than a payload");
  says({3, 200}, {0, 200}, "input.count");
  says({13, 7}, {65536, 7}, "expert is 65536");
  says({13, 7}, {13, 256}, "rank is 256");
  says({13, 7, 10, 1}, {10, 7, 10, 1}, "twice");
  says({13, 7, 10, 1}, {13, 1, 10, 1}, "twice");
  says({1, 26}, {1, layers_max}, "call.layer");
}

TEST(codec, well_formed_results_without_meaning_are_refused_by_name) {
  using u32s = std::vector<std::uint32_t>;
  const frame f = encode(sample_results(), {}, {}).value();
  const auto says = [&](const u32s& before, const u32s& after, const char* text) {
    const std::string message = refusal(patched(f, before, after));
    EXPECT_NE(message.find(text), std::string::npos) << message;
  };
  says({11, 3, 12}, {11, 4, 12}, "counts sum to 7");
  says({11, 3, 12}, {11, 0xFFFFFFFF, 12}, "counts sum to");
  says({11, 3, 12}, {experts_max, 3, 12}, "counts.expert");
  says({6, 200}, {5, 200}, "the payload has");
}

TEST(codec, rules_of_submit) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float infinity = std::numeric_limits<float>::infinity();
  expect_each_refused<submit>(
      sample_submit(),
      {{"prompt", [](submit& m) { m.prompt.clear(); }},
       {"prompt", [](submit& m) { m.prompt[1] = -1; }},
       {"emitted", [](submit& m) { m.emitted[0] = -5; }},
       {"emitted", [](submit& m) { m.generated_max = 1; }},
       {"generated_max", [](submit& m) { m.generated_max = tokens_max + 1; }},
       {"stop_tokens", [](submit& m) { m.stop_tokens[0] = -1; }},
       {"stop_tokens", [](submit& m) { m.stop_tokens.assign(stop_tokens_max + 1, 1); }},
       {"logits", [](submit& m) { m.logits = static_cast<logits_wanted>(3); }},
       {"temperature", [&](submit& m) { m.sampling.temperature = nan; }},
       {"temperature", [&](submit& m) { m.sampling.temperature = infinity; }},
       {"temperature", [](submit& m) { m.sampling.temperature = -0.1F; }},
       {"top_p", [](submit& m) { m.sampling.top_p = 0.0F; }},
       {"top_p", [](submit& m) { m.sampling.top_p = 1.1F; }},
       {"top_p", [&](submit& m) { m.sampling.top_p = nan; }},
       {"min_p", [](submit& m) { m.sampling.min_p = -0.1F; }},
       {"min_p", [](submit& m) { m.sampling.min_p = 1.1F; }},
       {"repetition_penalty", [](submit& m) { m.sampling.repetition_penalty = 0.0F; }},
       {"presence_penalty", [&](submit& m) { m.sampling.presence_penalty = infinity; }},
       {"frequency_penalty", [&](submit& m) { m.sampling.frequency_penalty = nan; }},
       {"logit_bias", [](submit& m) { m.sampling.logit_bias[0].first = -1; }},
       {"logit_bias", [&](submit& m) { m.sampling.logit_bias[1].second = nan; }},
       {"logit_bias", [](submit& m) { m.sampling.logit_bias.resize(biases_max + 1); }},
       {"logprobs", [](submit& m) { m.logprobs = logprobs_top_max + 2; }},
       {"prompt_logprobs", [](submit& m) { m.logprobs = 0; }},
       {"constraint", [](submit& m) { m.constraint.assign(constraint_bytes_max + 1, ' '); }}});
}

TEST(codec, rules_of_logprobs) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  expect_each_refused<tokens>(
      sample_logprobs(),
      {{"logprobs.chosen", [](tokens& m) { m.values.pop_back(); }},
       {"logprobs and values",
        [](tokens& m) {
          m.logprobs.chosen.pop_back();
          m.logprobs.top_ids.resize(2);
          m.logprobs.top_values.resize(2);
        }},
       {"logprobs", [](tokens& m) { m.logprobs.chosen[0] = 0.5F; }},
       {"logprobs", [&](tokens& m) { m.logprobs.top_values[3] = nan; }},
       {"logprobs", [](tokens& m) { m.logprobs.top_ids[1] = -1; }},
       {"its top", [](tokens& m) { m.logprobs.top = 1; }},
       {"its top", [](tokens& m) { m.logprobs.top_values.pop_back(); }},
       {"prompt_logprobs.top", [](tokens& m) { m.prompt_logprobs.top = logprobs_top_max + 1; }},
       {"no rows", [](tokens& m) { m.prompt_logprobs.chosen.clear(); }},
       {"prompt_logprobs_first", [](tokens& m) { m.prompt_logprobs_first = 0; }},
       {"prompt_logprobs_first", [](tokens& m) { m.prompt_logprobs = {}; }}});
}

TEST(codec, rules_of_tokens_and_observations) {
  expect_each_refused<tokens>(
      {request_id{1}, 2, {3}, finish_reason::stop, {}, 1, 3},
      {{"values", [](tokens& m) { m.values[0] = -1; }},
       {"finish", [](tokens& m) { m.finish = static_cast<finish_reason>(5); }},
       {"cause", [](tokens& m) { m.finish = finish_reason::error; }},
       {"cause", [](tokens& m) { m.cause = failure{}; }},
       {"position_first", [](tokens& m) { m.position_first = tokens_max + 1; }},
       {"generated_tokens", [](tokens& m) { m.generated_tokens = 2; }},
       {"cached_tokens", [](tokens& m) { m.cached_tokens = 2; }}});
  expect_each_refused<tokens>(
      {request_id{1}, 0, {}, finish_reason::error, failure{errc::io, ""}, 1, 0},
      {{"cause", [](tokens& m) { m.cause->code = static_cast<errc>(999); }},
       {"cause", [](tokens& m) { m.cause->code = static_cast<errc>(0); }}});
  expect_each_refused<observed>(
      sample_routing(),
      {{"what", [](observed& m) { m.what = static_cast<observation>(3); }},
       {"layer", [](observed& m) { m.layer = layer_index{layers_max}; }},
       {"experts_per_row", [](observed& m) { m.experts_per_row = 0; }},
       {"whole rows", [](observed& m) { m.experts_per_row = 3; }},
       {"experts", [](observed& m) { m.experts[0] = experts_max; }},
       {"weights", [](observed& m) { m.weights.pop_back(); }},
       {"values", [](observed& m) { m.values = counting_rows(tensor::dtype::f32, 1, 1); }},
       {"experts", [](observed& m) {
          m.what = observation::logits;
          m.values = counting_rows(tensor::dtype::f32, 1, 1);
        }}});
  observed logits;
  logits.values = counting_rows(tensor::dtype::f32, 2, 7);
  expect_each_refused<observed>(
      logits, {{"f32", [](observed& m) { m.values = counting_rows(tensor::dtype::bf16, 2, 7); }}});
}

TEST(codec, rules_of_the_expert_path) {
  expect_each_refused<dispatch>(
      sample_dispatch(),
      {{"type", [](dispatch& m) { m.input.type = tensor::dtype::f16; }},
       {"type", [](dispatch& m) { m.input.type = static_cast<tensor::dtype>(9); }},
       {"offsets", [](dispatch& m) { m.offsets.clear(); }},
       {"offsets", [](dispatch& m) { m.offsets.push_back(6); }},
       {"offsets", [](dispatch& m) { m.assignments.clear(); }},
       {"input", [](dispatch& m) { m.input.payload = {}; }}});
  expect_each_refused<results>(sample_results(),
                               {{"counts", [](results& m) { m.counts.clear(); }},
                                {"output", [](results& m) { m.output.count = 7; }}});
  expect_each_refused<refused>(
      {},
      {{"layer", [](refused& m) { m.call.layer = layer_index{layers_max}; }},
       {"code", [](refused& m) { m.cause.code = static_cast<errc>(-1); }}});
}

}  // namespace
}  // namespace atl::transport::wire
