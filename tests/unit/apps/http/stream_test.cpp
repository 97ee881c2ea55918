// Answers in pieces, and clients that do not take them.
#include "tests/unit/apps/http/http_server.hpp"

#include <sys/socket.h>
#include <thread>

namespace atl::http::test {
namespace {

class http_stream : public http_server {
protected:
  std::shared_ptr<exchange> open_stream(raw_client& by, std::size_t index = 0) {
    by.send(get("/hold"));
    auto to = held(index);
    if (to) to->begin_stream({});
    return to;
  }
};

TEST_F(http_stream, brings_pieces_of_many_threads_in_their_order) {
  start();
  constexpr int streams = 16;
  constexpr int pieces = 500;
  std::vector<raw_client> clients;
  std::vector<std::thread> writers;
  std::string expected;
  for (int i = 0; i < pieces; ++i) expected += "piece " + std::to_string(i) + "\n";
  for (std::size_t s = 0; s < streams; ++s) {
    clients.emplace_back(address_);
    const auto to = open_stream(clients.back(), s);
    ASSERT_NE(to, nullptr);
    writers.emplace_back([to] {
      for (int i = 0; i < pieces; ++i) to->write("piece " + std::to_string(i) + "\n");
      to->end_stream();
    });
  }
  for (auto& by : clients) EXPECT_EQ(body_of(by.read_answer()), expected);
  for (auto& one : writers) one.join();
  EXPECT_EQ(gone_, 0);
}

TEST_F(http_stream, costs_only_the_client_that_never_reads) {
  limits small;
  small.stream_buffer_max = 64 * 1024;
  start(small);
  raw_client deaf{address_};
  raw_client good{address_};
  const auto to_deaf = open_stream(deaf, 0);
  const auto to_good = open_stream(good, 1);
  std::string expected;
  const std::string piece(4000, 'p');
  std::size_t written = 0;
  while (to_deaf->write(piece)) {
    written += piece.size();
    ASSERT_LT(written, 64U << 20U);
    if (written % 400'000 == 0) {
      ASSERT_TRUE(to_good->write("x"));
      expected += "x";
    }
    // The good client shows that the server's thread has been by.
    if (written % 400'000 == 0) {
      ASSERT_TRUE(eventually([&] { return good.read_until("x"); }));
    }
  }
  EXPECT_TRUE(eventually([&] { return gone_ == 1; }));
  EXPECT_TRUE(eventually([&] { return server_->open_connections() == 1; }));
  EXPECT_TRUE(to_good->write("end"));
  to_good->end_stream();
  EXPECT_EQ(body_of(good.read_answer()), expected + "end");
  EXPECT_TRUE(deaf.read_to_end());
  EXPECT_TRUE(deaf.was_reset());
}

TEST_F(http_stream, gives_up_on_a_client_that_takes_nothing_for_too_long) {
  limits short_time;
  short_time.write_time = 150ms;
  short_time.stream_buffer_max = 64 << 20;
  start(short_time);
  raw_client deaf{address_};
  const auto to = open_stream(deaf);
  EXPECT_TRUE(to->write(std::string(16 << 20, 'p')));
  EXPECT_TRUE(eventually([&] { return gone_ == 1; }));
  EXPECT_FALSE(to->write("more"));
  EXPECT_EQ(server_->counters().timed_out, 1U);
}

TEST_F(http_stream, sends_whole_answers_of_any_size) {
  limits small;
  small.stream_buffer_max = 64 * 1024;
  start(small);
  raw_client by{address_};
  by.send(get("/hold"));
  response large;
  large.body.assign(20 << 20, 'b');
  held()->reply(std::move(large));
  EXPECT_EQ(body_of(by.read_answer()).size(), 20U << 20U);
}

TEST_F(http_stream, ends_without_an_end_where_it_is_aborted_or_forgotten) {
  start();
  for (std::size_t i = 0; i < 2; ++i) {
    raw_client by{address_};
    auto to = open_stream(by, i);
    EXPECT_TRUE(to->write("some"));
    if (i == 0) to->abort();
    if (i == 1) {
      to.reset();
      const std::lock_guard lock{mutex_};
      held_[i].reset();
    }
    EXPECT_TRUE(by.read_to_end());
    EXPECT_NE(by.bytes().find("4\r\nsome\r\n"), std::string::npos);
    EXPECT_EQ(by.bytes().find("\r\n0\r\n"), std::string::npos);
  }
  EXPECT_EQ(gone_, 0);
}

TEST_F(http_stream, is_over_with_its_head_where_only_that_was_asked_for) {
  start();
  raw_client by{address_};
  by.send("HEAD /hold HTTP/1.1\r\nHost: h\r\n\r\n");
  const auto to = held();
  ASSERT_NE(to, nullptr);
  to->begin_stream({});
  ASSERT_TRUE(by.read_until("\r\n\r\n"));
  EXPECT_TRUE(eventually([&] { return gone_ == 1; }));
  EXPECT_FALSE(to->write("piece"));
  by.send(get("/next"));  // on the same connection
  ASSERT_TRUE(by.read_until("/next?"));
  EXPECT_EQ(by.bytes().find("piece"), std::string::npos);
  EXPECT_EQ(server_->counters().disconnected, 0U);
}

TEST_F(http_stream, ignores_what_comes_after_the_answer) {
  start();
  raw_client by{address_};
  const auto to = open_stream(by);
  to->reply({});
  EXPECT_TRUE(to->write("a"));
  to->end_stream();
  EXPECT_FALSE(to->write("b"));
  to->end_stream();
  to->abort();
  to->begin_stream({});
  EXPECT_EQ(body_of(by.read_answer()), "a");
  by.send(get("/next"));
  EXPECT_EQ(body_of(by.read_answer()), "/next?");
}

TEST_F(http_stream, calls_at_once_where_the_client_has_left_already) {
  start();
  raw_client by{address_};
  by.send("GET /hold HTTP/1.1\r\nHost: h\r\n\r\n");
  const auto to = held();
  by.half_close();
  EXPECT_TRUE(eventually([&] { return gone_ == 1; }));
  raw_client other{address_};
  other.send(get("/hold"));
  const auto second = held(1);
  other.close();
  EXPECT_TRUE(eventually([&] { return server_->counters().disconnected == 2; }));
  second->when_gone([this] { gone_ += 10; });  // the first callback has been called
  response whole;
  whole.body = "still";
  to->reply(whole);  // a client that half-closed may yet read
  EXPECT_TRUE(by.read_to_end());
  EXPECT_EQ(body_of(by.bytes()), "still");
  EXPECT_EQ(gone_, 2);
}

TEST_F(http_stream, reads_ahead_only_so_far) {
  start();
  raw_client by{address_};
  by.send(get("/hold"));
  const auto to = held();
  const std::string flood(1 << 20, 'x');
  for (int quiet = 0; quiet < 20; ++quiet) {
    const auto had = ::send(by.socket(), flood.data(), flood.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (had > 0) quiet = 0;
    by.read_until("never", 5ms);
  }
  EXPECT_LE(server_->counters().bytes_received, 256U * 1024);
  EXPECT_EQ(gone_, 0);
}

TEST_F(http_stream, notices_the_end_of_a_client_that_has_sent_far_ahead) {
  start();
  raw_client by{address_};
  by.send(get("/hold"));
  const auto to = held();
  by.send(std::string(100 * 1024, 'x'));  // beyond what is read ahead, within what the kernel takes
  EXPECT_TRUE(eventually([&] { return server_->counters().bytes_received >= 64U * 1024; }));
  EXPECT_FALSE(by.read_until("never", 150ms));
  EXPECT_EQ(gone_, 0);
  by.half_close();
  EXPECT_TRUE(eventually([&] { return gone_ == 1; }));
}

}  // namespace
}  // namespace atl::http::test
