// Buffers that the devices of UCX may write to, for received payloads. They go round: one comes
// back when its last reference is dropped, on any thread, and may outlive the pool's close().
// Bounded in all and in what is kept idle. Thread-safe.
#pragma once

#include "runtime/base/memory.hpp"
#include "runtime/base/result.hpp"
#include "transport/ucx/context.hpp"

#include <array>
#include <cstddef>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

struct ucp_mem;

namespace atl::transport::ucx {

/// Memory registered with a context for as long as this lives.
class registration {
public:
  static result<std::unique_ptr<registration>> make(std::shared_ptr<context> home,
                                                    std::span<std::byte> bytes);
  registration(std::shared_ptr<context> home, ucp_mem* handle)
      : home_{std::move(home)}, handle_{handle} {}
  registration(const registration&) = delete;
  registration& operator=(const registration&) = delete;
  ~registration();

  ucp_mem* get() const noexcept { return handle_; }

private:
  std::shared_ptr<context> home_;
  ucp_mem* handle_;
};

struct registered_buffer {
  aligned_buffer memory;
  std::unique_ptr<registration> registered;  // after memory: goes first
};

class registered_pool : public std::enable_shared_from_this<registered_pool> {
public:
  registered_pool(std::shared_ptr<context> home, std::size_t bytes_max, std::size_t idle_bytes_max);

  /// At least `bytes`, 64-byte aligned, content undefined. errc::overloaded: the bound is reached.
  result<std::shared_ptr<registered_buffer>> take(std::size_t bytes);
  /// Used and idle.
  std::size_t registered_bytes() const;
  /// Frees what is idle, and from now on what comes back.
  void close();

private:
  using buffer = std::unique_ptr<registered_buffer>;
  void give_back(buffer b);

  const std::shared_ptr<context> home_;
  const std::size_t bytes_max_;
  mutable std::mutex mutex_;
  std::array<std::vector<buffer>, 64> idle_;  // by the logarithm of their size
  std::size_t bytes_ = 0;
  std::size_t idle_bytes_ = 0;
  std::size_t idle_bytes_max_;
};

}  // namespace atl::transport::ucx
