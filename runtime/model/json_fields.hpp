// Typed reading of JSON objects that come from outside: each reader checks presence, type and range
// and answers with an error naming file, field, value and what would be accepted. Used by the .cpp
// files of this folder only, since it brings Boost.JSON. Pure; any thread.
#pragma once

#include "runtime/base/result.hpp"

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/value.hpp>

#include <cstdint>
#include <string>
#include <string_view>

namespace atl::model {

/// Parses a whole text; the error names `path` and the line. A key given twice keeps its last
/// value.
result<boost::json::value> parse_json(std::string_view text, const std::string& path);

/// The object at the root of a text, or an error naming `path`.
result<boost::json::object> parse_json_object(std::string_view text, const std::string& path);

/// A JSON value as it stands in a file, cut after 60 bytes, for messages.
std::string shown(const boost::json::value& value);

class json_fields {
public:
  /// Borrows `object`. `prefix` ("rope_scaling.") goes before field names in messages.
  json_fields(const boost::json::object& object, std::string path, std::string prefix = "")
      : object_{object}, path_{std::move(path)}, prefix_{std::move(prefix)} {}

  /// Refuses a value that is not an object; `field` names it in messages ("added_tokens[3]").
  static result<json_fields>
  of(const boost::json::value& value, const std::string& path, const std::string& field);

  bool has(std::string_view name) const noexcept { return object_.contains(name); }
  /// Null when the field is absent or JSON null.
  const boost::json::value* find(std::string_view name) const noexcept;

  /// Integers from lo to hi; 40.0 counts as one.
  result<std::int64_t> integer(std::string_view name, std::int64_t lo, std::int64_t hi) const;
  result<std::int64_t>
  integer_or(std::string_view name, std::int64_t lo, std::int64_t hi, std::int64_t fallback) const;
  result<double> number(std::string_view name, double lo, double hi) const;
  result<double> number_or(std::string_view name, double lo, double hi, double fallback) const;
  result<bool> boolean(std::string_view name) const;
  result<bool> boolean_or(std::string_view name, bool fallback) const;
  result<std::string> text(std::string_view name) const;
  result<std::string> text_or(std::string_view name, std::string_view fallback) const;

  /// Borrowed, as long as the document lives.
  result<const boost::json::object*> object(std::string_view name) const;
  result<const boost::json::array*> array(std::string_view name) const;
  result<json_fields> child(std::string_view name) const;

  /// "PATH: NAME is VALUE; EXPECTATION" (or "is missing").
  error wrong(std::string_view name,
              const std::string& expectation,
              errc code = errc::invalid_model) const;

  const std::string& path() const noexcept { return path_; }
  /// A field's name with the objects that lead to it.
  std::string full_name(std::string_view name) const { return prefix_ + std::string{name}; }

private:
  const boost::json::object& object_;
  std::string path_;
  std::string prefix_;
};

}  // namespace atl::model
