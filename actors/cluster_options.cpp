#include "actors/cluster_options.hpp"

#include "attention/kv/page_pool.hpp"
#include "attention/shard_compute.hpp"
#include "runtime/base/sizes.hpp"
#include "transport/frame.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <string>

namespace atl::actors {
namespace {

// Unless told otherwise, latents may take an eighth of the machine's memory, and at least this
// much.
constexpr std::size_t kv_bytes_least = std::size_t{256} << 20;

// Of a waiting request, to reserve: beyond most prompts and answers, and no more than 64 KiB of
// memory as ids.
constexpr std::int64_t tokens_per_place = 16'384;

error bad(const std::string& option, std::int64_t value, const std::string& rule) {
  return {errc::invalid_argument, option + " " + std::to_string(value) + ": it must be " + rule};
}

std::string decimal(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%g", value);
  return text;
}

std::size_t shard_pages(const cluster_options& o, const model::model_config& config) {
  const std::size_t page = attention::shard_compute::page_bytes(config);
  return o.kv_bytes / static_cast<std::size_t>(o.attention_shards) / page;
}

/// The answers of all experts to a step, and its logits, each have to fit one frame.
std::int64_t chunk_max(const model::model_config& config) {
  const std::int64_t widest = std::max(
      config.vocab_size, std::max<std::int64_t>(1, config.experts_per_token) * config.hidden);
  const auto bytes = widest * static_cast<std::int64_t>(sizeof(float));
  const auto rows = static_cast<std::int64_t>(transport::payload_bytes_max) / bytes;
  return std::clamp<std::int64_t>(rows, 1, 8192);
}

result<void> check_counts(const cluster_options& o, const model::model_config& config) {
  const auto between = [](const char* option,
                          std::int64_t value,
                          std::int64_t low,
                          std::int64_t high) -> result<void> {
    if (value >= low && value <= high) return {};
    return bad(option, value, "between " + std::to_string(low) + " and " + std::to_string(high));
  };
  ATOLL_TRY(between("--attention-shards", o.attention_shards, 1, 256));
  ATOLL_TRY(between(
      "--expert-groups", o.expert_groups, 1, std::max<std::int64_t>(1, config.routed_experts)));
  if (o.replicas > o.expert_groups)
    return bad("--replicas",
               o.replicas,
               "at most --expert-groups, " + std::to_string(o.expert_groups) + " here");
  ATOLL_TRY(between("--replicas", o.replicas, 1, o.expert_groups));
  ATOLL_TRY(between("--threads", o.threads, 0, 1024));
  ATOLL_TRY(between("--batch-size", o.sequences_max, 1, chunk_max(config)));
  ATOLL_TRY(between("--prefill-chunk", o.prefill_chunk, 1, chunk_max(config)));
  if (o.stream_slowdown != 0)
    ATOLL_TRY(between("--stream-slowdown", o.stream_slowdown, 105, 10'000));
  ATOLL_TRY(between("--prefill-floor", o.prefill_floor, 1, 8192));
  ATOLL_TRY(between("--micro-batch-sequences", o.lane_sequences_min, 1, 65536));
  ATOLL_TRY(between("--micro-batches", o.micro_batches, 1, 16));
  ATOLL_TRY(between("--group-rows", o.group_rows_max, 1, 1 << 20));
  if (!(o.capacity_factor >= 1 && o.capacity_factor <= cluster::capacity_factor_max))
    return error{errc::invalid_argument,
                 "--capacity-factor " + decimal(o.capacity_factor) + ": it must be between 1 and " +
                     decimal(cluster::capacity_factor_max)};
  ATOLL_TRY(between("--queue-size", o.queued_max, 0, queue_size_max));
  ATOLL_TRY(between("--queue-tokens", o.queued_tokens, 0, std::int64_t{1} << 50));
  return between("--max-seq-len", o.context_max, 0, config.max_position);
}

}  // namespace

std::size_t kv_bytes_needed(const cluster_options& o, const model::model_config& config) {
  const auto pages = static_cast<std::size_t>(attention::pages_for(o.context_max));
  return static_cast<std::size_t>(o.attention_shards) * static_cast<std::size_t>(o.sequences_max) *
         pages * attention::shard_compute::page_bytes(config);
}

result<cluster_options> resolved(const cluster_options& asked, const model::model_config& config) {
  ATOLL_TRY(check_counts(asked, config));
  cluster_options o = asked;
  if (o.threads == 0) o.threads = static_cast<int>(std::ceil(usable_cpus()));
  if (!o.isa) {
    ATOLL_ASSIGN(o.isa, kernels::best_isa());
  } else if (!kernels::isa_available(*o.isa)) {
    return error{errc::unsupported,
                 "--isa " + std::string{to_string(*o.isa)} +
                     ": not usable on this machine: " + kernels::isa_refusal(*o.isa)};
  }
  if (o.queued_tokens == 0) o.queued_tokens = o.queued_max * tokens_per_place;
  const bool is_context_asked = o.context_max != 0;
  if (!is_context_asked) o.context_max = config.max_position;
  if (o.kv_bytes == 0)
    o.kv_bytes =
        std::min(kv_bytes_needed(o, config), std::max(kv_bytes_least, usable_memory_bytes() / 8));
  const auto tokens = static_cast<std::int64_t>(shard_pages(o, config)) * attention::kv_page_tokens;
  if (tokens == 0 || (is_context_asked && tokens < o.context_max)) {
    const std::int64_t wanted = is_context_asked ? o.context_max : attention::kv_page_tokens;
    const std::size_t least = static_cast<std::size_t>(attention::pages_for(wanted)) *
                              attention::shard_compute::page_bytes(config) *
                              static_cast<std::size_t>(o.attention_shards);
    return error{errc::out_of_memory,
                 "--kv-memory " + human_size(o.kv_bytes) + ": " +
                     std::to_string(o.attention_shards) + " shard(s) with one sequence of " +
                     std::to_string(wanted) + " tokens each need " + human_size(least) +
                     "; raise it or lower --max-seq-len"};
  }
  o.context_max = std::min(o.context_max, tokens);
  return o;
}

}  // namespace atl::actors
