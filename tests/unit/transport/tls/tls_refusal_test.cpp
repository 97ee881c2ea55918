// Who is not let in, what is not taken, and what people are told about it.
#include "runtime/base/log.hpp"
#include "runtime/base/random.hpp"
#include "tests/unit/transport/tls/node.hpp"
#include "tests/unit/transport/tls/raw_peer.hpp"

#include <gtest/gtest.h>
#include <openssl/ssl.h>

namespace atl::transport {
namespace {

using namespace std::chrono_literals;
using tls::greeting_answer;

constexpr std::int64_t hour = 3600;

std::int64_t now() { return unix_time_ms() / 1000; }

/// A certificate of the world's for a node, as it would have been issued at another time.
tls::credentials issued_at(const tls_world& world,
                           node_id node,
                           std::int64_t when,
                           std::chrono::seconds lifetime = 24h) {
  const auto key = tls::make_key_and_request().value();
  tls::certificate_order order;
  order.request_pem = key.request_pem;
  order.node = node;
  order.lifetime = lifetime;
  return {world.root.certificate_pem(), world.root.issue(order, when).value(), key.key_pem};
}

class tls_refusals : public testing::Test {
protected:
  /// What a client with these credentials hears where it wants to greet.
  std::string heard(const std::optional<tls::credentials>& own) {
    raw_peer client{b.net->local_address()};
    if (!client.start_tls(own)) return client.reason();
    const auto answer = client.greet({node_id{1}, incarnation{1}}, b.self);
    return answer ? "answer " + std::to_string(static_cast<int>(answer->answer)) : client.reason();
  }

  /// A client that is taken as node 1 in its life 11.
  std::unique_ptr<raw_peer> admitted() {
    auto client = std::make_unique<raw_peer>(b.net->local_address());
    EXPECT_TRUE(client->start_tls(world.credentials(node_id{1})));
    const auto answer = client->greet({node_id{1}, incarnation{11}}, b.self);
    EXPECT_TRUE(answer.has_value() && answer->answer == greeting_answer::welcome);
    return client;
  }

  /// A frame as node 1 in its life 11 would send it.
  frame good_frame(std::uint64_t sequence = 1) const {
    frame f = numbered_frame(sequence);
    stamp(f, {node_id{1}, incarnation{11}}, node_id{2}, sequence);
    return f;
  }

  /// Whether these bytes end the connection, and are counted.
  bool is_refused(std::span<const std::byte> bytes) {
    const auto client = admitted();
    const auto before = b.net->counters().malformed;
    client->send(bytes);
    const bool is_ended = client->read(1).empty();
    return is_ended && b.net->counters().malformed == before + 1 && b.in->frames().empty();
  }
  bool is_refused(frame f) {
    const auto head = seal(f).value();
    std::vector<std::byte> bytes{head.begin(), head.end()};
    bytes.insert(bytes.end(), f.metadata.begin(), f.metadata.end());
    bytes.insert(bytes.end(), f.payload.bytes.begin(), f.payload.bytes.end());
    return is_refused(bytes);
  }

  /// Everything still works for those who belong here.
  void expect_service() {
    const tls_node friendly{world, 5};
    const auto frames = b.in->frames().size();
    ASSERT_TRUE(friendly.net->connect(node_id{2}).value()->send(numbered_frame(1)).has_value());
    EXPECT_TRUE(b.has_frames(frames + 1));
  }

  tls_world world;
  tls_node b{world, 2, 22};
};

TEST_F(tls_refusals, a_client_of_another_authority) {
  const tls_world other;
  EXPECT_EQ(heard(other.credentials(node_id{1})), "tlsv1 alert unknown ca");
  EXPECT_TRUE(b.counts(&tls_counters::refused, 1));
  expect_service();
}

TEST_F(tls_refusals, a_client_without_a_certificate) {
  EXPECT_EQ(heard(std::nullopt), "tlsv13 alert certificate required");
  EXPECT_TRUE(b.counts(&tls_counters::refused, 1));
}

TEST_F(tls_refusals, a_certificate_that_names_no_node) {
  const auto key = tls::make_key_and_request().value();
  tls::certificate_order order;
  order.request_pem = key.request_pem;
  order.names = {"localhost"};
  const tls::credentials server{
      world.root.certificate_pem(), world.root.issue(order, now()).value(), key.key_pem};
  EXPECT_TRUE(contains(heard(server), "alert")) << heard(server);
  auto options = world.options(node_id{1});
  options.own = server;
  EXPECT_TRUE(make_tls_transport(options, world.book).has_error());
}

TEST_F(tls_refusals, an_old_version_of_tls) {
  raw_peer client{b.net->local_address()};
  EXPECT_FALSE(client.start_tls(world.credentials(node_id{1}), TLS1_2_VERSION));
  EXPECT_EQ(client.reason(), "tlsv1 alert protocol version");
}

TEST_F(tls_refusals, a_server_of_another_authority) {
  const tls_world other;
  const tls_node foreign{other, 3, 33};
  world.book->put({foreign.self, foreign.net->local_address(), {}, {}});
  const tls_node a{world, 1};
  static_cast<void>(a.net->connect(node_id{3}).value()->send(numbered_frame(1)));
  EXPECT_TRUE(contains(a.loss(), "the peer's certificate is not accepted")) << a.loss();
  EXPECT_TRUE(foreign.in->frames().empty());
}

TEST_F(tls_refusals, a_node_that_is_not_the_one_that_was_meant) {
  world.book->put({{node_id{3}, incarnation{22}}, b.net->local_address(), {}, {}});
  const tls_node a{world, 1};
  static_cast<void>(a.net->connect(node_id{3}).value()->send(numbered_frame(1)));
  EXPECT_TRUE(contains(a.loss(), "asked for node 3, but the peer is node 2")) << a.loss();
  EXPECT_TRUE(b.in->frames().empty());
}

TEST_F(tls_refusals, certificates_that_are_not_valid_now) {
  EXPECT_EQ(heard(issued_at(world, node_id{1}, now() - 2 * hour, 1h)),
            "sslv3 alert certificate expired");
  EXPECT_EQ(heard(issued_at(world, node_id{1}, now() + hour)), "sslv3 alert bad certificate");
  EXPECT_EQ(heard(issued_at(world, node_id{1}, now() + 240)), "answer 0");
  auto options = world.options(node_id{1});
  options.own = issued_at(world, node_id{1}, now() - 2 * hour, 1h);
  const auto made = make_tls_transport(options, world.book);
  ASSERT_TRUE(made.has_error());
  EXPECT_TRUE(contains(made.error().message(), "expired at")) << made.error().message();
}

TEST_F(tls_refusals, a_clock_that_is_an_hour_off_but_not_one_that_is_four_minutes_off) {
  const auto with_clock = [&](std::uint32_t id, std::int64_t offset) {
    auto options = world.options(node_id{id});
    options.now_unix_s = [offset] { return now() + offset; };
    options.own = issued_at(world, node_id{id}, now() - hour);  // so that it is valid by all clocks
    return options;
  };
  for (const std::int64_t offset : {-240, 240}) {
    tls_node near{world, 3, 1, with_clock(3, offset)};
    ASSERT_TRUE(near.net->connect(node_id{2}).value()->send(numbered_frame(1)).has_value());
    EXPECT_TRUE(b.has_frames(1));
    world.book->erase(node_id{3});
  }
  for (const std::int64_t offset : {-400, 400}) {  // the certificates alone would pass
    tls_node off{world, 4, 1, with_clock(4, offset)};
    ASSERT_TRUE(off.net->connect(node_id{2}).has_value());
    const std::string why = off.loss();
    EXPECT_TRUE(
        contains(why, offset < 0 ? "is valid from" : "clocks differ by more than five minutes"))
        << why;
    world.book->erase(node_id{4});
  }
  tls_node ahead{world, 6, 1, with_clock(6, hour)};
  ASSERT_TRUE(ahead.net->connect(node_id{2}).has_value());
  const std::string why = ahead.loss();
  EXPECT_TRUE(contains(why, rfc3339((now() + hour) * 1000).substr(0, 14))) << why;
  EXPECT_TRUE(contains(why, "node 2 " + rfc3339(now() * 1000).substr(0, 14))) << why;
}

TEST_F(tls_refusals, revoked_nodes_at_once_and_from_then_on) {
  std::mutex mutex;
  std::set<node_id> revoked;
  auto options = world.options(node_id{3});
  options.is_revoked = [&](const std::string& serial, node_id node) {
    EXPECT_EQ(serial.size(), 32U);
    const std::lock_guard lock{mutex};
    return revoked.count(node) > 0;
  };
  tls_node c{world, 3, 1, std::move(options)};
  const tls_node a{world, 1};
  ASSERT_TRUE(a.net->connect(node_id{3}).value()->send(numbered_frame(1)).has_value());
  ASSERT_TRUE(c.net->connect(node_id{1}).value()->send(numbered_frame(1)).has_value());
  ASSERT_TRUE(c.has_frames(1));
  ASSERT_TRUE(a.has_frames(1));
  {
    const std::lock_guard lock{mutex};
    revoked.insert(node_id{1});
  }
  c.net->drop_revoked();
  EXPECT_TRUE(contains(c.loss(), "revoked")) << c.loss();
  EXPECT_FALSE(a.loss().empty());
  const tls_node again{world, 1, 2};
  ASSERT_TRUE(again.net->connect(node_id{3}).has_value());
  EXPECT_TRUE(contains(again.loss(), "refuses this node's certificate: it is revoked"))
      << again.loss();
  ASSERT_TRUE(c.net->connect(node_id{1}).has_value());
  ASSERT_TRUE(eventually([&] { return c.in->gone().size() == 2; }));
  EXPECT_TRUE(contains(c.in->gone()[1].second, "the certificate of node 1 is revoked"));
  expect_service();
}

TEST_F(tls_refusals, greetings_that_do_not_fit) {
  const auto answer_to = [&](node_identity from, node_identity to) {
    raw_peer client{b.net->local_address()};
    EXPECT_TRUE(client.start_tls(world.credentials(node_id{1})));
    const auto answer = client.greet(from, to);
    EXPECT_TRUE(answer.has_value());
    EXPECT_EQ(answer->from, b.self);
    return answer->answer;
  };
  const node_identity a{node_id{1}, incarnation{11}};
  EXPECT_EQ(answer_to({node_id{7}, a.life}, b.self), greeting_answer::wrong_node);
  EXPECT_EQ(answer_to(a, {node_id{7}, b.self.life}), greeting_answer::wrong_node);
  EXPECT_EQ(answer_to(a, {b.self.node, incarnation{21}}), greeting_answer::other_life);
  EXPECT_EQ(answer_to(a, b.self), greeting_answer::welcome);
  EXPECT_EQ(answer_to({a.node, incarnation{10}}, b.self), greeting_answer::stale_life);
  EXPECT_TRUE(b.counts(&tls_counters::refused, 4));

  raw_peer client{b.net->local_address()};
  ASSERT_TRUE(client.start_tls(world.credentials(node_id{1})));
  client.send(std::vector<std::byte>(64, std::byte{0xFF}));
  EXPECT_TRUE(client.read(1).empty());
  EXPECT_TRUE(b.counts(&tls_counters::refused, 5));
}

TEST_F(tls_refusals, bytes_that_are_no_tls) {
  random_source random{3};
  for (int i = 0; i < 20; ++i) {
    raw_peer client{b.net->local_address()};
    std::string bytes(1 + random.below(5000), '\0');
    for (char& one : bytes) one = static_cast<char>(i == 0 ? 0xFF : random.next());
    client.send_plain(i == 1 ? "GET / HTTP/1.1\r\nHost: x\r\n\r\n" + std::string(100, ' ') : bytes);
    if (bytes.size() > 5) {
      EXPECT_TRUE(client.is_closed_by_peer());
    }
  }
  EXPECT_TRUE(b.in->frames().empty());
  expect_service();
}

TEST_F(tls_refusals, frames_that_fail_a_check) {
  frame f = good_frame();
  EXPECT_TRUE(is_refused(std::vector<std::byte>(80, std::byte{0xFF})));
  const auto changed = [&](std::size_t at, std::byte to) {
    frame whole = good_frame();
    const auto head = seal(whole).value();
    std::vector<std::byte> bytes{head.begin(), head.end()};
    bytes.insert(bytes.end(), whole.metadata.begin(), whole.metadata.end());
    bytes.insert(bytes.end(), whole.payload.bytes.begin(), whole.payload.bytes.end());
    bytes.at(at) = to;
    return bytes;
  };
  EXPECT_TRUE(is_refused(changed(0, std::byte{0}))) << "magic";
  EXPECT_TRUE(is_refused(changed(4, std::byte{9}))) << "version";
  EXPECT_TRUE(is_refused(changed(7, std::byte{9}))) << "kind";
  EXPECT_TRUE(is_refused(changed(15, std::byte{0xFF}))) << "metadata of 4 GiB";
  EXPECT_TRUE(is_refused(changed(23, std::byte{0xFF}))) << "payload of 2^63 bytes and more";
  EXPECT_TRUE(is_refused(changed(80, std::byte{0xFF}))) << "metadata against its checksum";
  f = good_frame();
  f.header.flags = flag_payload_checksummed;
  {
    const auto head = seal(f).value();
    std::vector<std::byte> bytes{head.begin(), head.end()};
    bytes.insert(bytes.end(), f.metadata.begin(), f.metadata.end());
    bytes.insert(bytes.end(), f.payload.bytes.size(), std::byte{1});
    EXPECT_TRUE(is_refused(bytes)) << "payload against its checksum";
  }
  f = good_frame();
  f.header.source.node = node_id{3};
  EXPECT_TRUE(is_refused(f)) << "another node's";
  f = good_frame();
  f.header.destination.node = node_id{3};
  EXPECT_TRUE(is_refused(f)) << "for another node";
  f = good_frame();
  f.header.sender = incarnation{10};
  EXPECT_TRUE(is_refused(f)) << "of an old life";
  f = good_frame();
  f.header.sequence = 0;
  EXPECT_TRUE(is_refused(f)) << "without a number";
  expect_service();
}

TEST_F(tls_refusals, a_frame_that_comes_again) {
  const auto client = admitted();
  ASSERT_TRUE(client->send_frame(good_frame(5)));
  ASSERT_TRUE(b.has_frames(1));
  ASSERT_TRUE(client->send_frame(good_frame(5)));
  EXPECT_TRUE(client->read(1).empty());
  EXPECT_EQ(b.in->frames().size(), 1U);
  EXPECT_TRUE(b.counts(&tls_counters::malformed, 1));
}

TEST_F(tls_refusals, frames_above_the_caps_of_a_node) {
  auto options = world.options(node_id{3});
  options.limits.metadata_bytes_max = 100;
  options.limits.payload_bytes_max = 1000;
  const tls_node small{world, 3, 1, std::move(options)};
  const tls_node a{world, 1};
  frame f = numbered_frame(1);
  f.metadata.resize(100);
  f.payload = own_payload(std::vector<std::byte>(1000));
  ASSERT_TRUE(a.net->connect(node_id{3}).value()->send(f).has_value());
  ASSERT_TRUE(small.has_frames(1));
  f.payload = own_payload(std::vector<std::byte>(1001));
  ASSERT_TRUE(a.net->connect(node_id{3}).value()->send(f).has_value());
  EXPECT_FALSE(a.loss().empty());
  EXPECT_EQ(small.in->frames().size(), 1U);
  EXPECT_TRUE(small.counts(&tls_counters::malformed, 1));
}

TEST_F(tls_refusals, a_frame_cut_short_is_no_frame) {
  {
    const auto client = admitted();
    frame f = good_frame();
    const auto head = seal(f).value();
    client->send(head);
    client->send(std::span{f.metadata}.first(7));
  }
  EXPECT_TRUE(eventually([&] { return b.net->counters().open_incoming == 0; }));
  EXPECT_TRUE(b.in->frames().empty());
}

TEST_F(tls_refusals, silence) {
  auto options = world.options(node_id{3});
  options.limits.greeting_time = 500ms;
  const tls_node c{world, 3, 1, std::move(options)};
  const raw_peer without_a_word{c.net->local_address()};
  raw_peer without_a_greeting{c.net->local_address()};
  ASSERT_TRUE(without_a_greeting.start_tls(world.credentials(node_id{1})));
  EXPECT_TRUE(without_a_word.is_closed_by_peer());
  EXPECT_TRUE(without_a_greeting.read(1).empty());
  EXPECT_TRUE(c.counts(&tls_counters::timed_out, 2));
}

TEST_F(tls_refusals, a_crowd_of_strangers_does_not_keep_out_a_node) {
  auto options = world.options(node_id{3});
  options.limits.unproved_max = 8;
  const tls_node c{world, 3, 1, std::move(options)};
  std::vector<std::unique_ptr<raw_peer>> crowd;
  crowd.reserve(100);
  for (int i = 0; i < 100; ++i) {
    crowd.push_back(std::make_unique<raw_peer>(c.net->local_address()));
  }
  EXPECT_TRUE(eventually([&] { return c.net->counters().accepted == 100; }));
  EXPECT_TRUE(c.counts(&tls_counters::refused, 92));
  EXPECT_TRUE(crowd.front()->is_closed_by_peer());
  const tls_node friendly{world, 5};
  ASSERT_TRUE(friendly.net->connect(node_id{3}).value()->send(numbered_frame(1)).has_value());
  EXPECT_TRUE(c.has_frames(1));
}

TEST_F(tls_refusals, more_nodes_than_there_is_room_for) {
  auto options = world.options(node_id{3});
  options.limits.connections_max = 1;
  const tls_node c{world, 3, 1, std::move(options)};
  const tls_node first{world, 1};
  ASSERT_TRUE(first.net->connect(node_id{3}).value()->send(numbered_frame(1)).has_value());
  ASSERT_TRUE(c.has_frames(1));
  const tls_node second{world, 4};
  ASSERT_TRUE(second.net->connect(node_id{3}).has_value());
  EXPECT_TRUE(contains(second.loss(), "takes no more connections")) << second.loss();
}

}  // namespace
}  // namespace atl::transport
