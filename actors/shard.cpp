#include "actors/shard.hpp"

#include "actors/sequence.hpp"
#include "actors/shard_lane.hpp"
#include "actors/shard_pages.hpp"
#include "actors/uncaught.hpp"
#include "runtime/base/log.hpp"

#include <caf/actor_system.hpp>
#include <caf/send.hpp>
#include <caf/typed_event_based_actor.hpp>

#include <algorithm>
#include <bit>
#include <new>
#include <string>
#include <utility>

namespace atl::actors {
namespace {

namespace wire = transport::wire;

enum stage : std::uint32_t { attend_ended, shared_ended, layer_ended, head_ended };

error no_memory(const lane& l) {
  return {errc::out_of_memory,
          "no memory for a step of " + std::to_string(l.batch.rows()) + " rows, " +
              std::to_string(l.batch.logit_rows.size()) +
              " of them with logits; lower --prefill-chunk or --batch-size"};
}

/// What is remembered of a step to know how long its streams waited for their tokens.
struct step_watch {
  time_point_ns began;
  std::int64_t generating = 0;
  std::int64_t prompt_tokens = 0;
  std::uint64_t prompt_rows_before = 0;  // of all lanes, but for those in flight then
};

class shard final : public shard_actor::base {
public:
  shard(caf::actor_config& config, shard_parts parts, router_actor router)
      : shard_actor::base{config},
        parts_{std::move(parts)},
        router_{std::move(router)},
        pages_{parts_.limits.pages_total, parts_.shares_prefixes, sequences_},
        planner_{schedule::make_state(parts_.limits)},
        budget_{parts_.budget},
        watches_(parts_.limits.lanes) {
    end_process_on_exception(*this);
    for (std::uint32_t i = 0; i < parts_.limits.lanes; ++i)
      lanes_.push_back(std::make_shared<lane>());
  }

  behavior_type make_behavior() override {
    this->send(router_, start_atom::value, handle());
    return {
        [this](const incoming_ptr& message) { receive(*message); },
        [this](const members_ptr& all) { keep_members(*all); },
        [this](const peer_changed& change) {
          if (change.path == transport::plane::data && change.state == peer_state::dead)
            forget_lives([&](const request_origin& o) {
              return o.gateway == change.peer.node && o.life <= change.peer.life;
            });
        },
        [this](const job_ended& job) { continue_after(job); },
        [this](const rows_routed& answer) { take_routed(answer); },
        [this](held_atom) { return count_held(); },
    };
  }

  const char* name() const override { return "attention_shard"; }

  /// Shard and router hold each other; whoever ends lets go, or neither would ever be freed.
  void on_exit() override { router_ = router_actor{}; }

private:
  void receive(const incoming& message) {
    if (const auto* s = std::get_if<wire::submit>(&message.body)) accept(message, *s);
    if (const auto* c = std::get_if<wire::cancel>(&message.body)) cancel(message, c->request);
  }

  void accept(const incoming& from, const wire::submit& request);
  void begin(const incoming& from, const wire::submit& request);
  void cancel(const incoming& from, request_id request);
  void keep_members(const wire::members& all);
  /// Lets go of all requests of some lives of gateways, and says nothing more of them.
  template <class Test>
  void forget_lives(Test is_gone);
  void discard(sequence& s);
  void tell_cancelled(transport::address gateway, request_id request);
  void start_steps();
  void start_lane(const schedule::micro_batch& planned);
  void watch(const schedule::micro_batch& planned);
  void learn_from(std::uint32_t lane_index);
  void submit(std::uint32_t lane_index, tensor::job job, stage ended);
  void continue_after(const job_ended& job);
  void after_attention(std::uint32_t lane_index);
  void take_routed(const rows_routed& answer);
  void after_experts(std::uint32_t lane_index);
  void next_layer(std::uint32_t lane_index);
  void send_hidden(lane& l);
  void end_step(std::uint32_t lane_index);
  void report(const lane& l, const lane_part& part);
  void end_with_error(const sequence& s, const error& why);
  void fail_lane(std::uint32_t lane_index, const error& why);
  void drop(request_id local, wire::finish_reason finish, const error* cause);
  void finish(const sequence& s, wire::tokens last);
  held count_held() const;

  /// What does not arrive the gateway asks for again.
  template <class Message>
  void send_to(transport::address gateway, const Message& m) {
    auto sent = parts_.mail->send(shard_slot_base + parts_.id.value, gateway, m);
    if (sent.has_error()) log_debug("gateway not reached: " + sent.error().message());
  }
  template <class Message>
  void tell(const sequence& s, const Message& m) {
    if (!s.is_silent) send_to(s.gateway, m);
  }
  void tell(const std::vector<observed_part>& seen) {
    for (const auto& part : seen) tell(*part.owner, part.message);
  }

  shard_actor handle() { return caf::actor_cast<shard_actor>(this->ctrl()); }
  const model::model_config& config() const { return parts_.compute->config(); }

  shard_parts parts_;
  router_actor router_;
  sequence_map sequences_;                        // by their numbers here
  std::map<request_origin, request_id> origins_;  // of those that anybody is told of
  std::uint64_t last_local_ = 0;
  std::uint64_t members_version_ = 0;
  shard_pages pages_;
  schedule::planner_state planner_;
  schedule::step_budget budget_;
  std::vector<step_watch> watches_;  // by lane
  std::uint64_t prompt_rows_ = 0;    // of all steps begun
  std::vector<std::shared_ptr<lane>> lanes_;
  std::uint64_t steps_ = 0, rows_ = 0;
  step_sizes steps_by_rows_{};
};

void shard::accept(const incoming& from, const wire::submit& request) {
  const auto known = origins_.find({from.source.node, from.sender, request.request});
  if (known != origins_.end()) {
    sequence& s = *sequences_.at(known->second);
    const auto again = s.is_leaving ? std::nullopt : tokens_after(s, request.emitted);
    if (again) return tell(s, *again);
    if (s.is_leaving) tell_cancelled(s.gateway, request.request);
    discard(s);
  }
  begin(from, request);
  start_steps();
}

void shard::begin(const incoming& from, const wire::submit& request) {
  const request_id local{++last_local_};
  auto made = make_sequence(request, config(), parts_.grammars.get());
  result<void> added;
  if (!made.has_error()) {
    added = schedule::add(planner_, parts_.limits, local, (*made)->tokens(), (*made)->tokens_max());
  } else {
    added = made.error();
  }
  if (added.has_error()) {
    wire::tokens answer;
    answer.request = request.request;
    answer.finish = wire::finish_reason::error;
    answer.cause = wire::failure{added.error().code(), added.error().message()};
    return send_to(from.source, answer);
  }
  sequence& s = **made;
  s.local = local;
  s.origin = {from.source.node, from.sender, request.request};
  s.gateway = from.source;
  origins_[s.origin] = local;
  sequences_[local] = std::shared_ptr<sequence>{std::move(*made)};
}

void shard::cancel(const incoming& from, request_id request) {
  const auto known = origins_.find({from.source.node, from.sender, request});
  if (known == origins_.end()) return tell_cancelled(from.source, request);
  const request_id local = known->second;
  sequences_.at(local)->is_leaving = true;
  if (schedule::remove(planner_, local) == schedule::removal::done)
    drop(local, wire::finish_reason::cancelled, nullptr);
  start_steps();
}

void shard::tell_cancelled(transport::address gateway, request_id request) {
  wire::tokens answer;
  answer.request = request;
  answer.finish = wire::finish_reason::cancelled;
  send_to(gateway, answer);
}

void shard::discard(sequence& s) {
  s.is_leaving = s.is_silent = true;
  origins_.erase(s.origin);
  const request_id local = s.local;
  if (schedule::remove(planner_, local) == schedule::removal::done)
    drop(local, wire::finish_reason::cancelled, nullptr);
}

template <class Test>
void shard::forget_lives(Test is_gone) {
  std::vector<std::shared_ptr<sequence>> gone;
  for (const auto& [origin, local] : origins_)
    if (is_gone(origin)) gone.push_back(sequences_.at(local));
  if (gone.empty()) return;
  log_info(std::to_string(gone.size()) + " requests of lost gateways let go");
  for (const auto& s : gone) discard(*s);
  start_steps();
}

void shard::keep_members(const wire::members& all) {
  if (all.version < members_version_) return;
  members_version_ = all.version;
  std::map<node_id, incarnation> lives;
  for (const auto& m : all.list)
    if (m.state != wire::member_state::dead) lives[m.node] = m.life;
  forget_lives([&](const request_origin& o) {
    const auto found = lives.find(o.gateway);
    return found == lives.end() || found->second > o.life;
  });
}

void shard::start_steps() {
  std::optional<std::int64_t> prompt_tokens;
  if (parts_.limits_prompts) prompt_tokens = budget_.prompt_tokens();
  schedule::step_plan plan;
  do {
    plan = schedule::plan_step(planner_, parts_.limits, pages_, prompt_tokens);
    schedule::begin_step(planner_, plan);
    pages_.apply(plan);
  } while (plan.is_unfinished());
  for (const auto& batch : plan.batches) start_lane(batch);
}

void shard::watch(const schedule::micro_batch& planned) {
  step_watch w;
  w.began = parts_.time->now();
  w.prompt_rows_before = prompt_rows_;
  for (std::uint32_t i = 0; i < watches_.size(); ++i)
    if (i != planned.lane)
      w.prompt_rows_before -= static_cast<std::uint64_t>(watches_[i].prompt_tokens);
  for (const auto& slice : planned.slices) {
    const bool goes_on = slice.tokens == 1 && slice.want_logits;
    (goes_on ? w.generating : w.prompt_tokens) += slice.tokens;
  }
  prompt_rows_ += static_cast<std::uint64_t>(w.prompt_tokens);
  watches_[planned.lane] = w;
}

void shard::learn_from(std::uint32_t lane_index) {
  step_watch& w = watches_[lane_index];
  if (w.generating > 0) {
    budget_.observe({w.generating,
                     static_cast<std::int64_t>(prompt_rows_ - w.prompt_rows_before),
                     parts_.time->now() - w.began});
  }
  w = {};
}

void shard::start_lane(const schedule::micro_batch& planned) {
  lane& l = *lanes_[planned.lane];
  watch(planned);
  l.begin();
  for (const auto& slice : planned.slices) {
    l.add(sequences_.at(slice.request), slice, config());
  }
  l.batch.keep_all_rows = l.record_hidden || l.record_routing;
  ++steps_;
  const auto rows = static_cast<std::uint64_t>(l.batch.rows());
  rows_ += rows;
  const auto size = static_cast<std::size_t>(std::bit_width(std::max<std::uint64_t>(rows, 1) - 1));
  ++steps_by_rows_[std::min(size, steps_by_rows_.size() - 1)];
  tensor::job work;
  try {
    work = parts_.compute->embed_attend(l.batch);
  } catch (const std::bad_alloc&) {
    return fail_lane(planned.lane, no_memory(l));
  }
  submit(planned.lane, std::move(work), attend_ended);
}

void shard::submit(std::uint32_t lane_index, tensor::job job, stage ended) {
  const auto& l = lanes_[lane_index];
  const bool is_layer_end =
      ended == layer_ended || (ended == attend_ended && !config().is_moe(l->layer));
  if (is_layer_end && l->record_hidden)
    job.phases.push_back(record_hidden_phase(*l, config().hidden));
  job.done = [self = handle(), lane_index, ended, keep = l, compute = parts_.compute] {
    caf::anon_send(self, job_ended{lane_index, ended});
  };
  parts_.device->submit(std::move(job));
}

void shard::continue_after(const job_ended& job) {
  const auto lane_index = static_cast<std::uint32_t>(job.subject);
  lane& l = *lanes_[lane_index];
  switch (job.stage) {
  case attend_ended: after_attention(lane_index); break;
  case shared_ended:
    l.shared_pending = false;
    after_experts(lane_index);
    break;
  case layer_ended:
    send_hidden(l);
    next_layer(lane_index);
    break;
  case head_ended: end_step(lane_index); break;
  default: break;
  }
}

void shard::after_attention(std::uint32_t lane_index) {
  lane& l = *lanes_[lane_index];
  if (!config().is_moe(l.layer)) {
    if (l.record_hidden) send_hidden(l);
    next_layer(lane_index);
    return;
  }
  const bool is_last = l.layer + 1 == config().layers;
  if (is_last && l.batch.logit_rows.empty() && !l.record_hidden && !l.record_routing) {
    end_step(
        lane_index);  // the latents are stored, and nobody looks at what these rows would become
    return;
  }
  l.routed_pending = true;
  this->send(router_,
             route_rows{lane_index,
                        l.layer,
                        l.batch.ffn_rows(),
                        l.batch.normed(),
                        l.batch.routed(),
                        l.record_routing,
                        lanes_[lane_index]});
  tensor::job shared = parts_.compute->shared(l.batch, l.layer);
  if (shared.phases.empty()) return;
  l.shared_pending = true;
  submit(lane_index, std::move(shared), shared_ended);
}

void shard::take_routed(const rows_routed& answer) {
  lane& l = *lanes_[answer.lane];
  l.routed_pending = false;
  if (answer.failure) l.failure = answer.failure;
  if (answer.routing != nullptr) {
    tell(l.routing_seen(answer));
  }
  after_experts(answer.lane);
}

void shard::after_experts(std::uint32_t lane_index) {
  lane& l = *lanes_[lane_index];
  if (l.routed_pending || l.shared_pending) return;
  if (l.failure) {
    fail_lane(lane_index, *l.failure);
  } else if (l.record_hidden) {
    submit(lane_index, parts_.compute->finish(l.batch, l.layer), layer_ended);
  } else {
    next_layer(lane_index);
  }
}

void shard::next_layer(std::uint32_t lane_index) {
  lane& l = *lanes_[lane_index];
  ++l.layer;
  auto& compute = *parts_.compute;
  if (l.layer < config().layers) {
    submit(lane_index,
           l.record_hidden ? compute.attend(l.batch, l.layer)
                           : compute.attend_after(l.batch, l.layer),
           attend_ended);
    return;
  }
  if (l.batch.logit_rows.empty()) {
    end_step(lane_index);
    return;
  }
  tensor::job job = l.record_hidden ? compute.head(l.batch) : compute.finish_head(l.batch);
  try {
    job.phases.push_back(sample_phase(l, config()));
  } catch (const std::bad_alloc&) {
    return fail_lane(lane_index, no_memory(l));
  }
  submit(lane_index, std::move(job), head_ended);
}

void shard::send_hidden(lane& l) { tell(l.hidden_seen(config().hidden)); }

void shard::end_step(std::uint32_t lane_index) {
  lane& l = *lanes_[lane_index];
  learn_from(lane_index);
  tell(l.logits_seen(config().vocab_size));
  for (const lane_part& part : l.parts)
    pages_.publish(*part.owner, part.first_position + part.tokens);
  for (const request_id gone : schedule::end_step(planner_, lane_index))
    drop(gone, wire::finish_reason::cancelled, nullptr);
  for (const lane_part& part : l.parts) report(l, part);
  l.parts.clear();
  start_steps();
}

void shard::report(const lane& l, const lane_part& part) {
  sequence& s = *part.owner;
  s.observed = std::max(s.observed, part.first_position + part.tokens);
  if (!sequences_.contains(s.local)) return;
  for (std::int64_t i = 0; i < part.logits; ++i) {
    if (l.sampled[static_cast<std::size_t>(part.first_logit + i)] != no_token) continue;
    return end_with_error(s,
                          {errc::invalid_model,
                           "the model's logits after position " +
                               std::to_string(part.position_of(i)) +
                               " are not numbers (NaN): its weights are damaged or overflow"});
  }
  if (const auto of_prompt = prompt_logprobs_of(l, part)) tell(s, *of_prompt);
  if (part.token_row < 0) return;
  const token_id sampled = l.sampled[static_cast<std::size_t>(part.token_row)];
  wire::tokens message;
  message.request = s.request.request;
  message.position_first = static_cast<std::uint32_t>(s.emitted.size());
  const verdict judged = take_sampled(s, config(), sampled);
  if (judged.finish == wire::finish_reason::error)
    return end_with_error(s, {errc::internal, "a token was drawn that the constraint has not"});
  message.finish = judged.finish;
  if (judged.is_emitted) {
    message.values.push_back(sampled);
    if (s.request.logprobs > 0)
      for (auto* rows : {&message.logprobs, &s.logprobs})
        add_logprobs(*rows, l.logprobs[static_cast<std::size_t>(part.token_row)]);
  }
  if (message.finish == wire::finish_reason::none) {
    schedule::extend(planner_, s.local);
    message.generated_tokens = static_cast<std::uint32_t>(s.emitted.size());
    tell(s, message);
    return;
  }
  schedule::remove(planner_, s.local);
  finish(s, std::move(message));
}

void shard::end_with_error(const sequence& s, const error& why) {
  schedule::remove(planner_, s.local);
  drop(s.local, wire::finish_reason::error, &why);
}

void shard::finish(const sequence& s, wire::tokens last) {
  last.prompt_tokens = static_cast<std::uint32_t>(s.request.prompt.size());
  last.generated_tokens = static_cast<std::uint32_t>(s.emitted.size());
  last.cached_tokens = static_cast<std::uint32_t>(s.cached.value_or(0));
  const auto found = sequences_.find(s.local);
  pages_.release(*found->second);
  tell(s, last);
  if (!s.is_silent) origins_.erase(s.origin);
  sequences_.erase(found);
}

void shard::drop(request_id local, wire::finish_reason reason, const error* cause) {
  const auto found = sequences_.find(local);
  if (found == sequences_.end()) return;
  wire::tokens last;
  last.request = found->second->request.request;
  last.position_first = static_cast<std::uint32_t>(found->second->emitted.size());
  last.finish = reason;
  if (cause != nullptr) last.cause = wire::failure{cause->code(), cause->message()};
  finish(*found->second, std::move(last));
}

void shard::fail_lane(std::uint32_t lane_index, const error& why) {
  lane& l = *lanes_[lane_index];
  watches_[lane_index] = {};
  for (const request_id gone : schedule::end_step(planner_, lane_index))
    drop(gone, wire::finish_reason::cancelled, nullptr);
  for (const lane_part& part : l.parts) {
    const request_id local = part.owner->local;
    if (schedule::remove(planner_, local) != schedule::removal::unknown)
      drop(local, wire::finish_reason::error, &why);
  }
  l.parts.clear();
  start_steps();
}

held shard::count_held() const {
  held h;
  h.sequences = sequences_.size();
  pages_.count_into(h);
  h.steps = steps_;
  h.rows = rows_;
  h.steps_by_rows = steps_by_rows_;
  return h;
}

}  // namespace

shard_actor spawn_shard(caf::actor_system& system, const shard_parts& parts, router_actor router) {
  auto self = system.spawn<shard>(parts, std::move(router));
  parts.mail->bind(shard_slot_base + parts.id.value,
                   [self](incoming_ptr message) { caf::anon_send(self, std::move(message)); });
  return self;
}

}  // namespace atl::actors
