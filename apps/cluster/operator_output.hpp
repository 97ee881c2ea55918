// What commands of operators share: fields of the API's answers, printing, and waiting. For the
// .cpp files of this folder, since it brings Boost.JSON.
#pragma once

#include "apps/cluster/operator_commands.hpp"
#include "apps/cluster/operator_session.hpp"
#include "runtime/base/result.hpp"

#include <boost/json/array.hpp>
#include <boost/json/value.hpp>

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace atl::ops {

/// A field as text, a list of words with commas between; empty where there is none.
std::string text_at(const boost::json::value& v, std::string_view name);
/// 0 where there is no whole number.
std::int64_t number_at(const boost::json::value& v, std::string_view name);
/// Empty where there is no list.
const boost::json::array& list_at(const boost::json::value& v, std::string_view name);

result<int> print(const std::string& text);
result<int> print(const boost::json::value& v);

/// Errors are told and become exit codes here.
result<int> with_session(const operator_options& o,
                         const std::function<result<int>(operator_session&)>& what);

struct list_column {
  std::string title;
  std::string field;
};
/// What a GET answers in `items`: as JSON, or a table with a line for each.
result<int> show_list(const operator_options& o,
                      const std::string& path,
                      const std::vector<list_column>& columns);

/// The number of a node that was named by its number or its name.
result<std::string> find_node(operator_session& at, const std::string& given);

/// 1 when it failed or was cancelled.
result<int> show_operation(const operator_options& o, const boost::json::value& operation);

/// Looks again whenever something happened in the cluster, until the operation has ended.
result<boost::json::value> wait_for_end(operator_session& at, boost::json::value operation);

// Of plans (plan_commands.cpp).
/// 1 when it failed or was cancelled.
result<int> show_plan(const operator_options& o, const boost::json::value& plan);
/// Looks again whenever something happened in the cluster, until it is applied no more.
result<boost::json::value> wait_for_plan(operator_session& at, boost::json::value plan);

}  // namespace atl::ops
