// A safetensors file: as it is, and with the length of its header made right, so that the fuzzer
// gets to the JSON. Whatever is accepted must lie inside the file and tile it.
#include "runtime/model/safetensors.hpp"

#include <algorithm>
#include <cstdlib>

namespace {

using namespace atl::model;

void check(std::span<const std::byte> file) {
  auto tensors = parse_safetensors(file, "fuzz");
  if (tensors.has_error()) return;
  std::sort(tensors->begin(), tensors->end(), [](const auto& a, const auto& b) {
    return a.offset != b.offset ? a.offset < b.offset : a.bytes < b.bytes;
  });
  for (std::size_t i = 0; i < tensors->size(); ++i) {
    const stored_tensor& t = (*tensors)[i];
    const std::size_t end = t.offset + t.bytes;
    const std::size_t next = i + 1 < tensors->size() ? (*tensors)[i + 1].offset : file.size();
    if (end < t.offset || end != next) std::abort();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto input = std::as_bytes(std::span{data, size});
  check(input);
  // The text up to the last brace is the header, what follows it the tensors' data.
  const auto brace = std::find(input.rbegin(), input.rend(), std::byte{'}'});
  std::vector<std::byte> file(8);
  const auto header = static_cast<std::uint64_t>(input.rend() - brace);
  for (std::size_t i = 0; i < 8; ++i) file[i] = static_cast<std::byte>(header >> (8 * i) & 0xFFU);
  file.insert(file.end(), input.begin(), input.end());
  check(file);
  return 0;
}
