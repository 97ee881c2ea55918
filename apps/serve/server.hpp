// The HTTP front of a model: listeners, keys, the OpenAI API, the board and the probes, standing on
// a node of actors. It answers from the first moment on; until open(), and between close() and the
// next open(), /live says yes and all else 503.
//
// Threads: all members from the one that made it, which is also where signals are awaited; the
// rest happens on the listeners' I/O thread.
#pragma once

#include "actors/node.hpp"
#include "apps/openai/service.hpp"
#include "apps/serve/board.hpp"
#include "apps/serve/front.hpp"
#include "apps/serve/keys.hpp"
#include "apps/serve/progress.hpp"
#include "apps/serve/service.hpp"
#include "apps/serve/settings.hpp"
#include "runtime/base/clock.hpp"
#include "runtime/base/result.hpp"

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace atl::serve {

/// Whose gateway takes the requests.
using served_node = actors::node;

/// What is said of the model, and what its requests are checked against.
struct served_model {
  std::string id;
  std::shared_ptr<const model::tokenizer> words;
  std::int64_t vocabulary = 0;
  std::int64_t context_max = 0;
  std::int64_t experts = 0;  // routed, of a layer; 0: none
  std::string chat_format;   // empty: by the checkpoint's template
  std::string fingerprint;   // model_card.hpp
  model::sampling_params defaults;
};

class server {
public:
  /// How often sample() is due.
  static constexpr std::chrono::milliseconds sample_interval{1000};

  /// Binds the listeners.
  static result<std::unique_ptr<server>> listen(const serve_settings& settings);
  /// By listen().
  explicit server(const serve_settings& settings) : settings_{settings} {}
  /// As close() and end(), without waiting for readers.
  ~server();
  server(const server&) = delete;
  server& operator=(const server&) = delete;

  /// "http://127.0.0.1:8000"; that of operators is empty where it is the same.
  std::string url() const;
  std::string admin_url() const;

  /// Requests go to the node from now on. It outlives the server, or close() comes first.
  void open(served_node& node, served_model model);
  /// Requests that still run end. Probes and later requests are told why there is no answer.
  void close(const std::string& why);

  /// See front::forward().
  void forward(http::handler to_cluster) { front_->forward(std::move(to_cluster)); }

  // From listen() to end(), from any thread; answers come on the I/O thread.
  /// Of requests under way, the oldest first.
  void look_at_requests(std::function<void(const std::vector<openai::live_request>&)> to);
  /// Ends one, telling its client; false where there is none such.
  void cancel_request(std::uint64_t number, std::function<void(bool)> told);

  /// Looks at the state of everything, for board and probes. Nothing while it is closed.
  void sample();
  /// Takes those settings that may change while it runs.
  void take(const serve_settings& fresh);
  /// Reads keys and certificates again; the old ones stay where that fails, which is logged. Tells
  /// what was taken.
  std::vector<std::string> reload_files();

  /// Takes no new requests and waits for those that run, for the settings' drain time. 0, or the
  /// exit code of a second signal.
  int drain(service_signals& signals, const service_notifier& manager);
  /// After close(), and after the node has ended: connections close. Where drain() came before,
  /// what was answered still reaches those who asked, who may read slowly.
  void end(service_signals& signals);

private:
  result<void> bind();
  openai::service_options api_options(const served_model& model);
  void schedule_pings();
  server_sample seen_now() const;
  void sample_draining();
  std::size_t open_requests();

  serve_settings settings_;
  std::shared_ptr<const clock> time_ = std::make_shared<steady_clock>();
  progress_watch progress_;
  std::optional<time_point_ns> drained_by_;  // nobody asked for the end to come at once
  served_node* node_ = nullptr;              // while it is open
  openai::service* pinged_ = nullptr;        // of the I/O thread: that which is in use
  std::unique_ptr<key_store> keys_;
  std::unique_ptr<front> front_;
  std::unique_ptr<board> board_;
  std::vector<std::unique_ptr<openai::service>> apis_;  // the last is in use; the rest are closed
  std::unique_ptr<http::server> http_;  // first to go: nothing calls the others then
};

}  // namespace atl::serve
