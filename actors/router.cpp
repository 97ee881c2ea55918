#include "actors/router.hpp"

#include "actors/exchange.hpp"
#include "actors/uncaught.hpp"
#include "runtime/base/log.hpp"

#include <caf/actor_system.hpp>
#include <caf/send.hpp>
#include <caf/typed_event_based_actor.hpp>

#include <algorithm>
#include <cmath>
#include <utility>

namespace atl::actors {
namespace {

namespace wire = transport::wire;

enum stage : std::uint32_t { gate_ended, copy_ended, combine_ended };

/// The rows of one lane at one layer, from the shard's asking to the answer.
struct lane_state {
  route_rows ask;
  experts::routing routing;
  bool is_open = false;
};

struct read_placement {
  cluster::map_ptr map;
  std::vector<cluster::group_directory::seated_group> groups;
};

/// Shares are whole numbers in 1/1024.
std::uint32_t share_of(float weight) {
  return static_cast<std::uint32_t>(std::max(1.0F, std::min(weight, 1024.0F) * 1024.0F));
}

result<read_placement> read(const wire::place& p, const model::model_config& config) {
  read_placement out;
  std::vector<group_id> named;
  std::uint32_t groups = 0;
  for (const auto& g : p.groups) {
    if (g.group == experts::no_group)
      return error{errc::invalid_argument, "group " + std::to_string(g.group.value) + " is no id"};
    out.groups.push_back({g.group, {g.node, g.slot}});
    named.push_back(g.group);
    groups = std::max(groups, g.group.value + 1);
  }
  std::sort(named.begin(), named.end());
  experts::expert_shape shape;
  for (std::int64_t l = 0; l < config.layers; ++l)
    if (config.is_moe(l)) shape.layers.emplace_back(static_cast<std::uint32_t>(l));
  shape.experts = static_cast<std::uint32_t>(config.routed_experts);
  experts::replica_lists lists(shape.layers.size() * shape.experts);
  for (const auto& e : p.entries) {
    const auto at = std::lower_bound(shape.layers.begin(), shape.layers.end(), e.layer);
    if (at == shape.layers.end() || *at != e.layer || e.expert >= shape.experts)
      return error{errc::invalid_argument, "it names an expert that the model lacks"};
    if (!std::binary_search(named.begin(), named.end(), e.group))
      return error{errc::invalid_argument,
                   "it does not say where group " + std::to_string(e.group.value) + " is"};
    const auto row = static_cast<std::size_t>(at - shape.layers.begin());
    lists[row * shape.experts + e.expert].push_back({e.group, share_of(e.weight)});
  }
  ATOLL_ASSIGN(auto map, experts::expert_map::make(p.epoch, shape, groups, lists));
  out.map = std::make_shared<const experts::expert_map>(std::move(map));
  return out;
}

cluster::node_health health_of(peer_state state) {
  switch (state) {
  case peer_state::alive: return cluster::node_health::alive;
  case peer_state::suspect: return cluster::node_health::suspect;
  case peer_state::dead: break;
  }
  return cluster::node_health::dead;
}

class router final : public router_actor::base {
public:
  router(caf::actor_config& config, router_parts parts)
      : router_actor::base{config}, parts_{std::move(parts)}, exchange_{exchange_parts_of()} {
    end_process_on_exception(*this);
    for (std::uint32_t i = 0; i < parts_.lanes; ++i)
      lanes_.push_back(std::make_shared<lane_state>());
  }

  behavior_type make_behavior() override {
    return {
        [this](const incoming_ptr& message) { receive(message); },
        [this](const members_ptr& all) { use_members(*all); },
        [this](const peer_changed& p) {
          if (p.path != transport::plane::data) return;
          exchange_.note(p.peer, health_of(p.state));
          settle();
        },
        [this](start_atom, const shard_actor& shard) { shard_ = shard; },
        [this](const job_ended& job) { continue_after(job); },
        [this](const route_rows& ask) { begin(ask); },
        [this](overdue_atom) { look(); },
        [this](held_atom) { return exchange_.counts(); },
    };
  }

  const char* name() const override { return "router"; }

  /// Shard, agent and router hold each other; whoever ends lets go, or none would ever be freed.
  void on_exit() override {
    shard_ = shard_actor{};
    agent_ = caf::actor{};
  }

private:
  exchange_parts exchange_parts_of() {
    exchange_parts e;
    e.shard = parts_.shard;
    e.slot = router_slot_base + parts_.slot;
    e.mail = parts_.mail;
    e.device = parts_.device;
    e.time = parts_.time;
    e.buffers = parts_.buffers;
    e.lanes = parts_.lanes;
    e.codec = parts_.codec;
    e.width = static_cast<std::uint32_t>(parts_.config.hidden);
    e.group_rows_max = parts_.group_rows_max;
    e.capacity_factor = parts_.capacity_factor;
    e.give_up_after = parts_.answer_deadline;
    e.unavailable_after = parts_.unavailable_after;
    e.when_copied = [this](std::uint64_t number) {
      return [self = handle(), number] { caf::anon_send(self, job_ended{number, copy_ended}); };
    };
    return e;
  }

  void receive(const incoming_ptr& message) {
    if (const auto* r = std::get_if<wire::results>(&message->body)) {
      exchange_.take_results(message, *r);
    } else if (const auto* f = std::get_if<wire::refused>(&message->body)) {
      exchange_.take_refusal(*message, *f);
    } else if (const auto* p = std::get_if<wire::place>(&message->body)) {
      // From the agent only, who has looked at whom it is from; the wire leads here as well.
      if (this->current_sender() != nullptr) use_placement(*p);
    }
    settle();
  }

  void use_placement(const wire::place& p) {
    agent_ = caf::actor_cast<caf::actor>(this->current_sender());
    told_.reset();
    if (const auto used = exchange_.epochs(); used && used->current == p.epoch) return;
    auto placement = read(p, parts_.config);
    result<void> taken;
    if (placement.has_error()) {
      taken = placement.error();
    } else {
      taken = exchange_.use_placement(placement->map, placement->groups, p.coming);
    }
    if (taken.has_error())
      log_error("placement of epoch " + std::to_string(p.epoch.value) +
                " not taken: " + taken.error().message());
  }

  void use_members(const wire::members& all) {
    if (all.version < members_version_) return;
    members_version_ = all.version;
    std::vector<cluster::listed_node> nodes;
    nodes.reserve(all.list.size());
    for (const auto& m : all.list)
      nodes.push_back({m.node, m.life, m.state == wire::member_state::dead});
    exchange_.list(nodes);
    settle();
  }

  void begin(const route_rows& ask) {
    lane_state& lane = *lanes_.at(ask.lane);
    ATOLL_ASSERT(!lane.is_open);
    lane.is_open = true;
    lane.ask = ask;
    tensor::job gate = parts_.compute->route(ask.normed, ask.rows, ask.layer, lane.routing);
    submit(ask.lane, gate_ended, std::move(gate));
  }

  void submit(std::uint32_t lane, stage ends, tensor::job work) {
    work.done = [self = handle(), lane, ends, keep = lanes_[lane]] {
      caf::anon_send(self, job_ended{lane, ends});
    };
    parts_.device->submit(std::move(work));
  }

  void continue_after(const job_ended& job) {
    const auto lane = static_cast<std::uint32_t>(job.subject);
    switch (job.stage) {
    case gate_ended: exchange_.open(lane, rows_of(*lanes_[lane])); break;
    case copy_ended: exchange_.copied(job.subject); break;
    case combine_ended: finish(lane, std::nullopt); break;
    default: break;
    }
    settle();
  }

  static exchange::rows_of_call rows_of(const lane_state& lane) {
    return {layer_index{static_cast<std::uint32_t>(lane.ask.layer)},
            lane.routing.rows,
            lane.routing.k,
            lane.ask.normed,
            lane.routing.experts.data(),
            lane.ask.keep};
  }

  /// After everything that may have moved the exchange: what it ended, when it wants to be looked
  /// after, which epochs it uses.
  void settle() {
    for (auto& ended : exchange_.take_ended()) {
      if (ended.failure) {
        finish(ended.lane, std::move(ended.failure));
        continue;
      }
      lane_state& lane = *lanes_[ended.lane];
      submit(ended.lane,
             combine_ended,
             parts_.compute->combine(
                 lane.routing, exchange_.answers(ended.lane), parts_.codec.type, lane.ask.routed));
    }
    const auto next = exchange_.look_at();
    if (next && (!look_at_ || *next < *look_at_)) {
      look_at_ = next;
      const duration_ns wait = *next - parts_.time->now();
      this->delayed_send(this, std::max(wait, duration_ns{0}), overdue_atom::value);
    }
    tell_epochs();
  }

  void finish(std::uint32_t index, std::optional<error> failure) {
    lane_state& lane = *lanes_[index];
    rows_routed answer{index, lane.ask.layer, nullptr, std::move(failure)};
    if (!answer.failure && lane.ask.want_routing) {
      answer.routing = std::make_shared<const chosen_experts>(
          chosen_experts{lane.routing.k, lane.routing.experts, lane.routing.weights});
    }
    exchange_.close(index);
    lane.ask.keep.reset();
    lane.is_open = false;
    this->send(shard_, std::move(answer));
  }

  void look() {
    // One that was asked for before an earlier moment became known has nothing to do.
    if (look_at_ && parts_.time->now() < *look_at_) return;
    look_at_.reset();
    exchange_.look();
    settle();
  }

  void tell_epochs() {
    const auto used = exchange_.epochs();
    if (!agent_ || !used || used == told_) return;
    told_ = used;
    caf::anon_send(agent_, router_epochs{parts_.shard, used->current, used->oldest});
  }

  router_actor handle() { return caf::actor_cast<router_actor>(this->ctrl()); }

  router_parts parts_;
  exchange exchange_;
  shard_actor shard_;
  caf::actor agent_;  // who handed over the latest placement
  std::vector<std::shared_ptr<lane_state>> lanes_;
  std::optional<time_point_ns> look_at_;  // a message is under way for then
  std::optional<exchange::epochs_in_use> told_;
  std::uint64_t members_version_ = 0;
};

}  // namespace

router_actor spawn_router(caf::actor_system& system, const router_parts& parts) {
  auto self = system.spawn<router>(parts);
  parts.mail->bind(router_slot_base + parts.slot,
                   [self](incoming_ptr message) { caf::anon_send(self, std::move(message)); });
  return self;
}

}  // namespace atl::actors
