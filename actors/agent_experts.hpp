// The part of a node agent that is about weights: brings experts into memory as ordered, hands them
// to groups, and answers other nodes that fetch them.
//
//   load -> (own checkpoint | fetch from a peer) -> check row, a job -> held -> the groups take it
//   on -> placed
//   release -> the groups let go of it -> the memory goes back when no job uses it any more
//
// One expert is loaded once, whichever and however many orders ask for it; an order that comes
// again is answered again. An order for an epoch before that of a release is refused as stale, and
// a release older than a load of the same expert is ignored, so that repeats do no harm.
//
// Threads: the agent's handlers only.
#pragma once

#include "actors/agent.hpp"
#include "experts/store/expert_fetch.hpp"
#include "experts/store/expert_store.hpp"

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

namespace atl::actors {

class agent_experts {
public:
  /// `placed` tells the coordinator.
  agent_experts(agent_actor::pointer self,
                const agent_parts& parts,
                std::function<void(const transport::wire::placed&)> placed);

  /// The first group of this node has this id.
  void set_group_first(std::uint32_t id) noexcept { group_first_ = id; }

  void load(const transport::wire::load& what);
  void release(const transport::wire::release& what);
  void answer(transport::address from, const transport::wire::fetch& what);
  /// The message's body is a chunk.
  void take(const incoming_ptr& message);
  void note_end(const job_ended& job);
  void lose(node_id peer, const std::string& why);
  void look_at_deadlines();

  /// What the first group holds, by layer and expert.
  std::vector<transport::wire::checked_expert> held() const;
  std::uint64_t bytes() const;

private:
  using expert_key = experts::expert_key;

  struct order {
    transport::wire::load what;
    std::size_t missing = 0;
    std::uint64_t bytes = 0;
    std::optional<error> failure;
    std::vector<transport::wire::checked_expert> held;
  };
  using order_ptr = std::shared_ptr<order>;

  /// An expert in a group, or on its way there.
  struct tenancy {
    epoch since;           // of the last order
    std::uint64_t id = 0;  // tells answers to this tenancy from those to an earlier one
    bool is_held = false;
    std::uint64_t bytes = 0;  // of the group, when it was taken on
    std::vector<order_ptr> waiting;
  };
  using tenant = std::pair<expert_key, std::uint32_t>;  // in the group of this slot

  /// An expert that is being brought into memory.
  struct loading {
    std::uint64_t id = 0;
    std::vector<node_id> sources;
    std::optional<experts::expert_fetch> fetch;
    std::uint32_t copies = 0;  // jobs under way
    experts::resident_ptr weights;
  };

  using queued = std::pair<std::uint64_t, expert_key>;  // and the id of its loading

  struct check_job;
  struct sending;

  void add_tenant(const order_ptr& o, std::uint32_t slot, const expert_key& key);
  void begin(const expert_key& key, const std::vector<node_id>& sources);
  void add_sources(const expert_key& key, const std::vector<node_id>& sources);
  loading* pop(std::deque<queued>& from, expert_key& key);
  void go_on();
  void ask(const expert_key& key);
  void finish_fetch(const expert_key& key);
  void start_check(const expert_key& key, const loading& l);
  void note_check(const check_job& job);
  void fail(const expert_key& key, const error& why);
  void hand_over(const expert_key& key);
  void request_hold(const tenant& who, tenancy& of);
  void note_hold(const tenant& who, std::uint64_t id, const hold_answer& answer);
  void forget_if_unwanted(const expert_key& key);
  void
  settle(const order_ptr& o, const expert_key& key, const tenancy* of, std::optional<error> why);
  std::vector<tenant> tenants_of(const expert_key& key) const;
  std::optional<error> objection(const transport::wire::load& what) const;
  void send_chunk(transport::address to, const transport::wire::chunk& c);

  agent_actor::pointer self_;
  const agent_parts& parts_;
  std::function<void(const transport::wire::placed&)> placed_;
  std::optional<experts::expert_store> store_;  // on nodes with groups
  std::uint32_t group_first_ = 0;
  std::uint64_t last_id_ = 0;
  std::vector<order_ptr> orders_;  // open
  std::map<tenant, tenancy> tenants_;
  std::map<tenant, epoch> released_;  // the last
  std::map<expert_key, loading> loading_;
  std::map<std::uint64_t, expert_key> fetching_;  // of those, by id
  std::deque<queued> to_fetch_;
  std::deque<queued> to_check_;
  std::shared_ptr<check_job> checking_;
  std::map<std::uint64_t, std::shared_ptr<sending>> sending_;
  std::shared_ptr<memory_budget> chunks_out_;
  bool is_watching_ = false;  // a look at deadlines is due
};

}  // namespace atl::actors
