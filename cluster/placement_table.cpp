#include "cluster/placement_table.hpp"

#include "runtime/base/assert.hpp"

#include <algorithm>
#include <string>
#include <utility>

namespace atl::cluster {

namespace {

error stale(epoch version, const std::string& why) {
  return {errc::stale_epoch, "placement epoch " + std::to_string(version.value) + " " + why};
}

}  // namespace

placement_table::placement_table(map_ptr current) : current_{std::move(current)} {
  ATOLL_ASSERT(current_ != nullptr);
}

epoch placement_table::oldest() const noexcept {
  return draining_.empty() ? current_->version() : draining_.front().map->version();
}

result<void> placement_table::stage(map_ptr next) {
  ATOLL_ASSERT(next != nullptr);
  const epoch latest = pending_ != nullptr ? pending_->version() : current_->version();
  if (next->version() <= latest) {
    return stale(next->version(), "is not later than " + std::to_string(latest.value));
  }
  pending_ = std::move(next);
  return {};
}

result<void> placement_table::flip(epoch version) {
  if (pending_ == nullptr || pending_->version() != version) {
    return stale(version, "is not the one prepared");
  }
  if (current_calls_ > 0) draining_.push_back({.map = current_, .calls = current_calls_});
  current_ = std::exchange(pending_, nullptr);
  current_calls_ = 0;
  return {};
}

map_ptr placement_table::enter() {
  ++current_calls_;
  return current_;
}

bool placement_table::leave(epoch version) {
  if (version == current_->version()) {
    ATOLL_ASSERT(current_calls_ > 0);
    --current_calls_;
    return false;
  }
  const auto at = std::find_if(draining_.begin(), draining_.end(), [&](const draining_map& d) {
    return d.map->version() == version;
  });
  ATOLL_ASSERT(at != draining_.end());
  if (--at->calls > 0) return false;
  draining_.erase(at);
  return true;
}

result<map_ptr> placement_table::find(epoch version) const {
  if (version == current_->version()) return current_;
  for (const draining_map& old : draining_) {
    if (old.map->version() == version) return old.map;
  }
  return stale(version,
               "is not in use; the current one is " + std::to_string(current_->version().value));
}

}  // namespace atl::cluster
