// The promises of transport.hpp, on every backend. A new backend adds a fabric to the list.
#include "tests/unit/transport/inbox.hpp"
#include "tests/unit/transport/tls_fabric.hpp"
#ifdef ATOLL_UCX
#include "tests/unit/transport/ucx_fabric.hpp"
#endif
#include "transport/faulty/faulty.hpp"
#include "transport/loopback/loopback.hpp"
#include "transport/sim/sim.hpp"

#include <gtest/gtest.h>

#include <functional>
#include <thread>

namespace atl::transport {
namespace {

/// A way to join nodes, and to let everything that is under way arrive.
struct fabric {
  const char* name;
  std::function<std::unique_ptr<transport>()> join;
  std::function<void()> settle;
};

fabric loopback_fabric() {
  auto network = std::make_shared<loopback_network>();
  return {"loopback", [network] { return network->join(); }, [] {}};
}

std::shared_ptr<sim_network> new_sim() {
  return std::make_shared<sim_network>(sim_options{.seed = 5}, std::make_shared<virtual_clock>());
}

fabric sim_fabric() {
  auto network = new_sim();
  return {"sim",
          [network] { return network->join(); },
          [network] {
            while (network->step()) {
            }
          }};
}

fabric without_faults(fabric inner, const char* name) {
  auto faults = std::make_shared<faulty_network>(1, fault_plan{}, nullptr);
  auto join = [faults, join = inner.join] { return faults->wrap(join()); };
  return {name, join, inner.settle};
}

fabric faulty_loopback_fabric() { return without_faults(loopback_fabric(), "faulty_loopback"); }

fabric faulty_sim_fabric() { return without_faults(sim_fabric(), "faulty_sim"); }

fabric tls_fabric() {
  auto world = std::make_shared<tls_world>();
  return {"tls",
          [world] { return world->join(); },
          [world] { EXPECT_TRUE(eventually([&] { return world->is_quiet(); })); }};
}

fabric faulty_tls_fabric() { return without_faults(tls_fabric(), "faulty_tls"); }

#ifdef ATOLL_UCX
/// Over what UCX chooses among the wires of one machine, or over the named ones.
fabric ucx_fabric(const char* name, const char* wires) {
  auto world = std::make_shared<ucx_world>();
  auto join = [world, wires] {
    if (wires != nullptr) ::setenv("UCX_TLS", wires, 1);
    auto joined = world->join();
    ::unsetenv("UCX_TLS");
    return joined;
  };
  return {name, join, [world] { EXPECT_TRUE(eventually([&] { return world->is_quiet(); })); }};
}

fabric ucx_any_fabric() { return ucx_fabric("ucx", nullptr); }

fabric ucx_tcp_fabric() { return ucx_fabric("ucx_tcp", "tcp"); }

fabric faulty_ucx_fabric() { return without_faults(ucx_tcp_fabric(), "faulty_ucx"); }
#endif

class backends : public testing::TestWithParam<fabric (*)()> {
protected:
  fabric net = GetParam()();
};

/// Backends that take calls from several threads.
class threaded_backends : public backends {};

/// Backends whose nodes share what they know, and the memory of payloads.
class local_backends : public backends {};

TEST_P(backends, a_frame_arrives_whole_and_stamped) {
  test_node a{net.join(), 1, 11};
  test_node b{net.join(), 2, 22};
  const auto to_b = a.net->connect(node_id{2});
  ASSERT_TRUE(to_b.has_value()) << to_b.error().message();
  EXPECT_EQ((*to_b)->peer(), b.self);
  ASSERT_TRUE((*to_b)->send(numbered_frame(42)).has_value());
  net.settle();
  const auto frames = b.in->frames();
  ASSERT_EQ(frames.size(), 1U);
  const frame_header& h = frames[0].header;
  EXPECT_EQ(h.kind, frame_kind::dispatch);
  EXPECT_EQ(h.source, (address{node_id{1}, 3}));
  EXPECT_EQ(h.destination, (address{node_id{2}, 4}));
  EXPECT_EQ(h.sender, incarnation{11});
  EXPECT_EQ(h.epoch, atl::epoch{7});
  EXPECT_EQ(h.sequence, 1U);
  EXPECT_EQ(h.metadata_bytes, 16U);
  EXPECT_EQ(h.payload_bytes, 24U);
  EXPECT_EQ(number_of(frames[0]), 42U);
  const frame expected = numbered_frame(42);
  EXPECT_TRUE(std::equal(frames[0].payload.bytes.begin(),
                         frames[0].payload.bytes.end(),
                         expected.payload.bytes.begin(),
                         expected.payload.bytes.end()));
  EXPECT_TRUE(a.in->frames().empty());
}

TEST_P(backends, frames_of_one_endpoint_keep_their_order) {
  test_node a{net.join(), 1};
  test_node b{net.join(), 2};
  const auto to_b = a.net->connect(node_id{2}).value();
  for (std::uint64_t i = 0; i < 200; ++i) ASSERT_TRUE(to_b->send(numbered_frame(i)).has_value());
  net.settle();
  const auto frames = b.in->frames();
  ASSERT_EQ(frames.size(), 200U);
  for (std::uint64_t i = 0; i < 200; ++i) {
    EXPECT_EQ(number_of(frames[i]), i);
    EXPECT_EQ(frames[i].header.sequence, i + 1);
  }
}

TEST_P(backends, the_payload_is_released_when_all_are_done_with_it) {
  test_node a{net.join(), 1};
  test_node b{net.join(), 2};
  const auto to_b = a.net->connect(node_id{2}).value();
  frame f = numbered_frame(1);
  const std::weak_ptr<const void> watch = f.payload.owner;
  ASSERT_TRUE(to_b->send(std::move(f)).has_value());
  net.settle();
  EXPECT_EQ(b.in->frames().size(), 1U);
  b.in->clear();
  EXPECT_TRUE(eventually([&] { return watch.expired(); }));
}

TEST_P(local_backends, a_payload_is_shared_with_who_holds_the_frame) {
  test_node a{net.join(), 1};
  test_node b{net.join(), 2};
  const auto to_b = a.net->connect(node_id{2}).value();
  frame f = numbered_frame(1);
  const std::weak_ptr<const void> watch = f.payload.owner;
  ASSERT_TRUE(to_b->send(std::move(f)).has_value());
  net.settle();
  EXPECT_FALSE(watch.expired());
}

TEST_P(backends, the_sequence_goes_on_when_an_endpoint_is_opened_again) {
  test_node a{net.join(), 1};
  test_node b{net.join(), 2};
  test_node c{net.join(), 3};
  const auto first = a.net->connect(node_id{2}).value();
  ASSERT_TRUE(first->send(numbered_frame(1)).has_value());
  first->close();
  const auto second = a.net->connect(node_id{2}).value();
  ASSERT_TRUE(second->send(numbered_frame(2)).has_value());
  ASSERT_TRUE(a.net->connect(node_id{3}).value()->send(numbered_frame(3)).has_value());
  net.settle();
  ASSERT_EQ(b.in->frames().size(), 2U);
  EXPECT_EQ(b.in->frames()[0].header.sequence, 1U);
  EXPECT_EQ(b.in->frames()[1].header.sequence, 2U);
  ASSERT_EQ(c.in->frames().size(), 1U);
  EXPECT_EQ(c.in->frames()[0].header.sequence, 1U) << "each destination is counted apart";
}

TEST_P(backends, a_node_reaches_itself) {
  test_node a{net.join(), 1};
  const auto to_a = a.net->connect(node_id{1}).value();
  ASSERT_TRUE(to_a->send(numbered_frame(9)).has_value());
  net.settle();
  EXPECT_EQ(numbers_of(a.in->frames()), (std::vector<std::uint64_t>{9}));
}

TEST_P(backends, connect_asks_for_a_listening_peer_and_an_identity) {
  test_node a{net.join(), 1};
  EXPECT_EQ(a.net->connect(node_id{2}).error().code(), errc::peer_gone);
  const auto nameless = net.join();
  EXPECT_EQ(nameless->connect(node_id{1}).error().code(), errc::invalid_argument);
}

TEST_P(local_backends, a_life_must_be_larger_than_the_last) {
  auto a = std::make_unique<test_node>(net.join(), 1, 5);
  ASSERT_TRUE(a->is_listening);
  EXPECT_FALSE((test_node{net.join(), 1, 6}.is_listening)) << "the first still listens";
  a.reset();
  EXPECT_FALSE((test_node{net.join(), 1, 5}.is_listening)) << "the same life again";
  EXPECT_FALSE((test_node{net.join(), 1, 4}.is_listening)) << "an older life";
  EXPECT_TRUE((test_node{net.join(), 1, 6}.is_listening));
}

TEST_P(backends, a_transport_listens_once) {
  test_node a{net.join(), 1};
  EXPECT_TRUE(a.net->listen({node_id{9}, incarnation{1}}, a.in).has_error());
}

TEST_P(backends, who_watches_a_node_hears_of_its_end_once) {
  test_node a{net.join(), 1};
  test_node b{net.join(), 2};
  test_node c{net.join(), 3};
  const auto first = a.net->connect(node_id{2}).value();
  const auto second = a.net->connect(node_id{2}).value();
  ASSERT_TRUE(first->send(numbered_frame(1)).has_value());
  net.settle();
  b.net->close();
  b.net->close();
  net.settle();
  EXPECT_EQ(a.in->gone(), (std::vector<node_identity>{b.self}));
  EXPECT_TRUE(c.in->gone().empty());
  EXPECT_TRUE(b.in->gone().empty());
  EXPECT_EQ(first->send(numbered_frame(2)).error().code(), errc::peer_gone);
  net.settle();
  EXPECT_EQ(b.in->frames().size(), 1U);
}

TEST_P(backends, an_endpoint_ends_with_the_life_of_its_peer) {
  test_node a{net.join(), 1};
  auto b = std::make_unique<test_node>(net.join(), 2, 1);
  const auto old_endpoint = a.net->connect(node_id{2}).value();
  ASSERT_TRUE(old_endpoint->send(numbered_frame(0)).has_value());
  net.settle();
  b.reset();
  const test_node again{net.join(), 2, 2};
  EXPECT_TRUE(eventually(
      [&] { return old_endpoint->send(numbered_frame(1)).error().code() == errc::peer_gone; }));
  const auto fresh = a.net->connect(node_id{2}).value();
  ASSERT_TRUE(fresh->send(numbered_frame(2)).has_value());
  net.settle();
  EXPECT_EQ(numbers_of(again.in->frames()), (std::vector<std::uint64_t>{2}));
}

TEST_P(backends, closed_endpoints_and_nodes_do_not_send) {
  test_node a{net.join(), 1};
  test_node b{net.join(), 2};
  const auto closed = a.net->connect(node_id{2}).value();
  const auto open = a.net->connect(node_id{2}).value();
  closed->close();
  EXPECT_EQ(closed->send(numbered_frame(1)).error().code(), errc::peer_gone);
  EXPECT_TRUE(open->send(numbered_frame(2)).has_value());
  a.net->close();
  EXPECT_EQ(open->send(numbered_frame(3)).error().code(), errc::peer_gone);
  net.settle();
  EXPECT_EQ(numbers_of(b.in->frames()), (std::vector<std::uint64_t>{2}));
}

TEST_P(backends, an_oversized_frame_is_refused_at_the_sender) {
  test_node a{net.join(), 1};
  test_node b{net.join(), 2};
  const auto to_b = a.net->connect(node_id{2}).value();
  frame f = numbered_frame(1);
  f.metadata.resize(metadata_bytes_max + std::size_t{1});
  EXPECT_EQ(to_b->send(std::move(f)).error().code(), errc::invalid_argument);
  ASSERT_TRUE(to_b->send(numbered_frame(2)).has_value());
  net.settle();
  EXPECT_EQ(numbers_of(b.in->frames()), (std::vector<std::uint64_t>{2}));
}

TEST_P(backends, nothing_reaches_an_expired_receiver) {
  test_node a{net.join(), 1};
  test_node b{net.join(), 2};
  const auto to_b = a.net->connect(node_id{2}).value();
  b.in.reset();
  static_cast<void>(to_b->send(numbered_frame(1)));
  net.settle();
}

TEST_P(backends, memory_can_be_registered) {
  test_node a{net.join(), 1};
  std::vector<std::byte> bytes(100);
  const auto region = a.net->register_memory(bytes);
  ASSERT_TRUE(region.has_value());
  EXPECT_EQ((*region)->bytes().data(), bytes.data());
  EXPECT_EQ((*region)->bytes().size(), 100U);
}

TEST_P(threaded_backends, threads_may_share_an_endpoint) {
  test_node a{net.join(), 1};
  test_node b{net.join(), 2};
  const auto to_b = a.net->connect(node_id{2}).value();
  const auto send_from = [&](std::uint64_t base) {
    for (std::uint64_t i = 0; i < 500; ++i) {
      ASSERT_TRUE(to_b->send(numbered_frame(base + i)).has_value());
    }
  };
  std::jthread other{[&] { send_from(1000); }};
  send_from(0);
  other.join();
  net.settle();
  std::uint64_t next_low = 0;
  std::uint64_t next_high = 1000;
  std::vector<bool> sequences(1001);
  for (const frame& f : b.in->frames()) {
    std::uint64_t& next = number_of(f) < 1000 ? next_low : next_high;
    EXPECT_EQ(number_of(f), next++);
    sequences.at(f.header.sequence) = true;
  }
  EXPECT_EQ(next_low, 500U);
  EXPECT_EQ(next_high, 1500U);
  EXPECT_EQ(std::count(sequences.begin(), sequences.end(), true), 1000);
}

TEST_P(threaded_backends, a_node_may_close_while_others_send) {
  test_node a{net.join(), 1};
  test_node b{net.join(), 2};
  const auto to_b = a.net->connect(node_id{2}).value();
  ASSERT_TRUE(to_b->send(numbered_frame(0)).has_value());
  net.settle();
  std::jthread closer{[&] { b.net->close(); }};
  std::size_t taken = 0;
  for (std::uint64_t i = 0; i < 1000; ++i) {
    const auto sent = to_b->send(numbered_frame(i));
    if (sent.has_value()) {
      ++taken;
    } else {
      ASSERT_EQ(sent.error().code(), errc::peer_gone);
    }
  }
  closer.join();
  EXPECT_LE(b.in->frames().size(), taken + 1);
  EXPECT_TRUE(eventually([&] { return a.in->gone().size() == 1; }));
}

TEST_P(local_backends, what_was_taken_before_the_peer_closed_arrived) {
  test_node a{net.join(), 1};
  test_node b{net.join(), 2};
  const auto to_b = a.net->connect(node_id{2}).value();
  for (std::uint64_t i = 0; i < 10; ++i) ASSERT_TRUE(to_b->send(numbered_frame(i)).has_value());
  net.settle();
  b.net->close();
  EXPECT_EQ(b.in->frames().size(), 10U);
}

std::string name_of(const testing::TestParamInfo<fabric (*)()>& chosen) {
  return chosen.param().name;
}

INSTANTIATE_TEST_SUITE_P(
    all,
    backends,
    testing::Values(loopback_fabric, sim_fabric, faulty_loopback_fabric, faulty_sim_fabric),
    name_of);

INSTANTIATE_TEST_SUITE_P(
    all,
    local_backends,
    testing::Values(loopback_fabric, sim_fabric, faulty_loopback_fabric, faulty_sim_fabric),
    name_of);

INSTANTIATE_TEST_SUITE_P(all,
                         threaded_backends,
                         testing::Values(loopback_fabric, faulty_loopback_fabric),
                         name_of);

INSTANTIATE_TEST_SUITE_P(tls, backends, testing::Values(tls_fabric, faulty_tls_fabric), name_of);

INSTANTIATE_TEST_SUITE_P(tls, threaded_backends, testing::Values(tls_fabric), name_of);

#ifdef ATOLL_UCX
INSTANTIATE_TEST_SUITE_P(ucx,
                         backends,
                         testing::Values(ucx_any_fabric, ucx_tcp_fabric, faulty_ucx_fabric),
                         name_of);

INSTANTIATE_TEST_SUITE_P(ucx,
                         threaded_backends,
                         testing::Values(ucx_any_fabric, ucx_tcp_fabric),
                         name_of);
#endif

TEST(loopback, delivers_inside_send_without_copying_or_hashing_the_payload) {
  loopback_network network;
  test_node a{network.join(), 1};
  test_node b{network.join(), 2};
  const auto to_b = a.net->connect(node_id{2}).value();
  frame f = numbered_frame(1);
  f.header.flags = flag_payload_checksummed;
  const std::byte* payload = f.payload.bytes.data();
  ASSERT_TRUE(to_b->send(std::move(f)).has_value());
  const auto frames = b.in->frames();
  ASSERT_EQ(frames.size(), 1U);
  EXPECT_EQ(frames[0].payload.bytes.data(), payload);
  EXPECT_EQ(frames[0].header.flags, 0U);
  EXPECT_EQ(frames[0].header.payload_checksum, 0U);
}

}  // namespace
}  // namespace atl::transport
