// Byte-pair encoding of one piece of text. Repeatedly joins the adjacent pair of lowest rank,
// leftmost on equal rank, until no pair is in the table (Sennrich et al. 2016; tokenizers
// models/bpe/word.rs). Work is O(n log n) in the piece's bytes. Immutable once built; any thread.
#pragma once

#include "runtime/base/ids.hpp"

#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

namespace atl::model {

class bpe {
public:
  /// byte_ids: the token of each single byte, or -1 where there is none (such bytes are dropped).
  explicit bpe(const std::array<token_id, 256>& byte_ids, std::size_t merge_count);

  /// Joins left and right into merged at this rank; a pair given again keeps the last rank.
  void add_merge(token_id left, token_id right, std::uint32_t rank, token_id merged);

  /// Appends the tokens of `piece`, any bytes.
  void encode(std::string_view piece, std::vector<token_id>& out) const;

private:
  struct merge {
    token_id left = -1;
    token_id right = -1;
    std::uint32_t rank = 0;
    token_id merged = -1;
  };

  std::size_t slot_of(token_id left, token_id right) const noexcept;
  const merge* find(token_id left, token_id right) const noexcept;
  void encode_short(token_id* symbols, std::size_t count, std::vector<token_id>& out) const;
  void encode_long(const std::vector<token_id>& symbols, std::vector<token_id>& out) const;

  std::array<token_id, 256> byte_ids_;
  std::vector<merge> table_;  // open addressing, a power of two, at most half full
  unsigned shift_ = 0;
};

}  // namespace atl::model
