#include "apps/bench_rows.hpp"

#include "apps/json_text.hpp"
#include "apps/values.hpp"

#include <algorithm>
#include <cstdio>
#include <string>
#include <utility>

namespace atl::apps {
namespace {

std::string json_row(const bench_row& r,
                     const std::vector<peer_ratio>& peers,
                     const actors::cluster_options& o) {
  std::string text = "{\"n_prompt\":" + std::to_string(r.measured.n_prompt) +
                     ",\"n_gen\":" + std::to_string(r.measured.n_gen) +
                     ",\"n_depth\":" + std::to_string(r.measured.n_depth) +
                     ",\"n_batch\":" + std::to_string(r.measured.n_batch) +
                     ",\"n_threads\":" + std::to_string(r.measured.n_threads) +
                     ",\"isa\":" + quoted(to_string(*o.isa)) + ",\"numerics\":" +
                     (o.numerics == kernels::numerics::fast ? "\"fast\"" : "\"invariant\"") +
                     ",\"activations\":" + quoted(to_string(o.activations)) +
                     ",\"row_bytes_per_token\":" + fixed(r.row_bytes_per_token, 0) +
                     ",\"tokens_per_second\":" + fixed(r.tokens_per_second(), 4) + ",\"samples\":[";
  for (std::size_t i = 0; i < r.samples.size(); ++i)
    text += (i == 0 ? "" : ",") + fixed(r.samples[i], 4);
  text += "],\"bytes_per_token\":" + fixed(r.bytes_per_token, 0) +
          ",\"read_bandwidth_bytes_per_second\":" + fixed(r.peak.read_bytes_per_second, 0) +
          ",\"bandwidth_share\":" + fixed(r.bandwidth_share(), 4) +
          ",\"flops_per_token\":" + fixed(r.flops_per_token, 0) +
          ",\"fma_peak_flops_per_second\":" + fixed(r.peak.fma_flops_per_second, 0) +
          ",\"flops_share\":" + fixed(r.flops_share(), 4);
  if (!r.plain.empty())
    text += ",\"plain_tokens_per_second\":" + fixed(median(r.plain), 4) +
            ",\"actor_overhead_us_per_token_and_layer\":" + fixed(r.overhead_us(), 2);
  for (std::size_t i = 0; i < peers.size(); ++i)
    text += (i == 0 ? ",\"peers\":[" : ",") + ("{\"peer\":" + quoted(peers[i].peer)) +
            ",\"tokens_per_second\":" + fixed(peers[i].tokens_per_second, 4) +
            ",\"ratio\":" + fixed(peers[i].ratio, 4) + "}";
  return text + (peers.empty() ? "}" : "]}");
}

std::string table_row(const bench_row& r, const std::vector<peer_ratio>& peers) {
  const auto [low, high] = std::minmax_element(r.samples.begin(), r.samples.end());
  char text[200];
  std::snprintf(text,
                sizeof text,
                "%8lld %6lld %7lld %6lld %8d %10.2f  %9.2f - %-9.2f %8.1f %10.1f %% %7.1f %% %9.1f",
                static_cast<long long>(r.measured.n_prompt),
                static_cast<long long>(r.measured.n_gen),
                static_cast<long long>(r.measured.n_depth),
                static_cast<long long>(r.measured.n_batch),
                static_cast<int>(r.measured.n_threads),
                r.tokens_per_second(),
                *low,
                *high,
                r.bytes_per_token / 1e6,
                100 * r.bandwidth_share(),
                100 * r.flops_share(),
                r.row_bytes_per_token / 1e3);
  std::string line = text;
  if (!r.plain.empty())
    line += "   without actors " + fixed(median(r.plain), 2) + ", they cost " +
            fixed(r.overhead_us(), 1) + " us a token and layer";
  for (const peer_ratio& p : peers) line += "   " + fixed(p.ratio, 2) + " x " + p.peer;
  return line + "\n";
}

constexpr std::string_view table_head =
    "  prompt    gen   depth  batch  threads   tokens/s     (least - most)      MB/token  "
    "bandwidth     FMA    KB rows\n";

}  // namespace

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const std::size_t half = values.size() / 2;
  return values.size() % 2 == 1 ? values[half] : (values[half - 1] + values[half]) / 2;
}

double bench_row::bandwidth_share() const {
  return tokens_per_second() * bytes_per_token / peak.read_bytes_per_second;
}

double bench_row::flops_share() const {
  return tokens_per_second() * flops_per_token / peak.fma_flops_per_second;
}

double bench_row::overhead_us() const {
  return (1 / tokens_per_second() - 1 / median(plain)) * 1e6 / layers;
}

result<void> row_writer::begin() { return to_.write(as_json_ ? "[" : table_head); }

result<void> row_writer::add(const bench_row& row, const actors::cluster_options& o) {
  const auto same = compare(peers_, row.measured, row.tokens_per_second());
  ATOLL_TRY(to_.write(as_json_ ? (is_first_ ? "\n" : ",\n") + json_row(row, same, o)
                               : table_row(row, same)));
  is_first_ = false;
  return to_.flush();
}

result<void> row_writer::end() {
  if (as_json_) ATOLL_TRY(to_.write("\n]\n"));
  return to_.finish();
}

}  // namespace atl::apps
