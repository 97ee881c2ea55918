#include "apps/cluster/expert_commands.hpp"
#include "apps/cluster/plan_commands.hpp"
#include "apps/options_cluster.hpp"

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>

#include <memory>

namespace atl::apps {
namespace {

void add_list(CLI::App& expert, const choose& chosen) {
  const auto o = std::make_shared<ops::expert_list_options>();
  CLI::App& app = *expert.add_subcommand("list", "experts, their copies, and where they are");
  app.footer("Examples:\n  atoll expert list --layer 3\n  atoll expert list --json");
  app.add_option("--layer", o->layer, "of this layer only")->type_name("L");
  app.add_option("--sort", o->sort, "layer, or load: the most asked for first")->type_name("BY");
  add_operator(app, o->at);
  app.callback(
      [o, chosen] { chosen(command{[given = *o] { return ops::run_expert_list(given); }}); });
}

void add_map(CLI::App& expert, const choose& chosen) {
  const auto o = std::make_shared<ops::expert_list_options>();
  CLI::App& app = *expert.add_subcommand("map", "layers by experts: the nodes that serve each");
  add_operator(app, o->at);
  app.callback(
      [o, chosen] { chosen(command{[given = *o] { return ops::run_expert_map(given); }}); });
}

using expert_command = result<int> (*)(const ops::expert_options&);
using given_expert = std::shared_ptr<ops::expert_options>;

/// A command that changes one expert; the caller adds what it takes besides.
CLI::App& add_change(CLI::App& expert,
                     const char* name,
                     const char* what,
                     expert_command run,
                     const given_expert& o,
                     const choose& chosen) {
  CLI::App& app = *expert.add_subcommand(name, what);
  app.add_option("LAYER:EXPERT", o->expert, "as in 3:17")->required();
  app.callback([o, run, chosen] { chosen(command{[given = *o, run] { return run(given); }}); });
  return app;
}

void end_change(CLI::App& app, const given_expert& o) {
  app.add_flag("--detach", o->detaches, "do not wait for the end");
  add_operator(app, o->at);
}

void add_changes(CLI::App& expert, const choose& chosen) {
  const auto made = [] { return std::make_shared<ops::expert_options>(); };
  const char* const node_help = "its number, or its name";
  auto o = made();
  CLI::App& move = add_change(
      expert, "move", "move a copy to a node, and pin it there", ops::run_expert_move, o, chosen);
  move.footer("The copy at the node it leaves serves until the new one does.\n\n"
              "Example:\n  atoll expert move 3:17 gpu-7 --from 4");
  move.add_option("NODE", o->node, node_help)->required();
  move.add_option("--from", o->from, "that gives its copy up (default: the fullest that has one)")
      ->type_name("NODE");
  end_change(move, o);

  o = made();
  CLI::App& replicate = add_change(expert,
                                   "replicate",
                                   "keep so many copies of an expert",
                                   ops::run_expert_replicate,
                                   o,
                                   chosen);
  replicate.footer("Example:\n  atoll expert replicate 3:17 3");
  replicate.add_option("COPIES", o->copies, "on as many nodes")->required();
  end_change(replicate, o);

  o = made();
  CLI::App& drop = add_change(expert,
                              "drop",
                              "give up the copy at a node, and keep one less",
                              ops::run_expert_drop,
                              o,
                              chosen);
  drop.footer("Example:\n  atoll expert drop 3:17 gpu-7");
  drop.add_option("NODE", o->node, node_help)->required();
  drop.add_flag("--force", o->force, "also the last copy: requests that need the expert then fail");
  end_change(drop, o);

  o = made();
  CLI::App& pin = add_change(
      expert, "pin", "keep a copy at a node, whatever the policy", ops::run_expert_pin, o, chosen);
  pin.footer("A pin outlives restarts; while its node is away or drained the copy is elsewhere.\n\n"
             "Example:\n  atoll expert pin 3:17 gpu-7");
  pin.add_option("NODE", o->node, node_help)->required();
  end_change(pin, o);

  o = made();
  CLI::App& unpin = add_change(expert,
                               "unpin",
                               "leave a copy's place to the policy again",
                               ops::run_expert_unpin,
                               o,
                               chosen);
  unpin.footer("Example:\n  atoll expert unpin 3:17 gpu-7");
  unpin.add_option("NODE", o->node, "(default: all that it is pinned to)");
  end_change(unpin, o);
}

void add_rebalance(CLI::App& expert, const choose& chosen) {
  const auto o = std::make_shared<ops::rebalance_options>();
  CLI::App& app = *expert.add_subcommand("rebalance", "place copies by the loads of the moment");
  app.footer("Pins and wanted copies stay as they are.\n\n"
             "Example:\n  atoll expert rebalance --dry-run");
  app.add_flag("--dry-run", o->is_dry_run, "say what would be done, and keep it as a plan");
  app.add_flag("--detach", o->detaches, "do not wait for the end");
  add_operator(app, o->at);
  app.callback(
      [o, chosen] { chosen(command{[given = *o] { return ops::run_expert_rebalance(given); }}); });
}

void add_policy(CLI::App& expert, const choose& chosen) {
  const auto o = std::make_shared<ops::policy_options>();
  CLI::App& app = *expert.add_subcommand("policy", "what is done about uneven loads, or choose it");
  app.footer("off: nothing; advise: plans are made and wait for `atoll expert apply`; auto: they "
             "are applied.\n\nExample:\n  atoll expert policy advise");
  app.add_option("POLICY", o->policy, "off, advise or auto")
      ->check(CLI::IsMember({"off", "advise", "auto"}));
  add_operator(app, o->at);
  app.callback(
      [o, chosen] { chosen(command{[given = *o] { return ops::run_expert_policy(given); }}); });
}

void add_plans(CLI::App& expert, const choose& chosen) {
  CLI::App& list = *expert.add_subcommand("plans", "the last 64 plans, and what came of them");
  const auto l = std::make_shared<ops::operator_options>();
  add_operator(list, *l);
  list.callback(
      [l, chosen] { chosen(command{[given = *l] { return ops::run_expert_plans(given); }}); });
  const auto one = [&](const char* name, const char* what, auto run) -> CLI::App& {
    CLI::App& app = *expert.add_subcommand(name, what);
    const auto o = std::make_shared<ops::plan_options>();
    app.add_option("ID", o->id, "as `plans` shows it")->required();
    if (std::string_view{name} == "apply")
      app.add_flag("--detach", o->detaches, "do not wait for the end");
    add_operator(app, o->at);
    app.callback([o, run, chosen] { chosen(command{[given = *o, run] { return run(given); }}); });
    return app;
  };
  one("plan", "one of them, with its steps and reasons", ops::run_expert_plan);
  one("apply", "carry out a plan that was advised", ops::run_expert_apply);
  one("cancel", "end one; copies go back to where they were", ops::run_expert_cancel);
}

void add_operations(CLI::App& root, const choose& chosen) {
  CLI::App& operation = *root.add_subcommand("operation", "what was asked for, and how it went");
  operation.require_subcommand(1);
  CLI::App& list = *operation.add_subcommand("list", "the last 256, and all that run");
  const auto l = std::make_shared<ops::operator_options>();
  add_operator(list, *l);
  list.callback(
      [l, chosen] { chosen(command{[given = *l] { return ops::run_operation_list(given); }}); });
  const auto one = [&](const char* name, const char* what, auto run) {
    CLI::App& app = *operation.add_subcommand(name, what);
    const auto o = std::make_shared<ops::operation_options>();
    app.add_option("ID", o->id, "as `list` shows it")->required();
    add_operator(app, o->at);
    app.callback([o, run, chosen] { chosen(command{[given = *o, run] { return run(given); }}); });
  };
  one("show", "one of them; 1 when it failed or was cancelled", ops::run_operation_show);
  one("cancel", "end one that runs; all is as before it", ops::run_operation_cancel);
}

}  // namespace

void add_experts(CLI::App& root, const choose& chosen) {
  CLI::App& expert = *root.add_subcommand("expert", "see and steer which node serves which expert");
  expert.require_subcommand(1);
  add_list(expert, chosen);
  add_map(expert, chosen);
  add_changes(expert, chosen);
  add_rebalance(expert, chosen);
  add_plans(expert, chosen);
  add_policy(expert, chosen);
  add_operations(root, chosen);
}

}  // namespace atl::apps
