// The engine's links and messages; all on the progress thread.
#include "runtime/base/log.hpp"
#include "runtime/base/random.hpp"
#include "transport/ucx/engine.hpp"
#include "transport/ucx/worker.hpp"

#include <ucp/api/ucp.h>

#include <array>

namespace atl::transport::ucx {

namespace {

std::string name(node_identity id) {
  return "node " + std::to_string(id.node.value) + " life " + std::to_string(id.life.value);
}

std::span<const std::byte> as_span(const void* data, std::size_t bytes) {
  return {static_cast<const std::byte*>(data), bytes};
}

}  // namespace

/// Bytes that UCX reads until it has completed the send.
struct engine::outgoing {
  engine& home;
  std::shared_ptr<link> to;  // null for what is not a frame
  frame f;
  std::vector<std::byte> head;
  std::array<ucp_dt_iov_t, 2> parts{};
};

void engine::open(const order& o) {
  const auto& l = o.to;
  if (o.instead_of != nullptr && !o.instead_of->is_lost) {
    end(o.instead_of, {errc::peer_gone, "a later life of the node has begun"});
  }
  // A link that is to end may still have to say goodbye.
  if (l->has_ended) return;
  if (l->ep == nullptr) make_ep(l, o.open->ucx);
  if (l->ep != nullptr && !l->is_lost && o.greets && l->session == 0) greet(*l, o.open->ticket);
}

void engine::make_ep(const std::shared_ptr<link>& l, const std::vector<std::byte>& address) {
  ucp_ep_params_t params{};
  params.field_mask = UCP_EP_PARAM_FIELD_REMOTE_ADDRESS | UCP_EP_PARAM_FIELD_ERR_HANDLING_MODE |
                      UCP_EP_PARAM_FIELD_ERR_HANDLER;
  params.address = reinterpret_cast<const ucp_address_t*>(address.data());
  params.err_mode = UCP_ERR_HANDLING_MODE_PEER;
  params.err_handler.arg = l.get();
  params.err_handler.cb = [](void* arg, ucp_ep_h, ucs_status_t status) {
    auto& failed = *static_cast<link*>(arg);
    failed.is_broken = true;
    error cause{errc::peer_gone, "the connection broke: " + std::string{ucs_status_string(status)}};
    failed.home.end(failed.shared_from_this(), std::move(cause));
  };
  if (const auto status = ucp_ep_create(worker_->get(), &params, &l->ep); status != UCS_OK) {
    l->ep = nullptr;
    end(l, failure("connecting to " + name(l->peer), status));
  }
}

void engine::greet(link& l, std::vector<std::byte> ticket) {
  // Numbers that a stranger cannot guess, and that no two sessions share.
  l.session = philox{options_.secret}.at(self_.life.value, ++sessions_);
  auto bytes = encode(hello{self_, l.peer, l.session, std::move(ticket), local_address()});
  if (bytes.has_error()) {
    end(l.shared_from_this(), bytes.error());
    return;
  }
  if (say(l.ep, message::hello, std::move(*bytes))) return;
  l.is_broken = true;
  end(l.shared_from_this(), {errc::peer_gone, "greeting " + name(l.peer) + " failed"});
}

/// Whether frames of the hello's sender may come.
result<void> engine::check(const hello& h) const {
  if (is_parting_) return error{errc::peer_gone, name(self_) + " has closed"};
  if (h.to != self_) return error{errc::peer_gone, name(h.to) + " does not listen here"};
  ATOLL_TRY(arrivals_.check_life(h.from));
  if (const auto known = book_->find(h.from.node);
      known.has_value() && known->self.life > h.from.life) {
    return error{errc::stale_epoch, name(h.from) + " is over"};
  }
  if (!options_.accepts(h.from, h.to, h.ticket)) {
    return error{errc::unauthorised, name(h.to) + " does not accept the ticket of " + name(h.from)};
  }
  return {};
}

void engine::on_hello(std::span<const std::byte> bytes, ucp_ep* reply_to) {
  auto parsed = parse_hello(bytes);
  const result<void> taken = parsed.has_value() ? check(*parsed) : parsed.error();
  if (taken.has_error()) {
    counts_.hellos_refused.fetch_add(1, std::memory_order_relaxed);
    if (!is_parting_ && refusals_.first(taken.error().message())) {
      log_warning("ucx: refused a peer: " + taken.error().message());
    }
    if (parsed.has_value() && reply_to != nullptr) {
      say(reply_to,
          message::refusal,
          encode(refusal{parsed->session, taken.error().code(), taken.error().message()}));
    }
    return;
  }
  arrivals_.admit(parsed->from, parsed->session);
  welcome(*parsed);
}

/// Opens the way back, on which this node can say goodbye and learns of the peer's end.
void engine::welcome(hello& h) {
  const std::lock_guard lock{mutex_};
  auto& slot = links_[h.from.node];
  std::shared_ptr<link> earlier;
  if (slot == nullptr || slot->is_lost || slot->peer.life < h.from.life) {
    earlier = std::exchange(slot, std::make_shared<link>(*this, h.from));
  }
  slot->admitted = h.session;
  auto back = std::make_unique<peer_address>();
  back->self = h.from;
  back->ucx = std::move(h.address);
  orders_.push_back({slot, std::move(back), std::move(earlier), false, {}});
}

void engine::on_refusal(std::span<const std::byte> bytes) {
  auto r = parse_refusal(bytes);
  if (r.has_error()) return;
  const auto l = link_of(r->session);
  if (l != nullptr) end(l, {r->code, "refused: " + r->reason});
}

void engine::on_goodbye(std::span<const std::byte> bytes) {
  const auto session = parse_goodbye(bytes);
  if (session.has_error()) return;
  const auto l = link_of(*session);
  if (l != nullptr) end(l, {errc::peer_gone, "the peer has closed"});
}

/// The link that a session runs over, whichever side opened it.
std::shared_ptr<link> engine::link_of(std::uint64_t session) const {
  const std::lock_guard lock{mutex_};
  for (const auto& [node, l] : links_) {
    if (session != 0 && (l->session == session || l->admitted == session)) return l;
  }
  return nullptr;
}

/// Refuses what comes for the link from now on; the rest follows outside of UCX's callbacks.
void engine::end(std::shared_ptr<link> l, error cause) {
  const std::lock_guard lock{mutex_};
  if (std::exchange(l->is_lost, true)) return;
  endings_.push_back({std::move(l), std::move(cause)});
}

bool engine::finish_endings() {
  const auto endings = std::exchange(endings_, {});
  for (const auto& [l, cause] : endings) {
    l->has_ended = true;
    arrivals_.end_session(l->admitted);
    {
      const std::lock_guard lock{mutex_};
      const auto slot = links_.find(l->peer.node);
      if (slot != links_.end() && slot->second == l) links_.erase(slot);
    }
    // Nobody hands out an endpoint to a lost link, so this is final.
    if (l->is_watched && !is_parting_) {
      if (const auto to = to_.lock()) to->on_peer_gone(l->peer, cause);
    }
    close(l);
  }
  return !endings.empty();
}

/// What is under way goes out first, unless the connection broke.
void engine::close(const std::shared_ptr<link>& l) {
  if (l->ep == nullptr) return;
  if (!l->is_broken) {
    say_goodbye(*l);
    const ucp_request_param_t param{};
    void* request = ucp_ep_flush_nbx(l->ep, &param);
    if (UCS_PTR_IS_PTR(request)) {
      closings_.push_back({request, l});
      return;
    }
  }
  force_close(l);
}

/// UCX also offers a close that waits for the peer's; a peer that is gone never answers.
void engine::force_close(const std::shared_ptr<link>& l) {
  ucp_request_param_t param{};
  param.op_attr_mask = UCP_OP_ATTR_FIELD_FLAGS;
  param.flags = UCP_EP_CLOSE_FLAG_FORCE;
  void* request = ucp_ep_close_nbx(std::exchange(l->ep, nullptr), &param);
  if (UCS_PTR_IS_PTR(request)) closings_.push_back({request, l});
}

bool engine::finish_closings() {
  std::vector<closing> done;
  for (auto& c : closings_) {
    if (ucp_request_check_status(c.request) != UCS_INPROGRESS) done.push_back(std::move(c));
  }
  std::erase_if(closings_, [](const closing& c) { return c.what == nullptr; });
  for (const auto& c : done) {
    ucp_request_free(c.request);
    if (c.what->ep != nullptr) force_close(c.what);  // what was awaited was its flush
  }
  return !done.empty();
}

void engine::send_frame(order o) {
  auto& l = *o.to;
  auto out = std::make_unique<outgoing>(outgoing{*this, std::move(o.to), std::move(o.f), {}, {}});
  if (l.is_lost || l.ep == nullptr) {
    counts_.lost.fetch_add(1, std::memory_order_relaxed);
    finish(*out);
    return;
  }
  frame& f = out->f;
  stamp(f, self_, l.peer.node, ++sequences_[l.peer.node]);
  const header_bytes header = seal_header(f);
  const bool fits = prefix_bytes + f.metadata.size() <= worker_->head_bytes_max();
  out->head.resize(prefix_bytes + (fits ? f.metadata.size() : 0));
  write_session(std::span{out->head}.first<session_bytes>(), l.session);
  std::copy(header.begin(), header.end(), out->head.begin() + session_bytes);
  if (fits) std::copy(f.metadata.begin(), f.metadata.end(), out->head.begin() + prefix_bytes);
  const auto payload = f.payload.bytes;
  const std::size_t bytes = payload.size() + (fits ? 0 : f.metadata.size());
  // UCX does not write to what it sends.
  void* data = const_cast<std::byte*>(payload.data());
  if (fits) {
    post(std::move(out), l.ep, message::frame, data, bytes, bytes, false);
    return;
  }
  out->parts = {ucp_dt_iov_t{f.metadata.data(), f.metadata.size()},
                ucp_dt_iov_t{data, payload.size()}};
  data = out->parts.data();
  post(std::move(out), l.ep, message::frame, data, payload.empty() ? 1 : 2, bytes, true);
}

bool engine::say(ucp_ep* ep, message what, std::vector<std::byte> bytes) {
  auto out = std::make_unique<outgoing>(outgoing{*this, nullptr, {}, {}, {}});
  out->f.metadata = std::move(bytes);
  auto& held = out->f.metadata;
  return post(std::move(out), ep, what, held.data(), held.size(), held.size(), false);
}

void engine::say_goodbye(link& l) {
  const std::uint64_t session = l.session != 0 ? l.session : l.admitted;
  if (l.ep == nullptr || l.is_broken || session == 0) return;
  if (!std::exchange(l.has_said_goodbye, true)) {
    say(l.ep, message::goodbye, encode_goodbye(session));
  }
}

/// `count` parts where `is_parted`, else bytes. False: it failed at once.
bool engine::post(std::unique_ptr<outgoing> out,
                  ucp_ep* ep,
                  message what,
                  void* data,
                  std::size_t count,
                  std::size_t bytes,
                  bool is_parted) {
  ucp_request_param_t param{};
  param.op_attr_mask = UCP_OP_ATTR_FIELD_CALLBACK | UCP_OP_ATTR_FIELD_USER_DATA |
                       UCP_OP_ATTR_FIELD_DATATYPE | UCP_OP_ATTR_FIELD_FLAGS;
  param.datatype = is_parted ? ucp_dt_make_iov() : ucp_dt_make_contig(1);
  const bool is_large = what == message::frame && bytes >= options_.rendezvous_bytes;
  param.flags = is_large ? UCP_AM_SEND_FLAG_RNDV : UCP_AM_SEND_FLAG_EAGER;
  if (what == message::hello) param.flags |= UCP_AM_SEND_FLAG_REPLY;
  param.user_data = out.get();
  param.cb.send = [](void* request, ucs_status_t status, void* user_data) {
    const std::unique_ptr<outgoing> done{static_cast<outgoing*>(user_data)};
    if (status != UCS_OK && done->to != nullptr) {
      done->home.counts_.lost.fetch_add(1, std::memory_order_relaxed);
    }
    --done->home.unfinished_;
    done->home.finish(*done);
    ucp_request_free(request);
  };
  const auto& head = out->head;
  void* request = ucp_am_send_nbx(
      ep, static_cast<unsigned>(what), head.data(), head.size(), data, count, &param);
  if (UCS_PTR_IS_PTR(request)) {
    ++unfinished_;
    static_cast<void>(out.release());  // the callback has it
    return true;
  }
  if (UCS_PTR_IS_ERR(request) && out->to != nullptr) {
    counts_.lost.fetch_add(1, std::memory_order_relaxed);
    out->to->is_broken = true;
    end(out->to, failure("sending to " + name(out->to->peer), UCS_PTR_STATUS(request)));
  }
  finish(*out);
  return !UCS_PTR_IS_ERR(request);
}

/// Makes room in the peer's queue.
void engine::finish(const outgoing& done) {
  if (done.to == nullptr) return;
  const std::lock_guard lock{mutex_};
  --done.to->queued_frames;
  done.to->queued_bytes -= done.f.metadata.size() + done.f.payload.bytes.size();
}

result<void> engine::register_handlers() {
  using callback = ucp_am_recv_callback_t;
  const auto set = [this](message what, callback cb) -> result<void> {
    ucp_am_handler_param_t param{};
    param.field_mask = UCP_AM_HANDLER_PARAM_FIELD_ID | UCP_AM_HANDLER_PARAM_FIELD_CB |
                       UCP_AM_HANDLER_PARAM_FIELD_ARG;
    param.id = static_cast<unsigned>(what);
    param.cb = cb;
    param.arg = this;
    const auto status = ucp_worker_set_am_recv_handler(worker_->get(), &param);
    if (status != UCS_OK) return failure("registering a handler", status);
    return {};
  };
  static constexpr auto rendezvous = UCP_AM_RECV_ATTR_FLAG_RNDV;
  ATOLL_TRY(
      set(message::frame,
          [](void* self,
             const void* head,
             std::size_t head_bytes,
             void* data,
             std::size_t bytes,
             const ucp_am_recv_param_t* param) {
            return static_cast<ucs_status_t>(static_cast<engine*>(self)->arrivals_.on_frame(
                as_span(head, head_bytes), data, bytes, (param->recv_attr & rendezvous) != 0));
          }));
  ATOLL_TRY(set(message::hello,
                [](void* self,
                   const void*,
                   std::size_t,
                   void* data,
                   std::size_t bytes,
                   const ucp_am_recv_param_t* param) {
                  if ((param->recv_attr & rendezvous) != 0) return UCS_OK;
                  const bool has_reply = (param->recv_attr & UCP_AM_RECV_ATTR_FIELD_REPLY_EP) != 0;
                  static_cast<engine*>(self)->on_hello(as_span(data, bytes),
                                                       has_reply ? param->reply_ep : nullptr);
                  return UCS_OK;
                }));
  ATOLL_TRY(set(message::refusal,
                [](void* self,
                   const void*,
                   std::size_t,
                   void* data,
                   std::size_t bytes,
                   const ucp_am_recv_param_t* param) {
                  if ((param->recv_attr & rendezvous) != 0) return UCS_OK;
                  static_cast<engine*>(self)->on_refusal(as_span(data, bytes));
                  return UCS_OK;
                }));
  return set(message::goodbye,
             [](void* self,
                const void*,
                std::size_t,
                void* data,
                std::size_t bytes,
                const ucp_am_recv_param_t* param) {
               if ((param->recv_attr & rendezvous) != 0) return UCS_OK;
               static_cast<engine*>(self)->on_goodbye(as_span(data, bytes));
               return UCS_OK;
             });
}

}  // namespace atl::transport::ucx
