#include "apps/cluster/node_paths.hpp"

#include "apps/serve/access.hpp"
#include "runtime/base/random.hpp"
#include "transport/wire/codec.hpp"

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/udp.hpp>

#include <mutex>
#include <set>
#include <utility>

namespace atl::ops {

/// Whom this node does not believe, and whether others do not believe it.
struct node_paths::distrust {
  std::mutex mutex;
  std::set<std::string> serials;
  std::set<std::uint32_t> nodes;
  bool was_refused = false;

  bool is_revoked(const std::string& serial, node_id node) {
    const std::lock_guard lock{mutex};
    return serials.count(serial) > 0 || nodes.count(node.value) > 0;
  }
  /// Whether there is news.
  bool take(const transport::wire::members& all) {
    std::set<std::string> revoked;
    for (const auto serial : all.revoked) revoked.insert(to_text(serial));
    std::set<std::uint32_t> removed{all.removed.begin(), all.removed.end()};
    const std::lock_guard lock{mutex};
    const bool is_news = revoked != serials || removed != nodes;
    serials = std::move(revoked);
    nodes = std::move(removed);
    return is_news;
  }
};

namespace {

using transport::address_book;
using transport::frame;
using transport::node_identity;
using transport::peer_address;

/// Tells the book where a node takes frames when it asks to join, then passes frames on.
class introducer final : public transport::receiver {
public:
  introducer(std::shared_ptr<address_book> book, std::weak_ptr<transport::receiver> to)
      : book_{std::move(book)}, to_{std::move(to)} {}

  void on_frame(frame&& f) noexcept override {
    if (f.header.kind == transport::frame_kind::join) note(f);
    if (const auto to = to_.lock()) to->on_frame(std::move(f));
  }

  void on_peer_gone(node_identity peer, const error& cause) noexcept override {
    if (const auto to = to_.lock()) to->on_peer_gone(peer, cause);
  }

private:
  void note(const frame& f) {
    const auto message = transport::wire::decode(f);
    if (message.has_error()) return;  // whom it is for refuses it likewise, and says so
    if (const auto* said = std::get_if<transport::wire::join>(&*message))
      book_->put({{f.header.source.node, f.header.sender}, said->tls, said->ucx, {}});
  }

  std::shared_ptr<address_book> book_;
  std::weak_ptr<transport::receiver> to_;
};

enum class part { control, data };

struct path_rules {
  part which = part::control;
  node_id coordinator;
  std::string coordinator_address;  // where it is known from the start
  bool introduces = false;
};

/// A TLS path: looks a peer up in the node's book, and gives the transport the part of what it
/// finds that is for this path, in a book of the transport's own.
class tls_path final : public transport::transport {
public:
  tls_path(path_rules rules,
           std::shared_ptr<address_book> shared,
           std::shared_ptr<address_book> own,
           std::unique_ptr<atl::transport::tls_transport> inner)
      : rules_{std::move(rules)},
        shared_{std::move(shared)},
        own_{std::move(own)},
        inner_{std::move(inner)} {}

  result<void> listen(node_identity self, std::weak_ptr<atl::transport::receiver> to) override {
    if (!rules_.introduces) return inner_->listen(self, std::move(to));
    introducer_ = std::make_shared<introducer>(shared_, std::move(to));
    return inner_->listen(self, introducer_);
  }

  result<std::shared_ptr<atl::transport::endpoint>> connect(node_id peer) override {
    if (peer == rules_.coordinator && !rules_.coordinator_address.empty()) {
      // Whichever life answers there: an earlier one may be what the book knows.
      own_->erase(peer);
      own_->put({{peer, incarnation{0}}, rules_.coordinator_address, {}, {}});
      return inner_->connect(peer);
    }
    ATOLL_ASSIGN(peer_address found, shared_->find(peer));
    const path_addresses all = split_addresses(found.tls);
    found.tls = rules_.which == part::control ? all.control : all.data;
    own_->put(std::move(found));
    return inner_->connect(peer);
  }

  result<std::unique_ptr<atl::transport::memory_region>>
  register_memory(std::span<std::byte> bytes) override {
    return inner_->register_memory(bytes);
  }

  void close() noexcept override { inner_->close(); }

private:
  const path_rules rules_;
  std::shared_ptr<address_book> shared_, own_;
  std::shared_ptr<introducer> introducer_;
  std::unique_ptr<atl::transport::tls_transport> inner_;
};

struct made_path {
  std::shared_ptr<transport::transport> link;
  transport::tls_transport* inner = nullptr;
};

/// What both paths of a node have in common, but for the address.
result<made_path> make_tls_path(transport::tls_options options,
                                const std::string& listen,
                                path_rules rules,
                                const std::shared_ptr<address_book>& shared) {
  options.listen = listen;
  const auto own = std::make_shared<address_book>();
  ATOLL_ASSIGN(auto inner, transport::make_tls_transport(std::move(options), own));
  made_path made;
  made.inner = inner.get();
  made.link = std::make_shared<tls_path>(std::move(rules), shared, own, std::move(inner));
  return made;
}

}  // namespace

result<std::unique_ptr<node_paths>> node_paths::make(const path_options& o) {
  auto p = std::make_unique<node_paths>();
  const auto book = std::make_shared<address_book>();
  p->links_.book = book;
  p->distrust_ = std::make_shared<distrust>();
  transport::tls_options tls;
  tls.own = o.own;
  tls.is_revoked = o.is_revoked;
  if (!tls.is_revoked) {
    tls.is_revoked = [known = p->distrust_](const std::string& serial, node_id node) {
      return known->is_revoked(serial, node);
    };
    // The links end before the paths.
    p->links_.told = [paths = p.get()](const transport::wire::members& all) {
      if (paths->distrust_->take(all)) paths->drop_revoked();
    };
  }
  tls.refused_as_revoked = [known = p->distrust_] {
    const std::lock_guard lock{known->mutex};
    known->was_refused = true;
  };
  path_rules control{part::control, o.coordinator, o.coordinator_address, o.self == o.coordinator};
  ATOLL_ASSIGN(auto control_path, make_tls_path(tls, o.control_listen, std::move(control), book));
  p->control_ = control_path.inner;
  p->links_.control = std::move(control_path.link);
  if (!o.data) return p;
  if (o.data->kind == data_kind::tls) {
    const bool is_v6 = o.data->address.find(':') != std::string::npos;
    const std::string host = is_v6 ? "[" + o.data->address + "]" : o.data->address;
    ATOLL_ASSIGN(auto data_path,
                 make_tls_path(tls, host + ":0", {part::data, o.coordinator, {}, false}, book));
    p->data_tls_ = data_path.inner;
    p->links_.data = std::move(data_path.link);
    return p;
  }
#ifdef ATOLL_HAS_UCX
  p->ticket_key_ = transport::tls::make_ticket_key();
  transport::ucx_options options;
  options.interface = o.data->interface;
  options.secret = system_entropy();
  options.accepts = [key = p->ticket_key_](
                        node_identity from, node_identity to, std::span<const std::byte> ticket) {
    return transport::tls::accepts_ticket(key, from, to, ticket);
  };
  ATOLL_ASSIGN(auto ucx, transport::make_ucx_transport(std::move(options), book));
  p->data_ucx_ = ucx.get();
  p->links_.data = std::move(ucx);
  return p;
#else
  return error{errc::unsupported, "this program was built without UCX; give --data-transport tls"};
#endif
}

void node_paths::introduce(transport::wire::join& presence) const {
  presence.tls = control_->local_address();
  if (data_tls_ != nullptr) presence.tls += "," + data_tls_->local_address();
  if (data_ucx_ == nullptr) return;
  presence.ucx = data_ucx_->local_address();
  presence.ticket_key.assign(ticket_key_.begin(), ticket_key_.end());
}

result<void> node_paths::set_credentials(const transport::tls::credentials& fresh) {
  ATOLL_TRY(control_->set_credentials(fresh));
  return data_tls_ == nullptr ? result<void>{} : data_tls_->set_credentials(fresh);
}

void node_paths::drop_revoked() {
  control_->drop_revoked();
  if (data_tls_ != nullptr) data_tls_->drop_revoked();
}

bool node_paths::was_refused() {
  const std::lock_guard lock{distrust_->mutex};
  return std::exchange(distrust_->was_refused, false);
}

path_addresses split_addresses(const std::string& said) {
  const std::size_t comma = said.find(',');
  if (comma == std::string::npos) return {said, {}};
  return {said.substr(0, comma), said.substr(comma + 1)};
}

result<std::string> local_address_towards(const std::string& there) {
  namespace asio = boost::asio;
  using asio::ip::udp;
  ATOLL_ASSIGN(const auto at, serve::parse_address("the coordinator's address", there));
  try {
    asio::io_context io{1};
    boost::system::error_code code;
    const auto found = udp::resolver{io}.resolve(at.host, std::to_string(at.port), code);
    if (code || found.empty())
      return error{errc::peer_gone, there + ": the host is not known: " + code.message()};
    udp::socket socket{io};
    socket.connect(*found.begin(), code);  // sends nothing
    if (code) return error{errc::peer_gone, there + ": no way there: " + code.message()};
    const auto own = socket.local_endpoint(code).address();
    if (code) return error{errc::peer_gone, there + ": no way there: " + code.message()};
    return own.is_v6() ? "[" + own.to_string() + "]" : own.to_string();
  } catch (const boost::system::system_error& e) {
    return error{errc::io, std::string{"no socket can be made: "} + e.what()};
  }
}

}  // namespace atl::ops
