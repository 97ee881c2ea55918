#include "apps/http/connection.hpp"

#include "apps/http/reply_head.hpp"
#include "apps/http/request_reader.hpp"
#include "runtime/base/log.hpp"

#include <boost/asio/post.hpp>

#include <algorithm>
#include <exception>
#include <poll.h>

namespace atl::http {
namespace {

using namespace std::chrono_literals;
using error_code = boost::system::error_code;

constexpr std::size_t read_ahead_max = 64 * 1024;  // of later requests, while one is answered
constexpr int reads_at_once = 4;  // of core.scratch's size; then others have their turn
constexpr auto linger_time = 2s;
constexpr auto stuffed_check_time = 100ms;

/// "127.0.0.1:51234", "[::1]:51234"; empty where the client is gone already.
std::string name_of(const connection::socket& client) {
  error_code gone;
  const auto peer = client.remote_endpoint(gone);
  if (gone) return {};
  auto address = peer.address();
  if (address.is_v6() && address.to_v6().is_v4_mapped()) {
    address = boost::asio::ip::make_address_v4(boost::asio::ip::v4_mapped, address.to_v6());
  }
  const std::string host = address.is_v6() ? "[" + address.to_string() + "]" : address.to_string();
  return host + ":" + std::to_string(peer.port());
}

/// A client's own request id is taken where it can stand in a log line as it
/// is.
bool is_plain_id(std::string_view id) noexcept {
  return !id.empty() && id.size() <= 128 && std::ranges::all_of(id, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '_' || c == '.';
  });
}

}  // namespace

connection::connection(core& shared, socket client, std::string listener, ssl_ctx_st* tls)
    : core_{shared},
      socket_{std::move(client)},
      channel_{socket_.native_handle(), tls},
      listener_{std::move(listener)},
      peer_{name_of(socket_)} {}

connection::~connection() = default;

void connection::call(const std::function<void()>& function) {
  if (!function) return;
  try {
    function();
  } catch (const std::exception& e) {
    log_error(std::string{"http: a callback failed: "} + e.what());
  }
}

/// A step in reply to an event; what it throws (out of memory) costs this
/// connection only.
void connection::guarded(void (connection::*step)()) {
  if (phase_ == phase::gone) return;
  try {
    (this->*step)();
  } catch (const std::exception& e) {
    log_error(std::string{"http: a connection failed: "} + e.what());
    reset();
  }
}

// ---------------------------------------------------------------- events

void connection::start() {
  allow(core_.options.limits.head_time);
  phase_ = channel_.is_tls() ? phase::handshake : phase::head;
  wait_readable();
}

void connection::turn_away() {
  if (channel_.is_tls()) return close();  // a handshake is what there is no room for
  refuse_with(error_response(503, "too many connections"), true);
}

void connection::allow(std::chrono::nanoseconds time) {
  core_.deadlines.set(*this, core_.time.now() + time);
}

void connection::wait_readable() {
  if (waits_readable_ || phase_ == phase::gone) return;
  waits_readable_ = true;
  socket_.async_wait(socket::wait_read, [self = shared_from_this()](const error_code& cancelled) {
    self->waits_readable_ = false;
    if (!cancelled) self->guarded(&connection::on_readable);
  });
}

void connection::wait_writable() {
  if (waits_writable_ || phase_ == phase::gone) return;
  waits_writable_ = true;
  socket_.async_wait(socket::wait_write, [self = shared_from_this()](const error_code& cancelled) {
    self->waits_writable_ = false;
    if (!cancelled) self->guarded(&connection::on_writable);
  });
}

/// Bytes may wait in the TLS layer, so reading goes on without a look at the
/// socket.
void connection::read_on() {
  if (waits_readable_ || phase_ == phase::gone) return;
  waits_readable_ = true;
  boost::asio::post(core_.io, [self = shared_from_this()] {
    self->waits_readable_ = false;
    self->guarded(&connection::on_readable);
  });
}

void connection::on_readable() {
  if (phase_ == phase::handshake && !handshake()) return;
  for (int i = 0; i < reads_at_once; ++i) {
    if (!may_read()) return watch_stuffed();
    const auto had = channel_.read(core_.scratch);
    if (!on_read(had)) return;
    if (!channel_.is_tls() && had.count < core_.scratch.size()) return wait_readable();
  }
  read_on();
}

/// False where reading stops here; what to wait for is arranged.
bool connection::on_read(const channel::outcome& had) {
  using enum channel::state;
  switch (had.what) {
  case done:
    core_.count([&](server_counters& c) { c.bytes_received += had.count; });
    on_bytes({core_.scratch.data(), had.count});
    if (write_wants_read_) send();
    return phase_ != phase::gone;
  case wants_read: wait_readable(); return false;
  case wants_write:
    read_wants_write_ = true;
    wait_writable();
    return false;
  case ended: on_end(); return false;
  case failed: break;
  }
  close();
  return false;
}

void connection::on_writable() {
  if (phase_ == phase::handshake) return on_readable();
  send();
  if (std::exchange(read_wants_write_, false)) read_on();
}

bool connection::handshake() {
  using enum channel::state;
  switch (channel_.handshake().what) {
  case done: phase_ = phase::head; return true;
  case wants_read: wait_readable(); return false;
  case wants_write: wait_writable(); return false;
  default: close(); return false;
  }
}

bool connection::may_read() const {
  if (phase_ == phase::gone || has_ended_) return false;
  return discards_ || phase_ != phase::answering || in_.size() < read_ahead_max;
}

/// So much has been read ahead that reading has stopped: the client's end is
/// looked for now and then instead.
void connection::watch_stuffed() {
  if (phase_ != phase::answering || has_ended_) return;
  if (!deadline) allow(stuffed_check_time);
}

void connection::on_bytes(std::string_view bytes) {
  if (discards_ || phase_ == phase::lingering) return;
  in_.append(bytes);
  advance();
}

/// The client has sent all it will: it has left, but may yet read an answer
/// that comes whole.
void connection::on_end() {
  has_ended_ = true;
  if (phase_ != phase::answering || out_.is_streaming()) return close();
  leave();
}

void connection::leave() {
  if (!answer_ || std::exchange(has_left_, true)) return;
  core_.count([](server_counters& c) { ++c.disconnected; });
  if (!out_.is_finished()) call(answer_->leave());
}

void connection::on_deadline() {
  const auto self = shared_from_this();
  guarded(&connection::on_late);
}

void connection::on_late() {
  const auto timed_out = [&] { core_.count([](server_counters& c) { ++c.timed_out; }); };
  switch (phase_) {
  case phase::head:
    if (in_.empty()) {
      if (is_first_) timed_out();
      return close();
    }
    timed_out();
    return refuse_with(error_response(408, "the head of the request took too long"), true);
  case phase::body:
    timed_out();
    return refuse_with(error_response(408, "the body of the request came too slowly"), true);
  case phase::answering: {
    if (is_blocked_ && core_.time.now() >= progress_by_) {
      timed_out();
      return reset();
    }
    pollfd look{socket_.native_handle(), POLLRDHUP, 0};
    if (!may_read() && ::poll(&look, 1, 0) > 0 && look.revents != 0) on_end();
    if (phase_ != phase::answering || has_ended_) return;
    const auto next = core_.time.now() + stuffed_check_time;
    if (!may_read()) {
      core_.deadlines.set(*this, is_blocked_ ? std::min(next, progress_by_) : next);
    } else if (is_blocked_) {
      core_.deadlines.set(*this, progress_by_);
    }
    return;
  }
  default: close();
  }
}

// ---------------------------------------------------------------- requests

/// Goes as far as the bytes at hand allow. Answers given on the way come back
/// to this loop, so that a row of pipelined requests takes no deeper stack than
/// one.
void connection::advance() {
  if (is_advancing_) return;
  is_advancing_ = true;
  while ((phase_ == phase::head && read_head()) || (phase_ == phase::body && read_body())) {
  }
  is_advancing_ = false;
}

/// True where a head was read, accepted or not.
bool connection::read_head() {
  if (in_.empty()) return false;
  if (!is_first_ && !std::exchange(has_head_time_, true)) allow(core_.options.limits.head_time);
  if (search_.seen == 0 && !has_skipped_line_) {  // RFC 9112 (2.2): one empty line before a request
    if (in_ == "\r") return false;
    has_skipped_line_ = true;
    if (in_.starts_with("\r\n")) in_.erase(0, 2);
  }
  search_head_end(in_, core_.heads, search_);
  if (search_.refused) {
    refuse(*search_.refused);
    return true;
  }
  if (!search_.size) return false;
  const std::string head = in_.substr(0, *search_.size);
  in_.erase(0, *search_.size);
  take_head(head);
  return true;
}

void connection::take_head(std::string_view head) {
  auto judged = check_head_rules(head, core_.heads);
  is_head_request_ = head.starts_with("HEAD ");
  if (const auto* why = std::get_if<refusal>(&judged)) return refuse(*why);
  const auto& facts = std::get<head_facts>(judged);
  is_version_0_ = facts.version_minor == 0;
  keeps_alive_ = facts.keeps_alive;
  request_ = http::read_head(head, facts);
  if (!request_) return refuse({400, "the head of the request is not valid"});
  if (is_head_request_) request_->method = "GET";
  const std::string_view id = request_->header_value("x-request-id");
  request_id_ = is_plain_id(id) ? std::string{id} : core_.fresh_request_id();
  request_->id = request_id_;
  request_->peer = peer_;
  request_->listener = listener_;
  const auto& limits = core_.options.limits;
  if (facts.content_length.value_or(0) > limits.body_bytes_max) {
    return refuse({413, "the body is too large"});
  }
  if (core_.options.check_head) {
    if (auto refused = core_.options.check_head(*request_)) {
      return refuse_with(std::move(*refused), facts.has_body());
    }
  }
  body_.emplace(facts, limits.body_bytes_max);
  body_start_ = core_.time.now();
  phase_ = phase::body;
  allow(limits.body_time_min);
  if (facts.expects_continue && facts.has_body() && in_.empty()) {
    out_.add_continue();
    send();
  }
}

/// True where the body is complete, or refused.
bool connection::read_body() {
  const auto& limits = core_.options.limits;
  const std::size_t taken = body_->put(in_);
  in_.erase(0, taken);
  body_received_ += taken;
  core_.bodies_bytes += body_->body().size() - body_counted_;
  body_counted_ = body_->body().size();
  if (body_->refused()) {
    refuse(*body_->refused());
    return true;
  }
  if (body_->is_complete()) {
    request_->body = body_->take();
    dispatch();
    return true;
  }
  if (core_.bodies_bytes > limits.bodies_bytes_max) {
    refuse_with(error_response(503, "too many large requests at once"), true);
    return true;
  }
  core_.deadlines.set(*this,
                      body_start_ + limits.body_time_min +
                          std::chrono::seconds{body_received_ / limits.body_rate_min});
  return false;
}

void connection::forget_request() {
  core_.bodies_bytes -= std::exchange(body_counted_, 0);
  body_received_ = 0;
  request_.reset();
  body_.reset();
  search_ = {};
  deadline.reset();
}

void connection::dispatch() {
  request ready = std::move(*request_);
  forget_request();
  phase_ = phase::answering;
  core_.count([](server_counters& c) { ++c.requests; });
  answer_ = std::make_shared<answer>(core_.ready, core_.options.limits.stream_buffer_max);
  answer_->owner = this;
  has_left_ = false;
  if (has_ended_) leave();
  try {
    core_.options.handle(std::move(ready), make_exchange(answer_));
  } catch (const std::exception& e) {
    log_error("http: request " + request_id_ + ": the handler failed: " + e.what());
  }
}

void connection::await_request() {
  phase_ = phase::head;
  is_first_ = false;
  has_head_time_ = has_skipped_line_ = false;
  out_.next();
  is_head_request_ = is_version_0_ = false;
  keeps_alive_ = true;
  request_id_.clear();
  if (in_.empty()) {
    std::string{}.swap(in_);
    out_.shrink();
    if (core_.is_draining || has_ended_) return drain();
    allow(core_.options.limits.idle_time);
  }
  advance();
  if (may_read()) return read_on();
  if (has_ended_ && phase_ == phase::head) close();  // in the middle of a request
}

// ---------------------------------------------------------------- answers

void connection::refuse(const refusal& why) {
  core_.count([](server_counters& c) { ++c.refused_malformed; });
  refuse_with(error_response(why.status, why.message), true);
}

/// Answers without a handler.
void connection::refuse_with(response whole, bool closes) {
  forget_request();
  phase_ = phase::answering;
  if (closes) {
    keeps_alive_ = false;
    discards_ = true;
    std::string{}.swap(in_);
  }
  begin_answer(whole, true);
  send();
}

void connection::begin_answer(const response& head, bool is_whole) {
  const bool ends_with_connection = !is_whole && is_version_0_;
  if (core_.is_draining || ends_with_connection || (has_ended_ && in_.empty())) {
    keeps_alive_ = false;
  }
  if (request_id_.empty()) request_id_ = core_.fresh_request_id();
  out_.begin(head, is_whole, {is_version_0_, is_head_request_, keeps_alive_, request_id_});
}

void connection::on_answer() {
  const auto self = shared_from_this();
  guarded(&connection::take_answer);
}

void connection::take_answer() {
  auto news = answer_->take();
  call(news.callback);
  if (phase_ == phase::gone) return;
  if (news.has_overflowed) {
    if (!std::exchange(has_left_, true)) {
      core_.count([](server_counters& c) { ++c.disconnected; });
    }
    return reset();
  }
  const bool is_new_stream = news.head && !news.is_whole;
  if (has_ended_ && (is_new_stream || news.is_dropped || news.is_aborted)) return close();
  if (news.head) begin_answer(*news.head, news.is_whole);
  if (is_new_stream && is_head_request_) {
    // Who writes events would go on for as long as the client stays.
    out_.finish();
    call(answer_->leave());
    if (phase_ == phase::gone) return;
  }
  out_.add(news.pieces);
  if (news.is_dropped && !out_.is_begun()) {
    keeps_alive_ = false;
    begin_answer(error_response(500, "the request could not be completed"), true);
  } else if (news.is_dropped || news.is_aborted) {
    has_left_ = true;  // whoever ends the answer needs not be told
    send();
    return out_.is_chunked() ? close() : reset();
  }
  if (news.is_finished) out_.finish();
  if (out_.is_finished()) answer_->retire();
  send();
}

/// Sends what waits, as far as the socket takes it.
void connection::send() {
  if (waits_writable_) return note_unsent();
  const auto had = out_.send(channel_);
  core_.count([&](server_counters& c) { c.bytes_sent += had.count; });
  if (had.count > 0) progress_by_ = core_.time.now() + core_.options.limits.write_time;
  write_wants_read_ = had.what == channel::state::wants_read;
  if (had.what == channel::state::wants_write) wait_writable();
  if (had.what == channel::state::failed || had.what == channel::state::ended) return close();
  if (phase_ != phase::answering) return;
  note_unsent();
  if (out_.unsent() == 0 && out_.is_finished()) answered();
}

/// The time without progress runs while bytes wait.
void connection::note_unsent() {
  if (phase_ != phase::answering) return;
  if (answer_) answer_->set_unsent(out_.unsent());
  const bool was_blocked = std::exchange(is_blocked_, out_.unsent() > 0);
  if (is_blocked_) {
    if (!was_blocked) progress_by_ = core_.time.now() + core_.options.limits.write_time;
    if (!deadline || may_read()) core_.deadlines.set(*this, progress_by_);
  } else if (may_read()) {
    deadline.reset();
  }
}

void connection::answered() {
  is_blocked_ = false;
  detach();
  if (!keeps_alive_) return linger();
  await_request();
}

void connection::detach() {
  if (!answer_) return;
  answer_->owner = nullptr;
  answer_->retire();
  answer_.reset();
}

// ---------------------------------------------------------------- ends

void connection::drain() {
  if (phase_ != phase::head || !in_.empty()) return;
  channel_.end_writing();
  close();
}

void connection::linger() {
  if (has_ended_) return close();
  phase_ = phase::lingering;
  discards_ = true;
  std::string{}.swap(in_);
  channel_.end_writing();
  allow(linger_time);
  read_on();
}

void connection::reset() {
  error_code ignored;
  socket_.set_option(boost::asio::socket_base::linger{true, 0}, ignored);
  close();
}

void connection::close() {
  if (phase_ == phase::gone) return;
  const auto self = shared_from_this();
  phase_ = phase::gone;
  leave();
  detach();
  forget_request();
  core_.deadlines.forget(*this);
  error_code ignored;
  socket_.close(ignored);
  core_.count([](server_counters& c) { --c.connections; });
  core_.connections.erase(this);
}

}  // namespace atl::http
