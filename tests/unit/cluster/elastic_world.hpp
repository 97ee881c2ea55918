// Small fleets and loads for tests of elastic plans, and what must hold of every plan.
#pragma once

#include "cluster/elastic/elastic.hpp"

#include <cstddef>
#include <cstdint>
#include <functional>

namespace atl::cluster {

/// Nodes of one group each, group and node j alike; nothing is placed, no load.
elastic_input
world(std::size_t layers, std::size_t experts, std::size_t nodes, std::size_t capacity);
/// Experts in turn over the groups that have room, each `input.copies` times, equal shares.
void spread(elastic_input& input);
/// Steady loads, in rows per second: both averages.
void set_loads(elastic_input& input, const std::function<double(std::size_t, std::size_t)>& rate);
/// Rank r of a random order has a load in proportion to r^-exponent; 100 rows per second each on
/// the mean.
void zipf_loads(elastic_input& input, std::uint64_t seed, double exponent);

/// Finishing time of a layer over that of an even spread, by rows that go by the shares.
double
hottest_of(const elastic_input& input, const experts::replica_lists& target, std::size_t layer);

/// Capacities, one copy of an expert on a node, every expert placed as often as wanted, and moves,
/// drops and target that agree with what is present.
void expect_sound(const elastic_input& input, const elastic_plan& plan);

}  // namespace atl::cluster
