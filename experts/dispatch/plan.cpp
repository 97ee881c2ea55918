#include "experts/dispatch/plan.hpp"

#include "runtime/base/assert.hpp"

#include <algorithm>
#include <cstddef>

namespace atl::experts {

namespace {

constexpr std::uint32_t no_slot = 0xFFFF'FFFF;

/// Makes the group plans of all groups that are a target, by ascending group, with room for their
/// assignments; returns group -> slot.
std::vector<std::uint32_t>
open_slots(dispatch_plan& plan, std::uint32_t groups, const group_id* targets) {
  std::vector<std::uint32_t> assignments(groups, 0);
  for (std::int64_t i = 0; i < plan.rows * plan.k; ++i) {
    ATOLL_ASSERT(targets[i].value < groups);
    ++assignments[targets[i].value];
  }
  std::vector<std::uint32_t> slots(groups, no_slot);
  for (std::uint32_t g = 0; g < groups; ++g) {
    if (assignments[g] == 0) continue;
    slots[g] = static_cast<std::uint32_t>(plan.groups.size());
    group_plan& opened = plan.groups.emplace_back();
    opened.group = group_id{g};
    opened.experts.reserve(assignments[g]);
    opened.ranks.reserve(assignments[g]);
  }
  return slots;
}

}  // namespace

dispatch_plan plan_dispatch(std::int64_t rows,
                            std::int64_t k,
                            std::uint32_t groups,
                            const std::uint32_t* experts,
                            const group_id* targets) {
  ATOLL_ASSERT(rows >= 0 && k >= 1 && rows <= 0x7FFF'FFFF / k);
  dispatch_plan plan;
  plan.rows = rows;
  plan.k = k;
  const std::vector<std::uint32_t> slots = open_slots(plan, groups, targets);
  for (std::int64_t row = 0; row < rows; ++row) {
    for (std::int64_t rank = 0; rank < k; ++rank) {
      const std::int64_t i = row * k + rank;
      group_plan& to = plan.groups[slots[targets[i].value]];
      if (to.rows.empty() || to.rows.back() != row) {
        to.rows.push_back(static_cast<std::uint32_t>(row));
        to.offsets.push_back(static_cast<std::uint32_t>(to.experts.size()));
      }
      to.experts.push_back(experts[i]);
      to.ranks.push_back(static_cast<std::uint32_t>(rank));
    }
  }
  for (group_plan& group : plan.groups) {
    group.offsets.push_back(static_cast<std::uint32_t>(group.experts.size()));
  }
  return plan;
}

dispatch_progress::dispatch_progress(const dispatch_plan& plan) {
  slots_.reserve(plan.groups.size());
  for (const group_plan& group : plan.groups) {
    const auto rows = static_cast<std::uint32_t>(group.rows.size());
    slots_.push_back({.sent = 0, .rows = rows});
    waiting_ += rows;
  }
}

send_range dispatch_progress::take(std::uint32_t slot, std::uint32_t credits) {
  ATOLL_ASSERT(slot < slots_.size());
  slot_state& state = slots_[slot];
  const std::uint32_t count = std::min(credits, state.rows - state.sent);
  const send_range range{.slot = slot, .first = state.sent, .count = count};
  state.sent += count;
  waiting_ -= count;
  return range;
}

std::uint32_t dispatch_progress::waiting_rows(std::uint32_t slot) const {
  ATOLL_ASSERT(slot < slots_.size());
  return slots_[slot].rows - slots_[slot].sent;
}

}  // namespace atl::experts
