// A day of a large cluster in virtual time: the coordinator's real mind (cluster::control) with its
// policy on automatic, and agents that are played: they load, release and adopt placements after a
// delay, report rows, die and come back. Loads are aggregated: rows of each (layer, expert) follow
// from three domains of prompts, the time of day and bursts, and go to copies by their shares.
//
//   elastic_day [--nodes 1000] [--hours 24] [--layers 58] [--experts 256] [--seed 1] [--json]
//
// Rows of all nodes come in one report every 15 s: with reports that far apart averages would
// otherwise compare different moments of different nodes.
#include "bench/day_load.hpp"
#include "cluster/control.hpp"
#include "runtime/base/clock.hpp"
#include "runtime/base/random.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <queue>
#include <string>
#include <string_view>
#include <vector>

namespace atl {
namespace {

using namespace std::chrono_literals;
namespace wire = transport::wire;
using cluster::control;

constexpr std::size_t readers = 16;               // nodes with attention shards, of all
constexpr std::uint64_t expert_bytes = 22 << 20;  // DeepSeek-V3's, at 4 bits
constexpr double bytes_per_second = 1e9;          // of a copy on its way, beside serving
constexpr duration_ns wire_delay = 500us;
constexpr duration_ns call_patience = 20ms;  // until no call of the epoch before is left
constexpr duration_ns plan_takes = 500ms;    // virtual, so that each run is the same
constexpr duration_ns report_every = 15s;
constexpr duration_ns sample_every = 60s;
constexpr std::array<double, 3> speeds{1, 2, 4};
constexpr std::uint64_t check_of_all = 7;

struct agent {
  node_id node;
  incarnation life;
  bool is_reader = false;
  bool is_up = false;
  bool is_welcome = false;
  std::size_t capacity = 0;  // experts
  float speed = 1;
  std::string domain;
  std::map<std::pair<std::uint32_t, std::uint32_t>, bool> held;  // (layer, expert)
  epoch used;
};

struct hour_row {
  std::size_t plans = 0, moves = 0, deaths = 0, failed_plans = 0;
  double plan_ms = 0, plan_ms_max = 0;  // real time that making one took
  double bytes = 0;
  double even = 0, hottest = 0, hottest_max = 0;  // sums over samples and layers; the worst
  std::size_t samples = 0;
  std::size_t without_copy = 0, refused = 0;
  double mind_ms = 0, turn_ms_max = 0;  // of the mind's turns: real time, and the longest
  std::size_t messages = 0, joins = 0, drains = 0;
  double journal = 0;  // bytes

  void add(const hour_row& r) {
    plans += r.plans;
    moves += r.moves;
    bytes += r.bytes;
    plan_ms += r.plan_ms;
    plan_ms_max = std::max(plan_ms_max, r.plan_ms_max);
    even += r.even;
    hottest += r.hottest;
    hottest_max = std::max(hottest_max, r.hottest_max);
    samples += r.samples;
    deaths += r.deaths;
    without_copy += r.without_copy;
    refused += r.refused;
    failed_plans += r.failed_plans;
    mind_ms += r.mind_ms;
    turn_ms_max = std::max(turn_ms_max, r.turn_ms_max);
    messages += r.messages;
    joins += r.joins;
    drains += r.drains;
    journal += r.journal;
  }
};

class day {
public:
  explicit day(const setup& s);
  void run();
  void print() const;

private:
  void print_line(const hour_row& sum) const;
  struct happening {
    time_point_ns at;
    std::uint64_t number = 0;
    std::function<void()> does;
    bool operator<(const happening& o) const { return at != o.at ? at > o.at : number > o.number; }
  };
  struct share {
    std::size_t agent = 0;
    float weight = 1;
  };

  void after(duration_ns delay, std::function<void()> does) {
    happenings_.push({now_ + delay, number_++, std::move(does)});
  }
  /// The mind hears something: its time is measured, and what it says is delivered.
  template <class Say>
  void tell(Say&& say);
  void carry_out();
  void make_plan(const cluster::plan_effect& p);
  void take(agent& a, const cluster::send_effect& e);
  void take_load(agent& a, const wire::load& order);
  void take_map(agent& a, const wire::place& p);
  void join(agent& a);
  void die(std::size_t i, std::optional<duration_ns> back = std::nullopt);
  void drain(std::size_t i);
  void report();
  void sample();
  double
  hottest_of(std::size_t layer, const std::vector<std::vector<share>>& map, std::size_t& holes);
  hour_row& hour() {
    const auto h = static_cast<std::size_t>(seconds(now_ - start_) / 3600);
    return hours_[std::min(h, hours_.size() - 1)];
  }
  transport::node_identity name_of(const agent& a) const { return {a.node, a.life}; }

  setup setup_;
  random_source random_;
  day_load load_;
  steady_clock real_;
  std::unique_ptr<control> mind_;
  time_point_ns now_{1};
  time_point_ns start_{};
  std::uint64_t number_ = 0;
  std::uint64_t lives_ = 1;
  std::priority_queue<happening> happenings_;
  std::vector<agent> agents_;
  std::map<node_id, std::size_t> agent_of_;
  std::vector<double> rates_;
  std::vector<std::vector<share>> map_, first_map_;  // by (layer, expert)
  epoch map_epoch_;
  std::vector<hour_row> hours_;
  std::size_t plans_seen_ = 0;
  bool has_begun_ = false;
};

day::day(const setup& s) : setup_{s}, random_{s.seed}, load_{s} {
  cluster::control_settings c;
  c.cluster = "day";
  for (std::uint32_t l = 0; l < s.layers; ++l) c.model.shape.layers.push_back(layer_index{l + 3});
  c.model.shape.experts = static_cast<std::uint32_t>(s.experts);
  c.model.expert_bytes = expert_bytes;
  c.copies = 2;
  c.moves_max = 2000;
  c.policy = cluster::balance_policy::automatic;
  c.expert_nodes_min = static_cast<std::uint32_t>(s.nodes - readers);
  c.unix_ms = [this] { return now_.value / 1'000'000; };
  mind_ = std::make_unique<control>(c, cluster::durable_state{}, now_);
  hours_.resize(static_cast<std::size_t>(std::ceil(s.hours)));
  // Slots for one copy of each expert and a further one for each node, in each layer, and a quarter
  // more: what loads as even as can be ask for.
  const std::size_t workers = s.nodes - readers;
  const double slots = 1.25 * static_cast<double>(s.layers * (s.experts + workers));
  double speed = 0;
  for (std::size_t i = 0; i < s.nodes; ++i) {
    agent a;
    a.is_reader = i < readers;
    a.speed = static_cast<float>(speeds[i % 8 < 5 ? 0 : i % 8 < 7 ? 1 : 2]);
    a.domain = "rack-" + std::to_string(i / 20);
    speed += a.is_reader ? 0 : a.speed;
    agents_.push_back(std::move(a));
  }
  for (agent& a : agents_)
    if (!a.is_reader) a.capacity = static_cast<std::size_t>(std::ceil(slots * a.speed / speed));
}

template <class Say>
void day::tell(Say&& say) {
  const time_point_ns before = real_.now();
  say();
  const double ms = seconds(real_.now() - before) * 1e3;
  hour_row& h = hour();
  h.mind_ms += ms;
  if (has_begun_) h.turn_ms_max = std::max(h.turn_ms_max, ms);
  const auto& plans = mind_->kept().plans;
  const std::size_t last = plans.empty() ? 0 : plans.rbegin()->first;
  if (last > plans_seen_ && has_begun_) {
    const auto& p = plans.rbegin()->second;
    ++h.plans;
    h.moves += p.moves;
    h.bytes += static_cast<double>(p.bytes);
    h.failed_plans += p.state == cluster::plan_state::failed ? 1 : 0;
  }
  plans_seen_ = last;
  carry_out();
}

void day::carry_out() {
  for (cluster::effect& e : mind_->take_effects()) {
    if (const auto* p = std::get_if<cluster::plan_effect>(&e)) make_plan(*p);
    auto* sent = std::get_if<cluster::send_effect>(&e);
    if (const auto* r = std::get_if<cluster::record_effect>(&e))
      hour().journal += static_cast<double>(r->bytes.size());
    hour().messages += sent != nullptr ? 1 : 0;
    if (sent == nullptr || std::holds_alternative<wire::members>(sent->body)) continue;
    const std::size_t i = agent_of_.at(sent->to.node);
    after(wire_delay, [this, i, s = std::make_shared<cluster::send_effect>(std::move(*sent))] {
      agent& a = agents_[i];
      if (a.is_up && a.life == s->to.life) take(a, *s);
    });
  }
}

/// Made beside the mind.
void day::make_plan(const cluster::plan_effect& p) {
  const time_point_ns before = real_.now();
  const auto made =
      std::make_shared<const result<cluster::elastic_plan>>(cluster::plan_elastic(*p.input));
  const double ms = seconds(real_.now() - before) * 1e3;
  hour().plan_ms += ms;
  hour().plan_ms_max = std::max(hour().plan_ms_max, ms);
  after(plan_takes, [this, job = p.job, made] { tell([&] { mind_->planned(job, *made, now_); }); });
}

void day::take(agent& a, const cluster::send_effect& e) {
  if (const auto* m = std::get_if<wire::welcome>(&e.body)) {
    a.is_welcome = !m->cause;
    if (m->cause) std::fprintf(stderr, "refused: %s\n", m->cause->text.c_str());
  }
  if (const auto* m = std::get_if<wire::load>(&e.body)) take_load(a, *m);
  if (const auto* m = std::get_if<wire::place>(&e.body)) take_map(a, *m);
  if (const auto* m = std::get_if<wire::release>(&e.body))
    for (const std::uint32_t expert : m->experts) a.held.erase({m->layer.value, expert});
}

/// Copies come one after another over the node's link.
void day::take_load(agent& a, const wire::load& order) {
  wire::placed answer;
  answer.epoch = order.epoch;
  answer.node = a.node;
  answer.group = order.group;
  answer.layer = order.layer;
  for (const std::uint32_t e : order.experts) {
    const std::pair key{order.layer.value, e};
    if (a.held.size() >= a.capacity && a.held.count(key) == 0) {
      answer.cause = wire::failure{errc::out_of_memory, "full"};
      ++hour().refused;
      continue;
    }
    a.held[key] = true;
    answer.held.push_back({check_of_all, order.layer, e});
  }
  const double bytes = static_cast<double>(order.experts.size() * expert_bytes);
  const auto takes =
      has_begun_ ? duration_ns{static_cast<std::int64_t>(bytes / bytes_per_second * 1e9)} : 1ms;
  after(takes,
        [this, who = name_of(a), answer] { tell([&] { mind_->placed(who, answer, now_); }); });
}

void day::take_map(agent& a, const wire::place& p) {
  if (p.epoch > map_epoch_) {
    map_epoch_ = p.epoch;
    std::map<group_id, std::size_t> agents;
    for (const wire::group_place& g : p.groups) agents[g.group] = agent_of_.at(g.node);
    map_.assign(setup_.layers * setup_.experts, {});
    for (const wire::placement_entry& entry : p.entries)
      map_[(entry.layer.value - 3) * setup_.experts + entry.expert].push_back(
          {agents.at(entry.group), entry.weight});
  }
  a.used = p.epoch;
  after(call_patience, [this, who = name_of(a), &a, version = p.epoch] {
    if (a.used != version) return;
    tell([&] { mind_->adopted(who, wire::adopted{version, version}, now_); });
  });
}

void day::join(agent& a) {
  a.life = incarnation{lives_++};
  a.is_up = true;
  a.is_welcome = false;
  a.held.clear();
  a.used = {};
  ++hour().joins;
  wire::join j;
  j.roles = a.is_reader ? wire::role_attention : wire::role_expert;
  j.name = "n" + std::to_string(a.node.value);
  j.model = "m";
  j.numeric_class = "x";
  j.expert_bytes = a.capacity * expert_bytes;
  j.groups = a.is_reader ? 0 : 1;
  j.shards = a.is_reader ? 1 : 0;
  j.tls = "host:" + std::to_string(a.node.value);
  j.speed = a.speed;
  j.domain = a.domain;
  tell([&] { mind_->joined(name_of(a), j, now_); });
}

/// Found dead two seconds later, back when said or within the hour.
void day::die(std::size_t i, std::optional<duration_ns> back) {
  agent& a = agents_[i];
  if (!a.is_up) return;
  a.is_up = false;
  ++hour().deaths;
  after(2s, [this, who = name_of(a)] {
    tell([&] {
      mind_->peer_changed(
          who, transport::plane::control, cluster::member_state::dead, "silent", now_);
    });
  });
  const auto in_turn = 5min + duration_ns{static_cast<std::int64_t>(random_.unit() * 3e12)};
  after(back.value_or(in_turn), [this, i] { join(agents_[i]); });
}

/// Back in service half an hour later.
void day::drain(std::size_t i) {
  const node_id node = agents_[i].node;
  ++hour().drains;
  tell([&] { (void)mind_->drain(node, std::nullopt, false, now_); });
  after(30min, [this, node] { tell([&] { (void)mind_->uncordon(node, now_); }); });
}

void day::report() {
  load_.at(seconds(now_ - start_), rates_);
  wire::load_report all;
  for (std::size_t i = 0; i < map_.size(); ++i) {
    const bool is_served = std::any_of(
        map_[i].begin(), map_[i].end(), [&](const share& c) { return agents_[c.agent].is_up; });
    if (!is_served) continue;
    const double mean = rates_[i] * seconds(report_every);
    const double rows = std::max(0.0, mean + std::sqrt(mean) * random_.normal());
    all.counts.push_back({layer_index{static_cast<std::uint32_t>(i / setup_.experts + 3)},
                          static_cast<std::uint32_t>(i % setup_.experts),
                          static_cast<std::uint64_t>(rows)});
  }
  const auto teller = std::find_if(agents_.begin(), agents_.end(), [](const agent& a) {
    return !a.is_reader && a.is_up && a.is_welcome;
  });
  if (teller == agents_.end()) return;
  all.node = teller->node;
  all.speed_now = teller->speed;
  tell([&] { mind_->reported(name_of(*teller), all, now_); });
  tell([&] { mind_->tick(now_); });
}

/// Over that of an even spread over all that live.
double
day::hottest_of(std::size_t layer, const std::vector<std::vector<share>>& map, std::size_t& holes) {
  std::vector<double> rows(agents_.size(), 0);
  double total = 0, speed = 0, worst = 0;
  for (const agent& a : agents_) speed += a.is_up && !a.is_reader ? a.speed : 0;
  for (std::size_t e = 0; e < setup_.experts; ++e) {
    const std::size_t i = layer * setup_.experts + e;
    double weights = 0;
    for (const share& c : map[i]) weights += agents_[c.agent].is_up ? c.weight : 0;
    total += rates_[i];
    if (weights <= 0) {
      ++holes;
      continue;
    }
    for (const share& c : map[i])
      if (agents_[c.agent].is_up) rows[c.agent] += rates_[i] * c.weight / weights;
  }
  for (std::size_t j = 0; j < rows.size(); ++j) worst = std::max(worst, rows[j] / agents_[j].speed);
  return worst / (total / speed);
}

void day::sample() {
  hour_row& h = hour();
  for (std::size_t l = 0; l < setup_.layers; ++l) {
    std::size_t holes = 0, unused = 0;
    const double now = hottest_of(l, map_, holes);
    h.hottest += now;
    h.hottest_max = std::max(h.hottest_max, now);
    h.even += hottest_of(l, first_map_, unused);
    h.without_copy += holes;
    ++h.samples;
  }
}

void day::run() {
  for (std::size_t i = 0; i < agents_.size(); ++i) {
    agent& a = agents_[i];
    a.node = *mind_->admit("n" + std::to_string(i),
                           a.is_reader ? wire::role_attention : wire::role_expert);
    agent_of_[a.node] = i;
    join(a);
  }
  const auto step_until = [&](time_point_ns end, auto&& is_done) {
    while (!is_done()) {
      const auto due = mind_->next_due();
      const bool has_next = !happenings_.empty();
      time_point_ns next = has_next ? happenings_.top().at : end;
      const bool is_minds = due && *due < next;
      if (is_minds) next = std::max(*due, now_);
      if (next > end) break;
      now_ = std::max(now_, next);
      if (is_minds) {
        tell([&] { mind_->tick(now_); });
        continue;
      }
      if (!has_next) break;
      const auto does = happenings_.top().does;
      happenings_.pop();
      does();
    }
    if (!is_done()) now_ = std::max(now_, end);
  };
  const time_point_ns before = real_.now();
  step_until(now_ + 1h, [&] { return mind_->is_ready(); });
  std::fprintf(stderr,
               "placed %zu experts on %zu nodes in %.1f s of real time\n",
               map_.size(),
               agents_.size(),
               seconds(real_.now() - before));
  first_map_ = map_;
  start_ = now_;
  has_begun_ = true;
  const duration_ns all{static_cast<std::int64_t>(setup_.hours * 3.6e12)};
  for (duration_ns t = report_every; t <= all; t += report_every) after(t, [this] { report(); });
  for (duration_ns t = sample_every; t <= all; t += sample_every) after(t, [this] { sample(); });
  // Forty nodes of a thousand on a day, and one rack.
  const auto deaths = static_cast<std::size_t>(
      std::lround(static_cast<double>(setup_.nodes) * 0.04 * setup_.hours / 24));
  for (std::size_t k = 0; k < deaths; ++k)
    after(duration_ns{static_cast<std::int64_t>(random_.unit() * static_cast<double>(all.count()))},
          [this, i = readers + random_.below(setup_.nodes - readers)] { die(i); });
  if (setup_.nodes >= readers + 64) {
    // A rack loses power and comes back as one; two waves of machines are changed for others; a
    // rack is drained for work on it, five nodes at a time.
    after(all * 6 / 10, [this] {
      for (std::size_t i = 40; i < 60; ++i) die(i, 20min);
    });
    for (const int tenths : {3, 4})
      after(all * tenths / 10, [this, tenths] {
        const std::size_t from = setup_.nodes * static_cast<std::size_t>(tenths) / 10;
        for (std::size_t i = from; i < from + 20; ++i) die(std::max(i, readers), 10min);
      });
    for (std::size_t i = 60; i < 80; ++i)
      after(all * 8 / 10 + (i / 5) * 2min, [this, i] { drain(i); });
  }
  step_until(start_ + all, [] { return false; });
}

void day::print() const {
  if (!setup_.json)
    std::printf(
        "hour  plans  plan ms mean    max  copies made     GiB  hottest/mean: static   now  "
        "worst  dead  joins  drains  no copy  refused  failed  mind s  turn ms max  messages/s  "
        "journal MiB\n");
  hour_row sum;
  for (std::size_t h = 0; h < hours_.size(); ++h) {
    const hour_row& r = hours_[h];
    const double samples = std::max<double>(1, static_cast<double>(r.samples));
    if (!setup_.json)
      std::printf(
          "%4zu  %5zu  %12.1f  %5.0f  %11zu  %6.1f  %20.2f  %4.2f  %5.2f  %4zu  %5zu  %6zu  "
          "%7zu  %7zu  %6zu  %6.1f  %11.1f  %10.1f  %11.1f\n",
          h,
          r.plans,
          r.plan_ms / std::max<double>(1, static_cast<double>(r.plans)),
          r.plan_ms_max,
          r.moves,
          r.bytes / (1 << 30),
          r.even / samples,
          r.hottest / samples,
          r.hottest_max,
          r.deaths,
          r.joins,
          r.drains,
          r.without_copy,
          r.refused,
          r.failed_plans,
          r.mind_ms / 1e3,
          r.turn_ms_max,
          static_cast<double>(r.messages) / 3600,
          r.journal / (1 << 20));
    sum.add(r);
  }
  print_line(sum);
}

/// One line of JSON.
void day::print_line(const hour_row& sum) const {
  const double samples = std::max<double>(1, static_cast<double>(sum.samples));
  std::printf("%s{\"nodes\":%zu,\"layers\":%zu,\"experts\":%zu,\"hours\":%.1f,\"plans\":%zu,"
              "\"plan_ms_mean\":%.1f,\"plan_ms_max\":%.1f,\"copies_made\":%zu,\"bytes_moved\":%.0f,"
              "\"hottest_over_mean_static\":%.3f,\"hottest_over_mean\":%.3f,"
              "\"hottest_over_mean_max\":%.3f,\"deaths\":%zu,\"experts_without_copy\":%zu,"
              "\"orders_refused\":%zu,\"plans_failed\":%zu,\"mind_s\":%.1f,"
              "\"turn_ms_max\":%.1f,\"messages\":%zu,\"journal_bytes\":%.0f,\"joins\":%zu,"
              "\"drains\":%zu}\n",
              setup_.json ? "" : "\n",
              setup_.nodes,
              setup_.layers,
              setup_.experts,
              setup_.hours,
              sum.plans,
              sum.plan_ms / std::max<double>(1, static_cast<double>(sum.plans)),
              sum.plan_ms_max,
              sum.moves,
              sum.bytes,
              sum.even / samples,
              sum.hottest / samples,
              sum.hottest_max,
              sum.deaths,
              sum.without_copy,
              sum.refused,
              sum.failed_plans,
              sum.mind_ms / 1e3,
              sum.turn_ms_max,
              sum.messages,
              sum.journal,
              sum.joins,
              sum.drains);
}

int run_day(int argc, char** argv) {
  setup s;
  for (int i = 1; i < argc; ++i) {
    const std::string_view name = argv[i];
    if (name == "--json") {
      s.json = true;
      continue;
    }
    const double value = i + 1 < argc ? std::atof(argv[++i]) : 0;
    const auto count = static_cast<std::size_t>(std::max(0.0, value));
    if (name == "--nodes" && count > readers)
      s.nodes = count;
    else if (name == "--hours" && value > 0)
      s.hours = value;
    else if (name == "--layers" && count > 0)
      s.layers = count;
    else if (name == "--experts" && count > 0)
      s.experts = count;
    else if (name == "--seed")
      s.seed = count;
    else {
      std::fprintf(stderr,
                   "elastic_day [--nodes N] [--hours H] [--layers L] [--experts E] [--seed S] "
                   "[--json]: no such option or value: %s\n",
                   argv[i - (value == 0 ? 1 : 0)]);
      return 2;
    }
  }
  day d{s};
  d.run();
  d.print();
  return 0;
}

}  // namespace
}  // namespace atl

int main(int argc, char** argv) { return atl::run_day(argc, argv); }
