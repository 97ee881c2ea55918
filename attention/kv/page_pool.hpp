// Pages of the key-value cache: who holds which page. Only indices are kept here; the bytes belong
// to whoever made the storage, page i at i * page bytes. Not thread-safe: one shard owns it.
#pragma once

#include "runtime/base/ids.hpp"
#include "runtime/base/result.hpp"

#include <cstdint>
#include <span>
#include <vector>

namespace atl::attention {

/// Tokens in a page, for all layers of a shard. Attention splits a context at these borders, so the
/// value is part of the numerics.
inline constexpr std::int64_t kv_page_tokens = 64;

using page_index = strong_id<struct page_tag, std::uint32_t>;

/// Pages that hold `tokens` positions.
constexpr std::int64_t pages_for(std::int64_t tokens) noexcept {
  return (tokens + kv_page_tokens - 1) / kv_page_tokens;
}

class page_pool {
public:
  explicit page_pool(std::uint32_t pages);

  /// A free page; the one freed last, so that memory stays warm. errc::out_of_memory when none is.
  result<page_index> allocate();
  /// Freeing a page that is not allocated is a programmer error.
  void free(page_index page);

  std::uint32_t pages() const noexcept { return static_cast<std::uint32_t>(is_used_.size()); }
  std::uint32_t free_pages() const noexcept { return static_cast<std::uint32_t>(free_.size()); }
  std::uint32_t used_pages() const noexcept { return pages() - free_pages(); }

private:
  std::vector<page_index> free_;  // a stack
  std::vector<bool> is_used_;
};

/// The pages of one sequence: positions [64 i, 64 (i + 1)) lie in its i-th page. Must be released
/// into the pool it was extended from before it goes.
class page_table {
public:
  page_table() = default;
  page_table(page_table&&) noexcept = default;
  page_table& operator=(page_table&&) noexcept = default;
  page_table(const page_table&) = delete;
  page_table& operator=(const page_table&) = delete;

  /// Makes room for positions [0, tokens). On errc::out_of_memory nothing has changed.
  result<void> extend(page_pool& pool, std::int64_t tokens);
  /// Gives every page back.
  void release(page_pool& pool);

  /// Positions [0, capacity) have a page.
  std::int64_t capacity_tokens() const noexcept {
    return static_cast<std::int64_t>(pages_.size()) * kv_page_tokens;
  }
  page_index page_of(std::int64_t position) const;
  std::span<const page_index> pages() const noexcept { return pages_; }

private:
  std::vector<page_index> pages_;
};

}  // namespace atl::attention
