#include "actors/local_cluster.hpp"
#include "attention/shard_compute.hpp"
#include "runtime/base/disk.hpp"
#include "runtime/tensor/inline_device.hpp"
#include "tests/support/plain_model.hpp"
#include "tests/unit/actors/collector.hpp"

#include <gtest/gtest.h>

#include <array>
#include <fstream>
#include <limits>
#include <sys/resource.h>
#include <unistd.h>

namespace atl::actors {
namespace {

std::shared_ptr<const model::model_weights> tiny() {
  static const auto weights =
      model::load_weights(*system_disk(), ATOLL_SOURCE_DIR "/models/tiny", {}).value();
  return weights;
}

std::size_t attention_page_bytes() { return attention::shard_compute::page_bytes(tiny()->config); }

generation_request ask(std::vector<token_id> prompt, std::int64_t tokens) {
  generation_request r;
  r.prompt = std::move(prompt);
  r.tokens_max = tokens;
  return r;
}

std::vector<token_id> prompt_of(int n, int seed) {
  std::vector<token_id> p;
  for (int i = 0; i < n; ++i) p.push_back((i * 37 + seed * 101 + 11) % 6000);
  return p;
}

TEST(local_cluster, GeneratesAndFreesEverything) {
  cluster_options o;
  o.threads = 2;
  collector c;
  auto cluster = local_cluster::start(tiny(), o).value();
  auto request = ask(prompt_of(17, 1), 12);
  request.ignore_eos = true;
  ASSERT_TRUE(cluster->submit(request, c.listener()).has_value());
  c.wait();
  EXPECT_EQ(c.last.finish, finish_reason::length);
  EXPECT_EQ(c.tokens.size(), 12U);
  EXPECT_EQ(c.last.prompt_tokens, 17);
  EXPECT_EQ(c.last.generated_tokens, 12);
  const auto usage = cluster->usage();
  EXPECT_EQ(usage.requests, 0U);
  EXPECT_EQ(usage.sequences, 0U);
  EXPECT_EQ(usage.pages_used, 0U);
  EXPECT_EQ(usage.rows_in_flight, 0U);
  const auto counters = cluster->counters();
  EXPECT_EQ(counters.frames_refused, 0U);
  // 17 prompt rows and 11 fed back; layer 0 is dense, the others send each row to 4 experts.
  std::uint64_t rows = 0;
  for (const auto n : counters.expert_rows[1]) rows += n;
  EXPECT_EQ(rows, 28U * 4U);
  EXPECT_TRUE(counters.expert_rows[0].empty());
  // The prompt in one step of 17 to 32 rows, then a row in each.
  std::array<std::uint64_t, 14> steps{};
  steps[5] = 1;
  steps[0] = 11;
  EXPECT_EQ(counters.steps_by_rows, steps);
}

/// Logits of every position of a prompt, from a cluster of some shape.
std::vector<float> logits_of(const std::vector<token_id>& prompt, const cluster_options& o) {
  auto cluster = local_cluster::start(tiny(), o).value();
  collector c;
  auto request = ask(prompt, 1);
  request.logits = logits_wanted::all;
  EXPECT_TRUE(cluster->submit(request, c.listener()).has_value());
  c.wait();
  std::vector<float> all;
  for (const auto& seen : c.observations)
    all.insert(all.end(), seen.values.begin(), seen.values.end());
  EXPECT_EQ(c.last.finish, finish_reason::length);
  return all;
}

TEST(local_cluster, RowsTravelAsToldWithTheSameBitsInAnyShape) {
  const auto prompt = prompt_of(40, 3);
  std::vector<std::vector<float>> by_type;
  for (const auto type : {tensor::dtype::f32, tensor::dtype::bf16, tensor::dtype::f8_e4m3}) {
    // Without actors, each value rounded by itself.
    tensor::inline_device device;
    testing::plain_model::options plain{*kernels::best_isa()};
    plain.activations = type;
    const auto model = testing::plain_model::make(tiny(), device, plain).value();
    testing::plain_model::sequence s;
    const testing::plain_model::input in{&s, prompt};
    const auto expected = model->feed({&in, 1}).value();
    model->release(s);
    for (const int groups : {1, 3}) {
      cluster_options o;
      o.threads = 2;
      o.activations = type;
      o.expert_groups = groups;
      o.replicas = groups == 1 ? 1 : 2;
      o.prefill_chunk = groups == 1 ? 512 : 7;
      o.isa = groups == 1 ? *kernels::best_isa() : kernels::isa::avx2;
      EXPECT_EQ(logits_of(prompt, o), expected) << to_string(type) << ", groups " << groups;
    }
    by_type.push_back(expected);
  }
  EXPECT_NE(by_type[0], by_type[1]);
  EXPECT_NE(by_type[1], by_type[2]);
}

TEST(local_cluster, CancellingFreesEverythingWithinAStep) {
  cluster_options o;
  o.threads = 2;
  o.sequences_max = 2;
  std::vector<std::unique_ptr<collector>> seen;
  auto cluster = local_cluster::start(tiny(), o).value();
  std::vector<request_id> ids;
  for (int i = 0; i < 6; ++i) {  // two run, four wait
    seen.push_back(std::make_unique<collector>());
    auto request = ask(prompt_of(40, i), 500);
    request.ignore_eos = true;
    ids.push_back(cluster->submit(request, seen.back()->listener()).value());
  }
  seen[0]->wait_for_tokens(3);
  for (const auto id : ids) cluster->cancel(id);
  for (const auto& s : seen) {
    s->wait();
    EXPECT_EQ(s->last.finish, finish_reason::cancelled);
    EXPECT_LT(s->tokens.size(), 500U);
  }
  const auto usage = cluster->usage();
  EXPECT_EQ(usage.requests + usage.sequences + usage.pages_used + usage.rows_in_flight, 0U);
  cluster->cancel(ids[0]);  // again: no effect
}

TEST(local_cluster, ARequestThatWaitsEndsAtOnceWhenCancelled) {
  cluster_options o;
  o.threads = 1;
  o.sequences_max = 1;
  std::vector<std::unique_ptr<collector>> seen;  // outlive the cluster, which ends what runs
  auto cluster = local_cluster::start(tiny(), o).value();
  std::vector<request_id> ids;
  for (int i = 0; i < 5; ++i) {
    seen.push_back(std::make_unique<collector>());
    auto request = ask(prompt_of(20, i), 1500);
    request.ignore_eos = true;
    ids.push_back(cluster->submit(request, seen.back()->listener()).value());
  }
  seen[0]->wait_for_tokens(2);
  const auto before = cluster->gauges();
  EXPECT_EQ(before.running, 2);  // the one that runs and the next
  EXPECT_EQ(before.waiting, 3);
  cluster->cancel(ids[4]);
  seen[4]->wait();
  EXPECT_EQ(seen[4]->last.finish, finish_reason::cancelled);
  EXPECT_GT(seen[4]->last.queued.count(), 0);
  EXPECT_EQ(seen[4]->last.generated_tokens, 0);
  EXPECT_EQ(cluster->gauges().waiting, 2);
  EXPECT_EQ(cluster->usage().requests, 4U);
}

TEST(local_cluster, ATimeoutEndsWhatRunsAndWhatWaits) {
  cluster_options o;
  o.threads = 2;
  o.sequences_max = 1;
  std::vector<std::unique_ptr<collector>> seen;
  auto cluster = local_cluster::start(tiny(), o).value();
  for (int i = 0; i < 4; ++i) {
    seen.push_back(std::make_unique<collector>());
    auto request = ask(prompt_of(20, i), 1900);
    request.ignore_eos = true;
    request.timeout = std::chrono::milliseconds{30};
    ASSERT_TRUE(cluster->submit(request, seen.back()->listener()).has_value());
  }
  for (const auto& s : seen) {
    s->wait();
    ASSERT_EQ(s->last.finish, finish_reason::error);
    ASSERT_TRUE(s->last.cause);
    EXPECT_EQ(s->last.cause->code(), errc::deadline);
    EXPECT_NE(s->last.cause->message().find("timeout of 30 ms"), std::string::npos);
  }
  EXPECT_LT(seen[0]->tokens.size(), 1900U);
  EXPECT_NE(seen[3]->last.cause->message().find("waiting"), std::string::npos);
  collector after;  // the place of what was overdue is free
  ASSERT_TRUE(cluster->submit(ask(prompt_of(5, 1), 1), after.listener()).has_value());
  after.wait();
  EXPECT_NE(after.last.finish, finish_reason::error);
  EXPECT_EQ(cluster->usage().pages_used, 0U);
}

TEST(local_cluster, RefusesWhatTheQueueHasNoPlaceFor) {
  cluster_options o;
  o.threads = 1;
  o.sequences_max = 1;
  o.queued_max = 2;
  std::vector<std::unique_ptr<collector>> seen;
  auto cluster = local_cluster::start(tiny(), o).value();
  std::vector<request_id> ids;
  auto request = ask(prompt_of(20, 1), 1500);
  request.ignore_eos = true;
  const auto submit = [&] {
    seen.push_back(std::make_unique<collector>());
    const auto id = cluster->submit(request, seen.back()->listener());
    if (id.has_error()) {
      seen.pop_back();
      return id.error().code();
    }
    ids.push_back(*id);
    return errc{};
  };
  for (int i = 0; i < 3; ++i) {
    EXPECT_TRUE(cluster->admits().has_value());
    EXPECT_EQ(submit(), errc{});
  }
  ASSERT_TRUE(cluster->admits().has_error());
  EXPECT_EQ(cluster->admits().error().code(), errc::overloaded);
  EXPECT_EQ(submit(), errc::overloaded);
  EXPECT_GE(cluster->retry_after(), std::chrono::seconds{1});
  EXPECT_LE(cluster->retry_after(), std::chrono::seconds{60});
  ASSERT_TRUE(cluster->set_queue_limit(3).has_value());
  EXPECT_EQ(submit(), errc{});
  EXPECT_EQ(submit(), errc::overloaded);
  EXPECT_EQ(cluster->gauges().queue_limit, 3);
  EXPECT_EQ(cluster->gauges().tokens_reserved, 4 * 1520);
  ASSERT_TRUE(cluster->set_queue_limit(0).has_value());  // who is inside stays
  EXPECT_EQ(submit(), errc::overloaded);
  for (const auto id : ids) cluster->cancel(id);
  for (const auto& s : seen) {
    s->wait();
    EXPECT_EQ(s->last.finish, finish_reason::cancelled);
  }
  EXPECT_EQ(submit(), errc{});
  EXPECT_EQ(submit(), errc::overloaded);  // one runs, none may wait
  EXPECT_TRUE(cluster->set_queue_limit(-1).has_error());
}

TEST(local_cluster, RefusesTokensBeyondTheReserve) {
  cluster_options o;
  o.threads = 1;
  o.sequences_max = 1;
  o.context_max = 640;
  o.kv_bytes = 10 * attention_page_bytes();
  o.queued_tokens = 100;
  collector first, second, third;  // outlive the cluster
  auto cluster = local_cluster::start(tiny(), o).value();
  EXPECT_EQ(cluster->gauges().tokens_limit, 740);
  auto large = ask(prompt_of(40, 1), 600);
  large.ignore_eos = true;
  ASSERT_TRUE(cluster->submit(large, first.listener()).has_value());
  const auto refused = cluster->submit(ask(prompt_of(100, 2), 1), second.listener());
  ASSERT_TRUE(refused.has_error());
  EXPECT_EQ(refused.error().code(), errc::overloaded);
  EXPECT_TRUE(cluster->admits().has_value());  // a smaller one would get in
  ASSERT_TRUE(cluster->submit(ask(prompt_of(99, 2), 1), third.listener()).has_value());
  EXPECT_TRUE(cluster->admits().has_error());
  first.wait();
  third.wait();
  EXPECT_EQ(cluster->gauges().tokens_reserved, 0);
}

TEST(local_cluster, EndsCleanlyWithRequestsRunning) {
  auto seen = std::make_unique<collector>();
  {
    auto cluster = local_cluster::start(tiny(), {}).value();
    auto request = ask(prompt_of(100, 3), 1000);
    request.ignore_eos = true;
    ASSERT_TRUE(cluster->submit(request, seen->listener()).has_value());
  }
  seen->wait();
  EXPECT_EQ(seen->last.finish, finish_reason::cancelled);
}

TEST(local_cluster, LogitsThatAreNotNumbersEndTheRequestWithAnError) {
  auto damaged = std::make_shared<model::model_weights>(*tiny());
  const std::vector<float> nan(static_cast<std::size_t>(damaged->config.hidden),
                               std::numeric_limits<float>::quiet_NaN());
  damaged->final_norm = {
      reinterpret_cast<const std::byte*>(nan.data()), tensor::dtype::f32, damaged->config.hidden};
  collector c;
  auto cluster = local_cluster::start(damaged, {}).value();
  ASSERT_TRUE(cluster->submit(ask(prompt_of(5, 1), 8), c.listener()).has_value());
  c.wait();
  EXPECT_EQ(c.last.finish, finish_reason::error);
  ASSERT_TRUE(c.last.cause);
  EXPECT_EQ(c.last.cause->code(), errc::invalid_model);
  EXPECT_TRUE(c.tokens.empty());
  EXPECT_EQ(cluster->usage().pages_used, 0U);
}

TEST(local_cluster, RefusesWhatCannotBe) {
  cluster_options o;
  o.context_max = 64;
  collector c;
  auto cluster = local_cluster::start(tiny(), o).value();
  const auto code = [&](const generation_request& r) {
    const auto answer = cluster->submit(r, c.listener());
    return answer.has_error() ? answer.error().code() : errc::internal;
  };
  EXPECT_EQ(code(ask({}, 4)), errc::invalid_argument);
  EXPECT_EQ(code(ask({5, -1}, 4)), errc::invalid_argument);
  EXPECT_EQ(code(ask({6144}, 4)), errc::invalid_argument);
  EXPECT_EQ(code(ask(prompt_of(65, 0), 1)), errc::invalid_argument);
  auto hot = ask({5}, 4);
  hot.sampling.temperature = -1;
  EXPECT_EQ(code(hot), errc::invalid_argument);
  auto late = ask({5}, 4);
  late.timeout = duration_ns{0};
  EXPECT_EQ(code(late), errc::invalid_argument);
  late.timeout = std::chrono::hours{24 * 8};
  EXPECT_EQ(code(late), errc::invalid_argument);
  auto greedy = ask({5}, 4);
  greedy.tenant_share = 0;
  EXPECT_EQ(code(greedy), errc::invalid_argument);
  const auto usage = cluster->usage();
  EXPECT_EQ(usage.requests + usage.sequences, 0U);
}

TEST(local_cluster, RefusesShapesThatCannotBe) {
  const auto code = [](const cluster_options& o) {
    const auto answer = resolved(o, tiny()->config);
    return answer.has_error() ? answer.error().code() : errc::internal;
  };
  EXPECT_EQ(code({.attention_shards = 0}), errc::invalid_argument);
  EXPECT_EQ(code({.expert_groups = 33}), errc::invalid_argument);
  EXPECT_EQ(code({.expert_groups = 2, .replicas = 3}), errc::invalid_argument);
  EXPECT_EQ(code({.context_max = 2049}), errc::invalid_argument);
  EXPECT_EQ(code({.queued_max = -1}), errc::invalid_argument);
  EXPECT_EQ(code({.queued_tokens = -1}), errc::invalid_argument);
  EXPECT_EQ(code({.context_max = 2048, .kv_bytes = 100'000}), errc::out_of_memory);
}

TEST(local_cluster, ASharedSmallCacheServesAllByTurns) {
  // Pages for less than two of the four sequences: more start than can end together, so they wait,
  // give way, and replay.
  constexpr std::int64_t tokens = 330;
  cluster_options o;
  o.threads = 2;
  o.kv_bytes = 10 * attention_page_bytes();
  o.sequences_max = 8;
  auto small = local_cluster::start(tiny(), o).value();
  o.kv_bytes = 0;
  auto large = local_cluster::start(tiny(), o).value();
  std::vector<std::unique_ptr<collector>> a, b;
  for (int i = 0; i < 4; ++i) {
    auto request = ask(prompt_of(40 + 7 * i, i), tokens);
    request.ignore_eos = true;
    request.logits = logits_wanted::last;
    a.push_back(std::make_unique<collector>());
    b.push_back(std::make_unique<collector>());
    ASSERT_TRUE(small->submit(request, a.back()->listener()).has_value());
    ASSERT_TRUE(large->submit(request, b.back()->listener()).has_value());
  }
  for (std::size_t i = 0; i < a.size(); ++i) {
    a[i]->wait();
    b[i]->wait();
    EXPECT_EQ(a[i]->tokens, b[i]->tokens);
    ASSERT_EQ(a[i]->observations.size(), std::size_t{tokens});
    for (std::size_t k = 0; k < std::size_t{tokens}; ++k) {
      EXPECT_EQ(a[i]->observations[k].first_position, b[i]->observations[k].first_position);
      EXPECT_EQ(a[i]->observations[k].values, b[i]->observations[k].values);
    }
  }
  EXPECT_GT(small->counters().rows, large->counters().rows);
}

TEST(local_cluster, RefusesChunksWhoseAnswersNoFrameHolds) {
  model::model_config config = tiny()->config;
  config.hidden = 7168;
  config.vocab_size = 129280;  // 2^30 bytes hold the logits of 2,076 rows
  cluster_options o;
  o.prefill_chunk = 2076;
  EXPECT_TRUE(resolved(o, config).has_value());
  o.prefill_chunk = 2077;
  const auto refused = resolved(o, config);
  ASSERT_TRUE(refused.has_error());
  EXPECT_EQ(refused.error().code(), errc::invalid_argument);
  EXPECT_NE(refused.error().message().find("--prefill-chunk 2077"), std::string::npos);
  o.prefill_chunk = 512;
  o.sequences_max = 2077;  // a step of as many sequences that go on
  const auto too_many = resolved(o, config);
  ASSERT_TRUE(too_many.has_error());
  EXPECT_NE(too_many.error().message().find("--batch-size 2077"), std::string::npos);
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
/// No more address space than `spare_bytes` beyond what the process has, while it lives.
class scarce_memory {
public:
  explicit scarce_memory(std::size_t spare_bytes) {
    std::size_t pages = 0;
    std::ifstream{"/proc/self/statm"} >> pages;
    ::getrlimit(RLIMIT_AS, &before_);
    rlimit now = before_;
    now.rlim_cur = pages * static_cast<std::size_t>(::sysconf(_SC_PAGESIZE)) + spare_bytes;
    ::setrlimit(RLIMIT_AS, &now);
  }
  ~scarce_memory() { ::setrlimit(RLIMIT_AS, &before_); }
  scarce_memory(const scarce_memory&) = delete;
  scarce_memory& operator=(const scarce_memory&) = delete;

private:
  rlimit before_{};
};

TEST(local_cluster, AStepWithoutMemoryFailsItsRequestsAndOthersGoOn) {
  cluster_options o;
  o.threads = 1;
  o.prefill_chunk = 4096;
  collector big;
  auto cluster = local_cluster::start(tiny(), o).value();
  {
    // 2,000 x 6,144 logits are 49 MB.
    auto request = ask(prompt_of(2000, 1), 0);
    request.logits = logits_wanted::all;
    const scarce_memory until_it_ends{std::size_t{24} << 20};
    ASSERT_TRUE(cluster->submit(request, big.listener()).has_value());
    big.wait();
  }
  EXPECT_EQ(big.last.finish, finish_reason::error);
  ASSERT_TRUE(big.last.cause);
  EXPECT_EQ(big.last.cause->code(), errc::out_of_memory);
  collector small;
  ASSERT_TRUE(cluster->submit(ask(prompt_of(17, 1), 3), small.listener()).has_value());
  small.wait();
  EXPECT_EQ(small.last.generated_tokens, 3);
  collector same;
  ASSERT_TRUE(cluster->submit(ask(prompt_of(2000, 1), 1), same.listener()).has_value());
  same.wait();
  EXPECT_EQ(same.last.cached_tokens, 0) << "nothing of the failed step was computed";
  EXPECT_EQ(cluster->usage().pages_used, 0U);
}
#endif

}  // namespace
}  // namespace atl::actors
