// An answer of the API that a test looks at.
#pragma once

#include "apps/http/message.hpp"

#include <functional>
#include <optional>
#include <string>
#include <utility>

namespace atl::ops {

class kept_answer final : public http::exchange {
public:
  void reply(http::response whole) override { got = std::move(whole); }
  void begin_stream(http::response head) override { stream = std::move(head); }
  bool write(std::string piece) override {
    if (is_gone) return false;
    pieces += piece;
    return true;
  }
  void end_stream() override { is_ended = true; }
  void abort() override {}
  void when_gone(std::function<void()>) override {}
  std::optional<http::response> got, stream;
  std::string pieces;
  bool is_gone = false, is_ended = false;
};

}  // namespace atl::ops
