#include "apps/serve/board.hpp"

#include "apps/build_info.hpp"
#include "apps/json_text.hpp"
#include "apps/openai/api_error.hpp"
#include "apps/serve/exposition.hpp"
#include "apps/values.hpp"
#include "runtime/base/log.hpp"

#include <algorithm>
#include <charconv>
#include <deque>
#include <mutex>
#include <numeric>
#include <utility>

namespace atl::serve {
namespace {

using apps::quoted;

constexpr std::size_t rate_samples = 10;     // about as many seconds
constexpr std::size_t latencies_max = 4096;  // of each kind, the newest

/// The newest values of something, for percentiles.
class recent_values {
public:
  void add(double value) {
    if (values_.size() < latencies_max) {
      values_.push_back(value);
    } else {
      values_[next_] = value;
      next_ = (next_ + 1) % latencies_max;
    }
  }

  /// {"p50":...,"p90":...,"p99":...} in milliseconds; null where nothing was seen.
  std::string json() const {
    if (values_.empty()) return "null";
    std::vector<double> sorted = values_;
    std::sort(sorted.begin(), sorted.end());
    const auto at = [&](double share) {
      const auto i = static_cast<std::size_t>(share * static_cast<double>(sorted.size() - 1) + 0.5);
      return apps::fixed(sorted[i] * 1e3, 3);
    };
    return "{\"p50\":" + at(0.5) + ",\"p90\":" + at(0.9) + ",\"p99\":" + at(0.99) + "}";
  }

private:
  std::vector<double> values_;
  std::size_t next_ = 0;
};

struct tally {
  time_point_ns when;
  std::uint64_t generated = 0;
  std::uint64_t ended = 0;
};

/// Whole microseconds, in milliseconds.
double ms(duration_ns d) { return static_cast<double>(d.count() / 1000) / 1e3; }

void log_request(const openai::request_record& r) {
  std::vector<log_field> fields{{"request_id", r.id}};
  if (!r.trace.empty()) fields.push_back({"trace_id", r.trace});
  if (!r.tenant.empty()) fields.push_back({"key", r.tenant});
  fields.insert(fields.end(),
                {{"route", r.route},
                 {"status", r.status},
                 {"finish", r.finish},
                 {"prompt_tokens", r.prompt_tokens},
                 {"cached_tokens", r.cached_tokens},
                 {"generated_tokens", r.generated_tokens},
                 {"queued_ms", ms(r.queued)},
                 {"first_token_ms", ms(r.first_token)},
                 {"total_ms", ms(r.total)}});
  log_event(log_level::info, "request", std::span<const log_field>{fields});
}

std::string live_json(std::span<const openai::live_request> live) {
  std::string text = "[";
  for (const auto& r : live) {
    if (!text.ends_with('[')) text += ',';
    text += "{\"id\":" + quoted(r.id) + ",\"route\":" + quoted(r.route) +
            ",\"key\":" + quoted(r.tenant) + ",\"state\":" + quoted(r.state) +
            ",\"stream\":" + (r.is_stream ? "true" : "false") +
            ",\"prompt_tokens\":" + std::to_string(r.prompt_tokens) +
            ",\"generated_tokens\":" + std::to_string(r.generated_tokens) +
            ",\"age_s\":" + apps::fixed(r.age_s, 3) + "}";
  }
  return text + "]";
}

std::string counts_json(const server_sample& s) {
  const auto& u = s.usage;
  const auto& c = s.counters;
  const auto& g = s.gauges;
  const auto n = [](auto value) { return std::to_string(value); };
  return "\"requests\":{\"running\":" + n(g.running) + ",\"waiting\":" + n(g.waiting) +
         ",\"queue_limit\":" + n(g.queue_limit) + ",\"tokens_reserved\":" + n(g.tokens_reserved) +
         ",\"tokens_limit\":" + n(g.tokens_limit) + ",\"known\":" + n(u.requests) +
         ",\"sequences\":" + n(u.sequences) + "},\"kv\":{\"pages_used\":" + n(u.pages_used) +
         ",\"pages_cached\":" + n(u.pages_cached) + ",\"pages\":" + n(u.pages_total) +
         ",\"page_bytes\":" + n(u.page_bytes) +
         "},\"prefix_cache\":{\"queries\":" + n(c.prefix_queries) +
         ",\"hits\":" + n(c.prefix_hits) + ",\"evictions\":" + n(c.page_evictions) +
         "},\"work\":{\"steps\":" + n(c.steps) + ",\"rows\":" + n(c.rows) +
         ",\"rows_in_flight\":" + n(u.rows_in_flight) + ",\"frames\":" + n(c.frames_sent) +
         ",\"frames_refused\":" + n(c.frames_refused) +
         "},\"http\":{\"connections\":" + n(s.http.connections) +
         ",\"requests\":" + n(s.http.requests) + ",\"malformed\":" + n(s.http.refused_malformed) +
         ",\"timed_out\":" + n(s.http.timed_out) + ",\"disconnected\":" + n(s.http.disconnected) +
         "}";
}

std::string layer_json(std::size_t layer, const std::vector<std::uint64_t>& rows) {
  const auto sum = std::accumulate(rows.begin(), rows.end(), std::uint64_t{0});
  const double mean = static_cast<double>(sum) / static_cast<double>(rows.size());
  const auto most = static_cast<double>(*std::max_element(rows.begin(), rows.end()));
  std::string text = "{\"layer\":" + std::to_string(layer) + ",\"tokens\":" + std::to_string(sum) +
                     ",\"hottest_over_mean\":" + apps::fixed(mean > 0 ? most / mean : 1, 3) +
                     ",\"experts\":[";
  for (const std::uint64_t count : rows) {
    if (!text.ends_with('[')) text += ',';
    text += std::to_string(count);
  }
  return text + "]}";
}

http::response fresh_json(std::string body) {
  http::response r;
  r.headers.push_back({"cache-control", "no-store"});
  r.body = std::move(body);
  return r;
}

}  // namespace

class board::impl {
public:
  explicit impl(board_options options) : of_{std::move(options)}, begun_{of_.time->now()} {}

  void ended(const openai::request_record& r) {
    const std::lock_guard lock{mutex_};
    counts_.add(r);
    if (r.first_token.count() > 0) first_token_.add(seconds(r.first_token));
    if (r.generated_tokens > 0) total_.add(seconds(r.total));
    ++ended_;
  }

  void token_interval(duration_ns interval, std::size_t tokens) {
    const double each = seconds(interval) / static_cast<double>(std::max<std::size_t>(tokens, 1));
    const std::lock_guard lock{mutex_};
    counts_.interval_s.add(each, tokens);
    interval_.add(each);
  }

  void generated(std::size_t tokens) {
    const std::lock_guard lock{mutex_};
    counts_.generated_tokens += tokens;
  }

  void refused(int status) {
    const std::lock_guard lock{mutex_};
    ++counts_.refused[status];
  }

  void sampled(const server_sample& now) {
    const std::lock_guard lock{mutex_};
    sample_ = now;
    tallies_.push_back({of_.time->now(), counts_.generated_tokens, ended_});
    if (tallies_.size() > rate_samples) tallies_.pop_front();
  }

  server_sample last_sample() const {
    const std::lock_guard lock{mutex_};
    return sample_;
  }

  http::response metrics() const {
    http::response r;
    r.content_type = "text/plain; version=0.0.4; charset=utf-8";
    const auto [counts, sample] = copies();
    r.body = exposition(of_, counts, sample);
    return r;
  }

  http::response status(std::span<const openai::live_request> live) const {
    const apps::build_info b = apps::this_build();
    const std::lock_guard lock{mutex_};
    std::string text =
        "{\"model\":" + quoted(of_.model_id) +
        ",\"system_fingerprint\":" + quoted(of_.fingerprint) +
        ",\"description\":" + quoted(of_.description) + ",\"version\":" + quoted(b.version) +
        ",\"commit\":" + (b.commit.empty() ? "null" : quoted(b.commit)) +
        ",\"uptime_s\":" + apps::fixed(seconds(of_.time->now() - begun_), 3) +
        ",\"ready\":" + (sample_.is_ready ? "true" : "false") +
        ",\"state\":" + quoted(sample_.state) + "," + rates() +
        ",\"latency_ms\":{\"first_token\":" + first_token_.json() +
        ",\"inter_token\":" + interval_.json() + ",\"request\":" + total_.json() +
        "},\"tokens\":{\"prompt\":" + std::to_string(counts_.prompt_tokens) +
        ",\"cached\":" + std::to_string(counts_.cached_tokens) +
        ",\"generated\":" + std::to_string(counts_.generated_tokens) + "}," + counts_json(sample_);
    return fresh_json(text + ",\"live\":" + live_json(live) + "}");
  }

  http::response experts(std::string_view query) const {
    const auto layers = last_sample().counters.expert_rows;
    std::optional<std::size_t> only;
    if (query.starts_with("layer=")) {
      const std::string_view text = query.substr(6);
      std::size_t value = 0;
      const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value);
      if (code == std::errc::invalid_argument || end != text.data() + text.size())
        return problem(400, "not a layer", "layer must be a whole number, 0 or more");
      if (code != std::errc{} || value >= layers.size() || layers[value].empty())
        return problem(
            404, "no such layer", "layer " + std::string{text.substr(0, 40)} + " has no experts");
      only = value;
    } else if (!query.empty()) {
      return problem(400, "unknown parameter", "only layer=N is known here");
    }
    std::string text = "{\"model\":" + quoted(of_.model_id) +
                       ",\"experts_per_layer\":" + std::to_string(of_.experts) + ",\"layers\":[";
    for (std::size_t i = 0; i < layers.size(); ++i) {
      if (layers[i].empty() || (only && *only != i)) continue;
      if (!text.ends_with('[')) text += ',';
      text += layer_json(i, layers[i]);
    }
    return fresh_json(text + "]}");
  }

private:
  std::pair<request_counts, server_sample> copies() const {
    const std::lock_guard lock{mutex_};
    return {counts_, sample_};
  }

  std::string rates() const {
    double tokens = 0, requests = 0;
    if (tallies_.size() > 1) {
      const tally& a = tallies_.front();
      const tally& z = tallies_.back();
      const double passed = std::max(seconds(z.when - a.when), 1e-3);
      tokens = static_cast<double>(z.generated - a.generated) / passed;
      requests = static_cast<double>(z.ended - a.ended) / passed;
    }
    return "\"rates\":{\"tokens_per_second\":" + apps::fixed(tokens, 2) +
           ",\"requests_per_second\":" + apps::fixed(requests, 2) + "}";
  }

  board_options of_;
  time_point_ns begun_;
  mutable std::mutex mutex_;
  request_counts counts_;
  recent_values first_token_, interval_, total_;
  std::uint64_t ended_ = 0;
  server_sample sample_;
  std::deque<tally> tallies_;
};

http::response problem(int status, std::string_view title, std::string_view detail) {
  http::response r;
  r.status = status;
  r.content_type = "application/problem+json";
  r.body = "{\"type\":\"about:blank\",\"title\":" + quoted(title) +
           ",\"status\":" + std::to_string(status) + ",\"detail\":" + quoted(detail) + "}";
  return r;
}

std::string version_json(std::initializer_list<std::string_view> parts) {
  const apps::build_info b = apps::this_build();
  std::string text = "{\"version\":" + quoted(b.version) +
                     ",\"commit\":" + (b.commit.empty() ? "null" : quoted(b.commit)) +
                     ",\"parts\":[";
  for (const std::string_view part : parts) {
    if (part.empty()) continue;
    if (!text.ends_with('[')) text += ',';
    text += quoted(part);
  }
  return text + "]}";
}

board::board(board_options options) : impl_{std::make_unique<impl>(std::move(options))} {}
board::~board() = default;

void board::ended(const openai::request_record& record) {
  log_request(record);
  impl_->ended(record);
}

void board::token_interval(duration_ns interval, std::size_t tokens) {
  impl_->token_interval(interval, tokens);
}

void board::generated(std::size_t tokens) { impl_->generated(tokens); }
void board::refused(int status) { impl_->refused(status); }
void board::sampled(const server_sample& now) { impl_->sampled(now); }
server_sample board::last_sample() const { return impl_->last_sample(); }
http::response board::metrics() const { return impl_->metrics(); }

http::response board::status(std::span<const openai::live_request> live) const {
  return impl_->status(live);
}

http::response board::experts(std::string_view query) const { return impl_->experts(query); }

}  // namespace atl::serve
