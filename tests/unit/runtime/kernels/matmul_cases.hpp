// Shapes and data for tests of matrix products. Weights end exactly at a page that cannot be read,
// so that a kernel which reads past them dies.
#pragma once

#include "runtime/tensor/view.hpp"

#include <cmath>
#include <cstring>
#include <random>
#include <string>
#include <sys/mman.h>
#include <utility>
#include <vector>

namespace atl::kernels::testing {

struct shape {
  std::int64_t rows;
  std::int64_t cols;
  std::int64_t tokens;
  std::size_t misalignment;  // bytes between the end of the weights and the unreadable page
  std::int64_t first_row;

  std::string name(tensor::dtype type) const {
    return std::string{tensor::to_string(type)} + " " + std::to_string(rows) + "x" +
           std::to_string(cols) + " tokens " + std::to_string(tokens) + " first row " +
           std::to_string(first_row);
  }
};

inline std::vector<shape> odd_shapes() {
  std::vector<shape> made{{1, 1, 1, 0, 0},
                          {16, 32, 1, 0, 0},
                          {16, 64, 2, 0, 0},
                          {32, 128, 4, 0, 0},
                          {33, 129, 17, 1, 127},
                          {40, 300, 40, 3, 100},
                          {17, 192, 16, 0, 120},
                          {140, 256, 3, 2, 50},
                          {31, 31, 33, 1, 0}};
  std::mt19937_64 random{7};
  const auto draw = [&](std::int64_t low, std::int64_t high) {
    return std::uniform_int_distribution<std::int64_t>{low, high}(random);
  };
  for (int i = 0; i < 60; ++i)
    made.push_back({draw(1, 40),
                    draw(1, 300),
                    i % 2 == 0 ? draw(1, 6) : draw(1, 40),
                    static_cast<std::size_t>(draw(0, 5)),
                    draw(0, 130)});
  return made;
}

/// wild: powers of two over the whole range, denormals and zeros among them.
enum class value_range { normal, wild };

inline float draw_value(std::mt19937_64& random, value_range range) {
  std::normal_distribution<float> normal;
  if (range == value_range::normal) return normal(random) * (random() % 64 == 0 ? 20.0F : 1.0F);
  const auto kind = random() % 16;
  if (kind == 0) return 0.0F;
  const int exponent = kind == 1   ? -140 + static_cast<int>(random() % 16)  // denormal
                       : kind == 2 ? 60 + static_cast<int>(random() % 60)
                       : kind < 6  ? -110 + static_cast<int>(random() % 60)
                                   : -20 + static_cast<int>(random() % 40);
  return std::ldexp(normal(random), exponent);
}

class stored_weights {
public:
  stored_weights(tensor::dtype type, const shape& s)
      : type_{type},
        shape_{s},
        bytes_{static_cast<std::size_t>(s.rows * s.cols) * tensor::element_bytes(type)} {
    const std::size_t page = 4096;
    mapped_ = (bytes_ + s.misalignment + page - 1) / page * page + page;
    base_ = static_cast<std::byte*>(
        mmap(nullptr, mapped_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    mprotect(base_ + mapped_ - page, page, PROT_NONE);
    data_ = base_ + mapped_ - page - bytes_ - s.misalignment;
    const std::int64_t scale_rows = (s.first_row + s.rows + 127) / 128;
    scales_.resize(static_cast<std::size_t>(scale_rows * scale_cols()));
  }
  stored_weights(stored_weights&& other) noexcept
      : type_{other.type_},
        shape_{other.shape_},
        bytes_{other.bytes_},
        mapped_{other.mapped_},
        base_{std::exchange(other.base_, nullptr)},
        data_{other.data_},
        scales_{std::move(other.scales_)} {}
  stored_weights& operator=(stored_weights&&) = delete;
  ~stored_weights() {
    if (base_ != nullptr) munmap(base_, mapped_);
  }

  tensor::weight_matrix view() const {
    const bool scaled = type_ == tensor::dtype::f8_e4m3;
    return {data_,
            type_,
            shape_.rows,
            shape_.cols,
            scaled ? scales_.data() : nullptr,
            scaled ? scale_cols() : 0,
            shape_.first_row};
  }
  std::byte* data() { return data_; }
  std::vector<float>& scales() { return scales_; }

private:
  std::int64_t scale_cols() const { return (shape_.cols + 127) / 128; }

  tensor::dtype type_;
  shape shape_;
  std::size_t bytes_;
  std::size_t mapped_ = 0;
  std::byte* base_ = nullptr;
  std::byte* data_ = nullptr;
  std::vector<float> scales_;
};

inline stored_weights
make_weights(tensor::dtype type, const shape& s, value_range range, std::uint64_t seed) {
  stored_weights made{type, s};
  std::mt19937_64 random{seed};
  for (std::int64_t i = 0; i < s.rows * s.cols; ++i) {
    const float value = draw_value(random, range);
    std::byte* at = made.data() + static_cast<std::size_t>(i) * tensor::element_bytes(type);
    if (type == tensor::dtype::f32) {
      std::memcpy(at, &value, 4);
    } else if (type == tensor::dtype::f8_e4m3) {
      auto code = static_cast<std::uint8_t>(random());  // every code but the two NaNs
      if ((code & 0x7f) == 0x7f) code = 0;
      *at = std::byte{code};
    } else {
      const std::uint16_t bits =
          type == tensor::dtype::bf16 ? tensor::f32_to_bf16(value) : tensor::f32_to_f16(value);
      std::memcpy(at, &bits, 2);
    }
  }
  for (float& scale : made.scales()) scale = std::exp(draw_value(random, value_range::normal) / 8);
  return made;
}

inline std::vector<float>
make_activations(std::int64_t tokens, std::int64_t width, value_range range, std::uint64_t seed) {
  std::mt19937_64 random{seed};
  std::vector<float> x(static_cast<std::size_t>(tokens * width));
  for (float& v : x) v = draw_value(random, range);
  return x;
}

}  // namespace atl::kernels::testing
