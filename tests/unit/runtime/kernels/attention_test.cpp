#include "runtime/base/memory.hpp"
#include "runtime/kernels/attention.hpp"
#include "runtime/kernels/isa.hpp"
#include "runtime/kernels/math.hpp"
#include "runtime/kernels/reference/attention.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>
#include <string>
#include <vector>

namespace atl::kernels {
namespace {

/// One sequence's context and queries, random, with keys of different size so that some stand out.
struct scene {
  attention_shape shape;
  std::int64_t page_tokens = 64;
  std::int64_t offset = 0;
  std::int64_t context = 0;  // positions in all
  std::vector<std::vector<float>> storage;
  std::vector<const float*> pages;
  std::vector<float> queries;  // (context, heads, rope_dim + kv_rank), the last tokens are used

  scene(attention_shape s, std::int64_t positions, unsigned seed) : shape{s}, context{positions} {
    std::mt19937 random{seed};
    std::normal_distribution<float> normal;
    const auto width = static_cast<std::size_t>(shape.key_floats());
    offset = 3;
    // Beyond the context the last page ends: a kernel that reads on is seen by a sanitizer.
    for (std::int64_t t = 0; t < context; ++t) {
      if (t % page_tokens == 0) storage.emplace_back(static_cast<std::size_t>(offset), NAN);
      const float size = t % 17 == 0 ? 3.0F : 1.0F;
      for (std::size_t k = 0; k < width; ++k) storage.back().push_back(size * normal(random));
    }
    for (const auto& page : storage) pages.push_back(page.data());
    for (std::size_t i = 0; i < static_cast<std::size_t>(context * shape.heads) * width; ++i)
      queries.push_back(normal(random));
  }

  latent_pages keys() const { return {pages.data(), page_tokens, offset}; }

  /// Tokens [first, first + count) as a slice: rope values stand before the latent ones.
  query_slice slice(std::int64_t first, std::int64_t count) const {
    const std::int64_t width = shape.key_floats();
    const float* data = queries.data() + first * shape.heads * width;
    const std::int64_t token = shape.heads * width;
    return {{data + shape.rope_dim, token, width}, {data, token, width}, count, first};
  }
};

std::vector<isa> sets() {
  std::vector<isa> found;
  for (const isa set : {isa::avx2, isa::avx512})
    if (isa_available(set)) found.push_back(set);
  return found;
}

/// z of tokens [first, first + count), in calls of `tile_groups` groups.
std::vector<float> by_tiles(
    isa set, const scene& s, std::int64_t first, std::int64_t count, std::int64_t tile_groups) {
  const attention_kernels kernels = attention_kernels::make(set);
  const query_slice slice = s.slice(first, count);
  std::vector<float> z(static_cast<std::size_t>(count * s.shape.heads * s.shape.kv_rank), NAN);
  aligned_buffer scratch{attention_scratch_bytes(s.shape, tile_groups)};
  const std::int64_t groups = attention_groups(s.shape, count);
  for (std::int64_t g = 0; g < groups; g += tile_groups)
    kernels.tile(s.shape,
                 slice,
                 s.keys(),
                 g,
                 std::min(tile_groups, groups - g),
                 z.data(),
                 scratch.as<void>());
  return z;
}

/// The same by splits computed one by one, the last first, then folded.
std::vector<float> by_splits(isa set, const scene& s, std::int64_t first, std::int64_t count) {
  const attention_kernels kernels = attention_kernels::make(set);
  const query_slice slice = s.slice(first, count);
  std::vector<float> z(static_cast<std::size_t>(count * s.shape.heads * s.shape.kv_rank), NAN);
  const std::int64_t groups = attention_groups(s.shape, count);
  const std::int64_t splits = attention_splits(slice);
  aligned_buffer scratch{attention_scratch_bytes(s.shape, attention_tile_groups)};
  std::vector<float> partials(
      static_cast<std::size_t>(groups * splits) * attention_partial_floats(s.shape), NAN);
  for (std::int64_t split = splits - 1; split >= 0; --split)
    for (std::int64_t g = 0; g < groups; g += 3)
      kernels.split(s.shape,
                    slice,
                    s.keys(),
                    g,
                    std::min<std::int64_t>(3, groups - g),
                    split,
                    partials.data(),
                    scratch.as<void>());
  for (std::int64_t g = 0; g < groups; ++g)
    kernels.fold(s.shape, slice, g, partials.data(), z.data());
  return z;
}

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

struct shape_case {
  attention_shape shape;
  std::int64_t context;
  std::int64_t first;  // of the query tokens; they reach to the end of the context
};

const std::vector<shape_case>& cases() {
  static const std::vector<shape_case> list{
      {{16, 512, 64, 0.1147F}, 70, 0},     // DeepSeek-V2-Lite, prompt
      {{16, 512, 64, 0.1147F}, 600, 599},  // one token over three splits
      {{4, 32, 16, 0.2F}, 300, 0},         // four tokens to a group, 75 groups
      {{3, 136, 16, 0.2F}, 260, 255},      // groups across tokens, a border between them
      {{5, 40, 6, 0.3F}, 513, 511},        // one key in the last split
      {{1, 7, 2, 0.7F}, 1, 0},             // one row, one key
      {{2, 1, 0, 1.0F}, 256, 256 - 40},    // the smallest widths, a full split
      {{128, 64, 32, 0.1F}, 67, 66},       // eight groups to a token
  };
  return list;
}

TEST(attention, agrees_with_double_precision) {
  for (const shape_case& c : cases()) {
    const scene s{c.shape, c.context, 7};
    const std::int64_t count = c.context - c.first;
    const std::vector<double> expected =
        reference::attention(s.shape, s.slice(c.first, count), s.keys());
    for (const isa set : sets()) {
      const std::vector<float> z = by_tiles(set, s, c.first, count, 3);
      ASSERT_EQ(z.size(), expected.size());
      double error = 0;
      double size = 0;
      for (std::size_t i = 0; i < z.size(); ++i) {
        error = std::max(error, std::fabs(static_cast<double>(z[i]) - expected[i]));
        size = std::max(size, std::fabs(expected[i]));
      }
      EXPECT_FALSE(std::any_of(z.begin(), z.end(), [](float v) { return std::isnan(v); }));
      EXPECT_LT(error, 3e-5 * size) << "heads " << c.shape.heads << " context " << c.context;
    }
  }
}

TEST(attention, every_way_of_computing_gives_the_same_bits) {
  for (const shape_case& c : cases()) {
    const scene s{c.shape, c.context, 11};
    const std::int64_t count = c.context - c.first;
    const std::vector<float> first = by_tiles(isa::avx2, s, c.first, count, 1);
    for (const isa set : sets()) {
      for (const std::int64_t groups : {1, 2, 3, 4})
        EXPECT_TRUE(same_bits(first, by_tiles(set, s, c.first, count, groups)))
            << "tiles of " << groups << ", heads " << c.shape.heads;
      EXPECT_TRUE(same_bits(first, by_splits(set, s, c.first, count)))
          << "splits, heads " << c.shape.heads;
    }
  }
}

/// One row by the order of operations that attention.hpp promises, one scalar at a time.
std::vector<float> in_documented_order(const scene& s, std::int64_t token, std::int64_t head) {
  const query_slice q = s.slice(token, 1);
  const float* latent = q.latent.data + head * q.latent.head_stride;
  const float* rope = q.rope.data + head * q.rope.head_stride;
  const std::int64_t rank = s.shape.kv_rank;
  float m = -INFINITY;
  float l = 0;
  std::vector<float> z(static_cast<std::size_t>(rank), 0.0F);
  for (std::int64_t begin = 0; begin <= token; begin += attention_split_tokens) {
    const std::int64_t end = std::min(begin + attention_split_tokens, token + 1);
    std::vector<float> p;
    for (std::int64_t t = begin; t < end; ++t) {
      const float* key = s.pages[static_cast<std::size_t>(t / s.page_tokens)] + s.offset +
                         t % s.page_tokens * s.shape.key_floats();
      float sum = 0;
      for (std::int64_t k = 0; k < rank; ++k) sum = std::fma(latent[k], key[k], sum);
      for (std::int64_t k = 0; k < s.shape.rope_dim; ++k)
        sum = std::fma(rope[k], key[rank + k], sum);
      p.push_back(s.shape.scale * sum);
    }
    const float split_m = *std::max_element(p.begin(), p.end());
    const float top = std::max(m, split_m);
    const float a = exp_f32(m - top);
    const float b = exp_f32(split_m - top);
    float split_l = 0;
    for (float& v : p) {
      v = exp_f32(v - split_m);
      split_l += v;
    }
    l = std::fma(split_l, b, l * a);
    m = top;
    for (std::int64_t k = 0; k < rank; ++k) {
      float split_z = 0;
      for (std::int64_t t = begin; t < end; ++t)
        split_z = std::fma(p[static_cast<std::size_t>(t - begin)],
                           s.pages[static_cast<std::size_t>(t / s.page_tokens)]
                                  [s.offset + t % s.page_tokens * s.shape.key_floats() + k],
                           split_z);
      float& sum = z[static_cast<std::size_t>(k)];
      sum = std::fma(split_z, b, sum * a);
    }
  }
  for (float& v : z) v = std::fma(v, 1.0F / l, 0.0F);
  return z;
}

TEST(attention, adds_in_the_order_it_promises) {
  const scene s{{3, 40, 6, 0.3F}, 600, 17};
  const std::vector<float> whole = by_tiles(isa::avx2, s, 0, 600, 4);
  for (const std::int64_t token : {0, 1, 100, 255, 256, 300, 511, 599})
    for (std::int64_t head = 0; head < 3; ++head) {
      const auto from = whole.begin() + (token * 3 + head) * 40;
      EXPECT_TRUE(same_bits(in_documented_order(s, token, head), {from, from + 40}))
          << "token " << token << " head " << head;
    }
}

TEST(attention, a_row_does_not_depend_on_its_chunk) {
  const scene s{{3, 40, 8, 0.2F}, 300, 13};
  const std::vector<float> whole = by_tiles(isa::avx2, s, 0, 300, 4);
  for (const isa set : sets())
    for (const std::int64_t chunk : {1, 7, 100}) {
      std::vector<float> parts;
      for (std::int64_t t = 0; t < 300; t += chunk) {
        const std::vector<float> z = by_tiles(set, s, t, std::min(chunk, 300 - t), 2);
        parts.insert(parts.end(), z.begin(), z.end());
      }
      EXPECT_TRUE(same_bits(whole, parts)) << "chunks of " << chunk;
    }
}

}  // namespace
}  // namespace atl::kernels
