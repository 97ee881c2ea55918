#include "apps/remote/server.hpp"
#include "tests/support/scripted_server.hpp"

#include <gtest/gtest.h>

#include <map>
#include <string>

namespace atl::remote {
namespace {

using test::scripted_server;

/// Files in memory, for reading.
class listed_files final : public disk {
public:
  explicit listed_files(std::map<std::string, std::string> files) : files_{std::move(files)} {}
  result<std::shared_ptr<const mapped_file>> map(const std::string& path) override {
    return error{errc::io, path};
  }
  result<std::string> read(const std::string& path, std::size_t) override {
    const auto found = files_.find(path);
    if (found == files_.end()) return error{errc::not_found, path + ": no such file"};
    return found->second;
  }
  result<std::unique_ptr<file_writer>> create(const std::string& path) override {
    return error{errc::io, path};
  }
  result<std::unique_ptr<file_appender>> append(const std::string& path) override {
    return error{errc::io, path + ": read-only"};
  }
  bool is_file(const std::string& path) override { return files_.count(path) > 0; }
  bool is_directory(const std::string&) override { return false; }
  result<std::vector<std::string>> list(const std::string& path) override {
    return error{errc::io, path};
  }

private:
  std::map<std::string, std::string> files_;
};

model::environment variables(std::map<std::string, std::string> all) {
  return [all](std::string_view name) -> std::optional<std::string> {
    const auto found = all.find(std::string{name});
    return found == all.end() ? std::nullopt : std::optional{found->second};
  };
}

TEST(remote_server, the_key_comes_from_the_nearest_place) {
  listed_files files{{{"a", "file-key\n"}, {"b", " other\r\n"}}};
  const auto both = variables({{"ATOLL_TOKEN_FILE", "b"}, {"ATOLL_API_KEY", "third"}});
  EXPECT_EQ(*find_key(files, "a", both), "file-key");
  EXPECT_EQ(*find_key(files, "", both), "other");
  EXPECT_EQ(*find_key(files, "", variables({{"ATOLL_API_KEY", "third"}})), "third");
  EXPECT_EQ(*find_key(files, "", variables({})), "");
}

TEST(remote_server, a_key_that_could_not_be_sent_is_refused_and_not_shown) {
  listed_files files{{{"empty", "\n"},
                      {"two", "hidden\nlines\n"},
                      {"odd",
                       "hid\x01"
                       "den"}}};
  for (const char* file : {"empty", "two", "odd", "missing"}) {
    const auto key = find_key(files, file, variables({}));
    ASSERT_TRUE(key.has_error()) << file;
    EXPECT_NE(key.error().message().find(file), std::string::npos);
    EXPECT_EQ(key.error().message().find("hid"), std::string::npos);
    EXPECT_EQ(remote_exit_code(key.error()), 2);
  }
}

TEST(remote_server, refusals_are_readable) {
  const auto text = [](int status, std::string_view body, std::vector<http::header> headers = {}) {
    return refusal("http://h:1", status, headers, body);
  };
  const error full = text(429,
                          R"({"error":{"message":"the queue is full","type":"rate_limit_error"}})",
                          {{"retry-after", "3"}});
  EXPECT_EQ(full.code(), errc::overloaded);
  EXPECT_EQ(full.message(), "http://h:1: HTTP 429: the queue is full; try again in 3 s");
  EXPECT_EQ(text(400, R"({"error":"plain"})").message(), "http://h:1: HTTP 400: plain");
  EXPECT_EQ(text(404, R"({"detail":"Not Found"})").message(), "http://h:1: HTTP 404: Not Found");
  EXPECT_EQ(text(502, "Bad gateway\n<html>").message(), "http://h:1: HTTP 502: Bad gateway");
  EXPECT_EQ(text(500, "").message(), "http://h:1: HTTP 500");
  EXPECT_EQ(text(500, "{\"error\":\"a\\u001b[2Jb\"}").message(), "http://h:1: HTTP 500: a [2Jb");
  EXPECT_EQ(text(500, "a\xFFz").message(), "http://h:1: HTTP 500: a\xEF\xBF\xBDz");
  EXPECT_LT(text(500, std::string(100'000, 'x')).message().size(), 600u);
  EXPECT_NE(text(401, "").message().find("--token-file"), std::string::npos);
}

TEST(remote_server, exit_codes) {
  const auto code = [](int status) { return remote_exit_code(refusal("s", status, {}, "")); };
  EXPECT_EQ(code(401), 4);
  EXPECT_EQ(code(403), 4);
  EXPECT_EQ(code(404), 5);
  EXPECT_EQ(code(408), 7);
  EXPECT_EQ(code(504), 7);
  EXPECT_EQ(code(400), 2);
  EXPECT_EQ(code(429), 1);
  EXPECT_EQ(code(500), 1);
  EXPECT_EQ(remote_exit_code({errc::peer_gone, ""}), 3);
  EXPECT_EQ(remote_exit_code({errc::io, ""}), 1);
}

TEST(remote_server, the_first_model_is_taken_unless_one_is_named) {
  scripted_server server{{[](test::peer& p) {
    for (const char* body :
         {R"({"object":"list","data":[{"id":"tiny"},{"id":"b"}]})", R"({"data":[]})", "no json"}) {
      if (p.request().empty()) return;
      p.send(test::answer(200, body));
    }
    p.request();
    p.send(test::answer(401, R"({"error":{"message":"no key"}})"));
  }}};
  listed_files files{{}};
  server_options o;
  o.url = server.url();
  const auto by = *http::client::create(*connection_of(files, o, variables({})));
  EXPECT_EQ(*choose_model(*by, o), "tiny");
  EXPECT_EQ(choose_model(*by, o).error().code(), errc::malformed_frame);
  EXPECT_EQ(choose_model(*by, o).error().code(), errc::malformed_frame);
  EXPECT_EQ(choose_model(*by, o).error().code(), errc::unauthorised);
  o.model = "mine";
  EXPECT_EQ(*choose_model(*by, o), "mine");
}

}  // namespace
}  // namespace atl::remote
