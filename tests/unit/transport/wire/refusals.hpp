// Messages that break one rule each, and metadata with one change, and what their refusals say.
#pragma once

#include "transport/wire/codec.hpp"

#include <gtest/gtest.h>

#include <cstring>
#include <functional>
#include <string>
#include <utility>
#include <vector>

namespace atl::transport::wire {

/// Replaces the only place in the metadata that holds `before`.
template <class T>
frame patched(frame f, const std::vector<T>& before, const std::vector<T>& after) {
  const std::size_t bytes = before.size() * sizeof(T);
  std::size_t found = 0;
  std::size_t at = 0;
  for (std::size_t i = 0; i + bytes <= f.metadata.size(); ++i) {
    if (std::memcmp(f.metadata.data() + i, before.data(), bytes) != 0) continue;
    ++found;
    at = i;
  }
  EXPECT_EQ(found, 1U) << "the sample must hold the pattern once";
  std::memcpy(f.metadata.data() + at, after.data(), bytes);
  return f;
}

inline std::string refusal(const frame& f) {
  const auto m = decode(f);
  EXPECT_TRUE(m.has_error());
  return m.has_error() ? m.error().message() : "accepted";
}

template <class Message>
using changes = std::vector<std::pair<const char*, std::function<void(Message&)>>>;

/// Each change alone breaks a rule whose refusal names the field.
template <class Message>
void expect_each_refused(const Message& good, const changes<Message>& bad) {
  ASSERT_TRUE(encode(good, {}, {}).has_value());
  for (const auto& [field, change] : bad) {
    Message m = good;
    change(m);
    const auto f = encode(m, {}, {});
    ASSERT_TRUE(f.has_error()) << field;
    EXPECT_EQ(f.error().code(), errc::invalid_argument);
    EXPECT_NE(f.error().message().find(field), std::string::npos) << f.error().message();
  }
}

}  // namespace atl::transport::wire
