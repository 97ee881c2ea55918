// The pre-tokenizer of DeepSeek V3, R1 and V3.1, written out by hand for speed. It gives what its
// three patterns give, one after the other (reference: tokenizer.json of DeepSeek-V3):
//   A  \p{N}{1,3}
//   B  [U+4E00-U+9FA5 U+3040-U+309F U+30A0-U+30FF]+
//   C  ASCII punctuation then [A-Za-z]+ | [^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+
//      | ?[\p{P}\p{S}]+[\r\n]* | \s*[\r\n]+ | \s+(?!\S) | \s+
// Each runs on each piece of the one before, so the end of a piece is the end of text to it.
// Linear in the text. Pure functions; any thread.
#pragma once

#include <span>
#include <string_view>
#include <vector>

namespace atl::model {

/// Whether these Split patterns (all Isolated), in order, are A, B and C in a published spelling.
bool is_deepseek_v3_split(std::span<const std::string_view> patterns) noexcept;

/// Appends the pieces of `text` (well-formed UTF-8); together they are the text.
void split_deepseek_v3(std::string_view text, std::vector<std::string_view>& out);

}  // namespace atl::model
