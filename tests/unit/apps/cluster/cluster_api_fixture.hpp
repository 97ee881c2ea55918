// The cluster's API over the coordinator's real mind, without sockets or actors. For the .cpp files
// of this folder.
#pragma once

#include "apps/cluster/cluster_api.hpp"
#include "apps/serve/keys.hpp"
#include "tests/support/memory_disk.hpp"
#include "tests/unit/apps/cluster/kept_answer.hpp"
#include "tests/unit/apps/cluster/played_nodes.hpp"
#include "transport/tls/join_token.hpp"
#include "transport/wire/control.hpp"

#include <boost/json.hpp>
#include <gtest/gtest.h>

#include <deque>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace atl::ops {

namespace json = boost::json;
namespace tls = transport::tls;
namespace wire = transport::wire;

inline constexpr std::int64_t start_ms = 1'790'000'000'000;

class cluster_api_test : public ::testing::Test {
protected:
  cluster_api_test() {
    std::string made = ::testing::TempDir() + "atoll-api-XXXXXX";
    EXPECT_NE(::mkdtemp(made.data()), nullptr);
    dir_ = made;
    admin_ = add_key("admin", serve::scope::admin);
    reader_ = add_key("reader", serve::scope::read);
    user_ = add_key("user", serve::scope::infer);
    keys_ = std::move(*serve::key_store::open(dir_ + "/keys"));

    cluster::control_settings s;
    s.cluster = "c-1";
    s.unix_ms = [this] { return now_ms_; };
    s.self = node_id{1};
    cluster::durable_state restored;
    restored.counters.node_next = 2;
    cluster::node_record self;
    self.node = node_id{1};
    self.name = "coordinator";
    self.roles = wire::roles_known;
    restored.nodes[self.node] = self;
    control_ = std::make_unique<cluster::control>(std::move(s), restored, now_);

    authority_.emplace(*tls::authority::create("c-1", start_ms / 1000));
    join_terms terms;
    terms.coordinator = node_id{1};
    terms.control = "192.0.2.1:7401";
    terms.model_config = "{}";
    terms.fingerprint = "f1";
    joins_ = std::make_unique<enrolment>(*authority_, terms, [this] { return now_ms_ / 1000; });

    api_backend b;
    b.control = [this](std::function<void(cluster::control&, time_point_ns)> run,
                       std::function<void(result<void>)> done) -> result<void> {
      if (is_gone_) return error{errc::unsupported, "this node is no coordinator"};
      run(*control_, now_);
      done(disk_);
      return {};
    };
    b.trouble = [this] { return trouble_; };
    b.keys = keys_.get();
    log_ = std::move(*audit_log::open(audit_files_, "d/audit"));
    b.audit = log_.get();
    b.expert_rows = [] { return std::vector<std::vector<std::uint64_t>>{{}, {3, 0, 4}}; };
    b.joins = joins_.get();
    b.after = [this](std::chrono::milliseconds, std::function<void()> what) {
      later_.push_back(std::move(what));
    };
    b.unix_ms = [this] { return now_ms_; };
    b.revoked = [this](const std::string& serial, node_id node) {
      revoked_.emplace_back(serial, node);
    };
    b.own_node = node_id{1};
    b.own_gateway = [this](const std::string& question,
                           std::function<void(const std::string&)> answer) {
      if (own_gateway_) own_gateway_(question, answer);
    };
    b.name = "test";
    b.model_name = "Tiny-1";
    b.fingerprint = authority_->fingerprint();
    api_ = std::make_unique<cluster_api>(std::move(b));
  }
  ~cluster_api_test() override { std::filesystem::remove_all(dir_); }

  std::string add_key(const std::string& name, serve::scope scope) {
    const auto made = serve::make_key(name, static_cast<unsigned>(scope), 1, 0);
    EXPECT_TRUE(serve::append_key(dir_ + "/keys", made->line).has_value());
    return made->secret;
  }

  struct reply {
    int status = 0;
    json::value body;
    std::string type;
    const json::object& o() const { return body.as_object(); }
    std::string detail() const { return std::string{o().at("detail").as_string()}; }
  };

  std::shared_ptr<kept_answer> send(const std::string& method,
                                    const std::string& target,
                                    const std::string& body = {},
                                    std::optional<std::string> key = {},
                                    std::vector<http::header> headers = {}) {
    http::request r;
    r.headers = std::move(headers);
    r.method = method;
    r.path = target.substr(0, target.find('?'));
    if (r.path.size() < target.size()) r.query = target.substr(r.path.size() + 1);
    r.body = body;
    r.peer = "192.0.2.9:999";
    const std::string secret = key.value_or(admin_);
    if (!secret.empty()) r.headers.push_back({"authorization", "Bearer " + secret});
    auto answer = std::make_shared<kept_answer>();
    if (auto refused = api_->check(r)) {
      answer->reply(std::move(*refused));
    } else {
      api_->handle(std::move(r), answer);
      log_->wait_idle();  // it answers then
    }
    return answer;
  }

  static reply read(const kept_answer& from) {
    EXPECT_TRUE(from.got.has_value()) << "no answer";
    reply r;
    if (!from.got) return r;
    r.status = from.got->status;
    r.type = from.got->content_type;
    boost::system::error_code code;
    r.body = json::parse(from.got->body, code);
    EXPECT_FALSE(code) << from.got->body;
    return r;
  }

  reply ask(const std::string& method,
            const std::string& target,
            const std::string& body = {},
            std::optional<std::string> key = {}) {
    return read(*send(method, target, body, std::move(key)));
  }

  reply ask_with(http::header header, const std::string& target, const std::string& body) {
    return read(*send("POST", target, body, {}, {std::move(header)}));
  }

  /// A coordinator of a model with two layers of four experts of ten bytes, and three nodes that
  /// hold one copy of each between them.
  void place_a_model(std::uint64_t bytes_of_a_node = 80) {
    cluster::control_settings s;
    s.cluster = "c-1";
    s.unix_ms = [this] { return now_ms_; };
    s.model.shape = {.layers = {layer_index{1}, layer_index{2}}, .experts = 4};
    s.model.expert_bytes = 10;
    s.expert_nodes_min = 3;
    s.admits_unknown = true;
    control_ = std::make_unique<cluster::control>(std::move(s), cluster::durable_state{}, now_);
    for (std::uint32_t n = 2; n <= 5; ++n) {
      wire::join j;
      j.roles = n == 5 ? wire::role_attention : wire::role_expert;
      j.name = "n" + std::to_string(n);
      j.groups = n == 5 ? 0 : 1;
      j.shards = n == 5 ? 1 : 0;
      j.expert_bytes = bytes_of_a_node;
      j.model = "f";
      j.numeric_class = "x";
      control_->joined({node_id{n}, incarnation{1}}, j, now_);
    }
    obey();
  }

  /// Plans that were asked for are made.
  void make_plans() { ops::make_plans(*control_, said_, now_); }
  /// The nodes do what they are told.
  void obey() { ops::obey(*control_, said_, now_); }

  /// What was to be done later is done now, once.
  void pass_time() {
    for (auto due = std::exchange(later_, {}); const auto& what : due) what();
  }

  std::string create_token(const std::string& body = R"({"roles":["expert"]})") {
    const reply made = ask("POST", "/api/v1/join-tokens", body);
    EXPECT_EQ(made.status, 201);
    return std::string{made.o().at("token").as_string()};
  }

  std::string join_body(const std::string& token,
                        const std::string& role = "expert",
                        std::int64_t clock_off_s = 0) {
    request_ = *tls::make_key_and_request();
    return json::serialize(json::object{{"token", token},
                                        {"name", "machine"},
                                        {"roles", {role}},
                                        {"csr", request_.request_pem},
                                        {"version", "1"},
                                        {"unix_s", now_ms_ / 1000 + clock_off_s}});
  }

  std::string dir_, admin_, reader_, user_;
  std::unique_ptr<serve::key_store> keys_;
  time_point_ns now_{0};
  std::int64_t now_ms_ = start_ms;
  std::unique_ptr<cluster::control> control_;
  std::optional<tls::authority> authority_;
  std::unique_ptr<enrolment> joins_;
  std::deque<std::function<void()>> later_;
  std::vector<cluster::effect> said_;  // and not carried out yet
  std::vector<std::pair<std::string, node_id>> revoked_;
  result<void> disk_;
  std::optional<error> trouble_;
  bool is_gone_ = false;
  std::function<void(const std::string&, const std::function<void(const std::string&)>&)>
      own_gateway_;
  tls::key_and_request request_;
  std::shared_ptr<test::memory_disk> audit_files_ = std::make_shared<test::memory_disk>();
  std::unique_ptr<audit_log> log_;
  std::unique_ptr<cluster_api> api_;
};

}  // namespace atl::ops
