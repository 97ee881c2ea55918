// The pages of a shard by request: carries out what the planner decides about them, answers what it
// asks, and counts for the metrics. Owned by the shard actor.
#pragma once

#include "actors/messages.hpp"
#include "actors/sequence.hpp"
#include "attention/kv/prefix_cache.hpp"
#include "runtime/schedule/batch_planner.hpp"

#include <map>
#include <memory>

namespace atl::actors {

/// By their numbers at the shard (sequence::local).
using sequence_map = std::map<request_id, std::shared_ptr<sequence>>;

class shard_pages final : public schedule::page_account {
public:
  /// The map outlives it and holds every sequence that the planner knows.
  shard_pages(std::int64_t pages, bool is_sharing, const sequence_map& sequences)
      : cache_{static_cast<std::uint32_t>(pages), is_sharing}, sequences_{sequences} {}

  std::int64_t free_pages() const override { return cache_.available(); }
  std::int64_t held_alone(request_id request) const override;
  schedule::prefix_hit hit(request_id request) const override;

  /// Moves pages as the plan says, before any of its batches starts.
  void apply(const schedule::step_plan& plan);
  /// Positions [0, computed) of the sequence are in its pages, and its step has ended.
  void publish(sequence& s, std::int64_t computed);
  /// Of a sequence that ends.
  void release(sequence& s) { cache_.release(s.pages); }

  void count_into(held& h) const;

private:
  attention::prefix_cache cache_;
  const sequence_map& sequences_;
  std::uint64_t queries_ = 0, hits_ = 0;  // tokens
};

}  // namespace atl::actors
