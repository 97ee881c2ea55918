// Tokens by id and by content: what each one is called, and which bytes it stands for. Filled once,
// then immutable; any thread.
#pragma once

#include "runtime/base/ids.hpp"
#include "runtime/base/result.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace atl::model {

class vocabulary {
public:
  /// Above every published vocabulary; bounds what a hostile file can make us allocate.
  static constexpr std::int64_t id_max = (std::int64_t{1} << 22) - 1;

  /// Room for `tokens` names of `content_bytes` together. More of either makes it grow.
  void reserve(std::size_t tokens, std::size_t content_bytes);

  /// Refuses an id out of range, and an id or content that is there already.
  result<void> add(std::int64_t id, std::string_view content);
  void mark_special(token_id id);

  std::optional<token_id> id_of(std::string_view content) const;
  bool contains(token_id id) const noexcept;
  bool is_special(token_id id) const noexcept;
  /// The name in the file, in the byte alphabet. Empty for an id without a token.
  std::string_view content_of(token_id id) const noexcept;
  /// What the token decodes to. Empty for an id without a token.
  std::string_view bytes_of(token_id id) const noexcept;
  /// Highest id that has a token, plus one.
  std::int64_t size() const noexcept { return static_cast<std::int64_t>(entries_.size()); }

private:
  struct entry {
    std::uint32_t content_offset = 0;
    std::uint32_t content_length = 0;
    std::uint32_t bytes_offset = 0;
    std::uint32_t bytes_length = 0;
    bool is_present = false;
    bool is_special = false;
  };

  std::size_t slot_of(std::string_view content) const noexcept;
  void rehash(std::size_t slots);

  std::vector<entry> entries_;  // by id
  std::string contents_;
  std::string bytes_;
  std::vector<token_id> index_;  // open addressing over contents, -1 = free, at most half full
  std::size_t count_ = 0;
};

}  // namespace atl::model
