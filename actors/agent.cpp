#include "actors/agent.hpp"

#include "actors/agent_experts.hpp"
#include "actors/uncaught.hpp"
#include "experts/kernel_cost.hpp"
#include "runtime/base/log.hpp"

#include <caf/actor_system.hpp>
#include <caf/send.hpp>
#include <caf/typed_event_based_actor.hpp>

#include <algorithm>
#include <chrono>
#include <map>
#include <utility>

namespace atl::actors {
namespace {

namespace wire = transport::wire;

// Actors answer questions about their state between two messages.
constexpr auto answer_patience = std::chrono::seconds{60};
constexpr duration_ns report_every = std::chrono::seconds{1};
// Of a node with experts, while rows were computed since the last report.
constexpr duration_ns report_soon = std::chrono::milliseconds{250};
// From one join to the next while no answer comes: doubled each time up to the second.
constexpr duration_ns join_pause = std::chrono::milliseconds{500};
constexpr duration_ns join_pause_max = std::chrono::seconds{2};

/// Lines that differ in times, ports and lives only are the same.
std::string without_numbers(std::string text) {
  std::erase_if(text, [](char c) { return c >= '0' && c <= '9'; });
  return text;
}

/// The answers for one report, as they come in.
struct gathering {
  std::size_t missing = 0;
  bool is_whole = true;
  bool is_due = true;  // also without news of rows
  wire::load_report report;
  std::vector<expert_counts> counts;  // by group
  std::function<void(bool)> told;
};

class agent final : public agent_actor::base {
public:
  agent(caf::actor_config& config, agent_parts parts)
      : agent_actor::base{config},
        parts_{std::move(parts)},
        experts_{this, parts_, [this](const wire::placed& p) { tell_coordinator(p); }},
        reported_(parts_.groups.size()),
        is_member_{!parts_.join},
        is_listed_{!parts_.join} {
    end_process_on_exception(*this);
  }

  behavior_type make_behavior() override {
    return {
        [this](const incoming_ptr& message) { take(message); },
        [this](start_atom) { join_when_due(); },
        [this](overdue_atom) { experts_.look_at_deadlines(); },
        [this](tick_atom) { tick(); },
        [this](const job_ended& job) { experts_.note_end(job); },
        [this](const peer_changed& change) { note_peer(change); },
        [this](const connection_lost& lost) {
          if (lost.path == transport::plane::control) note_path_lost(lost.peer.node);
        },
        [this](const router_epochs& r) {
          epochs_[r.shard] = r;
          tell_adopted();
        },
        [this](report_atom) { return report(); },
    };
  }

  const char* name() const override { return "node_agent"; }

  /// Others know the agent as it knows them; whoever ends lets go, or neither would ever be freed.
  void on_exit() override {
    parts_.groups.clear();
    parts_.routers.clear();
    parts_.shards.clear();
    parts_.gateway = gateway_actor{};
    parts_.members = nullptr;
  }

private:
  // ---- messages ----

  void take(const incoming_ptr& message) {
    const auto& body = message->body;
    if (const auto* ask = std::get_if<wire::fetch>(&body))
      return experts_.answer(message->source, *ask);
    if (std::holds_alternative<wire::chunk>(body)) return experts_.take(message);
    if (message->source.node != parts_.coordinator_node) return;
    if (const auto* w = std::get_if<wire::welcome>(&body)) return note_welcome(*w, message->sender);
    if (const auto* m = std::get_if<wire::members>(&body)) return note_members(*m, message->sender);
    if (const auto* d = std::get_if<wire::dismissed>(&body)) return note_dismissed(*d);
    if (const auto* order = std::get_if<wire::load>(&body)) return experts_.load(*order);
    if (const auto* order = std::get_if<wire::release>(&body)) return experts_.release(*order);
    if (std::holds_alternative<wire::place>(body))
      for (const auto& r : parts_.routers) this->send(r, message);
  }

  template <class Message>
  result<void> try_tell_coordinator(const Message& m) {
    return parts_.mail->send(agent_slot, {parts_.coordinator_node, coordinator_slot}, m);
  }

  /// What is lost with an absent coordinator is asked for, or told, again once it is back.
  template <class Message>
  void tell_coordinator(const Message& m) {
    const auto sent = try_tell_coordinator(m);
    if (sent.has_value()) return;
    say_once("coordinator not reached: " + sent.error().message());
    // A later life of this node, which is not of this process: it would begin that one itself.
    if (sent.error().code() == errc::stale_epoch && parts_.refused && !is_refused_) {
      is_refused_ = true;
      parts_.refused(error{errc::unavailable, sent.error().message()});
    }
  }

  /// What would repeat until this node is a member, or one again.
  void say_once(const std::string& what) {
    if (std::exchange(said_, without_numbers(what)) != without_numbers(what)) log_warning(what);
  }

  // ---- membership ----

  void join_when_due() {
    is_join_due_ = false;
    if ((is_member_ && is_listed_) || is_refused_) return;
    wire::join m = *parts_.join;
    m.epoch = adopted().epoch;
    m.held = experts_.held();
    tell_coordinator(m);
    is_join_due_ = true;
    this->delayed_send(this, pause_, start_atom::value);
    pause_ = std::min(2 * pause_, join_pause_max);
  }

  /// Until its members come, a coordinator is not watched, and if it dies nobody would say so: join
  /// is said again until then.
  void note_welcome(const wire::welcome& w, incarnation by) {
    if (!parts_.join || (is_member_ && (is_listed_ || by <= welcomed_by_))) return;
    if (w.cause) {
      // A coordinator that is only starting says so; it is asked again.
      if (w.cause->code == errc::unavailable || w.cause->code == errc::overloaded)
        return say_once("not a member yet: " + w.cause->text);
      is_refused_ = true;
      if (parts_.refused) parts_.refused(error{w.cause->code, w.cause->text});
      return;
    }
    is_member_ = true;
    is_listed_ = false;
    welcomed_by_ = by;
    pause_ = join_pause;
    experts_.set_group_first(w.group_first);
    if (parts_.welcomed) parts_.welcomed(w);
    told_ = {};
    tell_adopted();
  }

  void note_members(const wire::members& m, incarnation by) {
    is_listed_ = is_listed_ || by >= welcomed_by_;
    if (is_listed_) said_.clear();
    if (members_ != nullptr && m.version < members_->version) return;
    const auto before = std::exchange(members_, std::make_shared<const wire::members>(m));
    for (const auto& other : m.list)
      if (other.state == wire::member_state::dead) experts_.lose(other.node, "it is dead");
    if (before != nullptr)
      for (const auto& other : before->list)
        if (!is_member(other.node)) experts_.lose(other.node, "it is no member any more");
    if (parts_.members) parts_.members(members_);
  }

  bool is_member(node_id node) const {
    return std::any_of(members_->list.begin(), members_->list.end(), [node](const auto& m) {
      return m.node == node;
    });
  }

  void note_dismissed(const wire::dismissed& d) {
    if (d.life != parts_.mail->self().life || !parts_.dismissed) return;
    parts_.dismissed(d.cause ? std::optional{error{d.cause->code, d.cause->text}} : std::nullopt);
  }

  void note_peer(const peer_changed& change) {
    if (change.state != peer_state::dead) return;
    if (change.path == transport::plane::control) return note_path_lost(change.peer.node);
    experts_.lose(change.peer.node, change.why);
  }

  void note_path_lost(node_id peer) {
    if (peer != parts_.coordinator_node || !parts_.join || !is_member_) return;
    is_member_ = is_listed_ = false;
    if (!is_join_due_) join_when_due();
  }

  // ---- placement ----

  wire::adopted adopted() const {
    wire::adopted all;
    if (epochs_.empty() || epochs_.size() < parts_.routers.size()) return all;
    all = {epochs_.begin()->second.current, epochs_.begin()->second.oldest};
    for (const auto& [shard, r] : epochs_) {
      all.epoch = std::min(all.epoch, r.current);
      all.oldest = std::min(all.oldest, r.oldest);
    }
    all.oldest = std::min(all.oldest, all.epoch);
    return all;
  }

  void tell_adopted() {
    const wire::adopted now = adopted();
    if (now == told_ || !is_member_) return;
    told_ = now;
    if (parts_.adopted && now.epoch.value > 0) parts_.adopted(now.epoch);
    tell_coordinator(now);
  }

  // ---- reports ----

  void tick() {
    this->delayed_send(this, parts_.groups.empty() ? report_every : report_soon, tick_atom::value);
    if (!is_member_ || gatherings_ > 0) return;
    const bool is_due = !reported_at_ || parts_.time->now() - *reported_at_ >= report_every;
    gather(is_due, [](bool) {});
  }

  caf::result<bool> report() {
    auto promise = this->make_response_promise<bool>();
    gather(true, [promise](bool is_told) mutable { promise.deliver(is_told); });
    return promise;
  }

  void gather(bool is_due, std::function<void(bool)> told) {
    auto g = std::make_shared<gathering>();
    g->is_due = is_due;
    g->told = std::move(told);
    g->counts.resize(parts_.groups.size());
    g->missing = parts_.groups.size() + parts_.shards.size() + parts_.routers.size() +
                 (parts_.gateway ? 1 : 0);
    ++gatherings_;
    if (g->missing == 0) return finish(*g);
    for (std::size_t i = 0; i < parts_.groups.size(); ++i)
      this->request(parts_.groups[i], answer_patience, counts_atom::value)
          .then(
              [this, g, i](const expert_counts& c) {
                g->counts[i] = c;
                note_answer(*g, true);
              },
              [this, g](const caf::error&) { note_answer(*g, false); });
    for (const auto& s : parts_.shards) add_held(g, s);
    for (const auto& r : parts_.routers) add_held(g, r);
    if (parts_.gateway) add_held(g, parts_.gateway);
  }

  template <class Handle>
  void add_held(const std::shared_ptr<gathering>& g, const Handle& whom) {
    this->request(whom, answer_patience, held_atom::value)
        .then(
            [this, g](const held& h) {
              g->report.requests += h.requests;
              g->report.sequences += h.sequences;
              g->report.pages_used += h.pages_used;
              g->report.rows_in_flight += h.rows_in_flight;
              note_answer(*g, true);
            },
            [this, g](const caf::error&) { note_answer(*g, false); });
  }

  void note_answer(gathering& g, bool is_there) {
    g.is_whole = g.is_whole && is_there;
    if (--g.missing == 0) finish(g);
  }

  void finish(gathering& g) {
    --gatherings_;
    wire::load_report& r = g.report;
    r.node = parts_.mail->node();
    for (std::size_t i = 0; i < g.counts.size(); ++i) add_new(r, g.counts[i], reported_[i]);
    if (!g.is_due && r.counts.empty()) return g.told(false);
    r.window = ++window_;
    r.expert_bytes = experts_.bytes();
    if (g.is_whole) add_speed(r, g.counts);
    reported_at_ = parts_.time->now();
    const bool is_told = g.is_whole && try_tell_coordinator(r).has_value();
    // Rows that nobody was told of are in the next report.
    if (is_told) reported_ = std::move(g.counts);
    g.told(is_told);
  }

  void add_speed(wire::load_report& r, const std::vector<expert_counts>& all) {
    double expected_ns = 0;
    std::uint64_t quota_ns = 0;
    for (const expert_counts& c : all) {
      r.busy_ns += c.busy_ns;
      expected_ns += c.expected_ns;
      quota_ns += c.quota_ns;
    }
    // A burst takes less time than its quota grants it in; what else disturbs a job takes more.
    const std::uint64_t taken_ns = std::max(r.busy_ns - std::exchange(busy_ns_, r.busy_ns),
                                            quota_ns - std::exchange(quota_ns_, quota_ns));
    speed_.add(expected_ns - std::exchange(expected_ns_, expected_ns),
               static_cast<double>(taken_ns));
    const auto ratio = speed_.correction();
    if (parts_.join && ratio)
      r.speed_now = std::min(static_cast<float>(parts_.join->speed * *ratio), wire::speed_max);
  }

  static void
  add_new(wire::load_report& sums, const expert_counts& now, const expert_counts& before) {
    for (std::size_t l = 0; l < now.rows.size(); ++l) {
      for (std::size_t e = 0; e < now.rows[l].size(); ++e) {
        const std::uint64_t old = before.rows.empty() ? 0 : before.rows[l][e];
        if (now.rows[l][e] <= old) continue;
        sums.counts.push_back({layer_index{static_cast<std::uint32_t>(l)},
                               static_cast<std::uint32_t>(e),
                               now.rows[l][e] - old});
      }
    }
  }

  agent_parts parts_;
  agent_experts experts_;
  std::vector<expert_counts> reported_;  // by group
  std::uint64_t window_ = 0;
  std::optional<time_point_ns> reported_at_;
  experts::speed_observer speed_;
  double expected_ns_ = 0;      // of all groups, at the last report
  std::uint64_t busy_ns_ = 0;   // likewise
  std::uint64_t quota_ns_ = 0;  // likewise
  std::size_t gatherings_ = 0;  // under way
  bool is_member_;
  bool is_listed_;  // members came from who welcomed it
  incarnation welcomed_by_;
  bool is_refused_ = false;
  bool is_join_due_ = false;  // a start_atom is on the way
  std::string said_;          // of why it is no member, without numbers
  duration_ns pause_ = join_pause;
  members_ptr members_;  // the last
  std::map<shard_id, router_epochs> epochs_;
  wire::adopted told_;
};

}  // namespace

agent_actor spawn_agent(caf::actor_system& system, const agent_parts& parts) {
  auto self = system.spawn<agent>(parts);
  parts.mail->bind(agent_slot,
                   [self](incoming_ptr message) { caf::anon_send(self, std::move(message)); });
  return self;
}

}  // namespace atl::actors
