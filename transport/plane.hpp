// Which of the two paths between nodes a frame takes. The control path leads to the coordinator and
// back; the data path is between any two nodes that share work. Heartbeats take both.
#pragma once

#include "transport/frame.hpp"

#include <cstdint>

namespace atl::transport {

enum class plane : std::uint8_t { data, control };

constexpr plane plane_of(frame_kind kind) noexcept {
  switch (kind) {
  case frame_kind::place:
  case frame_kind::load:
  case frame_kind::placed:
  case frame_kind::load_report:
  case frame_kind::join:
  case frame_kind::welcome:
  case frame_kind::members:
  case frame_kind::adopted:
  case frame_kind::release:
  case frame_kind::path_report:
  case frame_kind::leave:
  case frame_kind::dismissed: return plane::control;
  case frame_kind::submit:
  case frame_kind::cancel:
  case frame_kind::tokens:
  case frame_kind::observed:
  case frame_kind::dispatch:
  case frame_kind::results:
  case frame_kind::refused:
  case frame_kind::heartbeat:
  case frame_kind::fetch:
  case frame_kind::chunk: return plane::data;
  }
  return plane::data;
}

}  // namespace atl::transport
