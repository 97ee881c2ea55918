// The one place every request passes: origin, key, route, then the API, the board or a probe. It
// answers from the first moment on; while the model loads, /live says yes and all else 503.
//
// Threads: handle() and check() on the I/O thread, as the whole state behind them; open() and
// close() from the main thread, which wait for nothing.
#pragma once

#include "apps/http/message.hpp"
#include "apps/openai/service.hpp"
#include "apps/serve/board.hpp"
#include "apps/serve/keys.hpp"
#include "apps/serve/routes.hpp"

#include <memory>
#include <mutex>
#include <optional>
#include <string>

namespace atl::serve {

struct front_options {
  const key_store* keys = nullptr;  // null: none are asked for; outlives the front
  bool splits = false;              // there is an admin listener
  origin_policy main_origin, admin_origin;
  // Nobody between can read what comes by that listener: loopback or TLS.
  bool main_is_private = true, admin_is_private = true;
};

class front {
public:
  explicit front(front_options options);

  /// A request's head, before its body is read: what need not be read is answered now.
  std::optional<http::response> check(const http::request& head);
  void handle(http::request&& request, std::shared_ptr<http::exchange> answer);

  /// The model is there. Both outlive the front, or close() comes first.
  void open(openai::service* api, board* seen);
  /// Of a cluster: what else is asked below /api/v1 goes there, and is not asked for keys here.
  void forward(http::handler to_cluster);
  /// What the probes say. Empty: ready.
  void set_state(std::string why_not_ready);
  /// No API any more; probes say why.
  void close(std::string why);

private:
  struct parts {
    openai::service* api = nullptr;
    board* seen = nullptr;
    std::string why_not_ready = "the model is being loaded";
  };

  parts now() const;
  /// Null: the request is this process's own.
  http::handler to_cluster(const http::request& request, const route_match& match) const;
  std::optional<http::response>
  refusal(const http::request& request, const route_match& match, openai::caller& who) const;
  std::optional<http::response> origin_refusal(const http::request& request) const;
  http::response probe(target where, const parts& p) const;

  front_options options_;
  mutable std::mutex mutex_;
  parts parts_;
  http::handler cluster_;
};

}  // namespace atl::serve
