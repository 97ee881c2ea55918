#include "tests/support/plain_model.hpp"

#include <algorithm>
#include <cmath>
#include <future>
#include <utility>

namespace atl::testing {
namespace {

/// Rows of `width` values, each as it would be after it has travelled: by the scalar conversions.
void round_rows(tensor::dtype type, std::int64_t width, std::vector<float>& rows) {
  if (type == tensor::dtype::bf16) {
    for (float& v : rows) v = tensor::bf16_to_f32(tensor::f32_to_bf16(v));
    return;
  }
  if (type != tensor::dtype::f8_e4m3) return;
  const auto w = static_cast<std::size_t>(width);
  for (std::size_t row = 0; row < rows.size(); row += w) {
    for (std::size_t first = row; first < row + w; first += 128) {
      const std::size_t end = std::min(row + w, first + 128);
      float top = 1e-4F;
      for (std::size_t i = first; i < end; ++i) top = std::max(top, std::fabs(rows[i]));
      const float scale = top / 448.0F;
      for (std::size_t i = first; i < end; ++i)
        rows[i] = tensor::f8_e4m3_to_f32(tensor::f32_to_f8_e4m3(rows[i] / scale)) * scale;
    }
  }
}

}  // namespace

result<std::unique_ptr<plain_model>>
plain_model::make(std::shared_ptr<const model::model_weights> weights,
                  tensor::device& on,
                  const options& chosen) {
  created parts;
  attention::shard_compute::options shard;
  shard.isa = chosen.isa;
  shard.numerics = chosen.numerics;
  shard.kv_pages = chosen.kv_pages;
  ATOLL_ASSIGN(parts.shard, attention::shard_compute::make(weights, shard));
  ATOLL_ASSIGN(parts.router, experts::router_compute::make(weights, {chosen.isa}));
  for (std::size_t g = 0; g < chosen.expert_groups; ++g) {
    ATOLL_ASSIGN(auto group,
                 experts::group_compute::make(weights->config, {chosen.isa, chosen.numerics}));
    for (std::size_t layer = 0; layer < weights->layers.size(); ++layer) {
      const auto& all = weights->layers[layer].experts;
      for (std::size_t e = g; e < all.size(); e += chosen.expert_groups) {
        ATOLL_TRY(
            group->hold(static_cast<std::int64_t>(layer), static_cast<std::uint32_t>(e), all[e]));
      }
    }
    parts.groups.push_back(std::move(group));
  }
  return std::make_unique<plain_model>(std::move(weights), on, chosen, std::move(parts));
}

plain_model::plain_model(std::shared_ptr<const model::model_weights> weights,
                         tensor::device& on,
                         const options& chosen,
                         created parts)
    : weights_{std::move(weights)},
      device_{on},
      parts_{std::move(parts)},
      cache_{static_cast<std::uint32_t>(chosen.kv_pages), false},
      calls_(parts_.groups.size()),
      activations_{chosen.activations} {}

void plain_model::run(tensor::job job) {
  // Shared: the worker may still be inside set_value() when the wait ends.
  const auto ended = std::make_shared<std::promise<void>>();
  job.done = [ended] { ended->set_value(); };
  device_.submit(std::move(job));
  ended->get_future().wait();
}

result<void> plain_model::fill(std::span<const input> inputs, bool only_last) {
  batch_.clear();
  for (const input& in : inputs) {
    attention::slice part;
    part.first_position = in.to->length;
    part.tokens = static_cast<std::int64_t>(in.tokens.size());
    part.first_row = batch_.rows();
    ATOLL_TRY(cache_.extend(in.to->pages, part.first_position + part.tokens));
    for (const attention::page_index page : in.to->pages.pages()) part.pages.push_back(page.value);
    batch_.tokens.insert(batch_.tokens.end(), in.tokens.begin(), in.tokens.end());
    for (std::int64_t i = only_last ? part.tokens - 1 : 0; i < part.tokens; ++i) {
      batch_.logit_rows.push_back(part.first_row + i);
    }
    in.to->length += part.tokens;
    batch_.slices.push_back(std::move(part));
  }
  return {};
}

void plain_model::experts_of(std::int64_t layer) {
  const std::int64_t rows = batch_.ffn_rows();
  const std::int64_t hidden = config().hidden;
  run(parts_.router->route(batch_.normed(), rows, layer, routing_));
  run(parts_.shard->shared(batch_, layer));
  const std::int64_t k = routing_.k;
  asked_.assign(batch_.normed(), batch_.normed() + rows * hidden);
  round_rows(activations_, hidden, asked_);
  answers_.resize(static_cast<std::size_t>(rows * k * hidden));
  answer_rows_.resize(static_cast<std::size_t>(rows * k));
  for (experts::group_call& call : calls_) {
    call.layer = layer;
    call.experts.clear();
  }
  for (std::int64_t i = 0; i < rows * k; ++i) {
    const std::uint32_t expert = routing_.experts[static_cast<std::size_t>(i)];
    auto& parts = calls_[expert % calls_.size()].experts;
    std::size_t at = 0;
    while (at < parts.size() && parts[at].expert != expert) ++at;
    if (at == parts.size()) parts.push_back({expert, {}, {}});
    float* answer = answers_.data() + i * hidden;
    parts[at].inputs.push_back(asked_.data() + i / k * hidden);
    parts[at].outputs.push_back(answer);
    answer_rows_[static_cast<std::size_t>(i)] = reinterpret_cast<const std::byte*>(answer);
  }
  for (std::size_t g = 0; g < calls_.size(); ++g) run(parts_.groups[g]->forward(calls_[g]));
  round_rows(activations_, hidden, answers_);
  run(parts_.router->combine(routing_, answer_rows_.data(), tensor::dtype::f32, batch_.routed()));
}

void plain_model::note(trace& record, std::int64_t layer) const {
  const auto at = static_cast<std::size_t>(layer);
  const auto layers = static_cast<std::size_t>(config().layers);
  record.hidden.resize(layers);
  record.experts.resize(layers);
  record.weights.resize(layers);
  record.router_logits.resize(layers);
  const std::int64_t rows = batch_.ffn_rows();
  const auto append = [](auto& to, const auto* from, std::int64_t count) {
    to.insert(to.end(), from, from + count);
  };
  append(record.hidden[at], batch_.residual(), rows * config().hidden);
  if (!config().is_moe(layer)) return;
  append(record.experts[at], routing_.experts.data(), rows * routing_.k);
  append(record.weights[at], routing_.weights.data(), rows * routing_.k);
  append(record.router_logits[at],
         experts::router_compute::logits(routing_),
         rows * config().routed_experts);
}

void plain_model::layer_alone(std::int64_t layer) {
  run(parts_.shard->attend(batch_, layer));
  if (!config().is_moe(layer)) return;
  experts_of(layer);
  run(parts_.shard->finish(batch_, layer));
}

result<std::vector<float>>
plain_model::feed(std::span<const input> inputs, bool only_last, trace* record) {
  ATOLL_TRY(fill(inputs, only_last));
  batch_.keep_all_rows = record != nullptr;
  if (record != nullptr) {
    run(parts_.shard->embed(batch_));
    for (std::int64_t layer = 0; layer < config().layers; ++layer) {
      layer_alone(layer);
      note(*record, layer);
    }
    run(parts_.shard->head(batch_));
  } else {
    for (std::int64_t layer = 0; layer < config().layers; ++layer) {
      run(layer == 0 ? parts_.shard->embed_attend(batch_)
                     : parts_.shard->attend_after(batch_, layer));
      if (config().is_moe(layer)) experts_of(layer);
    }
    run(parts_.shard->finish_head(batch_));
  }
  const float* logits = batch_.logits();
  return std::vector<float>(
      logits, logits + static_cast<std::int64_t>(batch_.logit_rows.size()) * weights_->head.rows);
}

}  // namespace atl::testing
