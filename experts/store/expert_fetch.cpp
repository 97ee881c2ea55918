#include "experts/store/expert_fetch.hpp"

#include <algorithm>
#include <string>
#include <utility>

namespace atl::experts {
namespace {

namespace wire = transport::wire;

std::string name_of(node_id node) { return "node " + std::to_string(node.value); }

error broken(const std::string& what) { return {errc::malformed_frame, "a chunk " + what}; }

}  // namespace

expert_fetch::expert_fetch(std::uint64_t id,
                           const expert_key& what,
                           std::vector<node_id> sources,
                           std::shared_ptr<memory_budget> budget,
                           time_point_ns now)
    : id_{id},
      what_{what},
      sources_{std::move(sources)},
      budget_{std::move(budget)},
      not_before_{now},
      progress_{now} {}

std::uint64_t expert_fetch::number() const noexcept { return id_ << 32 | chunks_; }

result<std::optional<expert_fetch::question>> expert_fetch::poll(time_point_ns now) {
  if (is_complete()) return std::nullopt;
  if (asked_ && now - *asked_ < fetch_answer_within) return std::nullopt;
  if (asked_) turn(name_of(sources_[turn_]) + " does not answer");
  if (sources_.empty() || now - progress_ >= fetch_progress_within)
    return error{errc::unavailable,
                 "not fetched: " +
                     (trouble_.empty() ? "no node is named that holds it" : trouble_)};
  if (now < not_before_) return std::nullopt;
  asked_ = now;
  wire::fetch ask;
  ask.number = number();
  ask.layer = what_.layer;
  ask.expert = what_.expert;
  ask.offset = at_;
  ask.length = wire::chunk_bytes_max;
  if (memory_ != nullptr)
    ask.length = static_cast<std::uint32_t>(
        std::min<std::uint64_t>(ask.length, memory_->layout().total - at_));
  return question{sources_[turn_], ask};
}

void expert_fetch::turn(const std::string& why) {
  trouble_ = why;
  asked_.reset();
  if (!sources_.empty()) turn_ = (turn_ + 1) % sources_.size();
}

void expert_fetch::strike(node_id source, const std::string& why) {
  const auto at = std::find(sources_.begin(), sources_.end(), source);
  if (at == sources_.end()) return;
  trouble_ = why;
  const auto index = static_cast<std::size_t>(at - sources_.begin());
  if (index == turn_) asked_.reset();
  sources_.erase(at);
  if (index < turn_) --turn_;
  if (turn_ >= sources_.size()) turn_ = 0;
}

void expert_fetch::unsent(const error& why, time_point_ns now) {
  if (sources_.empty()) return;
  not_before_ = now + fetch_pause;
  turn(name_of(sources_[turn_]) + " is not reached: " + why.message());
}

void expert_fetch::add_source(node_id source) {
  if (std::find(sources_.begin(), sources_.end(), source) == sources_.end())
    sources_.push_back(source);
}

void expert_fetch::lost(node_id source, const std::string& why) {
  strike(source, name_of(source) + " is gone: " + why);
}

void expert_fetch::note_refusal(node_id from, const wire::failure& cause, time_point_ns now) {
  const std::string why = name_of(from) + " says: " + cause.text;
  if (cause.code != errc::overloaded) return strike(from, why);
  if (sources_.empty() || sources_[turn_] != from) return;
  not_before_ = now + fetch_pause;
  turn(why);
}

result<void> expert_fetch::check(const wire::chunk& c, const model::model_config& config) const {
  const blob_layout claimed{c.parts, c.total};
  if (memory_ == nullptr)
    ATOLL_TRY(check_layout(claimed, config));
  else if (claimed != memory_->layout())
    return broken("describes other weights than the one before");
  const std::uint64_t wanted = std::min<std::uint64_t>(wire::chunk_bytes_max, c.total - at_);
  if (c.bytes.bytes.size() != wanted)
    return broken("has " + std::to_string(c.bytes.bytes.size()) + " bytes, asked for were " +
                  std::to_string(wanted));
  return {};
}

result<std::optional<expert_fetch::arrival>> expert_fetch::take(node_id from,
                                                                const wire::chunk& c,
                                                                const model::model_config& config,
                                                                time_point_ns now) {
  const bool is_ours = c.number == number() && c.layer == what_.layer && c.expert == what_.expert &&
                       c.offset == at_ && !is_complete();
  if (!is_ours || std::find(sources_.begin(), sources_.end(), from) == sources_.end())
    return std::nullopt;
  if (c.cause) {
    note_refusal(from, *c.cause, now);
    return std::nullopt;
  }
  if (auto sound = check(c, config); sound.has_error()) {
    strike(from, name_of(from) + ": " + sound.error().message());
    return std::nullopt;
  }
  if (memory_ == nullptr) {
    ATOLL_ASSIGN(auto memory, owned_expert::make({c.parts, c.total}, budget_));
    memory_ = std::make_shared<owned_expert>(std::move(memory));
  }
  const std::span<const std::byte> bytes = c.bytes.bytes;
  const arrival here{bytes, memory_->bytes().subspan(static_cast<std::size_t>(at_), bytes.size())};
  at_ += bytes.size();
  ++chunks_;
  asked_.reset();
  not_before_ = now;
  progress_ = now;
  return here;
}

}  // namespace atl::experts
