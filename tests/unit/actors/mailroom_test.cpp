// Whose frames a mailroom takes.
#include "actors/mailroom.hpp"

#include <gtest/gtest.h>

namespace atl::actors {
namespace {

namespace wire = transport::wire;

/// Hands over what a test lets arrive.
class line final : public transport::transport {
public:
  std::weak_ptr<atl::transport::receiver> to;

  result<void> listen(atl::transport::node_identity,
                      std::weak_ptr<atl::transport::receiver> receiver) override {
    to = std::move(receiver);
    return {};
  }
  result<std::shared_ptr<atl::transport::endpoint>> connect(node_id) override {
    return error{errc::peer_gone, "nobody is there"};
  }
  result<std::unique_ptr<atl::transport::memory_region>>
  register_memory(std::span<std::byte> bytes) override {
    return atl::transport::plain_region(bytes);
  }
  void close() noexcept override {}
};

/// Node 1, and what lives of node 2 send to it on the data path.
class mailroom_test : public testing::Test {
protected:
  mailroom_test()
      : data_{std::make_shared<line>()},
        here_{{node_id{1}, incarnation{1}}, {data_, nullptr, nullptr, nullptr}} {
    here_.bind(pulse_slot, [this](const incoming_ptr&) { ++taken_; });
    EXPECT_TRUE(here_.open().has_value());
  }

  void list(std::uint64_t life) {
    wire::members all;
    all.version = ++version_;
    if (life > 0) {
      wire::member_info m;
      m.node = node_id{2};
      m.life = incarnation{life};
      all.list.push_back(m);
    }
    here_.set_members(all);
  }

  /// Whether a frame of that life reaches an actor.
  bool is_heard(std::uint64_t life) {
    wire::heartbeat beat;
    beat.number = number_ + 1;
    return is_taken(beat, life);
  }

  template <class Message>
  bool is_taken(const Message& m, std::uint64_t life) {
    const int before = taken_;
    auto f = wire::encode(m, {node_id{2}, pulse_slot}, {node_id{1}, pulse_slot}).value();
    f.header.sender = incarnation{life};
    f.header.sequence = ++number_;
    data_->to.lock()->on_frame(std::move(f));
    return taken_ > before;
  }

  std::shared_ptr<line> data_;
  mailroom here_;
  int taken_ = 0;
  std::uint64_t version_ = 0, number_ = 0;
};

TEST_F(mailroom_test, hears_no_life_before_that_of_a_member) {
  list(7);
  EXPECT_TRUE(is_heard(7));
  EXPECT_FALSE(is_heard(6));
  EXPECT_EQ(here_.counts().stale, 1U);
}

TEST_F(mailroom_test, hears_a_life_that_is_over_no_more) {
  list(7);
  list(0);
  EXPECT_FALSE(is_heard(7));
  list(8);
  EXPECT_FALSE(is_heard(7));
  EXPECT_TRUE(is_heard(8));
}

TEST_F(mailroom_test, hears_the_next_life_even_if_it_spoke_before_the_list_without_the_last_one) {
  list(7);
  EXPECT_TRUE(is_heard(8));  // it has its members already
  list(0);
  list(8);
  EXPECT_TRUE(is_heard(8));
}

TEST_F(mailroom_test, takes_no_word_of_the_coordinator_by_the_data_path) {
  list(7);
  wire::place p;
  p.epoch = epoch{~std::uint64_t{0}};
  EXPECT_FALSE(is_taken(p, 7));
  EXPECT_EQ(here_.counts().refused, 1U);
  EXPECT_TRUE(is_taken(wire::cancel{request_id{1}}, 7));
}

}  // namespace
}  // namespace atl::actors
