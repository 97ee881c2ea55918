// Rotary position embedding: frequencies, with YaRN where the model asks for it, and the angles'
// sine and cosine for a position. Sources: DeepSeek-V3 inference/model.py (precompute_freqs_cis)
// and yarn_get_mscale of its modeling file; float32 where they use float32. Immutable after
// construction; any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

namespace atl::kernels {

/// YaRN with the names of a checkpoint's rope_scaling.
struct yarn_parameters {
  double factor = 1;
  double original_max_position = 4096;
  double beta_fast = 32;
  double beta_slow = 1;
  double mscale = 1;
  double mscale_all_dim = 0;
  std::optional<double> attention_factor;
};

class rope_table {
public:
  /// rope_dim is even and positive; theta > 1; factor > 0.
  rope_table(std::int64_t rope_dim, double theta, const std::optional<yarn_parameters>& yarn);

  std::int64_t pairs() const noexcept { return static_cast<std::int64_t>(inverse_.size()); }

  /// (pairs) radians per position. theta_i = theta^(-2i/d); with YaRN
  /// (theta_i / factor) (1 - m_i) + theta_i m_i, m_i falling from 1 to 0 between the pairs that
  /// turn beta_fast and beta_slow times within original_max_position.
  const std::vector<float>& inverse_frequencies() const noexcept { return inverse_; }

  /// Of cos and sin: attention_factor if given, else get_mscale(factor, mscale) /
  /// get_mscale(factor, mscale_all_dim) if both are not 0, else get_mscale(factor, 1), where
  /// get_mscale(f, m) = 1 if f <= 1, else 0.1 m ln f + 1. 1 without YaRN.
  float multiplier() const noexcept { return multiplier_; }

  /// Multiplies the softmax scale (dn + dr)^-0.5: get_mscale(factor, mscale_all_dim)^2 where that
  /// is given, else 1.
  double softmax_factor() const noexcept { return softmax_factor_; }

  /// cos and sin (pairs) at a position, times the multiplier; the angle is float32(position) times
  /// the frequency, rounded to float32.
  void angles(std::int64_t position, float* cos, float* sin) const noexcept;

private:
  std::vector<float> inverse_;
  float multiplier_ = 1;
  double softmax_factor_ = 1;
};

}  // namespace atl::kernels
