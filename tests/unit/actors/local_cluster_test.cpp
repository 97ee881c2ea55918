#include "actors/local_cluster.hpp"
#include "runtime/base/disk.hpp"

#include <gtest/gtest.h>

#include <condition_variable>
#include <mutex>

namespace atl::actors {
namespace {

std::shared_ptr<const model::model_weights> tiny() {
  static const auto weights =
      model::load_weights(*system_disk(), ATOLL_SOURCE_DIR "/models/tiny", {}).value();
  return weights;
}

/// Collects one request's events and waits for the last.
class collector {
public:
  generation_listener listener() {
    return [this](generation_event&& e) {
      const std::lock_guard lock{mutex_};
      tokens.insert(tokens.end(), e.tokens.begin(), e.tokens.end());
      for (auto& o : e.observations) observations.push_back(std::move(o));
      if (e.finish == finish_reason::none) return;
      last = std::move(e);
      ended_ = true;
      changed_.notify_all();
    };
  }
  void wait() {
    std::unique_lock lock{mutex_};
    changed_.wait(lock, [this] { return ended_; });
  }

  std::vector<token_id> tokens;
  std::vector<observation> observations;
  generation_event last;

private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool ended_ = false;
};

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
  auto cluster = local_cluster::start(tiny(), o).value();
  collector c;
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
}

}  // namespace
}  // namespace atl::actors
