// One job of an expert group: all dispatches of one layer that were waiting when it began. Rows
// that did not come as float32 are made so before the group's arithmetic, and answers are made what
// the rows came as after it, both as phases of the same job. For the group's actor; the job reads
// and writes through it while it runs.
#pragma once

#include "actors/messages.hpp"
#include "experts/group_compute.hpp"
#include "runtime/base/buffer_pool.hpp"
#include "runtime/base/clock.hpp"
#include "runtime/kernels/row_codec.hpp"
#include "runtime/tensor/processor_meter.hpp"

#include <cstdint>
#include <map>
#include <memory>
#include <vector>

namespace atl::actors {

class group_batch {
public:
  struct member {
    incoming_ptr origin;                      // a dispatch
    kernels::row_codec codec;                 // of its rows and of the answer
    std::shared_ptr<aligned_buffer> rows;     // (rows, hidden) float32; null: they came so
    std::shared_ptr<aligned_buffer> values;   // (assignments, hidden) float32
    std::shared_ptr<aligned_buffer> encoded;  // the answers as they travel; null: the values
  };

  void clear();
  void add(const incoming_ptr& message, kernels::isa isa, buffer_pool& buffers);
  /// All members, experts ascending.
  const experts::group_call& make_call(layer_index layer);
  /// What compute makes of the call, with what goes before and comes after.
  tensor::job job(const experts::group_compute& compute);

  const std::vector<member>& members() const noexcept { return members_; }
  /// The job has ended.
  static transport::wire::results answer_of(const member& m);

  time_point_ns started, ended;                    // of the job, the latter set on the device
  std::unique_ptr<tensor::processor_meter> meter;  // of the job, under a quota of processors
  double expected_ns = 0;

private:
  /// Rows [first, first + count) of one member: what a chunk converts.
  struct piece {
    std::uint32_t member = 0;
    std::uint32_t first = 0, count = 0;
  };

  void add_rows(const member& m, const std::map<std::uint32_t, std::size_t>& index);
  void cut();
  void decode(const piece& p) const;
  void encode(const piece& p) const;

  std::vector<member> members_;
  experts::group_call call_;
  std::vector<piece> inputs_, outputs_;
};

}  // namespace atl::actors
