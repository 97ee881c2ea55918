// Two nodes with real TLS between them: who hears of whose addresses, and when.
#include "apps/cluster/node_paths.hpp"
#include "runtime/base/log.hpp"
#include "transport/tls/authority.hpp"
#include "transport/wire/codec.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <vector>

namespace atl::ops {
namespace {

namespace tls = transport::tls;
namespace wire = transport::wire;
using transport::frame;
using transport::frame_kind;
using transport::node_identity;

class inbox final : public transport::receiver {
public:
  void on_frame(frame&& f) noexcept override {
    const std::lock_guard lock{mutex_};
    got_.push_back(f.header);
    changed_.notify_all();
  }
  void on_peer_gone(node_identity, const error&) noexcept override {
    const std::lock_guard lock{mutex_};
    is_lost_ = true;
    changed_.notify_all();
  }

  /// Whether a connection was lost, within ten seconds.
  bool wait_for_loss() {
    std::unique_lock lock{mutex_};
    return changed_.wait_for(lock, std::chrono::seconds{10}, [&] { return is_lost_; });
  }

  /// The first frame of that kind, or nothing after ten seconds.
  std::optional<transport::frame_header> wait_for(frame_kind kind) {
    std::unique_lock lock{mutex_};
    std::optional<transport::frame_header> found;
    changed_.wait_for(lock, std::chrono::seconds{10}, [&] {
      for (const auto& h : got_)
        if (h.kind == kind) found = h;
      return found.has_value();
    });
    return found;
  }

  std::size_t count(frame_kind kind) {
    const std::lock_guard lock{mutex_};
    return static_cast<std::size_t>(
        std::count_if(got_.begin(), got_.end(), [kind](const auto& h) { return h.kind == kind; }));
  }
  bool has_from(frame_kind kind, node_id node) {
    const std::lock_guard lock{mutex_};
    return std::any_of(got_.begin(), got_.end(), [&](const auto& h) {
      return h.kind == kind && h.source.node == node;
    });
  }

private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<transport::frame_header> got_;
  bool is_lost_ = false;
};

class node_paths_test : public ::testing::Test {
protected:
  struct one {
    std::unique_ptr<node_paths> paths;
    std::shared_ptr<inbox> control = std::make_shared<inbox>();
    std::shared_ptr<inbox> data = std::make_shared<inbox>();
    node_identity self;
    std::string serial;  // of its certificate
  };

  tls::credentials credentials_of(node_id node) {
    const auto made = tls::make_key_and_request();
    tls::certificate_order order;
    order.request_pem = made->request_pem;
    order.node = node;
    return {authority_.certificate_pem(),
            *authority_.issue(order, unix_time_ms() / 1000),
            made->key_pem};
  }

  one start(std::uint32_t node, std::uint64_t life, const std::string& coordinator) {
    one n;
    n.self = {node_id{node}, incarnation{life}};
    path_options o;
    o.self = n.self.node;
    o.coordinator = node_id{1};
    o.coordinator_address = coordinator;
    o.control_listen = "127.0.0.1:0";
    o.data = data_path{data_kind::tls, "lo", "127.0.0.1"};
    o.own = credentials_of(n.self.node);
    if (coordinator.empty())
      o.is_revoked = [this](const std::string&, node_id who) { return who == removed_; };
    n.serial = tls::read_facts(o.own.certificate_pem)->serial;
    auto made = node_paths::make(o);
    EXPECT_TRUE(made.has_value()) << made.error().message();
    n.paths = std::move(*made);
    EXPECT_TRUE(n.paths->links().control->listen(n.self, n.control).has_value());
    EXPECT_TRUE(n.paths->links().data->listen(n.self, n.data).has_value());
    return n;
  }

  static wire::join presence(const one& n) {
    wire::join j;
    j.roles = wire::role_expert;
    j.name = "node";
    n.paths->introduce(j);
    return j;
  }

  template <class Message>
  static result<void> send(const std::shared_ptr<transport::transport>& by,
                           const one& from,
                           node_id to,
                           const Message& m) {
    ATOLL_ASSIGN(auto f, wire::encode(m, {from.self.node, 2}, {to, 1}));
    ATOLL_ASSIGN(const auto there, by->connect(to));
    return there->send(std::move(f));
  }

  /// Sends a frame of that kind again and again until it is so; false after ten seconds.
  template <class Condition>
  static bool insists(const one& from, const one& to, std::uint64_t number, Condition is_so) {
    wire::fetch ask;
    ask.length = 1;
    ask.number = number;
    std::mutex none;
    std::condition_variable never;
    for (int i = 0; i < 200; ++i) {
      static_cast<void>(send(from.paths->links().data, from, to.self.node, ask));
      if (is_so()) return true;
      std::unique_lock lock{none};
      never.wait_for(lock, std::chrono::milliseconds{50});
    }
    return false;
  }

  tls::authority authority_ = *tls::authority::create("c-1", unix_time_ms() / 1000);
  node_id removed_;
};

TEST_F(node_paths_test, addresses_are_said_and_taken_apart) {
  EXPECT_EQ(split_addresses("192.0.2.1:1").control, "192.0.2.1:1");
  EXPECT_EQ(split_addresses("192.0.2.1:1").data, "");
  EXPECT_EQ(split_addresses("a:1,b:2").data, "b:2");
  const one n = start(1, 5, "");
  const wire::join j = presence(n);
  const auto said = split_addresses(j.tls);
  EXPECT_EQ(said.control, n.paths->control_address());
  EXPECT_NE(said.data, "");
  EXPECT_NE(said.data, said.control);
  EXPECT_EQ(*local_address_towards("127.0.0.1:80"), "127.0.0.1");
  EXPECT_TRUE(local_address_towards("127.0.0.1").has_error());
}

TEST_F(node_paths_test, the_coordinator_can_answer_a_node_as_soon_as_it_has_asked_to_join) {
  const one coordinator = start(1, 5, "");
  const one node = start(2, 7, coordinator.paths->control_address());
  EXPECT_TRUE(coordinator.paths->links().control->connect(node_id{2}).has_error());
  ASSERT_TRUE(send(node.paths->links().control, node, node_id{1}, presence(node)).has_value());
  const auto heard = coordinator.control->wait_for(frame_kind::join);
  ASSERT_TRUE(heard.has_value());
  EXPECT_EQ(heard->source.node, node_id{2});
  EXPECT_EQ(heard->sender, incarnation{7});
  wire::welcome w;
  w.cluster = "c-1";
  ASSERT_TRUE(send(coordinator.paths->links().control, coordinator, node_id{2}, w).has_value());
  EXPECT_TRUE(node.control->wait_for(frame_kind::welcome).has_value());
}

TEST_F(node_paths_test, data_goes_to_the_other_address) {
  const one coordinator = start(1, 5, "");
  const one node = start(2, 7, coordinator.paths->control_address());
  coordinator.paths->links().book->put({node.self, presence(node).tls, {}, {}});
  wire::heartbeat beat;
  beat.number = 1;
  ASSERT_TRUE(send(coordinator.paths->links().data, coordinator, node_id{2}, beat).has_value());
  EXPECT_TRUE(node.data->wait_for(frame_kind::heartbeat).has_value());
}

TEST_F(node_paths_test, a_node_finds_the_next_life_of_the_coordinator_at_the_same_address) {
  std::string address;
  one node;
  {
    const one coordinator = start(1, 5, "");
    address = coordinator.paths->control_address();
    node = start(2, 7, address);
    // What members said of it: the life that is to end.
    node.paths->links().book->put({coordinator.self, address, {}, {}});
    ASSERT_TRUE(send(node.paths->links().control, node, node_id{1}, presence(node)).has_value());
    ASSERT_TRUE(coordinator.control->wait_for(frame_kind::join).has_value());
    coordinator.paths->links().control->close();
  }
  path_options o;
  o.self = o.coordinator = node_id{1};
  o.control_listen = address;
  o.own = credentials_of(node_id{1});
  auto paths = node_paths::make(o);
  ASSERT_TRUE(paths.has_value());
  const auto heard = std::make_shared<inbox>();
  ASSERT_TRUE((*paths)->links().control->listen({node_id{1}, incarnation{9}}, heard).has_value());
  // The first frames may still go to the connection that is breaking.
  bool has_come = false;
  for (int i = 0; i < 50 && !has_come; ++i) {
    static_cast<void>(send(node.paths->links().control, node, node_id{1}, presence(node)));
    std::mutex none;
    std::unique_lock lock{none};
    std::condition_variable never;
    never.wait_for(lock, std::chrono::milliseconds{50});
    has_come = (*paths)->links().book->find(node_id{2}).has_value();
  }
  EXPECT_TRUE(has_come);
}

TEST_F(node_paths_test, a_removed_node_gets_no_connection) {
  removed_ = node_id{2};
  const one coordinator = start(1, 5, "");
  const one node = start(2, 7, coordinator.paths->control_address());
  static_cast<void>(send(node.paths->links().control, node, node_id{1}, presence(node)));
  const one other = start(3, 7, coordinator.paths->control_address());
  ASSERT_TRUE(send(other.paths->links().control, other, node_id{1}, presence(other)).has_value());
  const auto heard = coordinator.control->wait_for(frame_kind::join);
  ASSERT_TRUE(heard.has_value());
  EXPECT_EQ(heard->source.node, node_id{3});
  EXPECT_TRUE(coordinator.paths->links().book->find(node_id{2}).has_error());
}

/// What members say, in any form, to a node that knows nothing of the one that is meant.
class node_paths_revoked : public node_paths_test, public ::testing::WithParamInterface<bool> {};

TEST_P(node_paths_revoked, is_believed_on_no_path_and_learns_it) {
  const one coordinator = start(1, 5, "");
  const std::string address = coordinator.paths->control_address();
  const one bad = start(2, 7, address), good = start(3, 7, address), peer = start(4, 7, address);
  const wire::join where = presence(peer);
  for (const one* n : {&bad, &good}) n->paths->links().book->put({peer.self, where.tls, {}, {}});
  wire::heartbeat beat;
  beat.number = 1;
  ASSERT_TRUE(send(bad.paths->links().data, bad, peer.self.node, beat).has_value());
  ASSERT_TRUE(peer.data->wait_for(frame_kind::heartbeat).has_value());

  wire::members all;
  if (GetParam()) {
    all.removed = {bad.self.node.value};
  } else {
    all.revoked = {*wire::parse_serial(bad.serial)};
  }
  peer.paths->links().told(all);
  EXPECT_TRUE(bad.data->wait_for_loss()) << "what is open ends";
  EXPECT_TRUE(insists(bad, peer, 1, [&] { return bad.paths->was_refused(); }));
  EXPECT_EQ(peer.data->count(frame_kind::fetch), 0U);
  EXPECT_TRUE(insists(good, peer, 2, [&] { return peer.data->count(frame_kind::fetch) > 0; }));
  EXPECT_FALSE(good.paths->was_refused());

  peer.paths->links().told(wire::members{});  // it has run out, or nobody says so any more
  EXPECT_TRUE(
      insists(bad, peer, 3, [&] { return peer.data->has_from(frame_kind::fetch, bad.self.node); }));
}

INSTANTIATE_TEST_SUITE_P(ways, node_paths_revoked, ::testing::Bool(), [](const auto& way) {
  return way.param ? "as_a_node" : "by_its_serial";
});

}  // namespace
}  // namespace atl::ops
