#include "actors/shard_roster.hpp"

#include <algorithm>

namespace atl::actors {

using transport::wire::member_state;

void shard_roster::judge(std::size_t place, std::vector<std::size_t>& lost) {
  using enum schedule::shard_use;
  seat& s = seats_[place];
  const auto known = beats_.find(s.at.node);
  peer_state heard = peer_state::alive;
  if (known != beats_.end() && known->second.life >= s.life) {
    // Whoever is in a later life has lost what it had in this one.
    heard = known->second.life == s.life ? known->second.state : peer_state::dead;
  }
  const bool was_lost = s.is_lost;
  s.is_lost = s.said == member_state::dead || heard == peer_state::dead;
  if (s.is_lost && !was_lost) lost.push_back(place);
  const bool takes_new = s.said == member_state::alive || s.said == member_state::suspect;
  const bool is_suspect = s.said == member_state::suspect || heard == peer_state::suspect;
  loads_[place].use = s.is_lost || !takes_new ? closed : is_suspect ? suspect : open;
}

std::size_t shard_roster::place_for(transport::address shard) {
  std::size_t place = seats_.size();
  for (std::size_t i = 0; i < seats_.size(); ++i) {
    if (seats_[i].at == shard) return i;
    // The place of one that left, and has been emptied.
    if (seats_[i].said == member_state::dead && loads_[i].sequences == 0)
      place = std::min(place, i);
  }
  if (place == seats_.size()) {
    seats_.emplace_back();
    loads_.emplace_back();
  }
  seats_[place] = {};
  seats_[place].at = shard;
  return place;
}

std::vector<std::size_t> shard_roster::take(const transport::wire::members& all) {
  std::vector<std::size_t> lost;
  if (version_ != 0 && all.version <= version_) return lost;
  version_ = all.version;
  std::vector<bool> is_member(seats_.size(), false);
  for (const auto& m : all.list) {
    if ((m.roles & transport::wire::role_attention) == 0) continue;
    for (std::uint32_t i = 0; i < m.shards; ++i) {
      const std::size_t place = place_for({m.node, shard_slot_base + i});
      is_member.resize(seats_.size(), false);
      is_member[place] = true;
      seat& s = seats_[place];
      if (s.life > m.life) continue;
      if (s.life < m.life && !s.is_lost) {
        s.is_lost = true;
        lost.push_back(place);
      }
      s.life = m.life;
      s.said = m.state;
      loads_[place].limits = {m.sequences_max, static_cast<std::int64_t>(m.pages_total)};
      judge(place, lost);
    }
  }
  for (std::size_t i = 0; i < seats_.size(); ++i) {
    if (is_member[i]) continue;
    seats_[i].said = member_state::dead;
    judge(i, lost);
  }
  std::erase_if(beats_, [&](const auto& b) {
    return std::none_of(
        all.list.begin(), all.list.end(), [&](const auto& m) { return m.node == b.first; });
  });
  return lost;
}

std::vector<std::size_t> shard_roster::take(const peer_changed& change) {
  std::vector<std::size_t> lost;
  if (change.path != transport::plane::data) return lost;
  beat& b = beats_[change.peer.node];
  if (b.life > change.peer.life) return lost;
  b = {change.peer.life, change.state};
  for (std::size_t i = 0; i < seats_.size(); ++i)
    if (seats_[i].at.node == change.peer.node) judge(i, lost);
  return lost;
}

std::optional<std::size_t> shard_roster::find(transport::address shard, incarnation life) const {
  for (std::size_t i = 0; i < seats_.size(); ++i)
    if (seats_[i].at == shard && seats_[i].life == life && !seats_[i].is_lost) return i;
  return {};
}

bool shard_roster::is_draining(std::size_t place) const {
  return seats_[place].said == member_state::draining;
}

bool shard_roster::has_any() const {
  return std::any_of(loads_.begin(), loads_.end(), [](const auto& l) {
    return l.use != schedule::shard_use::closed;
  });
}

schedule::release_limits shard_roster::capacity() const {
  schedule::release_limits sum;
  for (const auto& l : loads_) {
    if (l.use == schedule::shard_use::closed) continue;
    sum.sequences_max += l.limits.sequences_max;
    sum.pages_total += l.limits.pages_total;
  }
  return sum;
}

}  // namespace atl::actors
