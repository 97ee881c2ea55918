#include "runtime/model/fingerprint.hpp"

#include <xxhash.h>

#include <algorithm>
#include <bit>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

namespace atl::model {
namespace {

struct free_state {
  void operator()(XXH3_state_t* state) const noexcept { XXH3_freeState(state); }
};

/// Values one after the other, each so that no other list of values gives the same bytes.
class hasher {
public:
  hasher() : state_{XXH3_createState()} { XXH3_128bits_reset(state_.get()); }

  void add(std::span<const std::byte> bytes) {
    number(bytes.size());
    XXH3_128bits_update(state_.get(), bytes.data(), bytes.size());
  }
  void text(std::string_view value) { add(std::as_bytes(std::span{value})); }
  void number(std::uint64_t value) { XXH3_128bits_update(state_.get(), &value, sizeof value); }
  template <class... Integers>
  void integers(Integers... values) {
    (number(static_cast<std::uint64_t>(values)), ...);
  }
  template <class... Doubles>
  void reals(Doubles... values) {
    (number(std::bit_cast<std::uint64_t>(values)), ...);
  }

  std::string hex() const {
    const XXH128_hash_t hash = XXH3_128bits_digest(state_.get());
    std::string out;
    for (const std::uint64_t half : {hash.high64, hash.low64})
      for (int shift = 60; shift >= 0; shift -= 4) out += "0123456789abcdef"[half >> shift & 15U];
    return out;
  }

private:
  std::unique_ptr<XXH3_state_t, free_state> state_;
};

void add_config(hasher& h, const model_config& c) {
  h.text(c.model_type);
  h.integers(c.vocab_size, c.hidden, c.layers, c.first_dense, c.moe_layer_freq, c.dense_inner);
  h.integers(c.expert_inner, c.routed_experts, c.shared_experts, c.experts_per_token);
  h.integers(c.groups, c.groups_kept, c.topk, c.scoring, c.norm_topk);
  h.integers(c.heads, c.q_rank, c.kv_rank, c.nope_dim, c.rope_dim, c.value_dim);
  h.reals(c.routed_scale, c.norm_eps, c.inner_norm_eps, c.rope_theta);
  h.integers(c.yarn.has_value());
  if (c.yarn) {
    h.integers(c.yarn->original_max_position, c.yarn->attention_factor.has_value());
    h.reals(c.yarn->factor, c.yarn->beta_fast, c.yarn->beta_slow, c.yarn->mscale);
    h.reals(c.yarn->mscale_all_dim, c.yarn->attention_factor.value_or(0));
  }
  h.integers(c.rope_interleave, c.max_position, c.tied_embeddings, c.fp8_blocks);
  h.integers(c.eos.size());
  for (const token_id id : c.eos) h.integers(id);
  h.integers(c.bos.has_value(), c.bos.value_or(0));
}

bool is_expert(const located_tensor& at) {
  return at.tensor->name.find(".mlp.experts.") != std::string::npos;
}

void add_tensor(hasher& h, const located_tensor& at, bool is_whole) {
  h.text(at.tensor->name);
  h.text(at.tensor->type.name);
  h.integers(at.tensor->shape.size());
  for (const std::uint64_t size : at.tensor->shape) h.number(size);
  const std::span<const std::byte> data = at.file->data(*at.tensor);
  const std::size_t sample = std::min(data.size(), fingerprint_sample_bytes);
  const std::size_t samples = is_expert(at) ? 2 : fingerprint_samples;
  if (is_whole || data.size() <= sample * samples) return h.add(data);
  const std::size_t last = data.size() - sample;
  for (std::size_t i = 0; i < samples; ++i)
    h.add(
        data.subspan(last / (samples - 1) * i + last % (samples - 1) * i / (samples - 1), sample));
}

}  // namespace

std::string fingerprint(const checkpoint& source) {
  hasher h;
  add_config(h, source.config());
  std::size_t bytes = 0;
  for (const located_tensor& at : source.tensors())
    bytes += is_expert(at) ? 0 : at.file->data(*at.tensor).size();
  const bool counts_whole = bytes <= fingerprint_whole_bytes;
  for (const located_tensor& at : source.tensors())
    add_tensor(h, at, counts_whole && !is_expert(at));
  return h.hex();
}

}  // namespace atl::model
