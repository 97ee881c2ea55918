// The progress thread of one node's UCX transport, and what other threads hand to it. Links, one a
// peer, are made by connect() or by a peer's hello, and end once: by the peer's goodbye, by a
// failure that UCX reports, by a refusal, by a later life of the peer, or by stop().
#pragma once

#include "runtime/base/log.hpp"
#include "transport/ucx/arrivals.hpp"
#include "transport/ucx/ucx.hpp"

#include <future>
#include <thread>
#include <utility>

struct ucp_ep;

namespace atl::transport::ucx {

class engine;
class worker;

/// The way to one life of one peer.
struct link : std::enable_shared_from_this<link> {
  link(engine& by, node_identity to) : home{by}, peer{to} {}

  engine& home;
  const node_identity peer;
  // Under the engine's mutex.
  bool is_lost = false;
  bool is_watched = false;  // an endpoint was handed out, so its end is told
  std::size_t queued_frames = 0;
  std::size_t queued_bytes = 0;
  // Of the progress thread alone.
  ucp_ep* ep = nullptr;
  std::uint64_t session = 0;   // of frames to the peer; 0 before the hello
  std::uint64_t admitted = 0;  // session of frames from the peer; 0 without one
  bool is_broken = false;      // UCX reported it: nothing can be said to the peer
  bool has_said_goodbye = false;
  bool has_ended = false;
};

class engine {
public:
  engine(ucx_options options, std::shared_ptr<address_book> book, std::shared_ptr<context> home);
  engine(const engine&) = delete;
  engine& operator=(const engine&) = delete;
  ~engine();

  // Any thread.
  result<void> start(node_identity self, std::weak_ptr<receiver> to);
  result<std::shared_ptr<link>> connect(peer_address to);
  result<void> send(const std::shared_ptr<link>& to, frame f);
  /// Sends what was taken and tells the peers, for a limited time; then ends the thread. Not from
  /// the progress thread.
  void stop() noexcept;
  bool is_listening() const;
  std::vector<std::byte> local_address() const;
  ucx_counts counts() const;

private:
  struct outgoing;
  /// Work for the progress thread: a way to open, or a frame to send.
  struct order {
    std::shared_ptr<link> to;
    std::unique_ptr<peer_address> open;
    std::shared_ptr<link> instead_of;  // an earlier life
    bool greets = false;
    frame f;
  };
  struct ending {
    std::shared_ptr<link> what;
    error cause;
  };
  struct closing {
    void* request;
    std::shared_ptr<link> what;
  };

  // The thread.
  void run(std::promise<result<void>> started);
  result<void> set_up();
  result<void> register_handlers();
  bool turn();
  bool spin();
  void wait(int timeout_ms);
  bool take_orders();
  void say_farewell();
  void linger();
  void tear_down();
  template <class Done>
  void turn_until(duration_ns limit, Done done);
  void wake(std::unique_lock<std::mutex> lock);

  // Links.
  void open(const order& o);
  void make_ep(const std::shared_ptr<link>& l, const std::vector<std::byte>& address);
  void greet(link& l, std::vector<std::byte> ticket);
  void welcome(hello& h);
  result<void> check(const hello& h) const;
  std::shared_ptr<link> link_of(std::uint64_t session) const;
  void end(std::shared_ptr<link> l, error cause);
  bool finish_endings();
  void close(const std::shared_ptr<link>& l);
  void force_close(const std::shared_ptr<link>& l);
  bool finish_closings();

  // Messages.
  void on_hello(std::span<const std::byte> bytes, ucp_ep* reply_to);
  void on_refusal(std::span<const std::byte> bytes);
  void on_goodbye(std::span<const std::byte> bytes);
  void send_frame(order o);
  bool say(ucp_ep* ep, message what, std::vector<std::byte> bytes);
  void say_goodbye(link& l);
  bool post(std::unique_ptr<outgoing> out,
            ucp_ep* ep,
            message what,
            void* data,
            std::size_t count,
            std::size_t bytes,
            bool is_parted);
  void finish(const outgoing& done);

  const ucx_options options_;
  const std::shared_ptr<address_book> book_;
  const std::shared_ptr<context> home_;
  const std::shared_ptr<registered_pool> pool_;
  steady_clock clock_;
  counters counts_;
  node_identity self_;
  std::weak_ptr<receiver> to_;

  mutable std::mutex mutex_;
  std::map<node_id, std::shared_ptr<link>> links_;  // written by the progress thread and connect()
  std::vector<order> orders_;
  bool is_asleep_ = false;
  bool is_stopping_ = false;
  bool is_listening_ = false;
  std::vector<std::byte> address_;

  // Of the progress thread alone.
  std::unique_ptr<worker> worker_;
  arrivals arrivals_;
  std::vector<order> taken_;
  std::vector<ending> endings_;
  std::vector<closing> closings_;
  std::map<node_id, std::uint64_t> sequences_;  // of frames from this life to each node
  std::uint64_t sessions_ = 0;
  std::size_t unfinished_ = 0;  // sends that UCX has not completed
  bool is_parting_ = false;
  bool saw_stop_ = false;
  log_once refusals_;
  unsigned spins_to_skip_ = 0;
  unsigned spin_penalty_ = 0;  // grows with spins in vain

  int wake_fd_ = -1;
  std::thread thread_;
};

}  // namespace atl::transport::ucx
