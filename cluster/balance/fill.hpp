// A placement from nothing: how early a layer can finish at best, and a way to get there or near.
// Pure.
#pragma once

#include "cluster/balance/layer_state.hpp"

#include <optional>

namespace atl::cluster::balancing {

/// No placement and no shares finish earlier than that. The largest of
///  - for the nodes F with the most speed a slot: what their slots cannot take (all but the largest
///    loads, as many as there are slots on F), over the speed of the others; F = {}: the mean;
///  - the smallest T for which sum over experts of c(e, T) <= slots, where c is the number of the
///    fastest nodes that get through the load of e in T;
///  - for the h largest experts: on m nodes, at most h + the slots to spare, they have company of
///    all that the slots of the other nodes cannot hold; the least over m of their load and that of
///    the smallest such company, over the speed of the m fastest.
double lower_bound(const layer_problem& problem);

/// All experts on nodes that take, draining ones left out; no_room where there are fewer slots than
/// experts.
std::optional<layer_state> fill(const layer_problem& problem, double bound);

}  // namespace atl::cluster::balancing
