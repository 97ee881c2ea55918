// A UCX worker: the sockets and queues that one thread drives. For the thread that made it.
#pragma once

#include "transport/ucx/context.hpp"

#include <cstddef>
#include <memory>
#include <vector>

struct ucp_worker;

namespace atl::transport::ucx {

class worker {
public:
  static result<std::unique_ptr<worker>> make(std::shared_ptr<context> home);
  worker(std::shared_ptr<context> home, ucp_worker* handle)
      : home_{std::move(home)}, handle_{handle} {}
  worker(const worker&) = delete;
  worker& operator=(const worker&) = delete;
  ~worker();

  ucp_worker* get() const noexcept { return handle_; }
  /// What reaches this worker, for peers.
  result<std::vector<std::byte>> address() const;
  /// The largest header of an active message.
  std::size_t head_bytes_max() const noexcept { return head_bytes_max_; }
  /// Whether there was something to do.
  bool progress() const noexcept;
  /// Makes event_fd() readable on the next event; false where one is there already.
  bool arm() const noexcept;
  int event_fd() const noexcept { return event_fd_; }

private:
  std::shared_ptr<context> home_;
  ucp_worker* handle_;
  int event_fd_ = -1;
  std::size_t head_bytes_max_ = 0;
};

}  // namespace atl::transport::ucx
