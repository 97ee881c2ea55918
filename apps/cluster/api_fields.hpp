// Strict reading of what clients of the cluster's API send: unknown fields, wrong types and values
// out of range are refused, naming the field. For the .cpp files of this folder. Pure.
#pragma once

#include "runtime/base/result.hpp"

#include <boost/json/object.hpp>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace atl::ops {

/// The object of a body; an empty body is an empty object. Fields besides `known` are refused.
result<boost::json::object> read_body(std::string_view body,
                                      std::initializer_list<std::string_view> known);

result<std::string>
text_field(const boost::json::object& from, std::string_view name, std::size_t bytes_max);
/// Nullopt where it is absent or null.
result<std::optional<std::int64_t>> integer_field(const boost::json::object& from,
                                                  std::string_view name,
                                                  std::int64_t least,
                                                  std::int64_t most);
/// errc::invalid_argument: the text of a field is none of the words that it may be.
error not_among(std::string_view field, const std::string& words, const std::string& found);
result<bool> flag_field(const boost::json::object& from, std::string_view name);
result<std::vector<std::string>>
words_field(const boost::json::object& from, std::string_view name, std::size_t count_max);

/// "since=12&wait=30" by name; refuses unknown names, repeats, and what is no plain text.
result<std::vector<std::pair<std::string, std::string>>>
read_query(std::string_view query, std::initializer_list<std::string_view> known);

}  // namespace atl::ops
