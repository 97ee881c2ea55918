#include "attention/kv/page_pool.hpp"

#include "runtime/base/assert.hpp"

#include <cstddef>
#include <string>

namespace atl::attention {

namespace {

error exhausted(std::int64_t wanted, const page_pool& pool) {
  return {errc::out_of_memory,
          "key-value cache: " + std::to_string(wanted) + " pages wanted, " +
              std::to_string(pool.free_pages()) + " of " + std::to_string(pool.pages()) +
              " are free"};
}

}  // namespace

page_pool::page_pool(std::uint32_t pages) : is_used_(pages, false) {
  free_.reserve(pages);
  for (std::uint32_t i = pages; i > 0; --i) free_.emplace_back(i - 1);
}

result<page_index> page_pool::allocate() {
  if (free_.empty()) return exhausted(1, *this);
  const page_index page = free_.back();
  free_.pop_back();
  is_used_[page.value] = true;
  return page;
}

void page_pool::free(page_index page) {
  ATOLL_ASSERT(page.value < is_used_.size() && is_used_[page.value]);
  is_used_[page.value] = false;
  free_.push_back(page);
}

result<void> page_table::extend(page_pool& pool, std::int64_t tokens) {
  ATOLL_ASSERT(tokens >= 0);
  const auto held = static_cast<std::int64_t>(pages_.size());
  const std::int64_t wanted = pages_for(tokens) - held;
  if (wanted > pool.free_pages()) return exhausted(wanted, pool);
  for (std::int64_t i = 0; i < wanted; ++i) pages_.push_back(*pool.allocate());
  return {};
}

void page_table::release(page_pool& pool) {
  // Backwards, so that the next owner gets them in the same order.
  for (auto page = pages_.rbegin(); page != pages_.rend(); ++page) pool.free(*page);
  pages_.clear();
}

page_index page_table::page_of(std::int64_t position) const {
  ATOLL_ASSERT(position >= 0 && position < capacity_tokens());
  return pages_[static_cast<std::size_t>(position / kv_page_tokens)];
}

}  // namespace atl::attention
