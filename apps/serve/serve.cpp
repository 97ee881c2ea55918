#include "apps/serve/serve.hpp"

#include "apps/inbox.hpp"
#include "apps/output.hpp"
#include "apps/serve/model_card.hpp"
#include "apps/serve/server.hpp"

#include <algorithm>
#include <csignal>
#include <future>
#include <optional>
#include <unistd.h>
#include <utility>

namespace atl::serve {
namespace {

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
    ATOLL_ASSIGN(http_, server::listen(s()));
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

  result<void> load();
  void look_while_loading();
  result<void> announce();
  int wait();
  void reload();
  int drain();
  void end();

  loaded_settings settings_;
  const setting_sources& sources_;
  std::shared_ptr<disk> files_ = system_disk();
  service_signals signals_;
  service_notifier manager_ = service_notifier::from_environment();
  bool is_reload_due_ = false;
  std::unique_ptr<server> http_;
  std::unique_ptr<actors::local_cluster> cluster_;
};

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
  served_model model;
  model.id = served_model_id(s());
  model.words = found.words;
  model.vocabulary = found.vocabulary();
  model.context_max = found.cluster.context_max;
  model.experts = found.config.routed_experts;
  model.chat_format = s().chat_format;
  model.fingerprint = system_fingerprint(*weights, cluster_->options());
  model.defaults = defaults;
  http_->open(*cluster_, model);
  return {};
}

result<void> server_process::announce() {
  const std::string url = http_->url();
  ATOLL_ASSIGN(apps::output to, apps::output::open(*files_, ""));
  ATOLL_TRY(to.write(url + "\n"));
  ATOLL_TRY(to.finish());
  std::string said = "serving " + served_model_id(s()) + " at " + url;
  if (!http_->admin_url().empty()) said += ", for operators at " + http_->admin_url();
  log_info(said + "; " + cluster_->description());
  manager_.ready(said);
  return {};
}

void server_process::reload() {
  manager_.reloading();
  std::vector<std::string> taken;
  auto fresh = load_settings(*files_, sources_);
  if (fresh.has_error()) {
    log_error("not reloaded, the old settings stay: " + fresh.error().message());
  } else {
    const reload_outcome outcome = take_reloadable(settings_, *fresh);
    for (const auto& flag : outcome.need_restart)
      log_warning("--" + flag + " has changed and needs a restart to count");
    set_log_level(s().least_level);
    set_log_format(s().log_style);
    http_->take(s());
    taken.emplace_back("settings");
  }
  for (auto& what : http_->reload_files()) taken.push_back(std::move(what));
  std::string said;
  for (const auto& what : taken) said += (said.empty() ? "" : ", ") + what;
  log_info("reloaded: " + (said.empty() ? std::string{"nothing"} : said));
  manager_.ready("reloaded: " + said);
}

int server_process::wait() {
  if (std::exchange(is_reload_due_, false)) reload();
  for (;;) {
    auto at_most = server::sample_interval;
    if (const auto watch = manager_.watchdog_interval()) at_most = std::min(at_most, *watch);
    switch (signals_.wait(at_most)) {
    case service_event::drain: return drain();
    case service_event::stop_now: return 128 + signals_.last_signal();
    case service_event::reload: reload(); break;
    default:
      http_->sample();
      manager_.watchdog();
      break;
    }
  }
}

int server_process::drain() {
  manager_.stopping("finishing what runs");
  return http_->drain(signals_, manager_);
}

void server_process::end() {
  if (http_) http_->close("the server is shutting down");
  cluster_.reset();
  if (http_) http_->end(signals_);
  http_.reset();
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
