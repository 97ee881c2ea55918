#include "runtime/base/log.hpp"

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

namespace atl {
namespace {

spdlog::logger& sink() {
  static const auto logger = [] {
    auto made = std::make_shared<spdlog::logger>("atoll",
                                                 std::make_shared<spdlog::sinks::stderr_sink_mt>());
    made->set_pattern("atoll: %l: %v");
    made->set_level(spdlog::level::warn);
    made->flush_on(spdlog::level::trace);
    return made;
  }();
  return *logger;
}

spdlog::level::level_enum translate(log_level level) noexcept {
  switch (level) {
  case log_level::debug: return spdlog::level::debug;
  case log_level::info: return spdlog::level::info;
  case log_level::warning: return spdlog::level::warn;
  case log_level::error: return spdlog::level::err;
  case log_level::off: break;
  }
  return spdlog::level::off;
}

}  // namespace

void set_log_level(log_level least) noexcept { sink().set_level(translate(least)); }

void log_debug(std::string_view line) { sink().debug(line); }
void log_info(std::string_view line) { sink().info(line); }
void log_warning(std::string_view line) { sink().warn(line); }
void log_error(std::string_view line) { sink().error(line); }

}  // namespace atl
