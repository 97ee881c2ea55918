// The coordinator's journal in a simulated cluster: what apps/cluster/journal_writer does on a
// thread of its own, in virtual time.
#include "tests/sim/cluster_world.hpp"

#include <caf/send.hpp>

#include <algorithm>
#include <string_view>
#include <utility>

namespace atl::sim {
namespace {

constexpr const char* journal_path = "/state/journal";
constexpr const char* cluster_id = "sim";

std::span<const std::byte> bytes_of(const std::string& text) {
  return std::as_bytes(std::span{text.data(), text.size()});
}

}  // namespace

result<void> cluster_world::open_journal(life& of, cluster::durable_state& restored) {
  ATOLL_ASSIGN(auto opened, cluster::journal::open(disk_, journal_path, cluster_id));
  for (const auto& r : opened.records)
    ATOLL_TRY(cluster::apply_record(
        restored, std::string_view{reinterpret_cast<const char*>(r.data()), r.size()}));
  of.is_in_doubt = opened.log.settle(opened.records).has_error();
  if (!of.is_in_doubt) of.log.emplace(std::move(opened.log));
  return {};
}

/// One thing after the other, each after a time that the seed draws; not while it stands still, and
/// not at all once the process is gone.
void cluster_world::use_disk(life& by, std::function<void()> work) {
  by.disk_free = std::max(by.disk_free, now()) +
                 duration_ns{100'000 + static_cast<std::int64_t>(random_.below(4'000'000))};
  events()->at(by.disk_free, [&by, work = std::move(work)] {
    if (by.is_dead) return;
    if (by.is_frozen)
      by.waiting.push_back(work);
    else
      work();
  });
}

/// After an error a journal takes nothing more until it was read again.
result<void> cluster_world::reopen(life& by) {
  if (by.log) return {};
  ATOLL_ASSIGN(auto opened, cluster::journal::open(disk_, journal_path, cluster_id));
  if (by.is_in_doubt) ATOLL_TRY(opened.log.settle(opened.records));
  by.is_in_doubt = false;
  by.log.emplace(std::move(opened.log));
  return {};
}

result<void> cluster_world::append(life& by, const std::string& record) {
  if (hooks_.keeps_record && !hooks_.keeps_record(record)) return {};
  ATOLL_TRY(reopen(by));
  const auto written = by.log->append(bytes_of(record));
  if (written.has_error()) {
    by.is_in_doubt = by.is_in_doubt || by.log->is_in_doubt();
    by.log.reset();
  }
  return written;
}

void cluster_world::write(life& by,
                          const std::vector<std::string>& records,
                          const std::function<void(result<void>)>& done) {
  for (const auto& r : records) {
    if (hooks_.at_record) hooks_.at_record(by, false);
    if (by.is_dead) return;
    if (const auto written = append(by, r); written.has_error()) return done(written);
    if (hooks_.at_record) hooks_.at_record(by, true);
    if (by.is_dead) return;
  }
  done({});
}

void cluster_world::compact_journal() {
  life* l = at(plan_.nodes.front().id);
  if (l == nullptr || l->is_dead) return;
  caf::anon_send(l->all->coordinator,
                 std::make_shared<actors::control_call>(actors::control_call{
                     [this, l](cluster::control& c, time_point_ns) {
                       use_disk(*l, [this, l, records = c.snapshot()] { compact(*l, records); });
                     },
                     {}}));
}

void cluster_world::compact(life& by, const std::vector<std::string>& records) {
  if (reopen(by).has_error()) return;
  std::vector<cluster::journal_record> all;
  for (const auto& text : records) {
    const auto bytes = bytes_of(text);
    all.emplace_back(bytes.begin(), bytes.end());
  }
  is_compacting_ = true;
  const auto done = by.log->compact(all);
  is_compacting_ = false;
  if (done.has_error()) by.log.reset();
  if (hooks_.compacted) hooks_.compacted(by);
}

}  // namespace atl::sim
