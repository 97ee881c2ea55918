#include "apps/completion.hpp"

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>

#include <algorithm>
#include <utility>
#include <vector>

namespace atl::apps {
namespace {

struct word {
  std::string text;  // "init", "--dir"
  std::string about;
};

/// What may follow a path of commands, as " cluster init".
struct place {
  std::string path;
  std::vector<word> commands, options;
};

void collect(const CLI::App& app, const std::string& path, std::vector<place>& all) {
  place here{path, {}, {}};
  const auto commands = app.get_subcommands([](const CLI::App*) { return true; });
  for (const CLI::App* sub : commands)
    here.commands.push_back({sub->get_name(), sub->get_description()});
  for (const CLI::Option* option : app.get_options())
    for (const std::string& name : option->get_lnames())
      here.options.push_back({"--" + name, option->get_description()});
  all.push_back(std::move(here));
  for (const CLI::App* sub : commands) collect(*sub, path + " " + sub->get_name(), all);
}

std::string words_of(const place& p) {
  std::string text;
  for (const auto* list : {&p.commands, &p.options})
    for (const word& w : *list) text += (text.empty() ? "" : " ") + w.text;
  return text;
}

/// "' cluster'|' cluster init'": all paths but the empty one, as a pattern of `case`.
std::string paths_pattern(const std::vector<place>& all) {
  std::string text;
  for (const place& p : all)
    if (!p.path.empty()) text += (text.empty() ? "'" : "|'") + p.path + "'";
  return text;
}

std::string bash_script(const std::vector<place>& all) {
  std::string text = R"(# bash completion of atoll; to use it now: source <(atoll completion bash)
_atoll() {
  local at= known= i
  for ((i = 1; i < COMP_CWORD; i++)); do
    case "$at ${COMP_WORDS[i]}" in
      )" + paths_pattern(all) +
                     R"() at="$at ${COMP_WORDS[i]}" ;;
    esac
  done
  case "$at" in
)";
  for (const place& p : all) text += "    '" + p.path + "') known='" + words_of(p) + "' ;;\n";
  return text + R"(  esac
  COMPREPLY=($(compgen -W "$known" -- "${COMP_WORDS[COMP_CWORD]}"))
}
complete -o default -F _atoll atoll
)";
}

std::string zsh_script(const std::vector<place>& all) {
  std::string text = R"(#compdef atoll
# zsh completion of atoll; to use it now: source <(atoll completion zsh)
_atoll() {
  local at= i
  local -a known
  for ((i = 2; i < CURRENT; i++)); do
    case "$at ${words[i]}" in
      )" + paths_pattern(all) +
                     R"() at="$at ${words[i]}" ;;
    esac
  done
  case "$at" in
)";
  for (const place& p : all) text += "    '" + p.path + "') known=(" + words_of(p) + ") ;;\n";
  return text + R"(  esac
  compadd -- $known || _files
}
if [ "$funcstack[1]" = "_atoll" ]; then _atoll "$@"; else compdef _atoll atoll; fi
)";
}

/// In single quotes of fish, where \ and ' are written with a \ before them.
std::string fish_quoted(const std::string& text) {
  std::string quoted = "'";
  for (const char c : text) {
    if (c == '\'' || c == '\\') quoted += '\\';
    quoted += c == '\n' ? ' ' : c;
  }
  return quoted + "'";
}

std::string fish_script(const std::vector<place>& all) {
  std::string text = "# fish completion of atoll; to use it now: atoll completion fish | source\n"
                     "set -g __atoll_paths";
  for (const place& p : all)
    if (!p.path.empty()) text += " " + fish_quoted(p.path.substr(1));
  text += R"(
function __atoll_at
  set -l at
  for word in (commandline -opc)[2..-1]
    if contains -- (string join ' ' $at $word) $__atoll_paths
      set at $at $word
    end
  end
  test "$at" = "$argv[1]"
end
)";
  for (const place& p : all) {
    const std::string when =
        "complete -c atoll -n " +
        fish_quoted("__atoll_at " + fish_quoted(p.path.empty() ? "" : p.path.substr(1)));
    for (const word& w : p.commands)
      text += when + " -f -a " + w.text + " -d " + fish_quoted(w.about) + "\n";
    for (const word& w : p.options)
      text += when + " -l " + w.text.substr(2) + " -d " + fish_quoted(w.about) + "\n";
  }
  return text;
}

}  // namespace

result<std::string> completion_script(const CLI::App& root, const std::string& shell) {
  std::vector<place> all;
  collect(root, "", all);
  if (shell == "bash") return bash_script(all);
  if (shell == "zsh") return zsh_script(all);
  if (shell == "fish") return fish_script(all);
  return error{errc::invalid_argument, shell + ": expected bash, zsh or fish"};
}

}  // namespace atl::apps
