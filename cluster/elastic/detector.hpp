// When the placement is worth a plan: imbalance that is no accident of counting, at two time
// scales. Pure; time comes in. One owner.
//
//   what                                        alarm     when
//   groups came, went or changed intake         members   at once
//   a node above `start`, by an expert whose    burst     after `burst_doubt`, `burst_rest` after
//     fast load is far above its slow one                 a plan
//   a node above `start`, by slow loads         drift     after `drift_doubt`, `drift_rest` after
//                                                         a plan
//   copies nobody needed for `cold_patience`    cold      at once, `drift_rest` after a plan
//
// `start` is relative to what the last plan could reach: where memory allows no better, the same
// load raises no alarm again until `reference_life` is over. Counts of rows are taken as a Poisson
// process: with weights of at most b on its events and variance v, an average exceeds its
// expectation by t with a probability below exp(-(v / b^2) h(b t / v)), h(u) = (1 + u) ln(1 + u) -
// u (Bennett's inequality), and falls short by t with one below exp(-t^2 / 2v). What differs counts
// where the exponent is above `certainty`: experts that were hot are believed to have cooled within
// seconds too, or nodes that held them would look busy for a minute.
#pragma once

#include "cluster/elastic/elastic.hpp"
#include "runtime/base/clock.hpp"

#include <chrono>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace atl::cluster {

/// -ln of the probability that an accident is taken for a load: 1e-11, for some 1e8 looks a day.
inline constexpr double certainty = 25;

/// An expert's load as plans see it, in rows per second at the time scale of slow averages.
struct seen_load {
  double rows = 0;
  double variance = 0;    // of `rows`, by counting
  double weight = 0;      // of one counted row in `rows`
  bool is_burst = false;  // a faster average than the slow one says more, and is believed
};

/// Of one layer.
std::vector<seen_load> seen_loads(std::span<const expert_load_rates> rates);

enum class alarm_kind : std::uint8_t { members, burst, drift, cold };
std::string to_string(alarm_kind kind);

struct elastic_alarm {
  alarm_kind kind = alarm_kind::drift;
  std::string reason;  // one sentence
};

struct detector_settings {
  double start = 1.07;  // finishing time over the reference
  /// A node is late for so long: by then all nodes have reported the rows that came with it.
  duration_ns burst_doubt = std::chrono::milliseconds{200};
  duration_ns drift_doubt = std::chrono::seconds{1};
  duration_ns burst_rest = std::chrono::seconds{1};
  duration_ns drift_rest = std::chrono::seconds{10};
  duration_ns cold_patience = std::chrono::minutes{1};
  duration_ns reference_life = std::chrono::minutes{5};
};

class elastic_detector {
public:
  explicit elastic_detector(detector_settings settings = {}) : settings_{settings} {}

  /// Whether to plan now. Cheap enough for every report: some operations an expert and a group.
  /// Sets input.kept: a plan gives up only what has been cold for long, but all that is cold where
  /// members changed.
  std::optional<elastic_alarm> look(elastic_input& input, time_point_ns now);
  /// A plan was made of this input, whether or not it has work or is carried out.
  void planned(const elastic_input& input, const elastic_plan& plan, time_point_ns now);

private:
  struct member {
    std::string name;
    node_intake intake = node_intake::open;
    std::size_t capacity = 0;
  };
  std::optional<std::string> changed_members(const elastic_input& input);
  void remember(const elastic_input& input);
  struct late_node {
    group_id first;  // of its groups
    std::size_t layer = 0;
    friend auto operator<=>(const late_node&, const late_node&) = default;
  };
  std::optional<elastic_alarm>
  judge(std::optional<elastic_alarm> hottest, std::size_t cold, time_point_ns now);

  detector_settings settings_;
  std::map<group_id, member> members_;
  std::vector<double> references_;  // by layer, at least 1
  std::map<late_node, time_point_ns> late_since_;
  std::optional<time_point_ns> planned_at_;
  std::vector<std::optional<time_point_ns>> cold_since_;  // by expert
  std::optional<time_point_ns> cold_again_;               // not before
};

}  // namespace atl::cluster
