#include "cluster/verdict.hpp"

#include <algorithm>
#include <cstddef>
#include <vector>

namespace atl::cluster {

namespace {

bool talk(const data_member& a, const data_member& b) {
  const auto uses = [](const data_member& x, const data_member& y) {
    return (x.is_gateway && y.is_attention) || (x.is_attention && y.is_expert);
  };
  return a.node != b.node && (uses(a, b) || uses(b, a));
}

/// How many of `all` have been lost, or have lost somebody.
struct tally {
  std::size_t lost = 0;
  std::size_t all = 0;
  bool is_ripe = false;  // one of the losses is old enough

  bool is_most() const { return 2 * lost > all; }
  std::string text() const { return std::to_string(lost) + " of " + std::to_string(all); }
};

class court {
public:
  court(std::span<const data_member> members,
        std::span<const path_loss> losses,
        time_point_ns ripe_at)
      : members_{members.begin(), members.end()}, losses_{losses}, ripe_at_{ripe_at} {
    std::sort(members_.begin(), members_.end(), [](const data_member& a, const data_member& b) {
      return a.node < b.node;
    });
  }

  std::optional<fence_verdict> judge() const;

private:
  tally lost_by(const data_member& reporter) const;
  tally reported(const data_member& subject, const std::vector<node_id>& cut_off) const;
  bool is_last(const data_member& member) const;

  std::vector<data_member> members_;  // by ascending node
  std::span<const path_loss> losses_;
  time_point_ns ripe_at_;
};

tally court::lost_by(const data_member& reporter) const {
  tally count;
  for (const data_member& peer : members_) {
    if (!talk(reporter, peer)) continue;
    ++count.all;
    bool is_lost = false;
    for (const path_loss& l : losses_) {
      if (l.reporter != reporter.node || l.subject != peer.node) continue;
      is_lost = true;
      count.is_ripe = count.is_ripe || l.since <= ripe_at_;
    }
    count.lost += is_lost ? 1 : 0;
  }
  return count;
}

tally court::reported(const data_member& subject, const std::vector<node_id>& cut_off) const {
  tally count;
  for (const data_member& peer : members_) {
    if (!talk(subject, peer)) continue;
    if (std::find(cut_off.begin(), cut_off.end(), peer.node) != cut_off.end()) continue;
    ++count.all;
    bool is_lost = false;
    for (const path_loss& l : losses_) {
      if (l.reporter != peer.node || l.subject != subject.node) continue;
      is_lost = true;
      count.is_ripe = count.is_ripe || l.since <= ripe_at_;
    }
    count.lost += is_lost ? 1 : 0;
  }
  return count;
}

bool court::is_last(const data_member& member) const {
  const auto alone = [&](bool data_member::*role) {
    return member.*role && std::none_of(members_.begin(), members_.end(), [&](const auto& other) {
             return other.node != member.node && other.*role;
           });
  };
  return alone(&data_member::is_gateway) || alone(&data_member::is_attention) ||
         alone(&data_member::is_expert);
}

std::optional<fence_verdict> court::judge() const {
  std::vector<node_id> cut_off;
  const data_member* worst = nullptr;
  tally worst_count;
  for (const data_member& member : members_) {
    const tally count = lost_by(member);
    if (count.all < 2 || !count.is_most()) continue;
    cut_off.push_back(member.node);
    if (!count.is_ripe || is_last(member)) continue;
    // By the part it has lost, then by number of paths, then by the lower node.
    const std::size_t part = count.lost * worst_count.all;
    const std::size_t worst_part = worst_count.lost * count.all;
    if (worst != nullptr &&
        (part < worst_part || (part == worst_part && count.lost <= worst_count.lost)))
      continue;
    worst = &member;
    worst_count = count;
  }
  if (worst != nullptr) {
    return fence_verdict{worst->node,
                         "it has lost the data paths to " + worst_count.text() +
                             " nodes that it talks to, so it is cut off itself"};
  }
  for (const data_member& member : members_) {
    const tally count = reported(member, cut_off);
    if (!count.is_most() || !count.is_ripe || is_last(member)) continue;
    return fence_verdict{member.node,
                         count.text() + " nodes that talk to it have lost the data path to it"};
  }
  return std::nullopt;
}

}  // namespace

std::optional<fence_verdict> judge_paths(std::span<const data_member> members,
                                         std::span<const path_loss> losses,
                                         time_point_ns now,
                                         duration_ns settle_time) {
  const time_point_ns ripe_at{now.value - settle_time.count()};
  return court{members, losses, ripe_at}.judge();
}

}  // namespace atl::cluster
