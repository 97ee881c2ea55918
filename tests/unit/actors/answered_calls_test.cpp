#include "actors/answered_calls.hpp"

#include <gtest/gtest.h>

namespace atl::actors {
namespace {

answered_calls::key call(std::uint64_t number, std::uint64_t life = 1) {
  return {{node_id{3}, incarnation{life}}, shard_id{1}, number};
}

transport::wire::results answer(std::size_t bytes) {
  transport::wire::results r;
  r.output.count = 1;
  r.output.payload = transport::own_payload(std::vector<std::byte>(bytes));
  return r;
}

TEST(answered_calls, a_call_is_new_then_under_way_then_answered) {
  answered_calls calls;
  EXPECT_TRUE(calls.note(call(7)).is_new);
  const auto repeat = calls.note(call(7));
  EXPECT_FALSE(repeat.is_new);
  EXPECT_EQ(repeat.answer, nullptr);
  const auto given = answer(4);
  calls.answered(call(7), given);
  const auto later = calls.note(call(7));
  EXPECT_FALSE(later.is_new);
  ASSERT_NE(later.answer, nullptr);
  EXPECT_EQ(later.answer->output.payload.bytes.data(), given.output.payload.bytes.data());
}

TEST(answered_calls, what_is_not_computed_after_all_is_new_again) {
  answered_calls calls;
  EXPECT_TRUE(calls.note(call(7)).is_new);
  calls.forget(call(7));
  calls.forget(call(8));
  EXPECT_TRUE(calls.note(call(7)).is_new);
  calls.answered(call(7), answer(4));
  calls.forget(call(7));
  EXPECT_NE(calls.note(call(7)).answer, nullptr);
}

TEST(answered_calls, another_life_number_shard_or_node_is_another_call) {
  answered_calls calls;
  EXPECT_TRUE(calls.note(call(7)).is_new);
  EXPECT_TRUE(calls.note(call(8)).is_new);
  EXPECT_TRUE(calls.note(call(7, 2)).is_new);
  auto other = call(7);
  other.shard = shard_id{2};
  EXPECT_TRUE(calls.note(other).is_new);
  other.caller.node = node_id{4};
  EXPECT_TRUE(calls.note(other).is_new);
}

TEST(answered_calls, keeps_so_many_answers_and_all_that_is_under_way) {
  answered_calls calls;
  EXPECT_TRUE(calls.note(call(1000)).is_new);
  for (std::uint64_t i = 0; i <= answered_calls::answers_max; ++i) {
    EXPECT_TRUE(calls.note(call(i)).is_new);
    calls.answered(call(i), answer(4));
  }
  EXPECT_NE(calls.note(call(1)).answer, nullptr);
  EXPECT_FALSE(calls.note(call(1000)).is_new);
  EXPECT_TRUE(calls.note(call(0)).is_new);  // forgotten: it would be computed again
}

TEST(answered_calls, keeps_so_many_bytes) {
  answered_calls calls;
  constexpr std::size_t third = answered_calls::bytes_max / 3;
  for (std::uint64_t i = 0; i < 4; ++i) {
    EXPECT_TRUE(calls.note(call(i)).is_new);
    calls.answered(call(i), answer(third));
  }
  EXPECT_NE(calls.note(call(1)).answer, nullptr);
  EXPECT_TRUE(calls.note(call(0)).is_new);
  EXPECT_TRUE(calls.note(call(9)).is_new);
  calls.answered(call(9), answer(answered_calls::bytes_max + 1));  // none of that size is kept
  EXPECT_TRUE(calls.note(call(9)).is_new);
  EXPECT_TRUE(calls.note(call(3)).is_new);
}

}  // namespace
}  // namespace atl::actors
