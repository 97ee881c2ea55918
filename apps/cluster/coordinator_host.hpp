// What the process of a coordinator has besides the actor: the cluster's authority, the journal,
// and the API over HTTPS with a certificate of its own making. One thread, but for is_revoked().
#pragma once

#include "actors/node.hpp"
#include "apps/cluster/audit_log.hpp"
#include "apps/cluster/cluster_api.hpp"
#include "apps/cluster/enrolment.hpp"
#include "apps/cluster/journal_writer.hpp"
#include "apps/cluster/state.hpp"
#include "apps/http/server.hpp"
#include "apps/serve/keys.hpp"
#include "runtime/base/clock.hpp"
#include "runtime/base/result.hpp"
#include "transport/tls/authority.hpp"

#include <cstdint>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

namespace atl::ops {

class coordinator_host {
public:
  /// What `atoll cluster init` made in the directory, and all that happened since.
  static result<std::unique_ptr<coordinator_host>> open(const std::string& dir);
  /// By open().
  coordinator_host(std::string dir, cluster_card card, transport::tls::authority authority)
      : dir_{std::move(dir)}, card_{std::move(card)}, authority_{std::move(authority)} {}

  const cluster_card& cluster() const noexcept { return card_; }
  /// A certificate of the coordinator's own node, for a fresh key.
  result<transport::tls::credentials> issue_own(const std::vector<std::string>& roles) const;

  /// What the actor begins with: settings get the cluster's id; the journal goes on.
  actors::coordination coordination(cluster::control_settings settings);

  struct api_options {
    std::string listen;                  // "192.0.2.1:7400"; port 0: that of the last time, or any
    std::vector<std::string> advertise;  // further names and addresses that it is reached by
    join_terms terms;
    std::string model_name;
    std::function<void()> revoked;  // a certificate was, or a node removed; any thread
    /// As api_backend::own_gateway.
    std::function<void(const std::string&, std::function<void(const std::string&)>)> own_gateway;
  };
  /// Takes requests from now on, until close(). The node outlives that.
  result<void> listen(const api_options& o, actors::node& on);
  /// Ends the API, and waits for what is being written.
  void close();
  /// Of the API, while it listens.
  const std::string& url() const noexcept { return url_; }

  /// Every second or so: compacts the journal, renews the API's certificate, and looks
  /// at the experts' load.
  void tick(actors::node& on);

  /// Reads the keys of the API again; the old ones stay where that fails.
  void reload();

  /// Any thread.
  bool is_revoked(const std::string& serial, node_id node) const;

private:
  result<void> issue_api_certificate();

  std::string dir_;
  cluster_card card_;
  transport::tls::authority authority_;
  std::unique_ptr<serve::key_store> keys_;
  std::unique_ptr<audit_log> audit_;
  std::unique_ptr<journal_writer> journal_;  // before the audit log, to which its answers go
  cluster::durable_state restored_;
  std::vector<std::string> names_;  // in the API's certificate
  std::int64_t certificate_due_s_ = 0;
  mutable std::mutex mutex_;
  std::set<node_id> removed_;
  std::set<std::string> revoked_;                        // serials
  std::vector<std::vector<std::uint64_t>> expert_rows_;  // as of the last tick
  std::string url_;
  std::unique_ptr<enrolment> joins_;
  std::unique_ptr<cluster_api> api_;
  std::mutex http_mutex_;               // answers come from other threads
  std::unique_ptr<http::server> http_;  // first to go
};

/// Names and addresses under which a listener of "HOST:PORT" is reached on this machine.
result<std::vector<std::string>> reached_by(const std::string& listen,
                                            const std::vector<std::string>& advertise);

}  // namespace atl::ops
