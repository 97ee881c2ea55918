// How a node reaches others, two transports or none where there are no others, and itself. Plain
// values.
#pragma once

#include "transport/address_book.hpp"
#include "transport/transport.hpp"
#include "transport/wire/control.hpp"

#include <functional>
#include <memory>

namespace atl::actors {

struct node_links {
  std::shared_ptr<transport::transport> data;
  std::shared_ptr<transport::transport> control;
  /// For frames to the node itself; empty: a loopback of its own.
  std::shared_ptr<transport::transport> own;
  /// What the transports look peers up in; empty where they do not need to.
  std::shared_ptr<transport::address_book> book;
  /// Told each list of members, before frames count by it: whom the transports must not believe is
  /// in it. Empty where they do not need to know. Any thread; returns at once.
  std::function<void(const transport::wire::members&)> told = {};
};

}  // namespace atl::actors
