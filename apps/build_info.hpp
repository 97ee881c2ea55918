// What this binary was built from.
#pragma once

#include <string>

namespace atl::apps {

struct build_info {
  std::string version;
  std::string commit;  // empty when it was not built from a checkout
  std::string compiler;
  std::string libraries;  // third-party ones, with versions
};

build_info this_build();

/// "atoll 0.1.0 (commit), gcc 12.2.0".
std::string version_line();

}  // namespace atl::apps
