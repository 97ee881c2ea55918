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

}  // namespace atl::apps
