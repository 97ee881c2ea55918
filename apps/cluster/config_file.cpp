#include "apps/cluster/config_file.hpp"

#define TOML_EXCEPTIONS 0
#define TOML_HEADER_ONLY 1
#define TOML_ENABLE_FORMATTERS 0
#include <toml++/toml.h>

namespace atl::ops {
namespace {

std::string place_of(const std::string& file, const toml::source_position& at) {
  return file + ":" + std::to_string(at.line) + ":" + std::to_string(at.column);
}

/// Null where it is no plain value.
boost::json::value value_of(const toml::node& node) {
  if (const auto text = node.value_exact<std::string>()) return boost::json::value(*text);
  if (const auto number = node.value_exact<std::int64_t>()) return *number;
  if (const auto number = node.value_exact<double>()) return *number;
  if (const auto flag = node.value_exact<bool>()) return *flag;
  return nullptr;
}

}  // namespace

result<config_file> parse_config_file(std::string_view text, const std::string& file) {
  const toml::parse_result parsed = toml::parse(text, std::string_view{file});
  if (!parsed) {
    const auto& e = parsed.error();
    return error{errc::invalid_argument,
                 place_of(file, e.source().begin) + ": " + std::string{e.description()}};
  }
  config_file read;
  for (const auto& [key, node] : parsed.table()) {
    const std::string name{key.str()};
    const std::string where = place_of(file, key.source().begin);
    boost::json::value value = value_of(node);
    if (value.is_null())
      return error{errc::invalid_argument,
                   where + ": " + name +
                       ": expected text in quotation marks, a number, true or false"};
    read.values[name] = std::move(value);
    read.where[name] = where;
  }
  return read;
}

}  // namespace atl::ops
