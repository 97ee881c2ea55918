// EPLB's two policies as an oracle, from their description: what a balancer that splits an expert's
// rows evenly among its copies reaches. And random loads of several kinds.
#pragma once

#include "runtime/base/random.hpp"

#include <cstddef>
#include <vector>

namespace atl::cluster::balance_tests {

struct machine {
  std::size_t experts = 0, slots = 0, groups = 1, nodes = 1, devices = 1;
};

/// Hottest device over the mean. Groups stay on a node where nodes divide groups.
double eplb_hierarchical(const std::vector<double>& loads, const machine& m);
double eplb_global(const std::vector<double>& loads, const machine& m);

enum class load_kind { zipf, bursty, adversarial };
std::vector<double> random_loads(load_kind kind, std::size_t experts, random_source& random);

/// A lower bound on hottest/mean with equal devices: the smallest T >= mean for which all experts
/// can have max(1, ceil(load / T)) copies within the slots, and for which the h largest, on m
/// devices with what the slots of the others cannot hold, get done for some m.
double equal_bound(const std::vector<double>& loads, std::size_t slots, std::size_t devices);

}  // namespace atl::cluster::balance_tests
