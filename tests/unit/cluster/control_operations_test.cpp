#include "cluster/certificates.hpp"
#include "tests/unit/cluster/control_world.hpp"

namespace atl::cluster {
namespace {

namespace wire = transport::wire;

constexpr auto minute = std::chrono::minutes{1};

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

struct two_and_three {
  explicit two_and_three(std::uint32_t copies = 2, std::size_t capacity = 12) : w{copies, 3} {
    for (int i = 0; i < 2; ++i) fronts.push_back(w.add(wire::role_attention, 0));
    for (int i = 0; i < 3; ++i) nodes.push_back(w.add(wire::role_expert, capacity));
    w.settle_all();
    for (const auto& [node, a] : w.agents) {
      while (w.deliver_from(node)) {
      }
    }
  }
  operation done(std::uint64_t id) { return *w.mind().find_operation(id); }
  control_world w;
  std::vector<node_id> fronts, nodes;
};

TEST(control_operations, a_drain_moves_all_copies_off_and_ends) {
  two_and_three t;
  const auto id = t.w.mind().drain(t.nodes[0], std::nullopt, false, t.w.now);
  ASSERT_TRUE(id.has_value()) << id.error().message();
  EXPECT_EQ(t.done(*id).state, operation_state::running);
  t.w.carry_out();
  t.w.settle_all();
  EXPECT_EQ(t.done(*id).state, operation_state::done) << t.done(*id).detail;
  EXPECT_TRUE(t.w.agents.at(t.nodes[0]).held.empty());
  EXPECT_EQ(t.w.live_copies({1, 0}), 2U);
  EXPECT_EQ(t.w.mind().view(t.nodes[0], t.w.now)->state, node_state::drained);
  // It stays out of use until somebody says otherwise, over restarts too.
  t.w.crash(0);
  t.w.settle_all();
  EXPECT_TRUE(t.w.agents.at(t.nodes[0]).held.empty());
  EXPECT_TRUE(t.w.mind().uncordon(t.nodes[0], t.w.now).has_value());
  t.w.carry_out();
  t.w.settle_all();
  EXPECT_FALSE(t.w.agents.at(t.nodes[0]).held.empty());
}

TEST(control_operations, a_drain_waits_until_sequences_are_elsewhere) {
  two_and_three t;
  t.w.agents.at(t.fronts[0]).sequences = 3;
  const auto id = t.w.mind().drain(t.fronts[0], 10 * minute, false, t.w.now);
  ASSERT_TRUE(id.has_value()) << id.error().message();
  t.w.carry_out();
  for (int i = 0; i < 20; ++i) {
    t.w.now = t.w.now + std::chrono::seconds{1};
    t.w.report(t.fronts[0]);
    t.w.deliver_from(t.fronts[0]);
  }
  EXPECT_EQ(t.done(*id).state, operation_state::running);
  t.w.agents.at(t.fronts[0]).sequences = 0;
  t.w.report(t.fronts[0]);
  while (t.w.deliver_from(t.fronts[0])) {
  }
  EXPECT_EQ(t.done(*id).state, operation_state::done);
}

TEST(control_operations, a_drain_ends_at_its_deadline) {
  two_and_three t;
  t.w.agents.at(t.fronts[0]).sequences = 3;
  const auto id = t.w.mind().drain(t.fronts[0], minute, false, t.w.now);
  t.w.carry_out();
  t.w.report(t.fronts[0]);
  t.w.deliver_from(t.fronts[0]);
  ASSERT_TRUE(t.w.mind().next_due().has_value());
  EXPECT_LE(*t.w.mind().next_due(), t.w.now + minute);
  t.w.now = t.w.now + minute;
  t.w.mind().tick(t.w.now);
  EXPECT_EQ(t.done(*id).state, operation_state::done);
  EXPECT_TRUE(has(t.done(*id).detail, "3 sequences")) << t.done(*id).detail;
}

TEST(control_operations, refuses_to_drain_the_last_of_a_role_and_the_only_copy) {
  two_and_three t{1, 4};
  ASSERT_TRUE(t.w.mind().is_ready());
  const auto only = t.w.mind().drain(t.nodes[0], std::nullopt, false, t.w.now);
  ASSERT_TRUE(only.has_error());
  EXPECT_EQ(only.error().code(), errc::invalid_argument);
  EXPECT_TRUE(has(only.error().message(), "only copy of 4 experts")) << only.error().message();
  ASSERT_TRUE(t.w.mind().cordon(t.fronts[0], t.w.now).has_value());
  const auto last = t.w.mind().drain(t.fronts[1], std::nullopt, false, t.w.now);
  ASSERT_TRUE(last.has_error());
  EXPECT_TRUE(has(last.error().message(), "last usable node with the role attention"))
      << last.error().message();
  EXPECT_TRUE(t.w.mind().drain(t.fronts[1], std::nullopt, true, t.w.now).has_value());
  EXPECT_EQ(t.w.mind().drain(node_id{99}, std::nullopt, true, t.w.now).error().code(),
            errc::not_found);
}

TEST(control_operations, a_drain_that_cannot_be_done_fails_at_its_deadline_and_loses_nothing) {
  two_and_three t{1, 6};
  for (const std::uint32_t layer : {1U, 2U}) {
    for (std::uint32_t e = 0; e < 6; ++e) {
      t.w.agents.at(t.nodes[1]).fails.insert({layer, e});
      t.w.agents.at(t.nodes[2]).fails.insert({layer, e});
    }
  }
  const auto id = t.w.mind().drain(t.nodes[0], minute, false, t.w.now);
  ASSERT_TRUE(id.has_value()) << id.error().message();
  t.w.carry_out();
  for (int i = 0; i < 300; ++i) {
    for (const auto& [node, a] : t.w.agents) {
      t.w.deliver_to(node);
      t.w.deliver_from(node);
    }
    t.w.now = t.w.now + std::chrono::milliseconds{250};
    t.w.mind().tick(t.w.now);
    t.w.carry_out();
  }
  EXPECT_EQ(t.done(*id).state, operation_state::failed);
  EXPECT_TRUE(has(t.done(*id).detail, "only copy")) << t.done(*id).detail;
  EXPECT_EQ(t.w.mind().view(t.nodes[0], t.w.now)->state, node_state::cordoned);
  for (std::uint32_t e = 0; e < 6; ++e) EXPECT_EQ(t.w.live_copies({1, e}), 1U);
}

TEST(control_operations, a_drain_goes_on_after_a_restart) {
  two_and_three t;
  const auto id = t.w.mind().drain(t.nodes[0], std::nullopt, false, t.w.now);
  t.w.carry_out();
  t.w.crash(1);
  EXPECT_EQ(t.done(*id).state, operation_state::running);
  t.w.settle_all();
  EXPECT_EQ(t.done(*id).state, operation_state::done);
  EXPECT_TRUE(t.w.agents.at(t.nodes[0]).held.empty());
}

TEST(control_operations, a_cancelled_drain_gives_the_node_back) {
  two_and_three t;
  const auto id = t.w.mind().drain(t.nodes[0], std::nullopt, false, t.w.now);
  EXPECT_TRUE(t.w.mind().cancel_drain(t.nodes[0], t.w.now).has_value());
  EXPECT_EQ(t.done(*id).state, operation_state::cancelled);
  EXPECT_TRUE(t.w.mind().cancel_drain(t.nodes[0], t.w.now).has_error());
  t.w.carry_out();
  t.w.settle_all();
  EXPECT_EQ(t.w.mind().view(t.nodes[0], t.w.now)->state, node_state::alive);
  EXPECT_FALSE(t.w.agents.at(t.nodes[0]).held.empty());
}

TEST(control_operations, who_leaves_is_dismissed_when_its_work_is_elsewhere) {
  two_and_three t;
  t.w.say(t.nodes[0], wire::leave{60'000});
  t.w.settle_all();
  EXPECT_TRUE(t.w.agents.at(t.nodes[0]).is_dismissed);
  EXPECT_EQ(t.w.mind().view(t.nodes[0], t.w.now)->state, node_state::absent);
  EXPECT_EQ(t.w.live_copies({2, 5}), 2U);
}

TEST(control_operations, who_leaves_last_does_not_wait_for_nobody) {
  control_world w;
  const node_id n = w.add(wire::role_expert, 12);
  w.settle_all();
  const time_point_ns before = w.now;
  w.say(n, wire::leave{600'000});
  w.settle_all();
  EXPECT_TRUE(w.agents.at(n).is_dismissed);
  EXPECT_LT((w.now - before), std::chrono::minutes{2});
}

TEST(control_operations, a_cordoned_node_keeps_its_copies_and_gets_none) {
  two_and_three t;
  ASSERT_TRUE(t.w.mind().cordon(t.nodes[2], t.w.now).has_value());
  t.w.carry_out();
  const auto held = t.w.agents.at(t.nodes[2]).held;
  t.w.kill(t.nodes[0]);
  t.w.find_dead(t.nodes[0]);
  t.w.settle_all();
  EXPECT_EQ(t.w.agents.at(t.nodes[2]).held, held);
  EXPECT_EQ(t.w.agents.at(t.nodes[1]).held.size(), 12U);
}

TEST(control_operations, a_removed_node_is_gone_for_good) {
  two_and_three t;
  const auto no = t.w.mind().remove(t.nodes[0], false, t.w.now);
  ASSERT_TRUE(no.has_error());
  EXPECT_TRUE(has(no.error().message(), "drain it first")) << no.error().message();
  ASSERT_TRUE(t.w.mind().remove(t.nodes[0], true, t.w.now).has_value());
  t.w.carry_out();
  EXPECT_EQ(t.w.mind().view(t.nodes[0], t.w.now)->state, node_state::removed);
  t.w.crash(0);
  t.w.begin_life(t.nodes[0]);
  t.w.deliver_from(t.nodes[0]);
  t.w.deliver_to(t.nodes[0]);
  EXPECT_TRUE(has(t.w.agents.at(t.nodes[0]).refusal, "was removed"));
  EXPECT_EQ(t.w.mind().cordon(t.nodes[0], t.w.now).error().code(), errc::not_found);
}

TEST(control_operations, join_tokens_are_counted_expire_and_are_revoked) {
  control_world w;
  const std::int64_t now = w.settings().unix_ms();
  join_token t;
  t.id = "t1";
  t.secret_hash = "h";
  t.roles = wire::role_expert;
  t.uses_left = 1;
  t.expires_unix_ms = now + 60'000;
  ASSERT_TRUE(w.mind().create_token(t).has_value());
  EXPECT_TRUE(w.mind().create_token(t).has_error());
  EXPECT_EQ(w.mind().consume_token("t1", "wrong", wire::role_expert).error().code(),
            errc::unauthorised);
  EXPECT_EQ(w.mind().consume_token("t2", "h", wire::role_expert).error().message(),
            w.mind().consume_token("t1", "wrong", wire::role_expert).error().message());
  EXPECT_TRUE(
      has(w.mind().consume_token("t1", "h", wire::role_gateway).error().message(), "roles"));
  EXPECT_TRUE(w.mind().consume_token("t1", "h", wire::role_expert).has_value());
  w.carry_out();
  w.start();
  EXPECT_TRUE(
      has(w.mind().consume_token("t1", "h", wire::role_expert).error().message(), "used up"));
  t.id = "t2";
  ASSERT_TRUE(w.mind().create_token(t).has_value());
  w.now = w.now + minute;
  EXPECT_TRUE(
      has(w.mind().consume_token("t2", "h", wire::role_expert).error().message(), "expired"));
  t.id = "t3";
  t.expires_unix_ms = now + 3'600'000;
  ASSERT_TRUE(w.mind().create_token(t).has_value());
  ASSERT_TRUE(w.mind().revoke_token("t3").has_value());
  EXPECT_TRUE(
      has(w.mind().consume_token("t3", "h", wire::role_expert).error().message(), "revoked"));
  EXPECT_EQ(w.mind().revoke_token("t9").error().code(), errc::not_found);
}

TEST(control_operations, a_gateway_is_not_drained_while_clients_wait_for_it) {
  two_and_three t;
  t.w.add(wire::role_gateway, 0);
  const node_id gateway = t.w.add(wire::role_gateway, 0);
  t.w.settle_all();
  const auto id = t.w.mind().drain(gateway, std::chrono::seconds{10}, false, t.w.now);
  ASSERT_TRUE(id.has_value()) << id.error().message();
  for (int i = 0; i < 12; ++i) {
    t.w.now = t.w.now + std::chrono::seconds{1};
    wire::load_report r;
    r.node = gateway;
    r.requests = 2;
    t.w.mind().reported({gateway, t.w.agents.at(gateway).life}, r, t.w.now);
    t.w.mind().tick(t.w.now);
    if (i < 8) {
      EXPECT_EQ(t.done(*id).state, operation_state::running);
    }
  }
  EXPECT_EQ(t.done(*id).state, operation_state::failed);
  EXPECT_TRUE(has(t.done(*id).detail, "2 requests")) << t.done(*id).detail;
}

TEST(control_operations, strangers_do_not_fill_the_events) {
  control_world w;
  const auto before = w.mind().view(w.now).revision;
  for (int i = 0; i < 100; ++i)
    EXPECT_TRUE(w.mind().consume_token("no", "h", wire::role_expert).has_error());
  EXPECT_EQ(w.mind().events_since(before).size(), 1U);
  w.now = w.now + stranger_pause;
  w.mind().tick(w.now);
  EXPECT_TRUE(w.mind().consume_token("no", "h", wire::role_expert).has_error());
  EXPECT_EQ(w.mind().events_since(before).size(), 2U);
}

TEST(control_operations, a_drained_node_that_is_stopped_stays_drained) {
  two_and_three t;
  ASSERT_TRUE(t.w.mind().drain(t.nodes[0], std::nullopt, true, t.w.now).has_value());
  t.w.settle_all();
  t.w.kill(t.nodes[0]);
  t.w.find_dead(t.nodes[0]);
  const auto v = t.w.mind().view(t.nodes[0], t.w.now);
  EXPECT_EQ(v->state, node_state::absent);
  EXPECT_TRUE(v->is_drained);
}

TEST(control_operations, a_leave_from_before_a_restart_does_not_meet_the_next_life) {
  two_and_three t;
  control_world& w = t.w;
  const node_id n = t.nodes.front();
  w.say(n, wire::leave{1000});
  while (w.deliver_from(n)) {
  }
  w.carry_out();
  w.kill(n);
  w.ended.clear();
  w.crash(0);
  w.settle_all();
  w.begin_life(n);
  w.ended.clear();
  w.settle_all();
  EXPECT_EQ(w.mind().view(n, w.now)->state, node_state::alive);
  EXPECT_FALSE(w.agents.at(n).is_dismissed);
  for (const operation& o : w.mind().view(w.now).operations)
    EXPECT_NE(o.state, operation_state::running) << o.detail;
}

TEST(control_operations, a_drain_from_before_a_restart_does_not_meet_a_quick_next_life) {
  two_and_three t;
  control_world& w = t.w;
  const node_id n = t.nodes.front();
  const auto id = w.mind().drain(n, std::nullopt, false, w.now);
  ASSERT_TRUE(id.has_value());
  w.carry_out();
  w.crash(0);
  w.begin_life(n);  // and says join before anybody missed it
  w.ended.clear();
  w.settle_all();
  EXPECT_EQ(t.done(*id).state, operation_state::done);
  EXPECT_EQ(w.mind().view(n, w.now)->state, node_state::alive);
}

TEST(control_operations, removed_nodes_do_not_keep_others_out) {
  control_world w;
  node_id last;
  for (int i = 0; i < 4096; ++i) last = *w.mind().admit("n", wire::role_expert);
  const auto full = w.mind().admit("n", wire::role_expert);
  ASSERT_TRUE(full.has_error());
  EXPECT_TRUE(has(full.error().message(), "atoll node remove"));
  ASSERT_TRUE(w.mind().remove(last, false, w.now).has_value());
  EXPECT_TRUE(w.mind().admit("n", wire::role_expert).has_value());
}

TEST(control_operations, events_are_numbered_on_over_a_restart) {
  two_and_three t;
  const auto all = t.w.mind().events_since(0);
  ASSERT_FALSE(all.empty());
  for (std::size_t i = 1; i < all.size(); ++i) EXPECT_GT(all[i].revision, all[i - 1].revision);
  EXPECT_EQ(t.w.mind().events_since(all.back().revision).size(), 0U);
  t.w.crash(0);
  t.w.settle_all();
  const auto later = t.w.mind().events_since(all.back().revision);
  ASSERT_FALSE(later.empty());
  EXPECT_GT(later.front().revision, all.back().revision);
}

certificate_record certificate_of(node_id node, char name, std::int64_t from, std::int64_t to) {
  return {std::string(32, name), node, from, to};
}

TEST(control_operations, a_revoked_certificate_is_told_to_all_until_it_has_run_out) {
  two_and_three t;
  control_world& w = t.w;
  const std::int64_t now = w.settings().unix_ms();
  const node_id owner = t.nodes[0], other = t.nodes[1];
  ASSERT_TRUE(w.mind().note_certificate(certificate_of(owner, 'a', now, now + 60'000)).has_value());
  ASSERT_TRUE(w.mind().note_certificate(certificate_of(owner, 'b', now, now + 60'000)).has_value());
  EXPECT_EQ(w.mind().revoke_certificate(std::string(32, 'c'), w.now).error().code(),
            errc::not_found);
  ASSERT_TRUE(w.mind().revoke_certificate(std::string(32, 'b'), w.now).has_value());
  ASSERT_TRUE(w.mind().revoke_certificate(std::string(32, 'b'), w.now).has_value());  // as it is
  w.settle_all();
  for (const node_id node : t.nodes) {
    EXPECT_EQ(w.last_members.at(node).revoked,
              std::vector{*wire::parse_serial(std::string(32, 'b'))});
    EXPECT_TRUE(w.last_members.at(node).removed.empty());
  }
  EXPECT_TRUE(is_revoked(w.mind().kept(), std::string(32, 'b'), owner));
  EXPECT_FALSE(is_revoked(w.mind().kept(), std::string(32, 'a'), owner));

  w.crash(0);
  w.settle_all();
  EXPECT_EQ(w.last_members.at(other).revoked.size(), 1U) << "after a restart of the coordinator";
  const auto valid = valid_certificates(w.mind().kept(), now);
  ASSERT_EQ(valid.size(), 2U);
  EXPECT_EQ(valid[0].revoked_unix_ms, 0);
  EXPECT_GT(valid[1].revoked_unix_ms, 0);

  w.now = w.now + minute + 5 * minute;  // and clocks may differ by that
  ASSERT_TRUE(w.mind().cordon(other, w.now).has_value());
  w.settle_all();
  EXPECT_TRUE(w.last_members.at(other).revoked.empty());
  EXPECT_EQ(w.mind().revoke_certificate(std::string(32, 'b'), w.now).error().code(),
            errc::not_found);
}

TEST(control_operations, who_was_removed_is_told_to_all_while_it_has_a_certificate) {
  two_and_three t;
  control_world& w = t.w;
  const std::int64_t now = w.settings().unix_ms();
  const node_id gone = t.nodes[0], absent = t.nodes[1], other = t.nodes[2];
  for (const node_id node : {gone, absent})
    ASSERT_TRUE(w.mind()
                    .note_certificate(
                        certificate_of(node, node == gone ? 'a' : 'b', now, now + 24 * 3'600'000))
                    .has_value());
  w.kill(absent);
  w.find_dead(absent);
  w.settle_all();
  ASSERT_TRUE(w.mind().remove(gone, true, w.now).has_value());
  ASSERT_TRUE(w.mind().remove(absent, true, w.now).has_value());
  w.ended.clear();
  w.settle_all();
  EXPECT_EQ(w.last_members.at(other).removed, (std::vector{gone.value, absent.value}));
  for (const auto& c : valid_certificates(w.mind().kept(), now)) EXPECT_GT(c.revoked_unix_ms, 0);
  EXPECT_TRUE(is_revoked(w.mind().kept(), std::string(32, 'f'), gone)) << "whatever it shows";
}

TEST(control_operations, a_node_that_asks_for_certificates_without_end_has_to_wait) {
  two_and_three t;
  control_world& w = t.w;
  const node_id node = t.nodes[0];
  const auto ask = [&](std::size_t i) {
    const std::int64_t now = w.settings().unix_ms();
    certificate_record c{std::to_string(i), node, now, now + 24 * 3'600'000};
    return w.mind().note_certificate(c);
  };
  for (std::size_t i = 0; i < certificates_at_once; ++i) ASSERT_TRUE(ask(i).has_value());
  EXPECT_EQ(ask(100).error().code(), errc::overloaded);
  EXPECT_TRUE(
      w.mind().note_certificate({"x", t.nodes[1], 0, w.settings().unix_ms() + 1}).has_value());
  w.now = w.now + 60 * minute;
  EXPECT_TRUE(ask(101).has_value());
  EXPECT_EQ(ask(102).error().code(), errc::overloaded);
  w.now = w.now + 24 * 60 * minute;
  EXPECT_TRUE(ask(103).has_value());
  w.now = w.now + 6 * minute;
  EXPECT_TRUE(ask(104).has_value());
  EXPECT_EQ(w.mind().kept().certificates.size(), 2U) << "what has run out is forgotten";
}

}  // namespace
}  // namespace atl::cluster
