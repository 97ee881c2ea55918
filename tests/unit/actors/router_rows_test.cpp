// What travels to expert groups and back: which rows, once each, in which type; and who may say
// where to.
#include "tests/unit/actors/router_world.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <set>

namespace atl::actors {
namespace {

using namespace std::chrono_literals;

TEST(router, each_row_goes_once_to_each_group_that_computes_some_of_it) {
  router_world w;
  w.place(1, in_two);
  w.ask(0, 12);
  const auto sent = w.sent();
  EXPECT_EQ(assignments(sent), w.pairs(12));
  EXPECT_EQ(numbers(sent).size(), sent.size());
  std::set<node_id> nodes;
  for (const auto& a : sent) {
    EXPECT_TRUE(nodes.insert(a.to.node).second);
    EXPECT_EQ(a.to.slot, group_slot_base);
    EXPECT_LE(a.rows.input.count, 12U);
    EXPECT_EQ(a.rows.call.shard, shard_id{7});
    EXPECT_EQ(a.rows.epoch, epoch{1});
  }
  EXPECT_TRUE(w.routed.empty());
  w.answer(sent);
  w.expect_routed(0);
  EXPECT_EQ(w.counts().rows_in_flight, 0U);
}

TEST(router, a_row_with_several_experts_on_a_node_travels_there_once) {
  router_world w;
  w.place(1, [](std::uint32_t) { return group_list{1}; });  // all experts on one node
  w.ask(0, 12);
  const auto sent = w.sent();
  ASSERT_EQ(sent.size(), 1U);
  EXPECT_EQ(sent[0].rows.input.count, 12U);
  EXPECT_EQ(assignments(sent), w.pairs(12));
  EXPECT_GT(w.pairs(12), 12U);
  EXPECT_EQ(w.counts().rows_sent, 12U);
  w.answer(sent);
  w.expect_routed(0);
}

TEST(router, rows_travel_in_the_type_that_is_set_and_count_by_their_bytes) {
  std::map<tensor::dtype, held> counts;
  for (const auto type : {tensor::dtype::f32, tensor::dtype::bf16, tensor::dtype::f8_e4m3}) {
    // So many rows that some are encoded on the device.
    for (const std::int64_t rows : {12, 1200}) {
      router_world w{4096, type};
      w.place(1, in_two);
      w.ask(0, rows);
      w.device.go();
      w.run();
      const auto sent = w.sent();
      std::uint64_t bytes = 0;
      for (const auto& a : sent) {
        EXPECT_EQ(a.rows.input.type, type);
        bytes += a.rows.input.payload.bytes.size();
      }
      w.answer(sent);
      w.expect_routed(0);
      counts[type] = w.counts();
      EXPECT_EQ(counts[type].row_bytes_sent, bytes);
      EXPECT_EQ(counts[type].row_bytes_received,
                w.pairs(rows) * wire::row_bytes(type, static_cast<std::uint32_t>(w.width())));
    }
  }
  const held& full = counts[tensor::dtype::f32];
  const held& half = counts[tensor::dtype::bf16];
  const held& quarter = counts[tensor::dtype::f8_e4m3];
  EXPECT_EQ(full.rows_sent, half.rows_sent);
  EXPECT_EQ(full.row_bytes_sent, 2 * half.row_bytes_sent);
  EXPECT_EQ(full.row_bytes_received, 2 * half.row_bytes_received);
  EXPECT_LT(quarter.row_bytes_sent, full.row_bytes_sent * 27 / 100);
  EXPECT_LT(quarter.row_bytes_received, full.row_bytes_received * 27 / 100);
}

TEST(router, an_answer_of_another_type_or_with_a_scale_that_is_none_is_dropped) {
  for (const float scale : {0.0F, -1.0F, NAN, HUGE_VALF}) {
    router_world w{64, tensor::dtype::f8_e4m3};
    w.place(1, [](std::uint32_t) { return group_list{1}; });
    w.ask(0, 3);
    const auto sent = w.sent();
    ASSERT_EQ(sent.size(), 1U);
    auto odd = w.answer_to(sent[0]);
    const auto bytes = odd.output.payload.bytes;
    std::vector<std::byte> changed{bytes.begin(), bytes.end()};
    std::memcpy(changed.data() + wire::row_bytes(odd.output.type, odd.output.width) * 2,
                &scale,
                sizeof scale);
    odd.output.payload = transport::own_payload(std::move(changed));
    w.say(sent[0], odd);
    auto other = w.answer_to(sent[0]);
    other.output.type = tensor::dtype::f32;
    other.output.payload = transport::own_payload(
        std::vector<std::byte>(other.output.count * std::size_t{other.output.width} * 4));
    w.say(sent[0], other);
    EXPECT_EQ(w.counts().answers_odd, 2U);
    EXPECT_TRUE(w.routed.empty());
    w.answer(sent);
    w.expect_routed(0);
  }
}

TEST(router, a_group_that_does_not_know_the_type_fails_the_call_by_its_own_words) {
  router_world w{64, tensor::dtype::bf16};
  w.place(1, in_one);
  w.ask(0, 3);
  const auto sent = w.sent();
  w.refuse(sent.at(0), errc::unsupported);
  ASSERT_EQ(w.routed.size(), 1U);
  ASSERT_TRUE(w.routed[0].failure.has_value());
  EXPECT_EQ(w.routed[0].failure->code(), errc::unsupported);
  EXPECT_NE(w.routed[0].failure->message().find("refused by the test"), std::string::npos);
}

TEST(router, only_the_agent_says_where_rows_go) {
  router_world w;
  w.place(1, in_two);
  w.is_by_agent = false;
  w.place(9, in_one);
  w.ask(0, 12);
  const auto sent = w.sent();
  for (const auto& a : sent) EXPECT_EQ(a.rows.epoch, epoch{1});
  w.answer(sent);
  w.expect_routed(0);
}

TEST(router, a_group_that_takes_longer_gets_fewer_rows_until_it_is_as_quick_again) {
  router_world w{4096};
  w.place(1, in_two);
  const node_id slow = router_world::node_of(0);
  // Parts of all pairs that it gets of thirty steps, after ten to find out.
  const auto part_of_slow = [&](duration_ns longer) {
    double all = 0;
    double own = 0;
    for (int step = 0; step < 40; ++step) {
      w.ask(0, 24);
      const auto sent = w.sent();
      w.pass(5ms);
      for (const auto& a : sent) {
        if (step >= 10) all += static_cast<double>(a.rows.assignments.size());
        if (step >= 10 && a.to.node == slow) own += static_cast<double>(a.rows.assignments.size());
        if (a.to.node != slow) w.answer(a);
      }
      w.pass(longer);
      for (const auto& a : sent)
        if (a.to.node == slow) w.answer(a);
      w.expect_routed(0);
    }
    return own / all;
  };
  EXPECT_NEAR(part_of_slow(0ms), 1.0 / 3, 0.06);
  EXPECT_LT(part_of_slow(40ms), 0.24);
  EXPECT_GT(part_of_slow(40ms), 0.08);
  for (int i = 0; i < 5; ++i) part_of_slow(0ms);  // some two hundred answers: what was slow fades
  EXPECT_NEAR(part_of_slow(0ms), 1.0 / 3, 0.08);
}

}  // namespace
}  // namespace atl::actors
