// What the coordinator's mind (control.hpp) keeps and says: the state that outlives it with the
// records that change it, numbers that are never used twice, events, and effects in their order.
// The part of control that knows nothing of nodes and experts. One owner.
#pragma once

#include "cluster/control_settings.hpp"
#include "cluster/records.hpp"
#include "runtime/base/ids.hpp"

#include <cstdint>
#include <deque>
#include <functional>
#include <string>
#include <utility>
#include <vector>

namespace atl::cluster {

class chronicle {
public:
  chronicle(const chronicle&) = delete;
  chronicle& operator=(const chronicle&) = delete;

  std::vector<effect> take_effects() { return std::exchange(effects_, {}); }
  const durable_state& kept() const noexcept { return kept_; }
  /// All that is kept, as records: what a compacted journal holds.
  std::vector<std::string> snapshot() const { return cluster::snapshot(kept_); }
  /// Events after that revision, as far as they are kept (the last 1,024).
  std::vector<event> events_since(std::uint64_t revision) const;
  /// From which revision on that is all there was, and the revision of the last.
  std::pair<std::uint64_t, std::uint64_t> event_window() const noexcept;

protected:
  /// `calendar` may be empty: then it is always 1970.
  chronicle(durable_state restored, std::function<std::int64_t()> calendar);
  ~chronicle() = default;

  std::int64_t unix_ms() const { return calendar_ ? calendar_() : 0; }
  void record(std::string bytes, bool is_needed);
  void tell(const std::string& kind, node_id node, const std::string& text);
  /// Makes sure that the numbers used so far are within what is reserved, and that there are more.
  void reserve();
  epoch next_epoch();

  durable_state kept_;
  std::vector<effect> effects_;
  std::uint64_t epoch_used_ = 0;
  std::uint64_t version_ = 0;   // of members
  std::uint64_t revision_ = 0;  // of events

private:
  std::function<std::int64_t()> calendar_;
  std::deque<event> events_;
};

}  // namespace atl::cluster
