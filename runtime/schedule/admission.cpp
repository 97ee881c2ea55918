#include "runtime/schedule/admission.hpp"

#include "runtime/base/assert.hpp"

#include <limits>
#include <string>

namespace atl::schedule {

namespace {

/// Far above any model, so that sums of two token counts cannot overflow.
constexpr std::int64_t tokens_countable = std::numeric_limits<std::int64_t>::max() / 4;

error never(const std::string& what) { return {errc::invalid_argument, what}; }

error later(const std::string& what) { return {errc::overloaded, what + "; try again later"}; }

}  // namespace

result<void> admit(const admission_limits& limits,
                   const admission_load& load,
                   std::int64_t prompt_tokens,
                   std::int64_t new_tokens_max) {
  ATOLL_ASSERT(load.sequences >= 0 && load.tokens >= 0);
  if (prompt_tokens < 1) return never("the prompt is empty; it needs at least one token");
  if (new_tokens_max < 0) {
    return never("the number of new tokens is " + std::to_string(new_tokens_max) +
                 "; it must not be negative");
  }
  if (prompt_tokens > tokens_countable || new_tokens_max > tokens_countable ||
      reserved_tokens(prompt_tokens, new_tokens_max) > limits.context_max) {
    return never("the prompt has " + std::to_string(prompt_tokens) + " tokens and asks for up to " +
                 std::to_string(new_tokens_max) + " more; the context holds " +
                 std::to_string(limits.context_max) + " (--max-seq-len)");
  }
  const std::int64_t tokens = reserved_tokens(prompt_tokens, new_tokens_max);
  if (tokens > limits.tokens_max) {
    return never("the request needs room for " + std::to_string(tokens) + " tokens; there is " +
                 std::to_string(limits.tokens_max) + " in all (--kv-memory)");
  }
  if (load.sequences >= limits.sequences_max + limits.queued_max) {
    return later("all " + std::to_string(limits.sequences_max) + " places and all " +
                 std::to_string(limits.queued_max) + " of the queue are taken");
  }
  if (tokens > limits.tokens_max - load.tokens) {
    return later("the request needs room for " + std::to_string(tokens) + " tokens and " +
                 std::to_string(limits.tokens_max - load.tokens) + " of " +
                 std::to_string(limits.tokens_max) + " are free");
  }
  return {};
}

}  // namespace atl::schedule
