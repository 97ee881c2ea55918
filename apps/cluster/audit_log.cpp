#include "apps/cluster/audit_log.hpp"

#include "runtime/base/log.hpp"
#include "runtime/base/thread_name.hpp"

#include <boost/json.hpp>

#include <algorithm>
#include <span>
#include <utility>

namespace atl::ops {
namespace {

namespace json = boost::json;

constexpr std::size_t piece_bytes = std::size_t{256} << 10;  // written at once

std::string line_of(std::uint64_t number, const audit_entry& e) {
  json::object o{{"number", number},
                 {"time", rfc3339(e.unix_ms)},
                 {"who", e.who},
                 {"from", e.from},
                 {"what", e.what},
                 {"body", nullptr},
                 {"status", e.status},
                 {"outcome", e.outcome},
                 {"operation", nullptr}};
  boost::system::error_code code;
  if (!e.body.empty() && e.body.size() <= audit_log::body_bytes_max) {
    json::value body = json::parse(e.body, code);
    if (!code) o["body"] = std::move(body);
  }
  if (e.operation) o["operation"] = *e.operation;
  return json::serialize(o);
}

/// Of a line of the file; 0: it is none.
std::uint64_t number_of_line(std::string_view line) {
  boost::system::error_code code;
  const json::value v = json::parse({line.data(), line.size()}, code);
  const auto* o = code ? nullptr : v.if_object();
  const auto* number = o == nullptr ? nullptr : o->if_contains("number");
  if (number == nullptr) return 0;
  const auto n = number->to_number<std::uint64_t>(code);
  return code ? 0 : n;
}

}  // namespace

result<std::unique_ptr<audit_log>> audit_log::open(std::shared_ptr<disk> files,
                                                   const std::string& path) {
  auto made = std::make_unique<audit_log>(std::move(files), path);
  ATOLL_TRY(made->load());
  made->thread_ = std::thread{[log = made.get()] {
    name_this_thread("audit");
    log->work();
  }};
  return made;
}

audit_log::audit_log(std::shared_ptr<disk> files, std::string path)
    : files_{std::move(files)}, path_{std::move(path)} {}

audit_log::~audit_log() {
  {
    const std::lock_guard lock{mutex_};
    is_ending_ = true;
  }
  changed_.notify_all();
  if (thread_.joinable()) thread_.join();
}

result<void> audit_log::load() {
  // A file of the size limit may have grown by one entry.
  constexpr std::size_t bytes_max = 2 * file_bytes_max;
  const std::string before = path_ + ".1.jsonl", now = path_ + ".jsonl";
  if (files_->is_file(before)) {
    ATOLL_ASSIGN(const std::string text, files_->read(before, bytes_max));
    take_lines(text, before);
  }
  if (!files_->is_file(now)) {
    ATOLL_ASSIGN(auto made, files_->create(now));
    ATOLL_TRY(made->commit());
  }
  ATOLL_ASSIGN(const std::string text, files_->read(now, bytes_max));
  good_bytes_ = text.rfind('\n') == std::string::npos ? 0 : text.rfind('\n') + 1;
  ATOLL_ASSIGN(file_, files_->append(now));
  if (good_bytes_ < text.size()) {
    log_warning(now + ": an unfinished last line was cut off");
    ATOLL_TRY(file_->truncate(good_bytes_));
    ATOLL_TRY(file_->sync());
  }
  take_lines(text.substr(0, good_bytes_), now);
  return {};
}

void audit_log::take_lines(const std::string& text, const std::string& name) {
  std::size_t strange = 0;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    std::string line = text.substr(at, end - at);
    at = end + 1;
    const std::uint64_t number = number_of_line(line);
    strange += number == 0 ? 1 : 0;
    if (number > last_) keep(number, std::move(line));
  }
  if (strange > 0)
    log_warning(name + ": " + std::to_string(strange) + " lines are damaged and passed over");
}

/// Entries in memory count on by one; after a gap those before it are forgotten.
void audit_log::keep(std::uint64_t number, std::string line) {
  if (number != last_ + 1) lines_.clear();
  lines_.push_back(std::move(line));
  last_ = number;
  if (lines_.size() > kept) lines_.pop_front();
}

void audit_log::append(audit_entry entry, std::function<void()> done) {
  {
    const std::lock_guard lock{mutex_};
    std::string line = line_of(last_ + 1, entry);
    keep(last_ + 1, line);
    jobs_.push_back({std::move(line), std::move(done)});
  }
  changed_.notify_all();
}

void audit_log::look() {
  {
    const std::lock_guard lock{mutex_};
    jobs_.push_back({});
  }
  changed_.notify_all();
}

std::optional<error> audit_log::trouble() const {
  const std::lock_guard lock{mutex_};
  return trouble_;
}

void audit_log::wait_idle() {
  std::unique_lock lock{mutex_};
  changed_.wait(lock, [this] { return jobs_.empty() && !is_busy_; });
}

audit_log::page audit_log::since(std::uint64_t number, std::size_t limit) const {
  const std::lock_guard lock{mutex_};
  page p;
  p.last = last_;
  p.complete_since = last_ - lines_.size();
  const std::uint64_t after = std::min(std::max(number, p.complete_since), last_);
  const std::size_t count = std::min<std::size_t>(limit, last_ - after);
  const auto first = number == 0 ? lines_.end() - static_cast<std::ptrdiff_t>(count)
                                 : lines_.end() - static_cast<std::ptrdiff_t>(last_ - after);
  p.lines.assign(first, first + static_cast<std::ptrdiff_t>(count));
  return p;
}

void audit_log::work() {
  for (;;) {
    std::deque<job> taken;
    {
      std::unique_lock lock{mutex_};
      is_busy_ = false;
      changed_.notify_all();
      changed_.wait(lock, [this] { return is_ending_ || !jobs_.empty(); });
      if (jobs_.empty()) return;
      taken.swap(jobs_);
      is_busy_ = true;
    }
    for (const job& j : taken)
      if (!j.line.empty()) unwritten_ += j.line + "\n";
    const auto written = unwritten_.empty() ? result<void>{} : write();
    {
      const std::lock_guard lock{mutex_};
      const bool was = trouble_.has_value();
      trouble_.reset();
      if (written.has_error())
        trouble_ = error{written.error().code(),
                         "the audit log cannot be written: " + written.error().message()};
      if (trouble_ && !was) log_error(trouble_->message());
      if (was && !trouble_) log_info("the audit log is written again");
    }
    for (const job& j : taken)
      if (j.done) j.done();
  }
}

/// All that was not written so far; after an error the file may hold a part of it, which goes.
result<void> audit_log::write() {
  if (!file_) {
    ATOLL_ASSIGN(file_, files_->append(path_ + ".jsonl"));
    ATOLL_TRY(file_->truncate(good_bytes_));
  }
  std::string_view left = unwritten_;
  result<void> done;
  while (!left.empty() && done.has_value()) {
    if (good_bytes_ >= file_bytes_max) done = rotate();
    const std::string_view piece =
        left.substr(0, left.size() < piece_bytes ? left.size() : left.find('\n', piece_bytes) + 1);
    if (done.has_value()) done = file_->write(std::as_bytes(std::span{piece.data(), piece.size()}));
    if (done.has_value()) done = file_->sync();
    if (done.has_error()) break;
    good_bytes_ += piece.size();
    left.remove_prefix(piece.size());
  }
  if (done.has_error()) file_.reset();
  unwritten_.erase(0, unwritten_.size() - left.size());
  return done;
}

/// Where this ends half-way entries are in both files, and are told once by their numbers.
result<void> audit_log::rotate() {
  ATOLL_ASSIGN(const std::string text, files_->read(path_ + ".jsonl", 2 * file_bytes_max));
  ATOLL_ASSIGN(auto before, files_->create(path_ + ".1.jsonl"));
  ATOLL_TRY(before->write(std::as_bytes(std::span{text.data(), text.size()})));
  ATOLL_TRY(before->commit());
  ATOLL_TRY(file_->truncate(0));
  good_bytes_ = 0;
  return {};
}

}  // namespace atl::ops
