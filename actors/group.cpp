#include "actors/group.hpp"

#include "actors/answered_calls.hpp"
#include "actors/group_batch.hpp"
#include "actors/uncaught.hpp"
#include "runtime/base/log.hpp"

#include <caf/actor_system.hpp>
#include <caf/send.hpp>
#include <caf/typed_event_based_actor.hpp>

#include <algorithm>
#include <deque>
#include <map>
#include <utility>

namespace atl::actors {
namespace {

namespace wire = transport::wire;

const wire::dispatch& dispatch_of(const incoming_ptr& message) {
  return std::get<wire::dispatch>(message->body);
}

answered_calls::key key_of(const incoming& message) {
  const auto& d = std::get<wire::dispatch>(message.body);
  return {{message.source.node, message.sender}, d.call.shard, d.call.step};
}

class group final : public group_actor::base {
public:
  group(caf::actor_config& config, group_parts parts)
      : group_actor::base{config}, parts_{std::move(parts)} {
    end_process_on_exception(*this);
    counts_.rows.assign(
        static_cast<std::size_t>(parts_.config.layers),
        std::vector<std::uint64_t>(static_cast<std::size_t>(parts_.config.routed_experts), 0));
  }

  behavior_type make_behavior() override {
    return {
        [this](const incoming_ptr& message) { take(message); },
        [this](const job_ended&) { answer(); },
        [this](const hold_expert& order) { return hold(order); },
        [this](const drop_expert& order) { drop(order); },
        [this](counts_atom) { return counts_; },
    };
  }

  const char* name() const override { return "expert_group"; }

private:
  hold_answer hold(const hold_expert& order) {
    auto held = parts_.compute->hold(order.layer, order.expert, order.weights);
    if (held.has_error()) return {bytes_, held.error()};
    auto& known = owners_[{order.layer, order.expert}];
    let_go(known);
    known = {order.keep,
             order.weights.gate.bytes() + order.weights.up.bytes() + order.weights.down.bytes()};
    bytes_ += known.bytes;
    return {bytes_, std::nullopt};
  }

  void drop(const drop_expert& order) {
    const auto known = owners_.find({order.layer, order.expert});
    if (known == owners_.end()) return;
    parts_.compute->release(order.layer, order.expert);
    let_go(known->second);
    owners_.erase(known);
    // Of what waits, refuse what cannot be computed any more.
    std::erase_if(waiting_, [this](const incoming_ptr& message) {
      const auto failure = objection(dispatch_of(message));
      if (!failure) return false;
      calls_.forget(key_of(*message));
      refuse(*message, *failure);
      return true;
    });
  }

  struct owned {
    std::shared_ptr<const void> keep;
    std::uint64_t bytes = 0;
  };

  /// A job that is under way keeps the weights until it ends.
  void let_go(owned& known) {
    bytes_ -= known.bytes;
    if (computing_ && known.keep != nullptr) dropped_.push_back(std::move(known.keep));
    known = {};
  }

  void take(const incoming_ptr& message) {
    if (!std::holds_alternative<wire::dispatch>(message->body)) return;
    if (auto failure = objection(dispatch_of(message))) {
      refuse(*message, *failure);
      return;
    }
    const auto seen = calls_.note(key_of(*message));
    if (seen.answer != nullptr) return send_or_log(message->source, *seen.answer);
    if (!seen.is_new) return;
    waiting_.push_back(message);
    start();
  }

  std::optional<error> objection(const wire::dispatch& d) const {
    if (d.input.width != parts_.config.hidden)
      return error{errc::invalid_argument,
                   "rows of width " + std::to_string(d.input.width) + ", the model's is " +
                       std::to_string(parts_.config.hidden)};
    const auto address = reinterpret_cast<std::uintptr_t>(d.input.payload.bytes.data());
    if (d.input.type == tensor::dtype::f32 && address % alignof(float) != 0)
      return error{errc::invalid_argument, "rows are not aligned to 4 bytes"};
    if (!wire::has_usable_scales(d.input))
      return error{errc::invalid_argument, "rows have a scale that is no positive number"};
    for (const auto& a : d.assignments) {
      if (!parts_.compute->holds(d.call.layer.value, a.expert))
        return error{errc::stale_epoch,
                     "expert " + std::to_string(a.expert) + " of layer " +
                         std::to_string(d.call.layer.value) + " is not held here"};
    }
    return std::nullopt;
  }

  void refuse(const incoming& message, const error& why) {
    const auto& d = std::get<wire::dispatch>(message.body);
    const wire::refused answer{d.call, d.epoch, {why.code(), why.message()}};
    send_or_log(message.source, answer);
  }

  template <class Message>
  void send_or_log(transport::address to, const Message& m) {
    // The router repeats calls that stay unanswered, so a lost answer costs time and nothing else.
    if (auto sent = parts_.mail->send(group_slot_base + parts_.slot, to, m); sent.has_error())
      log_warning("answer not sent: " + sent.error().message());
  }

  void start() {
    if (computing_ || waiting_.empty()) return;
    const layer_index layer = dispatch_of(waiting_.front()).call.layer;
    batch_ = spare_ != nullptr ? std::move(spare_) : std::make_shared<group_batch>();
    batch_->clear();
    for (auto it = waiting_.begin(); it != waiting_.end();) {
      if (dispatch_of(*it).call.layer != layer) {
        ++it;
        continue;
      }
      batch_->add(*it, parts_.isa, *parts_.buffers);
      it = waiting_.erase(it);
    }
    const experts::group_call& call = batch_->make_call(layer);
    batch_->expected_ns = parts_.cost.job_ns(call.experts.size(), count_rows(call));
    batch_->started = parts_.time->now();
    tensor::job work = batch_->job(*parts_.compute);
    if (parts_.quota > 0) {
      if (batch_->meter == nullptr)
        batch_->meter = std::make_unique<tensor::processor_meter>(parts_.device->workers());
      batch_->meter->measure(work);
    }
    work.done = [self = group_actor{this}, keep = batch_, time = parts_.time] {
      keep->ended = time->now();
      caf::anon_send(self, job_ended{});
    };
    computing_ = true;
    parts_.device->submit(std::move(work));
  }

  std::size_t count_rows(const experts::group_call& call) {
    auto& counts = counts_.rows[static_cast<std::size_t>(call.layer)];
    std::size_t all = 0;
    for (const auto& e : call.experts) {
      counts[e.expert] += e.inputs.size();
      all += e.inputs.size();
    }
    return all;
  }

  void answer() {
    const auto service = static_cast<std::uint64_t>((batch_->ended - batch_->started).count());
    counts_.busy_ns += service;
    if (parts_.quota > 0)
      counts_.quota_ns += static_cast<std::uint64_t>(
          static_cast<double>(batch_->meter->used().count()) / parts_.quota);
    counts_.expected_ns += batch_->expected_ns;
    for (const auto& member : batch_->members()) {
      wire::results r = group_batch::answer_of(member);
      r.service_ns = service;
      send_or_log(member.origin->source, r);
      calls_.answered(key_of(*member.origin), r);
    }
    batch_->clear();
    spare_ = std::move(batch_);
    computing_ = false;
    dropped_.clear();
    start();
  }

  group_parts parts_;
  answered_calls calls_;
  std::deque<incoming_ptr> waiting_;
  std::shared_ptr<group_batch> batch_, spare_;
  bool computing_ = false;
  std::uint64_t bytes_ = 0;
  std::map<std::pair<std::int64_t, std::uint32_t>, owned> owners_;
  std::vector<std::shared_ptr<const void>> dropped_;  // until the present job ends
  expert_counts counts_;
};

}  // namespace

group_actor spawn_group(caf::actor_system& system, const group_parts& parts) {
  auto self = system.spawn<group>(parts);
  parts.mail->bind(group_slot_base + parts.slot,
                   [self](incoming_ptr message) { caf::anon_send(self, std::move(message)); });
  return self;
}

}  // namespace atl::actors
