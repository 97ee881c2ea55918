// Memory as a seam: budgets in bytes that refuse before the machine does, and 64-byte aligned
// buffers charged to one. Thread-safe.
#pragma once

#include "runtime/base/result.hpp"

#include <atomic>
#include <cstddef>
#include <memory>
#include <string>
#include <utility>

namespace atl {

/// Counts bytes against a limit. A charge past the limit is refused, never made.
class memory_budget {
public:
  memory_budget(std::string name, std::size_t limit_bytes)
      : name_{std::move(name)}, limit_{limit_bytes} {}

  result<void> charge(std::size_t bytes);
  void release(std::size_t bytes) noexcept;

  std::size_t used_bytes() const noexcept { return used_.load(std::memory_order_relaxed); }
  std::size_t limit_bytes() const noexcept { return limit_; }
  const std::string& name() const noexcept { return name_; }

private:
  std::string name_;
  std::size_t limit_;
  std::atomic<std::size_t> used_{0};  // relaxed: a count, it publishes nothing else
};

/// Bytes charged to a budget, given back when this goes. Movable.
class memory_charge {
public:
  /// Refuses as the budget does.
  static result<memory_charge> take(std::shared_ptr<memory_budget> from, std::size_t bytes);
  memory_charge() = default;
  memory_charge(memory_charge&& other) noexcept
      : from_{std::move(other.from_)}, bytes_{std::exchange(other.bytes_, 0)} {}
  memory_charge& operator=(memory_charge&& other) noexcept;
  memory_charge(const memory_charge&) = delete;
  memory_charge& operator=(const memory_charge&) = delete;
  ~memory_charge() { give_back(); }

  std::size_t bytes() const noexcept { return bytes_; }

private:
  memory_charge(std::shared_ptr<memory_budget> from, std::size_t bytes)
      : from_{std::move(from)}, bytes_{bytes} {}
  void give_back() noexcept;

  std::shared_ptr<memory_budget> from_;
  std::size_t bytes_ = 0;
};

/// Owned bytes, 64-byte aligned (a cache line and an AVX-512 register), zero-filled on request.
/// Movable.
class aligned_buffer {
public:
  aligned_buffer() = default;
  explicit aligned_buffer(std::size_t bytes);
  aligned_buffer(aligned_buffer&& other) noexcept
      : data_{std::exchange(other.data_, nullptr)}, bytes_{std::exchange(other.bytes_, 0)} {}
  aligned_buffer& operator=(aligned_buffer&& other) noexcept;
  aligned_buffer(const aligned_buffer&) = delete;
  aligned_buffer& operator=(const aligned_buffer&) = delete;
  ~aligned_buffer();

  /// Grows to at least `bytes`; the content is lost when it grows. Never shrinks.
  void reserve(std::size_t bytes);

  template <class T>
  T* as() noexcept {
    return static_cast<T*>(data_);
  }
  template <class T>
  const T* as() const noexcept {
    return static_cast<const T*>(data_);
  }
  std::size_t bytes() const noexcept { return bytes_; }

private:
  void* data_ = nullptr;
  std::size_t bytes_ = 0;
};

}  // namespace atl
