// One or more valid messages of every kind. In first_messages() they are as the first release said
// them, and stay so for the frames recorded from it; in later_messages() all fields are away from
// their defaults.
#pragma once

#include "transport/wire/codec.hpp"

#include <cstdint>
#include <string>
#include <vector>

namespace atl::transport::wire {

/// Rows of a type whose payload bytes count up.
inline rows counting_rows(tensor::dtype type, std::uint32_t count, std::uint32_t width) {
  std::vector<std::uint8_t> bytes(count * row_bytes(type, width));
  for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::uint8_t>(i);
  return {type, count, width, own_payload(std::move(bytes))};
}

inline submit sample_submit() {
  submit m;
  m.request = request_id{0x1122334455667788};
  m.prompt = {0, 5, 129279};
  m.emitted = {7, 8};
  m.generated_max = 33;
  m.sampling = {0.7F, 0.9F, 0.05F, 40, 1.1F, 0.2F, -0.3F, 99, {{4, -100.0F}, {5, 2.5F}}};
  m.stop_tokens = {1, 2};
  m.ignore_eos = true;
  m.logits = logits_wanted::all;
  m.want_hidden = true;
  m.want_routing = true;
  m.cache_scope = 0x8877665544332211;
  m.logprobs = 3;
  m.prompt_logprobs = true;
  m.constraint = R"({"json_object":true})";
  return m;
}

inline observed sample_routing() {
  observed m;
  m.request = request_id{6};
  m.what = observation::routing;
  m.position_first = 12;
  m.layer = layer_index{60};
  m.experts_per_row = 2;
  m.experts = {255, 3, 0, 9};
  m.weights = {0.5F, 0.25F, 0.125F, 2.5F};
  return m;
}

inline dispatch sample_dispatch(tensor::dtype type = tensor::dtype::bf16) {
  dispatch m;
  m.call = {shard_id{9}, 0x123456789A, 1, layer_index{26}};
  m.epoch = atl::epoch{77};
  m.input = counting_rows(type, 3, 200);
  m.offsets = {0, 2, 3, 6};
  m.assignments = {{11, 0}, {12, 5}, {11, 3}, {13, 7}, {10, 1}, {11, 2}};
  return m;
}

inline results sample_results() {
  results m;
  m.call = {shard_id{9}, 0x123456789A, 1, layer_index{26}};
  m.epoch = atl::epoch{77};
  m.output = counting_rows(tensor::dtype::f32, 6, 200);
  m.counts = {{10, 1}, {11, 3}, {12, 1}, {13, 1}};
  m.service_ns = 123456;
  return m;
}

inline tokens sample_logprobs() {
  tokens m{request_id{4}, 0, {9, 5}, finish_reason::none, {}, 17, 2, 0};
  m.logprobs = {2, {-0.5F, 0.0F}, {9, 1, 5, 3}, {-0.5F, -1.5F, 0.0F, -9999.0F}};
  m.prompt_logprobs_first = 1;
  m.prompt_logprobs = {1, {-3.0F, -2.5F, -1.0F}, {7, 8, 9}, {-0.25F, -0.5F, -1.0F}};
  return m;
}

/// Kinds 1 to 12 without the fields that were appended later.
inline std::vector<message> first_messages() {
  const failure cause{errc::overloaded, "node 3 is full \xE4\xBD\xA0"};
  const call_id call{shard_id{1}, 2, 3, layer_index{4}};
  observed logits{request_id{5}, observation::logits, 3, layer_index{0}, {}, 0, {}, {}};
  logits.values = counting_rows(tensor::dtype::f32, 2, 7);
  observed hidden{request_id{5}, observation::hidden, 3, layer_index{2}, {}, 0, {}, {}};
  hidden.values = counting_rows(tensor::dtype::f32, 4, 3);
  return {
      sample_submit(),
      cancel{request_id{3}},
      tokens{request_id{4}, 3, {1, 2, 3}, finish_reason::length, {}, 17, 6, 16},
      tokens{request_id{4}, 0, {}, finish_reason::error, cause, 17, 0},
      sample_logprobs(),
      logits,
      hidden,
      sample_routing(),
      sample_dispatch(),
      sample_dispatch(tensor::dtype::f32),
      sample_dispatch(tensor::dtype::f8_e4m3),
      sample_results(),
      refused{call, atl::epoch{8}, {errc::stale_epoch, "the table is of epoch 8"}},
      place{atl::epoch{9},
            {{layer_index{1}, 2, group_id{3}, 0.75F}, {layer_index{1}, 2, group_id{4}, 0.25F}},
            {}},
      load{atl::epoch{9}, group_id{3}, layer_index{1}, {2, 4, 6}, {}},
      placed{atl::epoch{9}, node_id{2}, group_id{3}, 1ULL << 40, {}, {}, {}},
      placed{atl::epoch{9}, node_id{2}, group_id{3}, 5, failure{errc::io, "disk"}, {}, {}},
      load_report{node_id{2},
                  55,
                  {{layer_index{3}, 255, 1ULL << 33}, {layer_index{4}, 0, 1}},
                  0,
                  0,
                  0,
                  0,
                  0},
      heartbeat{0xFFFFFFFFFFFFFFFF, true, 0, 0},
  };
}

/// Bytes that count up from `first`.
inline std::vector<std::byte> counting_bytes(std::size_t count, unsigned first) {
  std::vector<std::byte> bytes(count);
  for (std::size_t i = 0; i < count; ++i) bytes[i] = static_cast<std::byte>(first + i);
  return bytes;
}

inline join sample_join() {
  join m;
  m.roles = role_expert | role_attention;
  m.name = "rack 2, \xE6\x9C\x88";
  m.version = "0.5.0";
  m.numeric_class = "x86-bf16";
  m.model = "sha256:0f1e2d";
  m.expert_bytes = 96ULL << 30;
  m.shards = 1;
  m.groups = 2;
  m.sequences_max = 64;
  m.pages_total = 1ULL << 34;
  m.tls = "10.0.0.7:7401";
  m.ucx = counting_bytes(70, 0x90);
  m.ticket_key = counting_bytes(ticket_bytes, 0x40);
  m.epoch = atl::epoch{41};
  m.activations = tensor::dtype::bf16;
  m.speed = 123456.5F;
  m.domain = "hall-1/rack_2.b:7";
  m.device = "cpu, 24 threads";
  m.memory_bytes = 1ULL << 38;
  m.instruction_set = "avx512_bf16";
  m.held = {{0x0102030405060708, layer_index{3}, 17}, {0xF1F2F3F4F5F6F7F8, layer_index{4}, 18}};
  return m;
}

inline members sample_members() {
  member_info first;
  first.node = node_id{1};
  first.life = incarnation{0x1111222233334444};
  first.state = member_state::suspect;
  first.roles = role_coordinator | role_gateway;
  first.name = "front";
  first.tls = "10.0.0.1:7401";
  member_info second;
  second.node = node_id{6};
  second.life = incarnation{5};
  second.state = member_state::cordoned;
  second.roles = role_attention;
  second.shards = 2;
  second.shard_first = 8;
  second.sequences_max = 32;
  second.pages_total = 1ULL << 33;
  second.name = "attention-6";
  second.tls = "10.0.0.6:7401";
  second.ucx = counting_bytes(50, 0x20);
  second.ticket = counting_bytes(ticket_bytes, 0xA0);
  return {12,
          {std::move(first), std::move(second)},
          {{0x40010203, 0xA0B0C0D0E0F00010}, {0x5FFFFFFFFFFFFFFF, 1}},
          {3, 9}};
}

inline chunk sample_chunk() {
  chunk m;
  m.number = 0x99AABBCCDDEEFF00;
  m.layer = layer_index{7};
  m.expert = 200;
  m.offset = 300;
  m.total = 1000;
  m.parts = {{{0, 900, 16, 10, 1, 2, tensor::dtype::f8_e4m3},
              {160, 908, 16, 10, 2, 1, tensor::dtype::bf16},
              {480, 916, 5, 20, 3, 7, tensor::dtype::f32}}};
  m.bytes = own_payload(counting_bytes(150, 0));
  return m;
}

inline std::vector<message> later_messages() {
  const failure cause{errc::unavailable, "node 3 is not there \xE4\xBD\xA0"};
  chunk missing{55, layer_index{7}, 200, 300, 0, {}, {}, cause};
  return {
      place{atl::epoch{9},
            {{layer_index{1}, 2, group_id{4}, 0.75F}, {layer_index{1}, 2, group_id{3}, 0.25F}},
            {{group_id{3}, node_id{8}, 1}, {group_id{4}, node_id{7}, 2}},
            {{layer_index{1}, 3}, {layer_index{2}, 0}}},
      load{atl::epoch{9}, group_id{3}, layer_index{1}, {2, 4, 6}, {node_id{5}, node_id{2}}},
      placed{atl::epoch{9},
             node_id{2},
             group_id{3},
             1ULL << 40,
             {},
             layer_index{6},
             {{0x8877665544332211, layer_index{6}, 4}, {9, layer_index{6}, 5}}},
      load_report{node_id{2},
                  55,
                  {{layer_index{3}, 255, 8}},
                  1ULL << 34,
                  21,
                  22,
                  23,
                  24,
                  0.25F,
                  1ULL << 45},
      heartbeat{3, true, 1ULL << 40, 77},
      sample_join(),
      welcome{"c-7f3a", 40, 41, {}},
      welcome{"c-7f3a", 0, 0, cause},
      sample_members(),
      adopted{atl::epoch{9}, atl::epoch{7}},
      release{atl::epoch{10}, group_id{3}, layer_index{1}, {2, 4, 6}},
      path_report{node_id{6}, incarnation{0x77}, false, "connection reset"},
      leave{leave_ms_max},
      dismissed{incarnation{0x1234567890}, cause},
      dismissed{incarnation{0x1234567890}, {}},
      fetch{0x99AABBCCDDEEFF00, layer_index{7}, 200, 300, chunk_bytes_max},
      sample_chunk(),
      missing,
  };
}

inline std::vector<message> sample_messages() {
  std::vector<message> all = first_messages();
  for (message& m : later_messages()) all.push_back(std::move(m));
  return all;
}

inline result<frame> encode_any(const message& m, address from = {}, address to = {}) {
  return std::visit([&](const auto& plain) { return encode(plain, from, to); }, m);
}

}  // namespace atl::transport::wire
