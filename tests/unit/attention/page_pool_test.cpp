#include "attention/kv/page_pool.hpp"
#include "runtime/base/random.hpp"

#include <gtest/gtest.h>

#include <set>
#include <vector>

namespace atl::attention {
namespace {

TEST(page_pool, hands_out_each_page_once) {
  page_pool pool{3};
  std::set<page_index> seen;
  for (int i = 0; i < 3; ++i) seen.insert(*pool.allocate());
  EXPECT_EQ(seen, (std::set<page_index>{page_index{0}, page_index{1}, page_index{2}}));
  EXPECT_EQ(pool.free_pages(), 0U);
  EXPECT_EQ(pool.used_pages(), 3U);
  EXPECT_EQ(pool.allocate().error().code(), errc::out_of_memory);
  pool.free(page_index{1});
  EXPECT_EQ(*pool.allocate(), page_index{1});
}

TEST(page_pool, freeing_what_is_not_held_is_a_bug) {
  page_pool pool{2};
  const page_index page = *pool.allocate();
  pool.free(page);
  EXPECT_DEATH(pool.free(page), "");
  EXPECT_DEATH(pool.free(page_index{2}), "");
}

TEST(page_table, grows_by_whole_pages) {
  page_pool pool{4};
  page_table table;
  ASSERT_TRUE(table.extend(pool, 0).has_value());
  EXPECT_EQ(table.pages().size(), 0U);
  ASSERT_TRUE(table.extend(pool, 1).has_value());
  EXPECT_EQ(table.pages().size(), 1U);
  ASSERT_TRUE(table.extend(pool, kv_page_tokens).has_value());
  EXPECT_EQ(table.pages().size(), 1U);
  ASSERT_TRUE(table.extend(pool, kv_page_tokens + 1).has_value());
  EXPECT_EQ(table.capacity_tokens(), 2 * kv_page_tokens);
  EXPECT_EQ(table.page_of(kv_page_tokens - 1), table.pages()[0]);
  EXPECT_EQ(table.page_of(kv_page_tokens), table.pages()[1]);
  EXPECT_DEATH((void)table.page_of(2 * kv_page_tokens), "");
  EXPECT_DEATH((void)table.page_of(-1), "");
  ASSERT_TRUE(table.extend(pool, 1).has_value());
  EXPECT_EQ(table.pages().size(), 2U);
  table.release(pool);
  EXPECT_EQ(pool.used_pages(), 0U);
}

TEST(page_table, takes_nothing_when_it_cannot_have_all) {
  page_pool pool{2};
  page_table table;
  ASSERT_TRUE(table.extend(pool, 1).has_value());
  EXPECT_EQ(table.extend(pool, 3 * kv_page_tokens).error().code(), errc::out_of_memory);
  EXPECT_EQ(table.pages().size(), 1U);
  EXPECT_EQ(pool.free_pages(), 1U);
}

TEST(page_table, random_walk_keeps_pages_apart) {
  constexpr std::uint64_t seed = 2024;
  SCOPED_TRACE(seed);
  random_source random{seed};
  page_pool pool{37};
  std::vector<page_table> tables(6);
  for (int step = 0; step < 20000; ++step) {
    page_table& table = tables[random.below(tables.size())];
    if (random.below(4) == 0) {
      table.release(pool);
    } else {
      const auto tokens = static_cast<std::int64_t>(random.below(14 * kv_page_tokens));
      const auto held = static_cast<std::int64_t>(table.pages().size());
      const bool fits = pages_for(tokens) - held <= pool.free_pages();
      ASSERT_EQ(table.extend(pool, tokens).has_value(), fits);
      if (fits) {
        ASSERT_GE(table.capacity_tokens(), tokens);
      }
    }
    std::set<page_index> held;
    std::size_t count = 0;
    for (const page_table& t : tables) {
      held.insert(t.pages().begin(), t.pages().end());
      count += t.pages().size();
    }
    ASSERT_EQ(held.size(), count) << "a page has two owners";
    ASSERT_EQ(pool.used_pages(), count);
    ASSERT_EQ(pool.used_pages() + pool.free_pages(), pool.pages());
  }
}

}  // namespace
}  // namespace atl::attention
