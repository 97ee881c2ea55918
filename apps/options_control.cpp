#include "apps/cluster/config_commands.hpp"
#include "apps/cluster/placement_commands.hpp"
#include "apps/cluster/request_commands.hpp"
#include "apps/options_cluster.hpp"

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <CLI/Validators.hpp>

#include <memory>

namespace atl::apps {

void add_cluster_config(CLI::App& cluster, const choose& chosen) {
  CLI::App& config =
      *cluster.add_subcommand("config", "settings of the coordinator that change while it runs");
  config.require_subcommand(1);

  CLI::App& show = *config.add_subcommand("show", "the values in force");
  const auto s = std::make_shared<ops::operator_options>();
  add_operator(show, *s);
  show.callback([s, chosen] {
    chosen(command{[given = *s] { return ops::run_cluster_config_show(given); }});
  });

  CLI::App& set = *config.add_subcommand("set", "change some of them; the rest stays");
  set.footer(R"(expert_policy       off, advise or auto: what is done about uneven loads
moved_experts_max   copies that a plan may move; 0: any number
drain_deadline_s    of drains without a deadline of their own
log_level           debug, info, warning, error or off; until the process ends

Example:
  atoll cluster config set expert_policy=advise moved_experts_max=64)");
  const auto o = std::make_shared<ops::config_set_options>();
  set.add_option("NAME=VALUE", o->settings, "one or more")->required();
  add_operator(set, o->at);
  set.callback([o, chosen] {
    chosen(command{[given = *o] { return ops::run_cluster_config_set(given); }});
  });

  CLI::App& apply = *config.add_subcommand("apply", "change those that a file names");
  apply.footer(
      R"(A line each, as TOML: NAME = VALUE, text in quotation marks. All of the file or nothing;
what is wrong with it is told by line and column.

Example:
  atoll cluster config apply policy.toml)");
  const auto a = std::make_shared<ops::config_apply_options>();
  apply.add_option("FILE", a->file, "with the settings")->required();
  add_operator(apply, a->at);
  apply.callback([a, chosen] {
    chosen(command{[given = *a] { return ops::run_cluster_config_apply(given); }});
  });
}

void add_log_level(CLI::App& root, const choose& chosen) {
  CLI::App& app = *root.add_subcommand("log-level", "what the coordinator logs, or choose it");
  app.footer("Until its process ends; other processes log by --log-level.\n\n"
             "Example:\n  atoll log-level debug");
  const auto o = std::make_shared<ops::log_level_options>();
  app.add_option("LEVEL", o->level, "the least that is logged")
      ->check(CLI::IsMember({"debug", "info", "warning", "error", "off"}));
  add_operator(app, o->at);
  app.callback(
      [o, chosen] { chosen(command{[given = *o] { return ops::run_log_level(given); }}); });
}

void add_requests(CLI::App& root, const choose& chosen) {
  CLI::App& request = *root.add_subcommand("request", "what gateways are answering now");
  request.require_subcommand(1);
  CLI::App& list = *request.add_subcommand("list", "requests under way, the oldest first");
  list.footer("Of all gateways; never what was asked or answered.\n\n"
              "Example:\n  atoll request list --json");
  const auto l = std::make_shared<ops::operator_options>();
  add_operator(list, *l);
  list.callback(
      [l, chosen] { chosen(command{[given = *l] { return ops::run_request_list(given); }}); });
  const auto one = [&](const char* name, const char* what, auto run) -> CLI::App& {
    CLI::App& app = *request.add_subcommand(name, what);
    const auto o = std::make_shared<ops::request_options>();
    app.add_option("ID", o->id, "as `list` shows it")->required();
    add_operator(app, o->at);
    app.callback([o, run, chosen] { chosen(command{[given = *o, run] { return run(given); }}); });
    return app;
  };
  one("show", "one of them", ops::run_request_show);
  one("cancel", "end one; its client is told", ops::run_request_cancel)
      .footer("A stream ends with an error event, another answer with status 410.\n\n"
              "Example:\n  atoll request cancel 3-2-17");
}

void add_placement(CLI::App& root, const choose& chosen) {
  CLI::App& placement = *root.add_subcommand("placement", "where all experts are, and are to be");
  placement.require_subcommand(1);
  CLI::App& get = *placement.add_subcommand("get", "the placement in force, as JSON");
  const auto g = std::make_shared<ops::operator_options>();
  add_operator(get, *g);
  get.callback(
      [g, chosen] { chosen(command{[given = *g] { return ops::run_placement_get(given); }}); });

  CLI::App& apply = *placement.add_subcommand("apply", "put experts where a file says");
  apply.footer(
      R"(A plan of what the file has otherwise than it is now; the rest stays. A file of `get`
counts for the placement it was taken from: when that has changed meanwhile, nothing is done.
One by hand may name some experts alone, and no epoch:
  {"experts": [{"layer": 3, "expert": 17, "nodes": [2, 4]}]}

Example:
  atoll placement get >placement.json
  atoll placement apply placement.json)");
  const auto o = std::make_shared<ops::placement_apply_options>();
  apply.add_option("FILE", o->file, "JSON")->required();
  apply.add_flag("--detach", o->detaches, "do not wait for the end");
  add_operator(apply, o->at);
  apply.callback(
      [o, chosen] { chosen(command{[given = *o] { return ops::run_placement_apply(given); }}); });
}

}  // namespace atl::apps
