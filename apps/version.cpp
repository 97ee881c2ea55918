// atoll version.
#include "apps/build_info.hpp"
#include "apps/commands.hpp"
#include "apps/json_text.hpp"
#include "apps/output.hpp"

#include <boost/version.hpp>
#include <caf/config.hpp>

namespace atl::apps {
namespace {

std::string dotted(int major, int minor, int patch) {
  return std::to_string(major) + "." + std::to_string(minor) + "." + std::to_string(patch);
}

}  // namespace

build_info this_build() {
  build_info b;
  b.version = ATOLL_VERSION;
  b.commit = ATOLL_COMMIT;
#if defined(__clang__)
  b.compiler = "clang " __clang_version__;
#else
  b.compiler = "gcc " __VERSION__;
#endif
  b.libraries = "CAF " + dotted(CAF_VERSION / 10000, CAF_VERSION / 100 % 100, CAF_VERSION % 100) +
                ", Boost " +
                dotted(BOOST_VERSION / 100000, BOOST_VERSION / 100 % 1000, BOOST_VERSION % 100);
  return b;
}

std::string version_line() {
  const build_info b = this_build();
  return "atoll " + b.version + (b.commit.empty() ? "" : " (" + b.commit + ")") + ", " + b.compiler;
}

result<int> run_version(bool as_json) {
  const build_info b = this_build();
  ATOLL_ASSIGN(output to, output::open(*system_disk(), ""));
  ATOLL_TRY(to.write(as_json ? "{\"version\":" + quoted(b.version) +
                                   ",\"commit\":" + (b.commit.empty() ? "null" : quoted(b.commit)) +
                                   ",\"compiler\":" + quoted(b.compiler) + "}\n"
                             : version_line() + "\n"));
  ATOLL_TRY(to.finish());
  return 0;
}

}  // namespace atl::apps
