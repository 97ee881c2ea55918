#include "transport/transport.hpp"

namespace atl::transport {

namespace {

class plain_memory final : public memory_region {
public:
  explicit plain_memory(std::span<std::byte> bytes) : bytes_{bytes} {}
  std::span<std::byte> bytes() const noexcept override { return bytes_; }

private:
  std::span<std::byte> bytes_;
};

}  // namespace

void stamp(frame& f, node_identity from, node_id to, std::uint64_t sequence) noexcept {
  f.header.source.node = from.node;
  f.header.destination.node = to;
  f.header.sender = from.life;
  f.header.sequence = sequence;
}

std::unique_ptr<memory_region> plain_region(std::span<std::byte> bytes) {
  return std::make_unique<plain_memory>(bytes);
}

}  // namespace atl::transport
