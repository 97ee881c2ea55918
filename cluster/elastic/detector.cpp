#include "cluster/elastic/detector.hpp"

#include "cluster/elastic/fleet.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <limits>
#include <unordered_map>

namespace atl::cluster {

namespace {

/// Reports come this often while there is load; that blurs an average's weights.
constexpr double report_seconds = 0.25;
constexpr double tau_fast = seconds(load_tau_fast);
constexpr double tau_slow = seconds(load_tau_slow);
constexpr double tau_middle = seconds(load_tau_middle);
/// Averages count above that part of what they would be if nothing had changed: between reports,
/// which are up to a second apart, they fade by as much.
constexpr double fast_least = 1.5;
constexpr double middle_least = 1.15;
/// A plan of cold copies that found none is not repeated for so long.
constexpr duration_ns cold_retry = std::chrono::minutes{5};

/// The exponent of Bennett's bound: variance v, largest weight b of an event, excess t.
double exponent(double v, double b, double t) {
  if (t <= 0 || v <= 0) return 0;
  const double u = b * t / v;
  return v / (b * b) * ((1 + u) * std::log1p(u) - u);
}

/// By an average with that tau, of one expert and of all of its layer: if it counts.
std::optional<seen_load>
burst_of(double slow, double all_slow, double now, double all_now, double tau, double least) {
  if (all_now <= 0) return std::nullopt;
  // As many rows as there would be if the expert kept its part of the layer's.
  const double expected = slow * all_now / all_slow;
  if (now < least * expected) return std::nullopt;
  const double blurred = (1 + report_seconds / tau) / (2 * tau);
  const double variance = expected * blurred + expected * expected / (tau_slow * slow);
  if (exponent(variance, 1 / tau, now - expected) < certainty) return std::nullopt;
  const double scale = all_slow / all_now;
  return seen_load{.rows = now * scale,
                   .variance = now * blurred * scale * scale,
                   .weight = scale / tau,
                   .is_burst = true};
}

/// Likewise of an expert that is asked for less. A sum of non-negative weights with variance v
/// falls short by t with a probability below exp(-t^2 / 2v).
std::optional<seen_load>
fall_of(double slow, double all_slow, double now, double all_now, double tau, double least) {
  if (all_now <= 0) return std::nullopt;
  const double expected = slow * all_now / all_slow;
  if (now * least > expected) return std::nullopt;
  const double blurred = (1 + report_seconds / tau) / (2 * tau);
  const double variance = expected * blurred + expected * expected / (tau_slow * slow);
  const double missing = expected - now;
  if (missing * missing / (2 * variance) < certainty) return std::nullopt;
  const double scale = all_slow / all_now;
  return seen_load{
      .rows = now * scale, .variance = now * blurred * scale * scale, .weight = scale / tau};
}

std::string number(double x) {
  std::array<char, 32> text{};
  (void)std::snprintf(text.data(), text.size(), "%.2f", x);
  return text.data();
}

struct node_sum {
  group_id first;  // of its groups
  double speed = 0;
  std::string name;
  double load = 0;
  double variance = 0;
  double weight = 0;
  double burst = 0;  // of it, the largest burst
  std::uint32_t burst_expert = 0;
};

/// What one layer's nodes compute under the present shares.
class layer_sums {
public:
  explicit layer_sums(const elastic_input& input) : input_{input} {
    std::unordered_map<node_id, std::size_t> known;
    for (const elastic_group& g : input.groups) {
      const auto [at, is_new] = known.emplace(g.node, nodes_.size());
      if (is_new) nodes_.push_back({.first = g.group, .name = g.name});
      nodes_[at->second].speed += g.speed;
      speed_ += g.speed;
      node_of_.emplace(g.group, at->second);
    }
  }

  void sum_up(std::size_t layer) {
    for (node_sum& n : nodes_) n.load = n.variance = n.weight = n.burst = 0;
    total_ = 0;
    layer_ = layer;
    const std::size_t experts = input_.shape.experts;
    seen_ = seen_loads(std::span{input_.loads}.subspan(layer * experts, experts));
    for (std::uint32_t e = 0; e < experts; ++e) add(e);
  }

  const std::vector<node_sum>& nodes() const { return nodes_; }
  double total() const { return total_; }
  double mean() const { return speed_ > 0 ? total_ / speed_ : 0; }

  /// Whether others could take the load of a copy of e beyond those wanted and finish by `finish`.
  bool has_cold_copy(std::uint32_t e, double finish, std::uint32_t wanted) const {
    const auto& copies = input_.present[layer_ * input_.shape.experts + e];
    if (copies.size() <= std::max<std::size_t>(wanted, 1)) return false;
    double room = 0;
    double least = std::numeric_limits<double>::infinity();
    double room_there = 0;
    double shares = 0;
    std::size_t living = 0;
    for (const experts::replica& c : copies) shares += c.share;
    for (const experts::replica& c : copies) {
      const auto at = node_of_.find(c.group);
      if (at == node_of_.end()) continue;
      ++living;
      const node_sum& n = nodes_[at->second];
      const double load = seen_[e].rows * c.share / shares;
      const double free = std::max(0.0, finish * n.speed - n.load);
      room += free;
      if (load >= least) continue;
      least = load;
      room_there = free;
    }
    return living > std::max<std::size_t>(wanted, 1) && least <= room - room_there;
  }

private:
  void add(std::uint32_t e) {
    const auto& copies = input_.present[layer_ * input_.shape.experts + e];
    double shares = 0;
    for (const experts::replica& c : copies)
      if (node_of_.count(c.group) != 0) shares += c.share;
    if (shares <= 0) return;
    const seen_load& seen = seen_[e];
    total_ += seen.rows;
    for (const experts::replica& c : copies) {
      const auto at = node_of_.find(c.group);
      if (at == node_of_.end()) continue;
      node_sum& n = nodes_[at->second];
      const double part = c.share / shares;
      n.load += part * seen.rows;
      n.variance += part * part * seen.variance;
      n.weight = std::max(n.weight, part * seen.weight);
      if (!seen.is_burst || part * seen.rows <= n.burst) continue;
      n.burst = part * seen.rows;
      n.burst_expert = e;
    }
  }

  const elastic_input& input_;
  std::vector<node_sum> nodes_;
  std::unordered_map<group_id, std::size_t> node_of_;
  std::vector<seen_load> seen_;
  std::size_t layer_ = 0;
  double speed_ = 0;
  double total_ = 0;
};

/// A node that finishes late, beyond doubt.
struct finding {
  double over = 0;  // finishing time over the reference
  double ratio = 0;
  std::size_t layer = 0;
  std::string node = {};
  bool is_burst = false;
  std::uint32_t expert = 0;
};

std::string sentence(const elastic_input& input, const finding& f) {
  const std::string layer = std::to_string(input.shape.layers[f.layer].value);
  const std::string who = f.node.empty() ? "a node" : f.node;
  if (f.is_burst)
    return "expert " + std::to_string(f.expert) + " of layer " + layer +
           " is suddenly hot: " + who + " would finish the layer at " + number(f.ratio) +
           " times the mean";
  return who + " finishes layer " + layer + " at " + number(f.ratio) + " times the mean";
}

}  // namespace

std::vector<seen_load> seen_loads(std::span<const expert_load_rates> rates) {
  expert_load_rates all;
  for (const expert_load_rates& r : rates) {
    all.fast += r.fast;
    all.middle += r.middle;
    all.slow += r.slow;
  }
  std::vector<seen_load> seen(rates.size());
  for (std::size_t e = 0; e < rates.size(); ++e) {
    const expert_load_rates& r = rates[e];
    // Also of an average that has only begun: it is a count over tau.
    seen[e] = {.rows = r.slow, .variance = r.slow / tau_slow, .weight = 1 / tau_slow};
    if (r.slow <= 0) continue;
    const auto burst = burst_of(r.slow, all.slow, r.fast, all.fast, tau_fast, fast_least);
    const auto surge = burst_of(r.slow, all.slow, r.middle, all.middle, tau_middle, middle_least);
    if (burst)
      seen[e] = *burst;
    else if (surge)
      seen[e] = *surge;
    else if (const auto fall =
                 fall_of(r.slow, all.slow, r.middle, all.middle, tau_middle, middle_least))
      seen[e] = *fall;
  }
  return seen;
}

std::string to_string(alarm_kind kind) {
  switch (kind) {
  case alarm_kind::members: return "members";
  case alarm_kind::burst: return "burst";
  case alarm_kind::drift: return "drift";
  case alarm_kind::cold: return "cold";
  }
  return "unknown";
}

void elastic_detector::remember(const elastic_input& input) {
  members_.clear();
  for (const elastic_group& g : input.groups)
    members_[g.group] = {.name = g.name, .intake = g.intake, .capacity = g.capacity};
}

std::optional<std::string> elastic_detector::changed_members(const elastic_input& input) {
  if (members_.empty()) {
    // The first look. Who holds nothing has just come.
    remember(input);
    std::map<group_id, bool> holds;
    for (const auto& copies : input.present)
      for (const experts::replica& c : copies) holds[c.group] = true;
    for (const elastic_group& g : input.groups)
      if (g.capacity > 0 && g.intake == node_intake::open && holds.count(g.group) == 0)
        members_.erase(g.group);
  }
  for (const elastic_group& g : input.groups) {
    const auto known = members_.find(g.group);
    const std::string who = g.name.empty() ? "group " + std::to_string(g.group.value) : g.name;
    if (known == members_.end()) return who + " joined";
    if (known->second.intake != g.intake) {
      if (g.intake == node_intake::draining) return who + " is drained";
      return who + (g.intake == node_intake::open ? " takes experts again" : " takes no experts");
    }
    if (known->second.capacity != g.capacity) return who + " has other memory than before";
  }
  if (members_.size() == input.groups.size()) return std::nullopt;
  std::map<group_id, bool> lives;
  for (const elastic_group& g : input.groups) lives[g.group] = true;
  for (const auto& [group, m] : members_)
    if (lives.count(group) == 0)
      return (m.name.empty() ? "group " + std::to_string(group.value) : m.name) + " left";
  return std::nullopt;
}

std::optional<elastic_alarm> elastic_detector::look(elastic_input& input, time_point_ns now) {
  if (input.groups.empty() || input.shape.experts == 0) return std::nullopt;
  input.kept.clear();
  if (auto changed = changed_members(input))
    return elastic_alarm{.kind = alarm_kind::members, .reason = std::move(*changed)};
  references_.resize(input.shape.layers.size(), 1);
  if (planned_at_ && now - *planned_at_ >= settings_.reference_life)
    std::fill(references_.begin(), references_.end(), 1.0);

  cold_since_.resize(input.present.size());
  input.kept.assign(input.present.size(), 1);
  layer_sums sums{input};
  std::optional<finding> worst;
  std::map<late_node, time_point_ns> late;
  std::size_t cold = 0;
  for (std::size_t l = 0; l < references_.size(); ++l) {
    sums.sum_up(l);
    if (sums.total() <= 0) continue;
    const double mean = sums.mean();
    double hottest = 0;
    for (const node_sum& n : sums.nodes()) {
      const double ratio = n.load / n.speed / mean;
      hottest = std::max(hottest, ratio);
      const double over = ratio / references_[l];
      if (over <= settings_.start) continue;
      const double excess = n.load - references_[l] * mean * n.speed;
      if (exponent(n.variance, n.weight, excess) < certainty) continue;
      const late_node who{.first = n.first, .layer = l};
      const auto before = late_since_.find(who);
      const time_point_ns since = before == late_since_.end() ? now : before->second;
      late.emplace(who, since);
      const bool is_burst = n.burst > excess / 2;
      const duration_ns doubt = is_burst ? settings_.burst_doubt : settings_.drift_doubt;
      if (now - since < doubt || (worst && over <= worst->over)) continue;
      worst = finding{.over = over,
                      .ratio = ratio,
                      .layer = l,
                      .node = n.name,
                      .is_burst = is_burst,
                      .expert = n.burst_expert};
    }
    references_[l] = std::clamp(hottest, 1.0, references_[l]);
    const double enough = std::max(hottest, 1 + input.limits.cold_gain) * mean;
    for (std::uint32_t e = 0; e < input.shape.experts; ++e) {
      const std::size_t i = l * input.shape.experts + e;
      auto& since = cold_since_[i];
      if (!sums.has_cold_copy(e, enough, elastic::wanted_of(input, i)))
        since.reset();
      else if (!since)
        since = now;
      if (!since || now - *since < settings_.cold_patience) continue;
      input.kept[i] = 0;
      ++cold;
    }
  }
  late_since_ = std::move(late);
  std::optional<elastic_alarm> alarm;
  if (worst)
    alarm = elastic_alarm{.kind = worst->is_burst ? alarm_kind::burst : alarm_kind::drift,
                          .reason = sentence(input, *worst)};
  return judge(std::move(alarm), cold, now);
}

std::optional<elastic_alarm>
elastic_detector::judge(std::optional<elastic_alarm> hottest, std::size_t cold, time_point_ns now) {
  const auto has_rested = [&](duration_ns rest) {
    return !planned_at_ || now - *planned_at_ >= rest;
  };
  if (hottest) {
    const bool is_burst = hottest->kind == alarm_kind::burst;
    if (has_rested(is_burst ? settings_.burst_rest : settings_.drift_rest)) return hottest;
    return std::nullopt;
  }
  if (cold == 0) return std::nullopt;
  if (!has_rested(settings_.drift_rest) || (cold_again_ && now < *cold_again_)) return std::nullopt;
  return elastic_alarm{.kind = alarm_kind::cold,
                       .reason = std::to_string(cold) +
                                 (cold == 1 ? " expert has a copy" : " experts have copies") +
                                 " that nobody needs any longer"};
}

void elastic_detector::planned(const elastic_input& input,
                               const elastic_plan& plan,
                               time_point_ns now) {
  remember(input);
  planned_at_ = now;
  references_.assign(plan.layers.size(), 1);
  for (std::size_t l = 0; l < plan.layers.size(); ++l)
    references_[l] = std::max(1.0, std::min(plan.layers[l].best, plan.layers[l].after));
  // What no plan gives up is not asked about again soon.
  const bool was_cold = std::count(input.kept.begin(), input.kept.end(), 0) > 0;
  if (was_cold && plan.drops.empty()) cold_again_ = now + cold_retry;
}

}  // namespace atl::cluster
