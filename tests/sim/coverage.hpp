// What a row of seeds has reached: kinds of faults, pairs of them, steps of changes at which the
// coordinator died. Plain values.
#pragma once

#include "tests/sim/faults.hpp"

#include <cstddef>
#include <map>
#include <string>
#include <vector>

namespace atl::sim {

class coverage {
public:
  void add(const std::map<std::string, std::size_t>& reached);
  /// As lines, for another process to add, and back.
  std::string to_lines() const;
  void add_lines(const std::string& lines);

  /// For people: how often what was reached, or of how many how many were. The names of what was
  /// not come after it.
  std::string summary(const std::vector<fault_kind>& kinds) const;
  std::vector<std::string> missing(const std::vector<fault_kind>& kinds) const;

private:
  std::map<std::string, std::size_t> reached_;
};

}  // namespace atl::sim
