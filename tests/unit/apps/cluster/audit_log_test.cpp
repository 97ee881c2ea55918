#include "apps/cluster/audit_log.hpp"
#include "tests/support/memory_disk.hpp"
#include "tests/unit/apps/cluster/cluster_api_fixture.hpp"

#include <gtest/gtest.h>

namespace atl::ops {
namespace {

audit_entry entry(const std::string& what, const std::string& body = {}) {
  audit_entry e;
  e.unix_ms = start_ms;
  e.who = "admin";
  e.from = "192.0.2.9:999";
  e.what = what;
  e.body = body;
  e.status = 202;
  e.outcome = "running";
  e.operation = 7;
  return e;
}

class audit_log_test : public ::testing::Test {
protected:
  std::unique_ptr<audit_log> open() {
    auto opened = audit_log::open(files_, "d/audit");
    EXPECT_TRUE(opened.has_value()) << opened.error().message();
    return std::move(*opened);
  }

  static void add(audit_log& log, const std::string& what, const std::string& body = {}) {
    log.append(entry(what, body), nullptr);
    log.wait_idle();
  }

  static json::object read(const std::string& line) { return json::parse(line).as_object(); }

  std::shared_ptr<test::memory_disk> files_ = std::make_shared<test::memory_disk>();
};

TEST_F(audit_log_test, entries_outlive_a_loss_of_power_and_count_on) {
  auto log = open();
  add(*log, "POST /a", R"({"force":true})");
  add(*log, "POST /b");
  atl::random_source random{1};
  files_->crash(random);
  log = open();
  add(*log, "POST /c", std::string(5000, ' ') + "{}");
  const auto page = log->since(0, 10);
  ASSERT_EQ(page.lines.size(), 3U);
  EXPECT_EQ(page.last, 3U);
  EXPECT_EQ(page.complete_since, 0U);
  const json::object first = read(page.lines[0]);
  EXPECT_EQ(first.at("number"), 1);
  EXPECT_EQ(first.at("who"), "admin");
  EXPECT_EQ(first.at("what"), "POST /a");
  EXPECT_EQ(first.at("body").at("force"), true);
  EXPECT_EQ(first.at("operation"), 7);
  EXPECT_TRUE(read(page.lines[2]).at("body").is_null()) << "too long to keep";
  EXPECT_EQ(read(log->since(1, 1).lines.at(0)).at("number"), 2) << "the first after it";
  EXPECT_EQ(read(log->since(0, 1).lines.at(0)).at("number"), 3) << "the latest";
  EXPECT_TRUE(log->since(3, 10).lines.empty());
  EXPECT_TRUE(log->since(99, 10).lines.empty());
}

TEST_F(audit_log_test, an_unfinished_line_goes_and_a_damaged_one_is_passed_over) {
  auto log = open();
  add(*log, "POST /a");
  add(*log, "POST /b");
  log.reset();
  std::string text = files_->content("d/audit.jsonl");
  const std::string whole = text;
  text[text.find('\n') - 1] = '!';
  files_->set_content("d/audit.jsonl", text + R"({"number":3,"ti)");
  log = open();
  EXPECT_EQ(files_->content("d/audit.jsonl").size(), whole.size());
  EXPECT_EQ(log->since(0, 10).last, 2U);
  EXPECT_EQ(log->since(0, 10).complete_since, 1U);
  add(*log, "POST /c");
  EXPECT_EQ(log->since(0, 10).last, 3U);
}

TEST_F(audit_log_test, a_full_file_becomes_the_one_before) {
  auto log = open();
  const std::string body = "{\"a\":\"" + std::string(2000, 'a') + "\"}";
  const std::size_t count = 3 * audit_log::file_bytes_max / 2100;
  for (std::size_t i = 0; i < count; ++i) log->append(entry("POST /a", body), nullptr);
  log->wait_idle();
  for (std::size_t i = 0; i < 2100; ++i) add(*log, "POST /b", body);
  const std::size_t now = files_->content("d/audit.jsonl").size();
  EXPECT_LE(now, audit_log::file_bytes_max + 300'000);
  EXPECT_GT(files_->content("d/audit.1.jsonl").size(), audit_log::file_bytes_max - 4096);
  EXPECT_EQ(log->since(0, 2000).lines.size(), audit_log::kept);
  const auto last = log->since(0, 1).last;
  EXPECT_EQ(last, count + 2100);
  log = open();
  EXPECT_EQ(log->since(0, 1).last, last);
  EXPECT_EQ(log->since(0, 2000).lines.size(), audit_log::kept);
}

TEST_F(audit_log_test, what_could_not_be_written_is_kept_and_written_later) {
  auto log = open();
  add(*log, "POST /a");
  bool fails = true, told = false;
  files_->set_fault([&](test::disk_operation what, const std::string&) {
    return fails && what == test::disk_operation::sync;
  });
  log->append(entry("POST /b"), [&] { told = true; });
  log->wait_idle();
  EXPECT_TRUE(told);
  ASSERT_TRUE(log->trouble());
  EXPECT_NE(log->trouble()->message().find("audit log"), std::string::npos);
  fails = false;
  log->look();
  log->wait_idle();
  EXPECT_FALSE(log->trouble());
  atl::random_source random{1};
  files_->crash(random);
  log = open();
  EXPECT_EQ(log->since(0, 10).lines.size(), 2U);
}

class audited_api : public cluster_api_test {
protected:
  json::array entries(const std::string& query = "") {
    log_->wait_idle();
    return ask("GET", "/api/v1/audit" + query).o().at("items").as_array();
  }
};

TEST_F(audited_api, tells_who_changed_what_and_how_it_went_without_secrets) {
  ask("GET", "/api/v1/nodes");
  ask("POST", "/api/v1/nodes/1/cordon");
  ask("DELETE", "/api/v1/nodes/1/drain");
  ask("POST", "/api/v1/nodes/1/cordon", R"({"what":1})");
  ask("POST", "/api/v1/nodes/1/cordon", "", reader_);
  const std::string token = create_token();
  EXPECT_EQ(ask("POST", "/api/v1/join", join_body(token), "").status, 200);
  const json::array all = entries();
  ASSERT_EQ(all.size(), 4U) << "asking changes nothing, and what is refused at the door neither";
  EXPECT_EQ(all[0].at("what"), "POST /api/v1/nodes/1/cordon");
  EXPECT_EQ(all[0].at("who"), "admin");
  EXPECT_EQ(all[0].at("from"), "192.0.2.9:999");
  EXPECT_EQ(all[0].at("status"), 200);
  EXPECT_EQ(all[0].at("outcome"), "done");
  EXPECT_TRUE(all[0].at("operation").is_number());
  EXPECT_EQ(all[1].at("what"), "DELETE /api/v1/nodes/1/drain");
  EXPECT_EQ(all[1].at("status"), 409);
  EXPECT_NE(all[1].at("outcome").as_string().find("drain"), std::string::npos);
  EXPECT_EQ(all[2].at("body").at("roles"), json::array{"expert"});
  EXPECT_TRUE(all[3].at("who").as_string().starts_with("join token "));
  EXPECT_NE(all[3].at("outcome").as_string().find("was let in as expert"), std::string::npos);
  const std::string text = json::serialize(all);
  EXPECT_EQ(text.find(token.substr(token.rfind('.') + 1)), std::string::npos);
  EXPECT_EQ(text.find(admin_), std::string::npos);
  EXPECT_EQ(entries("?since=3").size(), 1U);
  EXPECT_EQ(entries("?limit=2").size(), 2U);
  EXPECT_EQ(ask("GET", "/api/v1/audit?limit=0").status, 400);
  EXPECT_EQ(ask("GET", "/api/v1/audit", "", reader_).status, 403);
}

TEST_F(audited_api, nothing_is_changed_while_it_cannot_be_written_down) {
  audit_files_->set_fault([](test::disk_operation what, const std::string&) {
    return what == test::disk_operation::write;
  });
  EXPECT_EQ(ask("POST", "/api/v1/nodes/1/cordon").status, 200) << "nobody knew yet";
  const reply next = ask("POST", "/api/v1/nodes/1/uncordon");
  EXPECT_EQ(next.status, 503);
  EXPECT_NE(next.detail().find("audit log"), std::string::npos);
  EXPECT_EQ(ask("GET", "/api/v1/nodes").status, 200);
}

}  // namespace
}  // namespace atl::ops
