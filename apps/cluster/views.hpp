// What the coordinator knows, as JSON for its API. For the .cpp files of this folder, since it
// brings Boost.JSON. Pure.
#pragma once

#include "cluster/control_view.hpp"

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace atl::ops {

/// Why a cluster is not as it should be, for people; empty: it is healthy. Healthy means that all
/// nodes that were admitted and neither removed nor drained are here, that every expert has the
/// copies it should have, and that none is being loaded.
std::string what_is_wrong(const cluster::cluster_view& v);

/// Rows by layer and expert, of layers that have experts.
boost::json::object load_json(const std::vector<std::vector<std::uint64_t>>& rows);
boost::json::object to_json(const cluster::node_view& n);
boost::json::object to_json(const cluster::operation& o);
boost::json::object to_json(const cluster::event& e);
boost::json::object to_json(const cluster::join_token& t, std::int64_t now_unix_ms);
boost::json::object to_json(const cluster::certificate_record& c);
/// All of it. "state": healthy or degraded, "reason": why not.
boost::json::object to_json(const cluster::cluster_view& v, const std::string& name);

}  // namespace atl::ops
