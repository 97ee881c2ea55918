#include "apps/prompts.hpp"

#include "runtime/model/json_fields.hpp"

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>

#include <algorithm>
#include <array>
#include <limits>

namespace atl::apps {
namespace {

constexpr std::size_t prompt_file_bytes_max = std::size_t{4} << 30;
constexpr std::int64_t token_max = std::numeric_limits<token_id>::max();
constexpr std::int64_t length_max = std::int64_t{1} << 40;

constexpr std::array<std::string_view, 15> all_fields{"id",
                                                      "text",
                                                      "tokens",
                                                      "max_tokens",
                                                      "temperature",
                                                      "top_p",
                                                      "top_k",
                                                      "min_p",
                                                      "seed",
                                                      "stop",
                                                      "ignore_eos",
                                                      "repetition_penalty",
                                                      "presence_penalty",
                                                      "frequency_penalty",
                                                      "n"};

std::span<const std::string_view> known_fields(line_fields fields) {
  const std::span all{all_fields};
  switch (fields) {
  case line_fields::prompt: return all.first(3);
  case line_fields::prompt_sampling: return all;
  case line_fields::text: return all.first(2);
  case line_fields::tokens: break;
  }
  return all.first(3);
}

error line_error(const std::string& source, const std::string& what) {
  return {errc::invalid_argument, source + ": " + what};
}

result<void>
check_names(const boost::json::object& line, const std::string& source, line_fields fields) {
  const auto known = known_fields(fields);
  for (const auto& [name, value] : line) {
    if (std::find(known.begin(), known.end(), std::string_view{name}) != known.end()) continue;
    std::string names;
    for (const std::string_view k : known) names += (names.empty() ? "" : ", ") + std::string{k};
    return line_error(source,
                      "field \"" + std::string{name} +
                          "\" is not known here; remove it (known: " + names + ")");
  }
  return {};
}

result<std::vector<token_id>> read_tokens(const model::json_fields& in, const std::string& source) {
  ATOLL_ASSIGN(const auto* list, in.array("tokens"));
  std::vector<token_id> tokens;
  tokens.reserve(list->size());
  for (std::size_t i = 0; i < list->size(); ++i) {
    const boost::json::value& value = (*list)[i];
    if (!value.is_int64() || value.get_int64() < 0 || value.get_int64() > token_max)
      return line_error(source,
                        "field \"tokens\"[" + std::to_string(i) + "] is " + model::shown(value) +
                            "; expected a token id, a whole number from 0");
    tokens.push_back(static_cast<token_id>(value.get_int64()));
  }
  return tokens;
}

result<std::vector<std::string>> read_stops(const boost::json::value& value,
                                            const std::string& source) {
  std::vector<std::string> stops;
  const auto take = [&](const boost::json::value& one) {
    const bool fits = one.is_string() && !one.get_string().empty();
    if (fits) stops.emplace_back(one.get_string());
    return fits;
  };
  bool fits = true;
  if (value.is_array()) {
    for (const boost::json::value& one : value.get_array()) fits = fits && take(one);
  } else {
    fits = take(value);
  }
  if (fits) return stops;
  return line_error(source,
                    "field \"stop\" is " + model::shown(value) +
                        "; expected a string or a list of strings, none of them empty");
}

result<void> read_number(const model::json_fields& in, std::string_view name, float& to) {
  constexpr double most = 1e6;
  ATOLL_ASSIGN(const double value, in.number_or(name, -most, most, static_cast<double>(to)));
  to = static_cast<float>(value);
  return {};
}

result<void> read_sampling(const model::json_fields& in, const std::string& source, sampling& how) {
  if (in.has("n") && in.has("max_tokens"))
    return line_error(source, "fields \"n\" and \"max_tokens\" mean the same; give one");
  const std::string_view length = in.has("n") ? "n" : "max_tokens";
  ATOLL_ASSIGN(how.tokens_max, in.integer_or(length, 0, length_max, how.tokens_max));
  auto& p = how.params;
  ATOLL_TRY(read_number(in, "temperature", p.temperature));
  ATOLL_TRY(read_number(in, "top_p", p.top_p));
  ATOLL_TRY(read_number(in, "min_p", p.min_p));
  ATOLL_TRY(read_number(in, "repetition_penalty", p.repetition_penalty));
  ATOLL_TRY(read_number(in, "presence_penalty", p.presence_penalty));
  ATOLL_TRY(read_number(in, "frequency_penalty", p.frequency_penalty));
  ATOLL_ASSIGN(const std::int64_t top_k, in.integer_or("top_k", 0, token_max, p.top_k));
  p.top_k = static_cast<int>(top_k);
  if (in.has("seed")) {
    constexpr std::int64_t most = std::numeric_limits<std::int64_t>::max();
    ATOLL_ASSIGN(const std::int64_t seed, in.integer("seed", 0, most));
    p.seed = static_cast<std::uint64_t>(seed);
    how.is_seeded = true;
  }
  ATOLL_ASSIGN(how.ignore_eos, in.boolean_or("ignore_eos", how.ignore_eos));
  if (const boost::json::value* stop = in.find("stop"); stop != nullptr) {
    ATOLL_ASSIGN(how.stop, read_stops(*stop, source));
  }
  const result<void> valid = model::validate(p);
  return valid.has_error() ? line_error(source, valid.error().message()) : result<void>{};
}

/// One JSON object. Of two fields with one name the parser would silently keep the last: they are
/// counted by their colons, which outside of strings stand after names only.
result<boost::json::object> parse_object(std::string_view line, const std::string& source) {
  boost::system::error_code failure;
  boost::json::value root;
  try {
    root = boost::json::parse(line, failure);
  } catch (const std::exception& e) {
    return line_error(source, std::string{"cannot be read as JSON ("} + e.what() + ")");
  }
  if (failure)
    return line_error(source,
                      "not valid JSON (" + failure.message() +
                          "); each line is one object such as {\"id\":1,\"text\":\"...\"}");
  if (!root.is_object())
    return line_error(source, "holds " + model::shown(root) + "; expected a JSON object {...}");
  std::size_t names = 0;
  int depth = 0;
  bool in_string = false;
  for (std::size_t i = 0; i < line.size(); ++i) {
    const char c = line[i];
    if (in_string && c == '\\') {
      ++i;
    } else if (c == '"') {
      in_string = !in_string;
    } else if (!in_string) {
      depth += (c == '{' || c == '[') - (c == '}' || c == ']');
      names += depth == 1 && c == ':' ? 1 : 0;
    }
  }
  if (names == root.get_object().size()) return std::move(root.get_object());
  return line_error(source, "a field stands there twice; give each once");
}

result<std::string> read_id(const boost::json::object& in, const std::string& source) {
  const boost::json::value* id = in.if_contains("id");
  if (id == nullptr) return std::string{};
  if (id->is_string() || id->is_int64() || id->is_uint64()) return boost::json::serialize(*id);
  return line_error(
      source, "field \"id\" is " + model::shown(*id) + "; expected a string or a whole number");
}

result<prompt> parse_line(std::string_view line,
                          const std::string& source,
                          line_fields fields,
                          const sampling& defaults) {
  ATOLL_ASSIGN(const boost::json::object root, parse_object(line, source));
  ATOLL_TRY(check_names(root, source, fields));
  const model::json_fields in{root, source};
  prompt made;
  made.source = source;
  made.how = defaults;
  ATOLL_ASSIGN(made.id, read_id(root, source));
  const bool has_text = in.find("text") != nullptr;
  const bool has_tokens = in.find("tokens") != nullptr;
  if (has_text && has_tokens && fields != line_fields::tokens)
    return line_error(source, "fields \"text\" and \"tokens\" exclude each other; give one");
  if (!has_text && !has_tokens && fields != line_fields::text && fields != line_fields::tokens)
    return line_error(source, "there is neither a field \"text\" nor \"tokens\"; give one");
  if (fields == line_fields::text || (has_text && fields != line_fields::tokens)) {
    ATOLL_ASSIGN(made.text, in.text("text"));
  } else {
    ATOLL_ASSIGN(made.tokens, read_tokens(in, source));
  }
  if (fields == line_fields::prompt_sampling) ATOLL_TRY(read_sampling(in, source, made.how));
  return made;
}

bool is_blank(std::string_view line) {
  return line.find_first_not_of(" \t\r") == std::string_view::npos;
}

result<void> encode_text(prompt& p, const model::tokenizer* with, bool with_bos) {
  if (p.text->empty()) return line_error(p.source, "the prompt is empty; give it some text");
  if (with == nullptr)
    return line_error(p.source,
                      "the model has no tokenizer.json; give the prompt as \"tokens\" instead");
  auto encoded = with->encode(*p.text, {});
  if (encoded.has_error()) return line_error(p.source, encoded.error().message());
  if (with_bos && with->adds_bos() && with->bos()) p.tokens.push_back(*with->bos());
  p.tokens.insert(p.tokens.end(), encoded->begin(), encoded->end());
  return {};
}

result<void> check_tokens(const prompt& p, std::int64_t vocabulary, std::int64_t context_max) {
  if (p.tokens.empty())
    return line_error(p.source, "field \"tokens\" is []; a prompt needs at least one token");
  for (std::size_t i = 0; i < p.tokens.size(); ++i) {
    if (p.tokens[i] >= 0 && p.tokens[i] < vocabulary) continue;
    return line_error(p.source,
                      "field \"tokens\"[" + std::to_string(i) + "] is " +
                          std::to_string(p.tokens[i]) + "; the model has ids 0 to " +
                          std::to_string(vocabulary - 1));
  }
  const auto length = static_cast<std::int64_t>(p.tokens.size());
  if (length <= context_max) return {};
  return line_error(p.source,
                    "the prompt has " + std::to_string(length) + " tokens and the context holds " +
                        std::to_string(context_max) +
                        "; shorten it, or raise --max-seq-len or --kv-memory where the model "
                        "allows more");
}

}  // namespace

result<std::vector<prompt>> parse_prompts(std::string_view content,
                                          const std::string& file,
                                          line_fields fields,
                                          const sampling& defaults) {
  std::vector<prompt> prompts;
  std::size_t number = 0;
  while (!content.empty()) {
    ++number;
    const std::string_view line = content.substr(0, content.find('\n'));
    content.remove_prefix(std::min(content.size(), line.size() + 1));
    if (is_blank(line)) continue;
    ATOLL_ASSIGN(prompt made,
                 parse_line(line, file + ":" + std::to_string(number), fields, defaults));
    if (made.id.empty()) made.id = std::to_string(prompts.size());
    prompts.push_back(std::move(made));
  }
  if (prompts.empty())
    return error{errc::invalid_argument,
                 file + ": holds no line; expected one JSON object a line, such as "
                        "{\"id\":1,\"text\":\"...\"}"};
  return prompts;
}

result<std::vector<prompt>>
read_prompts(disk& files, const std::string& file, line_fields fields, const sampling& defaults) {
  const std::string path = file == "-" ? "/dev/stdin" : file;
  auto content = files.read(path, prompt_file_bytes_max);
  if (content.has_error()) return error{errc::not_found, content.error().message()};
  return parse_prompts(*content, file == "-" ? "standard input" : file, fields, defaults);
}

result<void> encode_prompts(std::vector<prompt>& prompts,
                            const model::tokenizer* with,
                            bool with_bos,
                            std::int64_t vocabulary,
                            std::int64_t context_max) {
  for (prompt& p : prompts) {
    if (p.text) ATOLL_TRY(encode_text(p, with, with_bos));
    ATOLL_TRY(check_tokens(p, vocabulary, context_max));
    if (!p.how.stop.empty() && with == nullptr)
      return line_error(p.source, "stop strings need a tokenizer.json, which the model has not");
    const auto room = context_max - static_cast<std::int64_t>(p.tokens.size());
    p.how.tokens_max = std::min(p.how.tokens_max, room);
  }
  return {};
}

}  // namespace atl::apps
