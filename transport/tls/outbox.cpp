#include "transport/tls/outbox.hpp"

#include <utility>

namespace atl::transport::tls {

namespace {

std::size_t bytes_of(const frame& f) {
  return frame_header_bytes + f.metadata.size() + f.payload.bytes.size();
}

}  // namespace

outbox::outbox(node_identity from,
               node_identity to,
               const tls_limits& limits,
               std::shared_ptr<sequence_counter> sequence,
               std::function<void(const outbox*)> wake)
    : from_{from},
      bytes_max_{limits.queued_bytes_max},
      frames_max_{limits.queued_frames_max},
      sequence_{std::move(sequence)},
      to_{to},
      wake_{std::move(wake)} {}

node_identity outbox::peer() const noexcept {
  const std::lock_guard lock{mutex_};
  return to_;
}

void outbox::meet(incarnation life) {
  const std::lock_guard lock{mutex_};
  to_.life = life;
}

result<void> outbox::put(frame f) {
  if (f.metadata.size() > metadata_bytes_max || f.payload.bytes.size() > payload_bytes_max) {
    return error{errc::invalid_argument, "the frame is larger than the protocol allows"};
  }
  const std::size_t bytes = bytes_of(f);
  const std::lock_guard lock{mutex_};
  if (closed_) return *closed_;
  const bool is_full = frames_ >= frames_max_ || (frames_ > 0 && bytes_ + bytes > bytes_max_);
  if (is_full) {
    ++overloaded_;
    return error{errc::overloaded,
                 "the queue to node " + std::to_string(to_.node.value) + " is full"};
  }
  stamp(f, from_, to_.node, sequence_->next());
  waiting_.push_back(std::move(f));
  bytes_ += bytes;
  ++frames_;
  if (!std::exchange(is_woken_, true)) wake_(this);
  return {};
}

void outbox::close(const error& cause) {
  const std::lock_guard lock{mutex_};
  if (!closed_) closed_ = cause;
}

bool outbox::is_closed() const {
  const std::lock_guard lock{mutex_};
  return closed_.has_value();
}

std::size_t outbox::frames() const {
  const std::lock_guard lock{mutex_};
  return closed_ ? 0 : frames_;
}

std::uint64_t outbox::overloaded() const {
  const std::lock_guard lock{mutex_};
  return overloaded_;
}

std::deque<frame> outbox::take() {
  const std::lock_guard lock{mutex_};
  is_woken_ = false;
  return std::exchange(waiting_, {});
}

void outbox::release(const frame& f) {
  const std::lock_guard lock{mutex_};
  bytes_ -= bytes_of(f);
  --frames_;
}

}  // namespace atl::transport::tls
