#include "tests/sim/crash_steps.hpp"

#include <array>
#include <string_view>

namespace atl::sim {
namespace {

using kind = transport::frame_kind;

/// The first `times` of that kind in a change.
struct repeated {
  placement_step::moment when;
  kind what;
  std::uint64_t times;
};

// Of place and release a drain sends two: the attention nodes are two, and so are the layers with
// experts.
constexpr std::array all_repeated{repeated{placement_step::moment::sends, kind::members, 3},
                                  repeated{placement_step::moment::sends, kind::load, 3},
                                  repeated{placement_step::moment::sends, kind::place, 2},
                                  repeated{placement_step::moment::sends, kind::release, 2},
                                  repeated{placement_step::moment::is_told, kind::placed, 2},
                                  repeated{placement_step::moment::is_told, kind::adopted, 2},
                                  repeated{placement_step::moment::records, kind::place, 2}};
static_assert(2 * (3 + 3 + 2 + 2 + 2 + 2 + 2) == placement_steps);

constexpr std::array<std::string_view, 9> places{"create",
                                                 "header",
                                                 "first record",
                                                 "later record",
                                                 "sync",
                                                 "rename",
                                                 "sync of the folder",
                                                 "append",
                                                 "done"};
constexpr std::array<std::string_view, 3> ways{"dies", "loses power", "refuses"};
static_assert(places.size() * ways.size() - 1 == compaction_steps);

// Which write of a compaction is the "later record"; the first is the header.
constexpr int later_write = 5;

}  // namespace

placement_step placement_step_at(std::size_t index) {
  const bool is_after = index % 2 == 1;
  std::uint64_t before = index / 2;
  for (const auto& r : all_repeated) {
    if (before < r.times) return {r.when, r.what, before, is_after};
    before -= r.times;
  }
  return {};
}

std::string to_string(const placement_step& s) {
  const std::string where = s.is_after ? "after " : "before ";
  const std::string which = " " + std::to_string(s.before + 1);
  if (s.when == placement_step::moment::records) return where + "record" + which;
  const char* told = s.when == placement_step::moment::is_told ? "being told " : "sending ";
  return where + told + std::string{transport::to_string(s.kind)} + which;
}

compaction_step compaction_step_at(std::size_t index) {
  return {static_cast<compaction_step::place>(index / ways.size()),
          static_cast<compaction_step::way>(index % ways.size())};
}

std::string to_string(const compaction_step& s) {
  return std::string{places[static_cast<std::size_t>(s.where)]} + ", " +
         std::string{ways[static_cast<std::size_t>(s.how)]};
}

bool compaction_count::is_there(test::disk_operation what) {
  using op = test::disk_operation;
  using enum compaction_step::place;
  if (what == op::write) ++writes_;
  switch (step_.where) {
  case create: return what == op::create;
  case header: return what == op::write && writes_ == 1;
  case first_record: return what == op::write && writes_ == 2;
  case later_record: return what == op::write && writes_ == later_write;
  case sync: return what == op::sync;
  case rename: return what == op::rename;
  case sync_folder: return what == op::sync_folder;
  case append: return what == op::append;
  case done: break;
  }
  return false;
}

}  // namespace atl::sim
