#include "actors/mailroom.hpp"

#include "runtime/base/log.hpp"
#include "transport/loopback/loopback.hpp"

#include <set>
#include <string>
#include <utility>

namespace atl::actors {

namespace {

constexpr std::size_t index_of(transport::plane path) { return static_cast<std::size_t>(path); }

transport::plane plane_at(std::size_t path, transport::frame_kind kind) {
  return path < 2 ? static_cast<transport::plane>(path) : transport::plane_of(kind);
}
static_assert(index_of(transport::plane::data) == 0 && index_of(transport::plane::control) == 1);

}  // namespace

class mailroom::port final : public transport::receiver {
public:
  port(mailroom& owner, path_index path) : owner_{owner}, path_{path} {}
  void on_frame(transport::frame&& f) noexcept override { owner_.take(path_, std::move(f)); }
  void on_peer_gone(transport::node_identity who, const error& cause) noexcept override {
    owner_.lost(path_, who, cause);
  }

private:
  mailroom& owner_;
  path_index path_;
};

mailroom::mailroom(transport::node_identity self, node_links links)
    : self_{self}, links_{std::move(links)} {
  if (links_.own == nullptr) links_.own = transport::loopback_network{}.join();
  for (path_index p = 0; p < ports_.size(); ++p) ports_[p] = std::make_shared<port>(*this, p);
}

mailroom::~mailroom() { close(); }

result<void> mailroom::open() {
  ATOLL_TRY(links_.own->listen(self_, ports_[self_path]));
  const path_index data = index_of(transport::plane::data);
  const path_index control = index_of(transport::plane::control);
  if (links_.data != nullptr) ATOLL_TRY(links_.data->listen(self_, ports_[data]));
  if (links_.control != nullptr) ATOLL_TRY(links_.control->listen(self_, ports_[control]));
  return {};
}

void mailroom::close() {
  links_.own->close();
  if (links_.control != nullptr) links_.control->close();
  if (links_.data != nullptr) links_.data->close();
}

void mailroom::bind(std::uint32_t slot, deliver_function deliver) {
  const std::lock_guard lock{slots_mutex_};
  slots_[slot] = std::move(deliver);
}

void mailroom::watch_connections(std::function<void(connection_lost)> tell) {
  const std::lock_guard lock{slots_mutex_};
  tell_lost_ = std::move(tell);
}

void mailroom::unbind() {
  const std::lock_guard lock{slots_mutex_};
  slots_.clear();
  tell_lost_ = nullptr;
}

transport::transport& mailroom::link(path_index path) {
  if (path == self_path) return *links_.own;
  return path == index_of(transport::plane::data) ? *links_.data : *links_.control;
}

void mailroom::set_members(const transport::wire::members& all) {
  if (links_.told) links_.told(all);
  std::set<node_id> named;
  // Dropped outside the lock: closing an endpoint may call back.
  std::vector<std::shared_ptr<transport::endpoint>> closed;
  const std::lock_guard lock{mutex_};
  const auto forget = [&](peer& p) {
    for (auto& e : p.endpoints)
      if (e != nullptr) closed.push_back(std::move(e));
    p.endpoints = {};
  };
  for (const auto& m : all.list) {
    if (m.node == self_.node) continue;
    named.insert(m.node);
    const bool is_dead = m.state == transport::wire::member_state::dead;
    if (links_.book != nullptr && !is_dead)
      links_.book->put({{m.node, m.life}, m.tls, m.ucx, m.ticket});
    peer& p = peers_[m.node];
    p.listed = is_dead ? incarnation{} : m.life;
    const incarnation oldest{m.life.value + (is_dead ? 1U : 0U)};
    if (oldest <= p.oldest_heard) continue;
    p.oldest_heard = oldest;
    for (auto& e : p.endpoints)
      if (e != nullptr && e->peer().life < oldest) closed.push_back(std::exchange(e, nullptr));
  }
  for (auto& [node, p] : peers_) {
    if (named.count(node) != 0 || p.oldest_heard.value == 0) continue;
    // Only the life that was listed is over: a later one may be heard before it is listed.
    p.oldest_heard = std::max(p.oldest_heard, incarnation{p.listed.value + 1});
    p.listed = {};
    forget(p);
    if (links_.book != nullptr) links_.book->erase(node);
  }
}

result<std::shared_ptr<transport::endpoint>>
mailroom::endpoint_to(path_index path, node_id to, std::uint64_t bytes) {
  const std::lock_guard lock{mutex_};
  auto& known = peers_[to].endpoints[path];
  if (known == nullptr) {
    ATOLL_ASSIGN(known, link(path).connect(to));
  }
  ++counts_.frames;
  counts_.bytes += bytes;
  return known;
}

result<void> mailroom::send_frame(transport::plane plane, node_id to, transport::frame f) {
  path_index path = index_of(plane);
  if (to == self_.node) {
    path = self_path;
  } else if ((plane == transport::plane::data ? links_.data : links_.control) == nullptr) {
    return error{errc::peer_gone,
                 "this node has no path to node " + std::to_string(to.value) + " yet"};
  }
  ATOLL_ASSIGN(const auto target,
               endpoint_to(path, to, f.metadata.size() + f.payload.bytes.size()));
  auto sent = target->send(std::move(f));
  const bool is_lost = sent.has_error() && (sent.error().code() == errc::peer_gone ||
                                            sent.error().code() == errc::stale_epoch);
  if (is_lost) {
    const std::lock_guard lock{mutex_};
    auto& known = peers_[to].endpoints[path];
    if (known == target) known = nullptr;  // the next frame connects anew
  }
  return sent;
}

result<void>
mailroom::send_heartbeat(transport::plane path, node_id to, const transport::wire::heartbeat& m) {
  ATOLL_ASSIGN(auto f, transport::wire::encode(m, {self_.node, pulse_slot}, {to, pulse_slot}));
  return send_frame(path, to, std::move(f));
}

mailroom::traffic mailroom::counts() const {
  const std::lock_guard lock{mutex_};
  return counts_;
}

/// The control path admits whoever has a certificate; what it may say there is for the coordinator
/// and the agents to judge, so nothing else comes that way.
bool mailroom::is_by_its_path(path_index path, const transport::frame_header& h) {
  if (path == self_path || h.kind == transport::frame_kind::heartbeat ||
      index_of(transport::plane_of(h.kind)) == path)
    return true;
  const std::lock_guard lock{mutex_};
  ++counts_.refused;
  return false;
}

bool mailroom::is_news(path_index path, const transport::frame_header& h) {
  const std::lock_guard lock{mutex_};
  peer& p = peers_[h.source.node];
  // The control path is for the coordinator to judge: it knows who may speak.
  const bool is_control = path == index_of(transport::plane::control);
  if (h.sender < p.life[path] || (h.sender < p.oldest_heard && !is_control)) {
    ++counts_.stale;
    return false;
  }
  if (h.sender > p.life[path]) {
    p.life[path] = h.sender;
    p.seen[path] = {};
  }
  if (p.seen[path].take(h.sequence)) return true;
  ++counts_.repeated;
  return false;
}

void mailroom::take(path_index path, transport::frame&& f) noexcept {
  if (!is_by_its_path(path, f.header)) return;
  if (!is_news(path, f.header)) return;
  auto body = transport::wire::decode(f);
  const std::shared_lock slots_lock{slots_mutex_};
  const auto slot = slots_.find(f.header.destination.slot);
  if (body.has_error() || slot == slots_.end()) {
    {
      const std::lock_guard lock{mutex_};
      ++counts_.refused;
    }
    log_warning("frame of kind " + std::string{transport::to_string(f.header.kind)} + " refused: " +
                (body.has_error()
                     ? body.error().message()
                     : "no actor at slot " + std::to_string(f.header.destination.slot)));
    return;
  }
  slot->second(std::make_shared<const incoming>(
      incoming{f.header.source, f.header.sender, plane_at(path, f.header.kind), std::move(*body)}));
}

void mailroom::lost(path_index path, transport::node_identity who, const error& cause) noexcept {
  std::shared_ptr<transport::endpoint> dropped;  // outside the lock
  {
    const std::lock_guard lock{mutex_};
    auto& known = peers_[who.node].endpoints[path];
    if (known != nullptr && known->peer() == who) dropped = std::exchange(known, nullptr);
  }
  const std::shared_lock slots_lock{slots_mutex_};
  if (!tell_lost_ || path == self_path) return;
  tell_lost_(connection_lost{who, static_cast<transport::plane>(path), cause.message()});
}

}  // namespace atl::actors
