#include "actors/answered_calls.hpp"

namespace atl::actors {

answered_calls::seen answered_calls::note(const key& call) {
  const auto [at, is_new] = calls_.try_emplace(call);
  if (is_new) return {true, nullptr};
  return {false, at->second.is_answered ? &at->second.answer : nullptr};
}

void answered_calls::answered(const key& call, const transport::wire::results& answer) {
  state& known = calls_[call];
  known.is_answered = true;
  known.answer = answer;
  kept_.push_back(call);
  bytes_ += answer.output.payload.bytes.size();
  while (kept_.size() > answers_max || bytes_ > bytes_max) {
    const auto oldest = calls_.find(kept_.front());
    bytes_ -= oldest->second.answer.output.payload.bytes.size();
    calls_.erase(oldest);
    kept_.pop_front();
  }
}

void answered_calls::forget(const key& call) {
  const auto known = calls_.find(call);
  if (known != calls_.end() && !known->second.is_answered) calls_.erase(known);
}

}  // namespace atl::actors
