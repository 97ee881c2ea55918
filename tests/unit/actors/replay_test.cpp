// What becomes of requests when shards and gateways come and go: every answer is that of a run that
// nobody disturbed, told once, whatever is lost when. ATOLL_SIM_SEEDS="first count" chooses the
// seeds of the random runs.
#include "runtime/base/log.hpp"
#include "tests/sim/seeds.hpp"
#include "tests/unit/actors/replay_requests.hpp"

#include <gtest/gtest.h>

#include <algorithm>

namespace atl::actors::replay {
namespace {

/// Losses are what is tested here: the log would be full of them.
const bool is_quiet = [] {
  set_log_level(log_level::off);
  return true;
}();

using namespace std::chrono_literals;
using transport::frame;
using transport::frame_kind;

struct kind {
  std::string name;
  generation_request request;
};

const std::vector<kind>& kinds() {
  static const std::vector<kind> all{{"greedy", request(1)},
                                     {"sampled", sampled(8)},
                                     {"constrained", constrained()},
                                     {"logprobs", with_logprobs()},
                                     {"all logits, hidden, routing", observed(logits_wanted::all)},
                                     {"last logits", observed(logits_wanted::last)},
                                     {"prompt only", request(6, 0)}};
  return all;
}

answer undisturbed(const generation_request& r) {
  world w;
  const auto a = w.ask(r);
  EXPECT_TRUE(w.run_until([&] { return a->is_gone; }));
  EXPECT_EQ(w.held_by_gateway().replays, 0U);
  return *a;
}

const std::vector<answer>& expected() {
  static const std::vector<answer> all = [] {
    std::vector<answer> made;
    for (const auto& k : kinds()) made.push_back(undisturbed(k.request));
    return made;
  }();
  return all;
}

bool equal(const std::vector<token_logprobs>& a, const std::vector<token_logprobs>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const auto& x, const auto& y) {
    return x.chosen == y.chosen && x.top == y.top;
  });
}

void expect_same(const answer& seen, const answer& whole) {
  ASSERT_TRUE(seen.is_ended);
  EXPECT_EQ(seen.last.finish, whole.last.finish)
      << (seen.last.cause ? seen.last.cause->message() : "");
  EXPECT_EQ(seen.tokens, whole.tokens);
  EXPECT_EQ(seen.last.generated_tokens, whole.last.generated_tokens);
  EXPECT_TRUE(equal(seen.logprobs, whole.logprobs));
  EXPECT_TRUE(equal(seen.prompt_logprobs, whole.prompt_logprobs));
  EXPECT_TRUE(seen.rows == whole.rows);
  EXPECT_EQ(seen.disorder, std::vector<std::string>{});
}

bool ended(const std::vector<std::shared_ptr<answer>>& all) {
  return std::all_of(all.begin(), all.end(), [](const auto& a) { return a->is_gone; });
}

node_id other(node_id shard) {
  return shard == world::shard_node(0) ? world::shard_node(1) : world::shard_node(0);
}

void lose(world& w, node_id shard) {
  w.kill(shard);
  w.tell_state(shard, peer_state::dead);
}

TEST(replay, TheUndisturbedAnswersAreWorthComparingWith) {
  EXPECT_EQ(expected()[0].tokens.size(), 7U);
  EXPECT_NE(expected()[0].tokens, expected()[1].tokens);
  EXPECT_EQ(expected()[2].last.finish, finish_reason::stop);
  EXPECT_GE(expected()[2].tokens.size(), 2U);
  EXPECT_EQ(expected()[3].logprobs.size(), 7U);
  EXPECT_EQ(expected()[3].prompt_logprobs.size(), with_logprobs().prompt.size() - 1);
  EXPECT_GT(expected()[4].rows.size(), 4U);
  EXPECT_EQ(expected()[5].rows.size(), 1U);
}

TEST(replay, AShardThatDiesAfterAnyTokenChangesNothing) {
  for (std::size_t k = 0; k < kinds().size(); ++k) {
    const answer& whole = expected()[k];
    for (std::size_t tokens = 0; tokens < std::max<std::size_t>(whole.tokens.size(), 1); ++tokens) {
      SCOPED_TRACE(kinds()[k].name + " after " + std::to_string(tokens) + " tokens");
      world w{{.seed = 1 + k * 100 + tokens}};
      const auto a = w.ask(kinds()[k].request);
      ASSERT_TRUE(w.run_until([&] { return w.submits() > 0 && a->tokens.size() >= tokens; }));
      const node_id first = w.last_submit_to();
      const std::size_t told = a->tokens.size();
      lose(w, first);
      ASSERT_TRUE(w.run_until([&] { return a->is_gone; }));
      if (whole.rows.empty()) {
        EXPECT_EQ(w.last_submit_emitted(), told) << "told, and not drawn again";
      }
      expect_same(*a, whole);
      EXPECT_EQ(w.submits(), 2U);
      EXPECT_EQ(w.last_submit_to(), other(first));
      EXPECT_EQ(w.held_by_shard(other(first)).pages_used, 0U);
      EXPECT_EQ(w.held_by_gateway().requests, 0U);
      EXPECT_EQ(w.desk().now().running, 0);
      EXPECT_EQ(w.desk().now().tokens_reserved, 0);
    }
  }
}

TEST(replay, AShardThatDiesInAnyStepOfThePromptChangesNothing) {
  for (std::size_t k = 0; k < kinds().size(); ++k) {
    for (int i = 0; i < 12; ++i) {
      SCOPED_TRACE(kinds()[k].name + " " + std::to_string(i));
      world w{{.prefill_chunk = 5, .seed = 7 + static_cast<std::uint64_t>(i)}};
      const auto a = w.ask(kinds()[k].request);
      ASSERT_TRUE(w.run_until([&] { return w.submits() > 0; }));
      w.run_for(duration_ns{i * 500'000});
      if (a->is_gone) continue;
      lose(w, w.last_submit_to());
      ASSERT_TRUE(w.run_until([&] { return a->is_gone; }));
      expect_same(*a, expected()[k]);
    }
  }
}

TEST(replay, ManyRequestsSurviveTwoShardsInTurn) {
  for (std::uint64_t seed = 1; seed <= 6; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    world w{{.shard_nodes = 3, .seed = seed}};
    std::vector<std::shared_ptr<answer>> all;
    for (const auto& k : kinds()) all.push_back(w.ask(k.request));
    w.run_for(2ms);
    lose(w, world::shard_node(static_cast<int>(seed % 3)));
    w.run_for(2ms);
    lose(w, world::shard_node(static_cast<int>((seed + 1) % 3)));
    ASSERT_TRUE(w.run_until([&] { return ended(all); }));
    for (std::size_t k = 0; k < all.size(); ++k) expect_same(*all[k], expected()[k]);
    EXPECT_GT(w.held_by_gateway().replays, 0U);
    const auto left = world::shard_node(static_cast<int>((seed + 2) % 3));
    EXPECT_EQ(w.held_by_shard(left).pages_used, 0U);
    EXPECT_EQ(w.held_by_shard(left).sequences, 0U);
  }
}

TEST(replay, TheNextLifeOfTheOnlyShardTakesThemAndTheOldLifeIsNotHeard) {
  for (std::size_t k = 0; k < kinds().size(); ++k) {
    SCOPED_TRACE(kinds()[k].name);
    world w{{.shard_nodes = 1}};
    const auto a = w.ask(kinds()[k].request);
    w.run_for(1500us);
    if (a->is_gone) continue;
    w.kill(world::shard_node(0));
    w.run_for(300ms);
    // Nobody declared it dead: the members' list alone tells of the new life.
    w.start(world::shard_node(0));
    w.tell_members();
    ASSERT_TRUE(w.run_until([&] { return a->is_gone; }, 5s));
    expect_same(*a, expected()[k]);
  }
}

TEST(replay, AShardThatIsOnlyThoughtDeadIsNotHeardAndLetsGo) {
  for (std::size_t k = 0; k < kinds().size(); ++k) {
    SCOPED_TRACE(kinds()[k].name);
    world w;
    const auto a = w.ask(kinds()[k].request);
    ASSERT_TRUE(w.run_until([&] { return w.submits() > 0; }));
    w.run_for(1ms);
    const node_id first = w.last_submit_to();
    if (a->is_gone) continue;
    w.tell_state(first, peer_state::dead);
    w.run_for(500us);
    w.tell_state(first, peer_state::alive);
    ASSERT_TRUE(w.run_until([&] { return a->is_gone; }));
    expect_same(*a, expected()[k]);
    w.run_for(1s);
    EXPECT_EQ(w.held_by_shard(first).sequences, 0U) << "it was told when it spoke";
  }
}

/// Loses each frame of these kinds in turn, one in a run.
void lose_one_of(frame_kind what, std::size_t k, std::uint64_t frames_max) {
  for (std::uint64_t i = 0; i < frames_max; ++i) {
    SCOPED_TRACE(kinds()[k].name + ", frame " + std::to_string(i) + " of " +
                 std::string{to_string(what)});
    world w{{.seed = 3 + i}};
    std::uint64_t seen = 0;
    w.passes = [&](node_id, const frame& f) { return f.header.kind != what || seen++ != i; };
    const auto a = w.ask(kinds()[k].request);
    ASSERT_TRUE(w.run_until([&] { return a->is_gone; }, 40s));
    if (seen <= i) return;
    expect_same(*a, expected()[k]);
    w.passes = nullptr;
    w.run_for(1s);
    for (const int s : {0, 1}) EXPECT_EQ(w.held_by_shard(world::shard_node(s)).sequences, 0U);
  }
}

TEST(replay, AnyLostTokensAreAskedForAgain) {
  for (std::size_t k = 0; k < kinds().size(); ++k) lose_one_of(frame_kind::tokens, k, 12);
}

TEST(replay, AStreamDoesNotWaitForItsEndToCloseAGap) {
  const answer whole = undisturbed(request(1, 300));
  world w{{.patience = {.repeat = 1ms}}};
  int seen = 0;
  w.passes = [&](node_id, const frame& f) {
    return f.header.kind != frame_kind::tokens || ++seen != 5;
  };
  const auto a = w.ask(request(1, 300));
  ASSERT_TRUE(w.run_until([&] { return seen >= 5; }));
  w.run_for(5ms);
  EXPECT_FALSE(a->is_ended);
  EXPECT_GT(a->tokens.size(), 6U);
  ASSERT_TRUE(w.run_until([&] { return a->is_gone; }));
  expect_same(*a, whole);
  EXPECT_EQ(w.submits(), 2U) << "asked once, and the shard went on meanwhile";
}

TEST(replay, AnyLostRowsAreComputedAgain) {
  for (const std::size_t k : {4U, 5U}) lose_one_of(frame_kind::observed, k, k == 5 ? 4 : 6);
}

TEST(replay, ALostSubmitIsRepeated) {
  for (std::size_t k = 0; k < kinds().size(); ++k) lose_one_of(frame_kind::submit, k, 1);
}

TEST(replay, ALostCancelIsRepeatedUntilTheShardHasLetGo) {
  world w{{.patience = {.repeat = 1ms}}};
  int cancels = 0;
  w.passes = [&](node_id, const frame& f) {
    return f.header.kind != frame_kind::cancel || ++cancels > 3;
  };
  const auto a = w.ask(request(1, 500));
  ASSERT_TRUE(w.run_until([&] { return a->tokens.size() >= 2; }));
  w.cancel(a);
  ASSERT_TRUE(w.run_until([&] { return a->is_gone; }, 2s));
  EXPECT_GE(cancels, 4);
  EXPECT_EQ(a->last.finish, finish_reason::cancelled);
  for (const int s : {0, 1}) EXPECT_EQ(w.held_by_shard(world::shard_node(s)).pages_used, 0U);
}

TEST(replay, ACancelOfWhatTheShardHasNotIsAnsweredAsIfItHad) {
  world w;
  // The last word of the shard is lost, and then the request is cancelled.
  w.passes = [&](node_id, const frame& f) { return f.header.kind != frame_kind::tokens; };
  const auto a = w.ask(request(1, 2));
  w.run_for(1s);
  ASSERT_FALSE(a->is_ended);
  w.passes = nullptr;
  w.cancel(a);
  ASSERT_TRUE(w.run_until([&] { return a->is_gone; }, 1s));
  EXPECT_EQ(a->last.finish, finish_reason::cancelled);
}

TEST(replay, CancelledAndOverdueRequestsEndWithTheirShard) {
  world w{{.shard_nodes = 1}};
  w.passes = [](node_id, const frame& f) { return f.header.kind != frame_kind::cancel; };
  auto timed = request(1, 500);
  timed.timeout = 20ms;
  const auto late = w.ask(timed);
  const auto unwanted = w.ask(request(2, 500));
  ASSERT_TRUE(w.run_until([&] { return unwanted->tokens.size() >= 2; }));
  w.cancel(unwanted);
  ASSERT_TRUE(w.run_until([&] { return late->is_ended; }, 1s));
  EXPECT_EQ(late->last.cause->code(), errc::deadline);
  EXPECT_FALSE(late->is_gone || unwanted->is_ended);
  lose(w, world::shard_node(0));
  ASSERT_TRUE(w.run_until([&] { return late->is_gone && unwanted->is_gone; }, 100ms));
  EXPECT_EQ(unwanted->last.finish, finish_reason::cancelled);
  EXPECT_EQ(w.submits(), 2U);
}

TEST(replay, ASuspectShardKeepsWhatItHasAndGetsNothingNew) {
  world w;
  const auto a = w.ask(request(1, 30));
  ASSERT_TRUE(w.run_until([&] { return a->tokens.size() >= 2; }));
  const node_id first = w.last_submit_to();
  w.tell_state(first, peer_state::suspect);
  std::vector<std::shared_ptr<answer>> more;
  for (int i = 0; i < 3; ++i) {
    more.push_back(w.ask(request(i)));
    w.run_for(1ms);
    EXPECT_EQ(w.last_submit_to(), other(first));
  }
  more.push_back(a);
  ASSERT_TRUE(w.run_until([&] { return ended(more); }));
  EXPECT_EQ(w.held_by_gateway().replays, 0U);
  // Where it is the only one, it is better than none.
  lose(w, other(first));
  const auto b = w.ask(request(1));
  ASSERT_TRUE(w.run_until([&] { return b->is_gone; }, 1s));
  expect_same(*b, expected()[0]);
}

TEST(replay, ADrainingShardIsLeftAtOnce) {
  for (std::size_t k = 0; k < kinds().size(); ++k) {
    SCOPED_TRACE(kinds()[k].name);
    world w;
    const auto a = w.ask(kinds()[k].request);
    ASSERT_TRUE(w.run_until([&] { return w.submits() > 0; }));
    w.run_for(1ms);
    if (a->is_gone) continue;
    const node_id first = w.last_submit_to();
    w.set_state(first, member_state::draining);
    w.tell_members();
    w.run_for(2ms);  // a step, at most
    EXPECT_EQ(w.held_by_shard(first).sequences, 0U);
    ASSERT_TRUE(w.run_until([&] { return a->is_gone; }));
    expect_same(*a, expected()[k]);
  }
}

TEST(replay, ADrainingShardWithoutAnotherFinishesWhatItHas) {
  world w{{.shard_nodes = 1}};
  const auto a = w.ask(request(1));
  ASSERT_TRUE(w.run_until([&] { return !a->tokens.empty(); }));
  w.set_state(world::shard_node(0), member_state::draining);
  w.tell_members();
  const auto b = w.ask(request(2));
  ASSERT_TRUE(w.run_until([&] { return a->is_gone; }, 1s));
  expect_same(*a, expected()[0]);
  ASSERT_TRUE(w.run_until([&] { return b->is_gone; }, 4s));
  ASSERT_TRUE(b->last.cause);
  EXPECT_EQ(b->last.cause->code(), errc::unavailable);
}

TEST(replay, ACordonedShardFinishesAndGetsNothingNew) {
  world w;
  const auto a = w.ask(request(1));
  ASSERT_TRUE(w.run_until([&] { return !a->tokens.empty(); }));
  const node_id first = w.last_submit_to();
  w.set_state(first, member_state::cordoned);
  w.tell_members();
  const auto b = w.ask(request(2));
  w.run_for(500us);
  EXPECT_EQ(w.last_submit_to(), other(first));
  ASSERT_TRUE(w.run_until([&] { return a->is_gone && b->is_gone; }, 1s));
  expect_same(*a, expected()[0]);
  EXPECT_EQ(w.held_by_gateway().replays, 0U);
}

TEST(replay, WithoutAnyShardRequestsWaitThreeSecondsAndTheDoorIsShut) {
  world w{{.shard_nodes = 1}};
  const auto a = w.ask(request(1, 100));
  ASSERT_TRUE(w.run_until([&] { return a->tokens.size() >= 2; }));
  lose(w, world::shard_node(0));
  const time_point_ns lost = w.now();
  w.run_for(1s);
  const auto b = w.ask(request(2));
  ASSERT_TRUE(b != nullptr) << "a new one may wait as well";
  ASSERT_TRUE(w.run_until([&] { return a->is_gone; }, 4s));
  EXPECT_EQ(a->last.cause->code(), errc::unavailable);
  EXPECT_GE(a->ended - lost, 3s);
  EXPECT_LE(a->ended - lost, 3s + 20ms);
  EXPECT_EQ(w.ask(request(3)), nullptr);
  EXPECT_EQ(w.refusal.error().code(), errc::unavailable);
  EXPECT_EQ(w.desk().ask().error().code(), errc::unavailable);
  ASSERT_TRUE(w.run_until([&] { return b->is_gone; }, 2s));
  EXPECT_EQ(b->last.cause->code(), errc::unavailable);
  EXPECT_EQ(w.desk().now().waiting, 0);

  w.start(world::shard_node(0));
  w.tell_members();
  w.run_for(1ms);
  const auto c = w.ask(request(1));
  ASSERT_TRUE(c != nullptr);
  ASSERT_TRUE(w.run_until([&] { return c->is_gone; }, 1s));
  expect_same(*c, expected()[0]);
}

TEST(replay, AGatewayThatKnowsOfNoShardYetRefuses) {
  world w{{.shard_nodes = 0}};
  EXPECT_EQ(w.ask(request(1)), nullptr);
  EXPECT_EQ(w.refusal.error().code(), errc::unavailable);
  w.start(world::shard_node(0));
  w.tell_members();
  w.run_for(1ms);
  const auto a = w.ask(request(1));
  ASSERT_TRUE(a != nullptr);
  ASSERT_TRUE(w.run_until([&] { return a->is_gone; }, 1s));
  expect_same(*a, expected()[0]);
}

TEST(replay, ReplaysComeBeforeThoseWhoWaitAndKeepTheirDeadlines) {
  world w{{.shard_nodes = 2, .sequences_max = 1}};
  auto timed = request(1, 40);
  timed.timeout = 1s;
  std::vector<std::shared_ptr<answer>> running, waiting;
  for (int i = 0; i < 4; ++i) running.push_back(w.ask(timed));
  w.run_for(2ms);
  for (int i = 0; i < 3; ++i) waiting.push_back(w.ask(request(2, 3)));
  w.run_for(100us);
  for (const int i : {0, 1}) lose(w, world::shard_node(i));
  w.run_for(300ms);
  w.start(world::shard_node(0));
  w.tell_members();
  ASSERT_TRUE(w.run_until([&] { return ended(running) && ended(waiting); }, 5s));
  time_point_ns last;
  for (const auto& a : running) {
    EXPECT_EQ(a->last.finish, finish_reason::length);
    last = std::max(last, a->ended);
  }
  for (const auto& a : waiting) EXPECT_GT(a->ended, running[0]->ended);
  EXPECT_GT(waiting[1]->ended, last);

  const auto late = w.ask(timed);
  w.run_for(1ms);
  lose(w, world::shard_node(0));
  ASSERT_TRUE(w.run_until([&] { return late->is_gone; }, 2s));
  EXPECT_EQ(late->last.cause->code(), errc::deadline);
}

TEST(replay, AGoneGatewayHoldsNothingAndOthersGoOn) {
  for (const bool by_heartbeats : {true, false}) {
    world w{{.shard_nodes = 1, .gateways = 2}};
    // Equal numbers, different requests.
    const auto a = w.ask(request(2, 200), 1);
    const auto b = w.ask(request(1), 0);
    const auto c = w.ask(request(2, 300), 1);
    ASSERT_TRUE(w.run_until([&] { return a->tokens.size() > 1 && !b->tokens.empty(); }));
    w.kill(world::gateway_node(1));
    if (by_heartbeats) {
      w.tell_state(world::gateway_node(1), peer_state::dead);
    } else {
      w.set_state(world::gateway_node(1), member_state::dead);
      w.tell_members();
    }
    ASSERT_TRUE(w.run_until([&] { return b->is_gone; }, 1s));
    expect_same(*b, expected()[0]);
    EXPECT_EQ(w.held_by_shard(world::shard_node(0)).sequences, 0U);
    EXPECT_EQ(w.held_by_shard(world::shard_node(0)).pages_used, 0U);

    // Its next life counts from 1 again.
    w.start(world::gateway_node(1));
    w.tell_members();
    w.run_for(1ms);
    const auto d = w.ask(request(1), 1);
    ASSERT_TRUE(d != nullptr);
    ASSERT_TRUE(w.run_until([&] { return d->is_gone; }, 1s));
    expect_same(*d, expected()[0]);
  }
}

TEST(replay, ARequestThatKillsEveryNodeAtOneTokenEndsAfterTwoReplays) {
  world w{{.shard_nodes = 4}};
  const auto a = w.ask(request(1));
  std::uint64_t deaths = 0;
  for (;;) {
    ASSERT_TRUE(w.run_until([&] { return a->is_ended || w.submits() > deaths; }));
    if (a->is_ended) break;
    lose(w, w.last_submit_to());
    ++deaths;
  }
  EXPECT_EQ(deaths, 3U);
  ASSERT_TRUE(a->is_ended);
  ASSERT_TRUE(a->last.cause);
  EXPECT_EQ(a->last.cause->code(), errc::internal);
  EXPECT_NE(a->last.cause->message().find("request 1 "), std::string::npos);
}

TEST(replay, ARequestThatGoesOnBetweenDeathsIsNotTheirCause) {
  world w{{.shard_nodes = 6}};
  const auto a = w.ask(request(1));
  for (std::size_t i = 1; i < 6; ++i) {
    ASSERT_TRUE(w.run_until([&] { return a->tokens.size() >= i; }));
    lose(w, w.last_submit_to());
  }
  ASSERT_TRUE(w.run_until([&] { return a->is_gone; }));
  expect_same(*a, expected()[0]);
}

TEST(replay, AStepThatFailedForAStalePlacementIsTriedOnceMore) {
  for (const errc code : {errc::stale_epoch, errc::peer_gone, errc::unavailable, errc::deadline}) {
    SCOPED_TRACE(to_string(code));
    for (const bool heals : {true, false}) {
      world w;
      for (const int s : {0, 1}) w.experts_fail[world::shard_node(s)] = error{code, "no expert"};
      const auto a = w.ask(request(1));
      ASSERT_TRUE(w.run_until([&] { return w.submits() > 0; }));
      if (heals) w.experts_fail.erase(other(w.last_submit_to()));
      if (heals) w.tell_state(w.last_submit_to(), peer_state::suspect);
      ASSERT_TRUE(w.run_until([&] { return a->is_gone; }, 1s));
      const bool is_tried_again = code == errc::stale_epoch || code == errc::peer_gone;
      if (heals && is_tried_again) {
        expect_same(*a, expected()[0]);
        continue;
      }
      EXPECT_EQ(w.submits(), is_tried_again ? 2U : 1U);
      ASSERT_TRUE(a->last.cause);
      EXPECT_EQ(a->last.cause->code(), is_tried_again ? errc::unavailable : code);
    }
  }
}

TEST(replay, NothingIsLostOrToldTwiceWhateverGoesWrong) {
  const auto [first, count] = sim::seeds();
  for (std::uint64_t seed = first; seed < first + count; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed) + ": ATOLL_SIM_SEEDS=\"" + std::to_string(seed) +
                 " 1\"");
    random_source random{seed * 7919};
    // Deaths are far more frequent here than a request's own doing could be told from.
    world w{{.shard_nodes = 3,
             .sequences_max = 3,
             .prefill_chunk = 9,
             .seed = seed,
             .patience = {.deaths_max = 1000}}};
    w.passes = [&](node_id, const frame&) { return random.below(100) >= 4; };
    std::vector<std::shared_ptr<answer>> all;
    for (const auto& k : kinds()) all.push_back(w.ask(k.request));
    for (int i = 0; i < 8; ++i) {
      w.run_for(duration_ns{static_cast<std::int64_t>(random.below(3'000'000))});
      const auto node = world::shard_node(static_cast<int>(random.below(3)));
      const auto what = random.below(4);
      w.tell_state(node, what == 0 ? peer_state::suspect : peer_state::alive);
      if (what == 1) {
        w.kill(node);
        w.run_for(duration_ns{static_cast<std::int64_t>(random.below(1'000'000))});
        if (random.below(2) == 0) w.tell_state(node, peer_state::dead);
        w.start(node);
      }
      if (what == 2) w.set_state(node, member_state::draining);
      if (what == 3) w.set_state(node, member_state::alive);
      w.tell_members();
    }
    for (int s = 0; s < 3; ++s) {
      w.set_state(world::shard_node(s), member_state::alive);
      w.tell_state(world::shard_node(s), peer_state::alive);
    }
    w.tell_members();
    w.passes = nullptr;
    ASSERT_TRUE(w.run_until([&] { return ended(all); }, 40s));
    for (std::size_t k = 0; k < all.size(); ++k) {
      SCOPED_TRACE(kinds()[k].name);
      expect_same(*all[k], expected()[k]);
    }
    w.run_for(2s);
    EXPECT_EQ(w.held_by_gateway().requests, 0U);
    for (int s = 0; s < 3; ++s)
      EXPECT_EQ(w.held_by_shard(world::shard_node(s)).pages_used, 0U) << s;
  }
}

}  // namespace
}  // namespace atl::actors::replay
