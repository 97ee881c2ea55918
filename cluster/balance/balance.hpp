// Where the copies of each layer's experts should be, and what fraction of an expert's rows each
// copy computes: loads, speeds, memory, failure domains and the present placement in, a plan out.
// Pure and deterministic: no clock, no randomness, ties go to the lower index. Callable from any
// thread.
//
// Of each layer it makes the finishing time of the slowest node, max over nodes of (rows there /
// speed), small, then moves few experts. In order of precedence:
//  1. no two copies of an expert on one node; no node above its memory; pinned copies stay;
//  2. every expert has a copy (not bounded by the budget: a layer with a hole serves nobody);
//  3. draining nodes hand over what they hold;
//  4. every expert lives in two failure domains, where memory holds two copies of each (option
//     cover); where it holds fewer, cover gets what balance leaves;
//  5. balance, where it gains more than the hysteresis.
// 3 to 5 move no more experts than 2 leaves of the budget. A copy is given up only where its place
// is needed. Shares are best possible for the copies there are; changing them moves nothing.
#pragma once

#include "runtime/base/result.hpp"

#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <vector>

namespace atl::cluster {

enum class node_intake : std::uint8_t {
  open,
  closed,   // cordoned: keeps what it holds, takes nothing
  draining  // hands over what it holds
};

/// Whatever computes on its own, an expert group say; `domain` is what fails together.
struct balance_node {
  std::string name;       // in reasons
  double speed = 1;       // rows in a unit of time; > 0
  std::size_t slots = 0;  // experts of one layer that it can hold
  std::uint64_t memory_bytes = std::numeric_limits<std::uint64_t>::max();  // over all layers
  std::string domain = {};                                                 // empty: one of its own
  node_intake intake = node_intake::open;
};

/// A copy of an expert. Nodes and experts are indices.
struct balance_copy {
  std::uint32_t expert = 0;
  std::uint32_t node = 0;
  double share = 0;        // of the expert's rows; those of an expert sum to 1
  bool is_pinned = false;  // stays
  friend bool operator==(const balance_copy&, const balance_copy&) = default;
};

/// A copy that is not to be made.
struct balance_ban {
  std::uint32_t layer = 0;
  std::uint32_t expert = 0;
  std::uint32_t node = 0;
};

/// An expert that gets no further copy while it has one.
struct balance_fixed {
  std::uint32_t layer = 0;
  std::uint32_t expert = 0;
};

struct balance_options {
  bool cover = true;
  /// Nodes that hold every expert in slower memory or on disk: an expert with live copies in one
  /// domain is covered by such a node in another.
  std::vector<std::uint32_t> cold_cover = {};
  std::size_t moved_experts_max = std::numeric_limits<std::size_t>::max();
  std::uint64_t moved_bytes_max = std::numeric_limits<std::uint64_t>::max();
  /// A layer is moved for balance only if its finishing time shrinks by more than this fraction.
  double hysteresis = 0;
  /// A placement within this fraction of the best one known is good enough, if it moves less.
  double tolerance = 0.01;
};

struct balance_input {
  std::vector<std::vector<double>> loads;  // (layers, experts): rows, of any unit; >= 0
  std::vector<balance_node> nodes;
  /// Empty (nothing is placed yet, and no budget holds), or one list a layer.
  std::vector<std::vector<balance_copy>> present = {};
  /// Layers with bans or fixed experts are changed step by step only, never placed from nothing.
  std::vector<balance_ban> barred = {};
  std::vector<balance_fixed> fixed = {};
  std::uint64_t expert_bytes = 1;
  balance_options options = {};
};

enum class move_reason : std::uint8_t {
  missing,  // the expert had no copy that memory holds
  drain,    // its only copies were on draining nodes
  cover,    // its copies were in one failure domain
  balance   // takes load off the slowest nodes
};

/// A copy to be made.
struct balance_move {
  std::uint32_t layer = 0;
  std::uint32_t expert = 0;
  std::uint32_t to = 0;
  double share = 0;
  move_reason reason = move_reason::balance;
};

/// A copy given up: its node drains, or needs the place for a copy that is made.
struct balance_drop {
  std::uint32_t layer = 0;
  std::uint32_t expert = 0;
  std::uint32_t from = 0;
};

/// Why a layer was not balanced further.
enum class rest_reason : std::uint8_t {
  balanced,    // nothing better was found, or it is within the tolerance of the lower bound
  hysteresis,  // something better was found, but it gains too little
  budget       // the moves that are allowed are used up
};

struct layer_plan {
  std::vector<balance_copy> replicas;   // by expert, then node
  std::optional<double> finish_before;  // present shares; none where an expert has no live copy
  double finish = 0;                    // load units / speed units
  double bound = 0;                     // no placement within memory finishes earlier
  double mean = 0;                      // the layer's load / the speed of all nodes
  std::size_t uncovered = 0;            // experts in one failure domain only, cover or not
  rest_reason rest = rest_reason::balanced;
  double finish_left = 0;  // what was found and not done because of `rest`

  /// Finishing time over that of an even spread: the hottest node's load over the mean where
  /// speeds are equal; 1 for a layer without load.
  double hottest_over_mean() const { return mean > 0 ? finish / mean : 1; }
  std::optional<double> hottest_over_mean_before() const;
};

struct balance_plan {
  std::vector<layer_plan> layers;
  std::vector<balance_move> moves;  // by layer, expert, node
  std::vector<balance_drop> drops;  // by layer, expert, node
  std::size_t moved_experts = 0;
  std::uint64_t moved_bytes = 0;

  double finish() const;                        // sum over layers: they follow one another
  std::optional<double> finish_before() const;  // none if a layer has none
};

/// errc::invalid_argument, naming the field and value: no nodes, layers or experts; ragged rows; a
/// load, speed, hysteresis or tolerance that is no number in range (loads and speeds below 1e15);
/// indices out of range; two copies of an expert on one node; pinned copies above a node's memory;
/// memory too small for one copy of each expert.
result<balance_plan> plan_balance(const balance_input& input);

/// Whole-number weights of an expert's copies for experts::replica: in proportion to the shares,
/// at least 1.
std::uint32_t weight_of_share(double share);

/// One sentence a move, or for each kind of reason why layers rest; for people.
std::string describe(const balance_input& input, const balance_move& move);
std::vector<std::string> explain(const balance_input& input, const balance_plan& plan);
/// "missing", "drain", "cover", "balance"; "balanced", "hysteresis", "budget".
std::string to_string(move_reason reason);
std::string to_string(rest_reason reason);

}  // namespace atl::cluster
