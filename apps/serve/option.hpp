// The one table of options of `atoll serve`: from it come the flags and their help, the keys of the
// TOML file, the names of environment variables, ranges, defaults, and the table in
// docs/SERVING.md. Constant data; any thread.
#pragma once

#include "runtime/base/result.hpp"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <variant>

namespace atl::serve {

struct serve_settings;

/// One of a few words. set() says whether it knows the word.
struct choice_field {
  bool (*set)(serve_settings&, std::string_view);
  std::string (*get)(const serve_settings&);
  std::string_view words;  // "text, json"
};

/// Where an option's value lies, which is also its type. Sizes are std::size_t with is_size.
using option_field = std::variant<bool& (*)(serve_settings&),
                                  int& (*)(serve_settings&),
                                  std::int64_t& (*)(serve_settings&),
                                  std::size_t& (*)(serve_settings&),
                                  double& (*)(serve_settings&),
                                  std::chrono::milliseconds& (*)(serve_settings&),
                                  std::string& (*)(serve_settings&),
                                  choice_field>;

struct option {
  std::string_view flag;  // "max-body-size": --max-body-size, ATOLL_MAX_BODY_SIZE
  std::string_view key;   // of the TOML file: "limits.max-body-size", or without a table "model"
  option_field field;
  std::int64_t least = 0;  // of numbers, factors, bytes, and milliseconds
  std::int64_t most = 0;
  std::string_view help;
  bool is_size = false;        // bytes, written as 512M
  bool is_reloadable = false;  // taken at SIGHUP
};

/// In the order of help; options of one TOML table stand together.
std::span<const option> options();

/// nullptr where there is none of that flag (without dashes).
const option* find_option(std::string_view flag);

/// "ATOLL_MAX_BODY_SIZE".
std::string environment_name(const option& which);

/// "number", "factor", "size", "duration", "true or false", "text", or the words to choose from.
std::string type_name(const option& which);

/// "1 to 65536" in the option's own units; empty where nothing is bounded.
std::string range_text(const option& which);

/// The value in the form that assign() reads; empty for an empty text.
std::string text_of(const serve_settings& settings, const option& which);
std::string default_text(const option& which);

/// Reads a value as people write it: whole numbers; factors "1.2"; sizes "512M"; durations "30s",
/// "500ms", "2m", "1h", "1.5" (seconds); true/1/on/yes/enabled and their opposites; a word. `where`
/// begins the error's message ("--listen", "ATOLL_LISTEN", "atoll.toml:3: server.listen").
result<void> assign(serve_settings& settings,
                    const option& which,
                    std::string_view text,
                    std::string_view where);

/// True, false, or not readable as either.
result<bool> parse_bool(std::string_view where, std::string_view text);
result<std::chrono::milliseconds> parse_duration(std::string_view where, std::string_view text);
/// The shortest of "90s", "1500ms", "2m", "1h".
std::string duration_text(std::chrono::milliseconds value);

}  // namespace atl::serve
