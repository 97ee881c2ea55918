#include "apps/serve/progress.hpp"

#include <numeric>
#include <utility>

namespace atl::serve {
namespace {

/// Grows with whatever is computed.
std::uint64_t work_done(const actors::cluster_counters& c) {
  std::uint64_t done = c.steps;
  for (const auto& layer : c.expert_rows) done = std::accumulate(layer.begin(), layer.end(), done);
  return done;
}

}  // namespace

bool progress_watch::is_stalled(const server_sample& s, time_point_ns now) {
  const std::uint64_t done = work_done(s.counters);
  const bool computes_here = s.usage.pages_total > 0;
  const bool has_work = s.usage.requests > 0 && computes_here;
  if (!std::exchange(has_seen_, true) || done != done_ || !has_work) {
    done_ = done;
    since_ = now;
  }
  return now - since_ > stall_max;
}

}  // namespace atl::serve
