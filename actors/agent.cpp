#include "actors/agent.hpp"

#include "actors/uncaught.hpp"
#include "runtime/base/log.hpp"

#include <caf/actor_system.hpp>
#include <caf/send.hpp>
#include <caf/typed_event_based_actor.hpp>

#include <chrono>
#include <utility>

namespace atl::actors {
namespace {

namespace wire = transport::wire;

// A group answers between two jobs; a long prompt's job takes seconds on a slow machine.
constexpr auto group_patience = std::chrono::seconds{60};

/// The answers of one load order, or of one report, as they come in.
struct gathering {
  std::size_t missing = 0;
  std::uint64_t bytes = 0;
  std::optional<error> failure;
};

error lost_group() { return {errc::internal, "an expert group of this node does not answer"}; }

class agent final : public agent_actor::base {
public:
  agent(caf::actor_config& config, agent_parts parts)
      : agent_actor::base{config}, parts_{std::move(parts)}, reported_(parts_.groups.size()) {
    end_process_on_exception(*this);
  }

  behavior_type make_behavior() override {
    return {
        [this](const incoming_ptr& message) {
          if (const auto* order = std::get_if<wire::load>(&message->body)) load(*order);
        },
        [this](report_atom) { return report(); },
    };
  }

  const char* name() const override { return "node_agent"; }

private:
  void load(const wire::load& order) {
    const auto& layers = parts_.weights->layers;
    const std::size_t layer = order.layer.value;
    if (order.group.value >= parts_.groups.size() || layer >= layers.size() || !layers[layer].moe) {
      placed(order, 0, error{errc::invalid_argument, "no such group or layer on this node"});
      return;
    }
    auto progress = std::make_shared<gathering>();
    progress->missing = order.experts.size();
    if (order.experts.empty()) placed(order, 0, std::nullopt);
    for (const std::uint32_t expert : order.experts) {
      if (expert >= layers[layer].experts.size()) {
        note(order, *progress, {0, error{errc::invalid_argument, "no such expert in the model"}});
        continue;
      }
      this->request(parts_.groups[order.group.value],
                    group_patience,
                    hold_expert{order.layer.value, expert, layers[layer].experts[expert]})
          .then([this, order, progress](
                    const hold_answer& answer) { note(order, *progress, answer); },
                [this, order, progress](const caf::error&) {
                  note(order, *progress, {0, lost_group()});
                });
    }
  }

  void note(const wire::load& order, gathering& progress, const hold_answer& answer) {
    progress.bytes = std::max(progress.bytes, answer.bytes);
    if (answer.failure) progress.failure = answer.failure;
    if (--progress.missing == 0) placed(order, progress.bytes, progress.failure);
  }

  void placed(const wire::load& order, std::uint64_t bytes, const std::optional<error>& failure) {
    wire::placed answer;
    answer.epoch = order.epoch;
    answer.node = parts_.mail->node();
    answer.group = order.group;
    answer.layer = order.layer;
    answer.bytes = bytes;
    if (failure) answer.cause = wire::failure{failure->code(), failure->message()};
    tell_coordinator(answer);
  }

  caf::result<bool> report() {
    auto promise = this->make_response_promise<bool>();
    auto missing = std::make_shared<std::size_t>(parts_.groups.size());
    auto sums = std::make_shared<wire::load_report>();
    sums->node = parts_.mail->node();
    sums->window = ++window_;
    for (std::size_t g = 0; g < parts_.groups.size(); ++g) {
      this->request(parts_.groups[g], group_patience, counts_atom::value)
          .then(
              [this, promise, missing, sums, g](const expert_counts& counts) mutable {
                add_new(*sums, counts, reported_[g]);
                reported_[g] = counts;
                if (--*missing > 0) return;
                tell_coordinator(*sums);
                promise.deliver(true);
              },
              [promise, missing](const caf::error&) mutable {
                if (--*missing == 0) promise.deliver(false);
              });
    }
    return promise;
  }

  static void
  add_new(wire::load_report& sums, const expert_counts& now, const expert_counts& before) {
    for (std::size_t l = 0; l < now.rows.size(); ++l) {
      for (std::size_t e = 0; e < now.rows[l].size(); ++e) {
        const std::uint64_t old = before.rows.empty() ? 0 : before.rows[l][e];
        if (now.rows[l][e] == old) continue;
        sums.counts.push_back({layer_index{static_cast<std::uint32_t>(l)},
                               static_cast<std::uint32_t>(e),
                               now.rows[l][e] - old});
      }
    }
  }

  template <class Message>
  void tell_coordinator(const Message& m) {
    const auto sent = parts_.mail->send(agent_slot, {parts_.coordinator_node, coordinator_slot}, m);
    if (sent.has_error()) log_error("coordinator not reached: " + sent.error().message());
  }

  agent_parts parts_;
  std::vector<expert_counts> reported_;
  std::uint64_t window_ = 0;
};

}  // namespace

agent_actor spawn_agent(caf::actor_system& system, const agent_parts& parts) {
  auto self = system.spawn<agent>(parts);
  parts.mail->bind(agent_slot,
                   [self](incoming_ptr message) { caf::anon_send(self, std::move(message)); });
  return self;
}

}  // namespace atl::actors
