#include "apps/json_text.hpp"
#include "apps/output.hpp"
#include "apps/serve/commands.hpp"
#include "apps/serve/keys.hpp"

namespace atl::serve {
namespace {

std::string_view table_of(const option& which) {
  const std::size_t end = which.key.find('.');
  return end == std::string_view::npos ? std::string_view{} : which.key.substr(0, end);
}

std::string_view name_of(const option& which) { return which.key.substr(which.key.rfind('.') + 1); }

/// Truth and plain numbers stand bare, in TOML as in JSON; the rest is text.
std::string literal(const serve_settings& settings, const option& which) {
  const std::string text = text_of(settings, which);
  const std::string type = type_name(which);
  const bool is_bare = type == "number" || type == "factor" || type == "true or false";
  return is_bare ? text : apps::quoted(text);
}

result<void> print(std::string_view text) {
  const auto files = system_disk();
  ATOLL_ASSIGN(auto out, apps::output::open(*files, ""));
  ATOLL_TRY(out.write(text));
  return out.finish();
}

void check_keys(const serve_settings& settings, std::vector<std::string>& problems) {
  if (settings.keys_file.empty()) return;
  const auto text = read_key_file(settings.keys_file, key_owner::anybody_for_root);
  if (text.has_error()) return problems.push_back(text.error().message());
  const auto keys = parse_keys(*text, settings.keys_file);
  if (keys.has_error()) problems.push_back(keys.error().message());
}

}  // namespace

std::string settings_toml(const loaded_settings& of, bool with_origin) {
  std::string text;
  std::string_view table;
  for (std::size_t i = 0; i < options().size(); ++i) {
    const option& o = options()[i];
    if (table_of(o) != table) {
      table = table_of(o);
      text.append("\n[").append(table).append("]\n");
    }
    std::string line = std::string{name_of(o)} + " = " + literal(of.values, o);
    if (with_origin) {
      line.resize(std::max<std::size_t>(line.size() + 2, 44), ' ');
      line += "# " + of.origins[i];
    }
    text += line + "\n";
  }
  return text;
}

std::string settings_json(const loaded_settings& of) {
  std::string text = "{";
  for (std::size_t i = 0; i < options().size(); ++i) {
    const option& o = options()[i];
    text.append(i == 0 ? "\n" : ",\n").append("  ").append(apps::quoted(o.key));
    text.append(R"(: {"value": )").append(literal(of.values, o));
    text.append(R"(, "origin": )").append(apps::quoted(of.origins[i])).append("}");
  }
  return text + "\n}\n";
}

std::string settings_markdown() {
  std::string text = "| option | variable | in the file | value | default | what it does |\n"
                     "| --- | --- | --- | --- | --- | --- |\n";
  for (const option& o : options()) {
    const std::string range = range_text(o);
    const std::string by_default = default_text(o);
    text.append("| `--").append(o.flag).append("` | `").append(environment_name(o));
    text.append("` | `").append(o.key).append("` | ").append(type_name(o));
    text.append(range.empty() ? "" : ", " + range).append(" | ");
    text.append(by_default.empty() ? "" : "`" + by_default + "`").append(" | ").append(o.help);
    text.append(o.is_reloadable ? " (SIGHUP)" : "").append(" |\n");
  }
  return text;
}

result<int> run_config_check(const std::string& file) {
  const auto files = system_disk();
  setting_sources sources;
  sources.config_file = file;
  settings_report report = read_settings(*files, sources);
  check_keys(report.loaded.values, report.problems);
  for (const std::string& problem : report.problems) apps::note("atoll: " + problem + "\n");
  if (!report.problems.empty()) return 2;
  ATOLL_TRY(print(file + ": good\n"));
  return 0;
}

result<int> run_config_show(const config_show_options& o) {
  const auto files = system_disk();
  ATOLL_ASSIGN(const loaded_settings loaded, load_settings(*files, o.sources));
  for (const std::string& warning : loaded.warnings) apps::note("atoll: " + warning + "\n");
  ATOLL_TRY(print(o.as_json ? settings_json(loaded) : settings_toml(loaded, o.with_origin)));
  return 0;
}

result<int> run_key_create(const key_create_options& o) {
  ATOLL_ASSIGN(const unsigned scopes, parse_scopes(o.scopes));
  ATOLL_ASSIGN(const fresh_key key, make_key(o.name, scopes, o.weight, o.priority));
  if (o.file.empty()) {
    ATOLL_TRY(print(key.secret + "\n" + key.line + "\n"));
    return 0;
  }
  const auto before = read_key_file(o.file, key_owner::anybody_for_root);
  if (before.has_error() && before.error().code() != errc::not_found) return before.error();
  const std::string text = before.has_value() ? *before : "";
  ATOLL_ASSIGN(const auto others, parse_keys(text, o.file));
  // Together they must still be a key file.
  ATOLL_TRY(parse_keys(text + "\n" + key.line, o.file));
  ATOLL_TRY(append_key(o.file, key.line));
  for (const key_line& other : others)
    if (other.key.name == o.name) {
      apps::note("atoll: " + o.name + " had a key already; both hold until you delete a line of " +
                 o.file + "\n");
      break;
    }
  ATOLL_TRY(print(key.secret + "\n"));
  return 0;
}

}  // namespace atl::serve
