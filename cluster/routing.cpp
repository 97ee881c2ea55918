#include "cluster/routing.hpp"

#include "runtime/base/assert.hpp"
#include "runtime/base/random.hpp"

#include <algorithm>
#include <cmath>

namespace atl::cluster {
namespace {

// Products of factor and share that are whole numbers come out a rounding error above them.
constexpr double rounding = 1e-9;
// Estimates are no better than this; within it, shares decide.
constexpr double clearly_less = 0.95;

bool is_in(const std::vector<group_id>& sorted, group_id group) {
  return std::binary_search(sorted.begin(), sorted.end(), group);
}

/// Rows of one expert that stay together.
struct block {
  std::uint32_t rows = 0;
  group_id group = experts::no_group;
};

/// A replica that may take rows of one expert.
struct candidate {
  group_id group;
  std::uint32_t share = 0;
  std::uint32_t limit = 0;  // rows
  std::uint32_t given = 0;  // of this expert
  std::size_t estimate = 0;
};

struct expert_blocks {
  std::uint32_t rows = 0;
  std::size_t next = 0;    // block
  std::uint32_t left = 0;  // of the one before it
};

/// One call of route().
class choice {
public:
  choice(const routing_state& state, layer_index layer, std::uint64_t call)
      : state_{state}, layer_{layer}, numbers_{call}, experts_(state.map.shape().experts) {}

  void count(std::span<const std::uint32_t> pairs, const std::uint32_t* chosen) {
    for (const std::uint32_t pair : pairs) {
      const std::uint32_t expert = chosen[pair];
      ATOLL_ASSERT(expert < experts_.size());
      if (experts_[expert].rows++ == 0) seen_.push_back(expert);
    }
  }

  void assign() {
    std::vector<std::uint32_t> open;
    for (const std::uint32_t expert : seen_)
      if (!assign_only(expert)) open.push_back(expert);
    if (open.empty()) return;
    given_.assign(state_.expected.size(), 0);
    for (const block& b : blocks_) note(estimate_of(b.group), b.rows);
    std::sort(open.begin(), open.end(), [this](std::uint32_t a, std::uint32_t b) {
      return experts_[a].rows != experts_[b].rows ? experts_[a].rows > experts_[b].rows : a < b;
    });
    for (const std::uint32_t expert : open) assign_blocks(expert);
  }

  group_id next(std::uint32_t expert) {
    expert_blocks& of = experts_[expert];
    if (of.left == 0) of.left = blocks_[of.next++].rows;
    --of.left;
    return blocks_[of.next - 1].group;
  }

private:
  bool may_use(const experts::replica& copy, bool also_shunned) const {
    return !is_in(state_.avoid.gone, copy.group) &&
           (also_shunned || !is_in(state_.avoid.shunned, copy.group));
  }

  /// The replicas that may be used; those that are shunned only where there is no other.
  void find_candidates(std::uint32_t expert) {
    candidates_.clear();
    const auto copies = state_.map.replicas(layer_, expert_index{expert});
    const bool all_may = state_.avoid.gone.empty() && state_.avoid.shunned.empty();
    for (const bool also_shunned : {false, true}) {
      for (const auto& copy : copies)
        if (all_may || may_use(copy, also_shunned)) candidates_.push_back({copy.group, copy.share});
      if (!candidates_.empty() || all_may) return;
    }
  }

  /// Where there is nothing to choose: one replica, or none.
  bool assign_only(std::uint32_t expert) {
    find_candidates(expert);
    if (candidates_.size() > 1) return false;
    expert_blocks& of = experts_[expert];
    of.next = blocks_.size();
    blocks_.push_back(
        {of.rows, candidates_.empty() ? experts::no_group : candidates_.front().group});
    return true;
  }

  std::size_t estimate_of(group_id group) const {
    const auto& all = state_.expected;
    const auto at = std::lower_bound(
        all.begin(), all.end(), group, [](const group_estimate& e, group_id wanted) {
          return e.group < wanted;
        });
    return at != all.end() && at->group == group ? static_cast<std::size_t>(at - all.begin())
                                                 : all.size();
  }

  void note(std::size_t estimate, std::uint32_t rows) {
    if (estimate < given_.size()) given_[estimate] += rows;
  }

  double end_of(const candidate& c, std::uint32_t rows) const {
    if (c.estimate >= given_.size()) return 0;
    const group_estimate& e = state_.expected[c.estimate];
    return e.start_ns + e.pair_ns * static_cast<double>(given_[c.estimate] + rows);
  }

  void assign_blocks(std::uint32_t expert) {
    expert_blocks& of = experts_[expert];
    of.next = blocks_.size();
    find_candidates(expert);
    double shares = 0;
    for (const candidate& c : candidates_) shares += c.share;
    for (candidate& c : candidates_) {
      const double fair = c.share / shares * of.rows;
      c.limit = static_cast<std::uint32_t>(
          std::ceil(std::min<double>(state_.capacity_factor * fair - rounding, of.rows)));
      c.estimate = estimate_of(c.group);
    }
    std::uint32_t left = of.rows;
    for (std::uint64_t number = 0; left > 0; ++number) {
      std::uint32_t rows = std::min(left, routing_block_rows);
      candidate* const to = choose(expert, number, rows);
      to->given += rows;
      left -= rows;
      note(to->estimate, rows);
      blocks_.push_back({rows, to->group});
    }
  }

  /// The better of two replicas that have room for the block. It is made smaller where none has.
  candidate* choose(std::uint32_t expert, std::uint64_t number, std::uint32_t& rows) {
    const auto has_room = [&rows](const candidate& c) {
      return c.given == 0 || c.given + rows <= c.limit;
    };
    std::uint64_t shares = 0;
    for (const candidate& c : candidates_)
      if (has_room(c)) shares += c.share;
    if (shares == 0) return most_room(rows);
    // The remainder's bias is shares / 2^64.
    const auto draw = [&](std::uint64_t which) {
      std::uint64_t point = numbers_.at(2 * number + which, expert) % shares;
      for (candidate& c : candidates_) {
        if (!has_room(c)) continue;
        if (point < c.share) return &c;
        point -= c.share;
      }
      return &candidates_.back();
    };
    candidate* const first = draw(0);
    candidate* const second = draw(1);
    return end_of(*second, rows) < clearly_less * end_of(*first, rows) ? second : first;
  }

  /// The limits together are no less than the rows, so one has room as long as rows are left.
  candidate* most_room(std::uint32_t& rows) {
    const auto room = [](const candidate& c) { return c.limit > c.given ? c.limit - c.given : 0; };
    candidate* best = &candidates_.front();
    for (candidate& c : candidates_)
      if (room(c) > room(*best)) best = &c;
    rows = std::min(rows, std::max(room(*best), 1U));
    return best;
  }

  const routing_state& state_;
  layer_index layer_;
  philox numbers_;
  std::vector<expert_blocks> experts_;
  std::vector<std::uint32_t> seen_;
  std::vector<block> blocks_;
  std::vector<std::uint32_t> given_;  // pairs of this call, as expected
  std::vector<candidate> candidates_;
};

}  // namespace

void route(const routing_state& state,
           layer_index layer,
           std::uint64_t call,
           std::span<const std::uint32_t> pairs,
           const std::uint32_t* chosen,
           group_id* targets) {
  ATOLL_ASSERT(state.capacity_factor >= 1);
  choice all{state, layer, call};
  all.count(pairs, chosen);
  all.assign();
  for (std::size_t i = 0; i < pairs.size(); ++i) targets[i] = all.next(chosen[pairs[i]]);
}

}  // namespace atl::cluster
