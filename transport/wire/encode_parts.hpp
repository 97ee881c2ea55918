// What the encoders share: the builder, and plain values as FlatBuffers' vectors, strings and
// tables. Included by transport/wire/encode*.cpp alone, since it shows generated types.
#pragma once

#include "transport/schema/atoll_generated.h"
#include "transport/wire/check.hpp"
#include "transport/wire/codec.hpp"

#include <cstring>
#include <string_view>
#include <type_traits>

namespace atl::transport::wire {

using flatbuffers::Offset;
using flatbuffers::Vector;

/// A builder's memory above this is given back after the message: one large table does not stay in
/// every thread.
inline constexpr std::size_t builder_bytes_kept = 1U << 20;

inline flatbuffers::FlatBufferBuilder& builder() {
  thread_local flatbuffers::FlatBufferBuilder b{4096};
  b.Clear();
  return b;
}

/// The elements as a FlatBuffers vector; an empty one is left out.
template <class T>
Offset<Vector<T>> numbers(flatbuffers::FlatBufferBuilder& b, const std::vector<T>& values) {
  return values.empty() ? 0 : b.CreateVector(values);
}

/// Raw bytes; none are left out.
inline Offset<Vector<std::uint8_t>> octets(flatbuffers::FlatBufferBuilder& b,
                                           const std::vector<std::byte>& bytes) {
  if (bytes.empty()) return 0;
  return b.CreateVector(reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size());
}

/// A text whose length check() has seen; an empty one is left out.
inline Offset<flatbuffers::String> text(flatbuffers::FlatBufferBuilder& b, std::string_view in) {
  return in.empty() ? 0 : b.CreateString(in.data(), in.size());
}

/// Structs of one layout in messages.hpp and in the schema.
template <class Wire, class Plain>
Offset<Vector<const Wire*>> structs(flatbuffers::FlatBufferBuilder& b,
                                    const std::vector<Plain>& values) {
  static_assert(sizeof(Wire) == sizeof(Plain) && std::is_trivially_copyable_v<Plain>);
  if (values.empty()) return 0;
  Wire* out = nullptr;
  const auto offset = b.CreateUninitializedVectorOfStructs(values.size(), &out);
  std::memcpy(static_cast<void*>(out), values.data(), values.size() * sizeof(Wire));
  return offset;
}

/// At most text_bytes_max bytes, not ending inside a UTF-8 character.
inline std::string_view cut(std::string_view text) {
  if (text.size() <= text_bytes_max) return text;
  std::size_t end = text_bytes_max;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0U) == 0x80U) --end;
  return text.substr(0, end);
}

inline Offset<fbs::Failure> cause(flatbuffers::FlatBufferBuilder& b, const failure& f) {
  const std::string_view text = cut(f.text);
  const auto text_at = b.CreateString(text.data(), text.size());
  return fbs::CreateFailure(b, static_cast<std::int32_t>(f.code), text_at);
}

inline Offset<fbs::Failure> cause(flatbuffers::FlatBufferBuilder& b,
                                  const std::optional<failure>& f) {
  return f ? cause(b, *f) : Offset<fbs::Failure>{};
}

template <class Root>
frame finish(flatbuffers::FlatBufferBuilder& b,
             Offset<Root> root,
             frame_kind kind,
             address from,
             address to) {
  b.Finish(root);
  frame f;
  f.header.kind = kind;
  f.header.source = from;
  f.header.destination = to;
  const auto* data = reinterpret_cast<const std::byte*>(b.GetBufferPointer());
  f.metadata.assign(data, data + b.GetSize());
  if (b.GetSize() > builder_bytes_kept) b.Reset();
  return f;
}

template <class Message>
result<void> checked(std::string_view kind, const Message& m) {
  std::string problem = check(m);
  if (problem.empty()) return {};
  return error{errc::invalid_argument, std::string{kind} + ": " + problem};
}

}  // namespace atl::transport::wire
