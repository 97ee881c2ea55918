// Where the coordinator may die in the middle of something: the steps of a change of the placement
// (what it sends, what it is told, what it writes down), and those of the compaction of its journal
// (each operation on the disk). Numbered, so that a row of seeds reaches all of them. Plain values.
#pragma once

#include "tests/support/memory_disk.hpp"
#include "transport/frame.hpp"

#include <string>

namespace atl::sim {

struct placement_step {
  enum class moment : std::uint8_t { sends, is_told, records };
  moment when = moment::sends;
  transport::frame_kind kind = transport::frame_kind::place;  // but of records
  std::uint64_t before = 0;  // so many of the same come before in that change
  /// Dies after it: the frame has left, or was taken, or the record is on the disk.
  bool is_after = false;
};
inline constexpr std::size_t placement_steps = 32;
placement_step placement_step_at(std::size_t index);
std::string to_string(const placement_step& s);

struct compaction_step {
  enum class place : std::uint8_t {
    create,
    header,
    first_record,
    later_record,
    sync,
    rename,
    sync_folder,
    append,  // opening the new file
    done,
  };
  /// What happens there: the process dies, the machine loses power, or the disk refuses.
  enum class way : std::uint8_t { dies, loses_power, refuses };
  place where = place::create;
  way how = way::dies;
};
inline constexpr std::size_t compaction_steps = 26;  // nothing is left to refuse when it is done
compaction_step compaction_step_at(std::size_t index);
std::string to_string(const compaction_step& s);

/// Counts the operations of one compaction up to its step.
class compaction_count {
public:
  explicit compaction_count(const compaction_step& step) : step_{step} {}
  /// Whether this operation is the step.
  bool is_there(test::disk_operation what);
  const compaction_step& step() const { return step_; }

private:
  compaction_step step_;
  int writes_ = 0;
};

}  // namespace atl::sim
