#include "transport/ucx/worker.hpp"

#include <ucp/api/ucp.h>

#include <utility>

namespace atl::transport::ucx {

result<std::unique_ptr<worker>> worker::make(std::shared_ptr<context> home) {
  ucp_worker_params_t params{};
  params.field_mask = UCP_WORKER_PARAM_FIELD_THREAD_MODE;
  params.thread_mode = UCS_THREAD_MODE_SINGLE;
  ucp_worker_h handle = nullptr;
  if (const auto status = ucp_worker_create(home->get(), &params, &handle); status != UCS_OK) {
    return failure("creating a worker", status);
  }
  auto w = std::make_unique<worker>(std::move(home), handle);
  if (const auto status = ucp_worker_get_efd(handle, &w->event_fd_); status != UCS_OK) {
    return failure("waiting for events", status);
  }
  ucp_worker_attr_t attributes{};
  attributes.field_mask = UCP_WORKER_ATTR_FIELD_MAX_AM_HEADER;
  if (const auto status = ucp_worker_query(handle, &attributes); status != UCS_OK) {
    return failure("asking a worker", status);
  }
  w->head_bytes_max_ = attributes.max_am_header;
  return w;
}

worker::~worker() { ucp_worker_destroy(handle_); }

result<std::vector<std::byte>> worker::address() const {
  ucp_address_t* address = nullptr;
  std::size_t bytes = 0;
  if (const auto status = ucp_worker_get_address(handle_, &address, &bytes); status != UCS_OK) {
    return failure("the address of a worker", status);
  }
  const auto* begin = reinterpret_cast<const std::byte*>(address);
  std::vector<std::byte> out{begin, begin + bytes};
  ucp_worker_release_address(handle_, address);
  return out;
}

bool worker::progress() const noexcept { return ucp_worker_progress(handle_) != 0; }

bool worker::arm() const noexcept { return ucp_worker_arm(handle_) == UCS_OK; }

}  // namespace atl::transport::ucx
