#include "transport/tls/outgoing.hpp"

#include "transport/tls/sockets.hpp"

#include <algorithm>
#include <exception>
#include <stdexcept>
#include <utility>

namespace atl::transport::tls {

namespace {

using state = channel::state;

/// One TLS record. Frames are gathered up to this size, so that small ones share a system call.
constexpr std::size_t record_bytes = 16'384;
constexpr std::size_t bytes_at_once = std::size_t{4} << 20;  // then others have their turn

}  // namespace

outgoing::outgoing(hub& of, std::shared_ptr<outbox> from, int socket, std::string address)
    : hub_{of},
      outbox_{std::move(from)},
      socket_{of.io(), socket},
      channel_{of.credentials(), socket, channel::end::client, outbox_->peer().node},
      deadline_{of.io()},
      address_{std::move(address)} {}

void outgoing::start() {
  deadline_.after(hub_.limits().greeting_time, [self = shared_from_this()] {
    self->fail("it did not answer in " + std::to_string(self->hub_.limits().greeting_time.count()) +
               " ms");
  });
  wait_writable();
}

void outgoing::wait_readable() {
  socket_.wait_readable([self = shared_from_this()] { self->on_event(); });
}

void outgoing::wait_writable() {
  is_blocked_ = true;
  socket_.wait_writable([self = shared_from_this()] {
    self->is_blocked_ = false;
    self->on_event();
  });
}

void outgoing::on_event() { guarded(&outgoing::advance); }

/// What a step throws (out of memory) costs this connection only.
void outgoing::guarded(void (outgoing::*step)()) {
  const auto self = shared_from_this();
  try {
    (this->*step)();
  } catch (const std::exception& e) {
    lose({errc::peer_gone, e.what()});
  }
}

void outgoing::wake() {
  if (phase_ == phase::open && !is_blocked_) guarded(&outgoing::write_on);
}

void outgoing::advance() {
  if (phase_ == phase::connecting) connected();
  if (phase_ == phase::handshake) shake_hands();
  if (phase_ == phase::greeting) read_answer();
  if (phase_ == phase::open) watch_peer();
  if (phase_ == phase::open) write_on();
}

void outgoing::connected() {
  if (const std::string why = connect_failure(socket_.handle()); !why.empty()) return fail(why);
  phase_ = phase::handshake;
}

void outgoing::shake_hands() {
  switch (channel_.handshake().what) {
  case state::done: return greet();
  case state::wants_read: return wait_readable();
  case state::wants_write: return wait_writable();
  default: fail(channel_.failure());
  }
}

void outgoing::greet() {
  greeting mine{.from = hub_.self(), .to = outbox_->peer()};
  mine.unix_s = hub_.credentials()->rules().now_unix_s();
  const greeting_bytes bytes = encode(mine);
  if (channel_.write(bytes).what != state::done) return fail(channel_.failure());
  phase_ = phase::greeting;
  wanted_ = greeting_;
}

void outgoing::read_answer() {
  while (!wanted_.empty()) {
    const auto had = channel_.read(wanted_);
    switch (had.what) {
    case state::done: wanted_ = wanted_.subspan(had.count); break;
    case state::wants_read: return wait_readable();
    case state::wants_write: return wait_writable();
    default: return fail(channel_.failure());
    }
  }
  take_answer();
}

void outgoing::take_answer() {
  const auto parsed = parse_greeting(greeting_);
  if (parsed.has_error()) return fail(parsed.error().message());
  if (parsed->answer == greeting_answer::wrong_clock) {
    const std::string who = "node " + std::to_string(parsed->from.node.value);
    const auto clocks = check_clocks(hub_.credentials()->rules().now_unix_s(), who, parsed->unix_s);
    return fail(clocks.has_error() ? clocks.error().message() : describe(*parsed));
  }
  if (parsed->answer != greeting_answer::welcome)
    return fail(describe(*parsed),
                parsed->answer == greeting_answer::stale_life ? errc::stale_epoch
                                                              : errc::peer_gone);
  const node_identity meant = outbox_->peer();
  const bool is_meant = meant.life == incarnation{} || meant.life == parsed->from.life;
  if (parsed->from.node != meant.node || !is_meant || parsed->version != protocol_version) {
    return fail("it answers for another node, life or version");
  }
  deadline_.cancel();
  phase_ = phase::open;
  hub_.welcomed(*this, parsed->from.life);
}

/// The peer never speaks again on this connection; what is seen here is its end.
void outgoing::watch_peer() {
  std::byte unexpected{};
  switch (channel_.read({&unexpected, 1}).what) {
  case state::wants_read: return wait_readable();
  case state::wants_write: return wait_writable();
  case state::done: return fail("it speaks out of turn");
  default: fail(channel_.failure());
  }
}

std::span<const std::byte> outgoing::next_bytes() const {
  if (staged_at_ < staged_.size()) return std::span{staged_}.subspan(staged_at_);
  return direct_;
}

void outgoing::took(std::size_t count) {
  if (staged_at_ < staged_.size()) {
    staged_at_ += count;
    return;
  }
  direct_ = direct_.subspan(count);
  if (!direct_.empty()) return;
  outbox_->release(frames_.front());
  frames_.pop_front();
}

void outgoing::write_on() {
  std::size_t written = 0;
  for (;;) {
    if (next_bytes().empty() && !gather()) break;
    const auto had = channel_.write(next_bytes());
    if (had.what == state::wants_write) return wait_writable();
    if (had.what == state::wants_read) return wait_readable();
    if (had.what != state::done) return fail(channel_.failure());
    took(had.count);
    hub_.count([&](tls_counters& c) { c.bytes_sent += had.count; });
    written += had.count;
    if (written >= bytes_at_once) {
      return hub_.io().post([self = shared_from_this()] { self->on_event(); });
    }
  }
  if (!is_finishing_) return;
  channel_.end_writing();
  end(nullptr);
}

/// Lays out the next record. False: nothing waits.
bool outgoing::gather() {
  staged_.clear();
  staged_at_ = 0;
  while (staged_.size() < record_bytes && direct_.empty()) {
    if (frames_.empty()) frames_ = outbox_->take();
    if (frames_.empty()) break;
    frame& f = frames_.front();
    const auto head = seal(f);
    if (head.has_error()) throw std::runtime_error{head.error().message()};
    const auto payload = f.payload.bytes;
    staged_.insert(staged_.end(), head->begin(), head->end());
    staged_.insert(staged_.end(), f.metadata.begin(), f.metadata.end());
    const std::size_t room = record_bytes - std::min(record_bytes, staged_.size());
    const auto near = payload.first(std::min(room, payload.size()));
    staged_.insert(staged_.end(), near.begin(), near.end());
    direct_ = payload.subspan(near.size());
    hub_.count([](tls_counters& c) { ++c.frames_sent; });  // before it counts as queued no more
    if (!direct_.empty()) break;
    outbox_->release(f);
    frames_.pop_front();
  }
  return !staged_.empty();
}

void outgoing::finish(std::chrono::milliseconds within) {
  is_finishing_ = true;
  deadline_.after(within, [self = shared_from_this()] { self->end(nullptr); });
  on_event();
}

void outgoing::fail(const std::string& why, errc code) {
  if (channel_.is_refused_as_revoked()) hub_.refused_as_revoked();
  const node_identity peer = outbox_->peer();
  lose({code, "node " + std::to_string(peer.node.value) + " at " + address_ + ": " + why});
}

void outgoing::lose(const error& cause) { end(&cause); }

void outgoing::end(const error* cause) {
  if (std::exchange(phase_, phase::closed) == phase::closed) return;
  const auto self = shared_from_this();
  outbox_->close(cause != nullptr ? *cause : error{errc::peer_gone, "this node has closed"});
  deadline_.cancel();
  socket_.close();
  outbox_->take();
  frames_.clear();
  direct_ = {};
  staged_.clear();
  hub_.left(*this, cause);
}

}  // namespace atl::transport::tls
