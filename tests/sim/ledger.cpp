#include "tests/sim/ledger.hpp"

#include <caf/send.hpp>

#include <algorithm>
#include <utility>

namespace atl::sim {
namespace {

constexpr duration_ns try_again = std::chrono::milliseconds{300};
constexpr duration_ns late_by = std::chrono::milliseconds{100};

/// What a request may end with for want of nodes (docs/design/cluster.md, "What a loss does").
bool is_for_want_of_nodes(errc code) {
  return code == errc::unavailable || code == errc::overloaded || code == errc::deadline ||
         code == errc::internal;
}

}  // namespace

ledger::ledger(cluster_world& in, verdicts& found, std::vector<client_request> requests)
    : in_{in}, found_{found}, random_{in.random().split()} {
  for (auto& r : requests) {
    entry e;
    e.ask = std::move(r);
    entries_.push_back(std::move(e));
  }
  for (std::size_t i = 0; i < entries_.size(); ++i)
    in_.events()->at(entries_[i].ask.at, [this, i] { submit(i); });
}

void ledger::fail(const std::string& invariant, std::size_t i, const std::string& what) {
  found_.fail(invariant, "request " + std::to_string(i) + ": " + what, in_.now());
}

life* ledger::choose_gateway() {
  std::vector<life*> open;
  for (const auto& n : in_.plan().nodes) {
    life* l = in_.at(n.id);
    if (l != nullptr && !l->is_dead && !l->is_frozen && !l->is_leaving && l->all && l->all->gateway)
      open.push_back(l);
  }
  return open.empty() ? nullptr : open[random_.below(open.size())];
}

void ledger::try_later(std::size_t i, duration_ns wait) {
  in_.after(wait, [this, i] { submit(i); });
}

void ledger::submit(std::size_t i) {
  entry& e = entries_[i];
  if (e.is_done || e.is_open) return;
  life* g = choose_gateway();
  if (g == nullptr) return try_later(i, try_again);
  const auto& r = e.ask.what;
  if (g->all->desk->enter(static_cast<std::int64_t>(r.prompt.size()), r.tokens_max).has_error())
    return try_later(i, try_again);
  e.gateway = g;
  e.id = request_id{++g->last_request};
  e.got = {};
  e.is_open = true;
  e.hung_up = false;
  e.accepted_at = in_.now();
  e.told_at.reset();
  ++accepted_;
  const std::uint64_t attempt = ++e.attempt;
  auto s = std::make_shared<actors::gateway_submit>();
  s->id = e.id;
  s->request = r;
  s->since = in_.now();
  s->listener = [this, i, attempt](actors::generation_event&& event) {
    const std::size_t to = is_crossed_ && i + 1 < entries_.size() ? i + 1 : i;
    const bool is_end = event.finish != actors::finish_reason::none;
    const int times = is_end ? ends_told_ : 1;
    const std::uint64_t of = to == i ? attempt : entries_[to].attempt;
    for (int k = 0; k < times; ++k) hear(to, of, actors::generation_event{event});
  };
  caf::anon_send(g->all->gateway, std::move(s));
}

bool ledger::hang_up_one() {
  std::vector<entry*> open;
  for (entry& e : entries_)
    if (e.is_open && !e.hung_up && !e.gateway->is_dead) open.push_back(&e);
  if (open.empty()) return false;
  entry& e = *open[random_.below(open.size())];
  e.hung_up = true;
  caf::anon_send(e.gateway->all->gateway, e.id);
  return true;
}

void ledger::hear(std::size_t i, std::uint64_t attempt, actors::generation_event&& event) {
  entry& e = entries_[i];
  if (e.attempt == attempt && e.gateway != nullptr && e.gateway->is_dead) return;  // it is gone
  if (e.attempt != attempt) return;  // of a gateway that is gone
  if (!e.is_open) return fail("I11", i, "an event after its end");
  if (event.request != e.id)
    return fail("I8", i, "its listener was told of request " + std::to_string(event.request.value));
  if (!event.tokens.empty()) check_gap(i);
  check_tokens(i, event);
  if (event.finish != actors::finish_reason::none) take_end(i, event);
}

void ledger::check_gap(std::size_t i) {
  const auto before = std::exchange(entries_[i].told_at, in_.now());
  if (!before || !gap_max_ || in_.now() - *before <= *gap_max_) return;
  if (excuses_ && excuses_(entries_[i].gateway->who.node)) return;
  fail(
      "I5", i, "its stream stood still for " + std::to_string(seconds(in_.now() - *before)) + " s");
}

void ledger::check_tokens(std::size_t i, const actors::generation_event& event) {
  entry& e = entries_[i];
  const auto& expected = e.ask.expected;
  for (const token_id t : event.tokens) {
    const std::size_t at = e.got.tokens.size();
    e.got.tokens.push_back(t);
    if (expected.tokens.empty()) continue;  // this run makes the reference
    if (at < expected.tokens.size() && expected.tokens[at] == t) continue;
    const bool is_twice = at > 0 && expected.tokens[at - 1] == t;
    const bool is_early = at + 1 < expected.tokens.size() && expected.tokens[at + 1] == t;
    return fail(is_twice || is_early ? "I2" : "I3",
                i,
                "token " + std::to_string(at) + " is " + std::to_string(t) +
                    ", undisturbed it is " +
                    (at < expected.tokens.size() ? std::to_string(expected.tokens[at]) : "none"));
  }
  for (const auto& p : event.logprobs) {
    const std::size_t at = e.got.logprobs.size();
    e.got.logprobs.push_back(p.chosen);
    if (expected.tokens.empty()) continue;
    if (at < expected.logprobs.size() && expected.logprobs[at] == p.chosen) continue;
    return fail("I3", i, "the log-probability of token " + std::to_string(at) + " differs");
  }
}

void ledger::take_end(std::size_t i, const actors::generation_event& last) {
  entry& e = entries_[i];
  e.is_open = false;
  if (last.generated_tokens != static_cast<std::int64_t>(e.got.tokens.size()))
    fail("I2",
         i,
         "said to have " + std::to_string(last.generated_tokens) + " tokens, told " +
             std::to_string(e.got.tokens.size()));
  switch (last.finish) {
  case actors::finish_reason::error: return take_error(i, *last.cause);
  case actors::finish_reason::cancelled:
    if (!e.hung_up) fail("I1", i, "cancelled, and nobody had asked for that");
    return finish(i);
  default: break;
  }
  const auto& expected = e.ask.expected;
  if (!expected.tokens.empty() && e.got.tokens.size() != expected.tokens.size())
    fail("I2",
         i,
         "ended after " + std::to_string(e.got.tokens.size()) + " of " +
             std::to_string(expected.tokens.size()) + " tokens");
  finish(i);
}

void ledger::take_error(std::size_t i, const error& cause) {
  entry& e = entries_[i];
  const auto& timeout = e.ask.what.timeout;
  const duration_ns took = in_.now() - e.accepted_at;
  if (cause.code() == errc::deadline && timeout && took >= *timeout) {
    if (took > *timeout + late_by && !allows_lateness_)
      fail("I1", i, "told of its deadline " + std::to_string(seconds(took - *timeout)) + " s late");
    return finish(i);
  }
  ++failures_;
  const bool is_explained = allows_errors_ || (excuses_ && excuses_(e.gateway->who.node));
  const bool is_known = is_explained && is_for_want_of_nodes(cause.code());
  if (!is_known && !(lacks_memory_ && cause.code() == errc::out_of_memory))
    return fail(
        "I1", i, "failed with " + std::string{to_string(cause.code())} + ": " + cause.message());
  if (e.hung_up) return finish(i);
  try_later(i, try_again);
}

void ledger::finish(std::size_t i) {
  entries_[i].is_done = true;
  ++done_;
}

void ledger::gateway_died(const life& which) {
  for (std::size_t i = 0; i < entries_.size(); ++i) {
    entry& e = entries_[i];
    if (!e.is_open || e.gateway != &which) continue;
    e.is_open = false;
    if (e.hung_up)
      finish(i);
    else
      try_later(i, try_again);
  }
}

std::string ledger::unfinished() const {
  std::string all;
  for (std::size_t i = 0; i < entries_.size(); ++i) {
    const entry& e = entries_[i];
    if (e.is_done) continue;
    all += (all.empty() ? "" : ", ") + std::to_string(i);
    if (e.is_open)
      all += " (request " + std::to_string(e.id.value) + " at node " +
             std::to_string(e.gateway->who.node.value) + ", " +
             std::to_string(e.got.tokens.size()) + " tokens" + (e.hung_up ? ", hung up" : "") + ")";
  }
  return all;
}

std::vector<reference> ledger::answers() const {
  std::vector<reference> all;
  for (const entry& e : entries_) all.push_back(e.got);
  return all;
}

}  // namespace atl::sim
