#include "apps/cluster/local_up.hpp"

#include "apps/cluster/child.hpp"
#include "apps/cluster/operator_session.hpp"
#include "apps/inbox.hpp"
#include "apps/output.hpp"
#include "runtime/base/clock.hpp"
#include "runtime/base/disk.hpp"
#include "runtime/base/log.hpp"
#include "runtime/model/checkpoint.hpp"

#include <boost/json.hpp>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <optional>
#include <poll.h>
#include <sys/stat.h>
#include <thread>
#include <unistd.h>
#include <utility>

namespace atl::ops {
namespace {

namespace json = boost::json;

constexpr duration_ns start_patience = std::chrono::seconds{120};
constexpr duration_ns end_patience = std::chrono::seconds{40};
constexpr duration_ns restart_pause_least = std::chrono::milliseconds{500};
constexpr duration_ns restart_pause_most = std::chrono::seconds{10};
// One that ran so long before it died is started again without a longer pause.
constexpr duration_ns steady_run = std::chrono::seconds{30};
constexpr std::size_t tail_bytes = 2000;

struct local_node {
  std::string name;  // "expert-2"
  std::string role;
  std::vector<std::string> arguments;
  std::optional<child> process;
  std::optional<std::int64_t> id;  // once it is ready
  std::string url;
  time_point_ns started;
  std::optional<time_point_ns> start_again;
  duration_ns pause = restart_pause_least;
};

class local_cluster_run {
public:
  explicit local_cluster_run(const local_up_options& o) : o_{o} {}
  ~local_cluster_run() {
    nodes_.clear();
    std::error_code ignored;
    if (is_temporary_ && !o_.keeps_dir) std::filesystem::remove_all(dir_, ignored);
  }
  local_cluster_run(const local_cluster_run&) = delete;
  local_cluster_run& operator=(const local_cluster_run&) = delete;

  result<int> run() {
    const auto files = system_disk();
    ATOLL_TRY(model::resolve_model(*files, o_.model, model::system_environment()));
    ATOLL_TRY(make_directory());
    auto up = start_coordinator();
    if (up.has_value()) up = start_others();
    if (up.has_value()) up = wait_whole();
    if (up.has_value()) up = announce();
    if (up.has_value()) return watch();
    // What went wrong is in the logs.
    if (up.error().code() == errc::cancelled) return up.error();
    o_.keeps_dir = true;
    return error{up.error().code(), up.error().message() + "\nthe nodes' logs stay in " + dir_};
  }

private:
  result<void> make_directory();
  result<std::string> command(const std::vector<std::string>& arguments);
  std::vector<std::string> node_arguments(const std::string& name, const std::string& role) const;
  result<void> start(local_node& n);
  result<void> start_coordinator();
  result<void> start_others();
  result<void> make_token(const std::string& role, int uses, const std::string& file);
  result<void> wait_ready(std::size_t first);
  result<void> wait_whole();
  void take_line(local_node& n, const std::string& line);
  result<void> announce();
  int watch();
  void look_after(local_node& n);
  int end(int signal);
  /// Waits for output, an end or a signal, at most so long; 0 or the signal's number.
  int wait(duration_ns at_most);
  std::string path(const std::string& name) const { return dir_ + "/" + name; }

  local_up_options o_;
  steady_clock time_;
  std::string dir_;
  bool is_temporary_ = false;
  std::vector<local_node> nodes_;
};

result<void> local_cluster_run::make_directory() {
  std::error_code failure;
  if (o_.dir.empty()) {
    const char* base = std::getenv("TMPDIR");
    std::string made = std::string{base != nullptr ? base : "/tmp"} + "/atoll-XXXXXX";
    if (::mkdtemp(made.data()) == nullptr)
      return error{errc::io, "no directory could be made as " + made + "; give --dir"};
    dir_ = made;
    is_temporary_ = true;
    return {};
  }
  std::filesystem::create_directories(o_.dir, failure);
  if (failure) return error{errc::io, "--dir " + o_.dir + ": " + failure.message()};
  ::chmod(o_.dir.c_str(), 0700);
  dir_ = std::filesystem::absolute(o_.dir).lexically_normal().string();
  return {};
}

/// Runs one of this program's own commands to its end and gives its first line.
result<std::string> local_cluster_run::command(const std::vector<std::string>& arguments) {
  std::vector<std::string> all{"/proc/self/exe"};
  all.insert(all.end(), arguments.begin(), arguments.end());
  const std::string log = path("commands.log");
  ATOLL_ASSIGN(child c, child::start(all, log));
  const time_point_ns until = time_.now() + start_patience;
  std::string said;
  while (!c.take_end()) {
    pollfd ends[] = {{c.end_descriptor(), POLLIN, 0}, {apps::interrupt_descriptor(), POLLIN, 0}};
    ::poll(ends, 2, 1000);
    if (apps::take_interrupt() != 0) return error{errc::cancelled, "interrupted"};
    if (time_.now() > until) return error{errc::deadline, arguments[0] + " does not end"};
  }
  if (auto line = c.line()) said = *line;
  if (*c.take_end() != "exit code 0")
    return error{errc::internal,
                 "atoll " + arguments[0] + " " + arguments[1] + ": " + *c.take_end() + "\n" +
                     c.log_tail(tail_bytes)};
  return said;
}

std::vector<std::string> local_cluster_run::node_arguments(const std::string& name,
                                                           const std::string& role) const {
  // Attention and experts compute by turns, and whoever ends first leaves its cores to the others.
  const int cores = static_cast<int>(std::max(1U, std::thread::hardware_concurrency()));
  const int threads = o_.threads > 0 ? o_.threads : cores;
  std::vector<std::string> a{"/proc/self/exe",
                             "node",
                             "run",
                             "--role",
                             role,
                             "--name",
                             name,
                             "--dir",
                             path(name),
                             "--model",
                             o_.model,
                             "--json"};
  if (role == "attention" || role == "expert") {
    a.insert(a.end(), {"--threads", std::to_string(threads)});
    a.insert(a.end(), {"--data-interface", "lo", "--data-transport", o_.data_transport});
  }
  if (role == "gateway")
    a.insert(a.end(), {"--data-interface", "lo", "--data-transport", o_.data_transport});
  if (role == "expert" && !o_.expert_memory.empty())
    a.insert(a.end(), {"--expert-memory", o_.expert_memory});
  a.insert(a.end(), o_.node_flags.begin(), o_.node_flags.end());
  return a;
}

/// Where it listened before, others know to find it.
void keep_address(local_node& n) {
  const auto flag = std::find(n.arguments.begin(), n.arguments.end(), "--listen");
  const auto host = n.url.find("//");
  if (flag == n.arguments.end() || host == std::string::npos) return;
  *(flag + 1) = n.url.substr(host + 2);
}

result<void> local_cluster_run::start(local_node& n) {
  keep_address(n);
  n.start_again.reset();
  n.started = time_.now();
  n.process.reset();
  ATOLL_ASSIGN(n.process, child::start(n.arguments, path(n.name + ".log")));
  return {};
}

result<void> local_cluster_run::start_coordinator() {
  if (!std::filesystem::exists(path("coordinator/cluster.json")))
    ATOLL_TRY(command(
        {"cluster", "init", "--dir", path("coordinator"), "--admin-key-out", path("admin.key")}));
  local_node n;
  n.name = n.role = "coordinator";
  n.arguments = node_arguments(n.name, n.role);
  n.arguments.insert(n.arguments.end(),
                     {"--listen",
                      "127.0.0.1:0",
                      "--control",
                      "127.0.0.1:0",
                      "--replicas",
                      std::to_string(o_.replicas),
                      "--expert-policy",
                      o_.expert_policy,
                      "--expert-nodes-min",
                      std::to_string(std::max(1, o_.expert_nodes))});
  nodes_.push_back(std::move(n));
  ATOLL_TRY(start(nodes_.back()));
  return wait_ready(0);
}

/// For nodes that are not in a directory of an earlier run.
result<void>
local_cluster_run::make_token(const std::string& role, int uses, const std::string& file) {
  if (uses == 0) return {};
  std::error_code ignored;
  std::filesystem::remove(file, ignored);
  ATOLL_TRY(command({"join-token",
                     "create",
                     "--role",
                     role,
                     "--uses",
                     std::to_string(uses),
                     "--ttl",
                     "1h",
                     "--out",
                     file,
                     "--server",
                     nodes_[0].url,
                     "--ca",
                     path("coordinator/ca.pem"),
                     "--admin-key-file",
                     path("admin.key")}));
  return {};
}

result<void> local_cluster_run::start_others() {
  const std::string server = nodes_[0].url;
  const std::size_t first = nodes_.size();
  const auto add = [&](const std::string& role, int count) -> result<void> {
    if (count == 0) return {};
    const auto name_of = [&](int i) { return count == 1 ? role : role + "-" + std::to_string(i); };
    int strangers = 0;
    for (int i = 1; i <= count; ++i)
      strangers += std::filesystem::exists(path(name_of(i)) + "/node.json") ? 0 : 1;
    const std::string token = path(role + ".token");
    ATOLL_TRY(make_token(role, strangers, token));
    for (int i = 1; i <= count; ++i) {
      local_node n;
      n.role = role;
      n.name = name_of(i);
      n.arguments = node_arguments(n.name, role);
      n.arguments.insert(n.arguments.end(), {"--join", server, "--token-file", token});
      if (role == "gateway")
        n.arguments.insert(n.arguments.end(), {"--listen", i == 1 ? o_.listen : "127.0.0.1:0"});
      nodes_.push_back(std::move(n));
    }
    return {};
  };
  ATOLL_TRY(add("expert", o_.expert_nodes));
  ATOLL_TRY(add("attention", o_.attention_nodes));
  ATOLL_TRY(add("gateway", o_.gateways));
  for (std::size_t i = first; i < nodes_.size(); ++i) ATOLL_TRY(start(nodes_[i]));
  return wait_ready(first);
}

void local_cluster_run::take_line(local_node& n, const std::string& line) {
  boost::system::error_code failure;
  const json::value said = json::parse(line, failure);
  if (failure || !said.is_object()) return;
  const auto& o = said.get_object();
  if (const auto* id = o.if_contains("id"); id != nullptr && id->is_int64()) n.id = id->get_int64();
  if (const auto* url = o.if_contains("url"); url != nullptr && url->is_string())
    n.url = url->get_string().c_str();
}

int local_cluster_run::wait(duration_ns at_most) {
  std::vector<pollfd> all{{apps::interrupt_descriptor(), POLLIN, 0}};
  for (const auto& n : nodes_) {
    if (!n.process || !n.process->is_running()) continue;
    all.push_back({n.process->end_descriptor(), POLLIN, 0});
    if (!n.id) all.push_back({n.process->output_descriptor(), POLLIN, 0});
  }
  const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(at_most).count();
  ::poll(all.data(), all.size(), static_cast<int>(std::max<std::int64_t>(ms, 1)));
  return apps::take_interrupt();
}

result<void> local_cluster_run::wait_ready(std::size_t first) {
  const time_point_ns until = time_.now() + start_patience;
  for (;;) {
    bool is_ready = true;
    for (std::size_t i = first; i < nodes_.size(); ++i) {
      local_node& n = nodes_[i];
      while (auto line = n.process->line()) take_line(n, *line);
      if (const auto& ended = n.process->take_end())
        return error{errc::internal,
                     "node " + n.name + " ended before it was ready (" + *ended + "); " +
                         path(n.name + ".log") + " ends with:\n" + n.process->log_tail(tail_bytes)};
      is_ready = is_ready && n.id.has_value();
    }
    if (is_ready) return {};
    if (wait(std::chrono::seconds{1}) != 0) return error{errc::cancelled, "interrupted"};
    if (time_.now() > until)
      return error{errc::deadline, "the nodes were not ready within two minutes; see " + dir_};
  }
}

/// Until each expert has a copy in use. Loading may take long, and is told; what cannot be is an
/// error.
result<void> local_cluster_run::wait_whole() {
  ATOLL_ASSIGN(
      operator_session at,
      operator_session::open({nodes_[0].url, path("coordinator/ca.pem"), path("admin.key")}));
  time_point_ns told = time_.now();
  for (;;) {
    ATOLL_ASSIGN(const json::value all, at.ask("GET", "/api/v1/cluster"));
    const json::object& is = all.as_object();
    const json::object& placed = is.at("placement").as_object();
    const auto count = [&](const char* of) { return placed.at(of).to_number<std::int64_t>(); };
    if (is.at("ready").as_bool() && count("without_copy") == 0) return {};
    const std::string why{is.at("reason").as_string()};
    if (count("unplaceable") > 0)
      return error{errc::out_of_memory, why + ": give more --expert-nodes or --expert-memory"};
    if (time_.now() - told > std::chrono::seconds{5}) {
      told = time_.now();
      log_info("waiting for the cluster: " + why);
    }
    if (wait(std::chrono::milliseconds{20}) != 0) return error{errc::cancelled, "interrupted"};
    for (local_node& n : nodes_)
      if (n.process && n.process->take_end())
        return error{errc::internal, "node " + n.name + " ended: " + *n.process->take_end()};
  }
}

result<void> local_cluster_run::announce() {
  const auto gateway =
      std::find_if(nodes_.begin(), nodes_.end(), [](const auto& n) { return n.role == "gateway"; });
  const std::string url = gateway == nodes_.end() ? std::string{} : gateway->url;
  json::array list;
  std::string text = "serving at " + url + "; for operators: --server " + nodes_[0].url + " --ca " +
                     path("coordinator/ca.pem") + " --admin-key-file " + path("admin.key") + "\n";
  for (const auto& n : nodes_) {
    json::object entry{
        {"id", *n.id}, {"role", n.role}, {"pid", n.process->pid()}, {"name", n.name}};
    if (!n.url.empty()) entry["url"] = n.url;
    list.push_back(std::move(entry));
    text += "  node " + std::to_string(*n.id) + "  " + n.name + "  process " +
            std::to_string(n.process->pid()) + "\n";
  }
  const json::object all{{"url", url},
                         {"nodes", std::move(list)},
                         {"control", nodes_[0].url},
                         {"ca", path("coordinator/ca.pem")},
                         {"admin_key_file", path("admin.key")},
                         {"dir", dir_}};
  const auto files = system_disk();
  ATOLL_ASSIGN(apps::output to, apps::output::open(*files, ""));
  ATOLL_TRY(to.write(o_.as_json ? json::serialize(all) + "\n" : text));
  return to.finish();
}

void local_cluster_run::look_after(local_node& n) {
  if (n.process) {
    while (auto line = n.process->line()) take_line(n, *line);
  }
  if (!n.start_again && n.process && n.process->take_end()) {
    log_warning("node " + n.name + " ended: " + *n.process->take_end());
    n.process.reset();
    if (!o_.restarts) return;
    if (time_.now() - n.started > steady_run) n.pause = restart_pause_least;
    n.start_again = time_.now() + n.pause;
    n.pause = std::min(n.pause * 2, restart_pause_most);
  }
  if (n.start_again && time_.now() >= *n.start_again) {
    n.id.reset();
    const auto started = start(n);
    if (started.has_error()) {
      log_error("node " + n.name + " not started: " + started.error().message());
      n.start_again = time_.now() + n.pause;
    } else {
      log_info("node " + n.name + " started again as process " + std::to_string(n.process->pid()));
    }
  }
}

int local_cluster_run::watch() {
  for (;;) {
    if (const int signal = wait(std::chrono::milliseconds{500}); signal != 0) return end(signal);
    bool is_any = false;
    for (auto& n : nodes_) {
      look_after(n);
      is_any = is_any || n.process || n.start_again;
    }
    if (is_any) continue;
    log_error("all nodes have ended");
    return 1;
  }
}

/// Gateways first, so that requests end well; then the rest at once, since nothing has to move.
int local_cluster_run::end(int signal) {
  const auto running = [this](bool gateways) {
    return std::any_of(nodes_.begin(), nodes_.end(), [gateways](auto& n) {
      return (n.role == "gateway") == gateways && n.process && !n.process->take_end();
    });
  };
  const time_point_ns until = time_.now() + end_patience;
  for (const bool gateways : {true, false}) {
    for (auto& n : nodes_) {
      if ((n.role == "gateway") != gateways || !n.process) continue;
      n.process->signal(SIGTERM);
      if (!gateways) n.process->signal(SIGINT);  // the second signal: without moving work off
    }
    while (running(gateways)) {
      if (wait(std::chrono::milliseconds{200}) != 0 || time_.now() > until) {
        for (auto& n : nodes_)
          if (n.process) n.process->signal(SIGKILL);
        return 128 + signal;
      }
    }
  }
  return 0;
}

}  // namespace

result<int> run_local_up(const local_up_options& o) {
  apps::hold_interrupts();
  return local_cluster_run{o}.run();
}

}  // namespace atl::ops
