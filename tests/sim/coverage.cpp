#include "tests/sim/coverage.hpp"

#include "tests/sim/crash_steps.hpp"

#include <algorithm>
#include <cstdlib>
#include <sstream>

namespace atl::sim {
namespace {

bool has(const std::vector<fault_kind>& kinds, fault_kind kind) {
  return std::find(kinds.begin(), kinds.end(), kind) != kinds.end();
}

struct part {
  std::string what;
  std::vector<std::string> names;
};

std::vector<part> expected(const std::vector<fault_kind>& kinds) {
  std::vector<part> parts{{"kinds of faults", {}},
                          {"pairs at once", {}},
                          {"steps of a placement change", {}},
                          {"steps of a compaction", {}},
                          {"ends of plans that move experts", {}}};
  for (const auto k : kinds) parts[0].names.emplace_back(to_string(k));
  for (std::size_t i = 0; i < kinds.size(); ++i)
    for (std::size_t j = 0; j <= i; ++j)
      parts[1].names.push_back("pair: " + pair_name(kinds[i], kinds[j]));
  for (std::size_t i = 0; i < placement_steps && has(kinds, fault_kind::crash_in_placement); ++i)
    parts[2].names.push_back("placement: " + to_string(placement_step_at(i)));
  for (std::size_t i = 0; i < compaction_steps && has(kinds, fault_kind::crash_in_compaction); ++i)
    parts[3].names.push_back("compaction: " + to_string(compaction_step_at(i)));
  if (has(kinds, fault_kind::rebalance) && kinds.size() == fault_kinds)
    parts[4].names = {"plan: an operator's, done", "plan: the policy's, done", "plan: cancelled"};
  return parts;
}

}  // namespace

void coverage::add(const std::map<std::string, std::size_t>& reached) {
  for (const auto& [name, times] : reached) reached_[name] += times;
}

std::string coverage::to_lines() const {
  std::string lines;
  for (const auto& [name, times] : reached_) lines += std::to_string(times) + " " + name + "\n";
  return lines;
}

void coverage::add_lines(const std::string& lines) {
  std::istringstream in{lines};
  std::size_t times = 0;
  std::string name;
  while (in >> times && std::getline(in >> std::ws, name)) reached_[name] += times;
}

std::vector<std::string> coverage::missing(const std::vector<fault_kind>& kinds) const {
  std::vector<std::string> all;
  for (const auto& p : expected(kinds))
    for (const auto& name : p.names)
      if (reached_.count(name) == 0) all.push_back(name);
  return all;
}

std::string coverage::summary(const std::vector<fault_kind>& kinds) const {
  std::string text;
  for (const auto& p : expected(kinds)) {
    std::size_t least = SIZE_MAX, there = 0;
    for (const auto& name : p.names) {
      const auto at = reached_.find(name);
      const std::size_t times = at == reached_.end() ? 0 : at->second;
      least = std::min(least, times);
      there += times > 0 ? 1 : 0;
    }
    if (p.names.empty()) continue;
    text += std::to_string(there) + " of " + std::to_string(p.names.size()) + " " + p.what +
            ", each " + std::to_string(least) + " times or more\n";
  }
  for (const auto& [name, times] : reached_)
    if (name.find(':') == std::string::npos || name.starts_with("plan: "))
      text += "  " + std::to_string(times) + " x " + name + "\n";
  for (const auto& name : missing(kinds)) text += "NOT REACHED: " + name + "\n";
  return text;
}

}  // namespace atl::sim
