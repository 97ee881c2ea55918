// What a request asks of the cluster and what it gets back, in tokens. Plain values.
#pragma once

#include "runtime/base/clock.hpp"
#include "runtime/base/error.hpp"
#include "runtime/base/ids.hpp"
#include "runtime/model/sampler.hpp"

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace atl::actors {

/// For which positions logits are reported: none, the positions tokens are drawn from, or the whole
/// prompt as well.
enum class logits_wanted : std::uint8_t { none, last, all };

struct generation_request {
  std::vector<token_id> prompt;  // not empty, each in [0, vocabulary)
  std::int64_t tokens_max = 0;   // to generate; 0: the prompt is only evaluated
  model::sampling_params sampling;
  std::int64_t vocabulary = 0;  // ids >= this are never drawn; 0: the model's rows
  std::vector<token_id>
      stop_tokens;  // end the answer and are not part of it, as end-of-sequence tokens do
  bool ignore_eos = false;
  logits_wanted logits = logits_wanted::none;
  bool want_hidden = false;
  bool want_routing = false;

  /// Log-probabilities of each generated token and of so many most likely ones; empty: none.
  std::optional<int> logprobs_top = {};  // [0, 20]
  /// Also of the prompt's tokens, but for the first; such a request computes all of its prompt.
  bool prompt_logprobs = false;
  /// What the answer may be: a grammar of runtime/model/constraint.hpp as JSON; empty: anything.
  std::string constraint = {};

  /// Cached pages are shared among requests of one scope only.
  std::uint64_t cache_scope = 0;
  /// Whose share of the server it is taken from, and how large that is against others'.
  std::uint32_t tenant = 0;
  std::uint32_t tenant_share = 1;  // [1, 1000]
  /// Higher is served first; within one priority, tenants get fair shares.
  int priority = 0;
  /// Higher goes before within the tenant, and takes nothing from others.
  int urgency = 0;
  /// From submit on; then it ends with errc::deadline, running or not. Up to a week.
  std::optional<duration_ns> timeout = {};
};

enum class finish_reason : std::uint8_t { none, stop, length, cancelled, error };

/// Rows seen on the way, for positions first_position, first_position + 1, ... of prompt and answer
/// together.
struct observation {
  enum class kind : std::uint8_t { logits, hidden, routing };
  kind what = kind::logits;
  std::int64_t first_position = 0;
  std::int64_t layer = 0;  // hidden: residual stream after it; routing: its gate
  std::int64_t rows = 0;
  std::int64_t width = 0;              // values a row: vocabulary, hidden, or experts per token
  std::vector<float> values;           // (rows, width): logits, residual stream, or expert weights
  std::vector<std::uint32_t> experts;  // routing: (rows, width) in rank order
};

/// Of the model's own distribution: the natural logarithm of softmax(logits), before bias,
/// penalties, temperature and constraint.
struct token_logprobs {
  float chosen = 0;                             // of the token at this place
  std::vector<std::pair<token_id, float>> top;  // logprobs_top of them, most likely first
};

struct generation_event {
  request_id request;
  std::vector<token_id> tokens;          // newly generated, in order
  std::vector<token_logprobs> logprobs;  // one for each of tokens, where wanted
  std::vector<token_logprobs>
      prompt_logprobs;                    // for prompt positions 1, 2, ... in order, where wanted
  std::vector<observation> observations;  // come with or before the tokens of their step
  finish_reason finish = finish_reason::none;  // other than none: the last event of the request
  std::optional<error> cause;                  // exactly when finish is error
  std::int64_t prompt_tokens = 0;              // with the last event
  std::int64_t generated_tokens = 0;
  std::int64_t cached_tokens = 0;  // with the last event: of the prompt, found in the prefix cache
  duration_ns queued{};            // with the last event: waited before a shard got it
};

using generation_listener = std::function<void(generation_event&&)>;

}  // namespace atl::actors
