#include "runtime/model/vocabulary.hpp"

#include "runtime/model/byte_alphabet.hpp"

#include <bit>
#include <functional>

namespace atl::model {

void vocabulary::reserve(std::size_t tokens, std::size_t content_bytes) {
  entries_.reserve(tokens);
  contents_.reserve(content_bytes);
  bytes_.reserve(content_bytes);
  rehash(std::bit_ceil(2 * tokens + 2));
}

result<void> vocabulary::add(std::int64_t id, std::string_view content) {
  const std::string name{content.substr(0, 60)};
  if (id < 0 || id > id_max)
    return error{errc::invalid_model,
                 "token \"" + name + "\" has id " + std::to_string(id) + ", outside 0 to " +
                     std::to_string(id_max)};
  if (contains(static_cast<token_id>(id)))
    return error{errc::invalid_model,
                 "id " + std::to_string(id) + " is given to two tokens, \"" +
                     std::string{content_of(static_cast<token_id>(id)).substr(0, 60)} +
                     "\" and \"" + name + "\""};
  if (const auto other = id_of(content))
    return error{errc::invalid_model,
                 "token \"" + name + "\" has two ids, " + std::to_string(*other) + " and " +
                     std::to_string(id)};
  if (2 * (count_ + 1) > index_.size()) rehash(std::bit_ceil(4 * count_ + 4));
  if (id >= size()) entries_.resize(static_cast<std::size_t>(id) + 1);
  entry& e = entries_[static_cast<std::size_t>(id)];
  e.is_present = true;
  e.content_offset = static_cast<std::uint32_t>(contents_.size());
  e.content_length = static_cast<std::uint32_t>(content.size());
  contents_.append(content);
  e.bytes_offset = static_cast<std::uint32_t>(bytes_.size());
  append_token_bytes(content, bytes_);
  e.bytes_length = static_cast<std::uint32_t>(bytes_.size()) - e.bytes_offset;
  index_[slot_of(content)] = static_cast<token_id>(id);
  ++count_;
  return {};
}

void vocabulary::mark_special(token_id id) {
  if (contains(id)) entries_[static_cast<std::size_t>(id)].is_special = true;
}

std::optional<token_id> vocabulary::id_of(std::string_view content) const {
  if (index_.empty()) return std::nullopt;
  const token_id id = index_[slot_of(content)];
  return id < 0 ? std::nullopt : std::optional{id};
}

bool vocabulary::contains(token_id id) const noexcept {
  return id >= 0 && id < size() && entries_[static_cast<std::size_t>(id)].is_present;
}

bool vocabulary::is_special(token_id id) const noexcept {
  return contains(id) && entries_[static_cast<std::size_t>(id)].is_special;
}

std::string_view vocabulary::content_of(token_id id) const noexcept {
  if (!contains(id)) return {};
  const entry& e = entries_[static_cast<std::size_t>(id)];
  return std::string_view{contents_}.substr(e.content_offset, e.content_length);
}

std::string_view vocabulary::bytes_of(token_id id) const noexcept {
  if (!contains(id)) return {};
  const entry& e = entries_[static_cast<std::size_t>(id)];
  return std::string_view{bytes_}.substr(e.bytes_offset, e.bytes_length);
}

std::size_t vocabulary::slot_of(std::string_view content) const noexcept {
  std::size_t slot = std::hash<std::string_view>{}(content) & (index_.size() - 1);
  while (index_[slot] >= 0 && content_of(index_[slot]) != content)
    slot = (slot + 1) & (index_.size() - 1);
  return slot;
}

void vocabulary::rehash(std::size_t slots) {
  if (slots <= index_.size()) return;
  index_.assign(slots, -1);
  for (token_id id = 0; id < size(); ++id)
    if (contains(id)) index_[slot_of(content_of(id))] = id;
}

}  // namespace atl::model
