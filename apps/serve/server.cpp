#include "apps/serve/server.hpp"

#include "apps/http/open_files.hpp"
#include "apps/serve/access.hpp"
#include "apps/serve/routes.hpp"
#include "apps/values.hpp"
#include "runtime/base/log.hpp"
#include "runtime/base/random.hpp"

#include <algorithm>
#include <future>
#include <utility>

namespace atl::serve {
namespace {

constexpr std::chrono::milliseconds drain_poll{20};
constexpr duration_ns flush_min = std::chrono::seconds{2};
constexpr const char* shutting_down = "the server is shutting down";
constexpr std::size_t reading_max = 4096;
constexpr std::size_t files_besides = 64;  // that are no connections: weights, listeners, logs

double in_seconds(std::chrono::milliseconds d) { return static_cast<double>(d.count()) * 1e-3; }

origin_policy policy_of(const std::string& address, bool has_keys) {
  origin_policy policy;
  policy.has_keys = has_keys;
  const auto at = parse_address("--listen", address);
  if (at.has_error()) return policy;
  policy.listen_host = at->host;
  policy.is_loopback = is_loopback(at->host);
  return policy;
}

http::listener_options listener_of(std::string_view name, const listener_settings& from) {
  http::listener_options l;
  l.name = name;
  l.address = from.address;
  if (!from.certificate.empty()) l.tls = http::tls_files{from.certificate, from.private_key};
  return l;
}

std::string url_of(const std::string& address, const listener_settings& l) {
  return (l.certificate.empty() ? "http://" : "https://") + address;
}

}  // namespace

result<std::unique_ptr<server>> server::listen(const serve_settings& settings) {
  auto made = std::make_unique<server>(settings);
  ATOLL_TRY(made->bind());
  return made;
}

result<void> server::bind() {
  if (!settings_.keys_file.empty()) {
    ATOLL_ASSIGN(keys_, key_store::open(settings_.keys_file));
  }
  const bool has_keys = keys_ != nullptr;
  front_options options;
  options.keys = keys_.get();
  options.splits = !settings_.admin.address.empty();
  options.main_origin = policy_of(settings_.listen.address, has_keys);
  options.admin_origin = policy_of(settings_.admin.address, has_keys);
  options.main_is_private =
      options.main_origin.is_loopback || !settings_.listen.certificate.empty();
  options.admin_is_private =
      options.admin_origin.is_loopback || !settings_.admin.certificate.empty();
  front_ = std::make_unique<front>(std::move(options));

  http::server_options o;
  o.listeners.push_back(listener_of(main_listener, settings_.listen));
  if (!settings_.admin.address.empty())
    o.listeners.push_back(listener_of(admin_listener, settings_.admin));
  o.limits = settings_.limits;
  const std::size_t files = http::raise_open_files_limit();
  if (files < settings_.limits.connections_max + files_besides)
    log_warning("this process may open " + std::to_string(files) +
                " files, so not all of --max-connections " +
                std::to_string(settings_.limits.connections_max) +
                "; raise the limit (ulimit -n, LimitNOFILE=)");
  o.id_seed = system_entropy();
  o.check_head = [f = front_.get()](const http::request& head) { return f->check(head); };
  o.handle = [f = front_.get()](http::request&& request, std::shared_ptr<http::exchange> answer) {
    f->handle(std::move(request), std::move(answer));
  };
  ATOLL_ASSIGN(http_, http::server::start(std::move(o)));
  return {};
}

std::string server::url() const { return url_of(http_->addresses()[0], settings_.listen); }

std::string server::admin_url() const {
  const auto addresses = http_->addresses();
  return addresses.size() > 1 ? url_of(addresses[1], settings_.admin) : std::string{};
}

openai::service_options server::api_options(const served_model& model) {
  openai::service_options o;
  auto* node = node_;
  o.cluster.submit = [node](actors::generation_request r, actors::generation_listener l) {
    return node->submit(std::move(r), std::move(l));
  };
  o.cluster.cancel = [node](request_id id) { node->cancel(id); };
  o.cluster.refusal = [node]() -> std::optional<error> {
    const auto admitted = node->admits();
    return admitted.has_error() ? std::optional{admitted.error()} : std::nullopt;
  };
  o.cluster.retry_after_s = [node] {
    return static_cast<int>(
        std::chrono::duration_cast<std::chrono::seconds>(node->retry_after()).count());
  };
  o.words = model.words;
  o.model_id = model.id;
  o.fingerprint = model.fingerprint;
  o.created = unix_time_ms() / 1000;
  o.context_max = model.context_max;
  o.vocabulary = model.vocabulary;
  if (model.chat_format.empty()) {
    const auto format = model::detect_chat_format(*model.words);
    if (format.has_error()) {
      o.no_format = format.error().message();
    } else {
      o.format = *format;
    }
  } else {
    o.format = model::chat_format_from_string(model.chat_format);
  }
  o.limits.choices_max = settings_.choices_max;
  o.limits.vocabulary = model.vocabulary;
  o.limits.timeout_default_s = in_seconds(settings_.timeout_default);
  o.limits.timeout_max_s = in_seconds(settings_.timeout_max);
  o.limits.sampling = model.defaults;
  o.seed = system_entropy();
  o.scope_secret = {system_entropy(), system_entropy()};
  o.waiting_max = reading_max;
  o.waiting_bytes_max = settings_.limits.bodies_bytes_max;
  o.time = time_;
  o.unix_time_s = [] { return unix_time_ms() / 1000; };
  o.watch = board_.get();
  o.post = [h = http_.get()](std::function<void()> what) { h->post(std::move(what)); };
  return o;
}

void server::open(served_node& node, served_model model) {
  node_ = &node;
  if (!board_) {
    board_options seen;
    seen.model_id = model.id;
    seen.description = node.description();
    seen.experts = model.experts;
    seen.has_vllm_metrics = settings_.has_vllm_metrics;
    seen.has_expert_metrics = settings_.has_expert_metrics;
    seen.time = time_;
    seen.fingerprint = model.fingerprint;
    board_ = std::make_unique<board>(std::move(seen));
  }
  apis_.push_back(std::make_unique<openai::service>(api_options(model)));
  sample();
  front_->open(apis_.back().get(), board_.get());
  const bool is_first = apis_.size() == 1;
  http_->post([this, is_first, api = apis_.back().get()] {
    pinged_ = api;
    if (is_first && settings_.ping_time.count() > 0) schedule_pings();
  });
}

void server::look_at_requests(std::function<void(const std::vector<openai::live_request>&)> to) {
  http_->post([this, to = std::move(to)] {
    to(pinged_ == nullptr ? std::vector<openai::live_request>{} : pinged_->live());
  });
}

void server::cancel_request(std::uint64_t number, std::function<void(bool)> told) {
  http_->post([this, number, told = std::move(told)] {
    told(pinged_ != nullptr && pinged_->cancel(number));
  });
}

void server::schedule_pings() {
  const auto interval = std::max(settings_.ping_time / 2, std::chrono::milliseconds{10});
  http_->post_after(interval, [this] {
    if (pinged_ != nullptr) pinged_->tick(settings_.ping_time);
    schedule_pings();
  });
}

server_sample server::seen_now() const {
  server_sample now;
  now.usage = node_->usage();
  now.counters = node_->counters();
  now.gauges = node_->gauges();
  now.http = http_->counters();
  return now;
}

void server::sample() {
  if (node_ == nullptr) return;
  server_sample now = seen_now();
  const bool is_stalled = progress_.is_stalled(now, time_->now());
  const std::string why =
      is_stalled ? "requests wait and nothing is computed" : now.gauges.out_of_use;
  now.is_ready = why.empty();
  now.state = now.is_ready ? "ready" : why;
  board_->sampled(now);
  front_->set_state(why);
}

void server::take(const serve_settings& fresh) {
  settings_.limits = fresh.limits;
  settings_.drain_time = fresh.drain_time;
  settings_.engine.cluster.queued_max = fresh.engine.cluster.queued_max;
  http_->set_limits(settings_.limits);
  if (node_ == nullptr) return;
  const auto limited = node_->set_queue_limit(settings_.engine.cluster.queued_max);
  if (limited.has_error()) log_error("not reloaded: " + limited.error().message());
}

std::vector<std::string> server::reload_files() {
  std::vector<std::string> taken;
  if (keys_ != nullptr) {
    const auto read = keys_->reload();
    if (read.has_error()) {
      log_error("the old keys stay: " + read.error().message());
    } else {
      taken.emplace_back("keys");
    }
  }
  const auto tls = http_->reload_tls();
  if (tls.has_error()) {
    log_error("the old certificates stay: " + tls.error().message());
  } else {
    taken.emplace_back("certificates");
  }
  return taken;
}

std::size_t server::open_requests() {
  const auto answer = std::make_shared<std::promise<std::size_t>>();
  auto count = answer->get_future();
  http_->post([api = apis_.back().get(), answer] {
    answer->set_value(std::max(api->open_requests(), api->reading()));
  });
  return count.get();
}

int server::drain(service_signals& signals, const service_notifier& manager) {
  const time_point_ns begun = time_->now();
  if (node_ == nullptr) return 0;
  front_->set_state(shutting_down);
  http_->post([api = apis_.back().get()] { api->drain(); });
  sample_draining();
  time_point_ns sampled = begun;
  std::size_t left = open_requests();
  if (left > 0)
    log_info("finishing " + std::to_string(left) + " requests, at most " +
             apps::fixed(in_seconds(settings_.drain_time), 0) + " s; a second signal stops now");
  while ((left = open_requests()) > 0) {
    if (time_->now() - begun >= settings_.drain_time) {
      log_warning(std::to_string(left) + " requests did not finish in time and are ended");
      break;
    }
    const service_event event = signals.wait(drain_poll);
    if (event == service_event::stop_now) return 128 + signals.last_signal();
    if (time_->now() - sampled >= sample_interval) {
      sampled = time_->now();
      sample_draining();
    }
    manager.watchdog();
  }
  drained_by_ = std::max(begun + settings_.drain_time, time_->now() + flush_min);
  return 0;
}

void server::sample_draining() {
  server_sample now = seen_now();
  now.is_draining = true;
  now.state = shutting_down;
  board_->sampled(now);
}

void server::close(const std::string& why) {
  if (front_) front_->close(why);
  if (node_ == nullptr) return;
  openai::service* const api = apis_.back().get();
  api->close();
  const auto stopped = std::make_shared<std::promise<void>>();
  auto waiting = stopped->get_future();
  http_->post([this, api, stopped] {
    pinged_ = nullptr;
    api->stop();
    stopped->set_value();
  });
  waiting.get();
  node_ = nullptr;
}

void server::end(service_signals& signals) {
  if (!http_) return;
  http_->drain();
  if (drained_by_) {
    while (http_->open_connections() > 0 && time_->now() < *drained_by_)
      if (signals.wait(drain_poll) == service_event::stop_now) break;
  }
  http_.reset();
}

server::~server() { close(shutting_down); }

}  // namespace atl::serve
