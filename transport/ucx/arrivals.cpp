#include "transport/ucx/arrivals.hpp"

#include "runtime/base/log.hpp"

#include <ucp/api/ucp.h>

#include <cstring>
#include <utility>

namespace atl::transport::ucx {

struct arrivals::arrival {
  enum class state { pending, good, refused };

  arrivals* home = nullptr;
  std::shared_ptr<flow> from;
  frame f;
  bool has_metadata = false;  // it came in the head, and is checked
  std::shared_ptr<registered_buffer> room;
  std::array<ucp_dt_iov_t, 2> parts{};  // where a rendezvous with metadata goes
  state is = state::pending;
};

struct arrivals::flow {
  std::uint64_t number = 0;
  node_identity peer;
  std::deque<std::shared_ptr<arrival>> waiting;  // in the order sent; the first is pending
};

namespace {

error foreign(const std::string& what) { return {errc::unauthorised, "frame: " + what}; }

std::string name(node_identity id) {
  return "node " + std::to_string(id.node.value) + " life " + std::to_string(id.life.value);
}

}  // namespace

void arrivals::begin(ucp_worker* worker, node_identity self, std::weak_ptr<receiver> to) {
  worker_ = worker;
  self_ = self;
  to_ = std::move(to);
}

result<void> arrivals::check_life(node_identity peer) const {
  const auto known = known_.find(peer.node);
  if (known == known_.end() || known->second.life <= peer.life) return {};
  return error{errc::stale_epoch,
               name(peer) + " is over: life " + std::to_string(known->second.life.value) +
                   " is known"};
}

void arrivals::admit(node_identity peer, std::uint64_t number) {
  past& p = known_[peer.node];
  sessions_.erase(p.session);
  if (p.life != peer.life) p = past{peer.life};
  p.session = number;
  auto s = std::make_shared<flow>();
  s->number = number;
  s->peer = peer;
  sessions_[number] = std::move(s);
}

void arrivals::end_session(std::uint64_t number) { sessions_.erase(number); }

void arrivals::end() {
  for (const auto& [number, s] : std::exchange(sessions_, {})) s->waiting.clear();
}

int arrivals::on_frame(std::span<const std::byte> head,
                       void* data,
                       std::size_t bytes,
                       bool is_rendezvous) {
  auto expected = expect(head, bytes);
  if (expected.has_error()) {
    refuse(expected.error());
    return UCS_OK;  // to UCX the message is done with
  }
  auto& a = *expected;
  const auto from = a->from;
  from->waiting.push_back(a);
  bool is_pending = false;
  if (is_rendezvous && bytes > 0) {
    const auto begun = fetch(a, data, bytes);
    is_pending = begun.has_value();
    if (begun.has_error()) settle(*a, begun);
  } else {
    settle(*a, copy(*a, {static_cast<const std::byte*>(data), bytes}));
  }
  hand_over(*from);
  return is_pending ? UCS_INPROGRESS : UCS_OK;
}

/// Everything that can be known before the payload is there.
result<std::shared_ptr<arrivals::arrival>> arrivals::expect(std::span<const std::byte> head,
                                                            std::size_t bytes) {
  if (head.size() < prefix_bytes) return foreign("its head is too short");
  const auto open = sessions_.find(read_session(head.first<session_bytes>()));
  if (open == sessions_.end()) return foreign("no hello was taken for its session");
  const node_identity peer = open->second->peer;
  ATOLL_ASSIGN(const frame_header header,
               parse_header(head.subspan(session_bytes, frame_header_bytes)));
  if (header.source.node != peer.node || header.sender != peer.life ||
      header.destination.node != self_.node) {
    return foreign("from " + name({header.source.node, header.sender}) + " to node " +
                   std::to_string(header.destination.node.value) + ", in a session of " +
                   name(peer));
  }
  auto a = std::make_shared<arrival>();
  a->home = this;
  a->from = open->second;
  const auto metadata = head.subspan(prefix_bytes);
  a->has_metadata = !metadata.empty() || header.metadata_bytes == 0;
  if (a->has_metadata) {
    ATOLL_TRY(check_metadata(header, metadata));
    a->f.metadata.assign(metadata.begin(), metadata.end());
  }
  if (bytes != header.payload_bytes + (a->has_metadata ? 0 : header.metadata_bytes)) {
    return error{errc::malformed_frame,
                 "frame: " + std::to_string(bytes) +
                     " bytes follow the head, which says otherwise"};
  }
  std::uint64_t& last = known_[peer.node].sequence;
  if (header.sequence <= last)
    return foreign("sequence " + std::to_string(header.sequence) + " again");
  last = header.sequence;
  a->f.header = header;
  return a;
}

result<void> arrivals::make_room(arrival& a) const {
  const std::size_t payload = a.f.header.payload_bytes;
  if (!a.has_metadata) a.f.metadata.resize(a.f.header.metadata_bytes);
  if (payload == 0) return {};
  ATOLL_ASSIGN(a.room, pool_->take(payload));
  a.f.payload = {a.room, {a.room->memory.as<std::byte>(), payload}};
  return {};
}

result<void> arrivals::copy(arrival& a, std::span<const std::byte> data) const {
  ATOLL_TRY(make_room(a));
  if (!a.has_metadata) {
    std::memcpy(a.f.metadata.data(), data.data(), a.f.metadata.size());
    data = data.subspan(a.f.metadata.size());
  }
  if (!data.empty()) std::memcpy(a.room->memory.as<std::byte>(), data.data(), data.size());
  return {};
}

result<void>
arrivals::fetch(const std::shared_ptr<arrival>& a, void* rendezvous, std::size_t bytes) {
  ATOLL_TRY(make_room(*a));
  ucp_request_param_t param{};
  param.op_attr_mask = UCP_OP_ATTR_FIELD_CALLBACK | UCP_OP_ATTR_FIELD_USER_DATA |
                       UCP_OP_ATTR_FIELD_DATATYPE | UCP_OP_ATTR_FLAG_NO_IMM_CMPL;
  param.cb.recv_am = [](void* request, ucs_status_t status, std::size_t length, void* user_data) {
    on_fetched(request, status, length, user_data);
  };
  auto held = std::make_unique<std::shared_ptr<arrival>>(a);
  param.user_data = held.get();
  void* into = a->room != nullptr ? a->room->memory.as<std::byte>() : nullptr;
  std::size_t count = bytes;
  if (a->has_metadata) {
    param.datatype = ucp_dt_make_contig(1);
    param.op_attr_mask |= UCP_OP_ATTR_FIELD_MEMH;
    param.memh = a->room->registered->get();
  } else {
    a->parts = {ucp_dt_iov_t{a->f.metadata.data(), a->f.metadata.size()},
                ucp_dt_iov_t{into, static_cast<std::size_t>(a->f.header.payload_bytes)}};
    param.datatype = ucp_dt_make_iov();
    into = a->parts.data();
    count = a->f.header.payload_bytes == 0 ? 1 : 2;
  }
  const ucs_status_ptr_t request = ucp_am_recv_data_nbx(worker_, rendezvous, into, count, &param);
  if (UCS_PTR_IS_ERR(request)) return failure("receiving a frame", UCS_PTR_STATUS(request));
  static_cast<void>(held.release());  // on_fetched() has it
  return {};
}

void arrivals::on_fetched(void* request, int status, std::size_t, void* user_data) {
  const std::unique_ptr<std::shared_ptr<arrival>> held{
      static_cast<std::shared_ptr<arrival>*>(user_data)};
  arrival& a = **held;
  a.home->settle(a, status == UCS_OK ? result<void>{} : failure("receiving a frame", status));
  const auto from = a.from;
  a.home->hand_over(*from);
  ucp_request_free(request);
}

/// The last checks, now that all of the frame is there.
void arrivals::settle(arrival& a, const result<void>& arrived) {
  auto checked = arrived;
  if (checked.has_value() && !a.has_metadata) checked = check_metadata(a.f.header, a.f.metadata);
  if (checked.has_value()) checked = check_payload(a.f.header, a.f.payload.bytes);
  a.is = checked.has_value() ? arrival::state::good : arrival::state::refused;
  a.room.reset();
  if (checked.has_error()) {
    a.f.payload = {};
    refuse(checked.error());
  }
}

void arrivals::hand_over(flow& s) {
  const bool is_current = is_open(s.number);
  while (!s.waiting.empty() && s.waiting.front()->is != arrival::state::pending) {
    const auto a = std::move(s.waiting.front());
    s.waiting.pop_front();
    a->from.reset();
    if (a->is == arrival::state::refused) continue;
    const auto to = to_.lock();
    if (!is_current || to == nullptr) {
      refuse({errc::peer_gone, "frame: its session or its receiver has ended"});
      continue;
    }
    const std::uint64_t bytes = a->f.metadata.size() + a->f.payload.bytes.size();
    to->on_frame(std::move(a->f));
    counts_.bytes_delivered.fetch_add(bytes, std::memory_order_relaxed);
    counts_.delivered.fetch_add(1, std::memory_order_relaxed);
  }
}

void arrivals::refuse(const error& cause) {
  counts_.refused.fetch_add(1, std::memory_order_relaxed);
  log_debug("ucx: refused a frame: " + cause.message());
}

}  // namespace atl::transport::ucx
