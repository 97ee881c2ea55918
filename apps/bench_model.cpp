#include "apps/bench_model.hpp"

#include "apps/bench_rows.hpp"
#include "apps/generate.hpp"
#include "apps/inbox.hpp"
#include "apps/output.hpp"
#include "apps/plain_loop.hpp"
#include "apps/values.hpp"
#include "apps/weight_traffic.hpp"
#include "runtime/base/random.hpp"
#include "runtime/model/checkpoint.hpp"
#include "runtime/model/inspect.hpp"

#include <algorithm>
#include <optional>
#include <utility>

namespace atl::apps {
namespace {

constexpr std::int64_t short_prompt = 8;  // tokens before generation at depth 0

/// Times of the tokens of every sequence of one run, in seconds.
using token_times = std::vector<std::vector<double>>;

class bench_run {
public:
  bench_run(const bench_options& o,
            std::shared_ptr<const model::model_weights> weights,
            const actors::cluster_options& cluster,
            const machine_peak& peak)
      : options_{o}, weights_{std::move(weights)}, cluster_options_{cluster}, peak_{peak} {}

  result<void> start() {
    ATOLL_ASSIGN(cluster_, actors::local_cluster::start(weights_, cluster_options_));
    return {};
  }

  /// All prompts of one row at once, from submission to the last first token.
  result<bench_row> prompt_row(std::int64_t tokens, std::int64_t depth, std::int64_t batch) {
    bench_row row = make_row(depth, batch);
    row.measured.n_prompt = tokens;
    const auto& c = weights_->config;
    const auto matrices = model::count_parameters(c).active - 2 * c.vocab_size * c.hidden;
    row.flops_per_token = 2 * static_cast<double>(matrices);
    weight_traffic traffic{*weights_};
    const auto before_all = cluster_->counters();
    ATOLL_TRY(run(batch, depth + tokens, 1, &traffic));
    row.bytes_per_token = prompt_bytes(traffic, tokens, depth, batch);
    for (int i = 0; i < options_.repeats; ++i) {
      double before = 0;
      if (depth > 0) {
        ATOLL_ASSIGN(before, first_tokens(batch, depth));
      }
      ATOLL_ASSIGN(const double all, first_tokens(batch, depth + tokens));
      row.samples.push_back(static_cast<double>(batch * tokens) / std::max(all - before, 1e-9));
    }
    row.row_bytes_per_token = row_bytes_since(before_all);
    return row;
  }

  result<bench_row> answer_row(std::int64_t tokens, std::int64_t depth, std::int64_t batch) {
    bench_row row = make_row(depth, batch);
    row.measured.n_gen = tokens;
    const auto& c = weights_->config;
    const auto matrices = model::count_parameters(c).active - c.vocab_size * c.hidden;
    row.flops_per_token = 2 * static_cast<double>(matrices);
    const std::int64_t prompt = std::max(depth, short_prompt);
    weight_traffic traffic{*weights_};
    const auto before_all = cluster_->counters();
    ATOLL_TRY(run(batch, prompt, tokens, &traffic));
    row.bytes_per_token = answer_bytes(traffic, prompt, tokens, batch);
    for (int i = 0; i < options_.repeats; ++i) {
      ATOLL_ASSIGN(const token_times times, run(batch, prompt, tokens, nullptr));
      row.samples.push_back(rate_together(times));
      if (options_.with_plain && batch == 1) {
        ATOLL_ASSIGN(
            const plain_result plain,
            run_plain_loop(weights_, cluster_->options(), random_prompt(0, prompt), tokens));
        row.plain.push_back(static_cast<double>(tokens - 1) / plain.seconds);
      }
    }
    row.row_bytes_per_token = row_bytes_since(before_all);
    return row;
  }

private:
  bench_row make_row(std::int64_t depth, std::int64_t batch) const {
    bench_row row;
    row.measured.n_depth = depth;
    row.measured.n_batch = batch;
    row.measured.n_threads = cluster_options_.threads;
    row.peak = peak_;
    row.layers = static_cast<double>(weights_->config.layers);
    return row;
  }

  /// Of all tokens computed since the counters were `before`.
  double row_bytes_since(const actors::cluster_counters& before) const {
    const auto now = cluster_->counters();
    const std::uint64_t bytes = now.row_bytes_sent + now.row_bytes_received -
                                before.row_bytes_sent - before.row_bytes_received;
    return static_cast<double>(bytes) /
           static_cast<double>(std::max<std::uint64_t>(1, now.rows - before.rows));
  }

  std::vector<token_id> random_prompt(std::int64_t sequence, std::int64_t tokens) const {
    random_source draws{static_cast<std::uint64_t>(sequence) + 1};
    std::vector<token_id> prompt(static_cast<std::size_t>(tokens));
    for (token_id& t : prompt)
      t = static_cast<token_id>(
          draws.below(static_cast<std::uint64_t>(weights_->config.vocab_size)));
    return prompt;
  }

  /// Sequences with random prompts, answered greedily past any end. With `routed`, the choices of
  /// experts are noted; such a run is not for timing.
  result<token_times>
  run(std::int64_t batch, std::int64_t prompt, std::int64_t tokens, weight_traffic* routed) {
    const auto inbox = std::make_shared<event_inbox>(std::make_shared<steady_clock>());
    const steady_clock time;
    begin_ = time.now();
    for (std::int64_t s = 0; s < batch; ++s) {
      actors::generation_request r;
      r.prompt = random_prompt(s, prompt);
      r.tokens_max = tokens;
      r.ignore_eos = true;
      r.want_routing = routed != nullptr;
      const auto index = static_cast<std::size_t>(s);
      ATOLL_TRY(cluster_->submit(std::move(r), [index, inbox](actors::generation_event&& e) {
        inbox->push(index, std::move(e));
      }));
    }
    token_times times(static_cast<std::size_t>(batch));
    std::optional<error> failure;
    for (std::int64_t open = batch; open > 0;) {
      event_inbox::delivery got = inbox->wait();
      if (got.interrupt != 0) return error{errc::cancelled, "interrupted"};
      for (const stamped_event& e : got.events) {
        if (routed != nullptr) routed->add(e.request, e.event.observations);
        times[e.request].insert(
            times[e.request].end(), e.event.tokens.size(), seconds(e.when - begin_));
        if (e.event.finish == actors::finish_reason::none) continue;
        --open;
        if (e.event.cause) failure = e.event.cause;
      }
    }
    if (failure) return *failure;
    return times;
  }

  result<double> first_tokens(std::int64_t batch, std::int64_t prompt) {
    ATOLL_ASSIGN(const token_times times, run(batch, prompt, 1, nullptr));
    double last = 0;
    for (const auto& t : times) last = std::max(last, t.front());
    return last;
  }

  /// Tokens per second while all sequences generate.
  static double rate_together(const token_times& times) {
    double begin = 0, end = 1e30;
    for (const auto& t : times) {
      begin = std::max(begin, t.front());
      end = std::min(end, t.back());
    }
    std::int64_t count = 0;
    for (const auto& sequence : times)
      count += std::count_if(
          sequence.begin(), sequence.end(), [&](double t) { return t > begin && t <= end; });
    return static_cast<double>(count) / std::max(end - begin, 1e-9);
  }

  double kv_bytes(std::int64_t tokens) const {
    return static_cast<double>(tokens * model::kv_bytes_per_token(weights_->config));
  }

  /// Each chunk of a prompt reads what it needs once.
  double prompt_bytes(const weight_traffic& traffic,
                      std::int64_t tokens,
                      std::int64_t depth,
                      std::int64_t batch) const {
    const std::int64_t chunk = cluster_->options().prefill_chunk;
    double bytes = 0;
    for (std::int64_t s = 0; s < batch; ++s) {
      const auto index = static_cast<std::size_t>(s);
      for (std::int64_t at = 0; at < tokens; at += chunk) {
        const std::int64_t count = std::min(chunk, tokens - at);
        bytes += static_cast<double>(traffic.step_bytes() - weights_->head.bytes() +
                                     traffic.expert_bytes(index, index + 1, depth + at, count));
        bytes += kv_bytes(depth + at + count);
      }
    }
    return bytes / static_cast<double>(tokens * batch);
  }

  /// Every step reads what is common, the distinct experts of its tokens, and their latents.
  double answer_bytes(const weight_traffic& traffic,
                      std::int64_t prompt,
                      std::int64_t tokens,
                      std::int64_t batch) const {
    double bytes = 0;
    // The last token is drawn and not computed any further.
    for (std::int64_t i = 0; i + 1 < tokens; ++i) {
      bytes += static_cast<double>(
          traffic.step_bytes() +
          traffic.expert_bytes(0, static_cast<std::size_t>(batch), prompt + i, 1));
      bytes += static_cast<double>(batch) * kv_bytes(prompt + i + 1);
    }
    return bytes / static_cast<double>((tokens - 1) * batch);
  }

  const bench_options& options_;
  std::shared_ptr<const model::model_weights> weights_;
  actors::cluster_options cluster_options_;
  machine_peak peak_;
  std::unique_ptr<actors::local_cluster> cluster_;
  time_point_ns begin_;
};

void tell(const bench_options& o, const std::string& what) {
  if (!o.engine.quiet) note("atoll: " + what + "\n");
}

result<void> bench_threads(const bench_options& o,
                           const std::shared_ptr<const model::model_weights>& weights,
                           const actors::cluster_options& cluster,
                           row_writer& to) {
  tell(o, "measuring the machine with " + std::to_string(cluster.threads) + " thread(s)");
  const machine_peak peak = measure_peak(*cluster.isa, cluster.threads);
  tell(o,
       "reads " + fixed(peak.read_bytes_per_second / 1e9, 1) + " GB/s, fused multiply-adds " +
           fixed(peak.fma_flops_per_second / 1e9, 0) + " GFLOP/s");
  bench_run bench{o, weights, cluster, peak};
  ATOLL_TRY(bench.start());
  for (const std::int64_t batch : o.batches) {
    for (const std::int64_t depth : o.depths) {
      for (const std::int64_t tokens : o.prompts) {
        if (tokens == 0) continue;
        ATOLL_ASSIGN(const bench_row row, bench.prompt_row(tokens, depth, batch));
        ATOLL_TRY(to.add(row, cluster));
      }
      for (const std::int64_t tokens : o.answers) {
        if (tokens == 0) continue;
        ATOLL_ASSIGN(const bench_row row, bench.answer_row(tokens, depth, batch));
        ATOLL_TRY(to.add(row, cluster));
      }
    }
  }
  return {};
}

std::int64_t largest(const std::vector<std::int64_t>& values) {
  return *std::max_element(values.begin(), values.end());
}

/// The longest sequence asked for has to fit what the model was made for.
result<void> check_context(disk& files, const bench_options& o) {
  ATOLL_ASSIGN(const std::string directory,
               model::resolve_model(files, o.engine.model, model::system_environment()));
  ATOLL_ASSIGN(const model::model_config config, model::read_config(files, directory));
  if (o.engine.cluster.context_max <= config.max_position) return {};
  return error{errc::invalid_argument,
               "-p " + std::to_string(largest(o.prompts)) + ", -d " +
                   std::to_string(largest(o.depths)) + ", -n " +
                   std::to_string(largest(o.answers)) + ": together they need a context of " +
                   std::to_string(o.engine.cluster.context_max) + " tokens, and the model's is " +
                   std::to_string(config.max_position) + "; lower one of them"};
}

}  // namespace

result<int> run_bench_model(const bench_options& asked) {
  hold_interrupts();
  bench_options o = asked;
  const auto files = system_disk();
  auto& cluster = o.engine.cluster;
  cluster.prefix_cache = false;  // each run computes its prompts
  cluster.sequences_max = static_cast<int>(largest(o.batches));
  cluster.context_max = std::max(largest(o.depths), short_prompt) +
                        std::max(largest(o.prompts) + 1, largest(o.answers)) + 1;
  ATOLL_TRY(check_context(*files, o));
  ATOLL_ASSIGN(const auto peers, read_peers(*files, o.peers));
  ATOLL_ASSIGN(const model_files found, find_model(*files, o.engine));
  ATOLL_ASSIGN(const auto weights, load_model(*files, found, o.engine));
  if (o.threads.empty()) o.threads.push_back(found.cluster.threads);
  ATOLL_ASSIGN(output out, output::open(*files, ""));
  row_writer to{out, peers, o.as_json};
  ATOLL_TRY(to.begin());
  for (const std::int64_t threads : o.threads) {
    actors::cluster_options chosen = found.cluster;
    chosen.threads = static_cast<int>(threads);
    ATOLL_TRY(bench_threads(o, weights, chosen, to));
  }
  ATOLL_TRY(to.end());
  return 0;
}

}  // namespace atl::apps
