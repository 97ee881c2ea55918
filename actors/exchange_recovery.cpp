// The part of the exchange that deals with what goes wrong: lost, suspected and late groups, and
// placements that change.
#include "actors/exchange.hpp"
#include "runtime/base/assert.hpp"
#include "runtime/base/log.hpp"

#include <algorithm>
#include <utility>

namespace atl::actors {

result<void> exchange::use_placement(cluster::map_ptr map,
                                     std::span<const cluster::group_directory::seated_group> groups,
                                     std::vector<transport::wire::expert_name> coming) {
  const epoch version = map->version();
  if (!table_) {
    table_.emplace(std::move(map));
  } else {
    ATOLL_TRY(table_->stage(std::move(map)));
    ATOLL_TRY(table_->flip(version));
  }
  directory_.seat_groups(groups);
  for (const auto& seated : groups) loads_.add(seated.group);
  coming_ = std::move(coming);
  unpark();
  // Some may wait no longer.
  for (const auto& c : calls_)
    if (c->parked_since) wake(*c->parked_since + parts_.unavailable_after);
  return {};
}

void exchange::note(transport::node_identity peer, cluster::node_health health) {
  const auto seen = directory_.note(peer.node, peer.life, health);
  if (!seen.is_any) return;
  if (seen.is_lost) lose(peer.node);
  if (health == cluster::node_health::suspect) suspect(peer.node);
  unpark();
}

void exchange::list(std::span<const cluster::listed_node> members) {
  for (const node_id node : directory_.list(members)) lose(node);
  unpark();
}

void exchange::take_tails(node_id node, pairs_by_lane& open) {
  for (std::uint32_t lane = 0; lane < calls_.size(); ++lane) {
    call& c = *calls_[lane];
    if (c.state != call_state::gathering) continue;
    for (parcel& p : c.parcels) {
      const auto rows = static_cast<std::uint32_t>(p.plan.rows.size());
      if (p.sent == rows || directory_.find(p.plan.group)->node != node) continue;
      const experts::send_range tail{p.sent, rows - p.sent};
      p.sent = rows;
      c.answers->give_up(p.plan, tail);
      const auto pairs = c.answers->open_pairs(p.plan, tail, 0);
      open[lane].insert(open[lane].end(), pairs.begin(), pairs.end());
    }
  }
}

void exchange::lose(node_id node) {
  pairs_by_lane open(calls_.size());
  for (auto it = errands_.begin(); it != errands_.end();) {
    const errand& e = it->second;
    if (e.to.node != node || e.is_dropped) {
      ++it;
      continue;
    }
    if (!e.is_orphan) {
      auto& answers = *calls_[e.lane]->answers;
      answers.give_up(plan_of(e), e.range);
      const auto pairs = answers.open_pairs(plan_of(e), e.range, 0);
      open[e.lane].insert(open[e.lane].end(), pairs.begin(), pairs.end());
    }
    it = drop(it);
  }
  take_tails(node, open);
  const std::uint32_t rows = assign_again(open, directory_.avoided());
  counts_.rows_moved += rows;
  if (rows > 0)
    log_info("node " + std::to_string(node.value) + " is lost: " + std::to_string(rows) +
             " rows awaited from it go to other copies");
}

void exchange::move(errand_map::iterator which, const cluster::avoided_groups& avoid) {
  const errand& e = which->second;
  auto& answers = *calls_[e.lane]->answers;
  pairs_by_lane open(calls_.size());
  answers.give_up(plan_of(e), e.range);
  open[e.lane] = answers.open_pairs(plan_of(e), e.range, 0);
  drop(which);
  counts_.rows_moved += assign_again(open, avoid);
}

void exchange::suspect(node_id node) {
  std::vector<std::uint64_t> awaited;
  for (const auto& [number, e] : errands_)
    if (e.to.node == node && !e.is_orphan && !e.is_dropped) awaited.push_back(number);
  for (const std::uint64_t number : awaited) hedge(errands_.at(number), true);
  pairs_by_lane open(calls_.size());
  take_tails(node, open);
  assign_again(open, directory_.avoided());
}

bool exchange::hedge(const errand& e, bool is_free) {
  if (!table_) return false;
  call& c = *calls_[e.lane];
  const auto pairs = c.answers->open_pairs(plan_of(e), e.range, 1);
  choose(c, pairs, directory_.avoided_beside(e.to.node));
  auto plans = experts::plan_dispatch(c.ask.k, pairs, c.ask.experts, targets_.data());
  std::uint32_t rows = 0;
  for (const auto& plan : plans) rows += static_cast<std::uint32_t>(plan.rows.size());
  if (rows == 0 || (!is_free && !budget_.take(rows))) return false;
  counts_.rows_hedged += add_parcels(c, std::move(plans));
  send_ready(e.lane);
  return true;
}

void exchange::look() {
  const time_point_ns now = parts_.time->now();
  std::vector<std::uint64_t> due;
  for (const auto& [number, e] : errands_)
    if (!e.is_copying && e.deadline <= now) due.push_back(number);
  for (const std::uint64_t number : due) look_after(number, now);
  check_calls(now);
  find_next_look();
}

void exchange::look_after(std::uint64_t number, time_point_ns now) {
  const auto found = errands_.find(number);
  if (found == errands_.end() || found->second.is_copying) return;
  errand& e = found->second;
  if (e.is_orphan) {
    if (e.deadline > now) return;  // since this look began
    drop(found);
    send_waiting();
  } else if (e.refusal) {
    end(e.lane, *e.refusal);
  } else if (!calls_[e.lane]->answers->has_open(plan_of(e), e.range)) {
    orphan(found);  // another copy has answered all of it
  } else if (!hedge(e, e.is_stuck || !directory_.is_trusted(e.to.node))) {
    dispatch(e);
  } else {
    e.deadline = now + times_[e.group].late_after(e.range.count);
  }
}

/// An expert that rows wait for and nobody is about to load.
std::optional<std::uint32_t> exchange::gone_for_good(const call& c) const {
  for (const std::uint32_t pair : c.parked) {
    const auto expert = static_cast<std::uint32_t>(c.ask.experts[pair]);
    const transport::wire::expert_name name{c.ask.layer, expert};
    if (!std::binary_search(coming_.begin(), coming_.end(), name)) return expert;
  }
  return std::nullopt;
}

void exchange::check_calls(time_point_ns now) {
  for (std::uint32_t lane = 0; lane < calls_.size(); ++lane) {
    const call& c = *calls_[lane];
    if (c.state != call_state::gathering) continue;
    const bool is_long = c.parked_since && now - *c.parked_since >= parts_.unavailable_after;
    if (const auto expert = is_long ? gone_for_good(c) : std::nullopt) {
      end(lane,
          error{errc::unavailable,
                "expert " + std::to_string(*expert) + " of layer " +
                    std::to_string(c.ask.layer.value) +
                    " has no live copy, and no node has room for one"});
    } else if (now - c.progressed >= parts_.give_up_after) {
      end(lane, error{errc::deadline, "an expert group did not answer"});
    }
  }
}

void exchange::find_next_look() {
  look_at_.reset();
  for (const auto& [number, e] : errands_)
    if (!e.is_copying) wake(e.deadline);
  for (const auto& c : calls_) {
    if (c->state != call_state::gathering) continue;
    wake(c->progressed + parts_.give_up_after);
    if (c->parked_since && gone_for_good(*c)) wake(*c->parked_since + parts_.unavailable_after);
  }
}

}  // namespace atl::actors
