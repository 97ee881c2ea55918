#include "actors/front_desk.hpp"

#include <utility>

namespace atl::actors {

front_desk::front_desk(schedule::admission_limits limits, const clock& time)
    : time_{time}, limits_{limits} {
  if (limits.sequences_max == 0) closed_ = "no attention shard has joined yet";
}

result<void> front_desk::check_open() const {
  if (!out_of_use_.empty()) return error{errc::unavailable, out_of_use_};
  if (!closed_.empty()) return error{errc::unavailable, closed_};
  return {};
}

result<void> front_desk::enter(std::int64_t prompt_tokens, std::int64_t new_tokens_max) {
  const std::lock_guard lock{mutex_};
  ATOLL_TRY(check_open());
  ATOLL_TRY(schedule::admit(limits_, load_, prompt_tokens, new_tokens_max));
  load_.sequences += 1;
  load_.tokens += schedule::reserved_tokens(prompt_tokens, new_tokens_max);
  return {};
}

void front_desk::leave(std::int64_t prompt_tokens, std::int64_t new_tokens_max) {
  const time_point_ns now = time_.now();
  const std::lock_guard lock{mutex_};
  load_.sequences -= 1;
  load_.tokens -= schedule::reserved_tokens(prompt_tokens, new_tokens_max);
  endings_.ended(now);
}

void front_desk::start() {
  const std::lock_guard lock{mutex_};
  ++running_;
}

void front_desk::wait_again() {
  const std::lock_guard lock{mutex_};
  --running_;
}

result<void> front_desk::ask() const {
  const std::lock_guard lock{mutex_};
  ATOLL_TRY(check_open());
  return schedule::admit(limits_, load_, 1, 0);
}

duration_ns front_desk::retry_after() const {
  const time_point_ns now = time_.now();
  const std::lock_guard lock{mutex_};
  return endings_.after(now, load_.sequences - running_);
}

void front_desk::open(std::int64_t sequences_max, std::int64_t tokens_max) {
  const std::lock_guard lock{mutex_};
  limits_.sequences_max = sequences_max;
  limits_.tokens_max = tokens_max;
  closed_.clear();
}

void front_desk::close(std::string why) {
  const std::lock_guard lock{mutex_};
  closed_ = std::move(why);
}

void front_desk::set_out_of_use(std::string why) {
  const std::lock_guard lock{mutex_};
  out_of_use_ = std::move(why);
}

void front_desk::set_queue_limit(std::int64_t queued_max) {
  const std::lock_guard lock{mutex_};
  limits_.queued_max = queued_max;
}

front_desk::figures front_desk::now() const {
  const std::lock_guard lock{mutex_};
  return {running_,
          load_.sequences - running_,
          limits_.queued_max,
          load_.tokens,
          limits_.tokens_max,
          out_of_use_};
}

}  // namespace atl::actors
