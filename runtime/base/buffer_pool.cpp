#include "runtime/base/buffer_pool.hpp"

#include <algorithm>
#include <bit>
#include <map>
#include <mutex>
#include <utility>

namespace atl {

struct buffer_pool::shelf {
  std::mutex mutex;
  std::multimap<std::size_t, std::unique_ptr<aligned_buffer>> idle;
  std::size_t idle_bytes = 0;
  std::size_t idle_bytes_max = 0;

  std::unique_ptr<aligned_buffer> find(std::size_t bytes) {
    const std::lock_guard lock{mutex};
    const auto found = idle.lower_bound(bytes);
    if (found == idle.end()) return nullptr;
    auto buffer = std::move(found->second);
    idle_bytes -= found->first;
    idle.erase(found);
    return buffer;
  }

  void put(std::unique_ptr<aligned_buffer> buffer) {
    const std::lock_guard lock{mutex};
    if (idle_bytes + buffer->bytes() > idle_bytes_max) return;
    idle_bytes += buffer->bytes();
    const std::size_t bytes = buffer->bytes();
    idle.emplace(bytes, std::move(buffer));
  }
};

buffer_pool::buffer_pool(std::size_t idle_bytes_max) : shelf_{std::make_shared<shelf>()} {
  shelf_->idle_bytes_max = idle_bytes_max;
}

std::shared_ptr<aligned_buffer> buffer_pool::take(std::size_t bytes) {
  // Powers of two, so that a slightly larger step still finds the last one's buffer.
  const std::size_t rounded = std::bit_ceil(std::max<std::size_t>(bytes, 4096));
  auto buffer = shelf_->find(rounded);
  if (buffer == nullptr) buffer = std::make_unique<aligned_buffer>(rounded);
  return {buffer.release(),
          [home = shelf_](aligned_buffer* b) { home->put(std::unique_ptr<aligned_buffer>{b}); }};
}

}  // namespace atl
