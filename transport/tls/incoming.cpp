#include "transport/tls/incoming.hpp"

#include "transport/tls/sockets.hpp"

#include <array>
#include <cerrno>
#include <exception>
#include <sys/socket.h>
#include <utility>

namespace atl::transport::tls {

namespace {

using state = channel::state;

constexpr int parts_at_once = 256;  // then other connections have their turn
constexpr auto linger_time = std::chrono::seconds{1};

}  // namespace

incoming::incoming(hub& of, int socket, std::uint64_t id)
    : hub_{of},
      id_{id},
      socket_{of.io(), socket},
      channel_{of.credentials(), socket, channel::end::server, std::nullopt},
      deadline_{of.io()},
      address_{peer_address_of(socket)} {}

void incoming::start() {
  deadline_.after(hub_.limits().greeting_time,
                  [self = shared_from_this()] { self->on_deadline(); });
  on_event();
}

/// What an event throws (out of memory) costs this connection only.
void incoming::on_event() {
  const auto self = shared_from_this();
  try {
    advance();
  } catch (const std::exception& e) {
    hub_.note(address_, std::string{"a connection failed: "} + e.what());
    close();
  }
}

void incoming::advance() {
  if (phase_ == phase::closed) return;
  if (phase_ == phase::lingering && !drain()) return;
  if (phase_ == phase::handshake && !handshake()) return;
  for (int i = 0; i < parts_at_once; ++i) {
    const auto had = channel_.read(wanted_);
    switch (had.what) {
    case state::done:
      wanted_ = wanted_.subspan(had.count);
      if (wanted_.empty() && !take_part()) return;
      continue;
    case state::wants_read: return read_on();
    case state::wants_write:
      return socket_.wait_writable([self = shared_from_this()] { self->on_event(); });
    case state::ended: return close();
    case state::failed: break;
    }
    // In TLS 1.3 a client hears of a refused certificate, and says so, after its handshake.
    if (phase_ == phase::greeting) {
      refuse(channel_.failure());
    } else {
      close();
    }
    return;
  }
  hub_.io().post([self = shared_from_this()] { self->on_event(); });
}

void incoming::read_on() {
  socket_.wait_readable([self = shared_from_this()] { self->on_event(); });
}

bool incoming::handshake() {
  switch (channel_.handshake().what) {
  case state::done: want(phase::greeting, greeting_); return true;
  case state::wants_read: read_on(); return false;
  case state::wants_write:
    socket_.wait_writable([self = shared_from_this()] { self->on_event(); });
    return false;
  default: return refuse(channel_.failure());
  }
}

void incoming::want(phase next, std::span<std::byte> into) {
  phase_ = next;
  wanted_ = into;
}

/// A part is there whole. False where reading stops.
bool incoming::take_part() {
  switch (phase_) {
  case phase::greeting: return take_greeting();
  case phase::header: return take_header();
  case phase::metadata: return take_metadata();
  case phase::payload: return take_frame();
  default: return false;
  }
}

bool incoming::take_greeting() {
  const auto parsed = parse_greeting(greeting_);
  if (parsed.has_error()) return refuse(parsed.error().message());
  const auto context = hub_.credentials();
  greeting answer{.from = hub_.self(), .to = parsed->from};
  answer.unix_s = context->rules().now_unix_s();
  const std::string who = "node " + std::to_string(parsed->from.node.value);
  const auto clocks = check_clocks(answer.unix_s, who, parsed->unix_s);
  std::string why = who + " greets a node or life that is not here, or for another";
  if (parsed->version != protocol_version) {
    answer.answer = greeting_answer::wrong_version;
    why = who + " speaks version " + std::to_string(parsed->version) + " of the protocol";
  } else if (channel_.peer().node != parsed->from.node || parsed->to.node != hub_.self().node) {
    answer.answer = greeting_answer::wrong_node;
  } else if (clocks.has_error()) {
    answer.answer = greeting_answer::wrong_clock;
    why = clocks.error().message();
  } else if (parsed->to.life != incarnation{} && parsed->to.life != hub_.self().life) {
    answer.answer = greeting_answer::other_life;
  } else {
    answer.answer = hub_.admit(*this, parsed->from);
    why = answer.answer == greeting_answer::stale_life
              ? who + " comes in a life that is over: a later one is known"
              : "there are too many connections";
  }
  const greeting_bytes bytes = encode(answer);
  const bool is_written = channel_.write(bytes).what == state::done;
  if (answer.answer != greeting_answer::welcome) return refuse(why);
  if (!is_written) return refuse("the greeting could not be answered");
  peer_ = parsed->from;
  deadline_.cancel();
  want(phase::header, header_);
  return true;
}

result<void> incoming::check_source(const frame_header& header) const {
  const auto refuse = [](const char* why) { return error{errc::malformed_frame, why}; };
  if (header.metadata_bytes > hub_.limits().metadata_bytes_max ||
      header.payload_bytes > hub_.limits().payload_bytes_max) {
    return refuse("a frame is larger than this node takes");
  }
  if (header.source.node != peer_->node) return refuse("a frame's source is not its sender");
  if (header.sender != peer_->life) return refuse("a frame is of another life than its sender's");
  if (header.destination.node != hub_.self().node) return refuse("a frame is for another node");
  if (header.sequence <= last_sequence_) return refuse("a frame's sequence number has been used");
  return {};
}

bool incoming::take_header() {
  const auto parsed = parse_header(header_);
  if (parsed.has_error()) return break_off(parsed.error());
  if (const auto checked = check_source(*parsed); checked.has_error()) {
    return break_off(checked.error());
  }
  last_sequence_ = parsed->sequence;
  frame_ = {};
  frame_.header = *parsed;
  payload_ = {};
  frame_.metadata.resize(parsed->metadata_bytes);
  want(phase::metadata, frame_.metadata);
  return wanted_.empty() ? take_metadata() : true;
}

bool incoming::take_metadata() {
  if (const auto checked = check_metadata(frame_.header, frame_.metadata); checked.has_error()) {
    return break_off(checked.error());
  }
  if (frame_.header.payload_bytes > 0) {
    const auto buffer = hub_.buffers().take(frame_.header.payload_bytes);
    payload_ = {buffer->as<std::byte>(), static_cast<std::size_t>(frame_.header.payload_bytes)};
    frame_.payload = {buffer, payload_};
  }
  want(phase::payload, payload_);
  return wanted_.empty() ? take_frame() : true;
}

bool incoming::take_frame() {
  if (const auto checked = check_payload(frame_.header, payload_); checked.has_error()) {
    return break_off(checked.error());
  }
  const std::size_t bytes = frame_header_bytes + frame_.metadata.size() + payload_.size();
  want(phase::header, header_);
  const bool is_taken = hub_.deliver(std::exchange(frame_, {}));
  hub_.count([bytes](tls_counters& c) {
    ++c.frames_received;
    c.bytes_received += bytes;
  });
  if (is_taken) return true;
  close();
  return false;
}

/// The peer has not proved itself; what was said to it must still reach it.
bool incoming::refuse(const std::string& why) {
  hub_.note(address_, why);
  hub_.count([](tls_counters& c) { ++c.refused; });
  linger();
  return false;
}

bool incoming::break_off(const error& why) {
  hub_.note(address_, why.message());
  hub_.count([](tls_counters& c) { ++c.malformed; });
  close();
  return false;
}

/// Closed with unread bytes, a connection is reset, and the peer might never read the answer.
void incoming::linger() {
  phase_ = phase::lingering;
  channel_.end_writing();
  deadline_.after(linger_time, [self = shared_from_this()] { self->close(); });
  drain();
}

/// Reads and forgets. False: as far as it goes.
bool incoming::drain() {
  std::array<std::byte, 4096> ignored{};
  for (int i = 0; i < parts_at_once; ++i) {
    const ssize_t count = ::recv(socket_.handle(), ignored.data(), ignored.size(), 0);
    if (count > 0) continue;
    if (count == 0 || (errno != EAGAIN && errno != EINTR)) {
      close();
      return false;
    }
    break;
  }
  read_on();
  return false;
}

void incoming::on_deadline() {
  hub_.count([](tls_counters& c) { ++c.timed_out; });
  hub_.note(address_, "a connection did not say in time who it is");
  close();
}

void incoming::close() {
  if (std::exchange(phase_, phase::closed) == phase::closed) return;
  const auto self = shared_from_this();
  deadline_.cancel();
  socket_.close();
  hub_.left(*this);
}

}  // namespace atl::transport::tls
