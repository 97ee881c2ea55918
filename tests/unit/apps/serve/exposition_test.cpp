// Counts in, text out: read back by a parser of its own.
#include "apps/serve/exposition.hpp"
#include "tests/unit/apps/serve/prometheus_text.hpp"

#include <boost/json.hpp>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <fstream>
#include <iterator>
#include <set>

namespace atl::serve {
namespace {

namespace json = boost::json;

board_options of_tiny() {
  board_options o;
  o.model_id = "tiny";
  o.fingerprint = "atoll-1";
  o.experts = 4;
  return o;
}

openai::request_record answered() {
  openai::request_record r;
  r.route = "chat";
  r.finish = "stop";
  r.prompt_tokens = 10;
  r.generated_tokens = 7;
  r.cached_tokens = 4;
  r.tokens_max = 64;
  r.queued = std::chrono::milliseconds{2};
  r.first_token = std::chrono::milliseconds{30};
  r.total = std::chrono::milliseconds{700};
  return r;
}

server_sample sampled() {
  server_sample s;
  s.is_ready = true;
  s.usage.pages_total = 8;
  s.usage.pages_used = 2;
  s.usage.page_bytes = 1024;
  s.counters.expert_rows = {{}, {1, 2, 3, 6}, {5, 5, 5, 5}};
  s.counters.rows = 5003;
  s.counters.steps_by_rows = {3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1};
  s.gauges.running = 3;
  s.usage.group_rows = 7;
  s.usage.group_rows_limit = 8192;
  s.usage.capacity_factor = 1.25;
  s.usage.expert_bytes = 5000;
  s.usage.expert_bytes_limit = 9000;
  s.gauges.waiting = 1;
  return s;
}

TEST(exposition, is_well_formed_with_and_without_numbers) {
  request_counts counts;
  EXPECT_EQ(read_prometheus(exposition(of_tiny(), counts, {})).faults, std::vector<std::string>{});
  counts.add(answered());
  board_options all = of_tiny();
  all.has_expert_metrics = true;
  EXPECT_EQ(read_prometheus(exposition(all, counts, sampled())).faults, std::vector<std::string>{});
}

TEST(exposition, gives_the_numbers_of_requests) {
  request_counts counts;
  counts.add(answered());
  counts.add(answered());
  openai::request_record left = answered();
  left.finish = "disconnect";
  left.status = 499;
  counts.add(left);
  counts.generated_tokens = 21;
  ++counts.refused[401];
  auto seen = read_prometheus(exposition(of_tiny(), counts, sampled()));
  EXPECT_EQ(seen.value("atoll_requests_total",
                       {{"route", "chat"}, {"status", "200"}, {"finish", "stop"}}),
            2);
  EXPECT_EQ(seen.value("atoll_requests_total",
                       {{"route", "chat"}, {"status", "499"}, {"finish", "disconnect"}}),
            1);
  EXPECT_EQ(seen.value("atoll_refused_total", {{"status", "401"}}), 1);
  EXPECT_EQ(seen.value("atoll_disconnects_total"), 1);
  EXPECT_EQ(seen.value("atoll_prompt_tokens_total"), 30);
  EXPECT_EQ(seen.value("atoll_cached_tokens_total"), 12);
  EXPECT_EQ(seen.value("atoll_generated_tokens_total"), 21);
  EXPECT_EQ(seen.value("atoll_time_to_first_token_seconds_count"), 3);
  EXPECT_NEAR(seen.value("atoll_time_to_first_token_seconds_sum"), 0.09, 1e-9);
  EXPECT_EQ(seen.value("atoll_time_to_first_token_seconds_bucket", {{"le", "0.02"}}), 0);
  EXPECT_EQ(seen.value("atoll_time_to_first_token_seconds_bucket", {{"le", "0.04"}}), 3);
  EXPECT_NEAR(seen.value("atoll_request_seconds_sum"), 2.1, 1e-9);
  EXPECT_NEAR(seen.value("atoll_queue_seconds_sum"), 0.006, 1e-9);
  EXPECT_EQ(seen.value("atoll_answer_limit_tokens_sum"), 192);
  EXPECT_EQ(seen.faults, std::vector<std::string>{});
}

TEST(exposition, gives_the_numbers_of_the_cluster) {
  auto seen = read_prometheus(exposition(of_tiny(), {}, sampled()));
  EXPECT_EQ(seen.value("atoll_ready"), 1);
  EXPECT_EQ(seen.value("atoll_requests_running"), 3);
  EXPECT_EQ(seen.value("atoll_requests_waiting"), 1);
  EXPECT_EQ(seen.value("atoll_kv_bytes"), 8192);
  EXPECT_EQ(seen.value("atoll_step_rows_bucket", {{"le", "1"}}), 3);
  EXPECT_EQ(seen.value("atoll_step_rows_bucket", {{"le", "4096"}}), 3);
  EXPECT_EQ(seen.value("atoll_step_rows_count"), 4);
  EXPECT_EQ(seen.value("atoll_step_rows_sum"), 5003);
  EXPECT_EQ(seen.value("atoll_layer_expert_rows_total", {{"layer", "1"}}), 12);
  EXPECT_EQ(seen.value("atoll_layer_expert_imbalance", {{"layer", "1"}}), 2);
  EXPECT_EQ(seen.value("atoll_layer_expert_imbalance", {{"layer", "2"}}), 1);
  EXPECT_EQ(seen.series["atoll_layer_expert_rows_total"].size(), 2U);
  EXPECT_EQ(seen.faults, std::vector<std::string>{});
}

TEST(exposition, gives_vllm_names_the_same_numbers_unless_told_not_to) {
  request_counts counts;
  counts.add(answered());
  counts.generated_tokens = 7;
  board_options of = of_tiny();
  auto seen = read_prometheus(exposition(of, counts, sampled()));
  const prometheus_text::labels who{{"model_name", "tiny"}, {"engine", "0"}};
  EXPECT_EQ(seen.value("vllm:num_requests_running", who), 3);
  EXPECT_EQ(seen.value("vllm:generation_tokens_total", who), 7);
  EXPECT_EQ(seen.value("vllm:kv_cache_usage_perc", who), 0.25);
  EXPECT_EQ(seen.value("vllm:e2e_request_latency_seconds_count", who), 1);
  EXPECT_EQ(seen.value("vllm:iteration_tokens_total_sum", who), 5003);
  auto stopped = who;
  stopped["finished_reason"] = "stop";
  EXPECT_EQ(seen.value("vllm:request_success_total", stopped), 1);
  EXPECT_EQ(seen.faults, std::vector<std::string>{});
  of.has_vllm_metrics = false;
  for (const auto& [name, type] : read_prometheus(exposition(of, counts, sampled())).types)
    EXPECT_FALSE(name.starts_with("vllm:")) << name;
}

TEST(exposition, has_a_series_for_each_expert_only_when_asked) {
  board_options of = of_tiny();
  EXPECT_FALSE(
      read_prometheus(exposition(of, {}, sampled())).types.contains("atoll_expert_tokens_total"));
  of.has_expert_metrics = true;
  auto seen = read_prometheus(exposition(of, {}, sampled()));
  EXPECT_EQ(seen.series["atoll_expert_tokens_total"].size(), 8U);
  EXPECT_EQ(seen.value("atoll_expert_tokens_total", {{"layer", "1"}, {"expert", "3"}}), 6);
}

TEST(exposition, has_as_many_series_after_many_requests_of_many_clients) {
  request_counts counts;
  counts.add(answered());
  const auto size = [&] {
    std::size_t all = 0;
    for (const auto& [name, series] :
         read_prometheus(exposition(of_tiny(), counts, sampled())).series)
      all += series.size();
    return all;
  };
  const std::size_t before = size();
  for (int i = 0; i < 1000; ++i) {
    openai::request_record r = answered();
    r.id = "req-" + std::to_string(i);
    r.trace = std::to_string(i);
    r.tenant = "key-" + std::to_string(i);
    r.total = std::chrono::milliseconds{i};
    counts.add(r);
  }
  EXPECT_EQ(size(), before);
}

TEST(exposition, escapes_labels) {
  board_options of = of_tiny();
  of.model_id = "a\"b\\c\nd";
  of.fingerprint = "\\\"";
  auto seen = read_prometheus(exposition(of, {}, {}));
  EXPECT_EQ(seen.value("vllm:num_requests_running", {{"model_name", of.model_id}, {"engine", "0"}}),
            0);
  EXPECT_EQ(seen.faults, std::vector<std::string>{});
  const auto& build = seen.series["atoll_build_info"];
  ASSERT_EQ(build.size(), 1U);
  EXPECT_EQ(build.begin()->first.at("fingerprint"), of.fingerprint);
}

TEST(exposition, is_what_the_manual_says) {
  std::ifstream file{ATOLL_SOURCE_DIR "/docs/SERVING.md"};
  const std::string manual{std::istreambuf_iterator<char>{file}, {}};
  const std::size_t begin = manual.find("<!-- series:");
  const std::size_t end = manual.find("<!-- end of series -->");
  ASSERT_TRUE(begin != std::string::npos && end != std::string::npos);
  std::map<std::string, std::string> described;
  for (std::size_t at = begin; (at = manual.find("\n| `", at)) < end;) {
    at += 4;
    const std::size_t close = manual.find('`', at);
    const std::size_t type = manual.find("| ", close) + 2;
    described[manual.substr(at, close - at)] = manual.substr(type, manual.find(' ', type) - type);
  }
  board_options all = of_tiny();
  all.has_expert_metrics = true;
  EXPECT_EQ(described, read_prometheus(exposition(all, {}, sampled())).types);
}

/// Names like atoll_x and process_x in the expressions of a Grafana board.
void collect_names(const json::value& from, std::set<std::string>& to) {
  if (const auto* list = from.if_array()) {
    for (const auto& one : *list) collect_names(one, to);
  } else if (const auto* object = from.if_object()) {
    for (const auto& entry : *object) {
      collect_names(entry.value(), to);
      if (entry.key() != "expr") continue;
      const std::string text{entry.value().as_string()};
      const std::string letters = "abcdefghijklmnopqrstuvwxyz_";
      for (std::size_t at = 0; at < text.size();) {
        const std::size_t begin = text.find_first_of(letters, at);
        if (begin == std::string::npos) break;
        at = std::min(text.find_first_not_of(letters, begin), text.size());
        const std::string name = text.substr(begin, at - begin);
        if (name.starts_with("atoll_") || name.starts_with("process_")) to.insert(name);
      }
    }
  }
}

TEST(exposition, has_all_that_the_grafana_board_asks_for) {
  std::ifstream file{ATOLL_SOURCE_DIR "/docs/grafana/atoll.json"};
  const std::string text{std::istreambuf_iterator<char>{file}, {}};
  std::set<std::string> asked;
  collect_names(json::parse(text), asked);
  EXPECT_GT(asked.size(), 20U);
  const auto types = read_prometheus(exposition(of_tiny(), {}, sampled())).types;
  for (std::string name : asked) {
    if (name.ends_with("_bucket")) {
      name.resize(name.size() - std::string_view{"_bucket"}.size());
      EXPECT_EQ(types.contains(name) ? types.at(name) : "", "histogram") << name;
    }
    EXPECT_TRUE(types.contains(name)) << name;
  }
}

TEST(counts, puts_a_value_on_a_bound_into_that_bucket) {
  static constexpr std::array<double, 2> bounds{1, 2};
  histogram h{bounds};
  for (const double value : {0.5, 1.0, 1.5, 2.0, 2.5}) h.add(value);
  h.add(2, 3);
  EXPECT_EQ(std::vector<std::uint64_t>(h.buckets().begin(), h.buckets().end()),
            (std::vector<std::uint64_t>{2, 5, 1}));
  EXPECT_EQ(h.count(), 8U);
  EXPECT_DOUBLE_EQ(h.sum(), 13.5);
}

TEST(counts, leaves_requests_that_were_never_admitted_out_of_latencies) {
  request_counts counts;
  openai::request_record r;
  r.route = "chat";
  r.status = 429;
  r.finish = "error";
  r.total = std::chrono::milliseconds{1};
  counts.add(r);
  EXPECT_EQ((counts.ended[{"chat", 429, "error"}]), 1U);
  EXPECT_EQ(counts.total_s.count(), 0U);
  EXPECT_EQ(counts.first_token_s.count(), 0U);
  EXPECT_EQ(counts.prompt_length.count(), 0U);
}

}  // namespace
}  // namespace atl::serve
