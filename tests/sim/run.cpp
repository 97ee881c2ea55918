#include "tests/sim/run.hpp"

#include "runtime/base/log.hpp"
#include "tests/sim/mutation.hpp"
#include "tests/sim/overseer.hpp"
#include "tests/sim/striker.hpp"

#include <caf/send.hpp>

#include <algorithm>
#include <utility>

namespace atl::sim {
namespace {

namespace wire = transport::wire;
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr std::size_t requests_of_a_run = 24;
constexpr std::size_t requests_known = 40;
// Of a run whose load is skewed, and shifts: so many ask the same few things, for a while.
constexpr std::size_t requests_of_a_skewed_run = 48;
constexpr std::size_t requests_in_fashion = 2;
constexpr int fashions = 3;
constexpr std::size_t moves_of_a_restless_run = 3;
constexpr duration_ns ready_within = seconds{15};
constexpr duration_ns run_least = seconds{60};
// After healing: nodes that were given up begin new lives and join (a join is repeated every 2 s),
// copies are made anew, and a gateway asks after 15 s of silence.
constexpr duration_ns done_within = seconds{40};
constexpr duration_ns rest_within = seconds{20};
// A node that froze is dead after 2.3 s where only its hearing shows it; its requests go elsewhere
// and their prompts are computed again.
constexpr duration_ns gap_max = milliseconds{3000};
// Errors of a cluster that lacks nodes come up to 3 s after the last node was lost.
constexpr duration_ns errors_after_healing = seconds{8};

constexpr const char* plan_is_open = "a plan is still being applied";

actors::generation_request known_request(std::size_t i) {
  random_source random{1000 + i};
  actors::generation_request r;
  // A third begin alike, with a whole page.
  const std::size_t common = i % 3 == 0 ? 66 : 0;
  for (std::size_t k = 0; k < common; ++k)
    r.prompt.push_back(static_cast<token_id>((k * 37 + 11) % 256));
  const std::size_t own = 1 + random.below(common > 0 ? 20 : 60);
  for (std::size_t k = 0; k < own; ++k)
    r.prompt.push_back(static_cast<token_id>(random.below(256)));
  r.tokens_max = static_cast<std::int64_t>(6 + random.below(24));
  r.ignore_eos = true;
  if (i % 4 == 1) {
    r.sampling.temperature = 0.9F;
    r.sampling.seed = 77 + i;
  }
  if (i % 5 == 2) r.logprobs_top = 1;
  return r;
}

/// A share of the seeds: load is skewed and shifts, and experts are moved after it, in small plans.
bool is_restless(std::uint64_t seed) { return seed % 5 >= 3; }

world_plan draw_world(random_source& random, std::uint64_t seed) {
  world_plan plan;
  plan.seed = seed;
  std::uint32_t id = 0;
  const auto add = [&](std::uint32_t roles, bool has_checkpoint) {
    plan.nodes.push_back({node_id{++id}, roles, has_checkpoint});
  };
  add(wire::role_coordinator, false);
  const std::uint64_t gateways = 1 + random.below(2);
  const std::uint64_t experts = 3 + random.below(2);
  for (std::uint64_t i = 0; i < gateways; ++i) add(wire::role_gateway, false);
  for (int i = 0; i < 2; ++i) add(wire::role_attention, true);
  for (std::uint64_t i = 0; i < experts; ++i) add(wire::role_expert, i < 2 || random.below(3) > 0);
  plan.experts_max = experts == 4 && random.below(2) == 0 ? 12 : 16;
  plan.prefill_chunk = static_cast<std::int64_t>(8 + random.below(40));
  plan.lane_sequences_min = random.below(3) == 0 ? 8 : 1;
  if (seed % 5 == 0) plan.policy = cluster::balance_policy::off;
  if (is_restless(seed)) plan.moves_max = moves_of_a_restless_run;
  plan.group_rows_max = static_cast<std::int64_t>(8 + random.below(40));
  return plan;
}

class run {
public:
  run(const std::shared_ptr<const model::model_weights>& weights,
      const request_book& book,
      const run_options& options)
      : options_{options},
        random_{options.seed ^ 0x5eed'0000'0000'0000},
        broken_{options.mutation},
        world_{planned(), weights},
        overseer_{world_, found_},
        striker_{world_, overseer_, found_},
        book_{book} {
    broken_.change(world_.wires());
    faults_ = draw_faults(random_, world_.plan(), options.allowed);
    world_.wires().observe(
        [this](transport::plane path, transport::node_identity from, node_id, transport::frame& f) {
          return see(path, from, f);
        });
    world_.set_hooks(
        {[this](life& of, const result<void>& outcome) {
           if (outcome.has_error()) striker_.ended(of, outcome.error());
         },
         [this](life& of, const std::optional<error>& why) { striker_.ended(of, why); },
         [this](const std::string& r) { return broken_.keeps_record(r); },
         [this](life&, bool is_durable) { striker_.at_record(is_durable); },
         [this](life&) { striker_.compacted(); },
         [this](life& of, const std::string& what) { striker_.crashed(of, what); }});
  }

  ~run() { world_.shut_down(); }
  run(const run&) = delete;
  run& operator=(const run&) = delete;

  run_report go() {
    begin();
    if (!found_.first()) disturb();
    if (!found_.first()) come_to_rest();
    return report();
  }

  std::vector<reference> answers() const { return clients_->answers(); }

private:
  world_plan planned() {
    auto plan = draw_world(random_, options_.seed);
    broken_.change(plan);
    return plan;
  }

  bool see(transport::plane path, transport::node_identity from, transport::frame& f) {
    if (!broken_.passes(f, from)) return false;
    overseer_.see(path, from, f);
    return striker_.passes(from, f);
  }

  template <class Condition>
  bool until(Condition is_met, time_point_ns deadline) {
    while (!found_.first() && !is_met()) {
      if (world_.now() > deadline) return false;
      if (!world_.step()) return false;
      tell_time();
    }
    return !found_.first();
  }

  void begin() {
    for (const auto& n : world_.plan().nodes) {
      const auto started = world_.start(n.id);
      if (started.has_error())
        return found_.fail("I7", "a node does not start: " + started.error().message(), now());
    }
    const bool is_ready = until(
        [&] {
          return std::all_of(world_.plan().nodes.begin(),
                             world_.plan().nodes.end(),
                             [&](const node_plan& n) { return world_.at(n.id)->is_ready; });
        },
        now() + ready_within);
    if (!is_ready) found_.fail("I7", "the cluster does not become ready", now());
    broken_.begin();
  }

  /// For who reads what the nodes log.
  void tell_time() {
    if (!is_logged(log_level::info) || now() < told_until_) return;
    log_info("--- " + std::to_string(now().value / 1'000'000) + " ms");
    told_until_ = now() + milliseconds{200};
  }

  void disturb() {
    const time_point_ns start = now();
    clients_.emplace(world_, found_, draw_requests(start));
    broken_.change(*clients_);
    clients_->set_errors_allowed(!faults_.is_mild);
    if (faults_.is_mild)
      clients_->set_excuse([this](node_id gateway) { return overseer_.was_touched(gateway); });
    clients_->set_lateness_allowed(!options_.allowed.empty());
    striker_.set_clients(*clients_);
    if (is_restless(options_.seed)) striker_.set_restless();
    for (const auto& f : faults_.list)
      world_.events()->at(start + f.from, [this, &f] { striker_.strike(f); });
    if (faults_.is_mild && is_quick()) clients_->set_gap_limit(gap_max);
    // Two faults at once may take both copies.
    world_.events()->at(start + faults_.one_by_one, [this] {
      clients_->set_errors_allowed(true);
      clients_->set_gap_limit(std::nullopt);
    });
    const time_point_ns healed = start + faults_.until;
    until([&] { return now() >= healed; }, healed + seconds{1});
    if (found_.first()) return;
    striker_.heal();
    world_.after(errors_after_healing, [this] { clients_->set_errors_allowed(false); });
    const bool is_done =
        until([&] { return clients_->is_done(); }, std::max(now(), healed) + done_within);
    if (!is_done) return found_.fail("I7", "not done: " + clients_->unfinished(), now());
    until([&] { return now() >= start + run_least; }, start + run_least + seconds{1});
  }

  /// Whether no fault that comes alone makes nodes slow or loses frames in silence.
  bool is_quick() const {
    return std::none_of(faults_.list.begin(), faults_.list.end(), [this](const fault& f) {
      return f.from < faults_.one_by_one &&
             (f.kind == fault_kind::delay || f.kind == fault_kind::loss ||
              f.kind == fault_kind::corrupt || f.kind == fault_kind::slow ||
              f.kind == fault_kind::memory);
    });
  }

  std::vector<client_request> draw_requests(time_point_ns start) {
    std::vector<client_request> all;
    const bool makes_reference = book_.size() == 0;
    const bool is_skewed = !makes_reference && is_restless(options_.seed);
    const std::size_t count = makes_reference ? requests_known
                              : is_skewed     ? requests_of_a_skewed_run
                                              : requests_of_a_run;
    const auto span = static_cast<std::uint64_t>(faults_.until.count());
    for (std::size_t i = 0; i < count; ++i) {
      client_request r;
      if (makes_reference) {
        r.what = known_request(i);
      } else {
        r = book_.at(random_.below(book_.size()));
        if (random_.below(8) == 0)
          r.what.timeout = milliseconds{500 + static_cast<std::int64_t>(random_.below(15'000))};
      }
      // Some come together.
      r.at = !all.empty() && random_.below(2) == 0
                 ? all.back().at
                 : start + duration_ns{static_cast<std::int64_t>(random_.below(span))};
      if (is_skewed) {
        const auto fashion = static_cast<std::size_t>((r.at - start).count() * fashions /
                                                      static_cast<std::int64_t>(span));
        const std::size_t which = random_.below(requests_in_fashion);
        const auto timeout = r.what.timeout;
        const time_point_ns at = r.at;
        r = book_.at((options_.seed + fashion * requests_in_fashion + which) % book_.size());
        r.what.timeout = timeout;
        r.at = at;
      }
      all.push_back(std::move(r));
    }
    return all;
  }

  /// Nothing is held, nobody of a dead life is left, and the coordinator says what is true.
  void come_to_rest() {
    const time_point_ns begun = now();
    std::string what_is_held, what_is_untrue;
    while (true) {
      const time_point_ns next = now() + seconds{1};
      until([&] { return now() >= next; }, next + seconds{1});
      if (found_.first()) return;
      what_is_held = held();
      what_is_untrue = untrue();
      if (what_is_held.empty() && what_is_untrue.empty()) return check_drops();
      // A plan that cannot come true is given up after a while, and nothing else waits for it.
      const bool is_of_plan = what_is_held.empty() && what_is_untrue == plan_is_open;
      if (now() > begun + rest_within + (is_of_plan ? cluster::change_patience : duration_ns{0}))
        break;
      striker_.undo_operations();
    }
    if (!what_is_held.empty()) return found_.fail("I4", what_is_held, now());
    found_.fail("I10", what_is_untrue, now());
  }

  /// Whether every living node has dropped what it had to: frames that came twice, and those of
  /// lives that are over.
  void check_drops() {
    for (const auto& n : world_.plan().nodes) {
      const life& l = *world_.at(n.id);
      if (l.is_dead) continue;
      const auto dropped = l.all->mail->counts();
      const auto data = l.data->repeats(), control = l.control->repeats();
      const std::string who = "node " + std::to_string(n.id.value) + " took ";
      const std::uint64_t stale = data.stale + control.stale;
      const std::uint64_t repeated = data.repeated + control.repeated;
      if (dropped.stale < stale)
        found_.fail("I9",
                    who + "frames of lives that are over: of " + std::to_string(stale) +
                        " it dropped " + std::to_string(dropped.stale),
                    now());
      if (dropped.repeated + dropped.stale < repeated + stale)
        found_.fail("I2",
                    who + "frames twice: of " + std::to_string(repeated) + " repeats it dropped " +
                        std::to_string(dropped.repeated),
                    now());
    }
  }

  std::string held() {
    const auto h = world_.held_by_all();
    std::string what;
    const auto note = [&](std::uint64_t n, const char* name) {
      if (n > 0) what += (what.empty() ? "" : ", ") + std::to_string(n) + " " + name;
    };
    note(h.requests, "requests");
    note(h.sequences, "sequences");
    note(h.pages_used, "pages");
    note(h.rows_in_flight, "rows in flight");
    const std::size_t running = world_.actors_running();
    const std::size_t wanted = world_.actors_of_living();
    if (running > wanted) note(running - wanted, "actors of dead lives");
    for (const auto& n : world_.plan().nodes) {
      const auto& desk = world_.at(n.id)->all->desk;
      if (desk == nullptr) continue;
      const auto f = desk->now();
      note(static_cast<std::uint64_t>(f.running + f.waiting + f.tokens_reserved),
           "places at a door");
    }
    return what;
  }

  std::string untrue() {
    const auto& coordinator = world_.at(world_.plan().nodes.front().id);
    std::optional<cluster::cluster_view> view;
    bool is_plan_open = false;
    plans_.clear();
    caf::anon_send(coordinator->all->coordinator,
                   std::make_shared<actors::control_call>(
                       actors::control_call{[&](cluster::control& c, time_point_ns t) {
                                              view = c.view(t);
                                              for (const auto& [id, p] : c.kept().plans) {
                                                note_plan(p);
                                                if (p.state == cluster::plan_state::applying)
                                                  is_plan_open = true;
                                              }
                                            },
                                            {}}));
    until([&] { return view.has_value(); }, now() + seconds{1});
    if (!view) return "the coordinator does not answer";
    const auto& p = view->placement;
    if (p.copies_least < world_.plan().copies || p.without_copy > 0 || p.loads_left > 0)
      return "experts have " + std::to_string(p.copies_least) + " copies at least, " +
             std::to_string(p.without_copy) + " none, " + std::to_string(p.loads_left) +
             " loads are left";
    for (const auto& n : view->nodes) {
      const std::string who = "node " + std::to_string(n.node.value);
      if (n.state != cluster::node_state::alive)
        return who + " is said to be " + std::string{to_string(n.state)} + ": " + n.note;
      if (n.life != world_.at(n.node)->who.life)
        return who + " is said to be in its life " + std::to_string(n.life.value);
      if (n.shards > 0 && n.used != p.epoch)
        return who + " uses epoch " + std::to_string(n.used.value) + " of " +
               std::to_string(p.epoch.value);
    }
    for (const auto& n : world_.plan().nodes) {
      if (!world_.is_up(n.id)) return "node " + std::to_string(n.id.value) + " is not up";
      const bool is_known = std::any_of(
          view->nodes.begin(), view->nodes.end(), [&](const auto& v) { return v.node == n.id; });
      if (!is_known) return "node " + std::to_string(n.id.value) + " is not known";
    }
    return is_plan_open ? plan_is_open : "";
  }

  /// Only of those that had something to move.
  void note_plan(const cluster::plan_record& p) {
    if (p.moves == 0 || p.applied_unix_ms == 0) return;
    const std::string who = p.is_policys ? "the policy's, " : "an operator's, ";
    ++plans_[(p.state == cluster::plan_state::done ? who : "") + std::string{to_string(p.state)}];
  }

  run_report report() {
    run_report r;
    r.seed = options_.seed;
    r.found = found_.first();
    r.faults = faults_;
    r.struck = striker_.struck();
    r.requests = clients_ ? clients_->size() : 0;
    r.accepted = clients_ ? clients_->accepted() : 0;
    r.failures = clients_ ? clients_->failures() : 0;
    r.turns = world_.turns();
    r.frames = world_.wires().counts().frames;
    r.trace_hash = world_.trace_hash() ^ world_.random().next();
    r.reached = striker_.reached();
    for (const auto& p : faults_.pairs) ++r.reached["pair: " + p];
    for (const auto& [end, times] : plans_) r.reached["plan: " + end] += times;
    r.virtual_s = atl::seconds(now() - time_point_ns{});
    return r;
  }

  time_point_ns now() const { return world_.now(); }

  const run_options& options_;
  random_source random_;
  verdicts found_;
  mutation broken_;
  cluster_world world_;
  overseer overseer_;
  striker striker_;
  const request_book& book_;
  fault_plan faults_;
  time_point_ns told_until_{};
  std::map<std::string, std::size_t> plans_;  // that the coordinator remembers, by their ends
  std::optional<ledger> clients_;
};

}  // namespace

client_request request_book::at(std::size_t i) const {
  client_request r;
  r.what = asks_[i];
  r.expected = answers_[i];
  return r;
}

result<request_book>
request_book::make(const std::shared_ptr<const model::model_weights>& weights) {
  request_book book;
  run_options options;
  options.seed = 1;
  run first{weights, book, options};
  const auto seen = first.go();
  if (seen.found)
    return error{errc::internal,
                 "the run without faults failed: " + seen.found->invariant + ", " +
                     seen.found->what};
  book.answers_ = first.answers();
  for (std::size_t i = 0; i < requests_known; ++i) book.asks_.push_back(known_request(i));
  return book;
}

run_report run_seed(const std::shared_ptr<const model::model_weights>& weights,
                    const request_book& book,
                    const run_options& options) {
  return run{weights, book, options}.go();
}

}  // namespace atl::sim
