// Which experts this node has in memory, and where their bytes come from: views into its own mapped
// checkpoint, or memory that was filled from a peer. Bytes of both are charged to one budget, the
// node's memory for experts.
//
//   absent -> loading (begin) -> held (add) -> absent (remove; from loading too)
//
// A resident expert is shared with whoever computes with it; its memory goes back when the last of
// them lets go of it, so nobody needs to wait for jobs that are under way.
//
// Threads: an expert_store is for one thread at a time; a resident_expert may be read by any.
#pragma once

#include "experts/store/expert_blob.hpp"
#include "runtime/base/ids.hpp"
#include "runtime/base/memory.hpp"
#include "runtime/base/result.hpp"
#include "runtime/model/weights.hpp"
#include "transport/wire/control.hpp"

#include <compare>
#include <cstdint>
#include <map>
#include <memory>
#include <vector>

namespace atl::experts {

struct expert_key {
  layer_index layer;
  std::uint32_t expert = 0;
  friend constexpr auto operator<=>(const expert_key&, const expert_key&) = default;
};

/// "expert 3 of layer 7"
std::string to_string(const expert_key& key);

class resident_expert {
public:
  /// Fetched: no job writes to it any more.
  explicit resident_expert(std::shared_ptr<const owned_expert> memory);
  /// Views into `from`, whose pages go back to the system with this.
  resident_expert(const model::ffn_weights& weights,
                  std::shared_ptr<const model::model_weights> from,
                  memory_charge charge);
  resident_expert(const resident_expert&) = delete;
  resident_expert& operator=(const resident_expert&) = delete;
  ~resident_expert();

  const model::ffn_weights& weights() const noexcept { return weights_; }
  const blob_layout& layout() const noexcept { return layout_; }

private:
  model::ffn_weights weights_;
  blob_layout layout_;
  std::shared_ptr<const owned_expert> memory_;
  std::shared_ptr<const model::model_weights> from_;
  memory_charge charge_;
};

using resident_ptr = std::shared_ptr<const resident_expert>;

enum class expert_state : std::uint8_t { absent, loading, held };

class expert_store {
public:
  /// `own` may be null, or lack experts: those are fetched.
  expert_store(const model::model_config& config,
               std::shared_ptr<const model::model_weights> own,
               std::shared_ptr<memory_budget> budget);

  /// Whether the model has such an expert.
  bool exists(const expert_key& key) const noexcept;
  bool is_in_own_checkpoint(const expert_key& key) const noexcept;
  expert_state state_of(const expert_key& key) const noexcept;

  /// absent -> loading.
  void begin(const expert_key& key);
  /// An expert of the own checkpoint. errc::out_of_memory: the budget has no room for it.
  result<resident_ptr> map(const expert_key& key) const;
  /// loading -> held.
  void add(const expert_key& key, resident_ptr weights, std::uint64_t check);
  void remove(const expert_key& key);

  struct held_expert {
    resident_ptr weights;
    std::uint64_t check = 0;
  };
  /// Null unless held.
  const held_expert* find(const expert_key& key) const noexcept;

  const model::model_config& config() const noexcept { return config_; }
  const std::shared_ptr<memory_budget>& budget() const noexcept { return budget_; }

private:
  model::model_config config_;
  std::shared_ptr<const model::model_weights> own_;
  std::shared_ptr<memory_budget> budget_;
  std::map<expert_key, held_expert> known_;  // without weights: loading
};

}  // namespace atl::experts
