// Ways to break a cluster from outside, one a run: each must turn a checker red, which shows that
// the checker looks. Nothing here is a part of what is tested. One thread.
#pragma once

#include "tests/sim/ledger.hpp"

#include <string>

namespace atl::sim {

class mutation {
public:
  explicit mutation(std::string name) : name_{std::move(name)} {}

  void change(world_plan& plan) const;
  void change(ledger& clients) const;
  void change(wiring& wires) const;
  /// From now on: the cluster has become ready.
  void begin() { is_on_ = true; }
  /// Sees frames before they are sent, and may change them; false: it is lost.
  bool passes(transport::frame& f, transport::node_identity from) const;
  bool keeps_record(const std::string& record) const;

private:
  bool is(const char* name) const { return name_ == name; }

  std::string name_;
  bool is_on_ = false;
};

}  // namespace atl::sim
