#define PCRE2_CODE_UNIT_WIDTH 8
#include "runtime/model/regex.hpp"

#include "runtime/model/utf8.hpp"

#include <pcre2.h>

#include <algorithm>
#include <memory>

namespace atl::model {

namespace {

constexpr std::size_t pattern_bytes_max = 64 * 1024;
constexpr std::uint32_t heap_kib_max = 64 * 1024;

template <auto Free>
struct freed_by {
  template <class T>
  void operator()(T* object) const noexcept {
    Free(object);
  }
};
using match_data = std::unique_ptr<pcre2_match_data, freed_by<pcre2_match_data_free>>;
using match_context = std::unique_ptr<pcre2_match_context, freed_by<pcre2_match_context_free>>;
using compile_context =
    std::unique_ptr<pcre2_compile_context, freed_by<pcre2_compile_context_free>>;

std::string message_of(int code) {
  PCRE2_UCHAR buffer[160];
  if (pcre2_get_error_message(code, buffer, sizeof buffer) < 0) return "unknown error";
  return reinterpret_cast<const char*>(buffer);
}

PCRE2_SPTR units(std::string_view text) {
  // An empty view may have no address, which PCRE2 before 10.45 refuses.
  return reinterpret_cast<PCRE2_SPTR>(text.empty() ? "" : text.data());
}

/// With the just-in-time code where there is one; its stack is small, so what overflows it runs
/// once more in the interpreter, which keeps its backtracking in bounded heap.
int match_at(const pcre2_code* code,
             std::string_view text,
             std::size_t from,
             match_data& data,
             match_context& context) {
  int found = pcre2_match(
      code, units(text), text.size(), from, PCRE2_NO_UTF_CHECK, data.get(), context.get());
  if (found == PCRE2_ERROR_JIT_STACKLIMIT)
    found = pcre2_match(code,
                        units(text),
                        text.size(),
                        from,
                        PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT,
                        data.get(),
                        context.get());
  return found;
}

}  // namespace

void regex::deleter::operator()(void* code) const noexcept {
  pcre2_code_free(static_cast<pcre2_code*>(code));
}

result<regex> regex::compile(std::string_view pattern) {
  if (pattern.size() > pattern_bytes_max)
    return error{errc::unsupported,
                 "the pattern is longer than " + std::to_string(pattern_bytes_max) + " bytes"};
  ATOLL_ASSIGN(const std::string translated, to_pcre2(pattern));
  const compile_context context{pcre2_compile_context_create(nullptr)};
  if (context == nullptr) return error{errc::out_of_memory, "no memory for a pattern"};
  pcre2_set_newline(context.get(), PCRE2_NEWLINE_LF);
  int code = 0;
  PCRE2_SIZE offset = 0;
  // Ruby's ^ and $ are those of lines.
  regex made{pcre2_compile(units(translated),
                           translated.size(),
                           PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C |
                               PCRE2_NO_AUTO_CAPTURE,
                           &code,
                           &offset,
                           context.get())};
  if (made.code_ == nullptr)
    return error{errc::invalid_model, "the pattern does not compile: " + message_of(code)};
  pcre2_jit_compile(static_cast<pcre2_code*>(made.code_.get()), PCRE2_JIT_COMPLETE);
  return made;
}

result<void> regex::find_all(std::string_view text, std::vector<text_span>& out) const {
  const auto* code = static_cast<const pcre2_code*>(code_.get());
  match_data data{pcre2_match_data_create_from_pattern(code, nullptr)};
  match_context context{pcre2_match_context_create(nullptr)};
  if (data == nullptr || context == nullptr)
    return error{errc::out_of_memory, "no memory for matching a pattern"};
  // A few steps for each byte is what sensible patterns take; runs of white space take the most.
  pcre2_set_match_limit(
      context.get(),
      static_cast<std::uint32_t>(std::min<std::size_t>(100'000 + 16 * text.size(), 1U << 31)));
  pcre2_set_heap_limit(context.get(), heap_kib_max);
  std::size_t from = 0;
  bool has_last = false;
  std::size_t last_end = 0;
  while (from <= text.size()) {
    const int found = match_at(code, text, from, data, context);
    if (found == PCRE2_ERROR_NOMATCH) break;
    if (found < 0)
      return error{errc::invalid_argument,
                   "a pattern of the tokenizer cannot split this text: " + message_of(found)};
    const PCRE2_SIZE* bounds = pcre2_get_ovector_pointer(data.get());
    const text_span span{bounds[0], bounds[1]};
    from = span.end;
    if (span.begin == span.end) {
      if (!has_last || last_end != span.end) out.push_back(span);
      if (from == text.size()) break;
      from += code_point_at(text, from).bytes;
    } else {
      out.push_back(span);
    }
    has_last = true;
    last_end = span.end;
  }
  return {};
}

}  // namespace atl::model
