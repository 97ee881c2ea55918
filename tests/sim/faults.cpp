#include "tests/sim/faults.hpp"

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
                                                          "reorder",
                                                          "duplicate",
                                                          "corrupt",
                                                          "slow",
                                                          "disk",
                                                          "coordinator_crash",
                                                          "crash_in_placement",
                                                          "hang_up"};

constexpr int faults_least = 5;
// A mild fault's consequences are over by then: dead after 1.9 s, copies made anew, a node back.
constexpr duration_ns recovery = milliseconds{5500};

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
    return f;
  }
  duration_ns between(std::int64_t low_ms, std::int64_t high_ms) {
    return milliseconds{low_ms + static_cast<std::int64_t>(random_.below(
                                     static_cast<std::uint64_t>(high_ms - low_ms + 1)))};
  }

private:
  node_id any_node(fault_kind kind) {
    const bool is_coordinators = kind == fault_kind::disk ||
                                 kind == fault_kind::coordinator_crash ||
                                 kind == fault_kind::crash_in_placement;
    if (is_coordinators) return world_.nodes.front().id;
    // The coordinator has kinds of its own, and seldom another.
    const bool is_any = kind == fault_kind::freeze || kind == fault_kind::cut;
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
    case fault_kind::crash_in_placement: return between(200, is_mild ? 3000 : 12'000);
    case fault_kind::freeze:
      // Short ones only delay, long ones are deaths.
      return random_.below(2) == 0 ? between(200, 800) : between(2500, is_mild ? 5000 : 30'000);
    case fault_kind::hang_up:
    case fault_kind::reset: return milliseconds{0};
    default: return between(300, is_mild ? 4000 : 10'000);
    }
  }
  double amount(fault_kind kind) {
    switch (kind) {
    case fault_kind::delay: return 0.001 + 0.399 * random_.unit();  // seconds
    case fault_kind::reorder:
    case fault_kind::duplicate: return 0.01 + 0.2 * random_.unit();
    case fault_kind::corrupt: return 0.001 + 0.02 * random_.unit();
    case fault_kind::slow: return 2 + 40 * random_.unit();
    default: return random_.unit();
    }
  }

  random_source& random_;
  const world_plan& world_;
};

}  // namespace

std::string_view to_string(fault_kind kind) noexcept {
  return names[static_cast<std::size_t>(kind)];
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
  std::vector<fault_kind> kinds;
  for (const auto k : allowed)
    if (random.below(2) == 0) kinds.push_back(k);
  if (kinds.empty()) kinds.push_back(allowed[random.below(allowed.size())]);

  drawing from{random, world};
  const int count = faults_least + static_cast<int>(plan.is_mild ? 0 : random.below(6));
  duration_ns at = from.between(0, 1500);
  for (int i = 0; i < count; ++i) {
    fault f = from.draw(kinds[random.below(kinds.size())], plan.is_mild);
    if (plan.is_mild) {
      f.from = at;
      at += f.lasts + recovery + from.between(0, 1500);
    } else {
      // Two at once now and then.
      f.from = i > 0 && random.below(3) == 0 ? plan.list.back().from : from.between(0, 27'000);
    }
    plan.list.push_back(f);
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
