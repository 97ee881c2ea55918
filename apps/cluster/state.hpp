// What a node keeps in its directory over its lives: who it is, its key and certificates, the
// number of its last life. Everything is written whole or not at all, reaches the disk, and is
// readable by its user alone. Functions block on files; one process at a time holds a directory.
//
//   lock            held while the node runs
//   node.json       cluster, number, roles, and where the coordinator is
//   node.key        the private key; node.csr, node.pem, ca.pem: request and certificates
//   life            the last life
//   model/config.json   the model, where the coordinator sent it
// and with the coordinator:
//   cluster.json    id and name of the cluster; ca.key: secret of its authority
//   keys            hashes of the keys of its API (apps/serve/keys.hpp)
//   journal         what the cluster must not forget (cluster/journal.hpp)
//   audit.jsonl, audit.1.jsonl   who changed what (apps/cluster/audit_log.hpp)
//   addresses.json  where it listened, so that it listens there again
//   api.pem, api.key    certificate of its API, made at each start
#pragma once

#include "runtime/base/ids.hpp"
#include "runtime/base/result.hpp"

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace atl::ops {

/// "atoll" below $XDG_STATE_HOME, or below ~/.local/state.
std::string default_state_dir();

/// Makes the directory and those above it; refuses one that others may write to.
result<void> make_state_dir(const std::string& dir);

/// Mode 0600; the file is on the disk when this returns.
result<void> write_private(const std::string& path, std::string_view text);

/// errc::not_found where it is not there.
result<std::string> read_text(const std::string& path, std::size_t bytes_max = 1 << 20);

/// Held until destroyed; errc::unavailable while another process has it.
class directory_lock {
public:
  static result<directory_lock> take(const std::string& dir);
  directory_lock(directory_lock&& other) noexcept;
  directory_lock& operator=(directory_lock&&) = delete;
  ~directory_lock();

private:
  explicit directory_lock(int file) noexcept : file_{file} {}
  int file_;
};

/// The number of a new life, larger than all before: the calendar clock in microseconds, or one
/// more than the last where the clock went back. On the disk when this returns.
result<incarnation> begin_life(const std::string& dir);

struct node_card {
  std::string cluster;
  node_id node;
  std::string name;
  std::vector<std::string> roles;
  std::string server;   // URL of the coordinator's API
  std::string control;  // where the coordinator takes frames: "192.0.2.1:7401"
  node_id coordinator;
  std::string model;  // its fingerprint; may be empty
  std::int64_t heartbeat_ms = 200;
  std::int64_t suspect_ms = 900;
  std::int64_t dead_ms = 1900;
  friend bool operator==(const node_card&, const node_card&) = default;
};

/// errc::not_found: this directory has no node yet.
result<node_card> read_node_card(const std::string& dir);
result<void> write_node_card(const std::string& dir, const node_card& card);
std::string to_json(const node_card& card);
result<node_card> parse_node_card(std::string_view text, const std::string& path);

struct cluster_card {
  std::string id;
  std::string name;
  friend bool operator==(const cluster_card&, const cluster_card&) = default;
};

result<cluster_card> read_cluster_card(const std::string& dir);
result<void> write_cluster_card(const std::string& dir, const cluster_card& card);

/// Where the coordinator listens.
struct coordinator_addresses {
  std::string api;
  std::string control;
};

/// Empty where it never ran.
result<coordinator_addresses> read_addresses(const std::string& dir);
result<void> write_addresses(const std::string& dir, const coordinator_addresses& at);

}  // namespace atl::ops
