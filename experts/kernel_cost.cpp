#include "experts/kernel_cost.hpp"

#include "runtime/base/memory.hpp"
#include "runtime/tensor/dtype.hpp"
#include "runtime/tensor/processor_meter.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <future>
#include <limits>
#include <vector>

namespace atl::experts {
namespace {

constexpr std::size_t experts_most = 4;
constexpr std::size_t bytes_most = std::size_t{32} << 20;
constexpr std::size_t fill_bytes = std::size_t{1} << 20;  // by one chunk
// 0.0115 as bfloat16, 1.5 as e4m3: neither zero, nor near where arithmetic is slow.
constexpr int fill_value = 0x3C;
constexpr float block_scale = 1.0F / 256;
constexpr double row_ns_least = 1e-3;
constexpr std::size_t line_bytes = 64;
constexpr double memory_ns = 5e9;
constexpr double taken_least_ns = 20e6;
constexpr double correction_least = 1.0 / 1024;
constexpr double correction_most = 2;
constexpr int rounds_least = 3;  // the first finds nothing in caches

void run_and_wait(tensor::device& device, tensor::job work) {
  const auto ended = std::make_shared<std::promise<void>>();
  auto end = ended->get_future();
  work.done = [ended] { ended->set_value(); };
  device.submit(std::move(work));
  end.wait();
}

/// Weights of some experts, one after the other, and rows for them.
class trial {
public:
  explicit trial(const model::model_config& config) : config_{config} {
    const std::size_t one = matrix_bytes() * 3;
    const std::size_t fit = std::max<std::size_t>(1, bytes_most / std::max<std::size_t>(one, 1));
    count_ = std::min({experts_most, fit, static_cast<std::size_t>(config.routed_experts)});
    weights_.reserve(count_ * one);
    is_large_ =
        one * static_cast<std::size_t>(config.moe_layers() * config.routed_experts) > bytes_most;
    rows_.resize(row_count() * static_cast<std::size_t>(config.hidden), 0.25F);
    answers_.resize(count_ * rows_.size());
    const auto tiles =
        static_cast<std::size_t>((config.hidden + tensor::scale_block - 1) / tensor::scale_block) *
        static_cast<std::size_t>((config.expert_inner + tensor::scale_block - 1) /
                                 tensor::scale_block);
    scales_.assign(tiles, block_scale);
  }

  std::size_t experts() const noexcept { return count_; }

  /// On the device, so that its workers touch the pages first.
  void fill(tensor::device& device) {
    const std::size_t all = count_ * matrix_bytes() * 3;
    tensor::job work;
    work.phases.push_back(
        {static_cast<std::uint32_t>((all + fill_bytes - 1) / fill_bytes),
         [this, all](std::uint32_t chunk, tensor::worker&) {
           const std::size_t at = chunk * fill_bytes;
           std::memset(weights_.as<std::byte>() + at, fill_value, std::min(fill_bytes, all - at));
         }});
    run_and_wait(device, std::move(work));
  }

  /// Out of all caches, as weights are that are used once in a step: a model's experts do not fit
  /// there, but those of a trial would.
  void forget() const {
    if (!is_large_) return;
    const auto* bytes = weights_.as<std::byte>();
    for (std::size_t at = 0; at < count_ * matrix_bytes() * 3; at += line_bytes)
      __builtin_ia32_clflush(bytes + at);
  }

  result<void> hold_by(group_compute& compute, std::int64_t layer) {
    for (std::size_t e = 0; e < count_; ++e) {
      model::ffn_weights w;
      const std::int64_t inner = config_.expert_inner;
      w.gate = matrix(3 * e, inner, config_.hidden);
      w.up = matrix(3 * e + 1, inner, config_.hidden);
      w.down = matrix(3 * e + 2, config_.hidden, inner);
      ATOLL_TRY(compute.hold(layer, static_cast<std::uint32_t>(e), w));
    }
    return {};
  }

  group_call call(std::int64_t layer, std::size_t rows) {
    group_call c;
    c.layer = layer;
    const auto width = static_cast<std::size_t>(config_.hidden);
    for (std::size_t e = 0; e < count_; ++e) {
      expert_rows& of = c.experts.emplace_back();
      of.expert = static_cast<std::uint32_t>(e);
      for (std::size_t r = 0; r < rows; ++r) {
        of.inputs.push_back(rows_.data() + r * width);
        of.outputs.push_back(answers_.data() + e * rows_.size() + r * width);
      }
    }
    return c;
  }

private:
  static std::size_t row_count() { return static_cast<std::size_t>(kernel_cost::speed_rows); }
  tensor::dtype type() const {
    return config_.fp8_blocks ? tensor::dtype::f8_e4m3 : tensor::dtype::bf16;
  }
  /// Rounded up, so that each begins on a line of its own.
  std::size_t matrix_bytes() const {
    const auto elements = static_cast<std::size_t>(config_.hidden * config_.expert_inner);
    return (elements * tensor::element_bytes(type()) + line_bytes - 1) / line_bytes * line_bytes;
  }

  tensor::weight_matrix matrix(std::size_t index, std::int64_t rows, std::int64_t cols) {
    tensor::weight_matrix m;
    m.data = weights_.as<std::byte>() + index * matrix_bytes();
    m.type = type();
    m.rows = rows;
    m.cols = cols;
    if (m.type != tensor::dtype::f8_e4m3) return m;
    m.scales = scales_.data();
    m.scale_cols = (cols + tensor::scale_block - 1) / tensor::scale_block;
    return m;
  }

  const model::model_config& config_;
  std::size_t count_ = 0;
  bool is_large_ = false;  // the model's experts, all together
  aligned_buffer weights_;
  std::vector<float> scales_, rows_, answers_;
};

}  // namespace

result<kernel_cost> measure_kernel_cost(const model::model_config& config,
                                        const group_compute::options& chosen,
                                        tensor::device& device,
                                        const clock& time,
                                        duration_ns within,
                                        double quota) {
  std::int64_t layer = 0;
  while (layer < config.layers && !config.is_moe(layer)) ++layer;
  if (layer == config.layers) return error{errc::unsupported, "the model has no experts"};
  ATOLL_ASSIGN(auto compute, group_compute::make(config, chosen));
  trial on{config};
  on.fill(device);
  ATOLL_TRY(on.hold_by(*compute, layer));
  tensor::processor_meter meter{device.workers()};
  const auto timed = [&](group_call& call) {
    on.forget();
    tensor::job work = compute->forward(call);
    if (quota > 0) meter.measure(work);
    const time_point_ns began = time.now();
    run_and_wait(device, std::move(work));
    if (quota > 0) return static_cast<double>(meter.used().count()) / quota;
    return static_cast<double>((time.now() - began).count());
  };
  group_call one = on.call(layer, 1);
  group_call many = on.call(layer, static_cast<std::size_t>(kernel_cost::speed_rows));
  double one_ns = std::numeric_limits<double>::max();
  double many_ns = one_ns;
  const time_point_ns until = time.now() + within;
  for (int round = 0; round < rounds_least || time.now() < until; ++round) {
    one_ns = std::min(one_ns, timed(one));
    many_ns = std::min(many_ns, timed(many));
  }
  const auto experts = static_cast<double>(on.experts());
  kernel_cost cost;
  cost.row_ns =
      std::max((many_ns - one_ns) / (kernel_cost::speed_rows - 1) / experts, row_ns_least);
  cost.fixed_ns = std::max(many_ns / experts - kernel_cost::speed_rows * cost.row_ns, 0.0);
  return cost;
}

void speed_observer::add(double expected_ns, double taken_ns) {
  if (!(taken_ns > 0) || !(expected_ns > 0)) return;
  const double kept = std::exp(-taken_ns / memory_ns);
  expected_ns_ = expected_ns_ * kept + expected_ns;
  taken_ns_ = taken_ns_ * kept + taken_ns;
}

std::optional<double> speed_observer::correction() const {
  if (taken_ns_ < taken_least_ns) return std::nullopt;
  return std::clamp(expected_ns_ / taken_ns_, correction_least, correction_most);
}

}  // namespace atl::experts
