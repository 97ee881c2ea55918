#include "experts/store/expert_blob.hpp"

#include "runtime/base/assert.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <new>
#include <string>
#include <utility>

namespace atl::experts {
namespace {

using tensor::dtype;
using tensor::scale_block;
using transport::wire::weight_part;

constexpr std::array<const char*, 3> part_names{"gate", "up", "down"};
constexpr std::uint64_t piece_alignment = 64;

std::uint64_t aligned(std::uint64_t bytes) {
  return (bytes + piece_alignment - 1) / piece_alignment * piece_alignment;
}

std::uint64_t data_bytes(const weight_part& p) {
  return std::uint64_t{p.rows} * p.columns * tensor::element_bytes(p.type);
}

std::uint64_t scale_bytes(const weight_part& p) {
  return std::uint64_t{p.scale_rows} * p.scale_columns * sizeof(float);
}

std::uint32_t blocks(std::int64_t count) {
  return static_cast<std::uint32_t>((count + scale_block - 1) / scale_block);
}

weight_part shape_of(std::int64_t rows, std::int64_t columns, dtype type) {
  weight_part p;
  p.rows = static_cast<std::uint32_t>(rows);
  p.columns = static_cast<std::uint32_t>(columns);
  p.type = type;
  if (type == dtype::f8_e4m3) {
    p.scale_rows = blocks(rows);
    p.scale_columns = blocks(columns);
  }
  return p;
}

/// Puts the parts one behind the other.
blob_layout laid_out(const std::array<weight_part, 3>& shapes) {
  blob_layout layout{shapes, 0};
  for (weight_part& p : layout.parts) {
    p.at = layout.total;
    layout.total = aligned(layout.total + data_bytes(p));
    if (scale_bytes(p) == 0) continue;
    p.scales_at = layout.total;
    layout.total = aligned(layout.total + scale_bytes(p));
  }
  return layout;
}

error wrong(std::size_t part, const char* field, std::uint64_t is, std::uint64_t wanted) {
  return {errc::malformed_frame,
          std::string{"weights of an expert: "} + part_names[part] + "." + field + " is " +
              std::to_string(is) + ", expected " + std::to_string(wanted)};
}

result<void> check_part(std::size_t i, const weight_part& is, const weight_part& wanted) {
  const auto same = [&](const char* field, std::uint64_t a, std::uint64_t b) -> result<void> {
    if (a == b) return {};
    return wrong(i, field, a, b);
  };
  ATOLL_TRY(same("rows", is.rows, wanted.rows));
  ATOLL_TRY(same("columns", is.columns, wanted.columns));
  ATOLL_TRY(same("scale_rows", is.scale_rows, wanted.scale_rows));
  ATOLL_TRY(same("scale_columns", is.scale_columns, wanted.scale_columns));
  ATOLL_TRY(same("at", is.at, wanted.at));
  return same("scales_at", is.scales_at, wanted.scales_at);
}

/// Copies what [offset, offset + out.size()) has in common with `piece`, which lies at `at`.
void overlay(std::span<const std::byte> piece,
             std::uint64_t at,
             std::uint64_t offset,
             std::span<std::byte> out) {
  const std::uint64_t begin = std::max(at, offset);
  const std::uint64_t end = std::min(at + piece.size(), offset + out.size());
  if (begin < end)
    std::memcpy(out.data() + (begin - offset), piece.data() + (begin - at), end - begin);
}

}  // namespace

blob_layout layout_of(const model::ffn_weights& weights) {
  std::array<weight_part, 3> shapes;
  const std::array all{&weights.gate, &weights.up, &weights.down};
  for (std::size_t i = 0; i < all.size(); ++i) {
    ATOLL_ASSERT(all[i]->first_row == 0);
    shapes[i] = shape_of(all[i]->rows, all[i]->cols, all[i]->type);
  }
  return laid_out(shapes);
}

result<void> check_layout(const blob_layout& claimed, const model::model_config& config) {
  std::array<weight_part, 3> shapes;
  for (std::size_t i = 0; i < shapes.size(); ++i) {
    const dtype type = claimed.parts[i].type;
    if (type > dtype::f8_e4m3) return wrong(i, "type", static_cast<std::uint64_t>(type), 0);
    const bool is_down = i == 2;
    shapes[i] = shape_of(is_down ? config.hidden : config.expert_inner,
                         is_down ? config.expert_inner : config.hidden,
                         type);
  }
  const blob_layout wanted = laid_out(shapes);
  for (std::size_t i = 0; i < shapes.size(); ++i)
    ATOLL_TRY(check_part(i, claimed.parts[i], wanted.parts[i]));
  if (claimed.total != wanted.total)
    return error{errc::malformed_frame,
                 "weights of an expert: total is " + std::to_string(claimed.total) + ", expected " +
                     std::to_string(wanted.total)};
  return {};
}

void read_blob(const model::ffn_weights& weights, std::uint64_t offset, std::span<std::byte> out) {
  const blob_layout layout = layout_of(weights);
  ATOLL_ASSERT(offset <= layout.total && out.size() <= layout.total - offset);
  std::fill(out.begin(), out.end(), std::byte{});
  const std::array all{&weights.gate, &weights.up, &weights.down};
  for (std::size_t i = 0; i < all.size(); ++i) {
    const weight_part& p = layout.parts[i];
    overlay({all[i]->data, data_bytes(p)}, p.at, offset, out);
    if (all[i]->scales != nullptr)
      overlay({reinterpret_cast<const std::byte*>(all[i]->scales), scale_bytes(p)},
              p.scales_at,
              offset,
              out);
  }
}

result<owned_expert> owned_expert::make(const blob_layout& layout,
                                        std::shared_ptr<memory_budget> budget) {
  owned_expert made;
  made.layout_ = layout;
  ATOLL_ASSIGN(made.charge_, memory_charge::take(std::move(budget), layout.total));
  try {
    made.data_.reserve(layout.total);
  } catch (const std::bad_alloc&) {
    return error{errc::out_of_memory,
                 "the machine has no " + std::to_string(layout.total) + " bytes for an expert"};
  }
  return made;
}

std::span<std::byte> owned_expert::bytes() noexcept {
  return {data_.as<std::byte>(), static_cast<std::size_t>(layout_.total)};
}

result<void> owned_expert::check_scales() const {
  const auto* base = data_.as<std::byte>();
  for (std::size_t i = 0; i < layout_.parts.size(); ++i) {
    const weight_part& p = layout_.parts[i];
    const auto* scales = reinterpret_cast<const float*>(base + p.scales_at);
    const std::size_t count = scale_bytes(p) / sizeof(float);
    for (std::size_t s = 0; s < count; ++s)
      if (!std::isfinite(scales[s]))
        return error{errc::invalid_model,
                     std::string{"weights of an expert: scale "} + std::to_string(s) + " of " +
                         part_names[i] + " is NaN or infinite"};
  }
  return {};
}

model::ffn_weights owned_expert::weights() const noexcept {
  const auto view = [this](const weight_part& p) {
    const auto* base = data_.as<std::byte>();
    tensor::weight_matrix m{.data = base + p.at, .type = p.type, .rows = p.rows, .cols = p.columns};
    if (p.scale_rows > 0) {
      m.scales = reinterpret_cast<const float*>(base + p.scales_at);
      m.scale_cols = p.scale_columns;
    }
    return m;
  };
  return {view(layout_.parts[0]), view(layout_.parts[1]), view(layout_.parts[2])};
}

}  // namespace atl::experts
