// An expert as contiguous bytes, the form in which it travels and in which fetched weights lie in
// memory: gate, up, down, each its elements and then its scales, every piece at a multiple of 64,
// zeros between. The bytes are the stored ones, so a fetched expert computes the same bits.
//
// Threads: plain functions; an owned_expert is written by one thread at a time until it is
// published as resident_expert, and read by any then.
#pragma once

#include "runtime/base/memory.hpp"
#include "runtime/base/result.hpp"
#include "runtime/model/model_config.hpp"
#include "runtime/model/weights.hpp"
#include "transport/wire/control.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

namespace atl::experts {

struct blob_layout {
  std::array<transport::wire::weight_part, 3> parts{};  // gate, up, down
  std::uint64_t total = 0;
  friend bool operator==(const blob_layout&, const blob_layout&) = default;
};

/// The layout of whole stored matrices (first_row is 0).
blob_layout layout_of(const model::ffn_weights& weights);

/// Whether a peer's description is the layout of an expert of this model: shapes, types, scales,
/// and every offset. errc::malformed_frame names the field otherwise.
result<void> check_layout(const blob_layout& claimed, const model::model_config& config);

/// Bytes [offset, offset + out.size()) of the expert. They lie within layout_of(weights).total.
void read_blob(const model::ffn_weights& weights, std::uint64_t offset, std::span<std::byte> out);

/// Weights in memory of their own, charged to a budget.
class owned_expert {
public:
  /// `layout` has been checked. errc::out_of_memory: the budget, or the machine, has no more.
  static result<owned_expert> make(const blob_layout& layout,
                                   std::shared_ptr<memory_budget> budget);

  /// Where the bytes [0, total) go, in any order.
  std::span<std::byte> bytes() noexcept;
  /// After the last byte: scales that are not finite are refused, as from a file.
  result<void> check_scales() const;
  /// Views of the bytes; valid for as long as the object, moves included.
  model::ffn_weights weights() const noexcept;
  const blob_layout& layout() const noexcept { return layout_; }

private:
  owned_expert() = default;

  blob_layout layout_;
  memory_charge charge_;
  aligned_buffer data_;
};

}  // namespace atl::experts
