#include "cluster/placement_index.hpp"

#include <algorithm>
#include <utility>

namespace atl::cluster {

namespace {

void add(std::size_t& sum, std::size_t n, bool is_added) { sum = is_added ? sum + n : sum - n; }

std::size_t mapped_of(const expert_digest& d) {
  return static_cast<std::size_t>(
      std::count_if(d.copies.begin(), d.copies.end(), [](const auto& c) { return c.is_mapped; }));
}

}  // namespace

void expert_set::set(std::size_t i, bool is_in) {
  if (has(i) == is_in) return;
  words_[i / 64] ^= std::uint64_t{1} << (i % 64);
  size_ = is_in ? size_ + 1 : size_ - 1;
}

placement_index::placement_index(std::size_t experts)
    : digests_(experts),
      experts_with_{experts},
      lost_{experts},
      coming_{experts},
      leaving_{experts},
      revivable_{experts},
      due_{experts} {
  for (std::size_t i = 0; i < experts; ++i) lost_.set(i, true);
}

placement_index::tally& placement_index::at(group_id group) {
  if (group.value >= tallies_.size()) {
    tallies_.resize(group.value + 1);
    pending_.resize(group.value + 1, expert_set{digests_.size()});
  }
  return tallies_[group.value];
}

const placement_index::tally& placement_index::of(group_id group) const {
  static const tally none;
  return group.value < tallies_.size() ? tallies_[group.value] : none;
}

const expert_set& placement_index::pending(group_id group) const {
  static const expert_set none;
  return group.value < pending_.size() ? pending_[group.value] : none;
}

void placement_index::count_copies(const expert_digest& d, bool is_added) {
  using kind = expert_digest::kind;
  for (const auto& c : d.copies) {
    tally& t = at(c.group);
    add(c.is == kind::ordered ? t.ordered : c.is == kind::held ? t.held : t.leaving, 1, is_added);
    add(t.mapped, c.is_mapped ? 1 : 0, is_added);
    add(ordered_, c.is == kind::ordered ? 1 : 0, is_added);
    if (!is_added) wake(c.group);
  }
  const std::size_t mapped = mapped_of(d);
  add(mapped_, mapped, is_added);
  if (mapped >= experts_with_.size()) experts_with_.resize(mapped + 1);
  add(experts_with_[mapped], 1, is_added);
}

void placement_index::count(std::size_t i, const expert_digest& d, bool is_added) {
  for (const group_id group : d.pending) {
    at(group);
    pending_[group.value].set(i, is_added);
    if (is_added) wake(group);
  }
  add(left_, d.left, is_added);
  add(missing_, d.missing, is_added);
  add(extra_, d.extra, is_added);
  add(incomplete_, d.is_complete ? 0 : 1, is_added);
  add(short_, d.is_short ? 1 : 0, is_added);
}

void placement_index::replace(std::size_t i, expert_digest now) {
  expert_digest& before = digests_[i];
  count(i, before, false);
  count(i, now, true);
  if (before.copies != now.copies) {
    count_copies(before, false);
    count_copies(now, true);
  }
  const bool is_lost = mapped_of(now) == 0;
  lost_.set(i, is_lost);
  coming_.set(i, is_lost && now.is_coming);
  leaving_.set(i, std::any_of(now.copies.begin(), now.copies.end(), [](const auto& c) {
                 return c.is == expert_digest::kind::leaving;
               }));
  revivable_.set(i, now.is_revivable);
  due_.set(i, now.is_due);
  before = std::move(now);
}

void placement_index::add_order(group_id group, int change) {
  tally& t = at(group);
  t.orders = change < 0 ? t.orders - 1 : t.orders + 1;
  if (change < 0) wake(group);
}

bool placement_index::set_seat(group_id group, bool is_here, bool takes, bool drains) {
  tally& t = at(group);
  if (t.is_here == is_here && t.takes == takes && t.drains == drains) return false;
  t.is_here = is_here;
  t.takes = takes;
  t.drains = drains;
  return true;
}

std::set<group_id> placement_index::take_woken() { return std::exchange(woken_, {}); }

std::size_t placement_index::mapped_least() const {
  const auto first =
      std::find_if(experts_with_.begin(), experts_with_.end(), [](std::size_t n) { return n > 0; });
  return first == experts_with_.end() ? 0 : static_cast<std::size_t>(first - experts_with_.begin());
}

}  // namespace atl::cluster
