#include "actors/agent_experts.hpp"

#include "experts/store/check_row.hpp"
#include "runtime/base/log.hpp"

#include <caf/send.hpp>
#include <caf/typed_event_based_actor.hpp>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <string>
#include <utility>

namespace atl::actors {
namespace {

namespace wire = transport::wire;
using experts::expert_state;

// A group answers between two jobs; a long prompt's job takes seconds on a slow machine.
constexpr auto group_patience = std::chrono::seconds{60};
constexpr std::size_t fetches_max = 4;
constexpr auto look_every = std::chrono::milliseconds{100};
// Answers to fetch that are being made or sent: four chunks.
constexpr std::size_t chunks_out_bytes_max = std::size_t{16} << 20;
// One piece of a copying job: large enough that handing it out costs nothing beside it.
constexpr std::size_t copy_piece_bytes = std::size_t{256} << 10;

enum stage : std::uint32_t { copied_in, copied_out, checked };

/// A job that calls copy(offset, length) for all pieces of `bytes`.
template <class Copy>
tensor::job copying(std::size_t bytes, Copy copy) {
  tensor::job work;
  const auto pieces = (bytes + copy_piece_bytes - 1) / copy_piece_bytes;
  work.phases.push_back({static_cast<std::uint32_t>(pieces),
                         [bytes, copy = std::move(copy)](std::uint32_t i, tensor::worker&) {
                           const std::size_t offset = i * copy_piece_bytes;
                           copy(offset, std::min(copy_piece_bytes, bytes - offset));
                         }});
  return work;
}

/// The bytes of a chunk, and what they count for while they are not sent.
struct lease {
  std::shared_ptr<aligned_buffer> buffer;
  memory_charge charge;
};

}  // namespace

/// All that a check job reads and writes.
struct agent_experts::check_job {
  std::uint64_t id = 0;  // of the loading
  expert_key key;
  experts::resident_ptr weights;
  std::shared_ptr<experts::group_compute> compute;
  std::vector<float> row, answer;
  experts::group_call call;
};

/// A chunk on its way out.
struct agent_experts::sending {
  transport::address to;
  wire::chunk chunk;
  experts::resident_ptr weights;
};

agent_experts::agent_experts(agent_actor::pointer self,
                             const agent_parts& parts,
                             std::function<void(const wire::placed&)> placed)
    : self_{self},
      parts_{parts},
      placed_{std::move(placed)},
      chunks_out_{std::make_shared<memory_budget>("chunks to send", chunks_out_bytes_max)} {
  if (!parts_.groups.empty()) store_.emplace(parts_.config, parts_.weights, parts_.memory);
}

// ---- orders -------------------------------------------------------------------------------------

std::optional<error> agent_experts::objection(const wire::load& what) const {
  if (what.group.value < group_first_ || what.group.value - group_first_ >= parts_.groups.size())
    return error{errc::invalid_argument,
                 "group " + std::to_string(what.group.value) + " is not on this node"};
  for (const std::uint32_t expert : what.experts)
    if (!store_->exists({what.layer, expert}))
      return error{errc::invalid_argument,
                   to_string(expert_key{what.layer, expert}) + " does not exist in the model"};
  return std::nullopt;
}

void agent_experts::load(const wire::load& what) {
  for (const auto& open : orders_) {
    if (open->what.epoch != what.epoch || open->what.group != what.group ||
        open->what.layer != what.layer || open->what.experts != what.experts)
      continue;
    // Its answer is on the way; perhaps somebody new has the weights.
    for (const std::uint32_t expert : what.experts) add_sources({what.layer, expert}, what.sources);
    return;
  }
  auto o = std::make_shared<order>();
  o->what = what;
  o->failure = objection(what);
  o->missing = o->failure ? 0 : what.experts.size();
  orders_.push_back(o);
  if (o->missing == 0) return settle(o, {}, nullptr, std::nullopt);
  const std::uint32_t slot = what.group.value - group_first_;
  for (const std::uint32_t expert : what.experts) add_tenant(o, slot, {what.layer, expert});
  go_on();
}

void agent_experts::add_tenant(const order_ptr& o, std::uint32_t slot, const expert_key& key) {
  const tenant who{key, slot};
  if (const auto gone = released_.find(who);
      gone != released_.end() && o->what.epoch < gone->second)
    return settle(
        o,
        key,
        nullptr,
        error{errc::stale_epoch,
              to_string(key) + " was released for epoch " + std::to_string(gone->second.value)});
  const auto [at, is_new] = tenants_.try_emplace(who);
  tenancy& t = at->second;
  if (is_new) t.id = ++last_id_;
  t.since = std::max(t.since, o->what.epoch);
  if (t.is_held) return settle(o, key, &t, std::nullopt);
  t.waiting.push_back(o);
  switch (store_->state_of(key)) {
  case expert_state::absent: return begin(key, o->what.sources);
  case expert_state::loading: return add_sources(key, o->what.sources);
  case expert_state::held:
    if (is_new) request_hold(who, t);
  }
}

void agent_experts::add_sources(const expert_key& key, const std::vector<node_id>& sources) {
  const auto at = loading_.find(key);
  if (at == loading_.end()) return;
  loading& l = at->second;
  for (const node_id source : sources) {
    if (source == parts_.mail->node()) continue;
    if (std::find(l.sources.begin(), l.sources.end(), source) == l.sources.end())
      l.sources.push_back(source);
    if (l.fetch) l.fetch->add_source(source);
  }
}

/// The order's expert is done: `of` the group it is in now, or `why` it is not.
void agent_experts::settle(const order_ptr& o,
                           const expert_key& key,
                           const tenancy* of,
                           std::optional<error> why) {
  if (why) o->failure = std::move(why);
  if (of != nullptr) {
    const auto* held = store_->find(key);
    o->held.push_back({held->check, key.layer, key.expert});
    o->bytes = std::max(o->bytes, of->bytes);
  }
  if (o->missing > 0) --o->missing;
  if (o->missing > 0) return;
  std::erase(orders_, o);
  std::sort(o->held.begin(), o->held.end(), [](const auto& a, const auto& b) {
    return a.expert < b.expert;
  });
  wire::placed answer;
  answer.epoch = o->what.epoch;
  answer.node = parts_.mail->node();
  answer.group = o->what.group;
  answer.layer = o->what.layer;
  answer.bytes = o->bytes;
  answer.held = std::move(o->held);
  if (o->failure) answer.cause = wire::failure{o->failure->code(), o->failure->message()};
  placed_(answer);
}

void agent_experts::release(const wire::release& what) {
  if (what.group.value < group_first_ || what.group.value - group_first_ >= parts_.groups.size())
    return;
  const std::uint32_t slot = what.group.value - group_first_;
  for (const std::uint32_t expert : what.experts) {
    const expert_key key{what.layer, expert};
    if (!store_->exists(key)) continue;
    const tenant who{key, slot};
    const auto at = tenants_.find(who);
    if (at != tenants_.end() && what.epoch < at->second.since) continue;
    epoch& last = released_[who];
    last = std::max(last, what.epoch);
    if (at == tenants_.end()) continue;
    const auto waiting = std::move(at->second.waiting);
    tenants_.erase(at);
    caf::anon_send(parts_.groups[slot], drop_expert{key.layer.value, key.expert});
    forget_if_unwanted(key);
    for (const auto& o : waiting)
      settle(o, key, nullptr, error{errc::cancelled, to_string(key) + " was released"});
  }
  go_on();
}

void agent_experts::forget_if_unwanted(const expert_key& key) {
  if (!tenants_of(key).empty()) return;
  store_->remove(key);
  const auto at = loading_.find(key);
  if (at == loading_.end()) return;
  fetching_.erase(at->second.id);
  loading_.erase(at);
}

std::vector<agent_experts::tenant> agent_experts::tenants_of(const expert_key& key) const {
  std::vector<tenant> all;
  for (auto at = tenants_.lower_bound({key, 0}); at != tenants_.end() && at->first.first == key;
       ++at)
    all.push_back(at->first);
  return all;
}

// ---- into memory --------------------------------------------------------------------------------

void agent_experts::begin(const expert_key& key, const std::vector<node_id>& sources) {
  store_->begin(key);
  loading& l = loading_[key];
  l.id = ++last_id_;
  if (!store_->is_in_own_checkpoint(key)) {
    add_sources(key, sources);
    to_fetch_.emplace_back(l.id, key);
    return;
  }
  auto mapped = store_->map(key);
  if (mapped.has_error()) return fail(key, mapped.error());
  l.weights = std::move(*mapped);
  to_check_.emplace_back(l.id, key);
}

/// The next of a queue that is still wanted; null when there is none.
agent_experts::loading* agent_experts::pop(std::deque<queued>& from, expert_key& key) {
  while (!from.empty()) {
    const auto [id, next] = from.front();
    from.pop_front();
    const auto at = loading_.find(next);
    if (at == loading_.end() || at->second.id != id) continue;
    key = next;
    return &at->second;
  }
  return nullptr;
}

/// Starts what waits and may start. Last in every handler.
void agent_experts::go_on() {
  expert_key key;
  while (fetching_.size() < fetches_max) {
    loading* l = pop(to_fetch_, key);
    if (l == nullptr) break;
    l->fetch.emplace(l->id, key, l->sources, parts_.memory, parts_.time->now());
    fetching_[l->id] = key;
    ask(key);
  }
  while (checking_ == nullptr) {
    const loading* l = pop(to_check_, key);
    if (l == nullptr) break;
    start_check(key, *l);
  }
  if (is_watching_ || fetching_.empty()) return;
  is_watching_ = true;
  self_->delayed_send(self_, look_every, overdue_atom::value);
}

void agent_experts::ask(const expert_key& key) {
  auto& fetch = *loading_.at(key).fetch;
  const auto question = fetch.poll(parts_.time->now());
  if (question.has_error()) return fail(key, question.error());
  if (!*question) return;
  const auto sent = parts_.mail->send(agent_slot, {(*question)->to, agent_slot}, (*question)->ask);
  if (sent.has_error()) fetch.unsent(sent.error(), parts_.time->now());
}

void agent_experts::look_at_deadlines() {
  is_watching_ = false;
  const auto open = fetching_;
  for (const auto& [id, key] : open) ask(key);
  go_on();
}

void agent_experts::lose(node_id peer, const std::string& why) {
  const auto open = fetching_;
  for (const auto& [id, key] : open) {
    loading_.at(key).fetch->lost(peer, why);
    ask(key);
  }
  go_on();
}

void agent_experts::take(const incoming_ptr& message) {
  const auto& c = std::get<wire::chunk>(message->body);
  const expert_key key{c.layer, c.expert};
  const auto at = loading_.find(key);
  if (at == loading_.end() || !at->second.fetch) return;
  loading& l = at->second;
  const auto arrival = l.fetch->take(message->source.node, c, store_->config(), parts_.time->now());
  if (arrival.has_error()) {
    fail(key, arrival.error());
    return go_on();
  }
  if (*arrival) {
    const auto [from, to] = **arrival;
    tensor::job work = copying(from.size(), [from = from, to = to](std::size_t o, std::size_t n) {
      std::memcpy(to.data() + o, from.data() + o, n);
    });
    work.done = [self = agent_actor{self_}, id = l.id, message, memory = l.fetch->memory()] {
      caf::anon_send(self, job_ended{id, copied_in});
    };
    ++l.copies;
    parts_.device->submit(std::move(work));
  }
  ask(key);
  go_on();
}

void agent_experts::finish_fetch(const expert_key& key) {
  loading& l = loading_.at(key);
  const auto memory = l.fetch->memory();
  if (auto sound = memory->check_scales(); sound.has_error()) return fail(key, sound.error());
  l.fetch.reset();
  fetching_.erase(l.id);
  l.weights = std::make_shared<const experts::resident_expert>(memory);
  to_check_.emplace_back(l.id, key);
}

/// One at a time: a job uses all workers of the device anyway, and rows of requests go between.
void agent_experts::start_check(const expert_key& key, const loading& l) {
  auto job = std::make_shared<check_job>();
  job->key = key;
  job->id = l.id;
  job->weights = l.weights;
  job->compute = parts_.compute;
  job->row = experts::check_row(job->key.layer, job->key.expert, parts_.config.hidden);
  job->answer.resize(job->row.size());
  const std::int64_t layer = job->key.layer.value;
  auto taken = job->compute->hold(layer, job->key.expert, job->weights->weights());
  if (taken.has_error()) return fail(job->key, taken.error());
  job->call.layer = layer;
  job->call.experts = {{job->key.expert, {job->row.data()}, {job->answer.data()}}};
  tensor::job work = job->compute->forward(job->call);
  job->compute->release(layer, job->key.expert);
  work.done = [self = agent_actor{self_}, job] {
    caf::anon_send(self, job_ended{job->id, checked});
  };
  checking_ = std::move(job);
  parts_.device->submit(std::move(work));
}

void agent_experts::note_end(const job_ended& job) {
  if (job.stage == copied_out) {
    const auto at = sending_.find(job.subject);
    if (at == sending_.end()) return;
    const auto out = std::move(at->second);
    sending_.erase(at);
    return send_chunk(out->to, out->chunk);
  }
  if (job.stage == checked) {
    const auto done = std::move(checking_);
    note_check(*done);
  } else if (const auto at = fetching_.find(job.subject); at != fetching_.end()) {
    const expert_key key = at->second;
    loading& l = loading_.at(key);
    --l.copies;
    if (l.copies == 0 && l.fetch->is_complete()) finish_fetch(key);
  }
  go_on();
}

void agent_experts::note_check(const check_job& job) {
  const auto at = loading_.find(job.key);
  if (at == loading_.end() || at->second.id != job.id) return;  // released meanwhile
  store_->add(job.key, job.weights, experts::check_of(job.answer));
  loading_.erase(at);
  hand_over(job.key);
}

void agent_experts::fail(const expert_key& key, const error& why) {
  const error cause{why.code(), to_string(key) + ": " + why.message()};
  log_warning(cause.message());
  std::vector<order_ptr> waiting;
  for (const tenant& who : tenants_of(key)) {
    const auto at = tenants_.find(who);
    waiting.insert(waiting.end(), at->second.waiting.begin(), at->second.waiting.end());
    tenants_.erase(at);
  }
  forget_if_unwanted(key);
  for (const auto& o : waiting) settle(o, key, nullptr, cause);
}

// ---- into groups --------------------------------------------------------------------------------

void agent_experts::hand_over(const expert_key& key) {
  for (const tenant& who : tenants_of(key)) request_hold(who, tenants_[who]);
}

void agent_experts::request_hold(const tenant& who, tenancy& of) {
  const auto& weights = store_->find(who.first)->weights;
  const expert_key& key = who.first;
  self_
      ->request(parts_.groups[who.second],
                group_patience,
                hold_expert{key.layer.value, key.expert, weights->weights(), weights})
      .then([this, who, id = of.id](const hold_answer& answer) { note_hold(who, id, answer); },
            [this, who, id = of.id](const caf::error&) {
              const error lost{errc::internal, "an expert group of this node does not answer"};
              note_hold(who, id, {0, lost});
            });
}

void agent_experts::note_hold(const tenant& who, std::uint64_t id, const hold_answer& answer) {
  const auto at = tenants_.find(who);
  if (at == tenants_.end() || at->second.id != id) return;  // released meanwhile
  const auto waiting = std::move(at->second.waiting);
  at->second.waiting.clear();
  if (!answer.failure) {
    at->second.is_held = true;
    at->second.bytes = answer.bytes;
    const tenancy now = at->second;
    for (const auto& o : waiting) settle(o, who.first, &now, std::nullopt);
    return;
  }
  tenants_.erase(at);
  caf::anon_send(parts_.groups[who.second], drop_expert{who.first.layer.value, who.first.expert});
  forget_if_unwanted(who.first);
  for (const auto& o : waiting) settle(o, who.first, nullptr, answer.failure);
  go_on();
}

// ---- to others ----------------------------------------------------------------------------------

void agent_experts::answer(transport::address from, const wire::fetch& what) {
  wire::chunk c;
  c.number = what.number;
  c.layer = what.layer;
  c.expert = what.expert;
  c.offset = what.offset;
  const auto refuse = [&](errc code, const std::string& why) {
    c.cause = wire::failure{code, why};
    send_chunk(from, c);
  };
  const expert_key key{what.layer, what.expert};
  const auto* held = store_ ? store_->find(key) : nullptr;
  if (held == nullptr) return refuse(errc::not_found, to_string(key) + " is not held here");
  const auto& layout = held->weights->layout();
  if (what.offset >= layout.total)
    return refuse(errc::invalid_argument,
                  "offset " + std::to_string(what.offset) + " is behind the end of " +
                      to_string(key));
  const auto length =
      static_cast<std::size_t>(std::min<std::uint64_t>(what.length, layout.total - what.offset));
  auto charge = memory_charge::take(chunks_out_, length);
  if (charge.has_error()) return refuse(errc::overloaded, charge.error().message());
  auto owner = std::make_shared<lease>(lease{parts_.buffers->take(length), std::move(*charge)});
  const std::span<std::byte> bytes{owner->buffer->as<std::byte>(), length};
  c.total = layout.total;
  c.parts = layout.parts;
  c.bytes = {owner, bytes};
  tensor::job work =
      copying(length, [bytes, at = what.offset, w = held->weights](std::size_t o, std::size_t n) {
        experts::read_blob(w->weights(), at + o, bytes.subspan(o, n));
      });
  const std::uint64_t id = ++last_id_;
  work.done = [self = agent_actor{self_}, id] { caf::anon_send(self, job_ended{id, copied_out}); };
  sending_[id] = std::make_shared<sending>(sending{from, std::move(c), held->weights});
  parts_.device->submit(std::move(work));
}

void agent_experts::send_chunk(transport::address to, const wire::chunk& c) {
  // Who asked asks again, here or elsewhere.
  if (auto sent = parts_.mail->send(agent_slot, to, c); sent.has_error())
    log_warning("chunk not sent: " + sent.error().message());
}

// ---- reports ------------------------------------------------------------------------------------

std::vector<wire::checked_expert> agent_experts::held() const {
  std::vector<wire::checked_expert> all;
  for (const auto& [who, t] : tenants_)
    if (t.is_held && who.second == 0)
      all.push_back({store_->find(who.first)->check, who.first.layer, who.first.expert});
  return all;
}

std::uint64_t agent_experts::bytes() const {
  return parts_.memory == nullptr ? 0 : parts_.memory->used_bytes();
}

}  // namespace atl::actors
