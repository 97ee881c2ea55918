#include "apps/options_serve.hpp"

#include "apps/serve/commands.hpp"
#include "apps/serve/option.hpp"
#include "apps/serve/serve.hpp"
#include "apps/serve/settings.hpp"

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>

#include <cstdint>
#include <memory>
#include <string_view>
#include <utility>

namespace atl::apps {
namespace {

using serve::option;

/// "Engine" of "engine.threads".
std::string group_of(const option& o) {
  std::string name{o.key.substr(0, o.key.find('.'))};
  if (name.size() == o.key.size()) return "Options";
  name.front() = static_cast<char>(name.front() - 'a' + 'A');
  return name;
}

std::string help_of(const option& o) {
  const std::string range = serve::range_text(o);
  return std::string{o.help} + (range.empty() ? "" : " [" + range + "]");
}

std::string placeholder(const option& o) {
  const std::string type = serve::type_name(o);
  if (type == "text") return o.flag.ends_with("listen") ? "ADDR" : "TEXT";
  if (type == "number" || type == "factor") return "N";
  if (type == "size") return "SIZE";
  return type == "duration" ? "TIME" : "WORD";
}

void add_row(CLI::App& app, const option& o, given_flags& given) {
  const std::string flag{o.flag};
  if (serve::type_name(o) == "true or false") {
    const bool is_on = serve::default_text(o) == "true";
    const auto set = [&given, flag](std::int64_t count) {
      given[flag] = count > 0 ? "true" : "false";
    };
    app.add_flag_function("--" + flag + ",!--no-" + flag, set, help_of(o) + (is_on ? " [on]" : ""))
        ->group(group_of(o));
    return;
  }
  const auto set = [&given, flag](const std::string& text) { given[flag] = text; };
  std::string help = help_of(o);
  if (const auto* words = std::get_if<serve::choice_field>(&o.field))
    help += " (" + std::string{words->words} + ")";
  auto* const made = app.add_option_function<std::string>("--" + flag, set, help);
  made->type_name(placeholder(o))->group(group_of(o));
  const std::string by_default = serve::default_text(o);
  if (!by_default.empty() && by_default != "0") made->default_str(by_default);
}

void add_model(CLI::App& app, serve::setting_sources& sources) {
  const auto set = [&sources](const std::string& text) { sources.flags["model"] = text; };
  const std::string help{serve::find_option("model")->help};
  app.add_option_function<std::string>("MODEL", set, help);
  app.add_option_function<std::string>("--model,--model-path", set, "stands for MODEL")
      ->type_name("TEXT");
}

constexpr const char* serve_footer =
    R"(Every option may also stand in the environment (--max-n is ATOLL_MAX_N) or in a TOML file
given by --config. A flag beats the environment, which beats the file. Times are 500ms, 30s, 2m
or 1h; sizes 64k, 8M or 2G. `atoll config show --origin` tells what is in force and why.

SIGTERM and SIGINT end it when what runs is done, at most --drain-timeout later; a second one ends
it at once. SIGHUP reads keys, certificates, limits and log level again.

Examples:
  atoll serve models/tiny
  curl http://127.0.0.1:8000/v1/models

  atoll key create --name alice --scope infer --file keys
  atoll serve MODEL --listen :8000 --keys keys --tls-cert cert.pem --tls-key key.pem

  atoll serve MODEL --admin-listen 127.0.0.1:9000 --log-format json
  atoll serve --config /etc/atoll/atoll.toml)";

}  // namespace

void add_serve_settings(CLI::App& app, serve::setting_sources& sources) {
  app.add_option("--config", sources.config_file, "a TOML file with any of these (ATOLL_CONFIG)")
      ->type_name("FILE");
  for (const option& o : serve::options())
    if (o.flag != "model") add_row(app, o, sources.flags);
}

void add_engine_options(CLI::App& app, given_flags& given) {
  for (const option& o : serve::options())
    if (o.key.starts_with("engine.")) add_row(app, o, given);
}

result<engine_options> engine_from(const given_flags& given) {
  serve::serve_settings settings;
  for (const auto& [flag, text] : given)
    ATOLL_TRY(serve::assign(settings, *serve::find_option(flag), text, "--" + flag));
  return settings.engine;
}

void add_serve(CLI::App& root, const choose& chosen) {
  CLI::App& app = *root.add_subcommand("serve", "answer requests over HTTP, as OpenAI's API does");
  app.footer(serve_footer);
  const auto sources = std::make_shared<serve::setting_sources>();
  add_model(app, *sources);
  add_serve_settings(app, *sources);
  app.add_flag_callback(
      "-q", [sources] { sources->flags["quiet"] = "true"; }, "as --quiet");
  app.callback([sources, chosen] {
    sources->environment = serve::atoll_environment();
    chosen(command{[s = *sources] { return serve::run_serve(s); }});
  });
}

void add_config(CLI::App& root, const choose& chosen) {
  CLI::App& config = *root.add_subcommand("config", "the settings of atoll serve");
  config.require_subcommand(1);

  CLI::App& check = *config.add_subcommand("check", "whether a file of settings is right");
  check.footer("Ends with 2 when anything is wrong, and names all of it.\n\nExample:\n"
               "  atoll config check /etc/atoll/atoll.toml");
  const auto file = std::make_shared<std::string>();
  check.add_option("FILE", *file, "a TOML file")->required();
  check.callback(
      [file, chosen] { chosen(command{[f = *file] { return serve::run_config_check(f); }}); });

  CLI::App& show = *config.add_subcommand("show", "the values that atoll serve would have");
  show.footer("What is printed is a file of settings that gives the same values again.\n\n"
              "Examples:\n  atoll config show --origin          each value and where it is from\n"
              "  ATOLL_MAX_N=4 atoll config show --config atoll.toml --json");
  const auto o = std::make_shared<serve::config_show_options>();
  add_model(show, o->sources);
  add_serve_settings(show, o->sources);
  show.add_flag("--origin", o->with_origin, "say where each value comes from");
  show.add_flag("--json", o->as_json, "as JSON, with origins");
  show.callback([o, chosen] {
    o->sources.environment = serve::atoll_environment();
    chosen(command{[shown = *o] { return serve::run_config_show(shown); }});
  });
}

void add_key(CLI::App& root, const choose& chosen) {
  CLI::App& key = *root.add_subcommand("key", "API keys of atoll serve");
  key.require_subcommand(1);
  CLI::App& app = *key.add_subcommand("create", "make a key and print its secret, once");
  app.footer(
      R"(The file keeps the SHA-256 of the secret, which is 256 random bits; nothing else knows it.
Scopes: infer (/v1/...), read (metrics, status), admin (what changes the server). A scope brings no
other one. A name may have two keys while one replaces the other. After a change: kill -HUP.

Examples:
  atoll key create --name alice --scope infer --file keys
  atoll key create --name grafana --scope read --file keys
  atoll key create --name nightly --scope infer --weight 2 --priority -10 --file keys)");
  const auto o = std::make_shared<serve::key_create_options>();
  app.add_option("--name", o->name, "who it is for; the tenant of fair shares")->required();
  app.add_option("--scope", o->scopes, "infer, read, admin, separated by commas")
      ->capture_default_str();
  app.add_option("--weight", o->weight, "share beside other tenants [1 to 1000]")
      ->capture_default_str();
  app.add_option("--priority", o->priority, "higher goes first [-100 to 100]")
      ->capture_default_str();
  app.add_option("--file", o->file, "add it there; else the line for the file is printed too");
  app.callback([o, chosen] { chosen(command{[k = *o] { return serve::run_key_create(k); }}); });
}

}  // namespace atl::apps
