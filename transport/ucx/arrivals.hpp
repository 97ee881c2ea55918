// The receiving half of the UCX transport: which sessions are open, and each session's frames in
// the order in which they were sent. A frame's header is checked before anything is allocated for
// it; an eager payload is copied once, out of the buffers of UCX; a rendezvous goes straight into a
// registered buffer, and frames behind it wait for it. For the progress thread alone.
#pragma once

#include "transport/transport.hpp"
#include "transport/ucx/hello.hpp"
#include "transport/ucx/registered_pool.hpp"

#include <array>
#include <atomic>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <unordered_map>

struct ucp_worker;

namespace atl::transport::ucx {

/// Relaxed: counts, they publish nothing else.
struct counters {
  std::atomic<std::uint64_t> taken{0};
  std::atomic<std::uint64_t> lost{0};
  std::atomic<std::uint64_t> delivered{0};
  std::atomic<std::uint64_t> bytes_delivered{0};
  std::atomic<std::uint64_t> refused{0};
  std::atomic<std::uint64_t> hellos_refused{0};
};

class arrivals {
public:
  arrivals(std::shared_ptr<registered_pool> pool, counters& counts)
      : pool_{std::move(pool)}, counts_{counts} {}

  void begin(ucp_worker* worker, node_identity self, std::weak_ptr<receiver> to);

  /// errc::stale_epoch: a later life of the node was here.
  result<void> check_life(node_identity peer) const;
  /// Takes frames of the peer under this number, and no longer under an earlier one.
  void admit(node_identity peer, std::uint64_t session);
  void end_session(std::uint64_t session);
  /// Drops what still waits.
  void end();
  bool is_open(std::uint64_t session) const { return sessions_.count(session) != 0; }

  /// What arrived as message::frame: a ucs_status_t for UCX. `data` is the payload (behind the
  /// metadata, where the head does not hold it), or the handle of a rendezvous of `bytes`.
  int on_frame(std::span<const std::byte> head, void* data, std::size_t bytes, bool is_rendezvous);

private:
  struct flow;
  struct arrival;
  /// The last that is known of a node, for frames and hellos of its past.
  struct past {
    incarnation life;
    std::uint64_t session = 0;
    std::uint64_t sequence = 0;
  };

  result<std::shared_ptr<arrival>> expect(std::span<const std::byte> head, std::size_t bytes);
  result<void> copy(arrival& a, std::span<const std::byte> data) const;
  result<void> fetch(const std::shared_ptr<arrival>& a, void* rendezvous, std::size_t bytes);
  result<void> make_room(arrival& a) const;
  static void on_fetched(void* request, int status, std::size_t bytes, void* user_data);
  void settle(arrival& a, const result<void>& checked);
  void hand_over(flow& s);
  void refuse(const error& cause);

  std::shared_ptr<registered_pool> pool_;
  counters& counts_;
  ucp_worker* worker_ = nullptr;
  node_identity self_;
  std::weak_ptr<receiver> to_;
  std::unordered_map<std::uint64_t, std::shared_ptr<flow>> sessions_;
  std::map<node_id, past> known_;
};

}  // namespace atl::transport::ucx
