#include "cluster/verdict.hpp"
#include "runtime/base/random.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <set>
#include <utility>
#include <vector>

namespace atl::cluster {
namespace {

using nodes = std::vector<data_member>;
using reports = std::vector<path_loss>;

constexpr time_point_ns now{100'000'000'000};
constexpr time_point_ns long_ago{90'000'000'000};

data_member gateway(std::uint32_t n) { return {.node = node_id{n}, .is_gateway = true}; }

data_member attention(std::uint32_t n) { return {.node = node_id{n}, .is_attention = true}; }

data_member expert(std::uint32_t n) { return {.node = node_id{n}, .is_expert = true}; }

path_loss dead(std::uint32_t reporter, std::uint32_t subject, time_point_ns since = long_ago) {
  return {node_id{reporter}, node_id{subject}, since};
}

/// The node to fence, or 0.
std::uint32_t fenced(const nodes& members, const reports& all) {
  const auto verdict = judge_paths(members, all, now);
  return verdict ? verdict->node.value : 0;
}

/// One gateway 1, attention 11 12, experts 21 22 23.
const nodes cluster_of_six{
    gateway(1), attention(11), attention(12), expert(21), expert(22), expert(23)};

bool do_talk(const data_member& a, const data_member& b) {
  if (a.node == b.node) return false;
  return (a.is_gateway && b.is_attention) || (b.is_gateway && a.is_attention) ||
         (a.is_attention && b.is_expert) || (b.is_attention && a.is_expert);
}

/// What all report when the paths between these nodes are broken both ways.
reports broken(const nodes& members,
               const std::function<bool(std::uint32_t, std::uint32_t)>& is_broken) {
  reports all;
  for (const auto& a : members)
    for (const auto& b : members)
      if (do_talk(a, b) && is_broken(a.node.value, b.node.value))
        all.push_back(dead(a.node.value, b.node.value));
  return all;
}

TEST(verdict, without_reports_nobody_is_at_fault) {
  EXPECT_EQ(fenced(cluster_of_six, {}), 0U);
  EXPECT_EQ(fenced({}, {}), 0U);
  EXPECT_EQ(fenced({}, {dead(1, 2)}), 0U);
}

TEST(verdict, an_isolated_node_is_fenced_whoever_it_is) {
  for (const std::uint32_t lost : {11U, 12U, 21U, 22U, 23U}) {
    const auto all = broken(
        cluster_of_six, [&](std::uint32_t a, std::uint32_t b) { return a == lost || b == lost; });
    EXPECT_EQ(fenced(cluster_of_six, all), lost);
    // Only its own reports, or only those of the others, are enough.
    reports own;
    reports others;
    for (const auto& r : all) (r.reporter.value == lost ? own : others).push_back(r);
    EXPECT_EQ(fenced(cluster_of_six, own), lost);
    EXPECT_EQ(fenced(cluster_of_six, others), lost);
  }
}

TEST(verdict, says_why) {
  EXPECT_EQ(
      judge_paths(cluster_of_six, reports{dead(12, 21), dead(12, 22), dead(12, 23)}, now)->why,
      "it has lost the data paths to 3 of 4 nodes that it talks to, so it is cut off itself");
  EXPECT_EQ(judge_paths(cluster_of_six, reports{dead(11, 22), dead(12, 22)}, now)->why,
            "2 of 2 nodes that talk to it have lost the data path to it");
}

TEST(verdict, a_single_broken_path_is_nobodys_fault) {
  for (const auto& a : cluster_of_six) {
    for (const auto& b : cluster_of_six) {
      if (!do_talk(a, b)) continue;
      EXPECT_EQ(fenced(cluster_of_six, {dead(a.node.value, b.node.value)}), 0U);
      EXPECT_EQ(fenced(cluster_of_six,
                       {dead(a.node.value, b.node.value), dead(b.node.value, a.node.value)}),
                0U);
    }
  }
}

TEST(verdict, half_is_not_more_than_half) {
  // Attention 11 talks to the gateway and three experts.
  EXPECT_EQ(fenced(cluster_of_six, {dead(11, 21), dead(11, 22)}), 0U);
  EXPECT_EQ(fenced(cluster_of_six, {dead(11, 21), dead(11, 22), dead(11, 23)}), 11U);
  EXPECT_EQ(fenced(cluster_of_six, {dead(21, 11)}), 0U);
  EXPECT_EQ(fenced(cluster_of_six, {dead(21, 11), dead(21, 12)}), 21U);
}

TEST(verdict, what_a_cut_off_node_says_is_no_evidence) {
  // Both attention nodes count for an expert; 11 is cut off, so 12 alone would decide.
  const reports all{dead(11, 21), dead(11, 22), dead(11, 23)};
  EXPECT_EQ(fenced(cluster_of_six, all), 11U);
  // The only attention node cannot be fenced, and its reports take no expert with it.
  const nodes one{gateway(1), attention(11), expert(21), expert(22)};
  EXPECT_EQ(fenced(one, {dead(11, 21), dead(11, 22), dead(11, 1)}), 0U);
}

TEST(verdict, names_the_one_that_has_lost_most) {
  // Node 11 has lost three of four paths, node 21 two of two.
  const reports both{dead(11, 21), dead(11, 22), dead(11, 23), dead(21, 11), dead(21, 12)};
  EXPECT_EQ(fenced(cluster_of_six, both), 21U);
  const reports all{dead(21, 11),
                    dead(21, 12),
                    dead(22, 11),
                    dead(22, 12),
                    dead(12, 1),
                    dead(12, 21),
                    dead(12, 22),
                    dead(12, 23)};
  EXPECT_EQ(fenced(cluster_of_six, all), 12U);  // as much of it, on more paths
  EXPECT_EQ(fenced(cluster_of_six, reports(all.begin(), all.begin() + 4)), 21U);
}

TEST(verdict, a_later_node_that_has_lost_less_does_not_take_the_blame) {
  nodes seven = cluster_of_six;
  seven.push_back(attention(13));
  const reports all{
      dead(11, 1), dead(11, 21), dead(11, 22), dead(11, 23), dead(21, 11), dead(21, 12)};
  EXPECT_EQ(fenced(seven, all), 11U);
}

TEST(verdict, the_only_counterpart_decides) {
  const nodes one{gateway(1), attention(11), expert(21), expert(22), expert(23)};
  EXPECT_EQ(fenced(one, {dead(11, 22)}), 22U);
  EXPECT_EQ(fenced(one, {dead(22, 11)}), 0U);  // it talks to nobody else: it may be either
}

TEST(verdict, the_last_of_a_role_is_never_fenced) {
  const nodes pair{gateway(1), attention(11), attention(12), expert(21)};
  EXPECT_EQ(fenced(pair, {dead(11, 21), dead(12, 21), dead(21, 11), dead(21, 12)}), 0U);
  EXPECT_EQ(fenced(pair, {dead(1, 11), dead(1, 12)}), 0U);
  const nodes mixed{gateway(1), attention(11), attention(12), expert(21), expert(22)};
  EXPECT_EQ(fenced(mixed, {dead(11, 21), dead(12, 21)}), 21U);
  nodes both = mixed;
  both[3].is_gateway = true;
  EXPECT_EQ(fenced(both, {dead(11, 21), dead(12, 21)}), 21U);
  both[0].is_gateway = false;  // now 21 is the only gateway
  EXPECT_EQ(fenced(both, {dead(11, 21), dead(12, 21)}), 0U);
}

TEST(verdict, waits_until_the_reports_of_one_cause_are_in) {
  const duration_ns settle = verdict_settle_time;
  const reports fresh{dead(11, 22, now), dead(12, 22, now)};
  EXPECT_FALSE(judge_paths(cluster_of_six, fresh, now + (settle - duration_ns{1})).has_value());
  EXPECT_TRUE(judge_paths(cluster_of_six, fresh, now + settle).has_value());
  // The first report counts: those that come later do not put the verdict off.
  const reports mixed{dead(11, 22, now), dead(12, 22, now + settle)};
  EXPECT_TRUE(judge_paths(cluster_of_six, mixed, now + settle).has_value());
  const reports own{dead(11, 21, now), dead(11, 22, now), dead(11, 23, now)};
  EXPECT_FALSE(judge_paths(cluster_of_six, own, now + (settle - duration_ns{1})).has_value());
  EXPECT_TRUE(judge_paths(cluster_of_six, own, now + settle).has_value());
}

TEST(verdict, ignores_who_does_not_talk_or_is_no_member) {
  EXPECT_EQ(fenced(cluster_of_six, {dead(21, 22), dead(23, 22), dead(1, 22)}), 0U);
  EXPECT_EQ(fenced(cluster_of_six, {dead(99, 22), dead(98, 22), dead(11, 99)}), 0U);
  EXPECT_EQ(fenced(cluster_of_six, {dead(11, 22), dead(11, 22), dead(11, 22)}), 0U);
}

/// Fences until nothing more is to be fenced, each node's reports going with it.
std::vector<std::uint32_t> all_fenced(nodes members, const reports& all) {
  std::vector<std::uint32_t> gone;
  while (const auto verdict = judge_paths(members, all, now)) {
    gone.push_back(verdict->node.value);
    const std::size_t before = members.size();
    std::erase_if(members, [&](const data_member& m) { return m.node == verdict->node; });
    EXPECT_EQ(members.size() + 1, before);
  }
  return gone;
}

TEST(verdict, one_cause_costs_one_node) {
  for (const std::uint32_t lost : {11U, 12U, 21U, 22U, 23U}) {
    const auto all = broken(
        cluster_of_six, [&](std::uint32_t a, std::uint32_t b) { return a == lost || b == lost; });
    EXPECT_EQ(all_fenced(cluster_of_six, all), (std::vector<std::uint32_t>{lost}));
  }
}

TEST(verdict, a_broken_switch_between_the_tiers_does_not_take_the_cluster_apart) {
  const auto all = broken(cluster_of_six, [](std::uint32_t a, std::uint32_t b) {
    return std::max(a, b) > 20 && std::min(a, b) < 20;
  });
  const auto gone = all_fenced(cluster_of_six, all);
  EXPECT_LE(gone.size(), 2U);
}

TEST(verdict, random_reports_always_leave_a_node_of_each_role_and_a_repeatable_answer) {
  for (std::uint64_t seed = 1; seed <= 500; ++seed) {
    SCOPED_TRACE(seed);
    random_source random{seed};
    nodes members;
    const auto below = [&](std::uint64_t n) { return static_cast<std::uint32_t>(random.below(n)); };
    for (std::uint32_t n = 1 + below(2); n > 0; --n) members.push_back(gateway(n));
    for (std::uint32_t n = 1 + below(4); n > 0; --n) members.push_back(attention(10 + n));
    for (std::uint32_t n = 1 + below(6); n > 0; --n) members.push_back(expert(20 + n));
    members[below(members.size())].is_expert = true;
    reports all;
    const std::uint64_t one_in = 1 + random.below(6);
    for (const auto& a : members)
      for (const auto& b : members)
        if (random.below(one_in) == 0) all.push_back(dead(a.node.value, b.node.value));
    const auto gone = all_fenced(members, all);
    const auto left = [&](bool data_member::*role) {
      return std::any_of(members.begin(), members.end(), [&](const data_member& m) {
        return m.*role && std::find(gone.begin(), gone.end(), m.node.value) == gone.end();
      });
    };
    EXPECT_TRUE(left(&data_member::is_gateway));
    EXPECT_TRUE(left(&data_member::is_attention));
    EXPECT_TRUE(left(&data_member::is_expert));
    std::reverse(members.begin(), members.end());
    std::reverse(all.begin(), all.end());
    EXPECT_EQ(all_fenced(members, all), gone);
  }
}

}  // namespace
}  // namespace atl::cluster
