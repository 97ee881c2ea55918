// What elastic_day plays: how large the cluster is, and the rows of each (layer, expert) at any
// time of the day. They follow from three domains of prompts, each with its hours, and from bursts
// of single experts. The same seed gives the same day.
#pragma once

#include "runtime/base/random.hpp"

#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace atl {

struct setup {
  std::size_t nodes = 1000;
  std::size_t layers = 58;
  std::size_t experts = 256;
  double hours = 24;
  std::uint64_t seed = 1;
  bool json = false;
};

inline constexpr double rows_of_layer = 4e5;  // per second, on a day's mean

/// Rows per second of each (layer, expert) at any time.
class day_load {
public:
  explicit day_load(const setup& s) : setup_{s}, random_{s.seed ^ 0x10ad} {
    for (auto& domain : domains_) {
      domain.resize(s.layers * s.experts);
      for (std::size_t l = 0; l < s.layers; ++l) {
        double total = 0;
        for (std::size_t e = 0; e < s.experts; ++e) {
          double& part = domain[l * s.experts + e];
          part = std::exp(skew * random_.normal());
          total += part;
        }
        for (std::size_t e = 0; e < s.experts; ++e) domain[l * s.experts + e] /= total;
      }
    }
  }

  void at(double second, std::vector<double>& rates) {
    next_bursts(second);
    constexpr double turn = 2 * 3.14159265358979323846 / 86400;
    const double rows = rows_of_layer * (1 - 0.6 * std::cos(turn * second));
    std::array<double, 3> mix{};
    double total = 0;
    for (std::size_t d = 0; d < mix.size(); ++d) {
      // Each domain has its hours, eight apart.
      mix[d] = std::exp(2 * std::cos(turn * second - static_cast<double>(d) * turn * 28800));
      total += mix[d];
    }
    rates.resize(setup_.layers * setup_.experts);
    for (std::size_t i = 0; i < rates.size(); ++i) {
      double part = 0;
      for (std::size_t d = 0; d < mix.size(); ++d) part += mix[d] / total * domains_[d][i];
      rates[i] = rows * part;
    }
    for (const burst& b : bursts_) rates[b.expert] *= b.factor;
  }

private:
  struct burst {
    std::size_t expert = 0;
    double factor = 1;
    double until = 0;
  };
  static constexpr double skew = 0.8;  // of the logarithm
  static constexpr double bursts_of_a_second = 20.0 / 3600;

  void next_bursts(double second) {
    std::erase_if(bursts_, [&](const burst& b) { return b.until <= second; });
    for (; next_ <= second; next_ += -std::log(1 - random_.unit()) / bursts_of_a_second)
      bursts_.push_back({.expert = random_.below(domains_[0].size()),
                         .factor = 4 + 6 * random_.unit(),
                         .until = second + 60 + 540 * random_.unit()});
  }

  setup setup_;
  random_source random_;
  std::array<std::vector<double>, 3> domains_;
  std::vector<burst> bursts_;
  double next_ = 0;
};

}  // namespace atl
