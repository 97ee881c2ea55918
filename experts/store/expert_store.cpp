#include "experts/store/expert_store.hpp"

#include "runtime/base/assert.hpp"

#include <functional>
#include <string>
#include <utility>

namespace atl::experts {
namespace {

void forget(const model::model_weights& from, const tensor::weight_matrix& matrix) {
  const std::size_t length = static_cast<std::size_t>(matrix.rows) * matrix.row_bytes();
  for (const auto& file : from.files) {
    const auto bytes = file->bytes();
    const std::less<> before;
    if (before(matrix.data, bytes.data()) || !before(matrix.data, bytes.data() + bytes.size()))
      continue;
    file->forget(static_cast<std::size_t>(matrix.data - bytes.data()), length);
    return;
  }
}

}  // namespace

std::string to_string(const expert_key& key) {
  return "expert " + std::to_string(key.expert) + " of layer " + std::to_string(key.layer.value);
}

resident_expert::resident_expert(std::shared_ptr<const owned_expert> memory)
    : weights_{memory->weights()}, layout_{memory->layout()}, memory_{std::move(memory)} {}

resident_expert::resident_expert(const model::ffn_weights& weights,
                                 std::shared_ptr<const model::model_weights> from,
                                 memory_charge charge)
    : weights_{weights},
      layout_{layout_of(weights)},
      from_{std::move(from)},
      charge_{std::move(charge)} {}

resident_expert::~resident_expert() {
  if (from_ == nullptr) return;
  for (const auto* matrix : {&weights_.gate, &weights_.up, &weights_.down}) forget(*from_, *matrix);
}

expert_store::expert_store(const model::model_config& config,
                           std::shared_ptr<const model::model_weights> own,
                           std::shared_ptr<memory_budget> budget)
    : config_{config}, own_{std::move(own)}, budget_{std::move(budget)} {}

bool expert_store::exists(const expert_key& key) const noexcept {
  return key.layer.value < config_.layers && config_.is_moe(key.layer.value) &&
         key.expert < config_.routed_experts;
}

bool expert_store::is_in_own_checkpoint(const expert_key& key) const noexcept {
  return own_ != nullptr && key.layer.value < own_->layers.size() &&
         key.expert < own_->layers[key.layer.value].experts.size() &&
         !own_->layers[key.layer.value].experts[key.expert].empty();
}

expert_state expert_store::state_of(const expert_key& key) const noexcept {
  const auto at = known_.find(key);
  if (at == known_.end()) return expert_state::absent;
  return at->second.weights == nullptr ? expert_state::loading : expert_state::held;
}

void expert_store::begin(const expert_key& key) {
  ATOLL_ASSERT(state_of(key) == expert_state::absent && exists(key));
  known_[key] = {};
}

result<resident_ptr> expert_store::map(const expert_key& key) const {
  ATOLL_ASSERT(is_in_own_checkpoint(key));
  const model::ffn_weights& weights = own_->layers[key.layer.value].experts[key.expert];
  ATOLL_ASSIGN(auto charge, memory_charge::take(budget_, layout_of(weights).total));
  return resident_ptr{std::make_shared<const resident_expert>(weights, own_, std::move(charge))};
}

void expert_store::add(const expert_key& key, resident_ptr weights, std::uint64_t check) {
  ATOLL_ASSERT(state_of(key) == expert_state::loading && weights != nullptr);
  known_[key] = {std::move(weights), check};
}

void expert_store::remove(const expert_key& key) { known_.erase(key); }

const expert_store::held_expert* expert_store::find(const expert_key& key) const noexcept {
  const auto at = known_.find(key);
  return at == known_.end() || at->second.weights == nullptr ? nullptr : &at->second;
}

}  // namespace atl::experts
