#include "cluster/chronicle.hpp"

#include <algorithm>

namespace atl::cluster {

namespace {

// A block is written ahead when half of it is used, so that a full disk does not stop the next
// placement at once.
constexpr std::uint64_t block = 4096;
constexpr std::size_t events_kept = 1024;

}  // namespace

chronicle::chronicle(durable_state restored, std::function<std::int64_t()> calendar)
    : kept_{std::move(restored)},
      epoch_used_{kept_.counters.epochs_reserved},
      version_{kept_.counters.versions_reserved},
      revision_{kept_.counters.revisions_reserved},
      calendar_{std::move(calendar)} {}

void chronicle::record(std::string bytes, bool is_needed) {
  effects_.emplace_back(record_effect{std::move(bytes), is_needed});
}

void chronicle::reserve() {
  marks& m = kept_.counters;
  const bool is_past = epoch_used_ > m.epochs_reserved || version_ > m.versions_reserved ||
                       revision_ > m.revisions_reserved;
  const auto is_low = [](std::uint64_t used, std::uint64_t reserved) {
    return used + block / 2 > reserved;
  };
  if (!is_low(epoch_used_, m.epochs_reserved) && !is_low(version_, m.versions_reserved) &&
      !is_low(revision_, m.revisions_reserved))
    return;
  m.epochs_reserved = std::max(m.epochs_reserved, epoch_used_ + block);
  m.versions_reserved = std::max(m.versions_reserved, version_ + block);
  m.revisions_reserved = std::max(m.revisions_reserved, revision_ + block);
  record(to_record(m), is_past);
}

epoch chronicle::next_epoch() {
  ++epoch_used_;
  reserve();
  return epoch{epoch_used_};
}

void chronicle::tell(const std::string& kind, node_id node, const std::string& text) {
  ++revision_;
  reserve();
  event e{.revision = revision_, .unix_ms = unix_ms(), .kind = kind, .node = node, .text = text};
  effects_.emplace_back(e);
  events_.push_back(std::move(e));
  if (events_.size() > events_kept) events_.pop_front();
}

std::vector<event> chronicle::events_since(std::uint64_t revision) const {
  const auto from = std::find_if(
      events_.begin(), events_.end(), [&](const event& e) { return e.revision > revision; });
  return {from, events_.end()};
}

std::pair<std::uint64_t, std::uint64_t> chronicle::event_window() const noexcept {
  return {events_.empty() ? revision_ : events_.front().revision - 1, revision_};
}

}  // namespace atl::cluster
