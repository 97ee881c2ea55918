#include "apps/plain_loop.hpp"

#include "attention/kv/page_pool.hpp"
#include "attention/shard_compute.hpp"
#include "experts/group_compute.hpp"
#include "experts/router_compute.hpp"
#include "runtime/base/clock.hpp"
#include "runtime/model/sampler.hpp"
#include "runtime/tensor/cpu_device.hpp"

#include <future>
#include <numeric>
#include <utility>

namespace atl::apps {
namespace {

struct compute {
  std::unique_ptr<attention::shard_compute> shard;
  std::unique_ptr<experts::router_compute> router;
  std::unique_ptr<experts::group_compute> group;
};

result<compute> make_compute(const std::shared_ptr<const model::model_weights>& weights,
                             const actors::cluster_options& o,
                             std::size_t pages) {
  compute c;
  ATOLL_ASSIGN(c.shard, attention::shard_compute::make(weights, {*o.isa, o.numerics, pages}));
  ATOLL_ASSIGN(c.router, experts::router_compute::make(weights, {*o.isa}));
  ATOLL_ASSIGN(c.group, experts::group_compute::make(weights->config, {*o.isa, o.numerics}));
  for (std::size_t layer = 0; layer < weights->layers.size(); ++layer) {
    const auto& all = weights->layers[layer].experts;
    for (std::size_t e = 0; e < all.size(); ++e)
      ATOLL_TRY(
          c.group->hold(static_cast<std::int64_t>(layer), static_cast<std::uint32_t>(e), all[e]));
  }
  return c;
}

/// One sequence going through the layers again and again. Each step runs on the worker that ended
/// the one before.
class loop {
public:
  loop(const model::model_weights& weights, compute& parts, std::size_t pages)
      : config_{weights.config},
        parts_{parts},
        greedy_{model::sampling_params{}, weights.head.rows},
        vocabulary_{static_cast<std::size_t>(weights.head.rows)} {
    pages_.resize(pages);
    std::iota(pages_.begin(), pages_.end(), 0U);
  }

  plain_result run(tensor::device& on, std::span<const token_id> prompt, std::int64_t count) {
    device_ = &on;
    left_ = count;
    begin(prompt);
    ended_.get_future().wait();
    out_.seconds = seconds(last_ - first_);
    return std::move(out_);
  }

private:
  void begin(std::span<const token_id> tokens) {
    const auto rows = static_cast<std::int64_t>(tokens.size());
    batch_.clear();
    batch_.tokens.assign(tokens.begin(), tokens.end());
    attention::slice all;
    all.first_position = position_;
    all.tokens = rows;
    position_ += rows;
    const auto used = static_cast<std::ptrdiff_t>(attention::pages_for(position_));
    all.pages.assign(pages_.begin(), pages_.begin() + used);
    batch_.slices.push_back(std::move(all));
    batch_.logit_rows.push_back(rows - 1);
    layer_ = 0;
    submit(parts_.shard->embed_attend(batch_), &loop::attended);
  }

  void submit(tensor::job job, void (loop::*then)()) {
    job.done = [this, then] { (this->*then)(); };
    device_->submit(std::move(job));
  }

  void attended() {
    if (!config_.is_moe(layer_)) return next_layer();
    submit(parts_.router->route(batch_.normed(), batch_.rows(), layer_, routing_), &loop::routed);
  }

  void routed() {
    const std::int64_t rows = batch_.rows(), k = routing_.k, hidden = config_.hidden;
    answers_.resize(static_cast<std::size_t>(rows * k * hidden));
    answer_rows_.resize(static_cast<std::size_t>(rows * k));
    call_.layer = layer_;
    call_.experts.clear();
    for (std::int64_t i = 0; i < rows * k; ++i) {
      const std::uint32_t expert = routing_.experts[static_cast<std::size_t>(i)];
      std::size_t at = 0;
      while (at < call_.experts.size() && call_.experts[at].expert != expert) ++at;
      if (at == call_.experts.size()) call_.experts.push_back({expert, {}, {}});
      float* answer = answers_.data() + i * hidden;
      call_.experts[at].inputs.push_back(batch_.normed() + i / k * hidden);
      call_.experts[at].outputs.push_back(answer);
      answer_rows_[static_cast<std::size_t>(i)] = reinterpret_cast<const std::byte*>(answer);
    }
    submit(parts_.shard->shared(batch_, layer_), &loop::shared);
  }

  void shared() { submit(parts_.group->forward(call_), &loop::answered); }

  void answered() {
    submit(
        parts_.router->combine(routing_, answer_rows_.data(), tensor::dtype::f32, batch_.routed()),
        &loop::next_layer);
  }

  void next_layer() {
    if (++layer_ < config_.layers) {
      submit(parts_.shard->attend_after(batch_, layer_), &loop::attended);
    } else {
      submit(parts_.shard->finish_head(batch_), &loop::drawn);
    }
  }

  void drawn() {
    const token_id token = greedy_.pick({batch_.logits(), vocabulary_}, {}, out_.tokens);
    last_ = time_.now();
    if (out_.tokens.empty()) first_ = last_;
    out_.tokens.push_back(token);
    if (--left_ > 0) {
      begin({&token, 1});
    } else {
      ended_.set_value();
    }
  }

  const model::model_config& config_;
  compute& parts_;
  tensor::device* device_ = nullptr;
  model::sampler greedy_;
  std::size_t vocabulary_;
  steady_clock time_;
  std::vector<std::uint32_t> pages_;
  attention::micro_batch batch_;
  experts::routing routing_;
  experts::group_call call_;
  std::vector<float> answers_;                 // (rows, k, hidden)
  std::vector<const std::byte*> answer_rows_;  // (rows, k)
  std::int64_t position_ = 0, layer_ = 0, left_ = 0;
  time_point_ns first_, last_;
  plain_result out_;
  std::promise<void> ended_;
};

}  // namespace

result<plain_result> run_plain_loop(std::shared_ptr<const model::model_weights> weights,
                                    const actors::cluster_options& options,
                                    std::span<const token_id> prompt,
                                    std::int64_t count) {
  const auto length = static_cast<std::int64_t>(prompt.size()) + count;
  const auto pages = static_cast<std::size_t>(attention::pages_for(length));
  ATOLL_ASSIGN(compute parts, make_compute(weights, options, pages));
  // The device goes first: its last worker may still be leaving the loop's last step.
  loop all{*weights, parts, pages};
  tensor::cpu_device device{options.threads};
  return all.run(device, prompt, count);
}

}  // namespace atl::apps
