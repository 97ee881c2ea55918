// Completion of the command line for shells, made from the parser's own tree: commands and long
// options, and file names where neither fits. Pure.
#pragma once

#include "runtime/base/result.hpp"

#include <string>

namespace CLI {
class App;
}

namespace atl::apps {

/// The script for bash, zsh or fish. errc::invalid_argument: another shell.
result<std::string> completion_script(const CLI::App& root, const std::string& shell);

}  // namespace atl::apps
