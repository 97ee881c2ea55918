#include "actors/exchange.hpp"

#include "runtime/base/assert.hpp"
#include "runtime/base/log.hpp"

#include <algorithm>
#include <numeric>
#include <utility>

namespace atl::actors {
namespace {

namespace wire = transport::wire;

// Rows up to this size as float32 are copied in the handler (a decode step: 8 rows of 28 KB); more
// go to the device.
constexpr std::size_t inline_copy_bytes = 256U << 10;
// Rows copied by one chunk of such a job.
constexpr std::uint32_t copy_chunk_rows = 16;
// A transport or a group that has no room is asked again after this.
constexpr duration_ns pause = std::chrono::milliseconds{10};
// How long after it was sent a frame that nothing waits for may keep its credits.
constexpr duration_ns linger = cluster::answer_times::most;

}  // namespace

exchange::exchange(exchange_parts parts)
    : parts_{std::move(parts)}, directory_{parts_.mail->node()}, credits_{parts_.group_rows_max} {
  for (std::uint32_t i = 0; i < parts_.lanes; ++i) calls_.push_back(std::make_shared<call>());
}

const experts::group_plan& exchange::plan_of(const errand& e) const {
  return calls_[e.lane]->parcels[e.parcel].plan;
}

std::size_t exchange::row_bytes() const { return wire::row_bytes(parts_.codec.type, parts_.width); }

void exchange::open(std::uint32_t lane, rows_of_call ask) {
  call& c = *calls_.at(lane);
  ATOLL_ASSERT(c.state == call_state::idle && ask.rows > 0);
  c.state = call_state::gathering;
  c.ask = std::move(ask);
  c.progressed = parts_.time->now();
  c.answers.emplace(c.ask.rows, c.ask.k);
  if (table_) c.map = table_->enter();
  std::vector<std::uint32_t> all(static_cast<std::size_t>(c.ask.rows * c.ask.k));
  std::iota(all.begin(), all.end(), 0U);
  assign(lane, all, directory_.avoided());
  send_ready(lane);
  wake(c.progressed + parts_.give_up_after);
}

std::uint32_t exchange::assign(std::uint32_t lane,
                               const std::vector<std::uint32_t>& pairs,
                               const cluster::avoided_groups& avoid) {
  call& c = *calls_[lane];
  if (table_) {
    choose(c, pairs, avoid);
  } else {
    targets_.assign(pairs.size(), experts::no_group);
  }
  for (std::size_t i = 0; i < pairs.size(); ++i)
    if (targets_[i] == experts::no_group) c.parked.push_back(pairs[i]);
  if (!c.parked.empty() && !c.parked_since) {
    c.parked_since = parts_.time->now();
    wake(*c.parked_since + parts_.unavailable_after);
  }
  return add_parcels(c, experts::plan_dispatch(c.ask.k, pairs, c.ask.experts, targets_.data()));
}

/// On the newest placement, and on what is expected of the groups at this moment.
void exchange::choose(const call& c,
                      const std::vector<std::uint32_t>& pairs,
                      const cluster::avoided_groups& avoid) {
  const cluster::routing_state state{
      *table_->current(), avoid, loads_.estimates(), parts_.capacity_factor};
  targets_.resize(pairs.size());
  cluster::route(state, c.ask.layer, next_number_, pairs, c.ask.experts, targets_.data());
}

std::uint32_t exchange::add_parcels(call& c, std::vector<experts::group_plan> plans) {
  std::size_t rows = 0;
  for (experts::group_plan& plan : plans) {
    c.answers->expect(plan);
    rows += plan.rows.size();
    c.parcels.push_back({std::move(plan), 0});
  }
  return static_cast<std::uint32_t>(rows);
}

std::uint32_t exchange::assign_again(pairs_by_lane& open, const cluster::avoided_groups& avoid) {
  std::uint32_t rows = 0;
  for (std::uint32_t lane = 0; lane < calls_.size(); ++lane) {
    auto& pairs = open[lane];
    if (pairs.empty()) continue;
    std::sort(pairs.begin(), pairs.end());
    pairs.erase(std::unique(pairs.begin(), pairs.end()), pairs.end());
    rows += assign(lane, pairs, avoid);
  }
  send_waiting();
  return rows;
}

void exchange::unpark() {
  pairs_by_lane open(calls_.size());
  for (std::uint32_t lane = 0; lane < calls_.size(); ++lane)
    open[lane] = std::exchange(calls_[lane]->parked, {});
  assign_again(open, directory_.avoided());
  for (const auto& c : calls_)
    if (c->parked.empty()) c->parked_since.reset();
}

void exchange::send_ready(std::uint32_t lane) {
  call& c = *calls_[lane];
  for (std::uint32_t i = 0; i < c.parcels.size(); ++i) {
    parcel& p = c.parcels[i];
    const auto left = static_cast<std::uint32_t>(p.plan.rows.size()) - p.sent;
    if (left == 0) continue;
    const experts::send_range range{p.sent, std::min(left, credits_.free(p.plan.group))};
    if (range.count == 0) continue;
    p.sent += range.count;
    credits_.take(p.plan.group, range.count);
    prepare(lane, i, range);
  }
}

void exchange::send_waiting() {
  for (std::uint32_t lane = 0; lane < calls_.size(); ++lane)
    if (calls_[lane]->state == call_state::gathering) send_ready(lane);
}

void exchange::prepare(std::uint32_t lane, std::uint32_t index, const experts::send_range& range) {
  const call& c = *calls_[lane];
  const auto& plan = c.parcels[index].plan;
  const auto seat = directory_.find(plan.group);
  ATOLL_ASSERT(seat.has_value());
  const std::uint64_t number = next_number_++;
  errand& e = errands_[number];
  e.lane = lane;
  e.parcel = index;
  e.range = range;
  e.group = plan.group;
  e.to = {seat->node, group_slot_base + seat->slot};
  wire::dispatch& m = e.message;
  m.call = {parts_.shard, number, lane, c.ask.layer};
  m.epoch = table_->current()->version();
  m.input.type = parts_.codec.type;
  m.input.count = range.count;
  m.input.width = parts_.width;
  const std::uint32_t base = plan.offsets[range.first];
  m.offsets.reserve(range.count + 1);
  for (std::uint32_t i = 0; i <= range.count; ++i)
    m.offsets.push_back(plan.offsets[range.first + i] - base);
  m.assignments.reserve(m.offsets.back());
  for (std::uint32_t a = base; a < base + m.offsets.back(); ++a)
    m.assignments.push_back({plan.experts[a], plan.ranks[a]});
  e.pairs = m.offsets.back();
  e.ahead = loads_.sent(plan.group, e.pairs);
  const std::size_t bytes = range.count * row_bytes();
  auto rows = parts_.buffers->take(bytes);
  m.input.payload = {rows, {rows->as<std::byte>(), bytes}};
  budget_.sent(range.count);
  counts_.rows_sent += range.count;
  counts_.row_bytes_sent += bytes;
  copy_rows(number, e, std::move(rows));
}

void exchange::copy_rows(std::uint64_t number, errand& e, std::shared_ptr<aligned_buffer> to) {
  call& c = *calls_[e.lane];
  auto copy = [source = c.ask.normed,
               target = to->as<std::byte>(),
               rows = plan_of(e).rows.data() + e.range.first,
               width = std::int64_t{parts_.width},
               bytes = row_bytes(),
               encode = parts_.codec.encode](std::uint32_t first, std::uint32_t last) {
    for (std::uint32_t r = first; r < last; ++r)
      encode(source + rows[r] * width, width, target + r * bytes);
  };
  const std::uint32_t count = e.range.count;
  if (std::size_t{count} * parts_.width * sizeof(float) <= inline_copy_bytes) {
    copy(0, count);
    dispatch(e);
    return;
  }
  tensor::job job;
  job.phases.push_back({(count + copy_chunk_rows - 1) / copy_chunk_rows,
                        [copy, count](std::uint32_t chunk, tensor::worker&) {
                          copy(chunk * copy_chunk_rows,
                               std::min(count, (chunk + 1) * copy_chunk_rows));
                        }});
  job.done = [tell = parts_.when_copied(number), keep = calls_[e.lane], buffer = std::move(to)] {
    tell();
  };
  e.is_copying = true;
  ++c.copying;
  parts_.device->submit(std::move(job));
}

void exchange::copied(std::uint64_t number) {
  const auto found = errands_.find(number);
  ATOLL_ASSERT(found != errands_.end() && found->second.is_copying);
  errand& e = found->second;
  const auto lane = static_cast<std::uint32_t>(e.lane);  // the errand may end here
  call& c = *calls_[lane];
  e.is_copying = false;
  --c.copying;
  if (e.is_dropped) {
    errands_.erase(found);
  } else if (e.is_orphan) {
    drop(found);
    send_waiting();
  } else {
    dispatch(e);
  }
  if (c.state == call_state::ending && c.copying == 0)
    ended_.push_back({lane, std::exchange(c.failure, {})});
}

void exchange::dispatch(errand& e) {
  const time_point_ns now = parts_.time->now();
  if (e.tries++ == 0) {
    e.sent_at = now;
  } else {
    ++counts_.frames_repeated;
  }
  const duration_ns once = times_[e.group].late_after(e.range.count);
  const duration_ns later =
      std::min(once * (1 << std::min(e.tries - 1, 5)), cluster::answer_times::most);
  e.deadline = now + std::max(once, later);
  e.is_stuck = false;
  auto sent = parts_.mail->send(parts_.slot, e.to, e.message);
  if (!sent.has_error()) {
    e.has_left = true;
  } else if (sent.error().code() == errc::overloaded || sent.error().code() == errc::peer_gone) {
    if (e.tries == 1) log_warning("rows not sent, will be sent again: " + sent.error().message());
    e.is_stuck = true;
    e.deadline = now + pause;
  } else {
    e.refusal = sent.error();  // the call fails at the next look
    e.deadline = now;
  }
  wake(e.deadline);
}

bool exchange::is_answer_to(const errand& e, const incoming& message) const {
  if (e.tries == 0 || message.source.node != e.to.node) return false;
  const wire::rows& rows = std::get<wire::results>(message.body).output;
  return e.is_orphan || (rows.count == e.message.assignments.size() && rows.width == parts_.width &&
                         rows.type == parts_.codec.type && wire::has_usable_scales(rows));
}

void exchange::take_results(const incoming_ptr& message, const wire::results& r) {
  const auto found = errands_.find(r.call.step);
  if (found == errands_.end() || found->second.is_dropped) {
    ++counts_.answers_late;
    return;
  }
  const errand& e = found->second;
  if (!is_answer_to(e, *message)) {
    ++counts_.answers_odd;
    log_warning("answer of another shape than asked for dropped, from node " +
                std::to_string(message->source.node.value));
    return;
  }
  const time_point_ns now = parts_.time->now();
  if (e.tries == 1) {
    times_[e.group].observe(e.range.count, now - e.sent_at);
    loads_.observe(e.group, e.ahead, e.pairs, now - e.sent_at, r.service_ns);
  }
  if (e.is_orphan) {
    ++counts_.answers_late;
    drop(found);
    send_waiting();
    return;
  }
  const std::uint32_t lane = e.lane;
  call& c = *calls_[lane];
  c.progressed = now;
  const auto bytes = r.output.payload.bytes;
  counts_.row_bytes_received += bytes.size();
  if (c.answers->place(plan_of(e), e.range, bytes.data(), row_bytes()) > 0)
    c.payloads.push_back(message);
  drop(found);
  if (c.answers->complete()) end(lane, std::nullopt);
  send_waiting();
}

void exchange::take_refusal(const incoming& message, const wire::refused& r) {
  const auto found = errands_.find(r.call.step);
  if (found == errands_.end() || found->second.is_dropped) return;
  errand& e = found->second;
  if (e.tries == 0 || message.source.node != e.to.node) return;
  if (e.is_orphan) {
    drop(found);
    return send_waiting();
  }
  if (r.cause.code == errc::overloaded) {
    e.is_stuck = true;
    e.deadline = parts_.time->now() + pause;
    return wake(e.deadline);
  }
  if (r.cause.code != errc::stale_epoch) {
    const std::uint32_t lane = e.lane;
    drop(found);
    return end(lane, error{r.cause.code, "expert group refused rows: " + r.cause.text});
  }
  log_info("rows go to another copy: " + r.cause.text);
  // Under a later placement the group may well hold it; under the same it does not.
  cluster::avoided_groups avoid = directory_.avoided();
  if (e.message.epoch == table_->current()->version()) {
    auto& gone = avoid.gone;
    gone.insert(std::upper_bound(gone.begin(), gone.end(), e.group), e.group);
  }
  move(found, avoid);
}

exchange::errand_map::iterator exchange::drop(errand_map::iterator which) {
  errand& e = which->second;
  credits_.give_back(e.group, e.range.count);
  loads_.ended(e.group, e.pairs);
  if (!e.is_copying) return errands_.erase(which);
  e.is_dropped = true;
  return ++which;
}

exchange::errand_map::iterator exchange::orphan(errand_map::iterator which) {
  errand& e = which->second;
  if (!e.is_copying && (!e.has_left || parts_.time->now() - e.sent_at >= linger))
    return drop(which);
  e.is_orphan = true;
  e.message = {};
  e.deadline = e.sent_at + linger;
  if (!e.is_copying) wake(e.deadline);
  return ++which;
}

void exchange::end(std::uint32_t lane, std::optional<error> why) {
  call& c = *calls_[lane];
  c.state = call_state::ending;
  c.failure = std::move(why);
  c.parked.clear();
  c.parked_since.reset();
  for (auto it = errands_.begin(); it != errands_.end();) {
    const errand& e = it->second;
    it = e.lane == lane && !e.is_orphan && !e.is_dropped ? orphan(it) : std::next(it);
  }
  if (c.copying == 0) ended_.push_back({lane, std::exchange(c.failure, {})});
}

const std::byte* const* exchange::answers(std::uint32_t lane) const {
  return calls_[lane]->answers->pointers();
}

void exchange::close(std::uint32_t lane) {
  call& c = *calls_[lane];
  ATOLL_ASSERT(c.state == call_state::ending && c.copying == 0);
  if (c.map != nullptr) table_->leave(c.map->version());
  c.map.reset();
  c.answers.reset();
  c.parcels.clear();
  c.payloads.clear();
  c.ask = {};
  c.state = call_state::idle;
  send_waiting();
}

std::optional<exchange::epochs_in_use> exchange::epochs() const {
  if (!table_) return std::nullopt;
  return epochs_in_use{table_->current()->version(), table_->oldest()};
}

held exchange::counts() const {
  held h = counts_;
  for (const auto& [number, e] : errands_)
    if (!e.is_dropped) h.rows_in_flight += e.range.count;
  h.group_rows = credits_.most_taken();
  return h;
}

void exchange::wake(time_point_ns when) {
  if (!look_at_ || when < *look_at_) look_at_ = when;
}

}  // namespace atl::actors
