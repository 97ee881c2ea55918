#include "runtime/kernels/reference/attention.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

namespace atl::kernels::reference {

namespace {

double dot(const float* a, const float* b, std::int64_t n) {
  double sum = 0;
  for (std::int64_t i = 0; i < n; ++i) sum += static_cast<double>(a[i]) * static_cast<double>(b[i]);
  return sum;
}

}  // namespace

std::vector<double>
attention(const attention_shape& shape, const query_slice& queries, const latent_pages& keys) {
  std::vector<double> z;
  const auto key = [&](std::int64_t t) {
    return keys.pages[t / keys.page_tokens] + keys.offset +
           t % keys.page_tokens * shape.key_floats();
  };
  for (std::int64_t row = 0; row < queries.tokens * shape.heads; ++row) {
    const std::int64_t token = row / shape.heads;
    const std::int64_t head = row % shape.heads;
    const auto at = [&](const head_rows& rows) {
      return rows.data + token * rows.token_stride + head * rows.head_stride;
    };
    std::vector<double> p;
    double top = -std::numeric_limits<double>::infinity();
    for (std::int64_t t = 0; t <= queries.first_position + token; ++t) {
      p.push_back(static_cast<double>(shape.scale) *
                  (dot(at(queries.latent), key(t), shape.kv_rank) +
                   dot(at(queries.rope), key(t) + shape.kv_rank, shape.rope_dim)));
      top = std::max(top, p.back());
    }
    double sum = 0;
    std::vector<double> out(static_cast<std::size_t>(shape.kv_rank), 0.0);
    for (std::size_t t = 0; t < p.size(); ++t) {
      p[t] = std::exp(p[t] - top);
      sum += p[t];
      for (std::size_t k = 0; k < out.size(); ++k)
        out[k] += p[t] * static_cast<double>(key(static_cast<std::int64_t>(t))[k]);
    }
    for (const double v : out) z.push_back(v / sum);
  }
  return z;
}

}  // namespace atl::kernels::reference
