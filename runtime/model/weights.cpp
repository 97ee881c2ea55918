#include "runtime/model/weights.hpp"

#include "runtime/base/sizes.hpp"
#include "runtime/model/checkpoint.hpp"
#include "runtime/model/populate.hpp"
#include "runtime/model/tensor_plan.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <unordered_set>

namespace atl::model {
namespace {

using tensor::scale_block;

error tensor_error(const located_tensor& at, const std::string& what) {
  return {errc::invalid_model, at.file->path() + ": tensor " + at.tensor->name + ": " + what};
}

result<void> check_shape(const located_tensor& at, const std::vector<std::uint64_t>& wanted) {
  if (at.tensor->shape == wanted) return {};
  return tensor_error(at,
                      "shape is " + shape_text(at.tensor->shape) + ", config.json asks for " +
                          shape_text(wanted) + "; one of the two files is not of this model");
}

std::vector<std::uint64_t> shape_of(const tensor_slot& slot) {
  std::vector<std::uint64_t> shape{static_cast<std::uint64_t>(slot.rows)};
  if (slot.cols > 0) shape.push_back(static_cast<std::uint64_t>(slot.cols));
  return shape;
}

bool is_aligned(const std::byte* data) noexcept {
  return reinterpret_cast<std::uintptr_t>(data) % alignof(float) == 0;
}

/// Ties each tensor the configuration asks for to one in the checkpoint.
class binder {
public:
  binder(const checkpoint& source, model_weights& target, part_uses uses)
      : source_{source}, target_{target}, uses_{uses} {}

  /// Checks names, shapes and types and sets all views but scales and biases: reads no data.
  result<void> bind() {
    slots_ = plan_tensors(target_);
    used_.reserve(source_.tensors().size());
    for (const tensor_slot& slot : slots_) {
      use_ = slot.part == model_part::routed_experts ? uses_.experts : uses_.attention;
      ATOLL_TRY(bind_slot(slot));
    }
    if (target_.config.tied_embeddings) target_.head = target_.embeddings;
    ATOLL_TRY(check_others());
    for (const safetensors_file& file : source_.shards()) target_.files.push_back(file.mapping());
    return {};
  }

  /// Of the resident parts.
  std::vector<file_range> ranges() const {
    std::vector<file_range> all;
    all.reserve(resident_.size());
    for (const located_tensor& at : resident_)
      all.push_back({at.file->mapping(), at.tensor->offset, at.tensor->bytes});
    return join_ranges(std::move(all));
  }

  /// Reads scales and biases, refuses those that are not finite, and sets the views of them.
  result<void> read_floats() {
    for (const pending_scale& scale : scales_) {
      ATOLL_ASSIGN(const float* values, floats(scale.at));
      scale.user->scales = values;
    }
    for (const pending_bias& bias : biases_) {
      ATOLL_ASSIGN(const float* values, floats(bias.at));
      *bias.user = {reinterpret_cast<const std::byte*>(values), tensor::dtype::f32, bias.count};
    }
    return {};
  }

private:
  struct pending_scale {
    located_tensor at;
    tensor::weight_matrix* user = nullptr;
  };
  struct pending_bias {
    located_tensor at;
    tensor::weight_vector* user = nullptr;
    std::int64_t count = 0;
  };

  void use(const located_tensor& at) {
    if (!used_.insert(at.tensor).second) return;
    if (use_ != part_use::resident) return;
    resident_.push_back(at);
    target_.bytes += at.tensor->bytes;
  }

  result<void> bind_slot(const tensor_slot& slot) {
    const located_tensor at = source_.find(slot.name);
    if (!at && slot.expert >= 0) return bind_fused_expert(slot);
    if (!at) return missing(slot.name);
    ATOLL_TRY(check_shape(at, shape_of(slot)));
    ATOLL_ASSIGN(const tensor::dtype type, element_type(at, slot.kind == tensor_kind::linear));
    use(at);
    if (use_ == part_use::none && slot.vector != nullptr) return {};
    const std::byte* data = at.file->data(*at.tensor).data();
    if (slot.kind == tensor_kind::bias) biases_.push_back({at, slot.vector, slot.rows});
    if (slot.vector != nullptr) {
      *slot.vector = {data, type, slot.rows};
      return {};
    }
    tensor::weight_matrix matrix{.data = data, .type = type, .rows = slot.rows, .cols = slot.cols};
    ATOLL_ASSIGN(const located_tensor scale, find_scale(at, matrix));
    if (use_ == part_use::none) return {};
    *slot.matrix = matrix;
    if (scale) scales_.push_back({scale, slot.matrix});
    return {};
  }

  /// transformers 5 holds the experts of a layer as [experts, 2 * inner, hidden], gate rows first,
  /// and [experts, hidden, inner].
  result<void> bind_fused_expert(const tensor_slot& slot) {
    const bool is_down = slot.role == ffn_role::down;
    const std::string name = "model.layers." + std::to_string(slot.layer) + ".mlp.experts." +
                             (is_down ? "down_proj" : "gate_up_proj");
    const located_tensor at = source_.find(name);
    if (!at) return missing(slot.name);
    const std::int64_t rows = is_down ? slot.rows : 2 * slot.rows;
    ATOLL_TRY(check_shape(at,
                          {static_cast<std::uint64_t>(target_.config.routed_experts),
                           static_cast<std::uint64_t>(rows),
                           static_cast<std::uint64_t>(slot.cols)}));
    ATOLL_ASSIGN(const tensor::dtype type, element_type(at, false));
    use(at);
    if (use_ == part_use::none) return {};
    const std::int64_t first = slot.expert * rows + (slot.role == ffn_role::up ? slot.rows : 0);
    tensor::weight_matrix matrix{.type = type, .rows = slot.rows, .cols = slot.cols};
    matrix.data =
        at.file->data(*at.tensor).data() + static_cast<std::size_t>(first) * matrix.row_bytes();
    *slot.matrix = matrix;
    return {};
  }

  /// The tensor with the matrix's scales, if it has any, checked; sets matrix.scale_cols.
  result<located_tensor> find_scale(const located_tensor& weight, tensor::weight_matrix& matrix) {
    const located_tensor at = source_.find(scale_name(weight.tensor->name));
    const bool is_fp8 = matrix.type == tensor::dtype::f8_e4m3;
    if (!is_fp8 && !at) return at;
    if (!is_fp8)
      return tensor_error(at,
                          "scales a weight of type " + std::string{weight.tensor->type.name} +
                              "; only F8_E4M3 weights have scales");
    if (!at)
      return tensor_error(weight,
                          "is F8_E4M3 but its scales (" + scale_name(weight.tensor->name) +
                              ") are missing; get the checkpoint anew");
    const std::int64_t scale_rows = (matrix.rows + scale_block - 1) / scale_block;
    matrix.scale_cols = (matrix.cols + scale_block - 1) / scale_block;
    ATOLL_TRY(check_shape(
        at,
        {static_cast<std::uint64_t>(scale_rows), static_cast<std::uint64_t>(matrix.scale_cols)}));
    if (at.tensor->type.name != "F32" && at.tensor->type.name != "F8_E8M0")
      return tensor_error(
          at, "type is " + std::string{at.tensor->type.name} + "; scales must be F32 or F8_E8M0");
    use(at);
    return at;
  }

  static result<tensor::dtype> element_type(const located_tensor& at, bool may_be_fp8) {
    const std::optional<tensor::dtype> type = compute_dtype(at.tensor->type);
    if (type && (may_be_fp8 || *type != tensor::dtype::f8_e4m3)) return *type;
    return tensor_error(at,
                        "type is " + std::string{at.tensor->type.name} +
                            "; supported here are F32, " +
                            (may_be_fp8 ? "F16, BF16 and F8_E4M3" : "F16 and BF16"));
  }

  error missing(const std::string& name) const {
    return {errc::invalid_model,
            source_.directory() + ": tensor " + name +
                " is missing, though config.json asks for it; download the model again"};
  }

  /// Every tensor that was not asked for must be known to be none of the main model's.
  result<void> check_others() const {
    for (const located_tensor& at : source_.tensors()) {
      const std::string& name = at.tensor->name;
      if (used_.contains(at.tensor) || name.ends_with("rotary_emb.inv_freq")) continue;
      if (name == "lm_head.weight" && target_.config.tied_embeddings) continue;
      const std::int64_t layer = layer_of(name);
      if (layer < target_.config.layers)
        return tensor_error(at,
                            "is not part of this architecture as config.json describes it "
                            "(misnamed, or a feature that is not supported)");
      const std::string mtp_mark = "model.layers." + std::to_string(layer) + ".eh_proj.weight";
      if (!source_.find(mtp_mark))
        return tensor_error(at,
                            "num_hidden_layers is " + std::to_string(target_.config.layers) +
                                " and layer " + std::to_string(layer) +
                                " is no MTP layer (it has no eh_proj); correct config.json");
    }
    return {};
  }

  /// The tensor's values as aligned float32, copied where they are stored otherwise; all finite.
  result<const float*> floats(const located_tensor& at) {
    const std::span<const std::byte> data = at.file->data(*at.tensor);
    const std::string_view type = at.tensor->type.name;
    const std::size_t element = at.tensor->type.bits / 8;
    const std::size_t count = data.size() / element;
    const float* values = reinterpret_cast<const float*>(data.data());
    if (type != "F32" || !is_aligned(data.data())) {
      std::vector<float>& copy = target_.owned_floats.emplace_back(count);
      for (std::size_t i = 0; i < count; ++i) copy[i] = widen(data.data() + i * element, type);
      values = copy.data();
    }
    for (std::size_t i = 0; i < count; ++i)
      if (!std::isfinite(values[i]))
        return tensor_error(
            at, "value " + std::to_string(i) + " is NaN or infinite; the checkpoint is broken");
    return values;
  }

  static float widen(const std::byte* from, std::string_view type) noexcept {
    if (type == "F8_E8M0") return tensor::f8_e8m0_to_f32(std::to_integer<std::uint8_t>(*from));
    if (type == "F32") {
      float value = 0;
      std::memcpy(&value, from, sizeof value);
      return value;
    }
    std::uint16_t bits = 0;
    std::memcpy(&bits, from, sizeof bits);
    return type == "BF16" ? tensor::bf16_to_f32(bits) : tensor::f16_to_f32(bits);
  }

  const checkpoint& source_;
  model_weights& target_;
  part_uses uses_;
  part_use use_ = part_use::resident;  // of the slot that is being bound
  std::vector<tensor_slot> slots_;
  std::unordered_set<const stored_tensor*> used_;
  std::vector<located_tensor> resident_;
  std::vector<pending_scale> scales_;
  std::vector<pending_bias> biases_;
};

result<void> check_memory(const model_weights& weights, const load_options& options) {
  if (options.memory_limit_bytes == 0) return {};
  std::size_t needed = 0;
  const bool overflows = __builtin_add_overflow(weights.bytes, options.kv_bytes, &needed) ||
                         __builtin_add_overflow(needed, memory_overhead_bytes, &needed);
  if (!overflows && needed <= options.memory_limit_bytes) return {};
  return error{errc::out_of_memory,
               weights.directory + ": needs " + human_size(weights.bytes) + " for weights + " +
                   human_size(options.kv_bytes) + " for the key-value cache + " +
                   human_size(memory_overhead_bytes) +
                   " besides = " + (overflows ? "more than can be addressed" : human_size(needed)) +
                   ", and " + human_size(options.memory_limit_bytes) +
                   " may be used; lower --kv-memory, or raise --memory where the machine has more"};
}

}  // namespace

result<void> check_tensors(const checkpoint& source) {
  model_weights scratch;
  scratch.config = source.config();
  return binder{source, scratch, {part_use::none, part_use::none}}.bind();
}

result<std::shared_ptr<const model_weights>>
load_weights(disk& files, const std::string& directory, const load_options& options) {
  ATOLL_ASSIGN(const checkpoint source, checkpoint::open(files, directory));
  const auto weights = std::make_shared<model_weights>();
  weights->config = source.config();
  weights->directory = directory;
  binder bound{source, *weights, options.parts};
  ATOLL_TRY(bound.bind());
  ATOLL_TRY(check_memory(*weights, options));
  if (options.populate) ATOLL_TRY(populate_ranges(bound.ranges(), options.progress));
  ATOLL_TRY(bound.read_floats());
  return std::shared_ptr<const model_weights>{weights};
}

}  // namespace atl::model
