#include "cluster/balance/balance.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>

namespace atl::cluster {

namespace {

std::string rounded(double value) {
  std::array<char, 32> text{};
  const int length = std::snprintf(text.data(), text.size(), "%.4g", value);
  return {text.data(), static_cast<std::size_t>(length)};
}

std::string percent(double part) { return rounded(std::round(part * 1000) / 10) + " %"; }

std::string plural(std::size_t count, const std::string& what) {
  return std::to_string(count) + " " + what + (count == 1 ? "" : "s");
}

std::string sentence(const layer_plan& plan) {
  const std::string gain =
      plan.finish > 0 ? percent(1 - plan.finish_left / plan.finish) : std::string{"nothing"};
  if (plan.rest == rest_reason::hysteresis)
    return "moving experts would make it faster by " + gain + ", less than the hysteresis";
  if (plan.rest == rest_reason::budget)
    return "more moves would make it faster by another " + gain + ", but the budget is used up";
  if (plan.bound > 0 && plan.finish <= plan.bound * 1.0001)
    return "no placement within memory finishes earlier";
  return "at most " + percent(plan.bound > 0 ? plan.finish / plan.bound - 1 : 0) +
         " above what any placement could reach";
}

}  // namespace

std::string to_string(move_reason reason) {
  switch (reason) {
  case move_reason::missing: return "missing";
  case move_reason::drain: return "drain";
  case move_reason::cover: return "cover";
  case move_reason::balance: return "balance";
  }
  return "";
}

std::string to_string(rest_reason reason) {
  switch (reason) {
  case rest_reason::balanced: return "balanced";
  case rest_reason::hysteresis: return "hysteresis";
  case rest_reason::budget: return "budget";
  }
  return "";
}

std::string describe(const balance_input& input, const balance_move& move) {
  std::string what = "layer " + std::to_string(move.layer) + ", expert " +
                     std::to_string(move.expert) + ": copy to " + input.nodes[move.to].name;
  const std::string part = percent(move.share) + " of its rows";
  switch (move.reason) {
  case move_reason::missing: return what + ", since it had no copy that memory holds";
  case move_reason::drain: return what + ", since its only copies are on draining nodes";
  case move_reason::cover: return what + ", a second failure domain for it; takes " + part;
  case move_reason::balance: return what + ", takes " + part + " off nodes that finish late";
  }
  return what;
}

std::vector<std::string> explain(const balance_input& input, const balance_plan& plan) {
  std::vector<std::string> lines;
  // Many at once are a first placement, of which no single one says much.
  constexpr std::ptrdiff_t told_most = 16;
  const auto is_missing = [](const balance_move& m) { return m.reason == move_reason::missing; };
  const std::ptrdiff_t missing = std::count_if(plan.moves.begin(), plan.moves.end(), is_missing);
  for (const balance_move& move : plan.moves)
    if (!is_missing(move) || missing <= told_most) lines.push_back(describe(input, move));
  if (missing > told_most)
    lines.push_back(std::to_string(missing) + " experts had no copy; they get one each");
  for (std::size_t l = 0; l < plan.layers.size(); ++l) {
    const layer_plan& layer = plan.layers[l];
    std::string line = "layer " + std::to_string(l) + ": slowest node at " +
                       rounded(layer.hottest_over_mean()) + " of the mean";
    if (const auto before = layer.hottest_over_mean_before())
      line += ", " + rounded(*before) + " before";
    line += "; " + sentence(layer);
    if (layer.uncovered > 0 && input.options.cover)
      line += "; " + plural(layer.uncovered, "expert") +
              " in one failure domain only, for want of "
              "memory, domains or budget";
    lines.push_back(std::move(line));
  }
  return lines;
}

std::optional<double> layer_plan::hottest_over_mean_before() const {
  if (!finish_before) return std::nullopt;
  return mean > 0 ? *finish_before / mean : 1;
}

double balance_plan::finish() const {
  double sum = 0;
  for (const layer_plan& layer : layers) sum += layer.finish;
  return sum;
}

std::optional<double> balance_plan::finish_before() const {
  double sum = 0;
  for (const layer_plan& layer : layers) {
    if (!layer.finish_before) return std::nullopt;
    sum += *layer.finish_before;
  }
  return sum;
}

std::uint32_t weight_of_share(double share) {
  constexpr double whole = 65536;
  return static_cast<std::uint32_t>(std::max(1.0, std::round(std::clamp(share, 0.0, 1.0) * whole)));
}

}  // namespace atl::cluster
