#include "apps/command_line.hpp"

#include "apps/bench_load.hpp"
#include "apps/bench_model.hpp"
#include "apps/build_info.hpp"
#include "apps/commands.hpp"
#include "apps/completion.hpp"
#include "apps/options_cluster.hpp"
#include "apps/options_remote.hpp"
#include "apps/options_serve.hpp"
#include "apps/output.hpp"
#include "apps/remote/chat.hpp"
#include "apps/values.hpp"

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>

#include <algorithm>
#include <charconv>
#include <limits>
#include <memory>
#include <string>
#include <utility>

namespace atl::apps {
namespace {

/// What the parser fills and a command is made of. Lives as long as the command.
struct arguments {
  std::string model, model_path;
  given_flags engine_flags;
  std::string text;  // of -p, -q, TEXT or IDS
  CLI::Option* text_option = nullptr;
  CLI::Option* seed_option = nullptr;
  bool no_bos = false, no_added_tokens = false, as_json = false;
  bool quiet = false;  // -q
  sampling how;
  complete_options complete;
  chat_command_options chat;
  remote::server_options server;  // of chat
  logits_options logits;
  tokenizer_options tokens;
  struct {
    bench_options options;
    std::string prompts = "512", answers = "64", depths = "0", batches = "1", threads;
  } bench;
  plan_options plan;
  load_bench_options load;
  result<command> chosen = error{errc::invalid_argument, "no command; see atoll --help"};
};

constexpr std::int64_t tokens_most = std::int64_t{1} << 40;

error bad(const std::string& what) { return {errc::invalid_argument, what}; }

/// MODEL or --model-path. With the latter, what stands first is the next argument.
result<std::string> model_of(arguments& a, bool takes_text = false) {
  if (a.model_path.empty()) {
    if (a.model.empty())
      return bad("no MODEL; give a directory, org/name of the local cache, or --model-path PATH");
    return a.model;
  }
  if (a.model.empty()) return a.model_path;
  if (!takes_text || a.text_option->count() > 0)
    return bad("MODEL " + a.model + " and --model-path " + a.model_path + " exclude each other");
  a.text = a.model;
  return a.model_path;
}

result<engine_options> engine_of(arguments& a) {
  ATOLL_ASSIGN(engine_options e, engine_from(a.engine_flags));
  ATOLL_ASSIGN(e.model, model_of(a));
  e.quiet = e.quiet || a.quiet;
  return e;
}

/// Of a command where nobody watches tokens come.
result<engine_options> busy_engine_of(arguments& a) {
  ATOLL_ASSIGN(engine_options e, engine_of(a));
  if (!a.engine_flags.contains("stream-slowdown")) e.cluster.stream_slowdown = 0;
  return e;
}

result<sampling> sampling_of(const arguments& a) {
  ATOLL_TRY(model::validate(a.how.params));
  for (const std::string& stop : a.how.stop)
    if (stop.empty()) return bad("--stop: the string is empty; give the text to stop at");
  return a.how;
}

std::optional<std::string> text_of(const arguments& a) {
  if (a.text_option->count() > 0 || !a.text.empty()) return a.text;
  return std::nullopt;
}

void add_model(CLI::App& app, arguments& a, const std::string& what) {
  app.add_option("MODEL", a.model, what);
  app.add_option("--model-path", a.model_path, "stands for MODEL");
}

constexpr const char* model_help =
    "a directory with config.json and safetensors, or org/name found in the local Hugging Face "
    "cache (nothing is downloaded)";

/// Refuses what is no number or out of range, naming the range; the help stays short.
template <class Number>
CLI::Validator within(Number least, Number most) {
  return CLI::Validator{[least, most](std::string& text) -> std::string {
                          Number value{};
                          const char* const end = text.data() + text.size();
                          const auto [at, code] = std::from_chars(text.data(), end, value);
                          if (code == std::errc{} && at == end && value >= least && value <= most)
                            return {};
                          return text + ": expected a whole number from " + std::to_string(least) +
                                 " to " + std::to_string(most);
                        },
                        ""};
}

void add_sampling(CLI::App& app, arguments& a) {
  auto& p = a.how.params;
  const std::string group = "Sampling";
  app.add_option("-n,--max-tokens", a.how.tokens_max, "most tokens to generate")
      ->check(within<std::int64_t>(0, tokens_most))
      ->group(group)
      ->capture_default_str();
  app.add_option("--temperature", p.temperature, "0: always the likeliest token")
      ->group(group)
      ->capture_default_str();
  app.add_option("--top-p", p.top_p, "keep the likeliest tokens up to this share")->group(group);
  app.add_option("--top-k", p.top_k, "keep that many tokens (0: all)")
      ->check(within<int>(0, std::numeric_limits<int>::max()))
      ->group(group);
  app.add_option("--min-p", p.min_p, "keep tokens with this share of the best one")->group(group);
  app.add_option("--repetition-penalty", p.repetition_penalty)->group(group);
  app.add_option("--presence-penalty", p.presence_penalty)->group(group);
  app.add_option("--frequency-penalty", p.frequency_penalty)->group(group);
  a.seed_option = app.add_option("--seed", p.seed, "the same seed gives the same text")
                      ->check(within<std::uint64_t>(0, std::numeric_limits<std::uint64_t>::max()))
                      ->group(group);
  app.add_option("--stop", a.how.stop, "end before this text; may be repeated")
      ->group(group)
      ->allow_extra_args(false);
  app.add_flag("--ignore-eos", a.how.ignore_eos, "go on after an end-of-sequence token")
      ->group(group);
}

void add_complete(CLI::App& root, arguments& a) {
  CLI::App& app = *root.add_subcommand("complete", "continue texts");
  app.footer(R"(Without --temperature the likeliest token is taken at each step. -n ends where the
context ends. Texts get the beginning-of-sequence token where the tokenizer says so.

FILE.jsonl has one object a line: {"id": ..., "text": "..."} or {"id": ..., "tokens": [...]}, and
where it differs from the options: max_tokens (or n), temperature, top_p, top_k, min_p, seed, stop,
ignore_eos, repetition_penalty, presence_penalty, frequency_penalty. Without --json a line
"== ID ==" stands before each of several answers.

Examples:
  atoll complete models/tiny -p "In the beginning God created" -n 24
  atoll complete models/tiny -p "ROMEO:" --temperature 0.8 --top-p 0.95 --seed 7 --stop "JULIET:"
  atoll complete models/tiny --prompts prompts.jsonl --batch-size 16 --json -o answers.jsonl)");
  add_model(app, a, model_help);
  a.text_option = app.add_option("-p,--prompt", a.text, "the text to continue");
  app.add_option("--prompts", a.complete.prompts, "FILE.jsonl; - is standard input");
  app.add_flag("--json", a.complete.as_json, "one JSON object a line for each prompt");
  app.add_option("-o,--out", a.complete.out, "write there instead; the file appears whole");
  app.add_flag("--no-bos", a.no_bos, "no beginning-of-sequence token before texts");
  app.add_flag("-q", a.quiet, "as --quiet");
  add_sampling(app, a);
  add_engine_options(app, a.engine_flags);
  app.callback([&a, text = a.text_option, seed = a.seed_option] {
    a.text_option = text;
    a.chosen = [&]() -> result<command> {
      complete_options o = a.complete;
      ATOLL_ASSIGN(o.engine, busy_engine_of(a));
      ATOLL_ASSIGN(o.how, sampling_of(a));
      o.text = text_of(a);
      o.how.is_seeded = seed->count() > 0;
      o.with_bos = !a.no_bos;
      return command{[o] { return run_complete(o); }};
    }();
  });
}

/// A conversation with a server's model.
result<command> remote_chat_of(const CLI::App& app, const arguments& a) {
  if (!a.model.empty() || !a.model_path.empty())
    return bad("MODEL is a checkpoint to run here; name the server's by --model ID, or leave "
               "--server out");
  if (!a.chat.format.empty()) return bad("--chat-format: the server encodes the conversation");
  ATOLL_ASSIGN(const sampling how, sampling_of(a));
  remote::chat_options o;
  o.server = a.server;
  o.question = text_of(a);
  o.system = a.chat.system;
  o.quiet = a.quiet;
  o.fields = sampling_fields(app, how);
  if (a.chat.thinking) o.fields += R"(,"chat_template_kwargs":{"thinking":true})";
  return command{[o] { return remote::run_chat(o); }};
}

void add_chat(CLI::App& root, arguments& a) {
  CLI::App& app = *root.add_subcommand("chat", "talk with a model");
  app.footer(R"(The conversation is encoded as the checkpoint's own template would. Ctrl-C stops an
answer; at the prompt, twice, it leaves, as Ctrl-D does. /help lists the commands.

With --server the model is one of a server that speaks OpenAI's API; sampling options that are not
given are then the server's to choose, and those of the engine have no meaning. Exit codes then
also: 3 server unreachable, 4 key refused, 5 no such model.

Examples:
  atoll chat models/tiny
  atoll chat models/tiny -q "请背诵《静夜思》 李白"
  atoll chat MODEL --system "Answer in one sentence." --temperature 0.6 --top-p 0.95
  atoll chat --server http://127.0.0.1:8000 -q "What is a coral reef?")");
  add_model(app, a, model_help);
  add_server(app, a.server);
  CLI::Option* text = app.add_option("-q,--quick", a.text, "answer this and end");
  app.add_option("--system", a.chat.system, "a system message before all others");
  app.add_flag("--thinking", a.chat.thinking, "let the model think first, where it can");
  app.add_option("--chat-format", a.chat.format, "v2, v3, r1 or v3.1 (default: by the template)");
  add_sampling(app, a);
  add_engine_options(app, a.engine_flags);
  app.callback([&a, &app, text, seed = a.seed_option] {
    a.text_option = text;
    a.chosen = [&]() -> result<command> {
      if (!a.server.url.empty()) return remote_chat_of(app, a);
      if (!a.server.model.empty()) return bad("--model names a server's model; give --server URL");
      chat_command_options o = a.chat;
      ATOLL_ASSIGN(o.engine, engine_of(a));
      ATOLL_ASSIGN(o.how, sampling_of(a));
      o.question = text_of(a);
      o.how.is_seeded = seed->count() > 0;
      return command{[o] { return run_chat(o); }};
    }();
  });
}

void add_tokenizer(CLI::App& root, arguments& a, bool is_tokenize) {
  CLI::App& app = *root.add_subcommand(is_tokenize ? "tokenize" : "detokenize",
                                       is_tokenize ? "text to tokens" : "tokens to text");
  app.footer(is_tokenize ? R"(Examples:
  atoll tokenize models/tiny "In the beginning God created"
  atoll tokenize models/tiny --file texts.jsonl        {"text":...} in, {"tokens":[...]} out)"
                         : R"(Examples:
  atoll detokenize models/tiny "263 1294 276"
  atoll detokenize models/tiny --file tokens.jsonl     {"tokens":[...]} in, {"text":...} out)");
  add_model(app, a, "a model, or a tokenizer.json");
  CLI::Option* text = app.add_option(is_tokenize ? "TEXT" : "IDS", a.text, "what to turn");
  app.add_option("--file", a.tokens.file, "FILE.jsonl instead; - is standard input");
  app.add_option("-o,--out", a.tokens.out, "write there instead; the file appears whole");
  if (is_tokenize) {
    app.add_flag("--no-added-tokens", a.no_added_tokens, "special tokens in TEXT are mere text");
    app.add_flag("--bos", a.tokens.with_bos, "begin with the beginning-of-sequence token");
  } else {
    app.add_flag("--skip-special", a.tokens.skip_special, "leave special tokens out");
  }
  app.callback([&a, text, is_tokenize] {
    a.text_option = text;
    a.chosen = [&]() -> result<command> {
      tokenizer_options o = a.tokens;
      ATOLL_ASSIGN(o.model, model_of(a, true));
      o.text = text_of(a);
      o.with_added_tokens = !a.no_added_tokens;
      return command{
          [o, is_tokenize] { return is_tokenize ? run_tokenize(o) : run_detokenize(o); }};
    }();
  });
}

void add_logits(CLI::App& root, arguments& a) {
  CLI::App& app = *root.add_subcommand("logits", "what the model computes at every position");
  app.footer(
      R"(Writes a line a prompt: {"id":...,"tokens":[...],"logits":[[...]...]}, one vector of
float32 values a position, written so that they read back as the same values. --routing adds
"routing":[{"layer":L,"experts":[[...]...],"weights":[[...]...]}], best expert first; --hidden adds
"hidden":[[[...]]], the residual stream after each layer.

Example:
  atoll logits models/tiny --prompts prompts.jsonl --routing -o logits.jsonl)");
  add_model(app, a, model_help);
  app.add_option("--prompts", a.logits.prompts, "FILE.jsonl; - is standard input");
  app.add_option("-o,--out", a.logits.out, "write there instead; the file appears whole");
  app.add_flag("--hidden", a.logits.with_hidden, "the residual stream after each layer");
  app.add_flag("--routing", a.logits.with_routing, "chosen experts and their weights");
  app.add_flag("--no-bos", a.no_bos, "no beginning-of-sequence token before texts");
  app.add_flag("-q", a.quiet, "as --quiet");
  add_engine_options(app, a.engine_flags);
  app.callback([&a] {
    a.chosen = [&]() -> result<command> {
      logits_options o = a.logits;
      ATOLL_ASSIGN(o.engine, engine_of(a));
      o.with_bos = !a.no_bos;
      return command{[o] { return run_logits(o); }};
    }();
  });
}

void add_inspect(CLI::App& root, arguments& a) {
  CLI::App& app = *root.add_subcommand("inspect", "what a checkpoint holds; loads no weights");
  app.footer("Ends with 2 when this build cannot run the checkpoint.\n\nExample:\n"
             "  atoll inspect models/tiny");
  add_model(app, a, model_help);
  app.add_flag("--json", a.as_json, "as JSON");
  app.callback([&a] {
    a.chosen = [&]() -> result<command> {
      ATOLL_ASSIGN(const std::string model, model_of(a));
      return command{[o = inspect_options{model, a.as_json}] { return run_inspect(o); }};
    }();
  });
}

void add_doctor(CLI::App& root, arguments& a) {
  CLI::App& app = *root.add_subcommand("doctor", "what this machine and this build can do");
  app.footer(
      "Examples:\n  atoll doctor\n  atoll doctor models/tiny     and whether that model can run");
  add_model(app, a, "also check this model");
  add_engine_options(app, a.engine_flags);
  app.callback([&a] {
    a.chosen = [&]() -> result<command> {
      engine_options o;
      if (!a.model.empty() || !a.model_path.empty()) {
        ATOLL_ASSIGN(o, engine_of(a));
      }
      return command{[o] { return run_doctor(o); }};
    }();
  });
}

result<command> bench_of(arguments& a) {
  bench_options o = a.bench.options;
  ATOLL_ASSIGN(o.engine, busy_engine_of(a));
  constexpr std::int64_t tokens_max = 1 << 24;
  ATOLL_ASSIGN(o.prompts, parse_counts("-p", a.bench.prompts, 0, tokens_max));
  ATOLL_ASSIGN(o.answers, parse_counts("-n", a.bench.answers, 0, tokens_max));
  ATOLL_ASSIGN(o.depths, parse_counts("-d", a.bench.depths, 0, tokens_max));
  ATOLL_ASSIGN(o.batches, parse_counts("-b", a.bench.batches, 1, 65536));
  if (!a.bench.threads.empty()) {
    ATOLL_ASSIGN(o.threads, parse_counts("-t", a.bench.threads, 1, 1024));
  }
  if (std::find(o.answers.begin(), o.answers.end(), 1) != o.answers.end())
    return bad("-n 1: a speed of generation needs two tokens or more; 0 leaves it out");
  if (o.repeats < 1 || o.repeats > 1000)
    return bad("-r " + std::to_string(o.repeats) + ": must be between 1 and 1000");
  return command{[o] { return run_bench_model(o); }};
}

void add_bench_load(CLI::App& bench, arguments& a) {
  CLI::App& app = *bench.add_subcommand("load", "loading of a model, beside reading its files");
  app.footer(
      R"(Loads the model and reads its files in blocks of 1 MiB by turns, from the file cache, and
tells the median of -r runs of each and the share that loading reaches.

Example:
  atoll bench load MODEL --json)");
  add_model(app, a, model_help);
  app.add_option("-r", a.load.repeats, "runs of each")->capture_default_str();
  app.add_flag("--json", a.load.as_json, "as JSON");
  app.add_flag("-q", a.quiet, "as --quiet");
  add_engine_options(app, a.engine_flags);
  app.callback([&a] {
    a.chosen = [&]() -> result<command> {
      load_bench_options o = a.load;
      ATOLL_ASSIGN(o.engine, engine_of(a));
      if (o.repeats < 1 || o.repeats > 1000)
        return bad("-r " + std::to_string(o.repeats) + ": must be between 1 and 1000");
      return command{[o] { return run_bench_load(o); }};
    }();
  });
}

void add_bench(CLI::App& root, arguments& a) {
  CLI::App& bench =
      *root.add_subcommand("bench", "measure how fast a model runs here, or a server answers");
  bench.require_subcommand(1);
  add_bench_load(bench, a);
  CLI::App& app = *bench.add_subcommand("model", "prompt and generation speed of a model");
  app.footer(
      R"(Every combination of the lists is a row; each speed is the median of -r runs, of all
sequences together. Generation counts the time in which all sequences generate; at depth 0 they
start from 8 tokens. A prompt's row is the time to the first token; with a depth, less the time of
the depth alone. MB/token is what must be read: attention, dense and shared weights, gate and head
once a step (prompts: once a chunk), the distinct experts that the tokens of the step chose, and
latents. bandwidth and FMA are shares of what plain loads and float32 multiply-adds reach in this
run with as many threads; a product's FLOPs are two a weight, attention over the context not
counted.

Examples:
  atoll bench model models/tiny -p 128 -n 32 -b 1,8
  atoll bench model MODEL -p 512 -n 64 -d 0,2048 -b 1,8 -t 1,2 --json)");
  add_model(app, a, model_help);
  app.add_option("-p", a.bench.prompts, "tokens of a prompt; 0: none")->capture_default_str();
  app.add_option("-n", a.bench.answers, "tokens to generate; 0: none")->capture_default_str();
  app.add_option("-d", a.bench.depths, "tokens in the cache before")->capture_default_str();
  app.add_option("-b", a.bench.batches, "sequences together")->capture_default_str();
  app.add_option("-t", a.bench.threads, "threads (default: as --threads)");
  app.add_option("-r", a.bench.options.repeats, "runs of each row")->capture_default_str();
  app.add_option(
         "--peers", a.bench.options.peers, "files with what others reached, as the README says")
      ->allow_extra_args(false);
  app.add_flag("--plain", a.bench.options.with_plain, "also without actors, one sequence");
  app.add_flag("--json", a.bench.options.as_json, "a JSON array of objects");
  app.add_flag("-q", a.quiet, "as --quiet");
  add_engine_options(app, a.engine_flags);
  app.callback([&a] { a.chosen = bench_of(a); });
  add_bench_serve(bench, [&a](result<command> chosen) { a.chosen = std::move(chosen); });
}

void add_plan(CLI::App& root, arguments& a) {
  CLI::App& app = *root.add_subcommand("plan", "where experts should be, for loads in a file");
  app.footer(
      R"(Runs the balancer of the cluster on a file, without a cluster. Each copy of an
expert gets a share of the expert's rows, so that the slowest node of a layer finishes early; no
node gets two copies of one expert or more experts of a layer than it has slots.

FILE.json:
  {"nodes": [{"id": "a", "speed": 2, "slots": 9, "domain": "rack1"}, ...],
   "loads": [[120, 7, ...], ...],
   "previous": [...],
   "options": {"cover": false, "moved_experts_max": 20}}

nodes: speed in rows a unit of time (default 1); slots, the experts of one layer it can hold;
domain, what fails together (default: the node alone); memory_bytes over all layers; intake open,
closed (takes nothing new) or draining (hands over what it holds).
loads: a row a layer, in it a number an expert. previous: the "layers" of an earlier answer; copies
in it may say "pinned": true.
options: cover (default true: each expert in two domains, if memory holds two copies of all),
cold_cover (ids of nodes that have all experts on disk), moved_experts_max, moved_bytes_max and
expert_bytes, hysteresis (0.05: leave a layer that would gain less than 5 %), tolerance (0.01: be
content within 1 % of the best, if that moves less).

The answer, with --json: "layers" with "replicas" and "hottest_over_mean" (the load of the hottest
node over the mean; finishing times where speeds differ), "moved_experts", "moves" with reasons.

Examples:
  atoll plan --input loads.json
  atoll plan --input loads.json --json -o plan.json)");
  app.add_option("--input", a.plan.input, "FILE.json; - is standard input")->required();
  app.add_flag("--json", a.plan.as_json, "the plan as JSON");
  app.add_option("-o,--out", a.plan.out, "write there instead; the file appears whole");
  app.callback([&a] { a.chosen = command{[o = a.plan] { return run_plan(o); }}; });
}

void add_version(CLI::App& root, arguments& a) {
  CLI::App& app = *root.add_subcommand("version", "what this binary was built from");
  app.add_flag("--json", a.as_json, "as JSON");
  app.callback([&a] { a.chosen = command{[json = a.as_json] { return run_version(json); }}; });
}

void add_completion(CLI::App& root, arguments& a) {
  CLI::App& app =
      *root.add_subcommand("completion", "a script by which a shell completes commands");
  app.footer("Examples:\n  source <(atoll completion bash)\n"
             "  atoll completion zsh > ~/.zfunc/_atoll\n"
             "  atoll completion fish > ~/.config/fish/completions/atoll.fish");
  const auto shell = std::make_shared<std::string>();
  app.add_option("SHELL", *shell, "bash, zsh or fish")->required();
  app.callback([&root, &a, shell] {
    a.chosen = [&]() -> result<command> {
      ATOLL_ASSIGN(std::string script, completion_script(root, *shell));
      return command{[script = std::move(script)]() -> result<int> {
        const auto files = system_disk();
        ATOLL_ASSIGN(output to, output::open(*files, ""));
        ATOLL_TRY(to.write(script));
        ATOLL_TRY(to.finish());
        return 0;
      }};
    }();
  });
}

struct usage_hint {
  std::string what;     // "did you mean": the nearest command or option to one that is not known
  std::string command;  // the one whose help tells more
};

usage_hint hint(const CLI::App& root, int argc, const char* const* argv) {
  const CLI::App* app = &root;
  std::string command = "atoll";
  for (int i = 1; i < argc; ++i) {
    const std::string given{
        argv[i], std::string_view{argv[i]}.substr(0, std::string_view{argv[i]}.find('=')).size()};
    const bool is_option = given.starts_with("--");
    std::vector<std::string> names;
    if (is_option) {
      for (const CLI::Option* option : app->get_options())
        for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
    } else if (!given.starts_with('-')) {
      for (const CLI::App* sub : app->get_subcommands({})) names.push_back(sub->get_name());
    }
    if (names.empty()) continue;
    if (std::find(names.begin(), names.end(), given) != names.end()) {
      if (is_option) continue;
      app = app->get_subcommand(given);
      command += " " + given;
      continue;
    }
    const std::vector<std::string_view> known{names.begin(), names.end()};
    const std::string_view near = nearest_name(given, known);
    return {"there is no " + given +
                (near.empty() ? "" : "; did you mean " + std::string{near} + "?"),
            command};
  }
  return {"", command};
}

}  // namespace

std::variant<command, int> parse_command_line(int argc, const char* const* argv) {
  const auto a = std::make_shared<arguments>();
  CLI::App app{"Atoll answers with DeepSeek-class mixture-of-experts models.", "atoll"};
  app.footer("atoll COMMAND --help tells more and gives examples.\n"
             "Exit codes: 0 done, 1 failed, 2 usage or invalid model or input, 130 interrupted;\n"
             "with a server also 3 unreachable, 4 key refused, 5 not found, 7 deadline passed.");
  app.require_subcommand(1);
  app.set_version_flag("--version", version_line(), "as atoll version");
  add_complete(app, *a);
  add_chat(app, *a);
  add_tokenizer(app, *a, true);
  add_tokenizer(app, *a, false);
  add_logits(app, *a);
  add_inspect(app, *a);
  add_doctor(app, *a);
  add_bench(app, *a);
  const choose choose_command = [a](result<command> chosen) { a->chosen = std::move(chosen); };
  add_serve(app, choose_command);
  add_config(app, choose_command);
  add_key(app, choose_command);
  add_cluster(app, choose_command);
  add_join_token(app, choose_command);
  add_certificate(app, choose_command);
  add_node(app, choose_command);
  add_experts(app, choose_command);
  add_placement(app, choose_command);
  add_requests(app, choose_command);
  add_events(app, choose_command);
  add_audit(app, choose_command);
  add_log_level(app, choose_command);
  add_top(app, choose_command);
  add_completion(app, *a);
  add_local(app, choose_command);
  add_plan(app, *a);
  add_version(app, *a);
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& e) {
    return app.exit(e);
  } catch (const CLI::ParseError& e) {
    const usage_hint near = hint(app, argc, argv);
    note("atoll: " + (near.what.empty() ? std::string{e.what()} : near.what) +
         "\nTry: " + near.command + " --help\n");
    return 2;
  }
  if (a->chosen.has_error()) {
    note("atoll: " + a->chosen.error().message() + "\n");
    return exit_code(a->chosen.error());
  }
  return *a->chosen;
}

}  // namespace atl::apps
