// The OpenAI-compatible API over a cluster: requests come in by handle(), are read and submitted on
// a thread of their own, and their tokens go out from the I/O thread. Every request ends in exactly
// one way; one whose client has left is cancelled at once.
//
// Threads: the I/O thread, but for close().
#pragma once

#include "actors/generation.hpp"
#include "apps/http/message.hpp"
#include "apps/openai/observer.hpp"
#include "apps/openai/request.hpp"
#include "runtime/base/clock.hpp"
#include "runtime/base/result.hpp"
#include "runtime/model/chat.hpp"
#include "runtime/model/tokenizer.hpp"

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace atl::openai {

/// What generates. All may be called from any thread.
struct backend {
  std::function<result<request_id>(actors::generation_request, actors::generation_listener)> submit;
  std::function<void(request_id)> cancel;
  /// Why a request would be refused now, if it would; without reading it.
  std::function<std::optional<error>()> refusal;
  std::function<int()> retry_after_s;
};

struct service_options {
  backend cluster;
  std::shared_ptr<const model::tokenizer> words;
  std::string model_id;
  std::string fingerprint;
  std::int64_t created = 0;  // seconds since 1970, of the model in /v1/models
  std::int64_t context_max = 0;
  std::int64_t vocabulary = 0;
  std::optional<model::chat_format> format;  // empty: chats are refused, saying why
  std::string no_format;                     // why
  request_limits limits;
  std::uint64_t seed = 0;                                  // for ids and unseeded requests
  std::size_t waiting_max = 1024;                          // requests being read
  std::size_t waiting_bytes_max = std::size_t{256} << 20;  // of the long ones among them
  /// Scopes of cached pages are made with it, so that nobody can make another's.
  std::array<std::uint64_t, 2> scope_secret = {};
  std::size_t token_bytes_max = 0;  // of the longest token; the service finds it
  std::shared_ptr<const clock> time;
  std::function<std::int64_t()> unix_time_s;
  observer* watch = nullptr;  // outlives the service
  /// Runs a function on the I/O thread.
  std::function<void(std::function<void()>)> post;
};

/// On whose behalf.
struct caller {
  std::string tenant;
  std::uint32_t tenant_index = 0;
  int share = 1;     // of the server, against other tenants'
  int priority = 0;  // before tenants of a lower one
};

enum class route { chat, completions, tokenize, detokenize, apply_template, models, one_model };

class service {
  class impl;

public:
  explicit service(service_options options);
  /// After close(), when the I/O thread and the cluster have ended.
  ~service();
  service(const service&) = delete;
  service& operator=(const service&) = delete;

  /// `model_id`: of route::one_model.
  void handle(route where,
              http::request&& request,
              std::shared_ptr<http::exchange> answer,
              const caller& who,
              const std::string& model_id = {});

  /// Pings streams that were quiet for so long.
  void tick(duration_ns quiet);
  /// New requests are refused from now on, with 503.
  void drain();
  /// Ends what still runs, telling clients.
  void stop();
  /// Submits nothing from now on. Waits for the request that is being read; not on the I/O thread.
  void close();

  std::size_t open_requests() const;
  /// Those of them, and of other routes, that wait to be read or are. Any thread.
  std::size_t reading() const;
  /// The oldest first.
  std::vector<live_request> live() const;
  /// Ends one as an operator wishes, telling its client; false where there is none such.
  bool cancel(std::uint64_t number);

private:
  std::shared_ptr<impl> impl_;
};

}  // namespace atl::openai
