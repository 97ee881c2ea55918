#include "runtime/kernels/rope_table.hpp"

#include "runtime/base/assert.hpp"
#include "runtime/kernels/math.hpp"

#include <algorithm>
#include <cmath>

namespace atl::kernels {

namespace {

constexpr double ln2 = 0x1.62e42fefa39efp-1;
constexpr double two_pi = 0x1.921fb54442d18p+2;

/// Natural logarithm from exactly rounded operations alone, about 1e-15 off: x = m 2^e with m near
/// 1, ln m = 2 (t + t^3/3 + t^5/5 + ...), t = (m - 1) / (m + 1), |t| < 0.172.
double natural_log(double x) noexcept {
  int e = 0;
  double m = std::frexp(x, &e);
  if (m < 0.70710678118654752) {
    m *= 2;
    --e;
  }
  const double t = (m - 1) / (m + 1);
  double sum = 0;
  for (int k = 25; k >= 1; k -= 2) sum = sum * (t * t) + 1.0 / k;
  return 2 * t * sum + e * ln2;
}

/// e^x likewise, for |x| < 700: x = n ln 2 + r, the Taylor sum of e^r, |r| <= 0.35.
double exponential(double x) noexcept {
  const double n = std::nearbyint(x / ln2);
  const double r = x - n * ln2;
  double sum = 1;
  for (int k = 18; k >= 1; --k) sum = 1 + sum * r / k;
  return std::ldexp(sum, static_cast<int>(n));
}

double get_mscale(double factor, double mscale) noexcept {
  return factor <= 1 ? 1.0 : 0.1 * mscale * natural_log(factor) + 1.0;
}

float multiplier_of(const yarn_parameters& yarn) noexcept {
  if (yarn.attention_factor) return static_cast<float>(*yarn.attention_factor);
  if (yarn.mscale != 0 && yarn.mscale_all_dim != 0)
    return static_cast<float>(get_mscale(yarn.factor, yarn.mscale) /
                              get_mscale(yarn.factor, yarn.mscale_all_dim));
  return static_cast<float>(get_mscale(yarn.factor, 1));
}

/// 1 for pairs that keep their frequency, 0 for those divided by the factor.
std::vector<float>
kept_share(std::int64_t rope_dim, double theta, const yarn_parameters& yarn) noexcept {
  const double d = static_cast<double>(rope_dim);
  const auto pair_that_turns = [&](double times) {
    return d * natural_log(yarn.original_max_position / (times * two_pi)) /
           (2 * natural_log(theta));
  };
  const double low = std::max(std::floor(pair_that_turns(yarn.beta_fast)), 0.0);
  double high = std::min(std::ceil(pair_that_turns(yarn.beta_slow)), d - 1);
  if (low == high) high += 0.001;
  std::vector<float> kept(static_cast<std::size_t>(rope_dim / 2));
  for (std::size_t i = 0; i < kept.size(); ++i) {
    const float ramp =
        (static_cast<float>(i) - static_cast<float>(low)) / static_cast<float>(high - low);
    kept[i] = 1.0F - std::clamp(ramp, 0.0F, 1.0F);
  }
  return kept;
}

}  // namespace

rope_table::rope_table(std::int64_t rope_dim,
                       double theta,
                       const std::optional<yarn_parameters>& yarn) {
  ATOLL_ASSERT(rope_dim > 0 && rope_dim % 2 == 0 && theta > 1);
  ATOLL_ASSERT(!yarn || yarn->factor > 0);
  std::vector<float> kept;
  if (yarn) {
    kept = kept_share(rope_dim, theta, *yarn);
    multiplier_ = multiplier_of(*yarn);
    const double m = get_mscale(yarn->factor, yarn->mscale_all_dim);
    softmax_factor_ = yarn->mscale_all_dim != 0 ? m * m : 1.0;
  }
  const double step = natural_log(theta) * 2 / static_cast<double>(rope_dim);
  for (std::int64_t i = 0; i < rope_dim / 2; ++i) {
    const float power = static_cast<float>(exponential(static_cast<double>(i) * step));
    const float plain = 1.0F / power;
    if (!yarn) {
      inverse_.push_back(plain);
      continue;
    }
    const float share = kept[static_cast<std::size_t>(i)];
    const float stretched = 1.0F / (static_cast<float>(yarn->factor) * power);
    inverse_.push_back(stretched * (1.0F - share) + plain * share);
  }
}

void rope_table::angles(std::int64_t position, float* cos, float* sin) const noexcept {
  const float p = static_cast<float>(position);
  for (std::size_t i = 0; i < inverse_.size(); ++i) {
    const sine_cosine value = sin_cos(p * inverse_[i]);
    cos[i] = value.cos * multiplier_;
    sin[i] = value.sin * multiplier_;
  }
}

}  // namespace atl::kernels
