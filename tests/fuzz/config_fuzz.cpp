// A config.json, and the same text as a generation_config.json. Whatever is accepted must have
// sizes that later code can multiply and divide by without a second look.
#include "runtime/model/inspect.hpp"

#include <cmath>
#include <cstdlib>

namespace {

using namespace atl::model;

void require(bool holds) {
  if (!holds) std::abort();
}

void check(const model_config& c) {
  require(c.vocab_size > 0 && c.hidden > 0 && c.layers > 0 && c.heads > 0 && c.kv_rank > 0);
  require(c.rope_dim > 0 && c.rope_dim % 2 == 0 && c.value_dim > 0 && c.max_position > 0);
  require(std::isfinite(c.norm_eps) && c.norm_eps > 0 && c.rope_theta > 1);
  require(c.moe_layer_freq > 0 && c.groups > 0 && c.groups_kept > 0 && c.groups_kept <= c.groups);
  for (const auto token : c.eos) require(token >= 0 && token < c.vocab_size);
  if (c.routed_experts > 0) {
    require(c.experts_per_token > 0 && c.experts_per_token <= c.routed_experts);
    require(c.expert_inner > 0 && c.routed_experts % c.groups == 0);
  }
  // Counting lists every tensor: only where that is a moderate number of them.
  if (c.layers * (c.routed_experts + 1) > 4096) return;
  const parameter_counts counts = count_parameters(c);
  require(counts.active > 0 && counts.active <= counts.total);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text{reinterpret_cast<const char*>(data), size};
  auto config = parse_config(text, "fuzz");
  if (config.has_error()) {
    require(config.error().message().starts_with("fuzz: "));
    return 0;
  }
  check(*config);
  if (merge_generation_config(*config, text, "fuzz").has_value()) check(*config);
  return 0;
}
