// One seed: a cluster, clients, faults drawn from the seed, healing, and a phase in which all has
// to come to rest. The same seed gives the same run.
#pragma once

#include "tests/sim/faults.hpp"
#include "tests/sim/ledger.hpp"

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace atl::sim {

struct run_options {
  std::uint64_t seed = 1;
  std::vector<fault_kind> allowed;
  std::string mutation;  // empty: none
};

struct run_report {
  std::uint64_t seed = 0;
  std::optional<violation> found;
  fault_plan faults;
  std::size_t struck = 0;  // faults that took effect
  std::size_t requests = 0;
  std::size_t accepted = 0;  // once for each attempt
  std::size_t failures = 0;  // that the faults explain
  std::uint64_t turns = 0;
  std::uint64_t frames = 0;
  std::uint64_t trace_hash = 0;
  double virtual_s = 0;
  std::map<std::string, std::size_t> reached;  // kinds, pairs and steps of changes
};

/// What clients ask in any run, and what an undisturbed cluster answers.
class request_book {
public:
  /// Runs them all, without faults.
  static result<request_book> make(const std::shared_ptr<const model::model_weights>& weights);
  std::size_t size() const { return asks_.size(); }
  client_request at(std::size_t i) const;

private:
  std::vector<actors::generation_request> asks_;
  std::vector<reference> answers_;
};

run_report run_seed(const std::shared_ptr<const model::model_weights>& weights,
                    const request_book& book,
                    const run_options& options);

/// A way to break the cluster from outside, and the checker that has to find it.
struct known_mutation {
  std::string name;
  std::string invariant;
};
const std::vector<known_mutation>& mutations();

}  // namespace atl::sim
