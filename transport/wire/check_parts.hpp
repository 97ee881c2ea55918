// What the checks share; included by transport/wire/check*.cpp alone.
#pragma once

#include "transport/wire/check.hpp"

#include <optional>
#include <string>
#include <string_view>

namespace atl::transport::wire {

inline std::string above(std::string_view field, std::size_t value, std::size_t limit) {
  return std::string{field} + " is " + std::to_string(value) + ", the limit is " +
         std::to_string(limit);
}

inline std::string check_count(std::string_view field, std::size_t count, std::size_t limit) {
  return count <= limit ? std::string{} : "the size of " + above(field, count, limit);
}

inline std::string check_index(std::string_view field, std::size_t index, std::size_t end) {
  return index < end ? std::string{} : above(field, index, end - 1);
}

inline std::string check_cause(const failure& f) {
  if (to_string(f.code) != "unknown") return {};
  return "the cause's code " + std::to_string(static_cast<int>(f.code)) + " is unknown";
}

inline std::string check_cause(const std::optional<failure>& f) {
  return f ? check_cause(*f) : std::string{};
}

/// Leaves the function with the sentence of a check that has one.
#define ATOLL_FIRST(expr)                                                                          \
  do {                                                                                             \
    if (std::string problem_ = (expr); !problem_.empty()) return problem_;                         \
  } while (false)

}  // namespace atl::transport::wire
