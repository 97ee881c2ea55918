#include "apps/cluster/journal_writer.hpp"

#include "runtime/base/log.hpp"
#include "runtime/base/thread_name.hpp"

#include <span>
#include <string_view>
#include <utility>

namespace atl::ops {
namespace {

std::span<const std::byte> bytes_of(const std::string& text) {
  return std::as_bytes(std::span{text.data(), text.size()});
}

}  // namespace

result<journal_writer::opened> journal_writer::open(std::shared_ptr<disk> files,
                                                    const std::string& path,
                                                    const std::string& cluster) {
  ATOLL_ASSIGN(auto read, cluster::journal::open(files, path, cluster));
  if (!read.cut.empty()) log_warning(read.cut);
  opened made;
  for (const auto& record : read.records)
    ATOLL_TRY(cluster::apply_record(
        made.restored,
        std::string_view{reinterpret_cast<const char*>(record.data()), record.size()}));
  made.writer =
      std::make_unique<journal_writer>(std::move(files), path, cluster, std::move(read.log));
  return made;
}

journal_writer::journal_writer(std::shared_ptr<disk> files,
                               std::string path,
                               std::string cluster,
                               cluster::journal log)
    : files_{std::move(files)},
      path_{std::move(path)},
      cluster_{std::move(cluster)},
      log_{std::move(log)},
      thread_{[this] { work(); }} {}

journal_writer::~journal_writer() {
  {
    const std::lock_guard lock{mutex_};
    is_ending_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void journal_writer::append(std::vector<std::string> records,
                            std::function<void(result<void>)> done) {
  {
    const std::lock_guard lock{mutex_};
    jobs_.push_back({std::move(records), std::move(done)});
  }
  changed_.notify_all();
}

void journal_writer::compact(std::vector<std::string> records) {
  {
    const std::lock_guard lock{mutex_};
    jobs_.push_back({std::move(records), nullptr});
  }
  changed_.notify_all();
}

void journal_writer::wait_idle() {
  std::unique_lock lock{mutex_};
  changed_.wait(lock, [this] { return jobs_.empty() && !is_busy_; });
}

bool journal_writer::should_compact() const {
  const std::lock_guard lock{mutex_};
  return should_compact_;
}

void journal_writer::work() {
  name_this_thread("atoll-journal");
  std::unique_lock lock{mutex_};
  for (;;) {
    changed_.wait(lock, [this] { return is_ending_ || !jobs_.empty(); });
    if (jobs_.empty()) return;
    job next = std::move(jobs_.front());
    jobs_.pop_front();
    is_busy_ = true;
    lock.unlock();
    carry_out(next);
    next = {};  // what `done` holds goes before anybody is told
    lock.lock();
    is_busy_ = false;
    changed_.notify_all();
    should_compact_ = log_ && log_->should_compact();
  }
}

void journal_writer::carry_out(job& what) {
  if (what.done) {
    const auto written = write(what.records);
    if (written.has_error()) log_error(written.error().message());
    return what.done(written);
  }
  if (reopen().has_error()) return;  // the next append says why
  std::vector<cluster::journal_record> records;
  records.reserve(what.records.size());
  for (const auto& text : what.records) {
    const auto bytes = bytes_of(text);
    records.emplace_back(bytes.begin(), bytes.end());
  }
  const auto done = log_->compact(records);
  if (done.has_value()) return;
  log_error("the journal was not compacted: " + done.error().message());
  log_.reset();
}

/// After an error a journal takes nothing more until it was read again.
result<void> journal_writer::reopen() {
  if (log_) return {};
  ATOLL_ASSIGN(auto read, cluster::journal::open(files_, path_, cluster_));
  log_ = std::move(read.log);
  return {};
}

result<void> journal_writer::write(const std::vector<std::string>& records) {
  ATOLL_TRY(reopen());
  for (const auto& record : records) {
    auto appended = log_->append(bytes_of(record));
    if (appended.has_error()) {
      log_.reset();
      return appended;
    }
  }
  return {};
}

}  // namespace atl::ops
