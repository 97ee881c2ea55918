// Added tokens found in raw text: leftmost, and of those that start there the longest; matches do
// not overlap (tokenizers added_vocabulary.rs). Tokens with `normalized` false are looked for
// first, the others in what remains. Immutable once filled; any thread.
#pragma once

#include "runtime/base/ids.hpp"

#include <array>
#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

namespace atl::model {

struct added_token {
  token_id id = 0;
  bool strips_left = false;   // takes the white space before it along
  bool strips_right = false;  // and after it
};

/// Text between added tokens, or an added token (`token` >= 0, text empty).
struct text_segment {
  std::string_view text;
  token_id token = -1;
};

/// A set of contents, searched in one walk from each start: linear, since contents are short.
class added_token_set {
public:
  /// Bounds the work per byte of text.
  static constexpr std::size_t content_bytes_max = 512;

  added_token_set();

  /// The content is 1 to content_bytes_max bytes; one given again keeps the last token.
  void add(std::string_view content, const added_token& token);
  bool empty() const noexcept { return tokens_.empty(); }

  /// Appends the segments of `text`, in order; empty ones are left out.
  void split(std::string_view text, std::vector<text_segment>& out) const;

private:
  struct node {
    std::vector<std::pair<unsigned char, std::uint32_t>> children;
    std::int32_t token = -1;  // index into tokens_
  };
  struct match {
    std::size_t bytes = 0;  // 0: none
    std::int32_t token = -1;
  };

  match longest_at(std::string_view text, std::size_t at) const noexcept;

  std::vector<node> trie_;
  std::vector<added_token> tokens_;
  std::array<bool, 256> starts_{};
};

}  // namespace atl::model
