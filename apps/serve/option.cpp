#include "apps/serve/option.hpp"

#include "apps/serve/settings.hpp"
#include "apps/values.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <iterator>
#include <limits>

namespace atl::serve {
namespace {

using std::chrono::milliseconds;

struct unit {
  std::string_view name;
  std::int64_t ms;
};
/// Bounds that nobody has to be told.
constexpr std::int64_t boundless = std::int64_t{1} << 40;
constexpr unit units[] = {{"ms", 1}, {"s", 1000}, {"m", 60'000}, {"h", 3'600'000}};

error wrong(std::string_view where, std::string_view text, const std::string& expected) {
  return {errc::invalid_argument,
          std::string{where} + " " + std::string{text} + ": expected " + expected};
}

/// The largest unit of 1024 that divides it.
std::string size_text(std::size_t bytes) {
  constexpr std::string_view letters = "kMGT";
  std::string letter;
  for (std::size_t power = 0; power < letters.size() && bytes != 0 && bytes % 1024 == 0; ++power) {
    bytes /= 1024;
    letter = letters[power];
  }
  return std::to_string(bytes) + letter;
}

/// A number in the option's own units.
std::string number_text(const option& which, std::int64_t value) {
  if (which.is_size) return size_text(static_cast<std::size_t>(value));
  if (std::get_if<milliseconds& (*)(serve_settings&)>(&which.field) != nullptr)
    return duration_text(milliseconds{value});
  return std::to_string(value);
}

/// What follows "a value".
std::string from_text(const option& which) {
  const std::string range = range_text(which);
  return " from " + (range.empty() ? number_text(which, which.least) : range);
}

result<std::int64_t>
parse_whole(const option& which, std::string_view where, std::string_view text) {
  std::int64_t value = 0;
  const char* const end = text.data() + text.size();
  const auto [at, code] = std::from_chars(text.data(), end, value);
  if (code == std::errc{} && at == end) return value;
  return wrong(where, text, "a whole number" + from_text(which));
}

result<std::int64_t> parse_bytes(std::string_view where, std::string_view text) {
  if (text == "0") return 0;
  ATOLL_ASSIGN(const std::size_t value, apps::parse_size(where, text));
  return static_cast<std::int64_t>(value);
}

/// Reads and checks a number, and stores it.
template <class Number>
result<void>
assign_number(Number& to, const option& which, std::string_view where, std::string_view text) {
  result<std::int64_t> read =
      which.is_size ? parse_bytes(where, text) : parse_whole(which, where, text);
  if constexpr (std::is_same_v<Number, milliseconds>) {
    const auto parsed = parse_duration(where, text);
    if (parsed.has_error()) return parsed.error();
    read = parsed->count();
  }
  ATOLL_ASSIGN(const std::int64_t value, std::move(read));
  if (value < which.least || value > which.most)
    return wrong(where, text, (which.is_size ? "a size" : "a value") + from_text(which));
  to = static_cast<Number>(value);
  return {};
}

/// A number with or without a point.
result<void>
assign_factor(double& to, const option& which, std::string_view where, std::string_view text) {
  double value = 0;
  const char* const end = text.data() + text.size();
  const auto [at, code] = std::from_chars(text.data(), end, value);
  const bool is_between =
      value >= static_cast<double>(which.least) && value <= static_cast<double>(which.most);
  if (code != std::errc{} || at != end || !is_between)
    return wrong(where, text, "a number" + from_text(which));
  to = value;
  return {};
}

struct assigner {
  serve_settings& settings;
  const option& which;
  std::string_view text;
  std::string_view where;

  result<void> operator()(const choice_field& field) const {
    if (field.set(settings, text)) return {};
    return error{errc::invalid_argument,
                 std::string{where} + " " + std::string{text} + ": choose " +
                     std::string{field.words}};
  }
  result<void> operator()(std::string& (*field)(serve_settings&)) const {
    if (text.find('\0') != std::string_view::npos || text.find('\n') != std::string_view::npos)
      return error{errc::invalid_argument, std::string{where} + ": the text has a line end"};
    field(settings) = text;
    return {};
  }
  result<void> operator()(bool& (*field)(serve_settings&)) const {
    ATOLL_ASSIGN(field(settings), parse_bool(where, text));
    return {};
  }
  result<void> operator()(double& (*field)(serve_settings&)) const {
    return assign_factor(field(settings), which, where, text);
  }
  template <class Number>
  result<void> operator()(Number& (*field)(serve_settings&)) const {
    return assign_number(field(settings), which, where, text);
  }
};

struct reader {
  serve_settings& settings;
  const option& which;

  std::string operator()(const choice_field& field) const { return field.get(settings); }
  std::string operator()(std::string& (*field)(serve_settings&)) const { return field(settings); }
  std::string operator()(bool& (*field)(serve_settings&)) const {
    return field(settings) ? "true" : "false";
  }
  std::string operator()(milliseconds& (*field)(serve_settings&)) const {
    return duration_text(field(settings));
  }
  std::string operator()(double& (*field)(serve_settings&)) const {
    char text[32];
    std::snprintf(text, sizeof text, "%.15g", field(settings));
    return text;
  }
  template <class Number>
  std::string operator()(Number& (*field)(serve_settings&)) const {
    return number_text(which, static_cast<std::int64_t>(field(settings)));
  }
};

}  // namespace

std::string environment_name(const option& which) {
  std::string name = "ATOLL_";
  for (const char c : which.flag)
    name += c == '-' ? '_' : static_cast<char>(c >= 'a' && c <= 'z' ? c - 'a' + 'A' : c);
  return name;
}

std::string type_name(const option& which) {
  if (const auto* choice = std::get_if<choice_field>(&which.field))
    return std::string{choice->words};
  if (std::get_if<bool& (*)(serve_settings&)>(&which.field) != nullptr) return "true or false";
  if (std::get_if<std::string& (*)(serve_settings&)>(&which.field) != nullptr) return "text";
  if (std::get_if<milliseconds& (*)(serve_settings&)>(&which.field) != nullptr) return "duration";
  if (std::get_if<double& (*)(serve_settings&)>(&which.field) != nullptr) return "factor";
  return which.is_size ? "size" : "number";
}

std::string range_text(const option& which) {
  if (which.least == which.most || which.most >= boundless) return "";
  return number_text(which, which.least) + " to " + number_text(which, which.most);
}

std::string text_of(const serve_settings& settings, const option& which) {
  serve_settings copy = settings;  // fields are reached through references that may write
  return std::visit(reader{copy, which}, which.field);
}

std::string default_text(const option& which) { return text_of(serve_settings{}, which); }

result<void> assign(serve_settings& settings,
                    const option& which,
                    std::string_view text,
                    std::string_view where) {
  return std::visit(assigner{settings, which, text, where}, which.field);
}

result<bool> parse_bool(std::string_view where, std::string_view text) {
  std::string lower{text};
  for (char& c : lower)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  for (const char* yes : {"true", "1", "on", "yes", "enabled"})
    if (lower == yes) return true;
  for (const char* no : {"false", "0", "off", "no", "disabled"})
    if (lower == no) return false;
  return wrong(where, text, "true or false");
}

result<milliseconds> parse_duration(std::string_view where, std::string_view text) {
  const std::string expected = "a duration such as 30s, 500ms, 2m or 1.5 (seconds)";
  double value = 0;
  const char* const end = text.data() + text.size();
  const auto [at, code] = std::from_chars(text.data(), end, value);
  const std::string_view name = at == end ? std::string_view{"s"} : std::string_view{at, end};
  const auto known = std::find_if(
      std::begin(units), std::end(units), [&](const unit& u) { return u.name == name; });
  if (code != std::errc{} || known == std::end(units) || !(value >= 0))
    return wrong(where, text, expected);
  const double ms = std::round(value * static_cast<double>(known->ms));
  if (ms > 1e15) return wrong(where, text, expected + ", below 31,000 years");
  return milliseconds{static_cast<std::int64_t>(ms)};
}

std::string duration_text(milliseconds value) {
  for (auto u = std::rbegin(units); u != std::rend(units); ++u)
    if (value.count() != 0 && value.count() % u->ms == 0)
      return std::to_string(value.count() / u->ms) + std::string{u->name};
  return std::to_string(value.count());
}

}  // namespace atl::serve
