#include "actors/gateway.hpp"

#include "actors/uncaught.hpp"
#include "runtime/base/log.hpp"

#include <caf/actor_system.hpp>
#include <caf/send.hpp>
#include <caf/typed_event_based_actor.hpp>

#include <algorithm>
#include <cstring>
#include <map>
#include <utility>

namespace atl::actors {
namespace {

namespace wire = transport::wire;

struct open_request {
  gateway_submit_ptr submitted;
  std::size_t shard = 0;
  std::vector<token_id> emitted;
};

wire::submit to_wire(const gateway_submit& s) {
  const auto& r = s.request;
  wire::submit m;
  m.request = s.id;
  m.prompt = r.prompt;
  m.generated_max = static_cast<std::uint32_t>(r.tokens_max);
  const auto& p = r.sampling;
  m.sampling = {p.temperature,
                p.top_p,
                p.min_p,
                static_cast<std::uint32_t>(std::max(p.top_k, 0)),
                p.repetition_penalty,
                p.presence_penalty,
                p.frequency_penalty,
                p.seed,
                p.logit_bias};
  m.stop_tokens = r.stop_tokens;
  m.ignore_eos = r.ignore_eos;
  m.logits = static_cast<wire::logits_wanted>(r.logits);
  m.want_hidden = r.want_hidden;
  m.want_routing = r.want_routing;
  m.vocabulary = static_cast<std::uint32_t>(r.vocabulary);
  return m;
}

observation from_wire(const wire::observed& o) {
  observation seen;
  seen.what = static_cast<observation::kind>(o.what);
  seen.first_position = o.position_first;
  seen.layer = o.layer.value;
  if (o.what == wire::observation::routing) {
    seen.width = o.experts_per_row;
    seen.rows = o.experts_per_row == 0
                    ? 0
                    : static_cast<std::int64_t>(o.experts.size() / o.experts_per_row);
    seen.experts = o.experts;
    seen.values = o.weights;
    return seen;
  }
  seen.rows = o.values.count;
  seen.width = o.values.width;
  seen.values.resize(o.values.payload.bytes.size() / sizeof(float));
  std::memcpy(
      seen.values.data(), o.values.payload.bytes.data(), seen.values.size() * sizeof(float));
  return seen;
}

class gateway final : public gateway_actor::base {
public:
  gateway(caf::actor_config& config, gateway_parts parts)
      : gateway_actor::base{config}, parts_{std::move(parts)}, tokens_at_(parts_.shards.size(), 0) {
    end_process_on_exception(*this);
  }

  behavior_type make_behavior() override {
    return {
        [this](const incoming_ptr& message) {
          if (const auto* t = std::get_if<wire::tokens>(&message->body)) take_tokens(*t);
          if (const auto* o = std::get_if<wire::observed>(&message->body)) take_observed(*o);
        },
        [this](const gateway_submit_ptr& submitted) { submit(submitted); },
        [this](request_id id) { cancel(id); },
        [this](held_atom) {
          held h;
          h.requests = open_.size();
          return h;
        },
    };
  }

  const char* name() const override { return "gateway"; }

private:
  void submit(const gateway_submit_ptr& submitted) {
    // The shard with the fewest tokens to come; the first of equals.
    const auto least = std::min_element(tokens_at_.begin(), tokens_at_.end());
    open_request r;
    r.submitted = submitted;
    r.shard = static_cast<std::size_t>(least - tokens_at_.begin());
    *least += load_of(*submitted);
    const auto sent = parts_.mail->send(gateway_slot, parts_.shards[r.shard], to_wire(*submitted));
    open_[submitted->id] = std::move(r);
    if (sent.has_error()) end(submitted->id, finish_reason::error, sent.error(), {});
  }

  void cancel(request_id id) {
    const auto found = open_.find(id);
    if (found == open_.end()) return;
    const auto sent =
        parts_.mail->send(gateway_slot, parts_.shards[found->second.shard], wire::cancel{id});
    if (sent.has_error()) end(id, finish_reason::error, sent.error(), {});
  }

  void take_observed(const wire::observed& o) {
    const auto found = open_.find(o.request);
    if (found == open_.end()) return;
    generation_event event;
    event.request = o.request;
    event.observations.push_back(from_wire(o));
    found->second.submitted->listener(std::move(event));
  }

  void take_tokens(const wire::tokens& t) {
    const auto found = open_.find(t.request);
    if (found == open_.end()) return;
    auto& emitted = found->second.emitted;
    if (t.position_first != emitted.size()) {
      // A repeat of what is known, or a gap that a replay will close.
      if (t.finish == wire::finish_reason::none) return;
    } else {
      emitted.insert(emitted.end(), t.values.begin(), t.values.end());
    }
    if (t.finish != wire::finish_reason::none) {
      std::optional<error> cause;
      if (t.cause) cause.emplace(t.cause->code, t.cause->text);
      end(t.request, static_cast<finish_reason>(t.finish), std::move(cause), t.values);
      return;
    }
    generation_event event;
    event.request = t.request;
    event.tokens = t.values;
    found->second.submitted->listener(std::move(event));
  }

  void
  end(request_id id, finish_reason reason, std::optional<error> cause, std::vector<token_id> last) {
    const auto found = open_.find(id);
    const open_request r = std::move(found->second);
    open_.erase(found);
    tokens_at_[r.shard] -= load_of(*r.submitted);
    const auto& request = r.submitted->request;
    parts_.desk->leave(static_cast<std::int64_t>(request.prompt.size()), request.tokens_max);
    generation_event event;
    event.request = id;
    event.tokens = std::move(last);
    event.finish = reason;
    event.cause = std::move(cause);
    event.prompt_tokens = static_cast<std::int64_t>(request.prompt.size());
    event.generated_tokens = static_cast<std::int64_t>(r.emitted.size());
    r.submitted->listener(std::move(event));
  }

  static std::int64_t load_of(const gateway_submit& s) {
    return schedule::reserved_tokens(static_cast<std::int64_t>(s.request.prompt.size()),
                                     s.request.tokens_max);
  }

  gateway_parts parts_;
  std::map<request_id, open_request> open_;
  std::vector<std::int64_t> tokens_at_;  // to come, by shard
};

}  // namespace

result<void> front_desk::enter(std::int64_t prompt_tokens, std::int64_t new_tokens_max) {
  const std::lock_guard lock{mutex_};
  ATOLL_TRY(schedule::admit(limits_, load_, prompt_tokens, new_tokens_max));
  load_.sequences += 1;
  load_.tokens += schedule::reserved_tokens(prompt_tokens, new_tokens_max);
  return {};
}

void front_desk::leave(std::int64_t prompt_tokens, std::int64_t new_tokens_max) {
  const std::lock_guard lock{mutex_};
  load_.sequences -= 1;
  load_.tokens -= schedule::reserved_tokens(prompt_tokens, new_tokens_max);
}

gateway_actor spawn_gateway(caf::actor_system& system, const gateway_parts& parts) {
  auto self = system.spawn<gateway>(parts);
  parts.mail->bind(gateway_slot,
                   [self](incoming_ptr message) { caf::anon_send(self, std::move(message)); });
  return self;
}

}  // namespace atl::actors
