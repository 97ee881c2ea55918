// The front door: whether a request may enter at all. Pure. What is let in waits in order and is
// always served; what is refused learns why and whether trying again can help.
#pragma once

#include "runtime/base/result.hpp"

#include <cstdint>

namespace atl::schedule {

struct admission_limits {
  std::int64_t sequences_max = 0;  // running together
  std::int64_t queued_max = 0;     // waiting beyond those
  std::int64_t tokens_max = 0;     // prompt + new tokens of all requests inside, reserved
  std::int64_t context_max = 0;    // tokens of one sequence (--max-seq-len)
};

/// What is inside now.
struct admission_load {
  std::int64_t sequences = 0;  // running and waiting
  std::int64_t tokens = 0;     // sum of reserved_tokens
};

/// Tokens a request reserves: prompt and all it may generate.
constexpr std::int64_t reserved_tokens(std::int64_t prompt, std::int64_t new_max) noexcept {
  return prompt + new_max;
}

/// Accepts, or refuses with the reason: errc::invalid_argument where this request can never enter
/// (empty, longer than the context, more tokens than the limit), errc::overloaded where it may
/// later.
result<void> admit(const admission_limits& limits,
                   const admission_load& load,
                   std::int64_t prompt_tokens,
                   std::int64_t new_tokens_max);

}  // namespace atl::schedule
