#include "tests/unit/transport/wire/refusals.hpp"
#include "tests/unit/transport/wire/same.hpp"
#include "tests/unit/transport/wire/samples.hpp"
#include "transport/wire/codec.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <string>

namespace atl::transport::wire {
namespace {

TEST(control, rules_of_placement) {
  expect_each_refused<place>(
      {atl::epoch{1}, {{layer_index{0}, 0, group_id{0}, 1.0F}}, {}},
      {{"layer", [](place& m) { m.entries[0].layer = layer_index{layers_max}; }},
       {"expert", [](place& m) { m.entries[0].expert = experts_max; }},
       {"weight", [](place& m) { m.entries[0].weight = 0; }},
       {"weight", [](place& m) { m.entries[0].weight = std::nanf(""); }},
       {"entries", [](place& m) { m.entries.resize(entries_max + 1); }}});
  expect_each_refused<load>({atl::epoch{1}, group_id{1}, layer_index{0}, {1}, {}},
                            {{"layer", [](load& m) { m.layer = layer_index{layers_max}; }},
                             {"experts", [](load& m) { m.experts[0] = experts_max; }},
                             {"experts", [](load& m) { m.experts.resize(experts_max + 1); }}});
  expect_each_refused<load_report>(
      {node_id{1}, 1, {{layer_index{0}, 0, 1}}, 0, 0, 0, 0, 0},
      {{"layer", [](load_report& m) { m.counts[0].layer = layer_index{layers_max}; }},
       {"expert", [](load_report& m) { m.counts[0].expert = experts_max; }},
       {"speed_now", [](load_report& m) { m.speed_now = -1; }},
       {"speed_now", [](load_report& m) { m.speed_now = std::nanf(""); }},
       {"speed_now", [](load_report& m) { m.speed_now = 2 * speed_max; }}});
  expect_each_refused<placed>({atl::epoch{1}, node_id{1}, group_id{1}, 1, failure{}, {}, {}},
                              {{"code", [](placed& m) { m.cause->code = static_cast<errc>(77); }}});
}

TEST(control, a_table_names_the_groups_of_its_entries_or_none) {
  place good{atl::epoch{1},
             {{layer_index{0}, 0, group_id{5}, 1.0F}, {layer_index{0}, 1, group_id{2}, 1.0F}},
             {{group_id{2}, node_id{1}, 7}, {group_id{5}, node_id{1}, 8}}};
  expect_each_refused<place>(good,
                             {{"ascending", [](place& m) { std::swap(m.groups[0], m.groups[1]); }},
                              {"ascending", [](place& m) { m.groups[0].group = group_id{5}; }},
                              {"lack 5", [](place& m) { m.groups[1].group = group_id{6}; }},
                              {"lack 2", [](place& m) { m.groups.erase(m.groups.begin()); }},
                              {"groups", [](place& m) { m.groups.resize(groups_max + 1); }}});
  good.coming = {{layer_index{1}, 4}, {layer_index{2}, 0}};
  expect_each_refused<place>(
      good,
      {{"ascending", [](place& m) { std::swap(m.coming[0], m.coming[1]); }},
       {"coming.layer", [](place& m) { m.coming[1].layer = layer_index{layers_max}; }},
       {"coming.expert", [](place& m) { m.coming[0].expert = experts_max; }},
       {"coming", [](place& m) { m.coming.resize(entries_max + 1); }}});
  good.groups.push_back({group_id{9}, node_id{4}, 8});
  EXPECT_TRUE(encode(good, {}, {}).has_value());
  good.groups.clear();
  EXPECT_TRUE(encode(good, {}, {}).has_value());
}

TEST(control, rules_of_orders_and_their_answers) {
  load order{atl::epoch{1}, group_id{1}, layer_index{0}, {1}, {}};
  order.sources.assign(sources_max, node_id{3});
  expect_each_refused<load>(order, {{"sources", [](load& m) { m.sources.emplace_back(1); }}});
  placed done{atl::epoch{1}, node_id{1}, group_id{1}, 1, {}, layer_index{layers_max - 1}, {}};
  done.held = {{1, layer_index{layers_max - 1}, experts_max - 1}};
  expect_each_refused<placed>(
      done,
      {{"layer", [](placed& m) { m.layer = layer_index{layers_max}; }},
       {"held.layer", [](placed& m) { m.held[0].layer = layer_index{layers_max}; }},
       {"held.expert", [](placed& m) { m.held[0].expert = experts_max; }},
       {"held", [](placed& m) { m.held.resize(entries_max + 1); }}});
  expect_each_refused<release>(
      {atl::epoch{1}, group_id{1}, layer_index{0}, {1}},
      {{"layer", [](release& m) { m.layer = layer_index{layers_max}; }},
       {"experts", [](release& m) { m.experts[0] = experts_max; }},
       {"experts", [](release& m) { m.experts.resize(experts_max + 1); }}});
  expect_each_refused<adopted>({atl::epoch{7}, atl::epoch{7}},
                               {{"oldest", [](adopted& m) { m.oldest = atl::epoch{8}; }}});
}

TEST(control, rules_of_joining) {
  join good = sample_join();
  good.name.assign(name_bytes_max, 'n');
  good.ucx.resize(ucx_bytes_max);
  good.shards = units_max;
  good.groups = units_max;
  good.speed = speed_max;
  good.domain.assign(name_bytes_max, 'd');
  const std::string long_name(name_bytes_max + 1, 'n');
  expect_each_refused<join>(
      good,
      {{"roles", [](join& m) { m.roles = 0; }},
       {"roles", [](join& m) { m.roles = roles_known + 1; }},
       {"name", [&](join& m) { m.name = long_name; }},
       {"version", [&](join& m) { m.version = long_name; }},
       {"numeric_class", [&](join& m) { m.numeric_class = long_name; }},
       {"model", [&](join& m) { m.model = long_name; }},
       {"tls", [&](join& m) { m.tls = long_name; }},
       {"shards", [](join& m) { m.shards = units_max + 1; }},
       {"groups", [](join& m) { m.groups = units_max + 1; }},
       {"ucx", [](join& m) { m.ucx.resize(ucx_bytes_max + 1); }},
       {"ticket_key", [](join& m) { m.ticket_key.resize(31); }},
       {"ticket_key", [](join& m) { m.ticket_key.resize(33); }},
       {"activations", [](join& m) { m.activations = tensor::dtype::f16; }},
       {"activations", [](join& m) { m.activations = static_cast<tensor::dtype>(77); }},
       {"speed", [](join& m) { m.speed = -0.5F; }},
       {"speed", [](join& m) { m.speed = std::nanf(""); }},
       {"speed", [](join& m) { m.speed = std::numeric_limits<float>::infinity(); }},
       {"speed", [](join& m) { m.speed = 2 * speed_max; }},
       {"domain", [&](join& m) { m.domain = long_name; }},
       {"domain", [](join& m) { m.domain = "rack 2"; }},
       {"domain", [](join& m) { m.domain = "rack\n2"; }},
       {"device", [&](join& m) { m.device = long_name; }},
       {"instruction_set", [&](join& m) { m.instruction_set = long_name; }},
       {"held.layer", [](join& m) { m.held[1].layer = layer_index{layers_max}; }},
       {"held.expert", [](join& m) { m.held[1].expert = experts_max; }}});
  good.ticket_key.clear();
  EXPECT_TRUE(encode(good, {}, {}).has_value());
  expect_each_refused<welcome>(
      {"c", 1, 2, failure{}},
      {{"cluster", [&](welcome& m) { m.cluster = long_name; }},
       {"code", [](welcome& m) { m.cause->code = static_cast<errc>(77); }}});
  expect_each_refused<dismissed>(
      {incarnation{1}, failure{}},
      {{"code", [](dismissed& m) { m.cause->code = static_cast<errc>(77); }}});
  expect_each_refused<leave>({leave_ms_max},
                             {{"deadline_ms", [](leave& m) { m.deadline_ms = leave_ms_max + 1; }}});
}

TEST(control, rules_of_members) {
  const std::string long_name(name_bytes_max + 1, 'n');
  expect_each_refused<members>(
      sample_members(),
      {{"ascending", [](members& m) { std::swap(m.list[0], m.list[1]); }},
       {"ascending", [](members& m) { m.list[1].node = m.list[0].node; }},
       {"state", [](members& m) { m.list[1].state = static_cast<member_state>(5); }},
       {"roles", [](members& m) { m.list[1].roles = 0; }},
       {"roles", [](members& m) { m.list[1].roles = 1U << 31; }},
       {"shards", [](members& m) { m.list[1].shards = units_max + 1; }},
       {"name", [&](members& m) { m.list[1].name = long_name; }},
       {"tls", [&](members& m) { m.list[1].tls = long_name; }},
       {"ucx", [](members& m) { m.list[1].ucx.resize(ucx_bytes_max + 1); }},
       {"ticket", [](members& m) { m.list[1].ticket.resize(1); }},
       {"revoked", [](members& m) { m.revoked.resize(revoked_max + 1); }},
       {"removed", [](members& m) { m.removed.resize(revoked_max + 1); }}});
}

TEST(control, serials_are_sixteen_bytes_of_hex) {
  const certificate_serial serial{0x0123456789abcdef, 0x40fedcba98765432};
  EXPECT_EQ(to_text(serial), "0123456789abcdef40fedcba98765432");
  EXPECT_EQ(parse_serial("0123456789abcdef40fedcba98765432"), serial);
  for (const char* bad : {"",
                          "0",
                          "0123456789abcdef40fedcba9876543",
                          "0123456789ABCDEF0000000000000000",
                          "0123456789abcdef40fedcba987654321",
                          "0123456789abcdeg40fedcba98765432"})
    EXPECT_FALSE(parse_serial(bad)) << bad;
}

members many_members(std::size_t count, std::size_t ucx_bytes) {
  members m;
  for (std::uint32_t i = 0; i < count; ++i) {
    member_info& one = m.list.emplace_back();
    one.node = node_id{i};
    one.roles = role_expert;
    one.ucx.resize(ucx_bytes);
  }
  return m;
}

TEST(control, the_largest_cluster_fits_a_frame_and_one_member_more_does_not_leave) {
  members most = many_members(members_max, members_bytes_max / members_max);
  most.revoked.resize(revoked_max, {1, 2});
  most.removed.resize(revoked_max, 7);
  frame f = encode(most, {}, {}).value();
  EXPECT_TRUE(seal(f).has_value());
  EXPECT_EQ(std::get<members>(decode(f).value()), most);
  const auto above = encode(many_members(members_max + 1, 0), {}, {});
  ASSERT_TRUE(above.has_error());
  EXPECT_EQ(above.error().code(), errc::invalid_argument);
  const auto heavier =
      encode(many_members(members_max, members_bytes_max / members_max + 1), {}, {});
  ASSERT_TRUE(heavier.has_error());
  EXPECT_NE(heavier.error().message().find("bytes of list"), std::string::npos);
}

template <class T>
void append(std::vector<std::byte>& bytes, std::initializer_list<T> values) {
  for (const T value : values) {
    const auto* data = reinterpret_cast<const std::byte*>(&value);
    bytes.insert(bytes.end(), data, data + sizeof value);
  }
}

/// Metadata of `members` by hand, in which every entry of the list is the same member, whose
/// address has `ucx_bytes` bytes.
frame one_member_often(std::uint32_t count, std::uint32_t ucx_bytes) {
  frame f;
  f.header.kind = frame_kind::members;
  auto& out = f.metadata;
  const std::uint32_t fields = 24 + 4 * count;  // where the member's list of fields is
  const std::uint32_t member = fields + 28;
  append<std::uint32_t>(out, {12});          // the root table
  append<std::uint16_t>(out, {8, 8, 0, 4});  // its fields: no version, the list
  append<std::int32_t>(out, {8});
  append<std::uint32_t>(out, {4, count});
  for (std::uint32_t i = 0; i < count; ++i) append(out, {member - (24 + 4 * i)});
  append<std::uint16_t>(out, {28, 12, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 8, 0});
  append<std::int32_t>(out, {28});
  append<std::uint32_t>(out, {role_expert, 4, ucx_bytes});
  out.resize(out.size() + ucx_bytes);
  return f;
}

TEST(control, members_that_share_their_bytes_are_measured_before_they_are_copied) {
  const frame one = one_member_often(1, 100);
  const auto back = decode(one);
  ASSERT_TRUE(back.has_value()) << back.error().message();
  EXPECT_EQ(std::get<members>(*back).list.at(0).ucx.size(), 100U);
  EXPECT_EQ(refusal(one_member_often(members_max, ucx_bytes_max)),
            "members: list is larger than 8 MiB");
  EXPECT_EQ(refusal(one_member_often(2, 100)), "members: list is not by ascending node");
  EXPECT_EQ(refusal(one_member_often(1, ucx_bytes_max + 1)), "members: list.ucx is too long");
  EXPECT_EQ(refusal(one_member_often(members_max + 1, 0)),
            "members: the metadata is not a table of this kind");
}

/// A frame whose string of 255 times `letter` is said to have one byte more.
frame with_longer_string(frame f, char letter) {
  const auto byte = static_cast<std::byte>(letter);
  f.metadata.resize(f.metadata.size() + 4);
  return patched<std::byte>(std::move(f),
                            {std::byte{255}, {}, {}, {}, byte, byte},
                            {std::byte{0}, std::byte{1}, {}, {}, byte, byte});
}

TEST(control, strings_of_others_are_measured_before_they_are_copied) {
  join joining;
  joining.roles = role_expert;
  joining.name.assign(name_bytes_max, 'n');
  EXPECT_EQ(refusal(with_longer_string(encode(joining, {}, {}).value(), 'n')),
            "join: name is too long");
  const welcome answer{std::string(name_bytes_max, 'c'), 0, 0, {}};
  EXPECT_EQ(refusal(with_longer_string(encode(answer, {}, {}).value(), 'c')),
            "welcome: cluster is too long");
  const join good = sample_join();
  EXPECT_EQ(refusal(patched<std::uint8_t>(encode(good, {}, {}).value(),
                                          {32, 0, 0, 0, 0x40, 0x41},
                                          {33, 0, 0, 0, 0x40, 0x41})),
            "join: ticket_key is too long");
}

TEST(control, a_long_reason_is_cut_and_a_lost_path_is_the_default) {
  path_report m{node_id{1}, incarnation{2}, true, std::string(text_bytes_max + 1, 'x')};
  const auto back = decode(encode(m, {}, {}).value());
  ASSERT_TRUE(back.has_value());
  m.why.pop_back();
  EXPECT_EQ(std::get<path_report>(*back), m);
}

TEST(control, epochs_travel_in_the_header) {
  EXPECT_EQ(encode(sample_join(), {}, {})->header.epoch, atl::epoch{41});
  EXPECT_EQ(encode(adopted{atl::epoch{9}, atl::epoch{7}}, {}, {})->header.epoch, atl::epoch{9});
  EXPECT_EQ(encode(release{atl::epoch{10}, {}, {}, {}}, {}, {})->header.epoch, atl::epoch{10});
}

}  // namespace
}  // namespace atl::transport::wire
