#include "cluster/elastic/explain.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <map>

namespace atl::cluster {

namespace {

constexpr std::size_t sentences_most = 20;

std::string number(double x) {
  std::array<char, 32> text{};
  (void)std::snprintf(text.data(), text.size(), "%.2f", x);
  return text.data();
}

std::string counted(std::size_t n) { return std::to_string(n) + (n == 1 ? " copy" : " copies"); }

std::string bytes_text(std::uint64_t bytes) {
  constexpr double mib = 1024.0 * 1024.0;
  return number(static_cast<double>(bytes) / mib) + " MiB";
}

std::string because(elastic_reason reason) {
  switch (reason) {
  case elastic_reason::missing: return "the expert had no copy";
  case elastic_reason::drain: return "its node is drained";
  case elastic_reason::cover: return "its expert had too few copies or failure domains";
  case elastic_reason::balance: return "it takes load off the nodes that finish last";
  case elastic_reason::rule: return "an operator asked for it";
  case elastic_reason::cold: return "the layer finishes as early without it";
  case elastic_reason::makes_way: return "its place or its load went to a new copy";
  }
  return "no reason is known";
}

std::string summary(const elastic_plan& plan) {
  if (!plan.has_work()) return "nothing to do";
  std::string text;
  if (!plan.moves.empty())
    text = counted(plan.moves.size()) + " to make (" + bytes_text(plan.bytes) + ")";
  if (!plan.drops.empty())
    text += (text.empty() ? "" : ", ") + counted(plan.drops.size()) + " to give up";
  if (text.empty()) text = "new shares of the copies there are";
  const double before = plan.hottest_before();
  const std::string after = number(plan.hottest_after());
  if (!std::isfinite(before))
    return text + "; the hottest node of any layer: " + after + " times the mean";
  return text + "; the hottest node of any layer: from " + number(before) + " to " + after +
         " times the mean";
}

}  // namespace

std::string to_string(elastic_reason reason) {
  switch (reason) {
  case elastic_reason::missing: return "missing";
  case elastic_reason::drain: return "drain";
  case elastic_reason::cover: return "cover";
  case elastic_reason::balance: return "balance";
  case elastic_reason::rule: return "rule";
  case elastic_reason::cold: return "cold";
  case elastic_reason::makes_way: return "makes_way";
  }
  return "unknown";
}

namespace elastic {

std::vector<std::string> sentences_of(const elastic_input& input, const elastic_plan& plan) {
  std::map<group_id, std::string> names;
  for (const elastic_group& g : input.groups)
    names[g.group] = g.name.empty() ? "group " + std::to_string(g.group.value) : g.name;
  std::vector<std::string> sentences{summary(plan)};
  const auto told = [&](const elastic_move& m) {
    return "layer " + std::to_string(m.what.layer.value) + ", expert " +
           std::to_string(m.what.expert.value) + ": ";
  };
  const auto tell = [&](const std::vector<elastic_move>& all, bool are_made) {
    const std::size_t count = std::min(all.size(), sentences_most / 2);
    for (std::size_t k = 0; k < count; ++k) {
      const elastic_move& m = all[k];
      const std::string& who = names[m.what.group];
      const std::string does =
          are_made ? who + " gets a copy with " +
                         std::to_string(static_cast<int>(std::lround(100 * m.share))) +
                         " % of its rows: "
                   : who + " gives its copy up: ";
      sentences.push_back(told(m) + does + because(m.reason));
    }
    if (all.size() > count)
      sentences.push_back("and " + counted(all.size() - count) + " more to " +
                          (are_made ? "make" : "give up"));
  };
  tell(plan.moves, true);
  tell(plan.drops, false);
  return sentences;
}

}  // namespace elastic
}  // namespace atl::cluster
