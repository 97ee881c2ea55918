#include "experts/router_compute.hpp"

#include "experts/dispatch/combine.hpp"
#include "experts/gate/gate.hpp"
#include "runtime/kernels/matmul.hpp"
#include "runtime/kernels/row_codec.hpp"
#include "runtime/kernels/rows.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

namespace atl::experts {
namespace {

/// Rows of one chunk of the sum: a few microseconds of work.
constexpr std::int64_t combine_rows = 4;

std::uint32_t chunks_of(std::int64_t all, std::int64_t by) {
  return static_cast<std::uint32_t>((all + by - 1) / by);
}

gate_config gate_of(const model::model_config& config) {
  gate_config gate;
  gate.experts = config.routed_experts;
  gate.k = config.experts_per_token;
  gate.groups = config.groups;
  gate.groups_kept = config.groups_kept;
  gate.scoring = config.scoring;
  gate.method = config.topk;
  gate.norm_topk = config.norm_topk;
  gate.routed_scale = static_cast<float>(config.routed_scale);
  return gate;
}

}  // namespace

class router_compute::impl {
public:
  impl(std::shared_ptr<const model::model_weights> weights,
       kernels::matmul multiplier,
       kernels::isa isa)
      : weights_{std::move(weights)},
        matmul_{multiplier},
        rows_{kernels::row_kernels::make(isa)},
        isa_{isa},
        gate_{gate_of(weights_->config)} {
    // Stored biases need not be aligned.
    biases_.resize(weights_->layers.size());
    for (std::size_t layer = 0; layer < weights_->layers.size(); ++layer) {
      const tensor::weight_vector& bias = weights_->layers[layer].correction_bias;
      if (bias.empty()) continue;
      biases_[layer].resize(static_cast<std::size_t>(bias.count));
      std::memcpy(biases_[layer].data(), bias.data, biases_[layer].size() * sizeof(float));
    }
  }

  const tensor::weight_matrix& router(const routing& of) const {
    return weights_->layers[static_cast<std::size_t>(of.layer_)].router;
  }

  void prepare(const float* normed, std::int64_t rows, std::int64_t layer, routing& out) const {
    ATOLL_ASSERT(weights_->config.is_moe(layer));
    out.rows = rows;
    out.k = gate_.k;
    out.experts.resize(static_cast<std::size_t>(rows * gate_.k));
    out.weights.resize(out.experts.size());
    out.normed_ = normed;
    out.layer_ = layer;
    const tensor::weight_matrix& w = router(out);
    out.packed_.reserve(matmul_.packed_bytes(w.type, rows, w.cols));
    out.logits_.reserve(static_cast<std::size_t>(rows * w.rows) * sizeof(float));
  }

  void pack(std::uint32_t tile, routing& out) const {
    const tensor::weight_matrix& w = router(out);
    const std::int64_t first = tile * kernels::matmul::pack_tokens();
    const std::int64_t end = std::min(out.rows, first + kernels::matmul::pack_tokens());
    matmul_.pack(
        w.type, out.normed_, w.cols, out.rows, w.cols, first, end, out.packed_.as<std::byte>());
  }

  std::int64_t experts_per_chunk(const routing& out) const {
    return matmul_.chunk_rows(router(out), out.rows);
  }

  void multiply(std::uint32_t chunk, routing& out, tensor::worker& on) const {
    const tensor::weight_matrix& w = router(out);
    const std::int64_t by = experts_per_chunk(out);
    const std::int64_t first = chunk * by;
    matmul_.multiply(w.row_range(first, std::min(by, w.rows - first)),
                     out.packed_.as<std::byte>(),
                     out.rows,
                     out.logits_.as<float>() + first,
                     w.rows,
                     on);
  }

  void choose_tile(std::uint32_t tile, routing& out) const {
    static thread_local gate_scratch scratch;
    const auto& bias = biases_[static_cast<std::size_t>(out.layer_)];
    const std::int64_t first = tile * kernels::matmul::pack_tokens();
    const std::int64_t end = std::min(out.rows, first + kernels::matmul::pack_tokens());
    for (std::int64_t row = first; row < end; ++row) {
      choose(gate_,
             rows_,
             out.logits_.as<float>() + row * gate_.experts,
             bias.empty() ? nullptr : bias.data(),
             out.experts.data() + row * gate_.k,
             out.weights.data() + row * gate_.k,
             scratch);
    }
  }

  void sum(std::uint32_t chunk, const routing& of) const {
    const std::int64_t first = chunk * combine_rows;
    experts::combine(first,
                     std::min(combine_rows, of.rows - first),
                     of.k,
                     weights_->config.hidden,
                     of.weights.data(),
                     of.answers_,
                     kernels::row_codec::make(isa_, of.answers_type_),
                     of.routed_,
                     rows_.accumulate);
  }

  std::shared_ptr<const model::model_weights> weights_;
  kernels::matmul matmul_;
  kernels::row_kernels rows_;
  kernels::isa isa_;
  gate_config gate_;
  std::vector<std::vector<float>> biases_;  // (layers, experts); empty where there is none
};

result<std::unique_ptr<router_compute>>
router_compute::make(std::shared_ptr<const model::model_weights> weights, const options& chosen) {
  ATOLL_ASSIGN(auto multiplier, kernels::matmul::make(chosen.isa, kernels::numerics::invariant));
  if (weights->config.moe_layers() > 0) ATOLL_TRY(validate(gate_of(weights->config)));
  return std::make_unique<router_compute>(
      std::make_unique<impl>(std::move(weights), multiplier, chosen.isa));
}

router_compute::router_compute(std::unique_ptr<impl> made) noexcept : impl_{std::move(made)} {}

router_compute::~router_compute() = default;

tensor::job router_compute::route(const float* normed,
                                  std::int64_t rows,
                                  std::int64_t layer,
                                  routing& out) const {
  impl_->prepare(normed, rows, layer, out);
  const impl* self = impl_.get();
  routing* r = &out;
  const std::uint32_t tiles = chunks_of(rows, kernels::matmul::pack_tokens());
  tensor::job job;
  if (rows == 0) return job;
  job.phases.reserve(3);
  job.phases.push_back({tiles, [self, r](std::uint32_t i, tensor::worker&) { self->pack(i, *r); }});
  job.phases.push_back(
      {chunks_of(impl_->router(out).rows, impl_->experts_per_chunk(out)),
       [self, r](std::uint32_t i, tensor::worker& on) { self->multiply(i, *r, on); }});
  job.phases.push_back(
      {tiles, [self, r](std::uint32_t i, tensor::worker&) { self->choose_tile(i, *r); }});
  return job;
}

tensor::job router_compute::combine(routing& of,
                                    const std::byte* const* answers,
                                    tensor::dtype type,
                                    float* routed) const {
  of.answers_ = answers;
  of.answers_type_ = type;
  of.routed_ = routed;
  const impl* self = impl_.get();
  const routing* r = &of;
  tensor::job job;
  job.phases.push_back({chunks_of(of.rows, combine_rows),
                        [self, r](std::uint32_t i, tensor::worker&) { self->sum(i, *r); }});
  return job;
}

}  // namespace atl::experts
