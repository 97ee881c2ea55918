// The command-line options of `atoll serve`, `atoll config` and `atoll key`, and those of the
// engine that all commands share, made from the table of apps/serve/option.hpp. One thread.
#pragma once

#include "apps/command_line.hpp"
#include "apps/engine.hpp"
#include "apps/serve/settings.hpp"
#include "runtime/base/result.hpp"

#include <functional>
#include <map>
#include <string>

namespace CLI {
class App;
}

namespace atl::apps {

/// Takes what a command line chose.
using choose = std::function<void(result<command>)>;

/// Flags without dashes -> text as given; must outlive the parsing.
using given_flags = std::map<std::string, std::string>;

/// --threads and its like, for a command that computes.
void add_engine_options(CLI::App& app, given_flags& given);
/// The engine that they ask for.
result<engine_options> engine_from(const given_flags& given);

/// All options of `atoll serve` but the model, for a command that has a gateway too.
void add_serve_settings(CLI::App& app, serve::setting_sources& sources);

void add_serve(CLI::App& root, const choose& chosen);
void add_config(CLI::App& root, const choose& chosen);
void add_key(CLI::App& root, const choose& chosen);

}  // namespace atl::apps
