// One micro-batch of a shard on its way through the layers: its rows, whose they are, and what was
// asked to be seen of them. Owned by the shard actor; while a device job over it is open, only the
// phases made here touch it.
#pragma once

#include "actors/messages.hpp"
#include "actors/sequence.hpp"
#include "attention/micro_batch.hpp"
#include "runtime/model/logprobs.hpp"
#include "runtime/schedule/batch_planner.hpp"
#include "runtime/tensor/device.hpp"

#include <memory>
#include <optional>
#include <vector>

namespace atl::actors {

/// The rows of one sequence.
struct lane_part {
  std::shared_ptr<sequence> owner;
  std::int64_t first_position = 0;
  std::int64_t tokens = 0;
  std::int64_t first_row = 0;
  std::int64_t token_row = -1;   // index into logit_rows of the row a token is drawn from; -1: none
  std::int64_t first_logit = 0;  // index into logit_rows of its first row there
  std::int64_t logits = 0;       // rows in logit_rows
  std::int64_t logits_seen = 0;  // of them, the last so many are to be reported
  std::int64_t logprobs_from = 0;  // index into its logits of the first row with logprobs of the
                                   // prompt's next token; = logits: none
  std::int64_t rows_seen = 0;      // hidden and routing: the last so many rows are to be reported
  std::shared_ptr<std::vector<float>> record;  // what a phase copies for the report

  /// Of a row by its index among the part's rows of logits.
  std::int64_t position_of(std::int64_t row) const noexcept {
    return first_position + tokens - logits + row;
  }
};

/// Sampled from logits that are not numbers.
inline constexpr token_id no_token = -1;

/// A report, and whose it is.
struct observed_part {
  std::shared_ptr<const sequence> owner;
  transport::wire::observed message;
};

struct lane {
  attention::micro_batch batch;
  std::vector<lane_part> parts;
  std::vector<token_id> sampled;              // by index of logit_rows
  std::vector<model::row_logprobs> logprobs;  // likewise, where any are wanted
  std::int64_t layer = 0;
  bool shared_pending = false;
  bool routed_pending = false;
  bool record_hidden = false;
  bool record_routing = false;
  std::optional<error> failure;

  void begin();
  void add(const std::shared_ptr<sequence>& s,
           const schedule::slice& slice,
           const model::model_config& config);

  // What was asked to be seen, as messages for the gateways.
  std::vector<observed_part> hidden_seen(std::int64_t hidden);
  std::vector<observed_part> logits_seen(std::int64_t vocabulary);
  std::vector<observed_part> routing_seen(const rows_routed& answer) const;
};

/// Copies the residual rows that are to be reported.
tensor::phase record_hidden_phase(lane& l, std::int64_t hidden);

/// The log-probabilities of prompt tokens that a part brings, as a message.
std::optional<transport::wire::tokens> prompt_logprobs_of(const lane& l, const lane_part& part);
/// Appends a row.
void add_logprobs(transport::wire::logprob_rows& to, const model::row_logprobs& row);

/// Draws the tokens, computes log-probabilities and copies the logits that are to be reported; one
/// chunk per row of logit_rows.
tensor::phase sample_phase(lane& l, const model::model_config& config);

}  // namespace atl::actors
