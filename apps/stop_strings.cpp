#include "apps/stop_strings.hpp"

#include <algorithm>
#include <utility>

namespace atl::apps {
namespace {

/// Length of the longest end of `text` that is a beginning, not the whole, of `stop`.
std::size_t overlap(std::string_view text, std::string_view stop) {
  for (std::size_t n = std::min(text.size(), stop.size() - 1); n > 0; --n)
    if (text.substr(text.size() - n) == stop.substr(0, n)) return n;
  return 0;
}

}  // namespace

stop_strings::stop_strings(std::vector<std::string> stops) : stops_{std::move(stops)} {}

std::string stop_strings::push(std::string_view more) {
  if (hit_) return {};
  held_ += more;
  std::size_t cut = std::string::npos;
  std::size_t keep = 0;
  for (const std::string& stop : stops_) {
    cut = std::min(cut, held_.find(stop));
    keep = std::max(keep, overlap(held_, stop));
  }
  hit_ = cut != std::string::npos;
  const std::size_t shown = hit_ ? cut : held_.size() - keep;
  std::string text = held_.substr(0, shown);
  held_.erase(0, hit_ ? held_.size() : shown);
  return text;
}

std::string stop_strings::flush() { return std::exchange(held_, {}); }

}  // namespace atl::apps
