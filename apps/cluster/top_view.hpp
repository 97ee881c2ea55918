// What `atoll top` shows: the state of a cluster as one object, and as lines of text. For the .cpp
// files of this folder, since it brings Boost.JSON. Pure.
#pragma once

#include <boost/json/object.hpp>
#include <boost/json/value.hpp>

#include <cstddef>
#include <string>
#include <vector>

namespace atl::ops {

/// Answers of the API; null where one was not had.
struct top_answers {
  boost::json::value cluster;  // GET /api/v1/cluster
  boost::json::value experts;  // GET /api/v1/experts
  boost::json::value plans;    // GET /api/v1/plans
  boost::json::value status;   // GET /api/v1/status, of a gateway
};

/// "rows_per_s" are those that experts are asked for of late; of a node, its share of them.
/// "tokens_per_s" is null where the server that was asked is no gateway.
boost::json::object top_summary(const top_answers& from, std::size_t hottest_most);

/// As many lines as fit, none longer than `columns`.
std::vector<std::string>
top_lines(const boost::json::object& summary, std::size_t columns, std::size_t lines);

}  // namespace atl::ops
