// What people and their monitors see of a server: counts and histograms of requests, the state of
// the cluster as sampled about once a second, and the dashboard's files.
//
// Threads: ended(), token_interval(), generated() and refused() on the I/O thread; sampled() on the
// main thread; the rest from any thread. Nothing here waits for an actor.
#pragma once

#include "actors/local_cluster.hpp"
#include "apps/http/message.hpp"
#include "apps/http/server.hpp"
#include "apps/openai/observer.hpp"
#include "runtime/base/clock.hpp"

#include <cstdint>
#include <initializer_list>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace atl::serve {

struct board_options {
  std::string model_id;
  std::string fingerprint;
  std::string description;   // of the cluster, for people
  std::int64_t experts = 0;  // routed, of a layer; 0: none
  bool has_vllm_metrics = true;
  bool has_expert_metrics = false;
  std::shared_ptr<const clock> time;
};

/// The state of everything at one moment.
struct server_sample {
  actors::cluster_usage usage;
  actors::cluster_counters counters;
  actors::cluster_gauges gauges;
  http::server_counters http;
  bool is_ready = false;
  bool is_draining = false;
  std::string state;  // "ready", or why not
};

class board final : public openai::observer {
  class impl;

public:
  explicit board(board_options options);
  ~board() override;

  void ended(const openai::request_record& record) override;
  void token_interval(duration_ns interval, std::size_t tokens) override;
  void generated(std::size_t tokens) override;
  /// A request that was answered before it reached the API (401, 404, 413, ...).
  void refused(int status);

  void sampled(const server_sample& now);
  server_sample last_sample() const;

  /// GET /metrics, in the text format of Prometheus.
  http::response metrics() const;
  /// GET /api/v1/status.
  http::response status(std::span<const openai::live_request> live) const;
  /// GET /api/v1/experts?layer=N.
  http::response experts(std::string_view query) const;

private:
  std::unique_ptr<impl> impl_;
};

/// An error of /api, as application/problem+json (RFC 9457).
http::response problem(int status, std::string_view title, std::string_view detail);

/// GET /version: the build, and which parts of the API are here ("generation", "cluster"; empty
/// names are left out).
std::string version_json(std::initializer_list<std::string_view> parts);

/// The dashboard's files by path ("/", "/static/board.js", "/api/v1/openapi.json"), built into the
/// program; empty where there is none of that name.
std::optional<http::response> web_file(std::string_view path);

}  // namespace atl::serve
