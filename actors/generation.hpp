// What a request asks of the cluster and what it gets back, in tokens. Plain values.
#pragma once

#include "runtime/base/error.hpp"
#include "runtime/base/ids.hpp"
#include "runtime/model/sampler.hpp"

#include <cstdint>
#include <functional>
#include <optional>
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

struct generation_event {
  request_id request;
  std::vector<token_id> tokens;                // newly generated, in order
  std::vector<observation> observations;       // come with or before the tokens of their step
  finish_reason finish = finish_reason::none;  // other than none: the last event of the request
  std::optional<error> cause;                  // exactly when finish is error
  std::int64_t prompt_tokens = 0;              // with the last event
  std::int64_t generated_tokens = 0;
};

using generation_listener = std::function<void(generation_event&&)>;

}  // namespace atl::actors
