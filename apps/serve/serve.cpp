#include "apps/serve/serve.hpp"

#include "apps/http/open_files.hpp"
#include "apps/inbox.hpp"
#include "apps/output.hpp"
#include "apps/serve/access.hpp"
#include "apps/serve/board.hpp"
#include "apps/serve/front.hpp"
#include "apps/serve/keys.hpp"
#include "apps/serve/model_card.hpp"
#include "apps/serve/progress.hpp"
#include "apps/serve/service.hpp"
#include "apps/values.hpp"
#include "runtime/base/random.hpp"

#include <algorithm>
#include <csignal>
#include <future>
#include <optional>
#include <unistd.h>
#include <utility>

namespace atl::serve {
namespace {

constexpr std::chrono::milliseconds sample_interval{1000};
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

/// Generates one token before anybody is served, so that being ready is more than being loaded. It
/// also arranges the vocabulary for grammars, which takes its time once.
result<void> try_out(actors::local_cluster& cluster, const apps::model_files& found) {
  // Shared: the worker may still be leaving set_value() when the outcome is known here.
  const auto ended = std::make_shared<std::promise<std::optional<error>>>();
  auto outcome = ended->get_future();
  actors::generation_request r;
  r.prompt = {found.words->bos().value_or(0)};
  r.tokens_max = 1;
  r.vocabulary = found.vocabulary();
  r.constraint = R"({"free":true})";
  ATOLL_TRY(cluster.submit(std::move(r), [ended](actors::generation_event&& event) {
    if (event.finish != actors::finish_reason::none) ended->set_value(std::move(event.cause));
  }));
  if (auto why = outcome.get())
    return error{why->code(), "the model does not answer: " + why->message()};
  return {};
}

class server_process {
public:
  server_process(loaded_settings settings, const setting_sources& sources)
      : settings_{std::move(settings)}, sources_{sources} {}

  result<int> run() {
    ATOLL_TRY(listen());
    ATOLL_TRY(load());
    ATOLL_TRY(announce());
    const int code = wait();
    end();
    return code;
  }

  ~server_process() { end(); }
  server_process(const server_process&) = delete;
  server_process& operator=(const server_process&) = delete;

private:
  const serve_settings& s() const { return settings_.values; }

  result<void> listen();
  result<void> load();
  void look_while_loading();
  openai::service_options api_options(const apps::model_files& found,
                                      const model::model_weights& weights,
                                      const model::sampling_params& defaults);
  result<void> announce();
  int wait();
  void sample();
  server_sample seen_now();
  void schedule_pings();
  void reload();
  std::size_t open_requests();
  int drain();
  void sample_draining();
  void flush();
  void end();

  loaded_settings settings_;
  const setting_sources& sources_;
  std::shared_ptr<disk> files_ = system_disk();
  std::shared_ptr<const clock> time_ = std::make_shared<steady_clock>();
  service_signals signals_;
  service_notifier manager_ = service_notifier::from_environment();
  progress_watch progress_;
  bool is_reload_due_ = false;
  std::optional<time_point_ns> drained_by_;  // nobody asked for the end to come at once
  std::unique_ptr<key_store> keys_;
  std::unique_ptr<front> front_;
  std::unique_ptr<board> board_;
  std::unique_ptr<openai::service> api_;
  std::unique_ptr<http::server> http_;
  std::unique_ptr<actors::local_cluster> cluster_;
};

result<void> server_process::listen() {
  if (!s().keys_file.empty()) {
    ATOLL_ASSIGN(keys_, key_store::open(s().keys_file));
  }
  const bool has_keys = keys_ != nullptr;
  front_options options;
  options.keys = keys_.get();
  options.splits = !s().admin.address.empty();
  options.main_origin = policy_of(s().listen.address, has_keys);
  options.admin_origin = policy_of(s().admin.address, has_keys);
  front_ = std::make_unique<front>(std::move(options));

  http::server_options server;
  server.listeners.push_back(listener_of(main_listener, s().listen));
  if (!s().admin.address.empty())
    server.listeners.push_back(listener_of(admin_listener, s().admin));
  server.limits = s().limits;
  const std::size_t files = http::raise_open_files_limit();
  if (files < s().limits.connections_max + files_besides)
    log_warning("this process may open " + std::to_string(files) +
                " files, so not all of --max-connections " +
                std::to_string(s().limits.connections_max) +
                "; raise the limit (ulimit -n, LimitNOFILE=)");
  server.id_seed = system_entropy();
  server.check_head = [f = front_.get()](const http::request& head) { return f->check(head); };
  server.handle = [f = front_.get()](http::request&& request,
                                     std::shared_ptr<http::exchange> answer) {
    f->handle(std::move(request), std::move(answer));
  };
  ATOLL_ASSIGN(http_, http::server::start(std::move(server)));
  return {};
}

openai::service_options server_process::api_options(const apps::model_files& found,
                                                    const model::model_weights& weights,
                                                    const model::sampling_params& defaults) {
  openai::service_options o;
  auto* cluster = cluster_.get();
  o.cluster.submit = [cluster](actors::generation_request r, actors::generation_listener l) {
    return cluster->submit(std::move(r), std::move(l));
  };
  o.cluster.cancel = [cluster](request_id id) { cluster->cancel(id); };
  o.cluster.refusal = [cluster]() -> std::optional<error> {
    const auto admitted = cluster->admits();
    return admitted.has_error() ? std::optional{admitted.error()} : std::nullopt;
  };
  o.cluster.retry_after_s = [cluster] {
    return static_cast<int>(
        std::chrono::duration_cast<std::chrono::seconds>(cluster->retry_after()).count());
  };
  o.words = found.words;
  o.model_id = served_model_id(s());
  o.fingerprint =
      system_fingerprint(weights, cluster_->options().numerics, *cluster_->options().isa);
  o.created = unix_time_ms() / 1000;
  o.context_max = found.cluster.context_max;
  o.vocabulary = found.vocabulary();
  if (s().chat_format.empty()) {
    const auto format = model::detect_chat_format(*found.words);
    if (format.has_error()) {
      o.no_format = format.error().message();
    } else {
      o.format = *format;
    }
  } else {
    o.format = model::chat_format_from_string(s().chat_format);
  }
  o.limits.choices_max = s().choices_max;
  o.limits.vocabulary = found.vocabulary();
  o.limits.timeout_default_s = in_seconds(s().timeout_default);
  o.limits.timeout_max_s = in_seconds(s().timeout_max);
  o.limits.sampling = defaults;
  o.seed = system_entropy();
  o.scope_secret = {system_entropy(), system_entropy()};
  o.waiting_max = reading_max;
  o.waiting_bytes_max = s().limits.bodies_bytes_max;
  o.time = time_;
  o.unix_time_s = [] { return unix_time_ms() / 1000; };
  o.watch = board_.get();
  o.post = [server = http_.get()](std::function<void()> what) { server->post(std::move(what)); };
  return o;
}

/// No request runs yet, so there is nothing to finish.
void server_process::look_while_loading() {
  switch (signals_.wait(std::chrono::milliseconds{0})) {
  case service_event::drain:
  case service_event::stop_now: log_info("ended while loading"); ::_exit(0);
  case service_event::reload: is_reload_due_ = true; break;
  default: break;
  }
}

result<void> server_process::load() {
  manager_.status("loading " + s().engine.model);
  ATOLL_ASSIGN(const apps::model_files found, apps::find_model(*files_, s().engine));
  if (!found.words)
    return error{errc::invalid_model,
                 found.directory + ": a server needs tokenizer.json, which is missing there"};
  ATOLL_ASSIGN(const auto defaults, sampling_defaults(*files_, found.directory));
  ATOLL_ASSIGN(const auto weights,
               apps::load_model(*files_, found, s().engine, [this] { look_while_loading(); }));
  ATOLL_ASSIGN(cluster_, actors::local_cluster::start(weights, found.cluster, found.words));
  ATOLL_TRY(try_out(*cluster_, found));
  board_options seen;
  seen.model_id = served_model_id(s());
  seen.description = cluster_->description();
  seen.experts = found.config.routed_experts;
  seen.has_vllm_metrics = s().has_vllm_metrics;
  seen.has_expert_metrics = s().has_expert_metrics;
  seen.time = time_;
  seen.fingerprint =
      system_fingerprint(*weights, cluster_->options().numerics, *cluster_->options().isa);
  board_ = std::make_unique<board>(std::move(seen));
  api_ = std::make_unique<openai::service>(api_options(found, *weights, defaults));
  sample();
  front_->open(api_.get(), board_.get());
  if (s().ping_time.count() > 0) schedule_pings();
  return {};
}

void server_process::schedule_pings() {
  const auto interval = std::max(s().ping_time / 2, std::chrono::milliseconds{10});
  http_->post_after(interval, [this] {
    if (api_ == nullptr) return;
    api_->tick(s().ping_time);
    schedule_pings();
  });
}

result<void> server_process::announce() {
  const auto addresses = http_->addresses();
  const auto url = [&](std::size_t i, const listener_settings& l) {
    return (l.certificate.empty() ? "http://" : "https://") + addresses[i];
  };
  const std::string main_url = url(0, s().listen);
  ATOLL_ASSIGN(apps::output to, apps::output::open(*files_, ""));
  ATOLL_TRY(to.write(main_url + "\n"));
  ATOLL_TRY(to.finish());
  std::string said = "serving " + served_model_id(s()) + " at " + main_url;
  if (addresses.size() > 1) said += ", for operators at " + url(1, s().admin);
  log_info(said + "; " + cluster_->description());
  manager_.ready(said);
  return {};
}

server_sample server_process::seen_now() {
  server_sample now;
  now.usage = cluster_->usage();
  now.counters = cluster_->counters();
  now.gauges = cluster_->gauges();
  now.http = http_->counters();
  return now;
}

void server_process::sample() {
  server_sample now = seen_now();
  const bool is_stalled = progress_.is_stalled(now, time_->now());
  now.is_ready = !is_stalled;
  now.state = is_stalled ? "requests wait and nothing is computed" : "ready";
  board_->sampled(now);
  front_->set_state(is_stalled ? now.state : std::string{});
}

void server_process::reload() {
  manager_.reloading();
  std::string taken;
  auto fresh = load_settings(*files_, sources_);
  if (fresh.has_error()) {
    log_error("not reloaded, the old settings stay: " + fresh.error().message());
  } else {
    const reload_outcome outcome = take_reloadable(settings_, *fresh);
    for (const auto& flag : outcome.need_restart)
      log_warning("--" + flag + " has changed and needs a restart to count");
    set_log_level(s().least_level);
    set_log_format(s().log_style);
    http_->set_limits(s().limits);
    const auto limited = cluster_->set_queue_limit(s().engine.cluster.queued_max);
    if (limited.has_error()) log_error("not reloaded: " + limited.error().message());
    taken = "settings";
  }
  const auto also = [&taken](const char* what) {
    taken += taken.empty() ? what : std::string{", "} + what;
  };
  if (keys_ != nullptr) {
    const auto read = keys_->reload();
    if (read.has_error()) {
      log_error("the old keys stay: " + read.error().message());
    } else {
      also("keys");
    }
  }
  const auto tls = http_->reload_tls();
  if (tls.has_error()) {
    log_error("the old certificates stay: " + tls.error().message());
  } else {
    also("certificates");
  }
  log_info("reloaded: " + (taken.empty() ? std::string{"nothing"} : taken));
  manager_.ready("reloaded: " + taken);
}

int server_process::wait() {
  if (std::exchange(is_reload_due_, false)) reload();
  for (;;) {
    auto at_most = sample_interval;
    if (const auto watch = manager_.watchdog_interval()) at_most = std::min(at_most, *watch);
    switch (signals_.wait(at_most)) {
    case service_event::drain: return drain();
    case service_event::stop_now: return 128 + signals_.last_signal();
    case service_event::reload: reload(); break;
    default:
      sample();
      manager_.watchdog();
      break;
    }
  }
}

std::size_t server_process::open_requests() {
  const auto answer = std::make_shared<std::promise<std::size_t>>();
  auto count = answer->get_future();
  http_->post(
      [this, answer] { answer->set_value(std::max(api_->open_requests(), api_->reading())); });
  return count.get();
}

int server_process::drain() {
  manager_.stopping("finishing what runs");
  front_->set_state(shutting_down);
  http_->post([this] { api_->drain(); });
  sample_draining();
  const time_point_ns begun = time_->now();
  time_point_ns sampled = begun;
  std::size_t left = open_requests();
  if (left > 0)
    log_info("finishing " + std::to_string(left) + " requests, at most " +
             apps::fixed(in_seconds(s().drain_time), 0) + " s; a second signal stops now");
  while ((left = open_requests()) > 0) {
    if (time_->now() - begun >= s().drain_time) {
      log_warning(std::to_string(left) + " requests did not finish in time and are ended");
      break;
    }
    const service_event event = signals_.wait(drain_poll);
    if (event == service_event::stop_now) return 128 + signals_.last_signal();
    if (time_->now() - sampled >= sample_interval) {
      sampled = time_->now();
      sample_draining();
    }
    manager_.watchdog();
  }
  drained_by_ = std::max(begun + s().drain_time, time_->now() + flush_min);
  return 0;
}

void server_process::sample_draining() {
  server_sample now = seen_now();
  now.is_draining = true;
  now.state = shutting_down;
  board_->sampled(now);
}

/// What was answered still has to reach those who asked, who may read slowly.
void server_process::flush() {
  while (http_->open_connections() > 0 && time_->now() < *drained_by_)
    if (signals_.wait(drain_poll) == service_event::stop_now) return;
}

void server_process::end() {
  if (front_) front_->close();
  if (api_) {
    api_->close();
    const auto stopped = std::make_shared<std::promise<void>>();
    auto waiting = stopped->get_future();
    http_->post([this, stopped] {
      api_->stop();
      stopped->set_value();
    });
    waiting.get();
  }
  cluster_.reset();
  if (http_) {
    http_->drain();
    if (drained_by_) flush();
  }
  http_.reset();
  api_.reset();
}

}  // namespace

result<int> run_serve(const setting_sources& sources) {
  const auto files = system_disk();
  ATOLL_ASSIGN(loaded_settings loaded, load_settings(*files, sources));
  // In the background of a script SIGINT is inherited as ignored, and under nohup SIGHUP; to a
  // server they mean to drain and to reload.
  for (const int number : {SIGINT, SIGTERM, SIGHUP}) ::signal(number, SIG_DFL);
  apps::hold_interrupts();
  set_log_level(loaded.values.least_level);
  set_log_format(loaded.values.log_style);
  for (const auto& warning : loaded.warnings) log_warning(warning);
  return server_process{std::move(loaded), sources}.run();
}

}  // namespace atl::serve
