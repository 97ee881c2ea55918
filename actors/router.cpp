#include "actors/router.hpp"

#include "actors/uncaught.hpp"
#include "cluster/placement_table.hpp"
#include "cluster/routing.hpp"
#include "experts/dispatch/combine.hpp"
#include "experts/dispatch/credits.hpp"
#include "experts/dispatch/plan.hpp"
#include "runtime/base/log.hpp"

#include <caf/actor_system.hpp>
#include <caf/send.hpp>
#include <caf/typed_event_based_actor.hpp>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <utility>

namespace atl::actors {
namespace {

namespace wire = transport::wire;

constexpr int tries_max = 5;
// Rows up to this size are copied in the handler (a decode step: 8 rows of 28 KB); more go to the
// device.
constexpr std::size_t inline_copy_bytes = 256U << 10;
// Rows copied by one chunk of such a job.
constexpr std::uint32_t copy_chunk_rows = 16;

enum stage : std::uint32_t { gate_ended, copy_ended, combine_ended };

/// The rows of one lane at one layer, from the shard's asking to the answer.
struct call {
  route_rows ask;
  experts::routing routing;
  cluster::map_ptr map;
  std::vector<group_id> targets;  // (rows, k)
  experts::dispatch_plan plan;
  std::optional<experts::dispatch_progress> progress;
  std::optional<experts::answer_table> answers;
  std::vector<std::shared_ptr<const void>> payloads;  // what the table points into
  bool open = false;
  int copying = 0;               // copy jobs that still read ask.normed
  std::optional<error> failure;  // told to the shard once nothing copies any more
};

/// One frame on its way: a range of rows of a call for one group.
struct errand {
  std::uint32_t lane = 0;
  experts::send_range range;
  std::shared_ptr<aligned_buffer> rows;
  wire::dispatch message;
  transport::address to;
  time_point_ns deadline;
  int tries = 0;
  std::optional<error> refusal;  // it cannot be sent, now or later
};

class router final : public router_actor::base {
public:
  router(caf::actor_config& config, router_parts parts)
      : router_actor::base{config}, parts_{std::move(parts)} {
    end_process_on_exception(*this);
    for (std::uint32_t i = 0; i < parts_.lanes; ++i) calls_.push_back(std::make_shared<call>());
  }

  behavior_type make_behavior() override {
    return {
        [this](const incoming_ptr& message) { receive(message); },
        [this](start_atom, const shard_actor& shard) { shard_ = shard; },
        [this](const job_ended& job) { continue_after(job); },
        [this](const route_rows& ask) { begin(ask); },
        [this](overdue_atom) { repeat_overdue(); },
        [this](held_atom) {
          held h;
          for (const auto& [id, e] : errands_) h.rows_in_flight += e.range.count;
          return h;
        },
    };
  }

  const char* name() const override { return "router"; }

  /// Shard and router hold each other; whoever ends lets go, or neither would ever be freed.
  void on_exit() override { shard_ = shard_actor{}; }

private:
  void receive(const incoming_ptr& message) {
    if (const auto* r = std::get_if<wire::results>(&message->body)) take_results(message, *r);
    if (const auto* r = std::get_if<wire::refused>(&message->body)) take_refusal(*r);
    if (const auto* p = std::get_if<wire::place>(&message->body)) use_placement(*p);
  }

  void use_placement(const wire::place& p);
  void begin(const route_rows& ask);
  void continue_after(const job_ended& job);
  void plan(std::uint32_t lane);
  void send_ready(std::uint32_t lane);
  /// Credits came back: any lane may have been waiting for them.
  void send_waiting();
  void prepare(std::uint32_t lane, const experts::send_range& range);
  void copied(std::uint64_t id);
  void dispatch(errand& e);
  void take_results(const incoming_ptr& message, const wire::results& r);
  void take_refusal(const wire::refused& r);
  void finish(std::uint32_t lane);
  void fail(std::uint32_t lane, error why);
  void repeat_overdue();
  void watch_deadlines();

  router_actor handle() { return caf::actor_cast<router_actor>(this->ctrl()); }

  router_parts parts_;
  shard_actor shard_;
  std::optional<cluster::placement_table> table_;
  std::optional<experts::credit_ledger> credits_;
  std::vector<std::shared_ptr<call>> calls_;
  std::map<std::uint64_t, errand> errands_;  // by the number of the call on the wire
  std::uint64_t next_errand_ = 1;
  bool watching_ = false;
};

void router::use_placement(const wire::place& p) {
  experts::expert_shape shape;
  std::uint32_t groups = 0;
  for (std::int64_t l = 0; l < parts_.config.layers; ++l)
    if (parts_.config.is_moe(l)) shape.layers.emplace_back(static_cast<std::uint32_t>(l));
  shape.experts = static_cast<std::uint32_t>(parts_.config.routed_experts);
  experts::replica_lists lists(shape.layers.size() * shape.experts);
  for (const auto& e : p.entries) {
    const auto at = std::lower_bound(shape.layers.begin(), shape.layers.end(), e.layer);
    if (at == shape.layers.end() || *at != e.layer || e.expert >= shape.experts) {
      log_error("placement of epoch " + std::to_string(p.epoch.value) +
                " names an expert that the model lacks");
      return;
    }
    const auto row = static_cast<std::size_t>(at - shape.layers.begin());
    const auto share =
        static_cast<std::uint32_t>(std::max(1.0F, std::min(e.weight, 1024.0F) * 1024.0F));
    lists[row * shape.experts + e.expert].push_back({e.group, share});
    groups = std::max(groups, e.group.value + 1);
  }
  auto map = experts::expert_map::make(p.epoch, shape, groups, lists);
  if (map.has_error()) {
    log_error("placement refused: " + map.error().message());
    return;
  }
  auto next = std::make_shared<const experts::expert_map>(std::move(*map));
  if (!table_) {
    table_.emplace(std::move(next));
    credits_.emplace(groups, parts_.group_rows_max);
    return;
  }
  auto staged = table_->stage(next);
  if (!staged.has_error()) staged = table_->flip(p.epoch);
  if (staged.has_error()) log_warning("placement not taken: " + staged.error().message());
}

void router::begin(const route_rows& ask) {
  call& c = *calls_.at(ask.lane);
  ATOLL_ASSERT(!c.open);
  c.open = true;
  c.ask = ask;
  if (!table_) {
    fail(ask.lane, error{errc::internal, "rows arrived before the first placement"});
    return;
  }
  tensor::job gate = parts_.compute->route(ask.normed, ask.rows, ask.layer, c.routing);
  gate.done = [self = handle(), lane = ask.lane, keep = calls_[ask.lane]] {
    caf::anon_send(self, job_ended{lane, gate_ended});
  };
  parts_.device->submit(std::move(gate));
}

void router::continue_after(const job_ended& job) {
  switch (job.stage) {
  case gate_ended: plan(static_cast<std::uint32_t>(job.subject)); break;
  case copy_ended: copied(job.subject); break;
  case combine_ended: finish(static_cast<std::uint32_t>(job.subject)); break;
  default: break;
  }
}

void router::plan(std::uint32_t lane) {
  call& c = *calls_[lane];
  c.map = table_->enter();
  const auto pairs = static_cast<std::size_t>(c.routing.rows * c.routing.k);
  c.targets.resize(pairs);
  cluster::route(*c.map,
                 layer_index{static_cast<std::uint32_t>(c.ask.layer)},
                 next_errand_,
                 c.routing.rows,
                 c.routing.k,
                 c.routing.experts.data(),
                 c.targets.data());
  c.plan = experts::plan_dispatch(
      c.routing.rows, c.routing.k, c.map->groups(), c.routing.experts.data(), c.targets.data());
  c.progress.emplace(c.plan);
  c.answers.emplace(c.routing.rows, c.routing.k);
  send_ready(lane);
}

void router::send_ready(std::uint32_t lane) {
  call& c = *calls_[lane];
  for (std::uint32_t slot = 0; slot < c.plan.groups.size(); ++slot) {
    const group_id group = c.plan.groups[slot].group;
    const auto range = c.progress->take(slot, credits_->free(group));
    if (range.count == 0) continue;
    credits_->take(group, range.count);
    prepare(lane, range);
  }
}

void router::send_waiting() {
  for (std::uint32_t l = 0; l < calls_.size(); ++l) {
    const call& c = *calls_[l];
    if (c.open && !c.failure && c.progress && !c.progress->all_sent()) send_ready(l);
  }
}

void router::prepare(std::uint32_t lane, const experts::send_range& range) {
  const call& c = *calls_[lane];
  const auto& group = c.plan.groups[range.slot];
  const auto width = static_cast<std::size_t>(parts_.config.hidden);
  const std::size_t bytes = range.count * width * sizeof(float);
  const std::uint64_t id = next_errand_++;
  errand& e = errands_[id];
  e.lane = lane;
  e.range = range;
  e.rows = parts_.buffers->take(bytes);
  e.to = {parts_.groups_node, group_slot_base + group.group.value};
  wire::dispatch& m = e.message;
  m.call = {parts_.shard, id, lane, layer_index{static_cast<std::uint32_t>(c.ask.layer)}};
  m.epoch = c.map->version();
  m.input.count = range.count;
  m.input.width = static_cast<std::uint32_t>(width);
  m.input.payload = {e.rows, {e.rows->as<std::byte>(), bytes}};
  const std::uint32_t base = group.offsets[range.first];
  for (std::uint32_t r = range.first; r <= range.first + range.count; ++r)
    m.offsets.push_back(group.offsets[r] - base);
  for (std::uint32_t a = base; a < group.offsets[range.first + range.count]; ++a)
    m.assignments.push_back({group.experts[a], group.ranks[a]});

  const auto copy = [source = c.ask.normed,
                     target = e.rows->as<float>(),
                     rows = group.rows.data() + range.first,
                     width](std::uint32_t first, std::uint32_t last) {
    for (std::uint32_t r = first; r < last; ++r)
      std::memcpy(target + r * width, source + rows[r] * width, width * sizeof(float));
  };
  if (bytes <= inline_copy_bytes) {
    copy(0, range.count);
    dispatch(e);
    return;
  }
  tensor::job job;
  job.phases.push_back({(range.count + copy_chunk_rows - 1) / copy_chunk_rows,
                        [copy, count = range.count](std::uint32_t chunk, tensor::worker&) {
                          copy(chunk * copy_chunk_rows,
                               std::min(count, (chunk + 1) * copy_chunk_rows));
                        }});
  ++calls_[lane]->copying;
  job.done = [self = handle(), id, keep = calls_[lane]] {
    caf::anon_send(self, job_ended{id, copy_ended});
  };
  parts_.device->submit(std::move(job));
}

void router::copied(std::uint64_t id) {
  errand& e = errands_.at(id);
  call& c = *calls_[e.lane];
  --c.copying;
  if (!c.failure) {
    dispatch(e);
  } else if (c.copying == 0) {
    fail(e.lane, *c.failure);
  }
}

void router::dispatch(errand& e) {
  ++e.tries;
  e.deadline = parts_.time->now() + parts_.answer_deadline;
  auto sent = parts_.mail->send(router_slot_base + parts_.shard.value, e.to, e.message);
  if (sent.has_error()) {
    const errc code = sent.error().code();
    if (code == errc::overloaded || code == errc::peer_gone) {
      log_warning("rows not sent, will be repeated: " + sent.error().message());
    } else {
      e.refusal = sent.error();
      this->send(this, overdue_atom::value);  // fails the call once this handler has ended
    }
  }
  watch_deadlines();
}

void router::take_results(const incoming_ptr& message, const wire::results& r) {
  const auto found = errands_.find(r.call.step);
  if (found == errands_.end()) return;  // the answer to a repeat
  const errand& e = found->second;
  call& c = *calls_[e.lane];
  if (r.output.count != e.message.assignments.size() || r.output.width != e.message.input.width ||
      r.output.type != tensor::dtype::f32) {
    log_warning("answer of another shape than asked for dropped");
    return;
  }
  const auto* answers = reinterpret_cast<const float*>(r.output.payload.bytes.data());
  c.answers->place(c.plan.groups[e.range.slot], e.range, answers, r.output.width);
  c.payloads.push_back(message);
  credits_->give_back(c.plan.groups[e.range.slot].group, e.range.count);
  const std::uint32_t lane = e.lane;
  errands_.erase(found);
  if (!c.answers->complete()) {
    send_waiting();
    return;
  }
  tensor::job sum = parts_.compute->combine(c.routing, c.answers->pointers(), c.ask.routed);
  sum.done = [self = handle(), lane, keep = calls_[lane]] {
    caf::anon_send(self, job_ended{lane, combine_ended});
  };
  parts_.device->submit(std::move(sum));
}

void router::finish(std::uint32_t lane) {
  call& c = *calls_[lane];
  c.payloads.clear();
  rows_routed answer{lane, c.ask.layer, nullptr, std::nullopt};
  if (c.ask.want_routing) {
    answer.routing = std::make_shared<const chosen_experts>(
        chosen_experts{c.routing.k, c.routing.experts, c.routing.weights});
  }
  table_->leave(c.map->version());
  c.map.reset();
  c.progress.reset();
  c.ask.keep.reset();
  c.open = false;
  this->send(shard_, std::move(answer));
  send_waiting();
}

void router::fail(std::uint32_t lane, error why) {
  call& c = *calls_[lane];
  if (c.copying > 0) {
    c.failure = std::move(why);
    return;
  }
  c.failure.reset();
  for (auto it = errands_.begin(); it != errands_.end();) {
    if (it->second.lane != lane) {
      ++it;
      continue;
    }
    credits_->give_back(c.plan.groups[it->second.range.slot].group, it->second.range.count);
    it = errands_.erase(it);
  }
  if (c.map != nullptr) table_->leave(c.map->version());
  c.map.reset();
  c.progress.reset();
  c.payloads.clear();
  c.ask.keep.reset();
  c.open = false;
  this->send(shard_, rows_routed{lane, c.ask.layer, nullptr, std::move(why)});
  send_waiting();
}

void router::take_refusal(const wire::refused& r) {
  const auto found = errands_.find(r.call.step);
  if (found == errands_.end()) return;
  if (r.cause.code == errc::overloaded && found->second.tries < tries_max) {
    found->second.deadline = parts_.time->now();  // again at the next look
    return;
  }
  fail(found->second.lane, error{r.cause.code, "expert group refused rows: " + r.cause.text});
}

void router::watch_deadlines() {
  if (watching_ || errands_.empty()) return;
  watching_ = true;
  this->delayed_send(this, parts_.answer_deadline / 4, overdue_atom::value);
}

void router::repeat_overdue() {
  watching_ = false;
  const time_point_ns now = parts_.time->now();
  std::vector<std::pair<std::uint32_t, error>> failed;
  for (auto& [id, e] : errands_) {
    if (e.tries == 0 || calls_[e.lane]->failure) continue;
    if (e.refusal) {
      failed.emplace_back(e.lane, *e.refusal);
    } else if (e.deadline > now) {
      continue;
    } else if (e.tries >= tries_max) {
      failed.emplace_back(e.lane, error{errc::deadline, "an expert group did not answer"});
    } else {
      dispatch(e);
    }
  }
  for (auto& [lane, why] : failed)
    if (calls_[lane]->open) fail(lane, std::move(why));
  watch_deadlines();
}

}  // namespace

router_actor spawn_router(caf::actor_system& system, const router_parts& parts) {
  auto self = system.spawn<router>(parts);
  parts.mail->bind(router_slot_base + parts.shard.value,
                   [self](incoming_ptr message) { caf::anon_send(self, std::move(message)); });
  return self;
}

}  // namespace atl::actors
