#include "transport/ucx/registered_pool.hpp"

#include <ucp/api/ucp.h>

#include <algorithm>
#include <bit>
#include <new>
#include <string>
#include <utility>

namespace atl::transport::ucx {

namespace {

constexpr std::size_t smallest_bytes = 4096;

/// Powers of two, so that a slightly larger frame still finds the last one's buffer.
std::size_t rounded(std::size_t bytes) { return std::bit_ceil(std::max(bytes, smallest_bytes)); }

std::size_t shelf_of(std::size_t bytes) {
  return static_cast<std::size_t>(std::countr_zero(bytes));
}

result<std::unique_ptr<registered_buffer>> make_buffer(const std::shared_ptr<context>& home,
                                                       std::size_t size) {
  auto b = std::make_unique<registered_buffer>();
  try {
    b->memory = aligned_buffer{size};
  } catch (const std::bad_alloc&) {
    return error{errc::out_of_memory, "no memory for " + std::to_string(size) + " received bytes"};
  }
  ATOLL_ASSIGN(b->registered, registration::make(home, {b->memory.as<std::byte>(), size}));
  return b;
}

}  // namespace

result<std::unique_ptr<registration>> registration::make(std::shared_ptr<context> home,
                                                         std::span<std::byte> bytes) {
  ucp_mem_map_params_t params{};
  params.field_mask = UCP_MEM_MAP_PARAM_FIELD_ADDRESS | UCP_MEM_MAP_PARAM_FIELD_LENGTH;
  params.address = bytes.data();
  params.length = bytes.size();
  ucp_mem_h handle = nullptr;
  if (const auto status = ucp_mem_map(home->get(), &params, &handle); status != UCS_OK) {
    return failure("registering " + std::to_string(bytes.size()) + " bytes of memory", status);
  }
  return std::make_unique<registration>(std::move(home), handle);
}

registration::~registration() { ucp_mem_unmap(home_->get(), handle_); }

registered_pool::registered_pool(std::shared_ptr<context> home,
                                 std::size_t bytes_max,
                                 std::size_t idle_bytes_max)
    : home_{std::move(home)}, bytes_max_{bytes_max}, idle_bytes_max_{idle_bytes_max} {}

result<std::shared_ptr<registered_buffer>> registered_pool::take(std::size_t bytes) {
  const std::size_t size = rounded(bytes);
  buffer b;
  {
    const std::lock_guard lock{mutex_};
    auto& shelf = idle_[shelf_of(size)];
    if (!shelf.empty()) {
      b = std::move(shelf.back());
      shelf.pop_back();
      idle_bytes_ -= size;
    } else if (bytes_ + size > bytes_max_) {
      return error{errc::overloaded,
                   "no receive buffer of " + std::to_string(size) +
                       " bytes: " + std::to_string(bytes_) + " are in use, at most " +
                       std::to_string(bytes_max_)};
    } else {
      bytes_ += size;
    }
  }
  if (b == nullptr) {
    auto made = make_buffer(home_, size);
    if (made.has_error()) {
      const std::lock_guard lock{mutex_};
      bytes_ -= size;
      return made.error();
    }
    b = std::move(*made);
  }
  return std::shared_ptr<registered_buffer>{
      b.release(),
      [home = shared_from_this()](registered_buffer* used) { home->give_back(buffer{used}); }};
}

void registered_pool::give_back(buffer b) {
  const std::size_t size = b->memory.bytes();
  {
    const std::lock_guard lock{mutex_};
    if (idle_bytes_ + size <= idle_bytes_max_) {
      idle_bytes_ += size;
      idle_[shelf_of(size)].push_back(std::move(b));
      return;
    }
  }
  b.reset();  // before it stops counting
  const std::lock_guard lock{mutex_};
  bytes_ -= size;
}

std::size_t registered_pool::registered_bytes() const {
  const std::lock_guard lock{mutex_};
  return bytes_;
}

void registered_pool::close() {
  std::array<std::vector<buffer>, 64> idle;
  const std::lock_guard lock{mutex_};
  idle.swap(idle_);
  idle_bytes_max_ = 0;
  bytes_ -= std::exchange(idle_bytes_, 0);
}

}  // namespace atl::transport::ucx
