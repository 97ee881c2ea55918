#include "runtime/base/random.hpp"
#include "runtime/model/bpe.hpp"

#include <gtest/gtest.h>

#include <map>
#include <string>

namespace atl::model {
namespace {

/// Three letters and joins of them, with the rule applied word for word as the oracle.
struct random_merges {
  std::map<std::pair<token_id, token_id>, std::pair<std::uint32_t, token_id>> table;
  std::array<token_id, 256> byte_ids;

  explicit random_merges(random_source& random) {
    byte_ids.fill(-1);
    std::map<std::string, token_id> ids{{"a", 0}, {"b", 1}, {"c", 2}};
    std::vector<std::string> names{"a", "b", "c"};
    for (const auto& [name, id] : ids) byte_ids[static_cast<unsigned char>(name[0])] = id;
    for (std::uint32_t rank = 0; rank < 40; ++rank) {
      const std::string left = names[random.below(names.size())];
      const std::string right = names[random.below(names.size())];
      const auto [at, fresh] = ids.try_emplace(left + right, static_cast<token_id>(names.size()));
      if (fresh) names.push_back(left + right);
      table[{ids[left], ids[right]}] = {rank, at->second};
    }
  }

  bpe build() const {
    bpe made{byte_ids, table.size()};
    for (const auto& [pair, merge] : table)
      made.add_merge(pair.first, pair.second, merge.first, merge.second);
    return made;
  }

  std::vector<token_id> oracle(const std::string& piece) const {
    std::vector<token_id> symbols;
    for (const char c : piece)
      if (byte_ids[static_cast<unsigned char>(c)] >= 0)
        symbols.push_back(byte_ids[static_cast<unsigned char>(c)]);
    for (;;) {
      std::size_t best = symbols.size();
      std::uint32_t best_rank = 0;
      for (std::size_t i = 0; i + 1 < symbols.size(); ++i) {
        const auto found = table.find({symbols[i], symbols[i + 1]});
        if (found == table.end()) continue;
        if (best == symbols.size() || found->second.first < best_rank) {
          best = i;
          best_rank = found->second.first;
        }
      }
      if (best == symbols.size()) return symbols;
      symbols[best] = table.at({symbols[best], symbols[best + 1]}).second;
      symbols.erase(symbols.begin() + static_cast<std::ptrdiff_t>(best) + 1);
    }
  }
};

TEST(bpe, equals_the_rule_on_random_merges_and_pieces) {
  random_source random{21};
  for (int round = 0; round < 60; ++round) {
    const random_merges merges{random};
    const bpe made = merges.build();
    for (int i = 0; i < 60; ++i) {
      std::string piece;
      const std::uint64_t length = random.below(120);  // both sides of the switch to a heap
      for (std::uint64_t n = 0; n < length; ++n) piece += "aaabbcd"[random.below(7)];
      std::vector<token_id> out{7};  // what is there stays
      made.encode(piece, out);
      auto expected = merges.oracle(piece);
      expected.insert(expected.begin(), 7);
      ASSERT_EQ(out, expected) << "round " << round << ", piece " << piece;
    }
  }
}

TEST(bpe, nothing_and_no_merges) {
  std::array<token_id, 256> byte_ids;
  byte_ids.fill(-1);
  byte_ids['a'] = 5;
  const bpe made{byte_ids, 0};
  std::vector<token_id> out;
  made.encode("", out);
  made.encode(std::string(1000, 'b'), out);
  EXPECT_TRUE(out.empty());
  made.encode(std::string(1000, 'a'), out);
  EXPECT_EQ(out, std::vector<token_id>(1000, 5));
}

TEST(bpe, a_million_equal_bytes_in_one_piece) {
  std::array<token_id, 256> byte_ids;
  byte_ids.fill(-1);
  byte_ids['a'] = 0;
  bpe made{byte_ids, 3};
  made.add_merge(0, 0, 0, 1);
  made.add_merge(1, 1, 1, 2);
  made.add_merge(2, 2, 2, 3);
  std::vector<token_id> out;
  made.encode(std::string(1'000'001, 'a'), out);
  ASSERT_EQ(out.size(), 125'001U);
  EXPECT_EQ(out.front(), 3);
  EXPECT_EQ(out.back(), 0);
}

}  // namespace
}  // namespace atl::model
