#include "runtime/model/populate.hpp"

#include <algorithm>
#include <mutex>
#include <optional>
#include <thread>

namespace atl::model {
namespace {

// Large enough that a call's cost and the lock vanish, small enough for smooth progress.
constexpr std::size_t chunk_bytes = std::size_t{16} << 20;
// Ranges closer than this are joined: reading a gap costs less than another call.
constexpr std::size_t gap_bytes = std::size_t{64} << 10;
// One thread maps cached pages slower than memory delivers them; four are enough anywhere.
constexpr unsigned threads_max = 4;

/// Hands out chunks and adds up what is done. Thread-safe.
class chunk_queue {
public:
  explicit chunk_queue(const std::vector<file_range>& ranges) : ranges_{ranges} {}

  std::optional<file_range> next() {
    const std::lock_guard lock{mutex_};
    if (failure_ || range_ == ranges_.size()) return std::nullopt;
    file_range chunk = ranges_[range_];
    chunk.offset += position_;
    chunk.length = std::min(chunk_bytes, ranges_[range_].length - position_);
    position_ += chunk.length;
    if (position_ == ranges_[range_].length) {
      ++range_;
      position_ = 0;
    }
    return chunk;
  }

  /// Populates one chunk; false when there is none left.
  bool step() {
    const std::optional<file_range> chunk = next();
    if (!chunk) return false;
    const result<void> outcome = chunk->file->populate(chunk->offset, chunk->length);
    const std::lock_guard lock{mutex_};
    done_ += chunk->length;
    if (outcome.has_error() && !failure_) failure_ = outcome.error();
    return true;
  }

  std::size_t done() {
    const std::lock_guard lock{mutex_};
    return done_;
  }

  std::optional<error> failure() {
    const std::lock_guard lock{mutex_};
    return failure_;
  }

private:
  const std::vector<file_range>& ranges_;
  std::mutex mutex_;
  std::size_t range_ = 0;
  std::size_t position_ = 0;
  std::size_t done_ = 0;
  std::optional<error> failure_;
};

}  // namespace

std::vector<file_range> join_ranges(std::vector<file_range> ranges) {
  std::sort(ranges.begin(), ranges.end(), [](const file_range& a, const file_range& b) {
    const auto* first = a.file->bytes().data();
    const auto* second = b.file->bytes().data();
    return first != second ? std::less<>{}(first, second) : a.offset < b.offset;
  });
  std::vector<file_range> joined;
  for (file_range& range : ranges) {
    if (range.length == 0) continue;
    file_range* last = joined.empty() ? nullptr : &joined.back();
    if (last != nullptr && last->file == range.file &&
        range.offset <= last->offset + last->length + gap_bytes)
      last->length = std::max(last->length, range.offset + range.length - last->offset);
    else
      joined.push_back(std::move(range));
  }
  return joined;
}

result<void>
populate_ranges(const std::vector<file_range>& ranges,
                const std::function<void(std::size_t done, std::size_t total)>& progress) {
  std::size_t total = 0;
  for (const file_range& range : ranges) total += range.length;
  chunk_queue queue{ranges};
  {
    const std::size_t useful = total / chunk_bytes + 1;
    const unsigned cores = std::max(1U, std::thread::hardware_concurrency());
    const std::size_t threads = std::min<std::size_t>({useful, cores, threads_max});
    std::vector<std::jthread> helpers;
    for (std::size_t i = 1; i < threads; ++i)
      helpers.emplace_back([&queue] {
        while (queue.step()) {
        }
      });
    while (queue.step())
      if (progress) progress(queue.done(), total);
  }
  if (const auto failure = queue.failure()) return *failure;
  if (progress) progress(total, total);
  return {};
}

}  // namespace atl::model
