// Models, experts and their placement as JSON for the cluster's API. For the .cpp files of this
// folder, since it brings Boost.JSON. Pure.
#pragma once

#include "cluster/control.hpp"

#include <boost/json/object.hpp>

#include <string>
#include <vector>

namespace atl::ops {

boost::json::object to_json(const cluster::expert_view& e);

/// What the cluster serves. "state": serving when each expert has a copy in use, else loading.
boost::json::object
model_json(const cluster::control& s, const cluster::cluster_view& v, const std::string& name);

/// By layer and expert: the nodes that serve it, each with its share of the rows.
boost::json::object placement_json(epoch version,
                                   const cluster::cluster_view& v,
                                   const std::vector<cluster::expert_view>& experts);

}  // namespace atl::ops
