#include "apps/cluster/operation_api.hpp"

#include "apps/cluster/views.hpp"

#include <boost/json.hpp>

#include <utility>

namespace atl::ops {
namespace {

namespace json = boost::json;

}  // namespace

result<question> list_operations(const call& c, const api_backend&) {
  ATOLL_TRY(no_more(c));
  return question{[](cluster::control& s, time_point_ns now) -> result<api_reply> {
    json::array items;
    for (const auto& o : s.view(now).operations) items.push_back(to_json(o));
    return api_reply{200, json::object{{"items", std::move(items)}}};
  }};
}

result<question> get_operation(const call& c, const api_backend&) {
  ATOLL_TRY(no_more(c));
  ATOLL_ASSIGN(const auto id, number_of<std::uint64_t>("operation", c.id));
  return question{[id](cluster::control& s, time_point_ns) -> result<api_reply> {
    ATOLL_ASSIGN(const auto o, s.find_operation(id));
    return api_reply{200, to_json(o)};
  }};
}

result<question> cancel_operation(const call& c, const api_backend&) {
  ATOLL_TRY(no_more(c));
  ATOLL_ASSIGN(const auto id, number_of<std::uint64_t>("operation", c.id));
  return question{[id](cluster::control& s, time_point_ns now) -> result<api_reply> {
    ATOLL_TRY(s.cancel(id, now));
    ATOLL_ASSIGN(const auto o, s.find_operation(id));
    return api_reply{200, to_json(o)};
  }};
}

}  // namespace atl::ops
