// Whether two messages say the same: rows and payloads by their bytes, the rest by its operators.
#pragma once

#include "transport/wire/messages.hpp"

#include <algorithm>
#include <bit>
#include <variant>

namespace atl::transport::wire {

inline bool same(const rows& a, const rows& b) {
  return a.type == b.type && a.count == b.count && a.width == b.width &&
         std::equal(a.payload.bytes.begin(),
                    a.payload.bytes.end(),
                    b.payload.bytes.begin(),
                    b.payload.bytes.end());
}

template <class T>
bool same(const T& a, const T& b) {
  return a == b;
}

inline bool same(const observed& a, const observed& b) {
  return a.request == b.request && a.what == b.what && a.position_first == b.position_first &&
         a.layer == b.layer && same(a.values, b.values) && a.experts_per_row == b.experts_per_row &&
         a.experts == b.experts &&
         std::equal(a.weights.begin(),
                    a.weights.end(),
                    b.weights.begin(),
                    b.weights.end(),
                    [](float x, float y) {
                      return std::bit_cast<std::uint32_t>(x) == std::bit_cast<std::uint32_t>(y);
                    });
}

inline bool same(const dispatch& a, const dispatch& b) {
  return a.call == b.call && a.epoch == b.epoch && same(a.input, b.input) &&
         a.offsets == b.offsets && a.assignments == b.assignments;
}

inline bool same(const results& a, const results& b) {
  return a.call == b.call && a.epoch == b.epoch && same(a.output, b.output) &&
         a.counts == b.counts && a.service_ns == b.service_ns;
}

inline bool same(const chunk& a, const chunk& b) {
  return a.number == b.number && a.layer == b.layer && a.expert == b.expert &&
         a.offset == b.offset && a.total == b.total && a.parts == b.parts && a.cause == b.cause &&
         std::equal(a.bytes.bytes.begin(),
                    a.bytes.bytes.end(),
                    b.bytes.bytes.begin(),
                    b.bytes.bytes.end());
}

inline bool same(const message& a, const message& b) {
  if (a.index() != b.index()) return false;
  return std::visit(
      [&](const auto& plain) { return same(plain, std::get<std::decay_t<decltype(plain)>>(b)); },
      a);
}

}  // namespace atl::transport::wire
