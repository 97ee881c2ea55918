#include "actors/coordinator.hpp"

#include "actors/uncaught.hpp"
#include "runtime/base/log.hpp"

#include <caf/actor_system.hpp>
#include <caf/send.hpp>
#include <caf/typed_event_based_actor.hpp>

#include <optional>
#include <utility>

namespace atl::actors {
namespace {

namespace wire = transport::wire;

constexpr epoch first_epoch{1};

class coordinator final : public coordinator_actor::base {
public:
  coordinator(caf::actor_config& config, coordinator_parts parts)
      : coordinator_actor::base{config}, parts_{std::move(parts)} {
    end_process_on_exception(*this);
    counts_.rows.assign(static_cast<std::size_t>(parts_.layers),
                        std::vector<std::uint64_t>(parts_.model.shape.experts, 0));
  }

  behavior_type make_behavior() override {
    return {
        [this](const incoming_ptr& message) {
          if (const auto* p = std::get_if<wire::placed>(&message->body)) note_placed(*p);
          if (const auto* r = std::get_if<wire::load_report>(&message->body)) add_loads(*r);
        },
        [this](start_atom) { start(); },
        [this](counts_atom) { return counts_; },
    };
  }

  const char* name() const override { return "coordinator"; }

private:
  void start() {
    const auto& m = parts_.member;
    auto joined = cluster::transition(
        members_, {cluster::member_event_kind::joined, m.node, m.life, m.expert_bytes, m.groups});
    if (joined.has_error()) return ready(joined.error());
    members_ = std::move(*joined);
    if (parts_.model.shape.layers.empty()) return publish({});
    auto plan = cluster::plan_initial(members_, parts_.model, first_epoch, parts_.replicas);
    if (plan.has_error()) return ready(plan.error());
    map_.emplace(std::move(plan->map));
    for (const auto& place : plan->groups) order_loads(place);
    if (orders_open_ == 0) publish(entries());
  }

  void order_loads(const experts::group_place& place) {
    wire::load order;
    order.epoch = first_epoch;
    order.group = place.group;
    const auto send = [&] {
      if (order.experts.empty()) return;
      ++orders_open_;
      const auto sent = parts_.mail->send(coordinator_slot, {place.node, agent_slot}, order);
      if (sent.has_error()) ready(sent.error());
      order.experts.clear();
    };
    for (const auto& held : map_->held_by(place.group)) {
      if (held.layer != order.layer) send();
      order.layer = held.layer;
      order.experts.push_back(held.expert.value);
    }
    send();
  }

  void note_placed(const wire::placed& p) {
    if (p.epoch != first_epoch || orders_open_ == 0) return;
    if (p.cause) return ready(error{p.cause->code, p.cause->text});
    if (--orders_open_ == 0) publish(entries());
  }

  std::vector<wire::placement_entry> entries() const {
    std::vector<wire::placement_entry> all;
    for (const layer_index layer : map_->shape().layers) {
      for (std::uint32_t e = 0; e < map_->shape().experts; ++e) {
        for (const auto& r : map_->replicas(layer, expert_index{e}))
          all.push_back({layer, e, r.group, static_cast<float>(r.share)});
      }
    }
    return all;
  }

  void publish(std::vector<wire::placement_entry> all) {
    wire::place message{first_epoch, std::move(all), {}};
    for (std::uint32_t g = 0; g < parts_.member.groups; ++g)
      message.groups.push_back({group_id{g}, parts_.member.node, g});
    if (!message.entries.empty()) {
      for (const auto& router : parts_.routers) {
        const auto sent = parts_.mail->send(coordinator_slot, router, message);
        if (sent.has_error()) return ready(sent.error());
      }
    }
    ready({});
  }

  void ready(result<void> outcome) {
    if (!parts_.ready) return;
    const auto tell = std::exchange(parts_.ready, nullptr);
    tell(std::move(outcome));
  }

  void add_loads(const wire::load_report& r) {
    for (const auto& c : r.counts) {
      if (c.layer.value < counts_.rows.size() && c.expert < counts_.rows[c.layer.value].size())
        counts_.rows[c.layer.value][c.expert] += c.rows;
    }
  }

  coordinator_parts parts_;
  cluster::membership members_;
  std::optional<experts::expert_map> map_;
  std::size_t orders_open_ = 0;
  expert_counts counts_;
};

}  // namespace

coordinator_actor spawn_coordinator(caf::actor_system& system, const coordinator_parts& parts) {
  auto self = system.spawn<coordinator>(parts);
  parts.mail->bind(coordinator_slot,
                   [self](incoming_ptr message) { caf::anon_send(self, std::move(message)); });
  return self;
}

}  // namespace atl::actors
