// atoll tokenize and detokenize.
#include "apps/commands.hpp"
#include "apps/inbox.hpp"
#include "apps/json_text.hpp"
#include "apps/output.hpp"
#include "apps/values.hpp"
#include "runtime/model/checkpoint.hpp"

#include <utility>

namespace atl::apps {
namespace {

result<std::shared_ptr<const model::tokenizer>> load(disk& files, const tokenizer_options& o) {
  if (files.is_file(o.model)) return model::tokenizer::load(files, o.model);
  ATOLL_ASSIGN(const std::string directory,
               model::resolve_model(files, o.model, model::system_environment()));
  return model::tokenizer::load(files, directory);
}

result<void> check_input(const tokenizer_options& o, const char* what) {
  if (o.text.has_value() != o.file.empty())
    return error{errc::invalid_argument,
                 o.text ? std::string{what} + " and --file exclude each other; give one"
                        : "there is no input; give " + std::string{what} + " or --file FILE"};
  return {};
}

result<std::vector<token_id>>
encode(const model::tokenizer& with, const prompt& p, const tokenizer_options& o) {
  auto encoded = with.encode(*p.text, {o.with_added_tokens});
  if (encoded.has_error())
    return error{encoded.error().code(), p.source + ": " + encoded.error().message()};
  if (!o.with_bos) return encoded;
  if (!with.bos())
    return error{errc::invalid_argument,
                 o.model +
                     ": --bos: its tokenizer_config.json names no bos_token; leave --bos out"};
  encoded->insert(encoded->begin(), *with.bos());
  return encoded;
}

/// Ids separated by blanks or commas, in brackets or not.
result<std::vector<token_id>> parse_ids(const std::string& text) {
  std::string list;
  for (const char c : text) {
    const bool is_gap = c == ' ' || c == ',' || c == '[' || c == ']' || c == '\n' || c == '\t';
    if (!is_gap) {
      list += c;
    } else if (!list.empty() && list.back() != ',') {
      list += ',';
    }
  }
  if (list.ends_with(',')) list.pop_back();
  if (list.empty()) return std::vector<token_id>{};
  ATOLL_ASSIGN(const auto ids, parse_counts("IDS", list, 0, INT32_MAX));
  return std::vector<token_id>(ids.begin(), ids.end());
}

}  // namespace

result<int> run_tokenize(const tokenizer_options& o) {
  ATOLL_TRY(check_input(o, "TEXT"));
  const auto files = system_disk();
  ATOLL_ASSIGN(const auto words, load(*files, o));
  std::vector<prompt> lines(1);
  lines[0].source = "TEXT";
  lines[0].text = o.text;
  if (!o.text) {
    ATOLL_ASSIGN(lines, read_prompts(*files, o.file, line_fields::text, {}));
  }
  hold_interrupts();
  ATOLL_ASSIGN(output to, output::open(*files, o.out));
  for (const prompt& p : lines) {
    if (const int signal = take_interrupt(); signal != 0) return 128 + signal;
    ATOLL_ASSIGN(const auto tokens, encode(*words, p, o));
    std::string line = o.text ? "" : "{\"tokens\":";
    append_list(line, tokens);
    ATOLL_TRY(to.write(line + (o.text ? "\n" : "}\n")));
  }
  ATOLL_TRY(to.finish());
  return 0;
}

result<int> run_detokenize(const tokenizer_options& o) {
  ATOLL_TRY(check_input(o, "IDS"));
  const auto files = system_disk();
  ATOLL_ASSIGN(const auto words, load(*files, o));
  std::vector<prompt> lines(1);
  if (o.text) {
    ATOLL_ASSIGN(lines[0].tokens, parse_ids(*o.text));
  } else {
    ATOLL_ASSIGN(lines, read_prompts(*files, o.file, line_fields::tokens, {}));
  }
  hold_interrupts();
  ATOLL_ASSIGN(output to, output::open(*files, o.out));
  for (const prompt& p : lines) {
    if (const int signal = take_interrupt(); signal != 0) return 128 + signal;
    const std::string text = words->decode(p.tokens, o.skip_special);
    ATOLL_TRY(to.write(o.text ? text + "\n" : "{\"text\":" + quoted(text) + "}\n"));
  }
  ATOLL_TRY(to.finish());
  return 0;
}

}  // namespace atl::apps
