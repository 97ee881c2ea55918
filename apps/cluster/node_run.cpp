#include "apps/cluster/node_run.hpp"

#include "actors/node.hpp"
#include "apps/build_info.hpp"
#include "apps/cluster/api_forward.hpp"
#include "apps/cluster/coordinator_host.hpp"
#include "apps/cluster/gateway_line.hpp"
#include "apps/cluster/init.hpp"
#include "apps/cluster/joining.hpp"
#include "apps/cluster/node_life.hpp"
#include "apps/cluster/node_model.hpp"
#include "apps/cluster/node_paths.hpp"
#include "apps/cluster/roles.hpp"
#include "apps/cluster/state.hpp"
#include "apps/inbox.hpp"
#include "apps/output.hpp"
#include "apps/serve/access.hpp"
#include "apps/serve/model_card.hpp"
#include "apps/serve/server.hpp"
#include "runtime/base/log.hpp"
#include "transport/wire/control.hpp"

#include <boost/json.hpp>

#include <algorithm>
#include <csignal>
#include <future>
#include <memory>
#include <optional>
#include <unistd.h>
#include <utility>

namespace atl::ops {
namespace {

namespace wire = transport::wire;
namespace tls = transport::tls;

constexpr const char* control_default = "127.0.0.1:7401";
constexpr std::chrono::seconds leave_slack{5};
constexpr std::int64_t renew_again_s = 60;
constexpr int ticks_patient = 4;
// Members of before say join again every two seconds, if they are alive.
constexpr duration_ns settle_time = std::chrono::seconds{5};

error bad(const std::string& what) { return {errc::invalid_argument, what}; }

std::string machine_name() {
  char name[256] = "";
  if (::gethostname(name, 64) != 0) return "node";
  std::string plain{name};
  plain = plain.substr(0, plain.find('.'));
  std::replace_if(
      plain.begin(),
      plain.end(),
      [](char c) {
        return !((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                 c == '-');
      },
      '-');
  return plain.empty() ? "node" : plain;
}

class node_process {
public:
  node_process(node_run_options o, serve::loaded_settings settings)
      : o_{std::move(o)}, settings_{std::move(settings)} {}
  ~node_process() { end(); }
  node_process(const node_process&) = delete;
  node_process& operator=(const node_process&) = delete;

  result<int> run() {
    ATOLL_TRY(prepare());
    for (;;) {
      ATOLL_ASSIGN(const std::optional<int> code, live());
      end_life("the node begins anew");
      if (code) return *code;
    }
  }

private:
  bool has(std::uint32_t role) const { return (roles_ & role) != 0; }
  const serve::serve_settings& s() const { return settings_.values; }

  // The process.
  result<void> prepare();
  result<void> find_identity();
  result<void> find_old_identity();
  result<void> find_model();
  result<void> find_paths();
  // One life of the node.
  result<std::optional<int>> live();
  result<void> begin();
  result<actors::node_setup> setup(incarnation life);
  actors::coordination coordination();
  result<void> host_api();
  result<std::optional<int>> wait_ready();
  result<void> serve();
  result<void> announce();
  result<std::optional<int>> watch();
  std::optional<int> ended(const std::optional<error>& cause);
  int leave();
  void tick();
  void renew();
  void take_renewed(result<tls::credentials> fresh);
  result<void> join();
  /// Answers what the coordinator asks about requests of this life.
  gateway_line::answer_function about_requests();
  void end_life(const std::string& why);
  void end();

  node_run_options o_;
  serve::loaded_settings settings_;
  std::shared_ptr<disk> files_ = system_disk();
  steady_clock time_;
  serve::service_signals signals_;
  serve::service_notifier manager_ = serve::service_notifier::from_environment();
  std::uint32_t roles_ = 0;
  std::optional<directory_lock> lock_;
  std::unique_ptr<coordinator_host> host_;  // of a coordinator
  node_card card_;
  tls::credentials own_;
  std::int64_t renewal_due_s_ = 0;
  std::future<result<tls::credentials>> renewal_;
  std::optional<error> outcast_;  // the cluster does not know this node any more
  node_model model_;
  std::optional<data_path> data_;
  std::string control_listen_;
  bool is_announced_ = false;
  std::unique_ptr<api_forward> operators_;  // of a gateway: their requests, to the coordinator
  std::unique_ptr<serve::server> http_;     // of a gateway; over all lives
  std::unique_ptr<gateway_line> line_;      // of a gateway that is not the coordinator; of a life
  incarnation life_number_;
  std::shared_ptr<node_life> life_;
  std::unique_ptr<node_paths> paths_;
  std::unique_ptr<actors::node> node_;
};

result<void> node_process::prepare() {
  ATOLL_ASSIGN(roles_, role_bits(o_.roles));
  o_.roles = role_names(roles_);
  if (o_.dir.empty()) o_.dir = default_state_dir();
  if (o_.name.empty()) o_.name = machine_name();
  if (!o_.domain.empty() && !wire::is_domain_name(o_.domain))
    return bad("--domain " + o_.domain + ": it must be 1 to 255 letters, digits and -_.:/");
  ATOLL_TRY(make_state_dir(o_.dir));
  ATOLL_ASSIGN(auto lock, directory_lock::take(o_.dir));
  lock_.emplace(std::move(lock));
  // What is wrong with the options shows before a token is used up.
  ATOLL_TRY(find_paths());
  if (has(wire::role_gateway)) {
    ATOLL_ASSIGN(http_, serve::server::listen(s()));
  }
  if (!s().engine.model.empty() || roles_ != wire::role_expert) ATOLL_TRY(find_model());
  ATOLL_TRY(find_identity());
  if (s().engine.model.empty()) ATOLL_TRY(find_model());  // as the coordinator sent it
  const bool differs =
      !card_.model.empty() && !model_.fingerprint.empty() && card_.model != model_.fingerprint;
  if (differs)
    return error{errc::invalid_model,
                 "--model " + s().engine.model + " has fingerprint " + model_.fingerprint +
                     ", the cluster's model " + card_.model +
                     ": give every node the same checkpoint"};
  return {};
}

result<void> node_process::find_paths() {
  constexpr std::uint32_t computing = wire::role_gateway | wire::role_attention | wire::role_expert;
  if ((roles_ & computing) == 0) return {};
  ATOLL_ASSIGN(const data_path path, choose_data_path(o_.data, look_at_interfaces()));
  data_ = path;
  log_info("data goes by " + std::string{to_string(path.kind)} + " over " + path.interface);
  return {};
}

result<void> node_process::find_model() {
  node_model_options o;
  o.roles = roles_;
  o.engine = s().engine;
  if (const int groups = o.engine.cluster.expert_groups; groups != 1) {
    return error{errc::invalid_argument,
                 "--expert-groups: " + std::to_string(groups) +
                     " asked, but a node of a cluster has one, so that each row goes to it once; "
                     "run another node for another group"};
  }
  // Copies are on different nodes here, and the coordinator's matter.
  o.engine.cluster.replicas = 1;
  o.expert_memory = o_.expert_memory;
  o.sent_config = o_.dir + "/model";
  ATOLL_ASSIGN(model_, find_node_model(*files_, o));
  return {};
}

result<void> node_process::join() {
  ATOLL_ASSIGN(card_,
               join_cluster({o_.dir,
                             o_.join,
                             o_.token_file,
                             o_.name,
                             o_.roles,
                             apps::this_build().version,
                             model_.fingerprint}));
  log_info("joined cluster " + card_.cluster + " as node " + std::to_string(card_.node.value));
  ATOLL_ASSIGN(own_, read_credentials(o_.dir));
  return {};
}

/// Of an earlier start. One whose certificate has run out begins anew where it got a token.
result<void> node_process::find_old_identity() {
  const bool may_all = std::all_of(o_.roles.begin(), o_.roles.end(), [&](const auto& role) {
    return std::find(card_.roles.begin(), card_.roles.end(), role) != card_.roles.end();
  });
  if (!may_all) {
    const auto allowed = role_bits(card_.roles);
    return bad("--role: this node joined as " + roles_text(allowed.has_value() ? *allowed : 0) +
               " and may be nothing else; join with another --dir and a token for the roles");
  }
  ATOLL_ASSIGN(own_, read_credentials(o_.dir));
  const auto valid = tls::check_credentials(own_, unix_time_ms() / 1000);
  if (valid.has_error() && !o_.join.empty() && !o_.token_file.empty()) {
    log_warning("node " + std::to_string(card_.node.value) +
                " joins anew, as another node: " + valid.error().message());
    return join();
  }
  return {};
}

result<void> node_process::find_identity() {
  if (has(wire::role_coordinator)) {
    if (!o_.join.empty()) return bad("--join: this node is the coordinator itself");
    ATOLL_ASSIGN(host_, coordinator_host::open(o_.dir));
    card_.cluster = host_->cluster().id;
    card_.node = card_.coordinator = coordinator_node;
    card_.name = o_.name;
    card_.roles = o_.roles;
    ATOLL_ASSIGN(own_, host_->issue_own(o_.roles));
    ATOLL_ASSIGN(const auto kept, read_addresses(o_.dir));
    control_listen_ = o_.control_listen.empty() ? control_default : o_.control_listen;
    ATOLL_ASSIGN(const auto at, serve::parse_address("--control", control_listen_));
    if (at.host.empty() || at.host == "0.0.0.0" || at.host == "::")
      return bad("--control " + control_listen_ +
                 ": nodes are told this address; give the one of this machine that they reach");
    // Nodes know the address of before.
    if (at.port == 0 &&
        kept.control.starts_with(control_listen_.substr(0, control_listen_.size() - 1)))
      control_listen_ = kept.control;
  } else {
    auto card = read_node_card(o_.dir);
    if (card.has_value()) {
      card_ = std::move(*card);
      ATOLL_TRY(find_old_identity());
    } else if (card.error().code() != errc::not_found) {
      return card.error();
    } else {
      if (o_.join.empty())
        return bad("--dir " + o_.dir +
                   " holds no node yet; give --join URL and --token-file F to join a cluster");
      ATOLL_TRY(join());
    }
    if (!o_.control_listen.empty()) {
      control_listen_ = o_.control_listen;
    } else {
      ATOLL_ASSIGN(control_listen_, local_address_towards(card_.control));
      control_listen_ += ":0";
    }
  }
  ATOLL_ASSIGN(const auto facts, tls::check_credentials(own_, unix_time_ms() / 1000));
  renewal_due_s_ = renewal_due_unix_s(facts);
  return {};
}

actors::coordination node_process::coordination() {
  cluster::control_settings c;
  c.model = model_.placed;
  c.fingerprint = model_.fingerprint;
  c.copies = static_cast<std::uint32_t>(std::max(1, s().engine.cluster.replicas));
  c.expert_nodes_min = o_.expert_nodes_min;
  c.policy = cluster::policy_of(o_.expert_policy).value_or(cluster::balance_policy::advise);
  c.settle = settle_time;
  return host_->coordination(std::move(c));
}

result<actors::node_setup> node_process::setup(incarnation life) {
  path_options p;
  p.self = card_.node;
  p.coordinator = card_.coordinator;
  p.coordinator_address = host_ ? std::string{} : card_.control;
  p.control_listen = control_listen_;
  p.data = data_;
  p.own = own_;
  if (host_)
    p.is_revoked = [host = host_.get()](const std::string& serial, node_id node) {
      return host->is_revoked(serial, node);
    };
  ATOLL_ASSIGN(paths_, node_paths::make(p));

  life_ = std::make_shared<node_life>(signals_);
  actors::node_setup n;
  n.self = {card_.node, life};
  n.roles = roles_;
  n.coordinator = card_.coordinator;
  n.links = paths_->links();
  n.config = model_.config;
  n.weights = model_.weights;
  n.words = model_.words;
  n.options = model_.options;
  n.expert_bytes = model_.expert_bytes;
  n.presence.name = card_.name;
  n.presence.version = apps::this_build().version;
  n.presence.numeric_class = numeric_class(model_.options);
  n.presence.model = model_.fingerprint;
  n.presence.domain = o_.domain;
  n.describes_itself = true;
  n.addresses = [paths = paths_.get()](wire::join& j) { paths->introduce(j); };
  n.watch.heartbeat_every = std::chrono::milliseconds{card_.heartbeat_ms};
  n.watch.suspect_after = std::chrono::milliseconds{card_.suspect_ms};
  n.watch.dead_after = std::chrono::milliseconds{card_.dead_ms};
  if (host_) n.coordinates = coordination();
  n.ready = [fate = life_](result<void> outcome) { fate->ready(std::move(outcome)); };
  n.ended = [fate = life_](std::optional<error> cause) { fate->ended(std::move(cause)); };
  return n;
}

result<void> node_process::begin() {
  ATOLL_ASSIGN(const incarnation life, begin_life(o_.dir));
  life_number_ = life;
  ATOLL_ASSIGN(auto made, setup(life));
  ATOLL_ASSIGN(node_, actors::node::start(std::move(made)));
  log_info("node " + std::to_string(card_.node.value) + ", life " + std::to_string(life.value) +
           ": " + node_->description());
  return host_ ? host_api() : result<void>{};
}

result<void> node_process::host_api() {
  ATOLL_ASSIGN(coordinator_addresses kept, read_addresses(o_.dir));
  coordinator_host::api_options a;
  a.listen = o_.api_listen;
  const std::string any_port = o_.api_listen.ends_with(":0")
                                   ? o_.api_listen.substr(0, o_.api_listen.size() - 1)
                                   : std::string{};
  if (!any_port.empty() && kept.api.starts_with(any_port)) a.listen = kept.api;
  a.advertise = o_.advertise;
  a.model_name = serve::served_model_id(s());
  a.terms.coordinator = card_.coordinator;
  a.terms.control = paths_->control_address();
  a.terms.model_config = model_.config_text;
  a.terms.generation_config = model_.generation_config;
  a.terms.fingerprint = model_.fingerprint;
  a.terms.heartbeat_ms = card_.heartbeat_ms;
  a.terms.suspect_ms = card_.suspect_ms;
  a.terms.dead_ms = card_.dead_ms;
  a.revoked = [paths = paths_.get()] { paths->drop_revoked(); };
  if (http_) a.own_gateway = about_requests();
  ATOLL_TRY(host_->listen(a, *node_));
  card_.server = host_->url();
  kept.control = paths_->control_address();
  kept.api = o_.api_listen.substr(0, o_.api_listen.rfind(':')) +
             card_.server.substr(card_.server.rfind(':'));
  return write_addresses(o_.dir, kept);
}

/// Waits until the node is ready; an exit code where the end comes first.
result<std::optional<int>> node_process::wait_ready() {
  for (int ticks = 0;;) {
    if (const auto outcome = life_->readiness()) {
      if (outcome->has_value()) return std::optional<int>{};
      return outcome->error();
    }
    if (outcast_) return *outcast_;
    // A refused handshake says little; a renewal tells what is wrong with the certificate.
    if (!host_ && ++ticks == ticks_patient) renewal_due_s_ = 0;
    switch (signals_.wait(serve::server::sample_interval)) {
    case serve::service_event::drain:
    case serve::service_event::stop_now: return std::optional{128 + signals_.last_signal()};
    default: tick(); break;
    }
  }
}

result<void> node_process::serve() {
  if (!http_) return {};
  ATOLL_ASSIGN(const auto defaults, serve::sampling_defaults(*files_, model_.directory));
  serve::served_model m;
  m.id = serve::served_model_id(s());
  m.words = model_.words;
  m.vocabulary = std::min(model_.words->vocabulary_size(), model_.config.vocab_size);
  m.context_max = model_.options.context_max;
  m.experts = model_.config.routed_experts;
  m.chat_format = s().chat_format;
  m.fingerprint = serve::system_fingerprint(*model_.weights, model_.options);
  m.defaults = defaults;
  http_->open(*node_, std::move(m));
  if (!host_) line_ = std::make_unique<gateway_line>(card_.server, o_.dir, about_requests());
  if (operators_) return {};
  operators_ = std::make_unique<api_forward>(card_.server, o_.dir + "/ca.pem");
  http_->forward(
      [to = operators_.get()](http::request&& r, std::shared_ptr<http::exchange> answer) {
        to->handle(std::move(r), std::move(answer));
      });
  return {};
}

result<void> node_process::announce() {
  const std::string url = http_ ? http_->url() : host_ ? host_->url() : std::string{};
  const std::string what = "node " + std::to_string(card_.node.value) + " (" + roles_text(roles_) +
                           ") of cluster " + card_.cluster;
  log_info(what + " is ready");
  manager_.ready(what);
  if (std::exchange(is_announced_, true)) return {};
  boost::json::object line{
      {"id", card_.node.value}, {"role", roles_text(roles_)}, {"cluster", card_.cluster}};
  std::string text = what;
  if (!url.empty()) {
    line["url"] = url;
    text += " at " + url;
  }
  if (host_ && http_) {
    line["control"] = host_->url();
    text += ", for operators at " + host_->url();
  }
  ATOLL_ASSIGN(apps::output to, apps::output::open(*files_, ""));
  ATOLL_TRY(to.write(o_.as_json ? boost::json::serialize(line) + "\n" : text + "\n"));
  return to.finish();
}

/// One life: an exit code, or nothing where another one is to begin.
result<std::optional<int>> node_process::live() {
  ATOLL_TRY(begin());
  auto waited = wait_ready();
  if (waited.has_error()) {
    if (waited.error().code() != errc::stale_epoch) return waited.error();
    return ended(waited.error());
  }
  if (*waited) return *waited;
  ATOLL_TRY(serve());
  ATOLL_TRY(announce());
  return watch();
}

result<std::optional<int>> node_process::watch() {
  for (;;) {
    if (const auto over = life_->end()) {
      if (*over && (*over)->code() != errc::stale_epoch) return **over;
      return ended(*over);
    }
    if (outcast_) return *outcast_;
    auto at_most = serve::server::sample_interval;
    if (const auto interval = manager_.watchdog_interval()) at_most = std::min(at_most, *interval);
    switch (signals_.wait(at_most)) {
    case serve::service_event::drain: return std::optional{leave()};
    case serve::service_event::stop_now: return std::optional{128 + signals_.last_signal()};
    case serve::service_event::reload:
      if (host_) host_->reload();
      if (http_)
        for (const auto& what : http_->reload_files()) log_info("reloaded: " + what);
      break;
    case serve::service_event::timeout: tick(); break;
    default: break;
    }
  }
}

std::optional<int> node_process::ended(const std::optional<error>& cause) {
  if (!cause) {
    log_info("this node may go: nothing of the cluster needs it");
    return 0;
  }
  log_warning("no member any more: " + cause->message() + "; a new life begins");
  return std::nullopt;
}

void node_process::tick() {
  manager_.watchdog();
  if (http_) http_->sample();
  if (host_ && node_) host_->tick(*node_);
  // A handshake says that it is revoked; a renewal says what to do, or ends the matter.
  if (!host_ && paths_ && paths_->was_refused()) renewal_due_s_ = 0;
  renew();
}

/// A certificate is renewed at half its life, aside, since the coordinator may be slow or away.
void node_process::renew() {
  if (renewal_.valid()) {
    if (renewal_.wait_for(std::chrono::seconds{0}) == std::future_status::ready)
      take_renewed(renewal_.get());
    return;
  }
  if (unix_time_ms() / 1000 < renewal_due_s_) return;
  renewal_ = std::async(
      std::launch::async, [dir = o_.dir, card = card_, roles = o_.roles, host = host_.get()] {
        return host != nullptr ? host->issue_own(roles) : renew_certificate(dir, card);
      });
}

void node_process::take_renewed(result<tls::credentials> fresh) {
  result<void> taken = fresh.has_error() ? result<void>{fresh.error()} : result<void>{};
  if (taken.has_value() && paths_) taken = paths_->set_credentials(*fresh);
  if (taken.has_error()) {
    log_error("the certificate was not renewed: " + taken.error().message());
    renewal_due_s_ = unix_time_ms() / 1000 + renew_again_s;
    if (taken.error().code() == errc::unauthorised) outcast_ = taken.error();
    return;
  }
  own_ = std::move(*fresh);
  if (const auto facts = tls::read_facts(own_.certificate_pem); facts.has_value())
    renewal_due_s_ = renewal_due_unix_s(*facts);
  log_info("the certificate was renewed");
}

/// Requests end first, then the coordinator moves off what the cluster needs of this node. The
/// coordinator's own node just ends: the others go on without it.
int node_process::leave() {
  manager_.stopping("leaving the cluster");
  if (http_) {
    if (const int code = http_->drain(signals_, manager_); code != 0) return code;
  }
  if (host_) return 0;
  const time_point_ns until = time_.now() + s().drain_time + leave_slack;
  log_info("leaving the cluster; a second signal stops now");
  while (!life_->end()) {
    // Again and again: a coordinator that has just started does not know this life yet.
    node_->leave(std::max(until - time_.now() - leave_slack, duration_ns{0}));
    if (time_.now() > until) {
      log_warning("the coordinator did not let this node go in time; it goes all the same");
      return 0;
    }
    if (signals_.wait(serve::server::sample_interval) == serve::service_event::stop_now)
      return 128 + signals_.last_signal();
    manager_.watchdog();
  }
  return 0;
}

gateway_line::answer_function node_process::about_requests() {
  return [at = http_.get(), self = card_.node, life = life_number_](
             const std::string& question, std::function<void(const std::string&)> answer) {
    answer_question(*at, self, life, question, std::move(answer));
  };
}

void node_process::end_life(const std::string& why) {
  line_.reset();
  if (http_) http_->close(why);
  if (operators_) operators_->end_streams();
  if (host_) host_->close();
  node_.reset();
  if (renewal_.valid()) renewal_.wait();
  paths_.reset();
}

void node_process::end() {
  end_life("the node is shutting down");
  if (http_) http_->end(signals_);
  http_.reset();
}

}  // namespace

result<int> run_node(const node_run_options& o) {
  const auto files = system_disk();
  ATOLL_ASSIGN(serve::loaded_settings loaded, serve::load_settings(*files, o.settings));
  for (const int number : {SIGINT, SIGTERM, SIGHUP}) ::signal(number, SIG_DFL);
  apps::hold_interrupts();
  set_log_level(loaded.values.least_level);
  set_log_format(loaded.values.log_style);
  for (const auto& warning : loaded.warnings) log_warning(warning);
  return node_process{o, std::move(loaded)}.run();
}

}  // namespace atl::ops
