// The commands of the program atoll, each as a function of what its options said. They write
// results to standard output or to a file, everything else to standard error, and answer with an
// exit code: 0 done, 1 failed at run time, 130 and 143 interrupted. An error is printed by the
// caller and mapped by exit_code(); errc::cancelled means that a person interrupted.
#pragma once

#include "apps/engine.hpp"
#include "apps/prompts.hpp"
#include "runtime/base/result.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace atl::apps {

struct complete_options {
  engine_options engine;
  std::optional<std::string> text;
  std::string prompts;  // a file
  sampling how;
  bool with_bos = true;
  bool as_json = false;
  std::string out;
};
result<int> run_complete(complete_options o);

struct chat_command_options {
  engine_options engine;
  std::optional<std::string> question;  // answered, then the end
  std::string system;
  std::string format;  // empty: by the checkpoint's template
  bool thinking = false;
  sampling how;
};
result<int> run_chat(chat_command_options o);

struct logits_options {
  engine_options engine;
  std::string prompts;
  std::string out;
  bool with_bos = true;
  bool with_hidden = false;
  bool with_routing = false;
};
result<int> run_logits(const logits_options& o);

struct tokenizer_options {
  std::string model;  // a model, or a tokenizer.json
  std::optional<std::string> text;
  std::string file;
  std::string out;
  bool with_added_tokens = true;
  bool with_bos = false;
  bool skip_special = false;
};
result<int> run_tokenize(const tokenizer_options& o);
result<int> run_detokenize(const tokenizer_options& o);

struct inspect_options {
  std::string model;
  bool as_json = false;
};
result<int> run_inspect(const inspect_options& o);

/// MODEL may be empty.
result<int> run_doctor(const engine_options& o);

struct plan_options {
  std::string input;  // a file, - is standard input
  bool as_json = false;
  std::string out;
};
result<int> run_plan(const plan_options& o);

result<int> run_version(bool as_json);

}  // namespace atl::apps
