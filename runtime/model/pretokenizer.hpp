// Cuts text into the pieces that BPE joins within: the "pre_tokenizer" of a tokenizer.json.
// Sequence, Split (Regex or String, all five behaviours, invert), Digits and, last, ByteLevel. Each
// step runs on each piece of the one before, as if it were the whole text (tokenizers
// tokenizer/pre_tokenizer.rs). Immutable; any thread.
#pragma once

#include "runtime/base/result.hpp"
#include "runtime/model/regex.hpp"

#include <deque>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace atl::model {

class json_fields;

/// What becomes of a match (tokenizers SplitDelimiterBehavior).
enum class split_behavior { removed, isolated, merged_with_previous, merged_with_next, contiguous };

/// One step. Appends the non-empty pieces of `text` (well-formed UTF-8).
class split_step {
public:
  virtual ~split_step() = default;
  virtual result<void> split(std::string_view text, std::vector<std::string_view>& out) const = 0;
};

/// Pieces of `text` from its matches: ascending, not overlapping. Empty pieces are left out.
void split_at_matches(std::string_view text,
                      const std::vector<text_span>& matches,
                      split_behavior behavior,
                      bool invert,
                      std::vector<std::string_view>& out);

class pretokenizer {
public:
  /// `fields` is the tokenizer.json itself. Hand-written steps replace patterns that have one,
  /// unless `only_regex`, which is how the two are compared.
  static result<pretokenizer> parse(const json_fields& fields, bool only_regex = false);

  /// Appends the pieces; they lie in `text` or in `owned`, which the caller keeps.
  result<void> split(std::string_view text,
                     std::vector<std::string_view>& out,
                     std::deque<std::string>& owned) const;

private:
  result<void> add(const json_fields& fields, bool only_regex);
  result<void> add_sequence(const json_fields& fields, bool only_regex);
  result<void> add_split(const json_fields& fields, bool only_regex);
  result<void> add_byte_level(const json_fields& fields);

  std::vector<std::unique_ptr<const split_step>> steps_;
  bool is_byte_level_ = false;
  bool adds_prefix_space_ = false;
  std::size_t prefix_space_before_ = 0;  // the step that sees the added space first
};

}  // namespace atl::model
