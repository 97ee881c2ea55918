#include "apps/serve/settings_file.hpp"

#include "apps/values.hpp"

#define TOML_EXCEPTIONS 0
#define TOML_HEADER_ONLY 1
#define TOML_ENABLE_FORMATTERS 0
#include <charconv>
#include <chrono>
#include <toml++/toml.h>

namespace atl::serve {
namespace {

std::string type_words(toml::node_type type) {
  switch (type) {
  case toml::node_type::table: return "a table";
  case toml::node_type::array: return "a list";
  case toml::node_type::string: return "text in quotation marks";
  case toml::node_type::integer: return "a whole number";
  case toml::node_type::floating_point: return "a number with a point";
  case toml::node_type::boolean: return "true or false";
  default: return "a date or time";
  }
}

std::string decimal(double value) {
  char digits[64];
  return {digits, std::to_chars(digits, digits + sizeof digits, value).ptr};
}

/// What each type of option is written as in TOML.
struct node_text {
  const toml::node& node;
  bool is_size;

  bool operator()(std::string& to, bool& (*)(serve_settings&)) const {
    const auto value = node.value_exact<bool>();
    if (value) to = *value ? "true" : "false";
    return value.has_value();
  }
  bool operator()(std::string& to, const choice_field&) const { return quoted(to); }
  bool operator()(std::string& to, std::string& (*)(serve_settings&)) const { return quoted(to); }
  bool operator()(std::string& to, std::chrono::milliseconds& (*)(serve_settings&)) const {
    if (const auto value = node.value_exact<double>()) {
      to = decimal(*value);
      return true;
    }
    return whole(to) || quoted(to);
  }
  bool operator()(std::string& to, double& (*)(serve_settings&)) const {
    const auto value = node.value_exact<double>();
    if (value) to = decimal(*value);
    return value || whole(to);
  }
  template <class Number>
  bool operator()(std::string& to, Number& (*)(serve_settings&)) const {
    return whole(to) || (is_size && quoted(to));
  }

private:
  bool quoted(std::string& to) const {
    const auto value = node.value_exact<std::string>();
    if (value) to = *value;
    return value.has_value();
  }
  bool whole(std::string& to) const {
    const auto value = node.value_exact<std::int64_t>();
    if (value) to = std::to_string(*value);
    return value.has_value();
  }
};

std::string expected_words(const option& which) {
  const std::string type = type_name(which);
  if (type == "size") return "a size, such as \"512M\" or 1048576";
  if (type == "duration") return "a duration, such as \"30s\" or 1.5 (seconds)";
  if (type == "number") return "a whole number";
  if (type == "factor") return "a number, such as 1.2";
  if (type == "true or false") return type;
  return type == "text" ? "text in quotation marks" : "one of " + type + " in quotation marks";
}

class flattener {
public:
  flattener(const std::string& file, file_values& to) : file_{file}, to_{to} {
    for (const option& o : options()) {
      keys_.push_back(o.key);
      const auto table = o.key.substr(0, o.key.find('.'));
      if (table.size() != o.key.size()) tables_.push_back(table);
    }
  }

  void read(const toml::table& table, const std::string& prefix) {
    for (const auto& [name, node] : table) {
      const std::string key = prefix + std::string{name.str()};
      const std::string where = file_ + ":" + std::to_string(name.source().begin.line);
      const auto known = std::find(keys_.begin(), keys_.end(), key);
      if (known != keys_.end()) {
        value(options()[static_cast<std::size_t>(known - keys_.begin())], node, where);
      } else if (std::find(tables_.begin(), tables_.end(), key) != tables_.end() &&
                 prefix.empty()) {
        inner(node, key, where);
      } else {
        unknown(key, where, node);
      }
    }
  }

private:
  void problem(const std::string& where, const std::string& key, const std::string& what) {
    to_.problems.push_back(where + ": " + key + ": " + what);
  }

  void value(const option& which, const toml::node& node, const std::string& where) {
    std::string text;
    const bool has_type = std::visit(
        [&](const auto& field) {
          return node_text{node, which.is_size}(text, field);
        },
        which.field);
    if (has_type) {
      to_.values.push_back({&which, std::move(text), where});
    } else {
      problem(where,
              std::string{which.key},
              "expected " + expected_words(which) + ", found " + type_words(node.type()));
    }
  }

  void inner(const toml::node& node, const std::string& key, const std::string& where) {
    if (node.is_table()) {
      read(*node.as_table(), key + ".");
    } else {
      problem(where, key, "expected a table [" + key + "], found " + type_words(node.type()));
    }
  }

  /// The nearest key; for a name that stands in another table, that one.
  void unknown(const std::string& key, const std::string& where, const toml::node& node) {
    const auto& names = node.is_table() ? tables_ : keys_;
    std::string near{apps::nearest_name(key, names)};
    const std::string last = key.substr(key.rfind('.') + 1);
    for (const std::string_view other : keys_)
      if (!node.is_table() && other.substr(other.rfind('.') + 1) == last) near = other;
    problem(where,
            key,
            std::string{"there is no such "} + (node.is_table() ? "table" : "key") +
                (near.empty() ? "" : "; did you mean " + near + "?"));
  }

  std::string file_;
  file_values& to_;
  std::vector<std::string_view> keys_;  // in the order of options()
  std::vector<std::string_view> tables_;
};

}  // namespace

file_values parse_settings_file(std::string_view text, const std::string& file) {
  file_values read;
  const toml::parse_result parsed = toml::parse(text, std::string_view{file});
  if (!parsed) {
    const auto& e = parsed.error();
    read.problems.push_back(file + ":" + std::to_string(e.source().begin.line) + ": " +
                            std::string{e.description()});
    return read;
  }
  flattener{file, read}.read(parsed.table(), "");
  return read;
}

}  // namespace atl::serve
