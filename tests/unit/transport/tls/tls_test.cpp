// What TLS promises beyond transport.hpp (backends_test.cpp holds it to that).
#include "runtime/base/log.hpp"
#include "runtime/base/random.hpp"
#include "tests/unit/transport/tls/node.hpp"
#include "tests/unit/transport/tls/raw_peer.hpp"

#include <gtest/gtest.h>

#include <csignal>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

namespace atl::transport {
namespace {

using namespace std::chrono_literals;

class tls_nodes : public testing::Test {
protected:
  tls_world world;
  tls_node a{world, 1, 11};
  tls_node b{world, 2, 22};
};

TEST_F(tls_nodes, frames_of_all_sizes_arrive_as_they_were) {
  random_source random{7};
  const auto filled = [&](std::size_t size) {
    std::vector<std::byte> bytes(size);
    for (std::byte& one : bytes) one = static_cast<std::byte>(random.next());
    return bytes;
  };
  std::vector<frame> sent;
  const auto add = [&](std::size_t metadata, std::size_t payload) {
    frame f = numbered_frame(sent.size());
    f.metadata = filled(metadata);
    f.payload = payload > 0 ? own_payload(filled(payload)) : payload_ref{};
    if (sent.size() % 3 == 0) f.header.flags = flag_payload_checksummed;
    sent.push_back(std::move(f));
  };
  // Around one TLS record of 16,384 bytes, head of 80 included, and several of them.
  for (const std::size_t size : {0U, 1U, 16'303U, 16'304U, 16'305U, 40'000U, 3'000'001U}) {
    add(0, size);
    add(300, size);
    add(size, 100);
  }
  for (int i = 0; i < 300; ++i) add(random.below(500), random.below(20'000));
  const auto to_b = a.net->connect(node_id{2}).value();
  for (const frame& f : sent) ASSERT_TRUE(to_b->send(f).has_value());
  ASSERT_TRUE(b.has_frames(sent.size()));
  const auto got = b.in->frames();
  for (std::size_t i = 0; i < sent.size(); ++i) {
    EXPECT_EQ(got[i].metadata, sent[i].metadata);
    EXPECT_EQ(got[i].header.flags, sent[i].header.flags);
    ASSERT_TRUE(std::equal(got[i].payload.bytes.begin(),
                           got[i].payload.bytes.end(),
                           sent[i].payload.bytes.begin(),
                           sent[i].payload.bytes.end()))
        << "frame " << i;
  }
  EXPECT_TRUE(b.counts(&tls_counters::frames_received, sent.size()));
  EXPECT_EQ(a.net->counters().frames_sent, sent.size());
  EXPECT_EQ(a.net->counters().bytes_sent, b.net->counters().bytes_received);
}

TEST_F(tls_nodes, frames_of_a_life_are_counted_on_when_its_connection_is_opened_again) {
  const auto first = a.net->connect(node_id{2}).value();
  ASSERT_TRUE(first->send(numbered_frame(1)).has_value());
  ASSERT_TRUE(b.has_frames(1));
  b.net->close();
  EXPECT_FALSE(a.loss().empty());
  const tls_node again{world, 2, 23};
  ASSERT_TRUE(a.net->connect(node_id{2}).value()->send(numbered_frame(2)).has_value());
  ASSERT_TRUE(again.has_frames(1));
  EXPECT_EQ(again.in->frames()[0].header.sequence, 2U);
}

TEST_F(tls_nodes, a_peer_in_another_life_is_not_who_was_meant) {
  world.book->put({{node_id{2}, incarnation{33}}, b.net->local_address(), {}, {}});
  const auto to_b = a.net->connect(node_id{2}).value();
  static_cast<void>(to_b->send(numbered_frame(1)));
  const std::string why = a.loss();
  EXPECT_TRUE(contains(why, "node 2 is in its life 22")) << why;
  EXPECT_EQ(a.in->gone()[0].first, (node_identity{node_id{2}, incarnation{33}}));
  EXPECT_EQ(to_b->send(numbered_frame(2)).error().code(), errc::peer_gone);
  EXPECT_TRUE(b.in->frames().empty());
}

TEST_F(tls_nodes, a_peer_whose_life_is_not_known_is_met_in_any) {
  auto book = std::make_shared<address_book>();
  const node_identity anyone{node_id{2}, incarnation{}};
  book->put({anyone, b.net->local_address(), {}, {}});
  auto options = world.options(node_id{3});
  auto c = make_tls_transport(std::move(options), book).value();
  const auto in = std::make_shared<witness>();
  ASSERT_TRUE(c->listen({node_id{3}, incarnation{1}}, in).has_value());
  const auto to_b = c->connect(node_id{2}).value();
  EXPECT_EQ(to_b->peer(), anyone);
  ASSERT_TRUE(to_b->send(numbered_frame(1)).has_value());
  ASSERT_TRUE(b.has_frames(1));
  EXPECT_EQ(to_b->peer(), b.self);
  ASSERT_TRUE(c->connect(node_id{2}).value()->send(numbered_frame(2)).has_value());
  book->put({b.self, b.net->local_address(), {}, {}});
  ASSERT_TRUE(c->connect(node_id{2}).value()->send(numbered_frame(3)).has_value());
  ASSERT_TRUE(b.has_frames(3));
  EXPECT_EQ(b.net->counters().open_incoming, 1U) << "one connection for all endpoints";
  b.net->close();
  ASSERT_TRUE(eventually([&] { return !in->gone().empty(); }));
  EXPECT_EQ(in->gone()[0].first, b.self);
}

TEST_F(tls_nodes, a_later_life_ends_an_earlier_one_and_is_not_ended_by_it) {
  const auto to_a = b.net->connect(node_id{1}).value();
  ASSERT_TRUE(to_a->send(numbered_frame(1)).has_value());
  ASSERT_TRUE(a.has_frames(1));
  const tls_node later{world, 1, 12};
  ASSERT_TRUE(later.net->connect(node_id{2}).value()->send(numbered_frame(2)).has_value());
  ASSERT_TRUE(b.has_frames(1));
  EXPECT_TRUE(contains(b.loss(), "started again"));
  EXPECT_EQ(b.in->gone()[0].first, a.self);
  EXPECT_EQ(to_a->send(numbered_frame(3)).error().code(), errc::peer_gone);
  const auto stale = a.net->connect(node_id{2}).value();
  static_cast<void>(stale->send(numbered_frame(4)));
  EXPECT_TRUE(contains(a.loss(), "knows a later life of this node"));
  EXPECT_EQ(stale->send(numbered_frame(5)).error().code(), errc::stale_epoch);
  EXPECT_EQ(b.in->frames().size(), 1U);
}

TEST_F(tls_nodes, a_loss_is_told_once_until_the_life_is_reached_again) {
  const auto first = a.net->connect(node_id{2}).value();
  const auto second = a.net->connect(node_id{2}).value();
  ASSERT_TRUE(second->send(numbered_frame(1)).has_value());
  ASSERT_TRUE(b.has_frames(1));
  b.net->close();
  ASSERT_FALSE(a.loss().empty());
  for (int i = 0; i < 3; ++i) {
    const auto failing = a.net->connect(node_id{2}).value();
    EXPECT_TRUE(eventually([&] { return failing->send(numbered_frame(2)).has_error(); }));
  }
  EXPECT_EQ(a.in->gone().size(), 1U);
}

TEST_F(tls_nodes, the_queue_to_a_peer_is_bounded) {
  const silent_listener nobody;
  world.book->put({{node_id{9}, incarnation{1}}, nobody.address(), {}, {}});
  auto options = world.options(node_id{3});
  options.limits.queued_frames_max = 4;
  options.limits.queued_bytes_max = 1000;
  options.limits.flush_time = 50ms;
  tls_node c{world, 3, 1, std::move(options)};
  const auto out = c.net->connect(node_id{9}).value();
  frame large = numbered_frame(0);
  large.payload = own_payload(std::vector<std::byte>(100'000));
  ASSERT_TRUE(out->send(large).has_value()) << "one frame always fits";
  EXPECT_EQ(out->send(numbered_frame(1)).error().code(), errc::overloaded);
  EXPECT_EQ(c.net->counters().overloaded, 1U);
  EXPECT_EQ(c.net->counters().queued, 1U);

  world.book->put({{node_id{8}, incarnation{1}}, nobody.address(), {}, {}});
  const auto other = c.net->connect(node_id{8}).value();
  for (std::uint64_t i = 0; i < 4; ++i) EXPECT_TRUE(other->send(numbered_frame(i)).has_value());
  EXPECT_EQ(other->send(numbered_frame(4)).error().code(), errc::overloaded);
}

TEST_F(tls_nodes, a_peer_that_never_answers_is_given_up) {
  const silent_listener nobody;
  world.book->put({{node_id{9}, incarnation{1}}, nobody.address(), {}, {}});
  auto options = world.options(node_id{3});
  options.limits.greeting_time = 100ms;
  tls_node c{world, 3, 1, std::move(options)};
  frame f = numbered_frame(1);
  const std::weak_ptr<const void> payload = f.payload.owner;
  const auto out = c.net->connect(node_id{9}).value();
  ASSERT_TRUE(out->send(std::move(f)).has_value());
  const std::string why = c.loss();
  EXPECT_TRUE(contains(why, "did not answer in 100 ms")) << why;
  EXPECT_TRUE(contains(why, nobody.address())) << why;
  EXPECT_TRUE(payload.expired()) << "what waited is released";
}

TEST_F(tls_nodes, a_port_without_a_listener_is_told) {
  std::string address;
  {
    const silent_listener gone;
    address = gone.address();
  }
  world.book->put({{node_id{9}, incarnation{1}}, address, {}, {}});
  ASSERT_TRUE(a.net->connect(node_id{9}).has_value());
  EXPECT_TRUE(contains(a.loss(), "refused")) << a.loss();
  world.book->put({{node_id{8}, incarnation{1}}, "no address", {}, {}});
  ASSERT_TRUE(a.net->connect(node_id{8}).has_value());
  ASSERT_TRUE(eventually([&] { return a.in->gone().size() == 2; }));
  EXPECT_TRUE(contains(a.in->gone()[1].second, "'no address'"));
  world.book->put({{node_id{7}, incarnation{1}}, "", {}, {}});
  EXPECT_EQ(a.net->connect(node_id{7}).error().code(), errc::peer_gone);
}

TEST_F(tls_nodes, renewed_certificates_are_shown_to_later_connections_and_end_none) {
  const auto to_b = a.net->connect(node_id{2}).value();
  ASSERT_TRUE(to_b->send(numbered_frame(1)).has_value());
  ASSERT_TRUE(b.has_frames(1));
  const auto serial_shown = [&] {
    raw_peer look{b.net->local_address()};
    EXPECT_TRUE(look.start_tls(world.credentials(node_id{7})));
    return look.serial_of_server();
  };
  const std::string before = serial_shown();
  const auto fresh = world.credentials(node_id{2});
  ASSERT_TRUE(b.net->set_credentials(fresh).has_value());
  EXPECT_EQ(serial_shown(), tls::read_facts(fresh.certificate_pem)->serial);
  EXPECT_NE(serial_shown(), before);
  ASSERT_TRUE(to_b->send(numbered_frame(2)).has_value());
  ASSERT_TRUE(b.has_frames(2));
  EXPECT_TRUE(a.in->gone().empty());

  const auto of_other = b.net->set_credentials(world.credentials(node_id{3}));
  EXPECT_EQ(of_other.error().code(), errc::unauthorised);
  const tls_world stranger;
  EXPECT_TRUE(b.net
                  ->set_credentials({world.root.certificate_pem(),
                                     stranger.credentials(node_id{2}).certificate_pem,
                                     fresh.key_pem})
                  .has_error());
}

TEST_F(tls_nodes, listening_asks_for_an_interface_that_is_there) {
  const auto failure = [&](const std::string& where) {
    auto options = world.options(node_id{3});
    options.listen = where;
    world.book->erase(node_id{3});
    return tls_node{world, 3, 1, std::move(options)}.failure;
  };
  EXPECT_EQ(failure("127.0.0.1"), "");
  EXPECT_EQ(failure("lo"), "");
  EXPECT_EQ(failure("lo:0"), "");
  for (const char* missing : {"nope0", "nope0:7400", "192.0.2.77:0"}) {
    const std::string why = failure(missing);
    EXPECT_TRUE(contains(why, missing)) << why;
    EXPECT_TRUE(contains(why, "it has lo 127.0.0.1")) << why;
  }
  EXPECT_TRUE(contains(failure("0.0.0.0:0"), "name one interface"));
  EXPECT_TRUE(contains(failure("[::]:0"), "name one interface"));
  EXPECT_TRUE(contains(failure("127.0.0.1:99999"), "is not IP:PORT"));
  EXPECT_TRUE(contains(failure(""), "is not IP:PORT"));
  EXPECT_TRUE(contains(failure(a.net->local_address()), "in use"));
}

TEST_F(tls_nodes, a_node_listens_as_its_certificate_says) {
  auto options = world.options(node_id{4});
  const tls_node wrong{world, 5, 1, std::move(options)};
  EXPECT_TRUE(contains(wrong.failure, "this is node 5, but its certificate is of node 4"));
}

/// Before any thread of this process: a child that listens as node 2 until it is killed.
struct child_node {
  explicit child_node(const tls_world& world) {
    int ends[2] = {-1, -1};
    EXPECT_EQ(::pipe(ends), 0);
    pid = ::fork();
    if (pid == 0) {
      const tls_node me{world, 2, 22};
      const std::string mine = me.net->local_address();
      static_cast<void>(::write(ends[1], mine.data(), mine.size()));
      for (;;) ::pause();
    }
    char text[64] = {};
    EXPECT_GT(::read(ends[0], text, sizeof text - 1), 0);
    address = text;
    ::close(ends[0]);
    ::close(ends[1]);
  }
  child_node(const child_node&) = delete;
  child_node& operator=(const child_node&) = delete;
  ~child_node() { kill(); }
  void kill() {
    if (pid <= 0) return;
    ::kill(pid, SIGKILL);
    ::waitpid(pid, nullptr, 0);
    pid = -1;
  }
  pid_t pid = -1;
  std::string address;
};

TEST(tls_process, the_death_of_a_peer_is_told_at_once) {
  const tls_world world;
  child_node child{world};
  const node_identity peer{node_id{2}, incarnation{22}};
  world.book->put({peer, child.address, {}, {}});
  const tls_node a{world, 1};
  const auto out = a.net->connect(node_id{2}).value();
  ASSERT_TRUE(out->send(numbered_frame(1)).has_value());
  ASSERT_TRUE(eventually([&] { return a.net->counters().frames_sent == 1; }));
  const steady_clock time;
  const auto before = time.now();
  child.kill();
  EXPECT_FALSE(a.loss().empty());
  EXPECT_LT(time.now() - before, 2s);
  EXPECT_EQ(a.in->gone()[0].first, peer);
  EXPECT_EQ(out->send(numbered_frame(2)).error().code(), errc::peer_gone);
}

TEST(tls_process, a_peer_that_stopped_is_noticed_by_what_it_does_not_take) {
  const tls_world world;
  child_node child{world};
  world.book->put({{node_id{2}, incarnation{22}}, child.address, {}, {}});
  auto options = world.options(node_id{1});
  options.limits.unacknowledged_max = 300ms;
  const tls_node a{world, 1, 1, std::move(options)};
  const auto out = a.net->connect(node_id{2}).value();
  ASSERT_TRUE(out->send(numbered_frame(1)).has_value());
  ASSERT_TRUE(eventually([&] { return a.net->counters().frames_sent == 1; }));
  ::kill(child.pid, SIGSTOP);
  const auto payload = own_payload(std::vector<std::byte>(1 << 20));
  for (int i = 0; i < 30; ++i) {
    frame f = numbered_frame(2);
    f.payload = payload;
    static_cast<void>(out->send(std::move(f)));
  }
  EXPECT_FALSE(a.loss().empty());
}

}  // namespace
}  // namespace atl::transport
