#include "experts/store/expert_fetch.hpp"
#include "tests/unit/experts/store/weights_of.hpp"

#include <gtest/gtest.h>

namespace atl::experts {
namespace {

namespace wire = transport::wire;
using std::chrono::milliseconds;

constexpr node_id near{7};
constexpr node_id far{8};
constexpr expert_key key{layer_index{1}, 0};

/// Two experts of this size are 3 chunks and a bit.
model::model_config large_config() {
  model::model_config c = ragged_config();
  c.hidden = 1000;
  c.expert_inner = 1100;
  return c;
}

class fetching : public testing::Test {
protected:
  fetching() : made_{large_config()} {
    weights_ = made_.add(1, 0, tensor::dtype::f32, tensor::dtype::f32, tensor::dtype::f32);
    layout_ = layout_of(weights_);
    fetch_.emplace(5, key, std::vector<node_id>{near, far}, room_, now_);
  }

  wire::chunk answer(const wire::fetch& ask) const {
    wire::chunk c;
    c.number = ask.number;
    c.layer = ask.layer;
    c.expert = ask.expert;
    c.offset = ask.offset;
    c.total = layout_.total;
    c.parts = layout_.parts;
    std::vector<std::byte> bytes(std::min<std::uint64_t>(ask.length, layout_.total - ask.offset));
    read_blob(weights_, ask.offset, bytes);
    c.bytes = transport::own_payload(std::move(bytes));
    return c;
  }
  static wire::chunk refusal(const wire::fetch& ask, errc code) {
    wire::chunk c;
    c.number = ask.number;
    c.layer = ask.layer;
    c.expert = ask.expert;
    c.offset = ask.offset;
    c.cause = wire::failure{code, "no"};
    return c;
  }
  /// The question that is due; fails the test where there is none.
  expert_fetch::question due() {
    const auto q = fetch_->poll(now_);
    EXPECT_TRUE(q.has_value() && q->has_value());
    if (q.has_value() && *q) open_ = **q;
    return open_.value_or(expert_fetch::question{});
  }
  bool is_idle() {
    const auto q = fetch_->poll(now_);
    return q.has_value() && !*q;
  }
  bool give(node_id from, const wire::chunk& c) {
    const auto taken = fetch_->take(from, c, large_config(), now_);
    EXPECT_TRUE(taken.has_value());
    if (!taken.has_value() || !*taken) return false;
    EXPECT_EQ((*taken)->from.size(), (*taken)->to.size());
    std::copy((*taken)->from.begin(), (*taken)->from.end(), (*taken)->to.begin());
    open_.reset();
    return true;
  }
  void finish() {
    while (!fetch_->is_complete()) {
      const auto q = open_ ? *open_ : due();
      ASSERT_NE(q.ask.length, 0U);
      ASSERT_TRUE(give(q.to, answer(q.ask)));
    }
    std::vector<std::byte> whole(layout_.total);
    read_blob(weights_, 0, whole);
    const auto bytes = fetch_->memory()->bytes();
    EXPECT_TRUE(std::equal(whole.begin(), whole.end(), bytes.begin(), bytes.end()));
    EXPECT_TRUE(is_idle());
  }

  made_weights made_;
  model::ffn_weights weights_;
  blob_layout layout_;
  time_point_ns now_{1'000};
  std::shared_ptr<memory_budget> room_ =
      std::make_shared<memory_budget>("experts", std::size_t{1} << 30);
  std::optional<expert_fetch> fetch_;
  std::optional<expert_fetch::question> open_;  // asked and not answered yet
};

TEST_F(fetching, asks_for_one_chunk_after_the_other) {
  ASSERT_GT(layout_.total, 3U * wire::chunk_bytes_max);
  const auto first = due();
  EXPECT_EQ(first.to, near);
  EXPECT_EQ(first.ask.offset, 0U);
  EXPECT_TRUE(is_idle());
  EXPECT_EQ(room_->used_bytes(), 0U);  // nothing before an answer was checked
  ASSERT_TRUE(give(near, answer(first.ask)));
  const auto second = due();
  EXPECT_EQ(second.ask.offset, wire::chunk_bytes_max);
  EXPECT_NE(second.ask.number, first.ask.number);
  EXPECT_FALSE(give(near, answer(first.ask)));  // a second time
  ASSERT_TRUE(give(near, answer(second.ask)));
  finish();
}

TEST_F(fetching, passes_over_a_silent_source_and_still_takes_its_late_answer) {
  const auto first = due();
  now_ = now_ + milliseconds{999};
  EXPECT_TRUE(is_idle());
  now_ = now_ + milliseconds{1};
  const auto again = due();
  EXPECT_EQ(again.to, far);
  EXPECT_EQ(again.ask, first.ask);
  ASSERT_TRUE(give(near, answer(first.ask)));
  EXPECT_FALSE(give(far, answer(again.ask)));
  finish();
}

TEST_F(fetching, asks_a_source_that_is_gone_or_lacks_the_expert_no_more) {
  auto q = due();
  fetch_->lost(near, "killed");
  q = due();
  EXPECT_EQ(q.to, far);
  EXPECT_FALSE(give(far, refusal(q.ask, errc::not_found)));
  const auto end = fetch_->poll(now_);
  ASSERT_TRUE(end.has_error());
  EXPECT_EQ(end.error().code(), errc::unavailable);
  EXPECT_NE(end.error().message().find("node 8 says: no"), std::string::npos);
}

TEST_F(fetching, asks_a_full_source_again_a_little_later) {
  fetch_.emplace(5, key, std::vector<node_id>{near}, room_, now_);
  const auto q = due();
  EXPECT_FALSE(give(near, refusal(q.ask, errc::overloaded)));
  EXPECT_TRUE(is_idle());
  now_ = now_ + fetch_pause;
  EXPECT_EQ(due().to, near);
  finish();
}

TEST_F(fetching, a_question_that_was_not_sent_goes_elsewhere_after_a_pause) {
  due();
  fetch_->unsent(error{errc::peer_gone, "closed"}, now_);
  EXPECT_TRUE(is_idle());
  now_ = now_ + fetch_pause;
  EXPECT_EQ(due().to, far);
  finish();
}

TEST_F(fetching, progress_buys_time_and_silence_ends_it) {
  for (int i = 0; i < 3; ++i) {
    now_ = now_ + milliseconds{4900};
    const auto q = fetch_->poll(now_);
    ASSERT_TRUE(q.has_value() && *q) << i;
    ASSERT_TRUE(give((**q).to, answer((**q).ask)));
  }
  due();
  now_ = now_ + milliseconds{4999};
  EXPECT_TRUE(fetch_->poll(now_).has_value());
  now_ = now_ + milliseconds{1000};
  const auto end = fetch_->poll(now_);
  ASSERT_TRUE(end.has_error());
  EXPECT_NE(end.error().message().find("does not answer"), std::string::npos);
}

TEST_F(fetching, ignores_what_it_did_not_ask_for) {
  const auto q = due();
  const auto changed = [&](auto change) {
    wire::chunk c = answer(q.ask);
    change(c);
    return c;
  };
  EXPECT_FALSE(give(node_id{99}, answer(q.ask)));
  EXPECT_FALSE(give(near, changed([](wire::chunk& c) { c.number ^= 1; })));
  EXPECT_FALSE(give(near, changed([](wire::chunk& c) { c.layer = layer_index{2}; })));
  EXPECT_FALSE(give(near, changed([](wire::chunk& c) { c.expert = 1; })));
  EXPECT_FALSE(give(near, changed([](wire::chunk& c) { c.offset = 64; })));
  EXPECT_EQ(room_->used_bytes(), 0U);
  finish();
}

TEST_F(fetching, a_source_that_lies_is_asked_no_more) {
  auto q = due();
  wire::chunk c = answer(q.ask);
  c.parts[2].rows = 1U << 31;
  EXPECT_FALSE(give(near, c));
  EXPECT_EQ(room_->used_bytes(), 0U);
  q = due();
  EXPECT_EQ(q.to, far);
  ASSERT_TRUE(give(far, answer(q.ask)));
  // Short by a byte; and other weights in the middle of a transfer.
  fetch_->add_source(near);
  q = due();
  c = answer(q.ask);
  c.bytes.bytes = c.bytes.bytes.first(c.bytes.bytes.size() - 1);
  EXPECT_FALSE(give(far, c));
  q = due();
  EXPECT_EQ(q.to, near);
  c = answer(q.ask);
  made_weights other{large_config()};
  const auto halves =
      layout_of(other.add(1, 0, tensor::dtype::bf16, tensor::dtype::bf16, tensor::dtype::bf16));
  c.parts = halves.parts;
  EXPECT_FALSE(give(near, c));
  EXPECT_TRUE(fetch_->poll(now_).has_error());
}

TEST_F(fetching, a_budget_without_room_ends_it) {
  room_ = std::make_shared<memory_budget>("experts", layout_.total - 1);
  fetch_.emplace(5, key, std::vector<node_id>{near, far}, room_, now_);
  const auto q = due();
  const auto taken = fetch_->take(near, answer(q.ask), large_config(), now_);
  ASSERT_TRUE(taken.has_error());
  EXPECT_EQ(taken.error().code(), errc::out_of_memory);
  EXPECT_EQ(room_->used_bytes(), 0U);
}

}  // namespace
}  // namespace atl::experts
