#include "cluster/hedging.hpp"

#include <algorithm>

namespace atl::cluster {

namespace {

constexpr std::int64_t patience = 4;
constexpr std::int64_t fade = 128;
constexpr std::uint32_t rows_least = 16;
constexpr std::uint64_t rows_per_hedge = 20;
constexpr std::uint64_t bucket_twentieths = 40'960;
// Keeps rows * time per row far from overflow.
constexpr std::int64_t took_max_ns = 600'000'000'000;

}  // namespace

void answer_times::observe(std::uint32_t rows, duration_ns took) {
  const std::int64_t ns = std::clamp<std::int64_t>(took.count(), 0, took_max_ns);
  const std::int64_t row_ns = ns / std::max(rows, rows_least);
  slowest_ns_ = std::max(ns, slowest_ns_ - slowest_ns_ / fade);
  slowest_row_ns_ = std::max(row_ns, slowest_row_ns_ - slowest_row_ns_ / fade);
  has_seen_ = true;
}

duration_ns answer_times::late_after(std::uint32_t rows) const {
  if (!has_seen_) return most;
  const duration_ns any = std::clamp(duration_ns{patience * slowest_ns_}, least, most);
  return std::max(any, duration_ns{patience * slowest_row_ns_ * std::int64_t{rows}});
}

void hedge_budget::sent(std::uint32_t rows) {
  twentieths_ = std::min(bucket_twentieths, twentieths_ + rows);
}

bool hedge_budget::take(std::uint32_t rows) {
  const std::uint64_t cost = rows_per_hedge * rows;
  if (cost > twentieths_) return false;
  twentieths_ -= cost;
  return true;
}

}  // namespace atl::cluster
