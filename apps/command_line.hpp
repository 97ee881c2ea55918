// The command line: which command, with what options. Help and refusals are printed here.
#pragma once

#include "runtime/base/result.hpp"

#include <functional>
#include <variant>

namespace atl::apps {

/// Runs one command; see apps/commands.hpp.
using command = std::function<result<int>()>;

/// What to run, or the exit code when all is said (help, or a usage error).
std::variant<command, int> parse_command_line(int argc, const char* const* argv);

}  // namespace atl::apps
