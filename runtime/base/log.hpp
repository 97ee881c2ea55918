// Diagnostics for people, on standard error. Results never go here. An error is logged once, where
// it is first known, with its cause. Thread-safe; a line is written whole.
#pragma once

#include <string_view>

namespace atl {

enum class log_level { debug, info, warning, error, off };

/// Lines below this level are dropped. Default: warning.
void set_log_level(log_level least) noexcept;

void log_debug(std::string_view line);
void log_info(std::string_view line);
void log_warning(std::string_view line);
void log_error(std::string_view line);

}  // namespace atl
