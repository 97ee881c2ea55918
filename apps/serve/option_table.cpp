#include "apps/serve/option.hpp"
#include "apps/serve/settings.hpp"
#include "runtime/model/chat.hpp"

#include <algorithm>
#include <array>
#include <iterator>
#include <optional>
#include <string>

// The address of a field as a plain function; `auto&` gives each its own type.
#define ATOLL_FIELD(member) (+[](serve_settings & s) -> auto& { return s.member; })

namespace atl::serve {
namespace {

constexpr std::int64_t any_size = std::int64_t{1} << 62;
constexpr std::int64_t tokens_most = std::int64_t{1} << 40;
constexpr std::int64_t second = 1000;
constexpr std::int64_t hour = 3600 * second;

template <class Value>
struct word {
  std::string_view name;
  Value value;
};

template <class Value, std::size_t N>
bool choose(Value& to, const std::array<word<Value>, N>& from, std::string_view name) {
  for (const auto& w : from)
    if (w.name == name) {
      to = w.value;
      return true;
    }
  return false;
}

template <class Value, std::size_t N>
std::string chosen(const Value& value, const std::array<word<Value>, N>& from) {
  for (const auto& w : from)
    if (w.value == value) return std::string{w.name};
  return {};
}

constexpr std::array<word<std::optional<kernels::isa>>, 4> isa_words{
    {{"best", std::nullopt},
     {"avx2", kernels::isa::avx2},
     {"avx512", kernels::isa::avx512},
     {"amx", kernels::isa::amx}}};
constexpr std::array<word<kernels::numerics>, 2> numerics_words{
    {{"invariant", kernels::numerics::invariant}, {"fast", kernels::numerics::fast}}};
constexpr std::array<word<tensor::dtype>, 3> activations_words{
    {{"f32", tensor::dtype::f32}, {"bf16", tensor::dtype::bf16}, {"fp8", tensor::dtype::f8_e4m3}}};
constexpr std::array<word<log_level>, 5> level_words{{{"debug", log_level::debug},
                                                      {"info", log_level::info},
                                                      {"warning", log_level::warning},
                                                      {"error", log_level::error},
                                                      {"off", log_level::off}}};
constexpr std::array<word<log_format>, 2> format_words{
    {{"text", log_format::text}, {"json", log_format::json}}};
constexpr std::array<word<bool>, 2> metrics_words{{{"vllm", true}, {"none", false}}};

// Two functions made from a member and its list of words.
#define ATOLL_CHOICE(member, list, words)                                                          \
  choice_field {                                                                                   \
    [](serve_settings& s, std::string_view name) { return choose(s.member, list, name); },         \
        [](const serve_settings& s) { return chosen(s.member, list); }, words                      \
  }

constexpr option rows[] = {
    {.flag = "model",
     .key = "model",
     .field = ATOLL_FIELD(engine.model),
     .help = "a directory with config.json and safetensors, or org/name of the local Hugging Face "
             "cache"},
    {.flag = "listen",
     .key = "server.listen",
     .field = ATOLL_FIELD(listen.address),
     .help = "HOST:PORT for clients; :PORT is every address, port 0 any that is free"},
    {.flag = "admin-listen",
     .key = "server.admin-listen",
     .field = ATOLL_FIELD(admin.address),
     .help = "an address of its own for /, /api/v1 and /metrics"},
    {.flag = "keys",
     .key = "server.keys",
     .field = ATOLL_FIELD(keys_file),
     .help = "file of API keys, see atoll key create; none: no key is asked for"},
    {.flag = "insecure",
     .key = "server.insecure",
     .field = ATOLL_FIELD(is_insecure),
     .help = "let other machines in without keys"},
    {.flag = "tls-cert",
     .key = "server.tls-cert",
     .field = ATOLL_FIELD(listen.certificate),
     .help = "PEM chain of certificates for --listen, read again at SIGHUP"},
    {.flag = "tls-key",
     .key = "server.tls-key",
     .field = ATOLL_FIELD(listen.private_key),
     .help = "PEM private key for --tls-cert"},
    {.flag = "admin-tls-cert",
     .key = "server.admin-tls-cert",
     .field = ATOLL_FIELD(admin.certificate),
     .help = "PEM chain of certificates for --admin-listen"},
    {.flag = "admin-tls-key",
     .key = "server.admin-tls-key",
     .field = ATOLL_FIELD(admin.private_key),
     .help = "PEM private key for --admin-tls-cert"},
    {.flag = "served-model-name",
     .key = "server.served-model-name",
     .field = ATOLL_FIELD(model_id),
     .help = "what clients call the model (empty: the last part of MODEL)"},
    {.flag = "chat-format",
     .key = "server.chat-format",
     .field = choice_field{
         [](serve_settings& s, std::string_view name) {
           if (name != "auto" && !model::chat_format_from_string(name)) return false;
           s.chat_format = name == "auto" ? "" : name;
           return true;
         },
         [](const serve_settings& s) { return s.chat_format.empty() ? "auto" : s.chat_format; },
         "auto, v2, v3, r1, v3.1"},
     .help = "how conversations are encoded (auto: by the checkpoint's template)"},
    {.flag = "sse-ping",
     .key = "server.sse-ping",
     .field = ATOLL_FIELD(ping_time),
     .least = 0,
     .most = hour,
     .help = "a comment on a stream that is quiet for so long; 0: none"},
    {.flag = "drain-timeout",
     .key = "server.drain-timeout",
     .field = ATOLL_FIELD(drain_time),
     .least = 0,
     .most = 24 * hour,
     .help = "after SIGTERM, running requests may take so long",
     .is_reloadable = true},
    {.flag = "threads",
     .key = "engine.threads",
     .field = ATOLL_FIELD(engine.cluster.threads),
     .least = 0,
     .most = 1024,
     .help = "workers (0: the cores there are)"},
    {.flag = "isa",
     .key = "engine.isa",
     .field = ATOLL_CHOICE(engine.cluster.isa, isa_words, "best, avx2, avx512, amx"),
     .help = "instruction set"},
    {.flag = "numerics",
     .key = "engine.numerics",
     .field = ATOLL_CHOICE(engine.cluster.numerics, numerics_words, "invariant, fast"),
     .help = "invariant: the same bits in any shape; or fast"},
    {.flag = "activations",
     .key = "engine.activations",
     .field = ATOLL_CHOICE(engine.cluster.activations, activations_words, "f32, bf16, fp8"),
     .help = "how rows travel to experts and back: f32 loses nothing; bf16 halves and fp8 quarters "
             "the traffic and rounds the rows, so answers have other bits, the same in any shape"},
    {.flag = "attention-shards",
     .key = "engine.attention-shards",
     .field = ATOLL_FIELD(engine.cluster.attention_shards),
     .least = 1,
     .most = 256,
     .help = "attention shards"},
    {.flag = "expert-groups",
     .key = "engine.expert-groups",
     .field = ATOLL_FIELD(engine.cluster.expert_groups),
     .least = 1,
     .most = 1024,
     .help = "expert groups of one process; a node of a cluster has one"},
    {.flag = "replicas",
     .key = "engine.replicas",
     .field = ATOLL_FIELD(engine.cluster.replicas),
     .least = 1,
     .most = 1024,
     .help = "copies of each expert, in different groups"},
    {.flag = "batch-size",
     .key = "engine.batch-size",
     .field = ATOLL_FIELD(engine.cluster.sequences_max),
     .least = 1,
     .most = 65'536,
     .help = "sequences in flight per shard"},
    {.flag = "max-seq-len",
     .key = "engine.max-seq-len",
     .field = ATOLL_FIELD(engine.cluster.context_max),
     .least = 0,
     .most = tokens_most,
     .help = "tokens of a sequence (0: what model and memory allow)"},
    {.flag = "prefill-chunk",
     .key = "engine.prefill-chunk",
     .field = ATOLL_FIELD(engine.cluster.prefill_chunk),
     .least = 1,
     .most = 65'536,
     .help = "most prompt tokens in a step"},
    {.flag = "stream-slowdown",
     .key = "engine.stream-slowdown",
     .field = ATOLL_FIELD(engine.cluster.stream_slowdown),
     .least = 0,
     .most = 10'000,
     .help = "percent of its quiet time that a token may take while later prompts are computed (0: "
             "however long, as complete and bench do unless told)"},
    {.flag = "prefill-floor",
     .key = "engine.prefill-floor",
     .field = ATOLL_FIELD(engine.cluster.prefill_floor),
     .least = 1,
     .most = 8192,
     .help = "prompt tokens a step takes at least while others generate"},
    {.flag = "micro-batches",
     .key = "engine.micro-batches",
     .field = ATOLL_FIELD(engine.cluster.micro_batches),
     .least = 1,
     .most = 16,
     .help = "in flight per shard"},
    {.flag = "group-rows",
     .key = "engine.group-rows",
     .field = ATOLL_FIELD(engine.cluster.group_rows_max),
     .least = 1,
     .most = 1 << 20,
     .help = "rows in flight from a shard to an expert group; more wait"},
    {.flag = "capacity-factor",
     .key = "engine.capacity-factor",
     .field = ATOLL_FIELD(engine.cluster.capacity_factor),
     .least = 1,
     .most = static_cast<std::int64_t>(cluster::capacity_factor_max),
     .help = "of an expert's rows in a step a copy takes so many times its fair share before the "
             "rows prefer another"},
    {.flag = "memory",
     .key = "engine.memory",
     .field = ATOLL_FIELD(engine.memory_bytes),
     .least = 0,
     .most = any_size,
     .help = "refuse to need more, such as 64G (0: the machine's)",
     .is_size = true},
    {.flag = "kv-memory",
     .key = "engine.kv-memory",
     .field = ATOLL_FIELD(engine.cluster.kv_bytes),
     .least = 0,
     .most = any_size,
     .help = "for the key-value cache, such as 2G (0: as needed)",
     .is_size = true},
    {.flag = "queue-size",
     .key = "engine.queue-size",
     .field = ATOLL_FIELD(engine.cluster.queued_max),
     .least = 1,
     .most = actors::queue_size_max,
     .help = "requests that may wait for their turn",
     .is_reloadable = true},
    {.flag = "queue-tokens",
     .key = "engine.queue-tokens",
     .field = ATOLL_FIELD(engine.cluster.queued_tokens),
     .least = 0,
     .most = tokens_most,
     .help = "tokens that may be reserved beyond the key-value cache (0: 16,384 a place of the "
             "queue)"},
    {.flag = "prefix-cache",
     .key = "engine.prefix-cache",
     .field = ATOLL_FIELD(engine.cluster.prefix_cache),
     .help = "requests of one key share what they begin with"},
    {.flag = "device",
     .key = "engine.device",
     .field = choice_field{[](serve_settings&, std::string_view name) { return name == "cpu"; },
                           [](const serve_settings&) { return std::string{"cpu"}; },
                           "cpu"},
     .help = "where it computes; this build knows the CPU only"},
    {.flag = "quiet",
     .key = "engine.quiet",
     .field = ATOLL_FIELD(engine.quiet),
     .help = "no progress while loading"},
    {.flag = "max-n",
     .key = "limits.max-n",
     .field = ATOLL_FIELD(choices_max),
     .least = 1,
     .most = 1024,
     .help = "most answers to one request (n)"},
    {.flag = "default-timeout",
     .key = "limits.default-timeout",
     .field = ATOLL_FIELD(timeout_default),
     .least = 0,
     .most = 24 * hour,
     .help = "of a request that names none (0: --max-timeout)"},
    {.flag = "max-timeout",
     .key = "limits.max-timeout",
     .field = ATOLL_FIELD(timeout_max),
     .least = second,
     .most = 24 * hour,
     .help = "the longest a request may ask for"},
    {.flag = "max-header-size",
     .key = "limits.max-header-size",
     .field = ATOLL_FIELD(limits.head_bytes_max),
     .least = 1 << 10,
     .most = 1 << 20,
     .help = "request line and headers; more is told 431",
     .is_size = true,
     .is_reloadable = true},
    {.flag = "max-body-size",
     .key = "limits.max-body-size",
     .field = ATOLL_FIELD(limits.body_bytes_max),
     .least = 1 << 10,
     .most = 1 << 30,
     .help = "a request's body; more is told 413",
     .is_size = true,
     .is_reloadable = true},
    {.flag = "max-bodies-size",
     .key = "limits.max-bodies-size",
     .field = ATOLL_FIELD(limits.bodies_bytes_max),
     .least = 1 << 20,
     .most = std::int64_t{1} << 39,
     .help =
         "all bodies being received together; more are told 503, or 429 where they wait to be read",
     .is_size = true,
     .is_reloadable = true},
    {.flag = "max-connections",
     .key = "limits.max-connections",
     .field = ATOLL_FIELD(limits.connections_max),
     .least = 1,
     .most = 1'000'000,
     .help = "open at once; more are told 503",
     .is_reloadable = true},
    {.flag = "stream-buffer",
     .key = "limits.stream-buffer",
     .field = ATOLL_FIELD(limits.stream_buffer_max),
     .least = 1 << 12,
     .most = 1 << 30,
     .help = "what waits for a slow reader before its stream is cut",
     .is_size = true,
     .is_reloadable = true},
    {.flag = "header-timeout",
     .key = "limits.header-timeout",
     .field = ATOLL_FIELD(limits.head_time),
     .least = 100,
     .most = hour,
     .help = "for a request's headers to arrive",
     .is_reloadable = true},
    {.flag = "body-timeout",
     .key = "limits.body-timeout",
     .field = ATOLL_FIELD(limits.body_time_min),
     .least = 100,
     .most = hour,
     .help = "for a body to arrive, beside a second per --body-rate",
     .is_reloadable = true},
    {.flag = "body-rate",
     .key = "limits.body-rate",
     .field = ATOLL_FIELD(limits.body_rate_min),
     .least = 1,
     .most = 1 << 30,
     .help = "bytes a second that a body must reach",
     .is_size = true,
     .is_reloadable = true},
    {.flag = "idle-timeout",
     .key = "limits.idle-timeout",
     .field = ATOLL_FIELD(limits.idle_time),
     .least = 100,
     .most = 24 * hour,
     .help = "between requests of a connection",
     .is_reloadable = true},
    {.flag = "write-timeout",
     .key = "limits.write-timeout",
     .field = ATOLL_FIELD(limits.write_time),
     .least = 100,
     .most = hour,
     .help = "without progress of a client that does not read",
     .is_reloadable = true},
    {.flag = "log-level",
     .key = "log.level",
     .field = ATOLL_CHOICE(least_level, level_words, "debug, info, warning, error, off"),
     .help = "least level that is written",
     .is_reloadable = true},
    {.flag = "log-format",
     .key = "log.format",
     .field = ATOLL_CHOICE(log_style, format_words, "text, json"),
     .help = "text for people, or an object a line",
     .is_reloadable = true},
    {.flag = "metrics-compat",
     .key = "metrics.compat",
     .field = ATOLL_CHOICE(has_vllm_metrics, metrics_words, "vllm, none"),
     .help = "names of another server beside atoll_*"},
    {.flag = "expert-metrics",
     .key = "metrics.experts",
     .field = ATOLL_FIELD(has_expert_metrics),
     .help = "a series for each expert of each layer"},
};

}  // namespace

std::span<const option> options() { return rows; }

const option* find_option(std::string_view flag) {
  const auto found = std::find_if(
      std::begin(rows), std::end(rows), [&](const option& o) { return o.flag == flag; });
  return found == std::end(rows) ? nullptr : found;
}

}  // namespace atl::serve
