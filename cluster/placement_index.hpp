// What a placement driver (placement_driver.hpp) has to know at every message about all of its
// experts and groups: which experts have no copy in use, whose copies are all there, which a group
// waits for, how many copies it has. Kept expert by expert, so that a message costs what it
// changes and not what there is: with 15,000 experts on 1,000 nodes a start is 30,000 answers. The
// driver says how an expert is now (replace()); sums and sets follow. One owner.
#pragma once

#include "runtime/base/ids.hpp"

#include <bit>
#include <cstddef>
#include <cstdint>
#include <set>
#include <vector>

namespace atl::cluster {

/// Experts by number, walked in ascending order.
class expert_set {
public:
  explicit expert_set(std::size_t count = 0) : words_((count + 63) / 64) {}
  bool has(std::size_t i) const { return (words_[i / 64] >> (i % 64) & 1) != 0; }
  void set(std::size_t i, bool is_in);
  std::size_t size() const noexcept { return size_; }
  bool is_empty() const noexcept { return size_ == 0; }

  /// `f` does not change the set.
  template <class F>
  void each(F&& f) const {
    if (size_ == 0) return;
    for (std::size_t w = 0; w < words_.size(); ++w)
      for (std::uint64_t rest = words_[w]; rest != 0; rest &= rest - 1)
        f(64 * w + static_cast<std::size_t>(std::countr_zero(rest)));
  }

private:
  std::vector<std::uint64_t> words_;
  std::size_t size_ = 0;
};

/// How one expert is.
struct expert_digest {
  enum class kind : std::uint8_t { ordered, held, leaving };
  struct copy {
    group_id group;
    kind is = kind::ordered;
    bool is_mapped = false;
    friend bool operator==(const copy&, const copy&) = default;
  };
  std::vector<copy> copies = {};
  std::vector<group_id> pending = {};  // groups of the target that have no copy
  std::uint32_t left = 0;              // copies of the target that are not held
  std::uint32_t missing = 0;           // copies of the goal that do not serve
  std::uint32_t extra = 0;             // copies that the goal does not name
  bool is_first = true;                // no copy is held or ordered
  bool is_complete = true;             // all of the target are held
  bool is_due = false;                 // and the map does not say so yet
  bool is_coming = false;              // a group of the target is here
  bool is_revivable = false;           // wanted, with no copy but leaving ones
  bool is_short = false;               // fewer copies stay than are asked for
};

class placement_index {
public:
  /// Of one group.
  struct tally {
    std::size_t ordered = 0, held = 0, leaving = 0, mapped = 0;  // copies, the last of the held
    std::size_t orders = 0;                                      // open ones
    bool is_here = false, takes = false, drains = false;         // of its seat
    std::size_t used() const noexcept { return ordered + held + leaving; }
  };

  explicit placement_index(std::size_t experts = 0);

  void replace(std::size_t i, expert_digest now);
  const expert_digest& of(std::size_t i) const { return digests_[i]; }

  const tally& of(group_id group) const;
  /// An order to the group was opened, or ended.
  void add_order(group_id group, int change);
  /// Its seat changed: it may take other copies than before. False if nothing is new.
  bool set_seat(group_id group, bool is_here, bool takes, bool drains);
  void wake(group_id group) { woken_.insert(group); }
  /// Groups that may have become able to take an order since the last call, ascending.
  std::set<group_id> take_woken();
  const expert_set& pending(group_id group) const;

  const expert_set& lost() const noexcept { return lost_; }        // no copy in the map
  const expert_set& coming() const noexcept { return coming_; }    // lost, and to get one
  const expert_set& leaving() const noexcept { return leaving_; }  // with a copy on its way out
  const expert_set& revivable() const noexcept { return revivable_; }
  const expert_set& due() const noexcept { return due_; }
  std::size_t incomplete() const noexcept { return incomplete_; }
  std::size_t short_ones() const noexcept { return short_; }
  std::size_t left() const noexcept { return left_; }
  std::size_t missing() const noexcept { return missing_; }
  std::size_t extra() const noexcept { return extra_; }
  std::size_t ordered() const noexcept { return ordered_; }
  std::size_t mapped() const noexcept { return mapped_; }
  std::size_t mapped_least() const;

private:
  void count(std::size_t i, const expert_digest& d, bool is_added);
  void count_copies(const expert_digest& d, bool is_added);
  tally& at(group_id group);

  std::vector<expert_digest> digests_;
  std::vector<tally> tallies_;       // by group: their numbers are the coordinator's, and dense
  std::vector<expert_set> pending_;  // likewise
  std::set<group_id> woken_;
  std::vector<std::size_t> experts_with_;  // so many copies in the map
  expert_set lost_, coming_, leaving_, revivable_, due_;
  std::size_t incomplete_ = 0, short_ = 0;
  std::size_t left_ = 0, missing_ = 0, extra_ = 0, ordered_ = 0, mapped_ = 0;
};

}  // namespace atl::cluster
