#include "runtime/base/memory.hpp"

#include "runtime/base/assert.hpp"

#include <cstdlib>
#include <new>

namespace atl {

result<void> memory_budget::charge(std::size_t bytes) {
  std::size_t used = used_.load(std::memory_order_relaxed);
  do {
    if (bytes > limit_ - used) {
      return error{errc::out_of_memory,
                   "budget '" + name_ + "': " + std::to_string(bytes) + " bytes do not fit, " +
                       std::to_string(used) + " of " + std::to_string(limit_) + " are in use"};
    }
  } while (!used_.compare_exchange_weak(used, used + bytes, std::memory_order_relaxed));
  return {};
}

void memory_budget::release(std::size_t bytes) noexcept {
  const std::size_t before = used_.fetch_sub(bytes, std::memory_order_relaxed);
  ATOLL_ASSERT(before >= bytes);
}

result<memory_charge> memory_charge::take(std::shared_ptr<memory_budget> from, std::size_t bytes) {
  ATOLL_TRY(from->charge(bytes));
  return memory_charge{std::move(from), bytes};
}

memory_charge& memory_charge::operator=(memory_charge&& other) noexcept {
  if (this != &other) {
    give_back();
    from_ = std::move(other.from_);
    bytes_ = std::exchange(other.bytes_, 0);
  }
  return *this;
}

void memory_charge::give_back() noexcept {
  if (from_ != nullptr) from_->release(std::exchange(bytes_, 0));
  from_ = nullptr;
}

aligned_buffer::aligned_buffer(std::size_t bytes) { reserve(bytes); }

aligned_buffer& aligned_buffer::operator=(aligned_buffer&& other) noexcept {
  if (this != &other) {
    std::free(data_);
    data_ = std::exchange(other.data_, nullptr);
    bytes_ = std::exchange(other.bytes_, 0);
  }
  return *this;
}

aligned_buffer::~aligned_buffer() { std::free(data_); }

void aligned_buffer::reserve(std::size_t bytes) {
  if (bytes <= bytes_) return;
  const std::size_t rounded = (bytes + 63) / 64 * 64;
  std::free(data_);
  bytes_ = 0;  // also true if there is no more to be had
  data_ = std::aligned_alloc(64, rounded);
  if (data_ == nullptr) throw std::bad_alloc{};
  bytes_ = rounded;
}

}  // namespace atl
