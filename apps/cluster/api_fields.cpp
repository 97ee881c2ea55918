#include "apps/cluster/api_fields.hpp"

#include <boost/json/kind.hpp>
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <boost/json/value.hpp>

#include <algorithm>

namespace atl::ops {
namespace {

namespace json = boost::json;

constexpr std::size_t shown_bytes_max = 40;

error bad(std::string_view field, const std::string& expectation) {
  return {errc::invalid_argument, std::string{field} + ": expected " + expectation};
}

error bad(std::string_view field, const std::string& expectation, const json::value& found) {
  std::string text = json::serialize(found);
  if (text.size() > shown_bytes_max)
    text = std::string{json::to_string(found.kind())} + " of " + std::to_string(text.size()) +
           " bytes";
  return bad(field, expectation + ", not " + text);
}

std::string names_of(std::initializer_list<std::string_view> known) {
  std::string names;
  for (const auto name : known) names += (names.empty() ? "" : ", ") + std::string{name};
  return names.empty() ? "none" : names;
}

bool is_one_of(std::string_view name, std::initializer_list<std::string_view> known) {
  return std::find(known.begin(), known.end(), name) != known.end();
}

const json::value* find(const json::object& from, std::string_view name) {
  const json::value* v = from.if_contains(name);
  return v == nullptr || v->is_null() ? nullptr : v;
}

}  // namespace

result<json::object> read_body(std::string_view body,
                               std::initializer_list<std::string_view> known) {
  if (body.empty()) return json::object{};
  boost::system::error_code code;
  json::parse_options options;
  options.max_depth = 8;
  json::value parsed = json::parse({body.data(), body.size()}, code, {}, options);
  if (code || !parsed.is_object())
    return error{errc::invalid_argument, "the body must be a JSON object"};
  for (const auto& field : parsed.get_object()) {
    const std::string_view name{field.key().data(), field.key().size()};
    if (!is_one_of(name, known))
      return error{errc::invalid_argument,
                   "there is no field \"" + std::string{name.substr(0, 60)} +
                       "\" here; known: " + names_of(known)};
  }
  return std::move(parsed.get_object());
}

result<std::string>
text_field(const json::object& from, std::string_view name, std::size_t bytes_max) {
  const json::value* v = find(from, name);
  if (v == nullptr) return std::string{};
  if (!v->is_string() || v->get_string().size() > bytes_max)
    return bad(name, "text of at most " + std::to_string(bytes_max) + " bytes", *v);
  const std::string_view text{v->get_string().data(), v->get_string().size()};
  const bool has_control = std::any_of(text.begin(), text.end(), [](char c) {
    return (c >= 0 && c < ' ' && c != '\n' && c != '\r') || c == 0x7f;
  });
  if (has_control) return bad(name, "text without control characters");
  return std::string{text};
}

result<std::optional<std::int64_t>> integer_field(const json::object& from,
                                                  std::string_view name,
                                                  std::int64_t least,
                                                  std::int64_t most) {
  const json::value* v = find(from, name);
  if (v == nullptr) return std::optional<std::int64_t>{};
  if (v->is_int64() && v->get_int64() >= least && v->get_int64() <= most)
    return std::optional{v->get_int64()};
  return bad(
      name, "a whole number from " + std::to_string(least) + " to " + std::to_string(most), *v);
}

error not_among(std::string_view field, const std::string& words, const std::string& found) {
  return bad(field, words, json::value(found));
}

result<bool> flag_field(const json::object& from, std::string_view name) {
  const json::value* v = find(from, name);
  if (v == nullptr) return false;
  if (!v->is_bool()) return bad(name, "true or false", *v);
  return v->get_bool();
}

result<std::vector<std::string>>
words_field(const json::object& from, std::string_view name, std::size_t count_max) {
  std::vector<std::string> words;
  const json::value* v = find(from, name);
  if (v == nullptr) return words;
  constexpr std::size_t word_bytes_max = 255;
  const bool fits = v->is_array() && v->get_array().size() <= count_max;
  if (fits)
    for (const auto& word : v->get_array())
      if (word.is_string() && word.get_string().size() <= word_bytes_max)
        words.emplace_back(word.get_string());
  if (!fits || words.size() != v->get_array().size())
    return bad(name, "at most " + std::to_string(count_max) + " short texts");
  return words;
}

result<std::vector<std::pair<std::string, std::string>>>
read_query(std::string_view query, std::initializer_list<std::string_view> known) {
  std::vector<std::pair<std::string, std::string>> all;
  while (!query.empty()) {
    const std::string_view part = query.substr(0, query.find('&'));
    query.remove_prefix(std::min(query.size(), part.size() + 1));
    const std::size_t equals = part.find('=');
    const std::string_view name = part.substr(0, equals);
    if (!is_one_of(name, known))
      return error{errc::invalid_argument,
                   "there is no parameter \"" + std::string{name.substr(0, 60)} +
                       "\" here; known: " + names_of(known)};
    for (const auto& [other, value] : all)
      if (other == name) return bad(name, "to be given once");
    const std::string_view value =
        equals == std::string_view::npos ? std::string_view{} : part.substr(equals + 1);
    const bool is_plain = std::all_of(value.begin(), value.end(), [](char c) {
      return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
             c == '.' || c == '-' || c == '_';
    });
    if (!is_plain) return bad(name, "letters, digits, points, dashes and underscores");
    all.emplace_back(name, value);
  }
  return all;
}

}  // namespace atl::ops
