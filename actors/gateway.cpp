#include "actors/gateway.hpp"

#include "actors/uncaught.hpp"
#include "attention/kv/prefix_cache.hpp"
#include "runtime/base/log.hpp"
#include "runtime/schedule/affinity.hpp"
#include "runtime/schedule/fair_queue.hpp"

#include <caf/actor_system.hpp>
#include <caf/send.hpp>
#include <caf/typed_event_based_actor.hpp>

#include <algorithm>
#include <cstring>
#include <map>
#include <set>
#include <utility>

namespace atl::actors {
namespace {

namespace wire = transport::wire;

struct open_request {
  gateway_submit_ptr submitted;
  std::optional<std::size_t> shard;        // none: it waits
  std::optional<std::uint64_t> beginning;  // of its scope and first page, where it fills one
  std::int64_t pages = 0;                  // counted at its shard
  std::optional<time_point_ns> deadline;
  duration_ns queued{};
  std::vector<token_id> emitted;
  std::size_t prompt_logprobs = 0;  // given to the listener
  bool is_told = false;             // of its end, ahead of its shard
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
  m.cache_scope = r.cache_scope;
  m.logprobs = r.logprobs_top ? static_cast<std::uint32_t>(*r.logprobs_top) + 1 : 0;
  m.prompt_logprobs = r.prompt_logprobs;
  m.constraint = r.constraint;
  return m;
}

std::optional<std::uint64_t> beginning_of(const generation_request& r) {
  attention::page_text first;
  if (r.prompt.size() < first.size()) return std::nullopt;
  std::copy_n(r.prompt.begin(), first.size(), first.begin());
  return attention::xxh3_page_hash(r.cache_scope, 0, first);
}

std::vector<token_logprobs> from_wire(const wire::logprob_rows& rows) {
  std::vector<token_logprobs> out(rows.chosen.size());
  for (std::size_t i = 0; i < out.size(); ++i) {
    out[i].chosen = rows.chosen[i];
    for (std::size_t t = i * rows.top; t < (i + 1) * rows.top; ++t)
      out[i].top.emplace_back(rows.top_ids[t], rows.top_values[t]);
  }
  return out;
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
      : gateway_actor::base{config}, parts_{std::move(parts)}, loads_(parts_.shards.size()) {
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
        [this](overdue_atom) { end_overdue(); },
        [this](held_atom) {
          held h;
          h.requests = open_.size();
          return h;
        },
    };
  }

  const char* name() const override { return "gateway"; }

private:
  using open_place = std::map<request_id, open_request>::iterator;

  void submit(const gateway_submit_ptr& submitted);
  /// Hands out what waits for as long as shards have room.
  void release();
  void send_to_shard(open_request& r, std::size_t shard);
  void cancel(request_id id);
  void take_observed(const wire::observed& o);
  void take_tokens(const wire::tokens& t);
  void count_pages(open_request& r);
  void end_overdue();
  void watch(time_point_ns deadline);
  void tell_end(open_request& r,
                finish_reason reason,
                std::optional<error> cause,
                const wire::tokens* last);
  /// Forgets a request and all that was counted for it, and tells its listener unless it knows.
  void end(open_place found,
           finish_reason reason,
           std::optional<error> cause,
           const wire::tokens* last = nullptr);

  static std::int64_t prompt_of(const open_request& r) {
    return static_cast<std::int64_t>(r.submitted->request.prompt.size());
  }
  static std::int64_t tokens_of(const open_request& r) {
    return schedule::reserved_tokens(prompt_of(r), r.submitted->request.tokens_max);
  }
  std::int64_t pages_of(const open_request& r) const {
    return schedule::pages_soon(parts_.limits,
                                prompt_of(r),
                                static_cast<std::int64_t>(r.emitted.size()),
                                r.submitted->request.tokens_max);
  }

  gateway_parts parts_;
  std::map<request_id, open_request> open_;
  schedule::fair_queue waiting_;
  std::vector<schedule::shard_load> loads_;
  schedule::shard_memory computed_at_;
  std::set<std::pair<time_point_ns, request_id>> deadlines_;
  std::optional<time_point_ns> next_look_;  // a message to look after deadlines is under way
};

void gateway::submit(const gateway_submit_ptr& submitted) {
  const auto& request = submitted->request;
  open_request r;
  r.submitted = submitted;
  if (request.timeout) {
    r.deadline = submitted->since + *request.timeout;
    deadlines_.emplace(*r.deadline, submitted->id);
    watch(*r.deadline);
  }
  schedule::waiting_request w;
  w.id = submitted->id;
  w.tenant = request.tenant;
  w.share = request.tenant_share;
  w.priority = request.priority;
  w.urgency = request.urgency;
  w.cost = tokens_of(r);
  if (parts_.shares_prefixes && loads_.size() > 1) r.beginning = beginning_of(request);
  open_[submitted->id] = std::move(r);
  waiting_.push(w);
  release();
}

void gateway::release() {
  while (const auto* next = waiting_.next()) {
    const auto found = open_.find(next->id);
    const open_request& r = found->second;
    const auto known = r.beginning ? computed_at_.find(*r.beginning) : std::nullopt;
    const auto shard =
        schedule::shard_near(parts_.limits, loads_, pages_of(r), tokens_of(r), known);
    if (!shard) return;
    if (r.beginning) computed_at_.note(*r.beginning, *shard);
    waiting_.pop();
    send_to_shard(found->second, *shard);
  }
}

void gateway::send_to_shard(open_request& r, std::size_t shard) {
  r.shard = shard;
  r.queued = parts_.time->now() - r.submitted->since;
  r.pages = pages_of(r);
  loads_[shard].sequences += 1;
  loads_[shard].pages += r.pages;
  loads_[shard].tokens += tokens_of(r);
  parts_.desk->start();
  const auto sent = parts_.mail->send(gateway_slot, parts_.shards[shard], to_wire(*r.submitted));
  if (sent.has_error()) end(open_.find(r.submitted->id), finish_reason::error, sent.error());
}

void gateway::cancel(request_id id) {
  const auto found = open_.find(id);
  if (found == open_.end() || found->second.is_told) return;
  if (!found->second.shard) {
    end(found, finish_reason::cancelled, {});
    release();  // the next one may need less room than it did
    return;
  }
  const auto sent =
      parts_.mail->send(gateway_slot, parts_.shards[*found->second.shard], wire::cancel{id});
  if (sent.has_error()) end(found, finish_reason::error, sent.error());
}

void gateway::take_observed(const wire::observed& o) {
  const auto found = open_.find(o.request);
  if (found == open_.end() || found->second.is_told) return;
  generation_event event;
  event.request = o.request;
  event.observations.push_back(from_wire(o));
  found->second.submitted->listener(std::move(event));
}

void gateway::take_tokens(const wire::tokens& t) {
  const auto found = open_.find(t.request);
  if (found == open_.end()) return;
  open_request& r = found->second;
  auto& emitted = r.emitted;
  if (t.position_first != emitted.size()) {
    // A repeat of what is known, or a gap that a replay will close.
    if (t.finish == wire::finish_reason::none) return;
  } else {
    emitted.insert(emitted.end(), t.values.begin(), t.values.end());
  }
  if (t.finish != wire::finish_reason::none) {
    std::optional<error> cause;
    if (t.cause) cause.emplace(t.cause->code, t.cause->text);
    end(found, static_cast<finish_reason>(t.finish), std::move(cause), &t);
    release();
    return;
  }
  count_pages(r);
  if (r.is_told) return;
  generation_event event;
  event.request = t.request;
  event.tokens = t.values;
  event.logprobs = from_wire(t.logprobs);
  if (!t.prompt_logprobs.chosen.empty()) {
    if (t.prompt_logprobs_first != r.prompt_logprobs + 1) return;  // a repeat of what is known
    r.prompt_logprobs += t.prompt_logprobs.chosen.size();
    event.prompt_logprobs = from_wire(t.prompt_logprobs);
  }
  r.submitted->listener(std::move(event));
}

void gateway::count_pages(open_request& r) {
  const std::int64_t pages = pages_of(r);
  loads_[*r.shard].pages += pages - r.pages;
  r.pages = pages;
}

void gateway::end_overdue() {
  const time_point_ns now = parts_.time->now();
  next_look_.reset();
  while (!deadlines_.empty() && deadlines_.begin()->first <= now) {
    const auto found = open_.find(deadlines_.begin()->second);
    deadlines_.erase(deadlines_.begin());
    open_request& r = found->second;
    r.deadline.reset();
    const std::int64_t allowed_ms = r.submitted->request.timeout->count() / 1'000'000;
    error late{errc::deadline,
               "the request did not end within its timeout of " + std::to_string(allowed_ms) +
                   " ms" + (r.shard ? "" : "; it was still waiting to start")};
    if (!r.shard) {
      end(found, finish_reason::error, std::move(late));
      continue;
    }
    const auto sent =
        parts_.mail->send(gateway_slot, parts_.shards[*r.shard], wire::cancel{r.submitted->id});
    tell_end(r, finish_reason::error, std::move(late), nullptr);
    if (sent.has_error()) end(found, finish_reason::error, {});
  }
  if (!deadlines_.empty()) watch(deadlines_.begin()->first);
  release();
}

void gateway::watch(time_point_ns deadline) {
  if (next_look_ && *next_look_ <= deadline) return;
  next_look_ = deadline;
  const auto wait = std::max(deadline - parts_.time->now(), duration_ns{0});
  this->delayed_send(this, wait, overdue_atom::value);
}

void gateway::tell_end(open_request& r,
                       finish_reason reason,
                       std::optional<error> cause,
                       const wire::tokens* last) {
  r.is_told = true;
  generation_event event;
  event.request = r.submitted->id;
  if (last != nullptr) {
    event.tokens = last->values;
    event.logprobs = from_wire(last->logprobs);
  }
  event.finish = reason;
  event.cause = std::move(cause);
  event.prompt_tokens = prompt_of(r);
  event.generated_tokens = static_cast<std::int64_t>(r.emitted.size());
  event.cached_tokens = last == nullptr ? 0 : last->cached_tokens;
  event.queued = r.shard ? r.queued : parts_.time->now() - r.submitted->since;
  r.submitted->listener(std::move(event));
}

void gateway::end(open_place found,
                  finish_reason reason,
                  std::optional<error> cause,
                  const wire::tokens* last) {
  open_request r = std::move(found->second);
  open_.erase(found);
  const gateway_submit& submitted = *r.submitted;
  if (r.shard) {
    loads_[*r.shard].sequences -= 1;
    loads_[*r.shard].pages -= r.pages;
    loads_[*r.shard].tokens -= tokens_of(r);
  } else {
    waiting_.remove(submitted.id);
  }
  if (r.deadline) deadlines_.erase({*r.deadline, submitted.id});
  // The listener may come back with another request at once, so its place is free by then.
  parts_.desk->leave(prompt_of(r), submitted.request.tokens_max, r.shard.has_value());
  if (!r.is_told) tell_end(r, reason, std::move(cause), last);
  if (submitted.gone) submitted.gone();
}

}  // namespace

gateway_actor spawn_gateway(caf::actor_system& system, const gateway_parts& parts) {
  auto self = system.spawn<gateway>(parts);
  parts.mail->bind(gateway_slot,
                   [self](incoming_ptr message) { caf::anon_send(self, std::move(message)); });
  return self;
}

}  // namespace atl::actors
