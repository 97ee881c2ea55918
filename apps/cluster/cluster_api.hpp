// The coordinator's REST API, /api/v1: for operators with a key, and for machines that join. Each
// handler checks what it was sent, runs on the coordinator's state, and answers when what it
// decided is durable. Errors are problem+json (RFC 9457). web/openapi-cluster.json describes it.
//
// Threads: handle() and check() on the server's I/O thread.
#pragma once

#include "apps/cluster/audit_log.hpp"
#include "apps/cluster/enrolment.hpp"
#include "apps/http/message.hpp"
#include "apps/serve/keys.hpp"
#include "cluster/control.hpp"
#include "runtime/base/clock.hpp"
#include "runtime/base/result.hpp"

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace atl::ops {

struct api_backend {
  /// Runs a function on the coordinator's state and then, from any thread, `done`: when what it
  /// decided is durable. An error: there is no coordinator now, and neither is called.
  std::function<result<void>(std::function<void(cluster::control&, time_point_ns)> run,
                             std::function<void(result<void>)> done)>
      control;
  /// Why changes would not be written down now: they are refused, and the cluster is degraded.
  std::function<std::optional<error>()> trouble;
  const serve::key_store* keys = nullptr;
  const enrolment* joins = nullptr;
  /// Where changes are written down; null: nowhere. Outlives the API.
  audit_log* audit = nullptr;
  /// Runs a function on the I/O thread after a while.
  std::function<void(std::chrono::milliseconds, std::function<void()>)> after;
  std::function<std::int64_t()> unix_ms;
  /// A certificate is worth nothing from now on, or with an empty serial all of the node's. Any
  /// thread.
  std::function<void(const std::string& serial, node_id)> revoked;
  /// A gateway of this process, as gateway_line.hpp tells; empty: there is none.
  std::function<void(const std::string& question, std::function<void(const std::string&)> answer)>
      own_gateway;
  node_id own_node;
  /// Rows that each expert has computed, [layer][expert]; a layer without experts has none.
  std::function<std::vector<std::vector<std::uint64_t>>()> expert_rows;
  std::string name;         // of the cluster, for people
  std::string model_name;   // for people
  std::string fingerprint;  // of its authority, for tokens
};

struct api_route {
  std::string_view method;
  std::string_view path;  // "{id}" stands for one segment
};

class cluster_api {
  class impl;

public:
  /// All that there is.
  static std::vector<api_route> routes();

  explicit cluster_api(api_backend on);
  ~cluster_api();
  cluster_api(const cluster_api&) = delete;
  cluster_api& operator=(const cluster_api&) = delete;

  /// A request's head, before its body is read.
  std::optional<http::response> check(const http::request& head) const;
  void handle(http::request&& request, std::shared_ptr<http::exchange> answer);

private:
  std::shared_ptr<impl> impl_;
};

}  // namespace atl::ops
