#include "apps/cluster/journal_writer.hpp"

#include "runtime/base/log.hpp"
#include "runtime/base/thread_name.hpp"

#include <span>
#include <string_view>
#include <utility>

namespace atl::ops {
namespace {

// The records of the largest plan that goes on while the disk is full: those of all nodes that may
// come back meanwhile, and of operations that end. Each takes some 200 bytes.
constexpr std::size_t spare_bytes = std::size_t{64} << 10;

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
  std::optional<cluster::journal> log;
  // A sync of the process before may have failed; where this fails too, the next append says why.
  if (read.log.settle(read.records).has_value()) log = std::move(read.log);
  made.writer = std::make_unique<journal_writer>(std::move(files), path, cluster, std::move(log));
  made.writer->look();
  return made;
}

journal_writer::journal_writer(std::shared_ptr<disk> files,
                               std::string path,
                               std::string cluster,
                               std::optional<cluster::journal> log)
    : files_{std::move(files)},
      path_{std::move(path)},
      cluster_{std::move(cluster)},
      log_{std::move(log)},
      is_in_doubt_{!log_.has_value()},
      thread_{[this] { work(); }} {}

journal_writer::~journal_writer() {
  {
    const std::lock_guard lock{mutex_};
    is_ending_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void journal_writer::add(job what) {
  {
    const std::lock_guard lock{mutex_};
    jobs_.push_back(std::move(what));
  }
  changed_.notify_all();
}

void journal_writer::append(std::vector<std::string> records,
                            std::function<void(result<void>)> done) {
  if (std::unique_lock lock{mutex_}; is_closed_) {
    lock.unlock();
    return done(error{errc::cancelled, "the coordinator is shutting down"});
  }
  add({std::move(records), std::move(done)});
}

void journal_writer::compact(std::vector<std::string> records) { add({std::move(records), {}}); }

void journal_writer::look() { add({.records = {}, .done = {}, .is_look = true}); }

std::optional<error> journal_writer::trouble() const {
  const std::lock_guard lock{mutex_};
  return append_trouble_ ? append_trouble_ : spare_trouble_;
}

void journal_writer::wait_idle() {
  std::unique_lock lock{mutex_};
  changed_.wait(lock, [this] { return jobs_.empty() && !is_busy_; });
}

void journal_writer::close() {
  {
    const std::lock_guard lock{mutex_};
    is_closed_ = true;
  }
  wait_idle();
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
    append_all(what);
  } else if (!what.is_look) {
    compact_all(what);
  }
  if (spare_ == nullptr)
    note(fill_spare(), spare_trouble_, "the coordinator takes no changes: no room for its journal");
}

void journal_writer::append_all(job& what) {
  std::size_t written = 0;
  auto outcome = write(what.records, written);
  if (outcome.has_error() && spare_ != nullptr) {
    // Freed at once, whether or not a loss of power would bring it back.
    static_cast<void>(spare_->truncate(0));
    spare_.reset();
    outcome = write(what.records, written);
  }
  note(outcome, append_trouble_, "the coordinator cannot write its journal");
  what.done(outcome);
}

void journal_writer::compact_all(const job& what) {
  if (reopen().has_error()) return;  // the next append says why
  std::vector<cluster::journal_record> records;
  records.reserve(what.records.size());
  for (const auto& text : what.records) {
    const auto bytes = bytes_of(text);
    records.emplace_back(bytes.begin(), bytes.end());
  }
  const auto done = log_->compact(records);
  note(done, compact_trouble_, "the journal was not compacted");
  if (done.has_error()) log_.reset();
}

/// Says what begins or ends, once; the same trouble comes back every second.
void journal_writer::note(const result<void>& outcome,
                          std::optional<error>& kept,
                          const char* what) {
  const std::lock_guard lock{mutex_};
  if (outcome.has_error()) {
    if (!kept) log_error(std::string{what} + ": " + outcome.error().message());
    kept = outcome.error();
    return;
  }
  if (kept) log_info(path_ + " can be written again; this is over: " + what);
  kept.reset();
}

result<void> journal_writer::fill_spare() {
  const std::string path = path_ + ".spare";
  if (!files_->is_file(path)) {
    ATOLL_ASSIGN(const auto made, files_->create(path));
    ATOLL_TRY(made->commit());
  }
  ATOLL_ASSIGN(auto file, files_->append(path));
  if (file->size() < spare_bytes) {
    // Other bytes than zeros, which some file systems would keep no room for.
    const std::vector<std::byte> filling(spare_bytes - file->size(), std::byte{0x5A});
    auto filled = file->write(filling);
    if (filled.has_value()) filled = file->sync();
    if (filled.has_error()) {
      static_cast<void>(file->truncate(0));
      return filled;
    }
  }
  spare_ = std::move(file);
  return {};
}

/// After an error a journal takes nothing more until it was read again.
result<void> journal_writer::reopen() {
  if (log_) return {};
  ATOLL_ASSIGN(auto read, cluster::journal::open(files_, path_, cluster_));
  if (is_in_doubt_) ATOLL_TRY(read.log.settle(read.records));
  is_in_doubt_ = false;
  log_ = std::move(read.log);
  return {};
}

result<void> journal_writer::write(const std::vector<std::string>& records, std::size_t& written) {
  ATOLL_TRY(reopen());
  for (; written < records.size(); ++written) {
    auto appended = log_->append(bytes_of(records[written]));
    if (appended.has_error()) {
      is_in_doubt_ = is_in_doubt_ || log_->is_in_doubt();
      log_.reset();
      return appended;
    }
  }
  return {};
}

}  // namespace atl::ops
