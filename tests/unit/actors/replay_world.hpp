// Gateways and attention shards as nodes of their own in one thread, in virtual time: real gateway
// and shard actors over mailrooms and a simulated network, whose nodes can be killed, restarted,
// declared suspect or dead, and whose frames can be lost. Between them they need no coordinator:
// the test says who the members are and what the heartbeats think. The experts are a stand-in: each
// row of the routed experts' sum is a function of that row alone, as it is with real ones.
#pragma once

#include "actors/gateway.hpp"
#include "actors/shard.hpp"
#include "runtime/base/random.hpp"
#include "runtime/model/tokenizer.hpp"
#include "runtime/tensor/inline_device.hpp"
#include "transport/sim/sim.hpp"

#include <caf/actor_system.hpp>
#include <caf/actor_system_config.hpp>
#include <caf/scheduler/test_coordinator.hpp>

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace atl::actors::replay {

using transport::wire::member_state;

/// All that a request's listener was told.
struct answer {
  std::vector<token_id> tokens;
  std::vector<token_logprobs> logprobs;
  std::vector<token_logprobs> prompt_logprobs;
  std::map<std::string, std::vector<float>> rows;  // by what and layer, in order of position
  std::vector<std::string> disorder;               // rows out of order, events after the end
  generation_event last;
  bool is_ended = false;
  bool is_gone = false;
  time_point_ns ended;
};

struct options {
  int shard_nodes = 2;
  int gateways = 1;
  std::int64_t sequences_max = 4;
  std::int64_t pages = 64;
  std::int64_t prefill_chunk = 16;
  std::uint64_t seed = 1;
  gateway_patience patience = {};
};

class world {
public:
  explicit world(const options& chosen = {});
  ~world();
  world(const world&) = delete;
  world& operator=(const world&) = delete;

  // Nodes: gateways are 1, 2, ...; shards 11, 12, ....
  static node_id gateway_node(int i) { return node_id{static_cast<std::uint32_t>(1 + i)}; }
  static node_id shard_node(int i) { return node_id{static_cast<std::uint32_t>(11 + i)}; }

  /// It ends at once, and says nothing.
  void kill(node_id id);
  /// A later life of a node that was killed; no member until tell_members().
  void start(node_id id);
  void set_state(node_id id, member_state state) { nodes_.at(id).state = state; }
  /// All nodes that live, and those killed that are not `dead` yet.
  void tell_members();
  /// The heartbeats of the others say so of the node's present or last life.
  void tell_state(node_id id, peer_state state);

  /// False loses the frame.
  std::function<bool(node_id from, const transport::frame&)> passes;
  /// What the next calls of the routed experts at this node end with.
  std::map<node_id, error> experts_fail;

  /// Null when the desk of that gateway refused it (see `refusal`).
  std::shared_ptr<answer> ask(const generation_request& request, int gateway = 0);
  void cancel(const std::shared_ptr<answer>& whose, int gateway = 0);
  result<void> refusal = {};

  /// False if nothing more happens for `patience` of virtual time, or after too many turns.
  bool run_until(const std::function<bool()>& is_met,
                 duration_ns patience = std::chrono::seconds{60});
  /// This much virtual time goes by.
  void run_for(duration_ns time);
  time_point_ns now() const { return time_->now(); }

  held held_by_shard(node_id id);
  held held_by_gateway(int gateway = 0);
  /// The node to which the last submit of any request went.
  node_id last_submit_to() const { return last_submit_; }
  std::uint64_t submits() const { return submits_; }
  /// Tokens that the last submit said were told already.
  std::size_t last_submit_emitted() const { return last_emitted_; }
  front_desk& desk(int gateway = 0) { return *nodes_.at(gateway_node(gateway)).desk; }

private:
  struct node {
    incarnation life;
    member_state state = member_state::alive;
    bool is_up = false;
    std::shared_ptr<mailroom> mail;
    std::shared_ptr<front_desk> desk;  // of a gateway
    gateway_actor gateway;
    shard_actor shard;
    caf::actor router;
  };
  class filter;

  bool turn();
  bool event();
  void wait();
  void add_gateway(node& n);
  void add_shard(node_id id, node& n);
  void end(node& n);

  options options_;
  random_source random_;
  std::shared_ptr<virtual_clock> time_;
  transport::sim_network network_;
  std::unique_ptr<tensor::device> device_;
  std::shared_ptr<model::constraint_cache> grammars_;
  caf::actor_system_config config_;
  std::optional<caf::actor_system> system_;
  caf::scheduler::test_coordinator* scheduler_ = nullptr;
  std::map<node_id, node> nodes_;
  std::vector<node> graveyard_;
  std::map<answer*, request_id> ids_;
  std::map<node_id, std::uint64_t> last_request_;  // by gateway: each counts from 1
  std::uint64_t version_ = 0;
  node_id last_submit_;
  std::uint64_t submits_ = 0;
  std::size_t last_emitted_ = 0;
};

/// Of models/tiny.
std::shared_ptr<const model::tokenizer> words();

}  // namespace atl::actors::replay
