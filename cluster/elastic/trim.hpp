// Copies that nobody needs any longer. Pure.
#pragma once

#include "cluster/balance/balance.hpp"

#include <cstdint>
#include <vector>

namespace atl::cluster::elastic {

struct trim_input {
  const std::vector<double>& loads;  // of the layer, by expert
  const std::vector<balance_node>& nodes;
  std::vector<std::uint32_t> wanted;  // copies, by expert
  bool cover = false;                 // experts in two domains stay in two
  double latest = 0;                  // finishing time that is early enough
};

/// Gives up copies beyond those wanted, the one with the least load first, while the layer finishes
/// by `latest`; pinned ones stay. The shares that are left are best, if something was given up.
/// True if something was.
bool trim(const trim_input& input, layer_plan& layer);

}  // namespace atl::cluster::elastic
