#include "cluster/plan_desk.hpp"

namespace atl::cluster {

namespace {

constexpr std::size_t asked_max = 16;
constexpr std::size_t answers_kept = 64;

}  // namespace

result<std::uint64_t> plan_desk::ask(plan_wish why) {
  if (asked_.size() >= asked_max)
    return error{errc::overloaded, "too many plans are asked for at once; try again later"};
  why.request = ++requests_;
  asked_.push_back(std::move(why));
  return requests_;
}

std::optional<plan_wish> plan_desk::next() {
  if (job_ || asked_.empty()) return std::nullopt;
  plan_wish why = std::move(asked_.front());
  asked_.pop_front();
  return why;
}

std::uint64_t
plan_desk::begin(plan_wish why, std::shared_ptr<const elastic_input> input, plan_premise made_for) {
  job_ = plan_job{.number = ++jobs_,
                  .why = std::move(why),
                  .input = std::move(input),
                  .made_for = std::move(made_for)};
  return jobs_;
}

std::optional<plan_job> plan_desk::end(std::uint64_t job) {
  if (!job_ || job_->number != job) return std::nullopt;
  return std::exchange(job_, std::nullopt);
}

void plan_desk::answer(std::uint64_t request, result<std::uint64_t> plan) {
  answered_.emplace(request, std::move(plan));
  if (answered_.size() > answers_kept) answered_.erase(answered_.begin());
}

/// Requests of operators.
std::vector<const plan_wish*> plan_desk::waiting() const {
  std::vector<const plan_wish*> all;
  if (job_ && !job_->why.is_policys) all.push_back(&job_->why);
  for (const plan_wish& w : asked_) all.push_back(&w);
  return all;
}

result<std::optional<std::uint64_t>> plan_desk::plan_of(std::uint64_t request) const {
  if (const auto at = answered_.find(request); at != answered_.end()) {
    if (at->second.has_error()) return at->second.error();
    return std::optional{*at->second};
  }
  for (const plan_wish* w : waiting())
    if (w->request == request) return std::optional<std::uint64_t>{};
  return error{errc::not_found, "no plan was asked for by that number, or long ago"};
}

void plan_desk::note_key(std::uint64_t request, const request_key& by) {
  if (job_ && job_->why.request == request) job_->why.by = by;
  for (plan_wish& w : asked_)
    if (w.request == request) w.by = by;
}

std::optional<std::pair<std::uint64_t, request_key>>
plan_desk::asked_by(const std::string& key) const {
  for (const plan_wish* w : waiting())
    if (w->by && w->by->key == key) return std::pair{w->request, *w->by};
  return std::nullopt;
}

}  // namespace atl::cluster
