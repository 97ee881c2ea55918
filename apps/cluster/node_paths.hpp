// The transports of one life of a node: the control path, TLS to the coordinator and back; and the
// data path, UCX or TLS between any two nodes. A node that takes both over TLS has an address for
// each; what it says of itself is "CONTROL" or "CONTROL,DATA", and each path here picks its own.
//
// The coordinator hears of a new node's addresses in its join, before it is a member, so that it
// can answer. To a node the coordinator is whoever answers as it at its address: it may have begun
// a new life.
#pragma once

#include "actors/node_links.hpp"
#include "apps/cluster/data_path.hpp"
#include "runtime/base/result.hpp"
#include "transport/tls/certificate.hpp"
#include "transport/tls/ticket.hpp"
#include "transport/tls/tls.hpp"
#include "transport/ucx/ucx.hpp"
#include "transport/wire/control.hpp"

#include <functional>
#include <memory>
#include <optional>
#include <string>

namespace atl::ops {

struct path_options {
  node_id self;
  node_id coordinator;
  std::string coordinator_address;  // of its control path; empty where this is the coordinator
  std::string control_listen;       // "192.0.2.7:0"
  std::optional<data_path> data;    // none: this node computes nothing
  transport::tls::credentials own;
  /// Of the coordinator: whose certificates are worth nothing. Other nodes are told by it. Any
  /// thread.
  std::function<bool(const std::string& serial, node_id)> is_revoked;
};

class node_paths {
public:
  /// What make() gives has paths.
  static result<std::unique_ptr<node_paths>> make(const path_options& o);

  actors::node_links links() const { return links_; }
  /// Adds where others reach this node, once it listens.
  void introduce(transport::wire::join& presence) const;
  /// Where the coordinator takes frames, once it listens.
  std::string control_address() const { return control_->local_address(); }
  /// Later connections show these.
  result<void> set_credentials(const transport::tls::credentials& fresh);
  /// Ends connections whose peer is not to be believed any more.
  void drop_revoked();
  /// Whether a peer has refused this node's certificate as revoked since it was asked last.
  bool was_refused();

private:
  struct distrust;

  std::shared_ptr<distrust> distrust_;
  transport::tls::ticket_key ticket_key_{};
  // Behind the links, which own them.
  transport::tls_transport* control_ = nullptr;
  transport::tls_transport* data_tls_ = nullptr;
  transport::ucx_transport* data_ucx_ = nullptr;
  actors::node_links links_;
};

/// The parts of "CONTROL,DATA"; the second may be empty.
struct path_addresses {
  std::string control;
  std::string data;
};
path_addresses split_addresses(const std::string& said);

/// The address of this machine that packets to "HOST:PORT" leave from.
result<std::string> local_address_towards(const std::string& there);

}  // namespace atl::ops
