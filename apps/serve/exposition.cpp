#include "apps/serve/exposition.hpp"

#include "apps/build_info.hpp"
#include "apps/serve/process_usage.hpp"

#include <algorithm>
#include <limits>
#include <numeric>
#include <prometheus/metric_family.h>
#include <prometheus/text_serializer.h>
#include <utility>

namespace atl::serve {
namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;
using labels = std::vector<ClientMetric::Label>;

double as_double(std::uint64_t value) { return static_cast<double>(value); }

class writer {
public:
  void family(const std::string& name, const std::string& help, MetricType type) {
    MetricFamily f;
    f.name = name;
    f.help = help;
    f.type = type;
    families_.push_back(std::move(f));
  }

  void counter(const std::string& name, const std::string& help, double value, labels of = {}) {
    metric(name, help, MetricType::Counter, std::move(of)).counter.value = value;
  }

  void gauge(const std::string& name, const std::string& help, double value, labels of = {}) {
    metric(name, help, MetricType::Gauge, std::move(of)).gauge.value = value;
  }

  void
  distribution(const std::string& name, const std::string& help, const histogram& h, labels of) {
    ClientMetric& m = metric(name, help, MetricType::Histogram, std::move(of));
    m.histogram.sample_count = h.count();
    m.histogram.sample_sum = h.sum();
    std::uint64_t sum = 0;
    for (std::size_t i = 0; i < h.buckets().size(); ++i) {
      sum += h.buckets()[i];
      const double bound =
          i < h.bounds().size() ? h.bounds()[i] : std::numeric_limits<double>::infinity();
      m.histogram.bucket.push_back({sum, bound});
    }
  }

  std::string text() const { return prometheus::TextSerializer{}.Serialize(families_); }

private:
  ClientMetric&
  metric(const std::string& name, const std::string& help, MetricType type, labels of) {
    if (families_.empty() || families_.back().name != name) family(name, help, type);
    ClientMetric& added = families_.back().metric.emplace_back();
    added.label = std::move(of);
    return added;
  }

  std::vector<MetricFamily> families_;
};

void write_requests(writer& w, const request_counts& c) {
  w.family("atoll_requests_total", "Generation requests by how they ended.", MetricType::Counter);
  for (const auto& [key, count] : c.ended)
    w.counter("atoll_requests_total",
              "",
              as_double(count),
              {{"route", std::get<0>(key)},
               {"status", std::to_string(std::get<1>(key))},
               {"finish", std::get<2>(key)}});
  w.family("atoll_refused_total",
           "Requests answered before they reached the API, by HTTP status.",
           MetricType::Counter);
  for (const auto& [status, count] : c.refused)
    w.counter("atoll_refused_total", "", as_double(count), {{"status", std::to_string(status)}});
  w.counter("atoll_prompt_tokens_total", "Tokens of prompts.", as_double(c.prompt_tokens));
  w.counter("atoll_generated_tokens_total", "Tokens generated.", as_double(c.generated_tokens));
  w.counter("atoll_cached_tokens_total",
            "Tokens of prompts that were found in the prefix cache.",
            as_double(c.cached_tokens));
  w.counter("atoll_disconnects_total",
            "Requests whose client left before the answer was complete.",
            as_double(c.disconnects));
  w.distribution("atoll_time_to_first_token_seconds",
                 "From a request's arrival to its first token.",
                 c.first_token_s,
                 {});
  w.distribution("atoll_inter_token_seconds", "Between two tokens of an answer.", c.interval_s, {});
  w.distribution("atoll_request_seconds", "From a request's arrival to its end.", c.total_s, {});
  w.distribution(
      "atoll_queue_seconds", "Waiting at the gateway before a shard takes it.", c.queued_s, {});
  w.distribution("atoll_prompt_length_tokens", "Tokens of a prompt.", c.prompt_length, {});
  w.distribution("atoll_answer_length_tokens", "Tokens generated for it.", c.answer_length, {});
  w.distribution(
      "atoll_answer_limit_tokens", "Tokens it might have generated.", c.answer_limit, {});
}

histogram step_rows(const actors::cluster_counters& c) {
  return {step_bounds(), c.steps_by_rows, as_double(c.rows)};
}

void write_cluster(writer& w, const server_sample& s) {
  const auto& u = s.usage;
  const auto& c = s.counters;
  w.gauge("atoll_ready", "1 when requests are served.", s.is_ready ? 1 : 0);
  w.gauge(
      "atoll_requests_running", "Requests at the shards.", static_cast<double>(s.gauges.running));
  w.gauge(
      "atoll_requests_waiting", "Requests at the gateway.", static_cast<double>(s.gauges.waiting));
  w.gauge(
      "atoll_queue_limit", "Requests that may wait.", static_cast<double>(s.gauges.queue_limit));
  w.gauge("atoll_tokens_reserved",
          "Tokens of prompts and answers to come, of all requests inside.",
          static_cast<double>(s.gauges.tokens_reserved));
  w.gauge("atoll_tokens_limit", "Most of them.", static_cast<double>(s.gauges.tokens_limit));
  w.gauge("atoll_sequences", "Sequences the shards know.", as_double(u.sequences));
  w.gauge("atoll_kv_pages_used", "Pages held by running requests.", as_double(u.pages_used));
  w.gauge("atoll_kv_pages_cached", "Pages kept for later requests.", as_double(u.pages_cached));
  w.gauge("atoll_kv_pages", "Pages of the key-value cache.", as_double(u.pages_total));
  w.gauge(
      "atoll_kv_bytes", "Size of the key-value cache.", as_double(u.pages_total * u.page_bytes));
  w.counter("atoll_prefix_cache_queries_total",
            "Tokens looked for in the prefix cache.",
            as_double(c.prefix_queries));
  w.counter("atoll_prefix_cache_hits_total", "Tokens found there.", as_double(c.prefix_hits));
  w.counter("atoll_prefix_cache_evictions_total",
            "Cached pages given up for others.",
            as_double(c.page_evictions));
  w.counter("atoll_steps_total", "Micro-batches computed.", as_double(c.steps));
  w.counter("atoll_rows_total", "Token rows computed.", as_double(c.rows));
  w.distribution("atoll_step_rows", "Rows of a micro-batch.", step_rows(c), {});
  w.counter("atoll_frames_total", "Frames sent between actors.", as_double(c.frames_sent));
  w.counter("atoll_frame_bytes_total", "Bytes of them.", as_double(c.frame_bytes_sent));
  w.counter(
      "atoll_frames_refused_total", "Frames that failed a check.", as_double(c.frames_refused));
  w.family("atoll_row_bytes_total",
           "Bytes of rows from routers to experts, and of the answers.",
           MetricType::Counter);
  w.counter(
      "atoll_row_bytes_total", "", as_double(c.row_bytes_sent), {{"direction", "to experts"}});
  w.counter("atoll_row_bytes_total",
            "",
            as_double(c.row_bytes_received),
            {{"direction", "from experts"}});
  w.gauge("atoll_rows_in_flight", "Rows between routers and groups.", as_double(u.rows_in_flight));
  w.gauge("atoll_group_rows",
          "Of them, from one shard to one expert group: the most.",
          as_double(u.group_rows));
  w.gauge("atoll_group_rows_limit", "Most of these (--group-rows).", as_double(u.group_rows_limit));
  w.gauge("atoll_capacity_factor",
          "Of its fair share of an expert's rows, what a copy takes before others get some.",
          u.capacity_factor);
  w.gauge("atoll_expert_memory_bytes", "Weights of experts in memory.", as_double(u.expert_bytes));
  w.gauge("atoll_expert_memory_limit_bytes", "Most of them.", as_double(u.expert_bytes_limit));
}

void write_experts(writer& w, const board_options& of, const server_sample& s) {
  const auto& layers = s.counters.expert_rows;
  const auto each = [&](const auto& tell) {
    for (std::size_t layer = 0; layer < layers.size(); ++layer)
      if (!layers[layer].empty()) tell(std::to_string(layer), layers[layer]);
  };
  const auto sum = [](const auto& rows) {
    return std::accumulate(rows.begin(), rows.end(), std::uint64_t{0});
  };
  w.family("atoll_layer_expert_rows_total",
           "Rows computed by the experts of a layer.",
           MetricType::Counter);
  each([&](const std::string& layer, const auto& rows) {
    w.counter("atoll_layer_expert_rows_total", "", as_double(sum(rows)), {{"layer", layer}});
  });
  w.family("atoll_layer_expert_imbalance",
           "Rows of a layer's most used expert over the mean.",
           MetricType::Gauge);
  each([&](const std::string& layer, const auto& rows) {
    const double mean = as_double(sum(rows)) / static_cast<double>(rows.size());
    const double most = as_double(*std::max_element(rows.begin(), rows.end()));
    w.gauge("atoll_layer_expert_imbalance", "", mean > 0 ? most / mean : 1, {{"layer", layer}});
  });
  if (!of.has_expert_metrics) return;
  w.family("atoll_expert_tokens_total", "Rows computed by an expert.", MetricType::Counter);
  each([&](const std::string& layer, const auto& rows) {
    for (std::size_t e = 0; e < rows.size(); ++e)
      w.counter("atoll_expert_tokens_total",
                "",
                as_double(rows[e]),
                {{"layer", layer}, {"expert", std::to_string(e)}});
  });
}

void write_http(writer& w, const http::server_counters& h) {
  w.gauge("atoll_http_connections", "Connections open.", as_double(h.connections));
  w.counter("atoll_http_accepted_total", "Connections accepted.", as_double(h.accepted));
  w.counter("atoll_http_requests_total", "Requests read.", as_double(h.requests));
  w.counter("atoll_http_malformed_total",
            "Requests refused as malformed.",
            as_double(h.refused_malformed));
  w.counter("atoll_http_timeouts_total", "Connections that were too slow.", as_double(h.timed_out));
  w.counter("atoll_http_received_bytes_total", "Bytes read.", as_double(h.bytes_received));
  w.counter("atoll_http_sent_bytes_total", "Bytes written.", as_double(h.bytes_sent));
}

void write_process(writer& w, const board_options& of) {
  const apps::build_info b = apps::this_build();
  w.gauge("atoll_build_info",
          "Always 1; the labels say what runs.",
          1,
          {{"version", b.version}, {"commit", b.commit}, {"fingerprint", of.fingerprint}});
  const process_usage p = usage_of_process();
  w.gauge("process_resident_memory_bytes", "Resident memory.", p.resident_bytes);
  w.counter("process_cpu_seconds_total", "User and system time.", p.cpu_s);
  w.gauge("process_open_fds", "Open file descriptors.", p.open_files);
  w.gauge("process_start_time_seconds", "Start, in seconds since 1970.", p.start_s);
}

/// Under vLLM's names, for boards made for it.
void write_aliases(writer& w,
                   const board_options& of,
                   const request_counts& c,
                   const server_sample& s) {
  const labels who{{"model_name", of.model_id}, {"engine", "0"}};
  const auto& u = s.usage;
  w.gauge(
      "vllm:num_requests_running", "Requests running.", static_cast<double>(s.gauges.running), who);
  w.gauge(
      "vllm:num_requests_waiting", "Requests waiting.", static_cast<double>(s.gauges.waiting), who);
  w.gauge("vllm:kv_cache_usage_perc",
          "Key-value cache in use; 1 is all.",
          u.pages_total == 0 ? 0 : as_double(u.pages_used) / as_double(u.pages_total),
          who);
  w.counter("vllm:prompt_tokens_total", "Tokens of prompts.", as_double(c.prompt_tokens), who);
  w.counter(
      "vllm:generation_tokens_total", "Tokens generated.", as_double(c.generated_tokens), who);
  w.counter("vllm:prefix_cache_queries_total",
            "Tokens looked for in the prefix cache.",
            as_double(s.counters.prefix_queries),
            who);
  w.counter(
      "vllm:prefix_cache_hits_total", "Tokens found.", as_double(s.counters.prefix_hits), who);
  w.family("vllm:request_success_total", "Requests that were answered.", MetricType::Counter);
  for (const std::string reason : {"stop", "length", "tool_calls"}) {
    std::uint64_t sum = 0;
    for (const auto& [key, count] : c.ended)
      if (std::get<2>(key) == reason) sum += count;
    labels l = who;
    l.push_back({"finished_reason", reason});
    w.counter("vllm:request_success_total", "", as_double(sum), std::move(l));
  }
  const std::pair<const char*, const histogram*> all[] = {
      {"vllm:time_to_first_token_seconds", &c.first_token_s},
      {"vllm:inter_token_latency_seconds", &c.interval_s},
      {"vllm:time_per_output_token_seconds", &c.interval_s},
      {"vllm:e2e_request_latency_seconds", &c.total_s},
      {"vllm:request_queue_time_seconds", &c.queued_s},
      {"vllm:request_prompt_tokens", &c.prompt_length},
      {"vllm:request_generation_tokens", &c.answer_length},
      {"vllm:request_params_max_tokens", &c.answer_limit},
  };
  for (const auto& [name, values] : all) w.distribution(name, "As vLLM names it.", *values, who);
  w.distribution(
      "vllm:iteration_tokens_total", "Tokens of an engine step.", step_rows(s.counters), who);
}

}  // namespace

std::string
exposition(const board_options& of, const request_counts& counts, const server_sample& now) {
  writer w;
  write_requests(w, counts);
  write_cluster(w, now);
  write_experts(w, of, now);
  write_http(w, now.http);
  write_process(w, of);
  if (of.has_vllm_metrics) write_aliases(w, of, counts, now);
  return w.text();
}

}  // namespace atl::serve
