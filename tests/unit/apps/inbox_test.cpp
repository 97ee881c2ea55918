#include "apps/inbox.hpp"

#include <gtest/gtest.h>

namespace atl::apps {
namespace {

TEST(event_inbox, events_keep_the_time_at_which_they_came) {
  const auto time = std::make_shared<virtual_clock>();
  event_inbox inbox{time};
  time->advance(duration_ns{5});
  inbox.push(1, {});
  time->advance(duration_ns{20});
  inbox.push(2, {});
  time->advance(duration_ns{1000});
  const event_inbox::delivery got = inbox.wait();
  ASSERT_EQ(got.events.size(), 2);
  EXPECT_EQ(got.events[0].request, 1);
  EXPECT_EQ(got.events[0].when.value, 5);
  EXPECT_EQ(got.events[1].request, 2);
  EXPECT_EQ(got.events[1].when.value, 25);
  EXPECT_EQ(got.interrupt, 0);
}

}  // namespace
}  // namespace atl::apps
