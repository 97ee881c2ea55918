// Reading safetensors files: a header of JSON that says where each tensor lies, then the tensors.
// Every claim of the header is checked before it is believed, so that the spans handed out lie
// inside the mapping and tile it. Immutable once open; any thread may read.
// Format: huggingface/safetensors, README.md and safetensors/src/tensor.rs.
#pragma once

#include "runtime/base/disk.hpp"
#include "runtime/base/result.hpp"
#include "runtime/tensor/dtype.hpp"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace atl::model {

/// Every element type of the format, by its name there ("BF16"); nullopt for others.
struct stored_dtype {
  std::string_view name;
  std::uint32_t bits = 0;
};
std::optional<stored_dtype> stored_dtype_from_string(std::string_view name) noexcept;
/// The ones that weights are computed with.
std::optional<tensor::dtype> compute_dtype(const stored_dtype& type) noexcept;

struct stored_tensor {
  std::string name;
  stored_dtype type;
  std::vector<std::uint64_t> shape;  // rank 0 and sizes of 0 are allowed
  std::size_t offset = 0;            // in the file
  std::size_t bytes = 0;
};

/// "[576, 7168]".
std::string shape_text(std::span<const std::uint64_t> shape);

/// Header sizes above this are refused, as by the reference reader.
inline constexpr std::uint64_t safetensors_header_bytes_max = 100'000'000;

/// The tensors of a file given whole, sorted by name. Errors name `path` and the tensor.
result<std::vector<stored_tensor>> parse_safetensors(std::span<const std::byte> file,
                                                     const std::string& path);

class safetensors_file {
public:
  static result<safetensors_file> open(disk& files, const std::string& path);

  const std::string& path() const noexcept { return path_; }
  const std::shared_ptr<const mapped_file>& mapping() const noexcept { return mapping_; }
  /// Sorted by name.
  std::span<const stored_tensor> tensors() const noexcept { return tensors_; }
  const stored_tensor* find(std::string_view name) const noexcept;
  std::span<const std::byte> data(const stored_tensor& tensor) const noexcept {
    return mapping_->bytes().subspan(tensor.offset, tensor.bytes);
  }

private:
  std::string path_;
  std::shared_ptr<const mapped_file> mapping_;
  std::vector<stored_tensor> tensors_;
};

}  // namespace atl::model
