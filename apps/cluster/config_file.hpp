// A file of settings for a running coordinator, in TOML: NAME = VALUE lines. Each value knows where
// it stands, so that whatever is wrong with it is told by line and column. Pure. For the .cpp files
// of this folder.
#pragma once

#include "runtime/base/result.hpp"

#include <boost/json/object.hpp>

#include <map>
#include <string>
#include <string_view>

namespace atl::ops {

struct config_file {
  boost::json::object values;                // by name
  std::map<std::string, std::string> where;  // name: "FILE:LINE:COLUMN"
};

/// errc::invalid_argument: "FILE:LINE:COLUMN: why".
result<config_file> parse_config_file(std::string_view text, const std::string& file);

}  // namespace atl::ops
