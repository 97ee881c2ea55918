#include "experts/group_compute.hpp"

#include "runtime/kernels/rows.hpp"

#include <algorithm>
#include <cstring>
#include <span>
#include <string>
#include <utility>

namespace atl::experts {
namespace {

constexpr std::int64_t unspaced = -1;

/// Floats from one row to the next when all rows are evenly spaced upwards, else `unspaced`.
template <class Float>
std::int64_t spacing(std::span<Float* const> rows, std::int64_t width) {
  if (rows.size() < 2) return width;
  const auto address = [&](std::size_t i) { return reinterpret_cast<std::uintptr_t>(rows[i]); };
  const std::uintptr_t step = address(1) - address(0);
  if (address(1) < address(0) || step % sizeof(float) != 0) return unspaced;
  for (std::size_t i = 2; i < rows.size(); ++i) {
    if (address(i) - address(i - 1) != step) return unspaced;
  }
  return static_cast<std::int64_t>(step / sizeof(float));
}

/// Takes `count` elements from the end of a buffer that is still being laid out, 64-byte aligned.
std::size_t take(std::size_t& total, std::size_t count, std::size_t element) {
  const std::size_t at = total;
  const std::size_t unit = 64 / element;
  total += (count + unit - 1) / unit * unit;
  return at;
}

result<void> check_shape(const char* name,
                         const tensor::weight_matrix& w,
                         std::int64_t rows,
                         std::int64_t cols) {
  if (w.rows == rows && w.cols == cols && !w.empty()) return {};
  return error{errc::invalid_argument,
               std::string{"expert weights: "} + name + " is " + std::to_string(w.rows) + " x " +
                   std::to_string(w.cols) + ", the configuration asks for " + std::to_string(rows) +
                   " x " + std::to_string(cols)};
}

}  // namespace

class group_compute::impl {
public:
  impl(const model::model_config& config, kernels::matmul multiplier, kernels::row_kernels rows)
      : config_{config},
        matmul_{multiplier},
        rows_{rows},
        held_(static_cast<std::size_t>(config.layers)) {
    for (std::int64_t layer = 0; layer < config.layers; ++layer) {
      if (config.is_moe(layer)) {
        held_[static_cast<std::size_t>(layer)].resize(
            static_cast<std::size_t>(config.routed_experts));
      }
    }
  }

  model::ffn_weights* slot(std::int64_t layer, std::uint32_t expert) noexcept {
    if (layer < 0 || layer >= config_.layers) return nullptr;
    auto& experts = held_[static_cast<std::size_t>(layer)];
    return expert < experts.size() ? &experts[expert] : nullptr;
  }

  result<void> check(const model::ffn_weights& w) const {
    ATOLL_TRY(check_shape("gate_proj", w.gate, config_.expert_inner, config_.hidden));
    ATOLL_TRY(check_shape("up_proj", w.up, config_.expert_inner, config_.hidden));
    return check_shape("down_proj", w.down, config_.hidden, config_.expert_inner);
  }

  void lay_out(group_call& call);
  void pack_input(group_call& call, const group_call::piece& tile) const;
  void gate_up(group_call& call, const group_call::piece& piece, tensor::worker& on) const;
  void pack_inner(group_call& call, const group_call::piece& tile) const;
  void down(group_call& call, const group_call::piece& piece, tensor::worker& on) const;

private:
  static float* floats(group_call& call, std::size_t at) { return call.floats_.as<float>() + at; }

  static std::byte* packed(group_call& call, std::size_t at) {
    return call.packed_.as<std::byte>() + at;
  }

  void
  cut(std::vector<group_call::piece>& out, std::uint32_t part, std::int64_t all, std::int64_t by) {
    for (std::int64_t first = 0; first < all; first += by) {
      out.push_back({part, first, std::min(by, all - first)});
    }
  }

  model::model_config config_;
  kernels::matmul matmul_;
  kernels::row_kernels rows_;
  std::vector<std::vector<model::ffn_weights>> held_;  // (layers, experts); no experts if dense
};

void group_compute::impl::lay_out(group_call& call) {
  call.parts_.clear();
  call.tiles_.clear();
  call.gate_up_.clear();
  call.down_.clear();
  std::size_t bytes = 0;
  std::size_t floats = 0;
  const std::int64_t inner = config_.expert_inner;
  const std::int64_t hidden = config_.hidden;
  for (const expert_rows& rows : call.experts) {
    ATOLL_ASSERT(rows.inputs.size() == rows.outputs.size());
    if (rows.inputs.empty()) continue;
    const model::ffn_weights* weights = slot(call.layer, rows.expert);
    ATOLL_ASSERT(weights != nullptr && !weights->empty());
    group_call::part part;
    part.rows = &rows;
    part.weights = *weights;
    part.count = static_cast<std::int64_t>(rows.inputs.size());
    part.input_stride = spacing<const float>(rows.inputs, hidden);
    part.output_stride = spacing<float>(rows.outputs, hidden);
    const auto size = [&](const tensor::weight_matrix& w) {
      return matmul_.packed_bytes(w.type, part.count, w.cols);
    };
    const auto area = [&](std::int64_t width) {
      return take(floats, static_cast<std::size_t>(part.count * width), sizeof(float));
    };
    part.packed_gate = take(bytes, size(weights->gate), 1);
    part.packed_up = weights->up.type == weights->gate.type ? part.packed_gate
                                                            : take(bytes, size(weights->up), 1);
    part.packed_inner = take(bytes, size(weights->down), 1);
    part.gate = area(inner);
    part.up = area(inner);
    if (part.input_stride == unspaced) part.gathered = area(hidden);
    if (part.output_stride == unspaced) part.answers = area(hidden);
    const auto index = static_cast<std::uint32_t>(call.parts_.size());
    call.parts_.push_back(part);
    cut(call.tiles_, index, part.count, kernels::matmul::pack_tokens());
    // Gate and up in one chunk, so that the product of the two needs no phase of its own.
    cut(call.gate_up_, index, inner, matmul_.chunk_rows(weights->gate, part.count));
    cut(call.down_, index, hidden, matmul_.chunk_rows(weights->down, part.count));
  }
  call.packed_.reserve(bytes);
  call.floats_.reserve(floats * sizeof(float));
}

void group_compute::impl::pack_input(group_call& call, const group_call::piece& tile) const {
  const group_call::part& part = call.parts_[tile.part];
  const std::int64_t hidden = config_.hidden;
  const std::int64_t end = tile.first + tile.count;
  const float* x = part.rows->inputs[0];
  std::int64_t stride = part.input_stride;
  if (stride == unspaced) {
    float* gathered = floats(call, part.gathered);
    for (std::int64_t i = tile.first; i < end; ++i) {
      std::memcpy(gathered + i * hidden,
                  part.rows->inputs[static_cast<std::size_t>(i)],
                  static_cast<std::size_t>(hidden) * sizeof(float));
    }
    x = gathered;
    stride = hidden;
  }
  const auto pack = [&](tensor::dtype type, std::size_t at) {
    matmul_.pack(type, x, stride, part.count, hidden, tile.first, end, packed(call, at));
  };
  pack(part.weights.gate.type, part.packed_gate);
  if (part.packed_up != part.packed_gate) pack(part.weights.up.type, part.packed_up);
}

void group_compute::impl::gate_up(group_call& call,
                                  const group_call::piece& piece,
                                  tensor::worker& on) const {
  const group_call::part& part = call.parts_[piece.part];
  const std::int64_t inner = config_.expert_inner;
  float* gate = floats(call, part.gate) + piece.first;
  float* up = floats(call, part.up) + piece.first;
  matmul_.multiply(part.weights.gate.row_range(piece.first, piece.count),
                   packed(call, part.packed_gate),
                   part.count,
                   gate,
                   inner,
                   on);
  matmul_.multiply(part.weights.up.row_range(piece.first, piece.count),
                   packed(call, part.packed_up),
                   part.count,
                   up,
                   inner,
                   on);
  for (std::int64_t i = 0; i < part.count; ++i) {
    rows_.swiglu(gate + i * inner, up + i * inner, gate + i * inner, piece.count);
  }
}

void group_compute::impl::pack_inner(group_call& call, const group_call::piece& tile) const {
  const group_call::part& part = call.parts_[tile.part];
  matmul_.pack(part.weights.down.type,
               floats(call, part.gate),
               config_.expert_inner,
               part.count,
               config_.expert_inner,
               tile.first,
               tile.first + tile.count,
               packed(call, part.packed_inner));
}

void group_compute::impl::down(group_call& call,
                               const group_call::piece& piece,
                               tensor::worker& on) const {
  const group_call::part& part = call.parts_[piece.part];
  const bool spaced = part.output_stride != unspaced;
  float* y = (spaced ? part.rows->outputs[0] : floats(call, part.answers)) + piece.first;
  const std::int64_t stride = spaced ? part.output_stride : config_.hidden;
  matmul_.multiply(part.weights.down.row_range(piece.first, piece.count),
                   packed(call, part.packed_inner),
                   part.count,
                   y,
                   stride,
                   on);
  if (spaced) return;
  for (std::int64_t i = 0; i < part.count; ++i) {
    std::memcpy(part.rows->outputs[static_cast<std::size_t>(i)] + piece.first,
                y + i * stride,
                static_cast<std::size_t>(piece.count) * sizeof(float));
  }
}

result<std::unique_ptr<group_compute>> group_compute::make(const model::model_config& config,
                                                           const options& chosen) {
  ATOLL_ASSIGN(auto multiplier, kernels::matmul::make(chosen.isa, chosen.numerics));
  return std::make_unique<group_compute>(
      std::make_unique<impl>(config, multiplier, kernels::row_kernels::make(chosen.isa)));
}

group_compute::group_compute(std::unique_ptr<impl> made) noexcept : impl_{std::move(made)} {}

group_compute::~group_compute() = default;

result<void>
group_compute::hold(std::int64_t layer, std::uint32_t expert, const model::ffn_weights& weights) {
  model::ffn_weights* slot = impl_->slot(layer, expert);
  if (slot == nullptr) {
    return error{errc::invalid_argument,
                 "expert " + std::to_string(expert) + " of layer " + std::to_string(layer) +
                     " does not exist in this model"};
  }
  ATOLL_TRY(impl_->check(weights));
  *slot = weights;
  return {};
}

void group_compute::release(std::int64_t layer, std::uint32_t expert) {
  if (model::ffn_weights* slot = impl_->slot(layer, expert)) *slot = {};
}

bool group_compute::holds(std::int64_t layer, std::uint32_t expert) const noexcept {
  const model::ffn_weights* slot = impl_->slot(layer, expert);
  return slot != nullptr && !slot->empty();
}

tensor::job group_compute::forward(group_call& call) const {
  impl_->lay_out(call);
  tensor::job job;
  if (call.parts_.empty()) return job;
  const impl* self = impl_.get();
  const auto phase = [&](const auto& pieces, auto body) {
    job.phases.push_back({static_cast<std::uint32_t>(pieces.size()), std::move(body)});
  };
  group_call* c = &call;
  job.phases.reserve(4);
  phase(call.tiles_,
        [self, c](std::uint32_t i, tensor::worker&) { self->pack_input(*c, c->tiles_[i]); });
  phase(call.gate_up_,
        [self, c](std::uint32_t i, tensor::worker& on) { self->gate_up(*c, c->gate_up_[i], on); });
  phase(call.tiles_,
        [self, c](std::uint32_t i, tensor::worker&) { self->pack_inner(*c, c->tiles_[i]); });
  phase(call.down_,
        [self, c](std::uint32_t i, tensor::worker& on) { self->down(*c, c->down_[i], on); });
  return job;
}

}  // namespace atl::experts
