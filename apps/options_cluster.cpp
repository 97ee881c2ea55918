#include "apps/options_cluster.hpp"

#include "apps/cluster/event_commands.hpp"
#include "apps/cluster/init.hpp"
#include "apps/cluster/local_up.hpp"
#include "apps/cluster/node_run.hpp"
#include "apps/cluster/operator_commands.hpp"
#include "apps/cluster/roles.hpp"
#include "apps/cluster/top_command.hpp"
#include "apps/serve/option.hpp"
#include "apps/values.hpp"

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <CLI/Validators.hpp>

#include <memory>
#include <utility>

namespace atl::apps {

void add_operator(CLI::App& app, ops::operator_options& o) {
  const std::string group = "Coordinator";
  app.add_option("--server", o.server.url, "URL of its API (ATOLL_SERVER)")
      ->type_name("URL")
      ->group(group);
  app.add_option("--ca", o.server.ca_file, "the cluster's ca.pem (ATOLL_CA)")
      ->type_name("FILE")
      ->group(group);
  app.add_option("--admin-key-file",
                 o.server.key_file,
                 "holds the key of cluster init (ATOLL_ADMIN_KEY_FILE)")
      ->type_name("FILE")
      ->group(group);
  app.add_flag("--json", o.as_json, "as JSON");
}

namespace {

constexpr const char* dir_help = "where the node keeps its state (default: ~/.local/state/atoll)";

/// "1h" as seconds.
result<std::int64_t> seconds_of(const std::string& option, const std::string& text) {
  ATOLL_ASSIGN(const auto time, serve::parse_duration(option, text));
  return std::chrono::duration_cast<std::chrono::seconds>(time).count();
}

/// A command about one node.
CLI::App& add_one_node(CLI::App& node,
                       const char* name,
                       const char* what,
                       const std::shared_ptr<ops::node_options>& o) {
  CLI::App& app = *node.add_subcommand(name, what);
  app.add_option("ID", o->node, "its number, or its name")->required();
  add_operator(app, o->at);
  return app;
}

using node_command = result<int> (*)(const ops::node_options&);

void add_plain_node_command(
    CLI::App& node, const char* name, const char* what, node_command run, const choose& chosen) {
  const auto o = std::make_shared<ops::node_options>();
  CLI::App& app = add_one_node(node, name, what, o);
  app.callback([o, run, chosen] { chosen(command{[given = *o, run] { return run(given); }}); });
}

void add_drain(CLI::App& node, const choose& chosen) {
  const auto o = std::make_shared<ops::node_options>();
  const auto deadline = std::make_shared<std::string>();
  CLI::App& app = add_one_node(node, "drain", "move all work off a node", o);
  app.footer(R"(Waits for the end: 0 when nothing of the cluster needs the node any more, 1 when the
deadline came first. Leaving the command does not stop the drain; --cancel does.

Examples:
  atoll node drain 3
  atoll node drain gpu-7 --deadline 10m --detach
  atoll node drain 3 --cancel)");
  app.add_option("--deadline", *deadline, "how long it may take (default: 5m)")->type_name("TIME");
  app.add_flag("--detach", o->detaches, "do not wait for the end");
  app.add_flag("--force", o->force, "also where the node is the last of its role, or of an expert");
  const auto cancels = std::make_shared<bool>(false);
  app.add_flag("--cancel", *cancels, "end a drain; the node is used again");
  app.callback([o, deadline, cancels, chosen] {
    chosen([&]() -> result<command> {
      ops::node_options given = *o;
      if (!deadline->empty()) {
        ATOLL_ASSIGN(given.deadline_s, seconds_of("--deadline", *deadline));
      }
      if (*cancels) return command{[given] { return ops::run_node_cancel_drain(given); }};
      return command{[given] { return ops::run_node_drain(given); }};
    }());
  });
}

void add_remove(CLI::App& node, const choose& chosen) {
  const auto o = std::make_shared<ops::node_options>();
  CLI::App& app = add_one_node(
      node, "remove", "end a node's membership for good; its certificates are refused", o);
  app.add_flag("--force", o->force, "also a member that was not drained");
  app.callback(
      [o, chosen] { chosen(command{[given = *o] { return ops::run_node_remove(given); }}); });
}

void add_node_list(CLI::App& node, const choose& chosen) {
  const auto o = std::make_shared<ops::operator_options>();
  CLI::App& app = *node.add_subcommand("list", "all nodes");
  add_operator(app, *o);
  const auto form = std::make_shared<std::string>("table");
  app.add_option("-o,--output", *form, "table, wide or json")
      ->check(CLI::IsMember({"table", "wide", "json"}))
      ->capture_default_str();
  app.callback([o, form, chosen] {
    chosen(command{[given = *o, is_wide = *form == "wide", is_json = *form == "json"]() mutable {
      given.as_json = given.as_json || is_json;
      return ops::run_node_list(given, is_wide);
    }});
  });
}

constexpr const char* policy_help =
    "of a coordinator, until one is chosen: off, advise (plans only), auto (apply them)";

struct node_run_arguments {
  ops::node_run_options options;
  std::string roles, expert_memory;
};

result<command> node_run_of(const node_run_arguments& a) {
  ops::node_run_options o = a.options;
  ATOLL_ASSIGN(o.roles, ops::parse_roles("--role", a.roles));
  if (!a.expert_memory.empty()) {
    ATOLL_ASSIGN(o.expert_memory, parse_size("--expert-memory", a.expert_memory));
  }
  ATOLL_ASSIGN(const std::uint32_t bits, ops::role_bits(o.roles));
  ATOLL_ASSIGN(const std::uint32_t gateway, ops::role_bits({"gateway"}));
  const bool is_gateway = (bits & gateway) != 0;
  // Without a gateway there is one listener, and --listen means it.
  auto& flags = o.settings.flags;
  const auto listen = flags.find("listen");
  if (!is_gateway && listen != flags.end()) {
    o.api_listen = listen->second;
    flags.erase(listen);
  }
  for (auto& variable : serve::atoll_environment()) {
    const bool is_option = std::any_of(
        serve::options().begin(), serve::options().end(), [&](const serve::option& known) {
          return serve::environment_name(known) == variable.first;
        });
    if (is_option && (is_gateway || variable.first != "ATOLL_LISTEN"))
      o.settings.environment.push_back(std::move(variable));
  }
  return command{[o] { return ops::run_node(o); }};
}

constexpr const char* node_run_footer =
    R"(The coordinator runs in the directory that `atoll cluster init` made. Every other node joins
once, by --join and --token-file; its key and certificate stay in its directory, and later starts
need neither. One line on standard output says that the node is ready. SIGTERM and SIGINT make it
leave in order, at most --drain-timeout later; a second one ends it at once.

Data goes by UCX on the loopback and over RDMA, and by TLS otherwise; UCX over tcp trusts
everybody who can reach it and needs --trusted-network.

Examples:
  atoll node run --role coordinator --model MODEL --listen 192.0.2.1:7400 \
      --control 192.0.2.1:7401
  atoll node run --role expert --join https://192.0.2.1:7400 --token-file expert.token \
      --data-interface eth0
  atoll node run --role gateway,attention --model MODEL --join https://192.0.2.1:7400 \
      --token-file node.token --data-interface eth0 --listen :8000 --keys keys)";

void add_node_run(CLI::App& node, const choose& chosen) {
  CLI::App& app = *node.add_subcommand("run", "be a node of a cluster");
  app.footer(node_run_footer);
  const auto a = std::make_shared<node_run_arguments>();
  ops::node_run_options& o = a->options;
  app.add_option("--role", a->roles, "coordinator, gateway, attention, expert; with commas between")
      ->required();
  app.add_option("--dir", o.dir, dir_help)->type_name("DIR");
  app.add_option("--join", o.join, "URL of the coordinator's API, for the first start")
      ->type_name("URL");
  app.add_option("--token-file", o.token_file, "holds the join token, for the first start")
      ->type_name("FILE");
  const auto model = [a](const std::string& text) { a->options.settings.flags["model"] = text; };
  app.add_option_function<std::string>(
         "--model,--model-path", model, "directory of the checkpoint; an expert node needs none")
      ->type_name("PATH");
  app.add_option("--name", o.name, "for people (default: the machine's)");
  app.add_option(
         "--domain", o.domain, "what fails with this node: a rack, a zone (default: it alone)")
      ->type_name("NAME");
  app.add_option(
         "--api-listen", o.api_listen, "of the coordinator's API, where --listen is the gateway's")
      ->type_name("ADDR")
      ->capture_default_str();
  app.add_option("--control", o.control_listen, "IP:PORT of the control path")->type_name("ADDR");
  app.add_option("--advertise", o.advertise, "a further name of the coordinator")
      ->type_name("HOST")
      ->allow_extra_args(false);
  app.add_option("--data-transport", o.data.transport, "auto, ucx or tls")->capture_default_str();
  app.add_option("--data-interface", o.data.interface, "that data goes over, as in eth0")
      ->type_name("IF");
  app.add_option("--trusted-network",
                 o.data.trusted_networks,
                 "a network on which UCX may run over tcp; may be repeated")
      ->type_name("CIDR")
      ->allow_extra_args(false);
  app.add_option("--expert-nodes-min", o.expert_nodes_min, "the first placement waits for so many")
      ->capture_default_str();
  app.add_option("--expert-policy", o.expert_policy, policy_help)
      ->check(CLI::IsMember({"off", "advise", "auto"}))
      ->capture_default_str();
  app.add_option("--expert-memory", a->expert_memory, "for experts (default: what is left)")
      ->type_name("SIZE");
  app.add_flag("--json", o.as_json, "the line on standard output as JSON");
  add_serve_settings(app, o.settings);
  app.callback([a, chosen] { chosen(node_run_of(*a)); });
}

}  // namespace

void add_cluster(CLI::App& root, const choose& chosen) {
  CLI::App& cluster = *root.add_subcommand("cluster", "make a cluster, and see how it is");
  cluster.require_subcommand(1);

  CLI::App& init = *cluster.add_subcommand("init", "make the authority and the ids of a cluster");
  init.footer("Run it once, where the coordinator is to run. ca.key in the directory is the\n"
              "cluster's secret. The admin key is for `atoll node list` and its like.\n\n"
              "Example:\n  atoll cluster init --dir /var/lib/atoll --admin-key-out admin.key");
  const auto i = std::make_shared<ops::init_options>();
  init.add_option("--dir", i->dir, dir_help)->type_name("DIR");
  init.add_option("--name", i->name, "for people");
  init.add_option("--admin-key-out", i->admin_key_out, "write the key there instead of printing it")
      ->type_name("FILE");
  init.add_flag("--json", i->as_json, "as JSON");
  init.callback([i, chosen] { chosen(command{[o = *i] { return ops::run_cluster_init(o); }}); });

  CLI::App& status = *cluster.add_subcommand("status", "how the cluster is");
  status.footer("Exit codes: 0 healthy, 1 degraded: a node is missing, or an expert has fewer\n"
                "copies than it should.\n\nExample:\n"
                "  atoll cluster status --server https://192.0.2.1:7400 --ca ca.pem \\\n"
                "      --admin-key-file admin.key");
  const auto o = std::make_shared<ops::operator_options>();
  add_operator(status, *o);
  status.callback(
      [o, chosen] { chosen(command{[given = *o] { return ops::run_cluster_status(given); }}); });

  add_cluster_config(cluster, chosen);
}

void add_join_token(CLI::App& root, const choose& chosen) {
  CLI::App& token = *root.add_subcommand("join-token", "tokens by which machines become nodes");
  token.require_subcommand(1);

  CLI::App& create = *token.add_subcommand("create", "make a token; it is shown once");
  create.footer("The token holds the fingerprint of the cluster's authority: who joins with it\n"
                "knows the cluster, too. Give it to `atoll node run` in a file of mode 600.\n\n"
                "Example:\n  atoll join-token create --role expert --ttl 1h --out expert.token");
  const auto o = std::make_shared<ops::token_options>();
  const auto roles = std::make_shared<std::string>();
  const auto ttl = std::make_shared<std::string>("1h");
  create.add_option("--role", *roles, "that a machine may take; with commas between")->required();
  create.add_option("--ttl", *ttl, "it can be used for so long")
      ->type_name("TIME")
      ->capture_default_str();
  create.add_option("--uses", o->uses, "so many machines")->capture_default_str();
  create.add_option("--out", o->out, "write it there, with mode 600, instead of printing it")
      ->type_name("FILE");
  add_operator(create, o->at);
  create.callback([o, roles, ttl, chosen] {
    chosen([&]() -> result<command> {
      ops::token_options given = *o;
      ATOLL_ASSIGN(given.roles, ops::parse_roles("--role", *roles));
      ATOLL_ASSIGN(given.ttl_s, seconds_of("--ttl", *ttl));
      return command{[given] { return ops::run_token_create(given); }};
    }());
  });

  CLI::App& list = *token.add_subcommand("list", "tokens that were made, without their secrets");
  const auto l = std::make_shared<ops::operator_options>();
  add_operator(list, *l);
  list.callback(
      [l, chosen] { chosen(command{[given = *l] { return ops::run_token_list(given); }}); });

  CLI::App& revoke = *token.add_subcommand("revoke", "nobody can join with it any more");
  const auto r = std::make_shared<ops::token_options>();
  revoke.add_option("ID", r->id, "as `list` shows it")->required();
  add_operator(revoke, r->at);
  revoke.callback(
      [r, chosen] { chosen(command{[given = *r] { return ops::run_token_revoke(given); }}); });
}

void add_certificate(CLI::App& root, const choose& chosen) {
  CLI::App& certificate =
      *root.add_subcommand("certificate", "certificates by which nodes know each other");
  certificate.require_subcommand(1);

  CLI::App& list = *certificate.add_subcommand("list", "those of nodes that have not run out");
  const auto l = std::make_shared<ops::operator_options>();
  add_operator(list, *l);
  list.callback(
      [l, chosen] { chosen(command{[given = *l] { return ops::run_certificate_list(given); }}); });

  CLI::App& revoke = *certificate.add_subcommand("revoke", "no node believes it any more");
  revoke.footer("All nodes hear of it at once, and end the connections of who shows it. A node\n"
                "that has no other certificate ends, and joins again with a new token and an\n"
                "empty state directory. All certificates of a node have one key: if that got\n"
                "out, remove the node (`atoll node remove`), which revokes them all.\n\n"
                "Example:\n  atoll certificate revoke 4f0c6f1d2b7a4be0a1f3c5d7e9b10325");
  const auto r = std::make_shared<ops::certificate_options>();
  revoke.add_option("SERIAL", r->serial, "as `list` shows it")->required();
  add_operator(revoke, r->at);
  revoke.callback([r, chosen] {
    chosen(command{[given = *r] { return ops::run_certificate_revoke(given); }});
  });
}

void add_node(CLI::App& root, const choose& chosen) {
  CLI::App& node = *root.add_subcommand("node", "be a node, and look after nodes");
  node.require_subcommand(1);
  add_node_run(node, chosen);
  add_node_list(node, chosen);
  add_plain_node_command(node, "show", "all about one node", ops::run_node_show, chosen);
  add_plain_node_command(
      node, "cordon", "give a node nothing new; what it has stays", ops::run_node_cordon, chosen);
  add_plain_node_command(
      node, "uncordon", "use a cordoned or drained node again", ops::run_node_uncordon, chosen);
  add_drain(node, chosen);
  add_remove(node, chosen);
}

void add_events(CLI::App& root, const choose& chosen) {
  CLI::App& app = *root.add_subcommand("events", "what happened in the cluster");
  app.footer(
      "The last 1,024 are kept. Following goes on when the coordinator is away for a while,\n"
      "tells no event twice, and says so where some may be missing; Ctrl-C ends it.\n\n"
      "Examples:\n  atoll events\n  atoll events --follow --jsonl");
  const auto o = std::make_shared<ops::events_options>();
  app.add_option("--since", o->since, "events after this revision")->capture_default_str();
  app.add_flag("--follow", o->follows, "wait for more");
  app.add_flag("--jsonl", o->at.as_json, "a JSON object a line, as --json");
  add_operator(app, o->at);
  app.callback([o, chosen] { chosen(command{[given = *o] { return ops::run_events(given); }}); });
}

void add_top(CLI::App& root, const choose& chosen) {
  CLI::App& app = *root.add_subcommand("top", "the cluster at a glance, each second anew");
  app.footer("Nodes, their load, the hottest experts, and what is under way; tokens/s where\n"
             "--server is a gateway. Ctrl-C ends it. With --once the exit code is 1 where the\n"
             "cluster is degraded.\n\n"
             "Examples:\n  atoll top\n  atoll top --once --json");
  const auto o = std::make_shared<ops::top_options>();
  app.add_flag("--once", o->once, "show it and end");
  add_operator(app, o->at);
  app.callback([o, chosen] { chosen(command{[given = *o] { return ops::run_top(given); }}); });
}

void add_audit(CLI::App& root, const choose& chosen) {
  CLI::App& app = *root.add_subcommand("audit", "who changed what in the cluster");
  app.footer("Every change by the API, and every machine that joined. The latest 1,024 are told;\n"
             "more are in audit.jsonl and audit.1.jsonl of the coordinator's directory.\n\n"
             "Examples:\n  atoll audit\n  atoll audit --since 120 --json");
  const auto o = std::make_shared<ops::audit_options>();
  app.add_option("--since", o->since, "entries after this number (default: the latest)");
  app.add_option("--limit", o->limit, "so many at most")->capture_default_str();
  add_operator(app, o->at);
  app.callback([o, chosen] { chosen(command{[given = *o] { return ops::run_audit(given); }}); });
}

void add_local(CLI::App& root, const choose& chosen) {
  CLI::App& local = *root.add_subcommand("local", "a cluster on this machine");
  local.require_subcommand(1);
  CLI::App& app = *local.add_subcommand("up", "start a cluster of processes, to try it out");
  app.footer(
      R"(Prints where it listens once all nodes serve, and stays; Ctrl-C ends all of them. Engine
options go to every node.

Examples:
  atoll local up models/tiny
  atoll local up MODEL --attention-nodes 1 --expert-nodes 4 --replicas 2 --restart --json)");
  const auto o = std::make_shared<ops::local_up_options>();
  const auto flags = std::make_shared<given_flags>();
  app.add_option("MODEL", o->model, "directory of the checkpoint")->required();
  const auto add_count = [&app](const char* name, int& to, const char* what) {
    app.add_option(name, to, what)->check(CLI::Range(1, 256))->capture_default_str();
  };
  add_count("--attention-nodes", o->attention_nodes, "processes with the role attention");
  add_count("--expert-nodes", o->expert_nodes, "processes with the role expert");
  add_count("--gateways", o->gateways, "processes that take requests");
  app.add_option("--dir", o->dir, "for the nodes' state (default: a new one, removed at the end)")
      ->type_name("DIR");
  app.add_option("--listen", o->listen, "of the first gateway")
      ->type_name("ADDR")
      ->capture_default_str();
  app.add_option("--data-transport", o->data_transport, "auto, ucx or tls")
      ->check(CLI::IsMember({"auto", "ucx", "tls"}))
      ->capture_default_str();
  app.add_option("--expert-policy", o->expert_policy, policy_help)
      ->check(CLI::IsMember({"off", "advise", "auto"}))
      ->capture_default_str();
  app.add_option("--expert-memory", o->expert_memory, "of each expert node (default: what is left)")
      ->type_name("SIZE");
  app.add_flag("--restart", o->restarts, "start again what dies");
  app.add_flag("--keep-dir", o->keeps_dir, "a directory that was made for this run stays");
  app.add_flag("--json", o->as_json, "the line on standard output as JSON");
  add_engine_options(app, *flags);
  app.get_option("--replicas")->default_str(std::to_string(o->replicas));
  app.callback([o, flags, chosen] {
    chosen([&]() -> result<command> {
      ops::local_up_options given = *o;
      if (!given.expert_memory.empty())
        ATOLL_TRY(parse_size("--expert-memory", given.expert_memory));
      ATOLL_ASSIGN(const engine_options engine, engine_from(*flags));
      given.threads = engine.cluster.threads;
      if (flags->contains("replicas")) given.replicas = engine.cluster.replicas;
      for (const auto& [flag, text] : *flags)
        if (flag != "threads" && flag != "replicas")
          given.node_flags.push_back("--" + flag + "=" + text);
      return command{[given] { return ops::run_local_up(given); }};
    }());
  });
}

}  // namespace atl::apps
