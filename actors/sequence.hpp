// One request as a shard knows it: its tokens, its pages, how it is sampled and when it ends. Plain
// state with the rule for endings; owned by one shard.
#pragma once

#include "attention/kv/prefix_cache.hpp"
#include "runtime/base/result.hpp"
#include "runtime/model/constraint.hpp"
#include "runtime/model/model_config.hpp"
#include "runtime/model/sampler.hpp"
#include "transport/transport.hpp"
#include "transport/wire/messages.hpp"

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

namespace atl::actors {

/// Whose request it is: gateways count theirs anew in each life.
struct request_origin {
  node_id gateway;
  incarnation life;
  request_id request;
  friend constexpr auto operator<=>(const request_origin&, const request_origin&) = default;
};

struct sequence {
  request_id local;  // its number at this shard; request.request is the gateway's
  request_origin origin;
  transport::address gateway;
  bool is_leaving = false;  // cancelled, at the end of its step
  bool is_silent = false;   // its gateway is gone, or has it begun anew: nothing more is said of it
  transport::wire::submit request;
  std::vector<token_id> emitted;  // request.emitted and what was sampled since
  std::unique_ptr<const model::sampler> sampler;
  std::optional<model::constraint_matcher> grammar;  // has taken `emitted`
  attention::page_table pages;
  std::int64_t observed =
      0;  // positions already reported (logits, hidden, routing): a replay repeats none
  transport::wire::logprob_rows logprobs;  // of what was sampled here, where wanted
  std::optional<std::int64_t> cached;      // prompt tokens found cached at its first start

  std::int64_t tokens() const noexcept {
    return static_cast<std::int64_t>(request.prompt.size() + emitted.size());
  }
  token_id token_at(std::int64_t position) const noexcept {
    const auto i = static_cast<std::size_t>(position);
    return i < request.prompt.size() ? request.prompt[i] : emitted[i - request.prompt.size()];
  }
  attention::prefix known() const noexcept {
    return {.scope = request.cache_scope, .prompt = request.prompt, .emitted = emitted};
  }
  /// Leading pages that it need not compute: not the last known token, whose logits are needed, nor
  /// a position that is still to be reported.
  std::int64_t reusable_pages() const noexcept;
  /// Most tokens it can come to hold, prompt included.
  std::int64_t tokens_max() const noexcept {
    return static_cast<std::int64_t>(request.prompt.size()) +
           static_cast<std::int64_t>(request.generated_max);
  }
};

/// Builds the state of a request, or says which of its values cannot be used with this model.
/// `grammars`, where there are any, compile a constraint.
result<std::unique_ptr<sequence>> make_sequence(const transport::wire::submit& request,
                                                const model::model_config& config,
                                                model::constraint_cache* grammars);

/// What of a running sequence a gateway lacks that has `known` of its tokens: all since, to be said
/// again. None where the sequence cannot say it: it went another way, is behind, or began later.
std::optional<transport::wire::tokens> tokens_after(const sequence& s,
                                                    const std::vector<token_id>& known);

/// What may be drawn next: null for anything. Where the grammar lets the text end, that is also
/// end-of-sequence and the request's stop tokens.
std::shared_ptr<const model::token_set> allowed_next(const sequence& s,
                                                     const model::model_config& config);

/// What a freshly sampled token means. It is emitted, or ends the text without being part of it; a
/// text also ends with the token after which a grammar allows nothing more, ignore_eos or not.
struct verdict {
  transport::wire::finish_reason finish = transport::wire::finish_reason::none;
  bool is_emitted = false;
};

/// Judges a token and, where it is emitted, appends it.
verdict take_sampled(sequence& s, const model::model_config& config, token_id sampled);

}  // namespace atl::actors
