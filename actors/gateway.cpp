#include "actors/gateway.hpp"

#include "actors/shard_roster.hpp"
#include "actors/stream_state.hpp"
#include "actors/uncaught.hpp"
#include "attention/kv/prefix_cache.hpp"
#include "runtime/base/log.hpp"
#include "runtime/schedule/affinity.hpp"
#include "runtime/schedule/fair_queue.hpp"

#include <caf/actor_system.hpp>
#include <caf/send.hpp>
#include <caf/typed_event_based_actor.hpp>

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <utility>

namespace atl::actors {
namespace {

namespace wire = transport::wire;

/// Something that may be the request's own doing, if it happens again at the same token.
struct mishaps {
  int count = 0;
  std::size_t at_token = 0;

  /// One more, at this token; counts those without a token between them.
  int note(std::size_t token) {
    count = count > 0 && token == at_token ? count + 1 : 1;
    at_token = token;
    return count;
  }
};

struct open_request {
  gateway_submit_ptr submitted;
  stream_state stream;
  std::optional<std::size_t> place;        // of its shard; none: it waits
  std::optional<std::uint64_t> beginning;  // of its scope and first page, where it fills one
  std::int64_t pages = 0;                  // counted at its shard
  std::optional<time_point_ns> deadline;
  std::int64_t cached_tokens = 0;     // of the prompt, at its last shard
  std::optional<duration_ns> queued;  // before a shard first got it
  time_point_ns waits_since;          // for a shard
  time_point_ns handed_over;          // to this one
  time_point_ns asked;                // it was last told of it
  time_point_ns spoke;                // it last said something
  gap missing = gap::none;            // what the shard has to say again
  bool is_repeated = false;           // the shard was told of it more than once
  bool is_cancelled = false;
  bool is_told = false;  // of its end, ahead of its shard
  mishaps deaths;        // of its shard's node
  mishaps failures;      // of a step, for the want of an expert node
};

std::optional<std::uint64_t> beginning_of(const generation_request& r) {
  attention::page_text first;
  if (r.prompt.size() < first.size()) return std::nullopt;
  std::copy_n(r.prompt.begin(), first.size(), first.begin());
  return attention::xxh3_page_hash(r.cache_scope, 0, first);
}

std::string seconds_of(duration_ns t) { return std::to_string(t / std::chrono::seconds{1}) + " s"; }

class gateway final : public gateway_actor::base {
public:
  gateway(caf::actor_config& config, gateway_parts parts)
      : gateway_actor::base{config},
        parts_{std::move(parts)},
        patience_{parts_.patience},
        none_since_{parts_.time->now()} {
    end_process_on_exception(*this);
  }

  behavior_type make_behavior() override {
    return {
        [this](const incoming_ptr& message) {
          if (const auto* t = std::get_if<wire::tokens>(&message->body)) take_tokens(*message, *t);
          if (const auto* o = std::get_if<wire::observed>(&message->body))
            take_observed(*message, *o);
        },
        [this](const members_ptr& all) {
          look_at_self(*all);
          shards_changed(roster_.take(*all));
        },
        [this](const peer_changed& change) {
          shards_changed(roster_.take(change));
          if (change.state == peer_state::alive) ask_all(change.peer.node);
        },
        [this](const gateway_submit_ptr& submitted) { submit(submitted); },
        [this](request_id id) { cancel(id); },
        [this](overdue_atom, std::uint64_t number) { look(number); },
        [this](held_atom) {
          held h;
          h.requests = open_.size();
          h.replays = replays_;
          return h;
        },
    };
  }

  const char* name() const override { return "gateway"; }

private:
  using open_place = std::map<request_id, open_request>::iterator;

  // Requests and shards.
  void submit(const gateway_submit_ptr& submitted);
  void shards_changed(const std::vector<std::size_t>& lost);
  void lose(open_place found);
  /// Hands out what waits for as long as shards have room.
  void release();
  void leave_draining();
  void look_at_self(const wire::members& all);
  void put_in_line(open_request& r, bool is_replay);
  void hand_over(open_place found, std::size_t place);
  void take_back(open_request& r);
  void replay(open_request& r);
  void cancel(request_id id);

  // What shards say, and what they are asked again.
  open_place about(const incoming& message, request_id request, bool is_last);
  void take_observed(const incoming& message, const wire::observed& o);
  void take_tokens(const incoming& message, const wire::tokens& t);
  void take_end(open_place found, const wire::tokens& t, delivery last);
  void take_failure(open_place found, const wire::failure& cause);
  void note_gap(open_place found, gap missing);
  void ask(open_place found);
  void ask_again(time_point_ns now);
  void ask_all(node_id node);
  void count_pages(open_request& r);

  // Time.
  void look(std::uint64_t number);
  void end_overdue(time_point_ns now);
  void end_unavailable(time_point_ns now);
  void watch(time_point_ns when);
  time_point_ns ask_time(const open_request& r) const {
    const bool is_urgent = r.missing != gap::none || r.is_cancelled || r.is_told;
    return is_urgent ? r.asked + patience_.repeat : std::max(r.asked, r.spoke) + patience_.silence;
  }

  void tell(open_request& r, delivery news);
  void tell_end(open_request& r, finish_reason reason, std::optional<error> cause, delivery last);
  /// Forgets a request and all that was counted for it, and tells its listener unless it knows.
  void end(open_place found, finish_reason reason, std::optional<error> cause, delivery last = {});

  static std::int64_t prompt_of(const open_request& r) {
    return static_cast<std::int64_t>(r.submitted->request.prompt.size());
  }
  static std::int64_t tokens_of(const open_request& r) {
    return schedule::reserved_tokens(prompt_of(r), r.submitted->request.tokens_max);
  }
  static schedule::shard_need need_of(const open_request& r) {
    constexpr std::int64_t page = attention::kv_page_tokens;
    const auto emitted = static_cast<std::int64_t>(r.stream.emitted().size());
    return {schedule::pages_soon(page, prompt_of(r), emitted, r.submitted->request.tokens_max),
            (tokens_of(r) + page - 1) / page,
            tokens_of(r)};
  }
  template <class Message>
  result<void> send(const open_request& r, const Message& m) {
    return parts_.mail->send(gateway_slot, roster_.address(*r.place), m);
  }

  gateway_parts parts_;
  gateway_patience patience_;
  std::map<request_id, open_request> open_;
  schedule::fair_queue waiting_;
  shard_roster roster_;
  schedule::shard_memory computed_at_;
  std::set<std::pair<time_point_ns, request_id>> deadlines_;
  std::optional<time_point_ns> none_since_;  // there is no shard for requests
  std::optional<time_point_ns> next_look_;   // look_number_ is under way
  std::uint64_t look_number_ = 0;
  std::uint64_t replays_ = 0;
};

void gateway::submit(const gateway_submit_ptr& submitted) {
  const auto& request = submitted->request;
  open_request& r = open_[submitted->id];
  r.submitted = submitted;
  if (request.timeout) {
    r.deadline = submitted->since + *request.timeout;
    deadlines_.emplace(*r.deadline, submitted->id);
    watch(*r.deadline);
  }
  if (parts_.shares_prefixes && roster_.loads().size() > 1) r.beginning = beginning_of(request);
  put_in_line(r, false);
  release();
}

void gateway::put_in_line(open_request& r, bool is_replay) {
  const auto& request = r.submitted->request;
  schedule::waiting_request w;
  w.id = r.submitted->id;
  w.tenant = request.tenant;
  w.share = request.tenant_share;
  w.priority = request.priority;
  w.urgency = request.urgency;
  w.cost = tokens_of(r);
  w.is_replay = is_replay;
  r.waits_since = parts_.time->now();
  waiting_.push(w);
  if (none_since_) watch(r.waits_since + patience_.unavailable_after);
}

void gateway::release() {
  leave_draining();
  while (const auto* next = waiting_.next()) {
    const auto found = open_.find(next->id);
    const open_request& r = found->second;
    const auto known = r.beginning ? computed_at_.find(*r.beginning) : std::nullopt;
    const auto place = schedule::shard_near(roster_.loads(), need_of(r), known);
    if (!place) return;
    if (r.beginning) computed_at_.note(*r.beginning, *place);
    waiting_.pop();
    hand_over(found, *place);
  }
}

/// Clients choose their gateway themselves: one that is to get nothing new says so at the door.
void gateway::look_at_self(const wire::members& all) {
  const node_id self = parts_.mail->self().node;
  const auto at = std::find_if(
      all.list.begin(), all.list.end(), [self](const auto& m) { return m.node == self; });
  if (at == all.list.end()) return;
  const bool is_out =
      at->state == wire::member_state::draining || at->state == wire::member_state::cordoned;
  parts_.desk->set_out_of_use(is_out ? "this gateway is being taken out of use; ask another one"
                                     : std::string{});
}

void gateway::leave_draining() {
  std::vector<request_id> leaving;
  for (const auto& [id, r] : open_)
    if (r.place && roster_.is_draining(*r.place) && !r.is_cancelled && !r.is_told)
      leaving.push_back(id);
  for (const request_id id : leaving) {
    const auto found = open_.find(id);
    open_request& r = found->second;
    const auto place = schedule::shard_with_room(roster_.loads(), need_of(r));
    if (!place) return;
    // If this is lost, the next tokens from there are answered with another one.
    static_cast<void>(send(r, wire::cancel{id}));
    take_back(r);
    ++replays_;
    hand_over(found, *place);
  }
}

void gateway::hand_over(open_place found, std::size_t place) {
  open_request& r = found->second;
  const time_point_ns now = parts_.time->now();
  const auto need = need_of(r);
  r.place = place;
  r.pages = need.pages;
  if (!r.queued) r.queued = now - r.submitted->since;
  r.handed_over = r.spoke = now;
  r.is_repeated = false;
  auto& load = roster_.load(place);
  load.sequences += 1;
  load.pages += need.pages;
  load.tokens += need.tokens;
  parts_.desk->start();
  ask(found);
}

void gateway::take_back(open_request& r) {
  auto& load = roster_.load(*r.place);
  load.sequences -= 1;
  load.pages -= r.pages;
  load.tokens -= tokens_of(r);
  r.place.reset();
  r.missing = gap::none;
  parts_.desk->wait_again();
}

void gateway::replay(open_request& r) {
  take_back(r);
  ++replays_;
  put_in_line(r, true);
}

void gateway::cancel(request_id id) {
  const auto found = open_.find(id);
  if (found == open_.end() || found->second.is_told) return;
  if (!found->second.place) {
    end(found, finish_reason::cancelled, {});
    release();  // the next one may need less room than it did
    return;
  }
  found->second.is_cancelled = true;
  ask(found);
}

void gateway::shards_changed(const std::vector<std::size_t>& lost) {
  std::vector<request_id> homeless;
  for (const auto& [id, r] : open_)
    if (r.place && std::find(lost.begin(), lost.end(), *r.place) != lost.end())
      homeless.push_back(id);
  if (!lost.empty())
    log_warning(std::to_string(lost.size()) + " attention shards lost; " +
                std::to_string(homeless.size()) + " requests go to others");
  for (const request_id id : homeless) lose(open_.find(id));
  if (roster_.has_any()) {
    none_since_.reset();
    const auto all = roster_.capacity();
    parts_.desk->open(all.sequences_max,
                      all.pages_total * attention::kv_page_tokens + parts_.queued_tokens);
  } else if (!none_since_) {
    none_since_ = parts_.time->now();
    watch(*none_since_ + patience_.unavailable_after);
  }
  release();
}

void gateway::lose(open_place found) {
  open_request& r = found->second;
  if (r.is_told || r.is_cancelled) return end(found, finish_reason::cancelled, {});
  const bool is_soon = parts_.time->now() - r.handed_over <= patience_.death_within;
  if (is_soon && r.deaths.note(r.stream.emitted().size()) >= patience_.deaths_max) {
    const std::string what =
        "request " + std::to_string(found->first.value) +
        " ended: " + std::to_string(r.deaths.count) +
        " attention nodes in turn died while they computed the same token of it";
    log_error(what);
    return end(found, finish_reason::error, error{errc::internal, what});
  }
  replay(r);
}

gateway::open_place gateway::about(const incoming& message, request_id request, bool is_last) {
  const auto place = roster_.find(message.source, message.sender);
  if (!place) return open_.end();  // a shard's earlier life
  const auto found = open_.find(request);
  if (found != open_.end() && found->second.place == place) {
    found->second.spoke = parts_.time->now();
    return found;
  }
  // It runs elsewhere by now, or nowhere, and that shard does not know.
  if (!is_last)
    static_cast<void>(parts_.mail->send(gateway_slot, message.source, wire::cancel{request}));
  return open_.end();
}

void gateway::take_observed(const incoming& message, const wire::observed& o) {
  const auto found = about(message, o.request, false);
  if (found == open_.end() || found->second.is_told) return;
  open_request& r = found->second;
  gap missing = gap::none;
  auto seen = r.stream.take(r.submitted->request, o, missing);
  if (missing != gap::none) note_gap(found, missing);
  if (!seen) return;
  generation_event event;
  event.request = o.request;
  event.observations.push_back(std::move(*seen));
  r.submitted->listener(std::move(event));
}

void gateway::take_tokens(const incoming& message, const wire::tokens& t) {
  const bool is_last = t.finish != wire::finish_reason::none;
  const auto found = about(message, t.request, is_last);
  if (found == open_.end()) return;
  open_request& r = found->second;
  delivery news = r.stream.take(r.submitted->request, t);
  if (is_last) {
    take_end(found, t, std::move(news));
    release();
    return;
  }
  count_pages(r);
  if (news.missing != gap::none) {
    note_gap(found, news.missing);
    return;
  }
  if (r.missing == gap::tokens) r.missing = gap::none;
  tell(r, std::move(news));
}

void gateway::take_end(open_place found, const wire::tokens& t, delivery last) {
  open_request& r = found->second;
  r.cached_tokens = t.cached_tokens;
  const gap missing = last.missing;
  const bool is_cancelled = t.finish == wire::finish_reason::cancelled;
  if (t.finish == wire::finish_reason::error) {
    tell(r, std::move(last));
    take_failure(found, *t.cause);
  } else if (missing == gap::none && !is_cancelled) {
    end(found, static_cast<finish_reason>(t.finish), {}, std::move(last));
  } else if (r.is_cancelled || r.is_told) {
    end(found, finish_reason::cancelled, {}, std::move(last));
  } else {
    tell(r, std::move(last));
    // Cancelled so that it begins anew, it has; or the shard knows nothing of it. Either way a
    // submit brings it on. Something was lost where it ended otherwise.
    if (is_cancelled) r.missing = gap::none;
    note_gap(found, is_cancelled ? gap::tokens : missing);
  }
}

void gateway::take_failure(open_place found, const wire::failure& cause) {
  open_request& r = found->second;
  const bool is_of_expert = cause.code == errc::peer_gone || cause.code == errc::stale_epoch;
  if (is_of_expert && !r.is_cancelled && !r.is_told &&
      r.failures.note(r.stream.emitted().size()) < 2)
    return replay(r);
  const errc code = is_of_expert ? errc::unavailable : cause.code;
  end(found, finish_reason::error, error{code, cause.text});
}

void gateway::note_gap(open_place found, gap missing) {
  open_request& r = found->second;
  r.missing = std::max(r.missing, missing);
  if (parts_.time->now() - r.asked >= patience_.repeat) return ask(found);
  watch(ask_time(r));
}

void gateway::ask(open_place found) {
  open_request& r = found->second;
  const time_point_ns before = std::exchange(r.asked, parts_.time->now());
  result<void> sent;
  if (r.is_cancelled || r.is_told) {
    sent = send(r, wire::cancel{found->first});
  } else {
    // Only a shard that begins anew computes rows again. That it does is known when it answers.
    if (r.missing == gap::rows) sent = send(r, wire::cancel{found->first});
    r.is_repeated = r.is_repeated || before >= r.handed_over;
    if (!sent.has_error()) sent = send(r, r.stream.resume(found->first, r.submitted->request));
  }
  if (sent.has_error()) {
    const errc code = sent.error().code();
    if (code != errc::peer_gone && code != errc::overloaded)
      return end(found, finish_reason::error, sent.error());
    r.missing = std::max(r.missing, gap::tokens);  // again soon, unless the shard is lost by then
  }
  watch(ask_time(r));
}

void gateway::ask_again(time_point_ns now) {
  std::vector<request_id> due;
  std::optional<time_point_ns> next;
  for (const auto& [id, r] : open_) {
    if (!r.place) continue;
    const time_point_ns when = ask_time(r);
    if (when <= now) {
      due.push_back(id);
    } else {
      next = next ? std::min(*next, when) : when;
    }
  }
  for (const request_id id : due) ask(open_.find(id));
  if (next) watch(*next);
}

/// Something may have been lost while the node was not heard.
void gateway::ask_all(node_id node) {
  std::vector<request_id> there;
  for (const auto& [id, r] : open_)
    if (r.place && roster_.address(*r.place).node == node) there.push_back(id);
  for (const request_id id : there) ask(open_.find(id));
}

void gateway::count_pages(open_request& r) {
  const std::int64_t pages = need_of(r).pages;
  roster_.load(*r.place).pages += pages - r.pages;
  r.pages = pages;
}

void gateway::look(std::uint64_t number) {
  if (number != look_number_) return;
  next_look_.reset();
  const time_point_ns now = parts_.time->now();
  end_overdue(now);
  end_unavailable(now);
  ask_again(now);
  release();
}

void gateway::end_overdue(time_point_ns now) {
  while (!deadlines_.empty() && deadlines_.begin()->first <= now) {
    const auto found = open_.find(deadlines_.begin()->second);
    deadlines_.erase(deadlines_.begin());
    open_request& r = found->second;
    r.deadline.reset();
    const std::int64_t allowed_ms = r.submitted->request.timeout->count() / 1'000'000;
    error late{errc::deadline,
               "the request did not end within its timeout of " + std::to_string(allowed_ms) +
                   " ms" + (r.place ? "" : "; it was still waiting to start")};
    if (!r.place) {
      end(found, finish_reason::error, std::move(late));
      continue;
    }
    tell_end(r, finish_reason::error, std::move(late), {});
    ask(found);
  }
  if (!deadlines_.empty()) watch(deadlines_.begin()->first);
}

void gateway::end_unavailable(time_point_ns now) {
  if (!none_since_) return;
  const std::string why =
      "no attention shard could take requests for " + seconds_of(patience_.unavailable_after);
  if (*none_since_ + patience_.unavailable_after <= now) {
    parts_.desk->close(why);
  } else {
    watch(*none_since_ + patience_.unavailable_after);
  }
  std::vector<request_id> ending;
  for (const auto& [id, r] : open_) {
    if (r.place) continue;
    const time_point_ns until = std::max(*none_since_, r.waits_since) + patience_.unavailable_after;
    if (until <= now) {
      ending.push_back(id);
    } else {
      watch(until);
    }
  }
  for (const request_id id : ending)
    end(open_.find(id), finish_reason::error, error{errc::unavailable, why});
}

void gateway::watch(time_point_ns when) {
  if (next_look_ && *next_look_ <= when) return;
  next_look_ = when;
  const auto wait = std::max(when - parts_.time->now(), duration_ns{0});
  this->delayed_send(this, wait, overdue_atom::value, ++look_number_);
}

void gateway::tell(open_request& r, delivery news) {
  if (r.is_told || news.is_empty()) return;
  generation_event event;
  event.request = r.submitted->id;
  event.tokens = std::move(news.tokens);
  event.logprobs = std::move(news.logprobs);
  event.prompt_logprobs = std::move(news.prompt_logprobs);
  r.submitted->listener(std::move(event));
}

void gateway::tell_end(open_request& r,
                       finish_reason reason,
                       std::optional<error> cause,
                       delivery last) {
  r.is_told = true;
  generation_event event;
  event.request = r.submitted->id;
  event.tokens = std::move(last.tokens);
  event.logprobs = std::move(last.logprobs);
  event.prompt_logprobs = std::move(last.prompt_logprobs);
  event.finish = reason;
  event.cause = std::move(cause);
  event.prompt_tokens = prompt_of(r);
  event.generated_tokens = static_cast<std::int64_t>(r.stream.emitted().size());
  event.cached_tokens = r.cached_tokens;
  event.queued = r.queued ? *r.queued : parts_.time->now() - r.submitted->since;
  r.submitted->listener(std::move(event));
}

void gateway::end(open_place found,
                  finish_reason reason,
                  std::optional<error> cause,
                  delivery last) {
  open_request r = std::move(found->second);
  open_.erase(found);
  const gateway_submit& submitted = *r.submitted;
  if (r.place) {
    // A repeat that comes after the shard's last word begins it once more.
    if (r.is_repeated) static_cast<void>(send(r, wire::cancel{submitted.id}));
    take_back(r);
  } else {
    waiting_.remove(submitted.id);
  }
  if (r.deadline) deadlines_.erase({*r.deadline, submitted.id});
  // The listener may come back with another request at once, so its place is free by then.
  parts_.desk->leave(prompt_of(r), submitted.request.tokens_max);
  if (!r.is_told) tell_end(r, reason, std::move(cause), std::move(last));
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
