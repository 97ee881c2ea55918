// What the decoders share, and the readers of decode_control.cpp. Included by
// transport/wire/decode*.cpp alone, since it shows generated types.
#pragma once

#include "transport/schema/atoll_generated.h"
#include "transport/wire/codec.hpp"

#include <cstring>
#include <string>
#include <type_traits>

namespace atl::transport::wire {

template <class T>
std::vector<T> numbers(const flatbuffers::Vector<T>* in) {
  return in == nullptr ? std::vector<T>{} : std::vector<T>(in->data(), in->data() + in->size());
}

/// Raw bytes whose number the caller has measured.
inline std::vector<std::byte> octets(const flatbuffers::Vector<std::uint8_t>* in) {
  if (in == nullptr) return {};
  const auto* data = reinterpret_cast<const std::byte*>(in->data());
  return {data, data + in->size()};
}

/// Structs of one layout in messages.hpp, control.hpp and the schema.
template <class Plain, class Wire>
std::vector<Plain> structs(const flatbuffers::Vector<const Wire*>* in) {
  static_assert(sizeof(Wire) == sizeof(Plain) && std::is_trivially_copyable_v<Plain>);
  if (in == nullptr || in->size() == 0) return {};
  std::vector<Plain> out(in->size());
  std::memcpy(static_cast<void*>(out.data()), in->Data(), out.size() * sizeof(Plain));
  return out;
}

/// Reads a cause where there is one; false when its text is too long.
inline bool read_cause(const fbs::Failure* in, std::optional<failure>& out) {
  if (in == nullptr) return true;
  if (in->text() != nullptr && in->text()->size() > text_bytes_max) return false;
  out = failure{static_cast<errc>(in->code()),
                in->text() == nullptr ? std::string{} : in->text()->str()};
  return true;
}

inline constexpr const char* text_too_long = "the cause's text is longer than 65,536 bytes";

// read(): the table as a plain message, or a sentence saying why not. Rules that check() knows are
// left to it, but for the sizes of what is copied here.
std::string read(const fbs::Place& in, const frame& f, place& out);
std::string read(const fbs::Load& in, const frame& f, load& out);
std::string read(const fbs::Placed& in, const frame& f, placed& out);
std::string read(const fbs::LoadReport& in, const frame& f, load_report& out);
std::string read(const fbs::Heartbeat& in, const frame& f, heartbeat& out);
std::string read(const fbs::Join& in, const frame& f, join& out);
std::string read(const fbs::Welcome& in, const frame& f, welcome& out);
std::string read(const fbs::Members& in, const frame& f, members& out);
std::string read(const fbs::Adopted& in, const frame& f, adopted& out);
std::string read(const fbs::Release& in, const frame& f, release& out);
std::string read(const fbs::PathReport& in, const frame& f, path_report& out);
std::string read(const fbs::Leave& in, const frame& f, leave& out);
std::string read(const fbs::Dismissed& in, const frame& f, dismissed& out);
std::string read(const fbs::Fetch& in, const frame& f, fetch& out);
std::string read(const fbs::Chunk& in, const frame& f, chunk& out);

}  // namespace atl::transport::wire
