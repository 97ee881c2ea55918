// One row of a benchmark: what was measured, and how it is shown. One thread.
#pragma once

#include "actors/cluster_options.hpp"
#include "apps/machine_peak.hpp"
#include "apps/output.hpp"
#include "apps/peers.hpp"
#include "runtime/base/result.hpp"

#include <vector>

namespace atl::apps {

/// Of at least one value.
double median(std::vector<double> values);

struct bench_row {
  bench_case measured;
  std::vector<double> samples;  // tokens per second, all sequences together
  double bytes_per_token = 0;
  double flops_per_token = 0;
  double row_bytes_per_token = 0;  // of rows to experts and back
  machine_peak peak;
  std::vector<double> plain;  // samples without actors
  double layers = 0;

  double tokens_per_second() const { return median(samples); }
  /// Of what the machine reads, and of what it multiplies and adds.
  double bandwidth_share() const;
  double flops_share() const;
  /// What the actors cost a token and layer.
  double overhead_us() const;
};

/// Writes rows as they come, each beside the peers that measured the same.
class row_writer {
public:
  /// Borrows both.
  row_writer(output& to, const std::vector<peer_result>& peers, bool as_json)
      : to_{to}, peers_{peers}, as_json_{as_json} {}
  result<void> begin();
  result<void> add(const bench_row& row, const actors::cluster_options& o);
  result<void> end();

private:
  output& to_;
  const std::vector<peer_result>& peers_;
  bool as_json_;
  bool is_first_ = true;
};

}  // namespace atl::apps
