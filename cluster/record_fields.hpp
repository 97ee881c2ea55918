// Reads fields of the coordinator's records. For the .cpp files of records.
#pragma once

#include "runtime/base/ids.hpp"

#include <boost/json.hpp>

#include <array>
#include <optional>
#include <string>
#include <string_view>

namespace atl::cluster {

struct durable_state;

namespace record_fields {

namespace json = boost::json;

/// Reads one field: absent or of another type leaves the default.
template <class Number>
void read(const json::object& from, std::string_view key, Number& to) {
  const json::value* field = from.if_contains(key);
  if (field == nullptr) return;
  boost::system::error_code failed;
  const auto value = field->to_number<Number>(failed);
  if (!failed) to = value;
}

inline void read(const json::object& from, std::string_view key, bool& to) {
  const json::value* field = from.if_contains(key);
  if (field != nullptr && field->is_bool()) to = field->get_bool();
}

inline void read(const json::object& from, std::string_view key, std::string& to) {
  const json::value* field = from.if_contains(key);
  if (field != nullptr && field->is_string()) to = std::string{field->get_string()};
}

template <class Number>
void read(const json::object& from, std::string_view key, std::optional<Number>& to) {
  const json::value* field = from.if_contains(key);
  if (field == nullptr) return;
  boost::system::error_code failed;
  const auto value = field->to_number<Number>(failed);
  if (!failed) to = value;
}

template <class Tag, class Rep>
void read(const json::object& from, std::string_view key, strong_id<Tag, Rep>& to) {
  read(from, key, to.value);
}

template <class Enum, std::size_t Count>
void read(const json::object& from,
          std::string_view key,
          const std::array<std::string_view, Count>& names,
          Enum& to) {
  std::string name;
  read(from, key, name);
  for (std::size_t i = 0; i < Count; ++i) {
    if (names[i] == name) to = static_cast<Enum>(i);
  }
}

// Of plan_records.cpp.
void apply_policy(durable_state& to, const json::object& o);
void apply_plan(durable_state& to, const json::object& o);
void apply_goal(durable_state& to, const json::object& o);

// Of control_settings.cpp.
void apply_settings(durable_state& to, const json::object& o);

}  // namespace record_fields
}  // namespace atl::cluster
