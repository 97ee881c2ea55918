#include "cluster/control.hpp"
#include "cluster/record_fields.hpp"

#include <chrono>

namespace atl::cluster {

std::string to_record(const tuned_settings& t) {
  record_fields::json::object o{{"kind", "settings"}};
  if (t.moved_experts_max) o["moved_experts_max"] = *t.moved_experts_max;
  if (t.drain_deadline_s) o["drain_deadline_s"] = *t.drain_deadline_s;
  return record_fields::json::serialize(o);
}

void record_fields::apply_settings(durable_state& to, const json::object& o) {
  tuned_settings t;
  read(o, "moved_experts_max", t.moved_experts_max);
  read(o, "drain_deadline_s", t.drain_deadline_s);
  to.tuned = t;
}

control_settings tuned(control_settings as_started, const tuned_settings& by) {
  if (by.moved_experts_max) as_started.moves_max = static_cast<std::size_t>(*by.moved_experts_max);
  if (by.drain_deadline_s) as_started.drain_deadline = std::chrono::seconds{*by.drain_deadline_s};
  return as_started;
}

void control::tune(const tuned_settings& changed, time_point_ns now) {
  const tuned_settings before = kept_.tuned;
  if (changed.moved_experts_max) kept_.tuned.moved_experts_max = changed.moved_experts_max;
  if (changed.drain_deadline_s) kept_.tuned.drain_deadline_s = changed.drain_deadline_s;
  if (kept_.tuned == before) return;
  record(to_record(kept_.tuned), true);
  settings_ = tuned(std::move(settings_), kept_.tuned);
  driver_.set_moves_max(settings_.moves_max);
  tell("config",
       {},
       "a plan may move " +
           (settings_.moves_max == 0 ? "any number of copies"
                                     : std::to_string(settings_.moves_max) + " copies") +
           " now, and a drain has " +
           std::to_string(settings_.drain_deadline / std::chrono::seconds{1}) + " s");
  reconcile(now);
}

void control::note_plan_key(std::uint64_t id, request_key by) {
  plan_record& p = kept_.plans.at(id);
  if (p.asked_by.size() == plan_record::keys_max) p.asked_by.erase(p.asked_by.begin());
  p.asked_by.push_back(std::move(by));
  record(to_record(p), true);
}

}  // namespace atl::cluster
