// The codec copies vectors of structs as they lie, so the plain struct and the schema's, which
// other implementations read, must name the same bytes alike.
#include "transport/schema/atoll_generated.h"
#include "transport/wire/messages.hpp"

#include <gtest/gtest.h>

#include <cstring>

namespace atl::transport::wire {
namespace {

template <class Wire, class Plain>
Wire as_wire(const Plain& plain) {
  static_assert(sizeof(Plain) == sizeof(Wire) && alignof(Plain) == alignof(Wire));
  Wire wire;
  std::memcpy(static_cast<void*>(&wire), &plain, sizeof plain);
  return wire;
}

TEST(schema, structs_of_the_expert_path_lie_as_it_says) {
  const auto a = as_wire<fbs::Assignment>(assignment{1, 2});
  EXPECT_EQ(a.expert(), 1U);
  EXPECT_EQ(a.rank(), 2U);
  const auto r = as_wire<fbs::ExpertRows>(expert_rows{3, 4});
  EXPECT_EQ(r.expert(), 3U);
  EXPECT_EQ(r.rows(), 4U);
}

TEST(schema, structs_of_placement_lie_as_it_says) {
  const auto p = as_wire<fbs::PlacementEntry>(placement_entry{layer_index{1}, 2, group_id{3}, 4});
  EXPECT_EQ(p.layer(), 1U);
  EXPECT_EQ(p.expert(), 2U);
  EXPECT_EQ(p.group(), 3U);
  EXPECT_EQ(p.weight(), 4.0F);
  const auto g = as_wire<fbs::GroupPlace>(group_place{group_id{5}, node_id{6}, 7});
  EXPECT_EQ(g.group(), 5U);
  EXPECT_EQ(g.node(), 6U);
  EXPECT_EQ(g.slot(), 7U);
  const auto l = as_wire<fbs::ExpertLoad>(expert_load{layer_index{8}, 9, 10});
  EXPECT_EQ(l.layer(), 8U);
  EXPECT_EQ(l.expert(), 9U);
  EXPECT_EQ(l.rows(), 10U);
  const auto n = as_wire<fbs::ExpertName>(expert_name{layer_index{14}, 15});
  EXPECT_EQ(n.layer(), 14U);
  EXPECT_EQ(n.expert(), 15U);
  const auto c = as_wire<fbs::CheckedExpert>(checked_expert{11, layer_index{12}, 13});
  EXPECT_EQ(c.check(), 11U);
  EXPECT_EQ(c.layer(), 12U);
  EXPECT_EQ(c.expert(), 13U);
}

TEST(schema, serials_lie_as_it_says) {
  const auto s = as_wire<fbs::Serial>(certificate_serial{16, 17});
  EXPECT_EQ(s.high(), 16U);
  EXPECT_EQ(s.low(), 17U);
}

}  // namespace
}  // namespace atl::transport::wire
