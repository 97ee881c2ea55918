#include "cluster/placement_table.hpp"

#include <gtest/gtest.h>

namespace atl::cluster {
namespace {

map_ptr map_of(std::uint64_t version) {
  experts::expert_shape shape{.layers = {layer_index{0}}, .experts = 1};
  auto made = experts::expert_map::make(epoch{version}, shape, 1, {{{.group = group_id{0}}}});
  return std::make_shared<const experts::expert_map>(std::move(*made));
}

TEST(placement_table, calls_keep_the_epoch_they_started_under) {
  placement_table table{map_of(1)};
  const map_ptr first = table.enter();
  const map_ptr second = table.enter();
  ASSERT_TRUE(table.stage(map_of(2)).has_value());
  EXPECT_EQ(table.current()->version(), epoch{1}) << "staging changes nothing yet";
  EXPECT_EQ(table.find(epoch{2}).error().code(), errc::stale_epoch) << "nor can it be used";
  ASSERT_TRUE(table.flip(epoch{2}).has_value());
  EXPECT_EQ(table.pending(), nullptr);
  EXPECT_EQ(table.enter()->version(), epoch{2});
  EXPECT_EQ(*table.find(epoch{1}), first);
  EXPECT_FALSE(table.leave(epoch{1}));
  EXPECT_TRUE(table.leave(epoch{1}));
  EXPECT_EQ(table.find(epoch{1}).error().code(), errc::stale_epoch);
  EXPECT_FALSE(table.leave(epoch{2})) << "the current epoch stays";
  EXPECT_TRUE(table.find(epoch{2}).has_value());
  EXPECT_EQ(second, first);
}

TEST(placement_table, an_epoch_without_calls_goes_at_once) {
  placement_table table{map_of(1)};
  ASSERT_TRUE(table.stage(map_of(5)).has_value());
  ASSERT_TRUE(table.flip(epoch{5}).has_value());
  EXPECT_EQ(table.find(epoch{1}).error().code(), errc::stale_epoch);
  EXPECT_DEATH((void)table.leave(epoch{1}), "");
  EXPECT_DEATH((void)table.leave(epoch{5}), "");
}

TEST(placement_table, several_epochs_drain_side_by_side) {
  placement_table table{map_of(1)};
  for (std::uint64_t next = 2; next <= 4; ++next) {
    table.enter();
    ASSERT_TRUE(table.stage(map_of(next)).has_value());
    ASSERT_TRUE(table.flip(epoch{next}).has_value());
  }
  EXPECT_TRUE(table.leave(epoch{2}));
  EXPECT_EQ((*table.find(epoch{1}))->version(), epoch{1});
  EXPECT_EQ((*table.find(epoch{3}))->version(), epoch{3});
  EXPECT_TRUE(table.leave(epoch{3}));
  EXPECT_TRUE(table.leave(epoch{1}));
}

TEST(placement_table, refuses_epochs_that_are_over) {
  placement_table table{map_of(3)};
  EXPECT_EQ(table.stage(map_of(3)).error().code(), errc::stale_epoch);
  EXPECT_EQ(table.stage(map_of(2)).error().code(), errc::stale_epoch);
  EXPECT_EQ(table.flip(epoch{4}).error().code(), errc::stale_epoch);
  ASSERT_TRUE(table.stage(map_of(4)).has_value());
  EXPECT_EQ(table.stage(map_of(4)).error().code(), errc::stale_epoch);
  ASSERT_TRUE(table.stage(map_of(6)).has_value()) << "a later plan replaces one not yet current";
  EXPECT_EQ(table.flip(epoch{4}).error().code(), errc::stale_epoch);
  EXPECT_TRUE(table.flip(epoch{6}).has_value());
  EXPECT_EQ(table.flip(epoch{6}).error().code(), errc::stale_epoch);
}

}  // namespace
}  // namespace atl::cluster
