// What the connections of a node share, as they see it. I/O thread only.
#pragma once

#include "runtime/base/buffer_pool.hpp"
#include "transport/tls/channel.hpp"
#include "transport/tls/greeting.hpp"
#include "transport/tls/io.hpp"
#include "transport/tls/tls.hpp"

#include <memory>
#include <string>

namespace atl::transport::tls {

class incoming;
class outgoing;

class hub {
public:
  virtual ~hub() = default;
  virtual io_thread& io() noexcept = 0;
  virtual node_identity self() const noexcept = 0;
  virtual const tls_limits& limits() const noexcept = 0;
  virtual std::shared_ptr<const context> credentials() const = 0;
  virtual buffer_pool& buffers() noexcept = 0;
  /// Applied to the counters at once.
  virtual void count(const std::function<void(tls_counters&)>& change) = 0;
  /// Logs a refusal, once for each host and reason.
  virtual void note(const std::string& peer_address, const std::string& reason) = 0;
  /// A peer says that this node's certificate is revoked.
  virtual void refused_as_revoked() = 0;

  /// A proved peer wants to send frames. Its older lives and its older connections end here.
  virtual greeting_answer admit(incoming& from, node_identity peer) = 0;
  /// False: nobody takes frames any more.
  virtual bool deliver(frame&& f) noexcept = 0;
  /// The peer has taken the connection, and is in this life.
  virtual void welcomed(outgoing& to, incarnation life) = 0;
  virtual void left(incoming& gone) = 0;
  /// The connection has ended; `cause` is none where this end wanted it.
  virtual void left(outgoing& gone, const error* cause) = 0;
};

}  // namespace atl::transport::tls
