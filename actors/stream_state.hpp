// What the listener of a request has been told, and what of a shard's messages is new to it. A
// message may repeat what is known (the request runs on its second shard, or the shard was asked
// again) or leave something out (one was lost on the way); tokens and rows are told once each, in
// order. Plain state with its rules; owned by the gateway.
#pragma once

#include "actors/generation.hpp"
#include "transport/wire/messages.hpp"

#include <cstdint>
#include <map>
#include <optional>
#include <utility>
#include <vector>

namespace atl::actors {

/// What a message shows to be missing. tokens: the shard has them, and says them again when asked.
/// rows: of positions that it computes only if it begins anew (observations, log-probabilities of a
/// prompt).
enum class gap : std::uint8_t { none, tokens, rows };

/// What is new in a message of tokens; nothing where there is a gap.
struct delivery {
  std::vector<token_id> tokens;
  std::vector<token_logprobs> logprobs;
  std::vector<token_logprobs> prompt_logprobs;
  gap missing = gap::none;

  bool is_empty() const noexcept { return tokens.empty() && prompt_logprobs.empty(); }
};

class stream_state {
public:
  /// In order since the beginning, whatever shard they came from.
  const std::vector<token_id>& emitted() const noexcept { return emitted_; }

  /// What a shard needs to go on from here.
  transport::wire::submit resume(request_id id, const generation_request& request) const;

  delivery take(const generation_request& request, const transport::wire::tokens& message);

  /// Rows that are new; none of them: all are known, or, where `missing` is set, some before them
  /// are not.
  std::optional<observation>
  take(const generation_request& request, const transport::wire::observed& message, gap& missing);

private:
  using series = std::pair<transport::wire::observation, std::uint32_t>;  // what, layer

  /// Whether rows of the answer that this message ends have not come.
  bool lacks_rows(const generation_request& r, const transport::wire::tokens& last) const;

  std::vector<token_id> emitted_;
  std::size_t prompt_logprobs_ = 0;          // rows
  std::map<series, std::int64_t> observed_;  // the next position
};

}  // namespace atl::actors
