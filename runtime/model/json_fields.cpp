#include "runtime/model/json_fields.hpp"

#include <boost/json/parser.hpp>
#include <boost/json/serialize.hpp>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <optional>

namespace atl::model {
namespace {

constexpr double integer_exact_max = 9007199254740992.0;  // 2^53

std::optional<std::int64_t> as_integer(const boost::json::value& value) noexcept {
  if (value.is_int64()) return value.get_int64();
  if (value.is_double()) {
    const double d = value.get_double();
    if (std::abs(d) <= integer_exact_max && std::trunc(d) == d) return static_cast<std::int64_t>(d);
  }
  return std::nullopt;
}

/// Shortest text that reads back as the same number.
std::string plain(double value) {
  char text[32];
  const auto [end, ec] = std::to_chars(text, text + sizeof text, value);
  return ec == std::errc{} ? std::string(text, end) : std::string{"a number"};
}

}  // namespace

result<boost::json::value> parse_json(std::string_view text, const std::string& path) {
  try {
    boost::json::parser parser;
    boost::system::error_code ec;
    const std::size_t read = parser.write_some(text.data(), text.size(), ec);
    if (!ec && read == text.size()) return parser.release();
    if (text.find_first_not_of(" \t\r\n") == std::string_view::npos)
      return error{errc::invalid_model, path + ": the file is empty; expected JSON"};
    const auto line = std::count(text.begin(), text.begin() + std::min(read, text.size()), '\n');
    return error{errc::invalid_model,
                 path + ": line " + std::to_string(line + 1) + ": not valid JSON (" +
                     (ec ? ec.message() : "text after the end") + "); get the file anew"};
  } catch (const std::exception& e) {
    return error{errc::invalid_model, path + ": cannot be read as JSON (" + e.what() + ")"};
  }
}

result<boost::json::object> parse_json_object(std::string_view text, const std::string& path) {
  ATOLL_ASSIGN(boost::json::value root, parse_json(text, path));
  if (!root.is_object())
    return error{errc::invalid_model,
                 path + ": holds " + shown(root) + "; expected a JSON object {...}"};
  return std::move(root.get_object());
}

std::string shown(const boost::json::value& value) {
  constexpr std::size_t bytes_max = 60;
  if (value.is_double()) return plain(value.get_double());
  std::string text = boost::json::serialize(value);
  if (text.size() <= bytes_max) return text;
  std::size_t cut = bytes_max;  // never inside a UTF-8 character
  while (cut > 0 && (static_cast<unsigned char>(text[cut]) & 0xC0U) == 0x80U) --cut;
  return text.substr(0, cut) + "...";
}

const boost::json::value* json_fields::find(std::string_view name) const noexcept {
  const boost::json::value* value = object_.if_contains(name);
  return value == nullptr || value->is_null() ? nullptr : value;
}

error json_fields::wrong(std::string_view name, const std::string& expectation, errc code) const {
  const boost::json::value* value = object_.if_contains(name);
  const std::string state = value == nullptr ? "is missing" : "is " + shown(*value);
  return {code, path_ + ": " + prefix_ + std::string{name} + " " + state + "; " + expectation};
}

result<std::int64_t>
json_fields::integer(std::string_view name, std::int64_t lo, std::int64_t hi) const {
  const boost::json::value* value = find(name);
  const std::optional<std::int64_t> number = value ? as_integer(*value) : std::nullopt;
  if (!number || *number < lo || *number > hi)
    return wrong(name,
                 "expected an integer from " + std::to_string(lo) + " to " + std::to_string(hi));
  return *number;
}

result<std::int64_t> json_fields::integer_or(std::string_view name,
                                             std::int64_t lo,
                                             std::int64_t hi,
                                             std::int64_t fallback) const {
  if (find(name) == nullptr) return fallback;
  return integer(name, lo, hi);
}

result<double> json_fields::number(std::string_view name, double lo, double hi) const {
  const boost::json::value* value = find(name);
  double number = std::nan("");
  if (value != nullptr && value->is_double()) number = value->get_double();
  if (value != nullptr && value->is_int64()) number = static_cast<double>(value->get_int64());
  if (value != nullptr && value->is_uint64()) number = static_cast<double>(value->get_uint64());
  if (!(number >= lo && number <= hi))
    return wrong(name, "expected a number from " + plain(lo) + " to " + plain(hi));
  return number;
}

result<double>
json_fields::number_or(std::string_view name, double lo, double hi, double fallback) const {
  if (find(name) == nullptr) return fallback;
  return number(name, lo, hi);
}

result<bool> json_fields::boolean(std::string_view name) const {
  const boost::json::value* value = find(name);
  if (value == nullptr || !value->is_bool()) return wrong(name, "expected true or false");
  return value->get_bool();
}

result<bool> json_fields::boolean_or(std::string_view name, bool fallback) const {
  if (find(name) == nullptr) return fallback;
  return boolean(name);
}

result<std::string> json_fields::text(std::string_view name) const {
  const boost::json::value* value = find(name);
  if (value == nullptr || !value->is_string()) return wrong(name, "expected a string");
  return std::string{value->get_string().data(), value->get_string().size()};
}

result<std::string> json_fields::text_or(std::string_view name, std::string_view fallback) const {
  if (find(name) == nullptr) return std::string{fallback};
  return text(name);
}

result<json_fields> json_fields::of(const boost::json::value& value,
                                    const std::string& path,
                                    const std::string& field) {
  if (const auto* object = value.if_object())
    return json_fields{*object, path, field.empty() ? "" : field + "."};
  return error{errc::invalid_model,
               path + ": " + (field.empty() ? "the root" : field) + " is " + shown(value) +
                   "; expected an object {...}"};
}

result<const boost::json::object*> json_fields::object(std::string_view name) const {
  const boost::json::value* value = find(name);
  if (value == nullptr || !value->is_object()) return wrong(name, "expected an object {...}");
  return &value->get_object();
}

result<const boost::json::array*> json_fields::array(std::string_view name) const {
  const boost::json::value* value = find(name);
  if (value == nullptr || !value->is_array()) return wrong(name, "expected an array [...]");
  return &value->get_array();
}

result<json_fields> json_fields::child(std::string_view name) const {
  ATOLL_ASSIGN(const boost::json::object* inner, object(name));
  return json_fields{*inner, path_, full_name(name) + "."};
}

}  // namespace atl::model
