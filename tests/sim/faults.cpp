#include "tests/sim/faults.hpp"

#include "tests/sim/crash_steps.hpp"

#include <algorithm>
#include <array>
#include <cstdio>
#include <sstream>

namespace atl::sim {
namespace {

namespace wire = transport::wire;
using std::chrono::milliseconds;

constexpr std::array<std::string_view, fault_kinds> names{"kill",
                                                          "kill_silently",
                                                          "freeze",
                                                          "cut",
                                                          "cut_one_way",
                                                          "cut_data",
                                                          "cut_control",
                                                          "reset",
                                                          "delay",
                                                          "control_delay",
                                                          "reorder",
                                                          "duplicate",
                                                          "corrupt",
                                                          "loss",
                                                          "control_loss",
                                                          "slow",
                                                          "memory",
                                                          "clock_jump",
                                                          "disk",
                                                          "coordinator_crash",
                                                          "crash_in_placement",
                                                          "crash_in_compaction",
                                                          "hang_up",
                                                          "drain",
                                                          "cordon",
                                                          "leave",
                                                          "upgrade",
                                                          "rebalance"};

// A node drains, comes back and is used again.
constexpr duration_ns upgrade_of_a_node = milliseconds{4000};
constexpr std::size_t pairs_of_a_seed = 2;
constexpr int faults_least = 4;  // besides two pairs
// A mild fault's consequences are over by then: dead after 1.9 s, copies made anew, a node back.
constexpr duration_ns recovery = milliseconds{5500};
// Two faults at once may take a node from each other's recovery.
constexpr duration_ns recovery_of_two = milliseconds{8000};

class drawing {
public:
  drawing(random_source& random, const world_plan& world) : random_{random}, world_{world} {}

  fault draw(fault_kind kind, bool is_mild) {
    fault f;
    f.kind = kind;
    f.node = any_node(kind);
    f.other = other_than(f.node);
    f.lasts = span(kind, is_mild);
    f.amount = amount(kind);
    if (kind == fault_kind::crash_in_placement) f.step = random_.below(placement_steps);
    if (kind == fault_kind::crash_in_compaction) f.step = random_.below(compaction_steps);
    return f;
  }
  duration_ns between(std::int64_t low_ms, std::int64_t high_ms) {
    return milliseconds{low_ms + static_cast<std::int64_t>(random_.below(
                                     static_cast<std::uint64_t>(high_ms - low_ms + 1)))};
  }

private:
  node_id any_node(fault_kind kind) {
    const bool is_coordinators =
        kind == fault_kind::disk || kind == fault_kind::coordinator_crash ||
        kind == fault_kind::crash_in_placement || kind == fault_kind::crash_in_compaction;
    if (is_coordinators) return world_.nodes.front().id;
    // The coordinator has kinds of its own, and seldom another.
    const bool is_any =
        kind == fault_kind::freeze || kind == fault_kind::cut || kind == fault_kind::clock_jump;
    if (is_any && random_.below(8) == 0) return world_.nodes.front().id;
    return world_.nodes[1 + random_.below(world_.nodes.size() - 1)].id;
  }
  node_id other_than(node_id node) {
    node_id other = node;
    while (other == node) other = world_.nodes[1 + random_.below(world_.nodes.size() - 1)].id;
    return other;
  }
  duration_ns span(fault_kind kind, bool is_mild) {
    switch (kind) {
    case fault_kind::kill:
    case fault_kind::kill_silently:
    case fault_kind::coordinator_crash:
    case fault_kind::crash_in_placement:
    case fault_kind::crash_in_compaction:
    case fault_kind::leave: return between(200, is_mild ? 3000 : 12'000);
    case fault_kind::freeze:
      // Short ones only delay, long ones are deaths.
      return random_.below(2) == 0 ? between(200, 800) : between(2500, is_mild ? 5000 : 30'000);
    case fault_kind::hang_up:
    case fault_kind::reset: return milliseconds{0};
    case fault_kind::upgrade: return upgrade_of_a_node * static_cast<int>(world_.nodes.size());
    default: return between(300, is_mild ? 4000 : 10'000);
    }
  }
  double amount(fault_kind kind) {
    switch (kind) {
    case fault_kind::delay: return 0.001 + 0.399 * random_.unit();     // seconds
    case fault_kind::control_delay: return 0.05 + 2 * random_.unit();  // likewise
    case fault_kind::loss: return 0.01 + 0.29 * random_.unit();
    case fault_kind::control_loss: return 0.0005 + 0.005 * random_.unit();
    case fault_kind::reorder:
    case fault_kind::duplicate: return 0.01 + 0.2 * random_.unit();
    case fault_kind::corrupt: return 0.001 + 0.02 * random_.unit();
    case fault_kind::memory: return 0.05 + 0.5 * random_.unit();
    case fault_kind::slow: return 2 + 40 * random_.unit();
    default: return random_.unit();
    }
  }

  random_source& random_;
  const world_plan& world_;
};

/// What seeds take turns at, so that a row of them reaches every step.
std::optional<fault>
in_turn(drawing& from, std::uint64_t seed, const std::vector<fault_kind>& allowed, bool is_mild) {
  constexpr std::array turns{fault_kind::crash_in_placement,
                             fault_kind::crash_in_compaction,
                             fault_kind::leave,
                             fault_kind::crash_in_placement,
                             fault_kind::crash_in_compaction,
                             fault_kind::upgrade};
  const fault_kind kind = turns[seed % turns.size()];
  if (std::find(allowed.begin(), allowed.end(), kind) == allowed.end()) return std::nullopt;
  fault f = from.draw(kind, is_mild);
  f.lasts = std::max<duration_ns>(f.lasts, milliseconds{1500});  // time enough to get there
  const std::uint64_t turn = seed / 3;
  f.step = turn % (kind == fault_kind::crash_in_placement ? placement_steps : compaction_steps);
  return f;
}

/// Each run turns some of the kinds on.
std::vector<fault_kind> some_of(random_source& random, const std::vector<fault_kind>& allowed) {
  std::vector<fault_kind> kinds;
  for (const auto k : allowed)
    if (random.below(2) == 0) kinds.push_back(k);
  if (kinds.empty()) kinds.push_back(allowed[random.below(allowed.size())]);
  return kinds;
}

/// The pairs (0, 0), (0, 1), (1, 1), (0, 2), (1, 2), (2, 2), ...
std::pair<std::size_t, std::size_t> pair_at(std::size_t index, std::size_t kinds) {
  std::size_t second = 0;
  while (second + 1 < kinds && pairs_of(second + 1) <= index) ++second;
  return {index - pairs_of(second), second};
}

}  // namespace

std::string_view to_string(fault_kind kind) noexcept {
  return names[static_cast<std::size_t>(kind)];
}

std::string pair_name(fault_kind a, fault_kind b) {
  return std::string{to_string(std::min(a, b))} + "+" + std::string{to_string(std::max(a, b))};
}

std::optional<std::vector<fault_kind>> parse_faults(const std::string& list) {
  std::vector<fault_kind> kinds;
  std::istringstream in{list};
  std::string name;
  while (std::getline(in, name, ',')) {
    if (name == "none") continue;
    bool is_known = name == "all";
    for (std::size_t k = 0; k < names.size(); ++k) {
      if (name != "all" && names[k] != name) continue;
      kinds.push_back(static_cast<fault_kind>(k));
      is_known = true;
    }
    if (!is_known) return std::nullopt;
  }
  return kinds;
}

fault_plan draw_faults(random_source& random,
                       const world_plan& world,
                       const std::vector<fault_kind>& allowed) {
  fault_plan plan;
  plan.is_mild = random.below(2) == 0;
  plan.until = std::chrono::seconds{30};
  if (allowed.empty()) return plan;
  drawing from{random, world};
  const int count = faults_least + static_cast<int>(plan.is_mild ? 0 : random.below(6));
  std::vector<fault> singles;
  if (const auto first = in_turn(from, world.seed, allowed, plan.is_mild))
    singles.push_back(*first);
  const auto kinds = some_of(random, allowed);
  while (singles.size() < static_cast<std::size_t>(count))
    singles.push_back(from.draw(kinds[random.below(kinds.size())], plan.is_mild));
  duration_ns at = from.between(0, 1500);
  for (fault& f : singles) {
    f.from = plan.is_mild ? at : from.between(0, 27'000);
    at += f.lasts + recovery + from.between(0, 1500);
    plan.list.push_back(f);
  }
  plan.one_by_one = plan.is_mild ? at : duration_ns{0};
  for (std::size_t i = 0; i < pairs_of_a_seed; ++i) {
    const auto [a, b] =
        pair_at((world.seed * pairs_of_a_seed + i) % pairs_of(allowed.size()), allowed.size());
    fault first = from.draw(allowed[a], plan.is_mild);
    fault second = from.draw(allowed[b], plan.is_mild);
    first.from = plan.is_mild ? at : from.between(0, 24'000);
    second.from = first.from + (random.below(2) == 0 ? duration_ns{0} : from.between(0, 3000));
    at += std::max(first.lasts, second.lasts) + recovery_of_two;
    plan.pairs.push_back(pair_name(first.kind, second.kind));
    plan.list.push_back(first);
    plan.list.push_back(second);
  }
  if (plan.is_mild) plan.until = std::max(plan.until, at);
  std::stable_sort(plan.list.begin(), plan.list.end(), [](const fault& a, const fault& b) {
    return a.from < b.from;
  });
  return plan;
}

std::string to_string(const fault& f) {
  std::array<char, 128> text{};
  std::snprintf(text.data(),
                text.size(),
                "%6.2f s %-18s node %u/%u for %.2f s, %.3f",
                seconds(f.from),
                std::string{to_string(f.kind)}.c_str(),
                f.node.value,
                f.other.value,
                seconds(f.lasts),
                f.amount);
  return text.data();
}

}  // namespace atl::sim
