#include "actors/coordinator.hpp"

#include "actors/uncaught.hpp"
#include "runtime/base/assert.hpp"
#include "runtime/base/log.hpp"

#include <caf/actor_system.hpp>
#include <caf/send.hpp>
#include <caf/typed_event_based_actor.hpp>

#include <algorithm>
#include <deque>
#include <utility>

namespace atl::actors {
namespace {

namespace wire = transport::wire;

// A disk that was full or gone may be back.
constexpr auto journal_again = std::chrono::seconds{1};
// Timers may be early by their own resolution.
constexpr auto timer_slack = std::chrono::milliseconds{1};

cluster::member_state state_of(peer_state s) {
  switch (s) {
  case peer_state::alive: return cluster::member_state::alive;
  case peer_state::suspect: return cluster::member_state::suspect;
  case peer_state::dead: break;
  }
  return cluster::member_state::dead;
}

class coordinator final : public coordinator_actor::base {
public:
  coordinator(caf::actor_config& config, coordinator_parts parts)
      : coordinator_actor::base{config},
        parts_{std::move(parts)},
        control_{parts_.settings, std::move(parts_.restored), parts_.time->now()} {
    end_process_on_exception(*this);
    counts_.rows.assign(static_cast<std::size_t>(parts_.layers),
                        std::vector<std::uint64_t>(parts_.settings.model.shape.experts, 0));
  }

  behavior_type make_behavior() override {
    return {
        [this](const incoming_ptr& message) { hear(*message); },
        [this](const peer_changed& p) {
          control_.peer_changed(p.peer, p.path, state_of(p.state), p.why, now());
          go_on();
        },
        [this](start_atom) { start(); },
        [this](tick_atom) {
          // An earlier one has overtaken it: what it was for is armed again, or over.
          if (!armed_ || now() + timer_slack < *armed_) return;
          armed_.reset();
          control_.tick(now());
          go_on();
        },
        [this](const control_call_ptr& call) { obey(call); },
        [this](const journal_answer& answer) { journal_told(answer); },
        [this](const plan_answer& answer) {
          control_.planned(answer.job, *answer.plan, now());
          go_on();
        },
        [this](counts_atom) { return counts_; },
    };
  }

  const char* name() const override { return "coordinator"; }

private:
  struct waiting_call {
    std::uint64_t records = 0;  // so many have to be durable
    std::function<void(result<void>)> done;
  };

  time_point_ns now() const { return parts_.time->now(); }

  void start() {
    control_.tick(now());
    go_on();
  }

  void hear(const incoming& message) {
    const transport::node_identity from{message.source.node, message.sender};
    if (const auto* m = std::get_if<wire::join>(&message.body)) control_.joined(from, *m, now());
    if (const auto* m = std::get_if<wire::placed>(&message.body)) control_.placed(from, *m, now());
    if (const auto* m = std::get_if<wire::adopted>(&message.body))
      control_.adopted(from, *m, now());
    if (const auto* m = std::get_if<wire::load_report>(&message.body)) {
      add_loads(*m);
      control_.reported(from, *m, now());
    }
    if (const auto* m = std::get_if<wire::path_report>(&message.body))
      control_.path_reported(from, *m, now());
    if (const auto* m = std::get_if<wire::leave>(&message.body)) control_.leaving(from, *m, now());
    go_on();
  }

  void obey(const control_call_ptr& call) {
    call->run(control_, now());
    take_effects();
    if (call->done) calls_.push_back({records_taken_, call->done});
    go_on();
  }

  void take_effects() {
    for (auto& e : control_.take_effects()) {
      if (auto* r = std::get_if<cluster::record_effect>(&e)) {
        to_write_.push_back(std::move(*r));
        ++records_taken_;
      } else if (const auto* p = std::get_if<cluster::plan_effect>(&e)) {
        have_planned(*p);
      } else {
        // Everything behind a record that is not written yet waits for it.
        queue_.push_back({records_taken_, std::move(e)});
      }
    }
  }

  void have_planned(const cluster::plan_effect& p) {
    ATOLL_ASSERT(parts_.plan);
    const coordinator_actor self{this};
    parts_.plan(p.input, [self, job = p.job](result<cluster::elastic_plan> made) {
      const plan_answer answer{
          job, std::make_shared<const result<cluster::elastic_plan>>(std::move(made))};
      caf::anon_send(self, answer);
    });
  }

  /// Carries out what can be, writes what has to be, and sees to being called again.
  void go_on() {
    take_effects();
    write();
    carry_out();
    answer_calls();
    if (const auto due = control_.next_due()) arm(*due);
    tell_ready();
  }

  void write() {
    if (is_writing_ || to_write_.empty()) return;
    if (!parts_.journal) {
      records_passed_ = records_durable_ = records_taken_;
      to_write_.clear();
      return;
    }
    std::vector<std::string> batch;
    for (const auto& r : to_write_) batch.push_back(r.bytes);
    is_writing_ = true;
    const coordinator_actor self{this};
    const std::uint64_t count = batch.size();
    parts_.journal(std::move(batch), [self, count](const result<void>& outcome) {
      journal_answer answer{count, std::nullopt};
      if (outcome.has_error()) answer.failure = outcome.error();
      caf::anon_send(self, std::move(answer));
    });
  }

  void journal_told(const journal_answer& answer) {
    is_writing_ = false;
    const std::uint64_t tried = records_durable_ + answer.records;
    if (!answer.failure) {
      records_durable_ = tried;
      to_write_.erase(to_write_.begin(),
                      to_write_.begin() + static_cast<std::ptrdiff_t>(answer.records));
      records_passed_ = std::max(records_passed_, records_durable_);
      control_.journal_works(true);
      return go_on();
    }
    control_.journal_works(false);
    // What comes after a large record may find room.
    for (auto& r : to_write_)
      if (r.is_bulky) r = {.bytes = "{}", .is_needed = false};
    // What is not needed was tried; the rest holds up all that comes after it.
    const auto needed =
        std::find_if(to_write_.begin(), to_write_.end(), [](const auto& r) { return r.is_needed; });
    const auto passed = static_cast<std::uint64_t>(needed - to_write_.begin());
    records_passed_ = std::max(records_passed_, std::min(tried, records_durable_ + passed));
    for (auto& c : calls_) {
      if (c.records <= records_durable_ || c.records > tried) continue;
      c.done(*answer.failure);
      c.done = nullptr;
    }
    std::erase_if(calls_, [](const waiting_call& c) { return !c.done; });
    carry_out();
    arm(now() + journal_again);
  }

  void carry_out() {
    while (!queue_.empty() && queue_.front().after <= records_passed_) {
      const cluster::effect e = std::move(queue_.front().what);
      queue_.pop_front();
      if (const auto* sent = std::get_if<cluster::send_effect>(&e)) send(*sent);
      if (const auto* told = std::get_if<cluster::event>(&e)) log(*told);
    }
  }

  void send(const cluster::send_effect& e) {
    const bool is_own = e.to == parts_.mail->self();
    const auto* answer = std::get_if<wire::welcome>(&e.body);
    if (is_own && answer != nullptr && answer->cause)
      ready(error{answer->cause->code, answer->cause->text});
    std::visit(
        [&](const auto& body) {
          log_lost(parts_.mail->send(coordinator_slot, {e.to.node, agent_slot}, body), e.to.node);
        },
        e.body);
  }

  /// A node that was not reached says join again, or is found dead.
  static void log_lost(const result<void>& sent, node_id to) {
    if (sent.has_error())
      log_warning("coordinator: node " + std::to_string(to.value) +
                  " was not reached: " + sent.error().message());
  }

  static void log(const cluster::event& e) {
    const bool is_bad = e.kind == "died" || e.kind == "refused" || e.kind == "memory";
    log_event(is_bad ? log_level::warning : log_level::info,
              e.text,
              {{"event", e.kind}, {"revision", e.revision}, {"node", std::uint64_t{e.node.value}}});
  }

  void answer_calls() {
    std::vector<std::function<void(result<void>)>> durable;
    for (auto& c : calls_) {
      if (c.records <= records_durable_) durable.push_back(std::exchange(c.done, nullptr));
    }
    std::erase_if(calls_, [](const waiting_call& c) { return !c.done; });
    for (const auto& tell : durable) tell({});
  }

  void arm(time_point_ns due) {
    if (armed_ && *armed_ <= due) return;
    armed_ = due;
    const auto wait = std::max(due - now(), duration_ns{0});
    this->delayed_send(this, wait + timer_slack, tick_atom::value);
  }

  void tell_ready() {
    if (control_.is_ready()) ready({});
    if (parts_.fails_fast && !control_.trouble().empty())
      ready(error{errc::unavailable, control_.trouble()});
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

  struct queued {
    std::uint64_t after = 0;  // records
    cluster::effect what;
  };

  coordinator_parts parts_;
  cluster::control control_;
  std::deque<queued> queue_;
  std::deque<cluster::record_effect> to_write_;  // the first of them may be being written
  std::vector<waiting_call> calls_;
  std::uint64_t records_taken_ = 0;    // that control has given
  std::uint64_t records_durable_ = 0;  // of those, written
  std::uint64_t records_passed_ = 0;   // of those, what depends on them may be sent
  std::optional<time_point_ns> armed_;
  bool is_writing_ = false;
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
