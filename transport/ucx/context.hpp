// What UCX knows of the machine: a context over named network devices, set up for peers that may
// fail. Thread-safe: memory may be registered from any thread.
#pragma once

#include "runtime/base/result.hpp"

#include <memory>
#include <string>

struct ucp_context;

namespace atl::transport::ucx {

/// `status` is a ucs_status_t.
error failure(const std::string& what, int status);

/// errc::invalid_argument where one of the devices, separated by commas, does not exist; the error
/// names those that do.
result<void> check_interfaces(const std::string& names);

class context {
public:
  static result<std::shared_ptr<context>> make(const std::string& interfaces);
  explicit context(ucp_context* handle) : handle_{handle} {}
  context(const context&) = delete;
  context& operator=(const context&) = delete;
  ~context();

  ucp_context* get() const noexcept { return handle_; }

private:
  ucp_context* handle_;
};

}  // namespace atl::transport::ucx
