// What a run found wrong: the first violation of an invariant (I1 to I11 of the test plan), with
// the virtual time. One thread.
#pragma once

#include "runtime/base/clock.hpp"

#include <optional>
#include <string>

namespace atl::sim {

struct violation {
  std::string invariant;  // "I3"
  std::string what;
  time_point_ns at;
};

class verdicts {
public:
  void fail(const std::string& invariant, const std::string& what, time_point_ns at) {
    if (!first_) first_ = violation{invariant, what, at};
  }
  const std::optional<violation>& first() const noexcept { return first_; }

private:
  std::optional<violation> first_;
};

}  // namespace atl::sim
