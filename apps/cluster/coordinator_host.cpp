#include "apps/cluster/coordinator_host.hpp"

#include "apps/cluster/data_path.hpp"
#include "apps/cluster/init.hpp"
#include "apps/cluster/joining.hpp"
#include "apps/serve/access.hpp"
#include "runtime/base/disk.hpp"
#include "runtime/base/log.hpp"
#include "runtime/base/random.hpp"
#include "transport/tls/ticket.hpp"

#include <algorithm>
#include <unistd.h>
#include <utility>

namespace atl::ops {
namespace {

namespace tls = transport::tls;

constexpr std::size_t body_bytes_max = 65'536;
constexpr std::size_t connections_max = 512;

std::int64_t unix_s() { return unix_time_ms() / 1000; }

bool is_wildcard(const std::string& host) {
  return host.empty() || host == "0.0.0.0" || host == "::";
}

std::string host_text(const std::string& host) {
  return host.find(':') == std::string::npos ? host : "[" + host + "]";
}

std::string own_host_name() {
  char name[256] = "";
  return ::gethostname(name, sizeof name - 1) == 0 ? name : "";
}

std::vector<std::byte> ticket_of(std::span<const std::byte> key,
                                 transport::node_identity from,
                                 transport::node_identity to) {
  tls::ticket_key acceptors{};
  if (key.size() != acceptors.size()) return {};
  std::copy(key.begin(), key.end(), acceptors.begin());
  return tls::issue_ticket(acceptors, from, to);
}

}  // namespace

result<std::vector<std::string>> reached_by(const std::string& listen,
                                            const std::vector<std::string>& advertise) {
  ATOLL_ASSIGN(const auto at, serve::parse_address("--listen", listen));
  std::vector<std::string> names = advertise;
  const auto add = [&names](const std::string& name) {
    if (!name.empty() && std::find(names.begin(), names.end(), name) == names.end())
      names.push_back(name);
  };
  if (!is_wildcard(at.host)) {
    add(at.host);
    return names;
  }
  std::vector<std::string> local;
  for (const auto& i : look_at_interfaces())
    for (const auto& address : i.addresses) {
      if (i.is_loopback) {
        local.push_back(address);
      } else {
        add(address);
      }
    }
  add(own_host_name());
  for (const auto& address : local) add(address);
  add("localhost");
  return names;
}

result<std::unique_ptr<coordinator_host>> coordinator_host::open(const std::string& dir) {
  const auto card = read_cluster_card(dir);
  if (card.has_error()) {
    if (card.error().code() != errc::not_found) return card.error();
    return error{errc::invalid_argument,
                 "--dir " + dir + " holds no cluster; make one first: atoll cluster init --dir " +
                     dir};
  }
  tls::key_pair_pem saved;
  ATOLL_ASSIGN(saved.certificate, read_text(dir + "/ca.pem"));
  ATOLL_ASSIGN(saved.key, serve::read_key_file(dir + "/ca.key"));
  ATOLL_ASSIGN(auto authority, tls::authority::load(saved));
  if (authority.cluster() != card->id)
    return error{errc::invalid_argument,
                 "--dir " + dir + ": ca.pem is of cluster " + authority.cluster() +
                     ", cluster.json of " + card->id};
  auto made = std::make_unique<coordinator_host>(dir, *card, std::move(authority));
  ATOLL_ASSIGN(made->keys_, serve::key_store::open(dir + "/keys"));
  ATOLL_ASSIGN(auto journal, journal_writer::open(system_disk(), dir + "/journal", card->id));
  made->journal_ = std::move(journal.writer);
  ATOLL_ASSIGN(made->audit_, audit_log::open(system_disk(), dir + "/audit"));
  made->restored_ = std::move(journal.restored);
  for (const auto& [id, n] : made->restored_.nodes)
    if (n.is_removed) made->removed_.insert(id);
  for (const auto& [serial, c] : made->restored_.certificates)
    if (c.revoked_unix_ms != 0) made->revoked_.insert(serial);
  return made;
}

result<tls::credentials> coordinator_host::issue_own(const std::vector<std::string>& roles) const {
  ATOLL_ASSIGN(const auto made, tls::make_key_and_request());
  tls::certificate_order order;
  order.request_pem = made.request_pem;
  order.node = coordinator_node;
  order.roles = roles;
  ATOLL_ASSIGN(const std::string certificate, authority_.issue(order, unix_s()));
  return tls::credentials{authority_.certificate_pem(), certificate, made.key_pem};
}

actors::coordination coordinator_host::coordination(cluster::control_settings settings) {
  actors::coordination c;
  settings.cluster = card_.id;
  settings.ticket = ticket_of;
  settings.unix_ms = unix_time_ms;
  c.settings = std::move(settings);
  c.restored = restored_;
  c.journal = [journal = journal_.get()](std::vector<std::string> records,
                                         std::function<void(result<void>)> done) {
    journal->append(std::move(records), std::move(done));
  };
  return c;
}

result<void> coordinator_host::issue_api_certificate() {
  ATOLL_ASSIGN(const auto made, tls::make_key_and_request());
  tls::certificate_order order;
  order.request_pem = made.request_pem;
  order.names = names_;
  const std::int64_t now = unix_s();
  ATOLL_ASSIGN(const std::string certificate, authority_.issue(order, now));
  ATOLL_TRY(write_private(dir_ + "/api.key", made.key_pem));
  ATOLL_TRY(write_private(dir_ + "/api.pem", certificate + authority_.certificate_pem()));
  ATOLL_ASSIGN(const auto facts, tls::read_facts(certificate));
  certificate_due_s_ = renewal_due_unix_s(facts);
  return {};
}

result<void> coordinator_host::listen(const api_options& o, actors::node& on) {
  ATOLL_ASSIGN(names_, reached_by(o.listen, o.advertise));
  ATOLL_TRY(issue_api_certificate());
  joins_ = std::make_unique<enrolment>(authority_, o.terms, unix_s);
  api_backend b;
  b.control = [node = &on](std::function<void(cluster::control&, time_point_ns)> run,
                           std::function<void(result<void>)> done) {
    return node->control({std::move(run), std::move(done)});
  };
  b.trouble = [journal = journal_.get()] { return journal->trouble(); };
  b.keys = keys_.get();
  b.audit = audit_.get();
  b.joins = joins_.get();
  b.after = [this](std::chrono::milliseconds delay, std::function<void()> what) {
    const std::lock_guard lock{http_mutex_};
    if (http_) http_->post_after(delay, std::move(what));
  };
  b.unix_ms = unix_time_ms;
  b.revoked = [this, told = o.revoked](const std::string& serial, node_id node) {
    {
      const std::lock_guard lock{mutex_};
      if (serial.empty()) {
        removed_.insert(node);
      } else {
        revoked_.insert(serial);
      }
    }
    if (told) told();
  };
  b.own_gateway = o.own_gateway;
  b.own_node = coordinator_node;
  b.expert_rows = [this] {
    const std::lock_guard lock{mutex_};
    return expert_rows_;
  };
  b.name = card_.name;
  b.model_name = o.model_name;
  b.fingerprint = authority_.fingerprint();
  api_ = std::make_unique<cluster_api>(std::move(b));

  http::server_options s;
  http::listener_options l;
  l.name = "api";
  l.address = o.listen;
  l.tls = http::tls_files{dir_ + "/api.pem", dir_ + "/api.key"};
  s.listeners.push_back(std::move(l));
  s.limits.body_bytes_max = body_bytes_max;
  s.limits.bodies_bytes_max = connections_max * body_bytes_max;
  s.limits.connections_max = connections_max;
  s.id_seed = system_entropy();
  s.check_head = [api = api_.get()](const http::request& head) { return api->check(head); };
  s.handle = [api = api_.get()](http::request&& r, std::shared_ptr<http::exchange> answer) {
    api->handle(std::move(r), std::move(answer));
  };
  ATOLL_ASSIGN(auto started, http::server::start(std::move(s)));
  const std::string bound = started->addresses()[0];
  {
    const std::lock_guard lock{http_mutex_};
    http_ = std::move(started);
  }
  url_ = "https://" + host_text(names_.front()) + bound.substr(bound.rfind(':'));
  return {};
}

void coordinator_host::close() {
  std::unique_ptr<http::server> ended;
  {
    const std::lock_guard lock{http_mutex_};
    ended = std::move(http_);
  }
  ended.reset();
  api_.reset();
  // Its answers hold the coordinator's actor, which ends next.
  if (journal_) journal_->close();
  if (audit_) audit_->wait_idle();
}

void coordinator_host::tick(actors::node& on) {
  if (journal_->trouble()) journal_->look();
  if (audit_->trouble()) audit_->look();
  if (journal_->should_compact()) {
    const auto asked = on.control({[journal = journal_.get()](cluster::control& c, time_point_ns) {
                                     journal->compact(c.snapshot());
                                   },
                                   nullptr});
    if (asked.has_error()) log_error("journal not compacted: " + asked.error().message());
  }
  auto rows = on.counters().expert_rows;
  {
    const std::lock_guard lock{mutex_};
    expert_rows_ = std::move(rows);
  }
  if (!http_ || unix_s() < certificate_due_s_) return;
  auto renewed = issue_api_certificate();
  if (renewed.has_value()) renewed = http_->reload_tls();
  if (renewed.has_error()) {
    log_error("the API's certificate was not renewed: " + renewed.error().message());
    certificate_due_s_ = unix_s() + 60;
  }
}

void coordinator_host::reload() {
  const auto read = keys_->reload();
  if (read.has_error()) {
    log_error("the old keys stay: " + read.error().message());
  } else {
    log_info("reloaded: the keys of the API");
  }
}

bool coordinator_host::is_revoked(const std::string& serial, node_id node) const {
  const std::lock_guard lock{mutex_};
  return removed_.count(node) > 0 || revoked_.count(serial) > 0;
}

}  // namespace atl::ops
