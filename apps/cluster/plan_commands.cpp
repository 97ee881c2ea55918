#include "apps/cluster/plan_commands.hpp"

#include "apps/cluster/operator_output.hpp"
#include "apps/cluster/table.hpp"
#include "runtime/base/sizes.hpp"

#include <boost/json.hpp>

#include <cmath>
#include <cstdio>

namespace atl::ops {
namespace {

namespace json = boost::json;

constexpr std::size_t steps_shown = 20;

const json::value& part_of(const json::value& v, std::string_view name) {
  static const json::value none;
  const auto* object = v.if_object();
  const auto* field = object == nullptr ? nullptr : object->if_contains(name);
  return field == nullptr ? none : *field;
}

/// "1.84", "-" where it is not known.
std::string ratio_text(const json::value& v, std::string_view name) {
  boost::system::error_code code;
  const auto number = part_of(v, name).to_number<double>(code);
  if (code) return "-";
  char text[32];
  (void)std::snprintf(text, sizeof text, "%.2f", number);
  return text;
}

std::string bytes_text(const json::value& v, std::string_view name) {
  return human_size(static_cast<std::size_t>(number_at(v, name)));
}

std::string title_of(const json::value& plan) {
  std::string text = "plan " + text_at(plan, "id") + ", by the " + text_at(plan, "by") + ", " +
                     text_at(plan, "state");
  if (text_at(plan, "state") == "applying") text += " " + text_at(plan, "percent") + " %";
  if (!text_at(plan, "detail").empty()) text += ": " + text_at(plan, "detail");
  return text;
}

std::string steps_text(const json::value& plan) {
  table t{{"", "EXPERT", "NODE", "SHARE", "WHY"}};
  std::size_t shown = 0;
  for (const auto& s : list_at(plan, "steps")) {
    if (shown++ == steps_shown) break;
    const bool is_copy = text_at(s, "action") == "copy";
    t.add({text_at(s, "action"),
           text_at(s, "expert"),
           text_at(s, "node"),
           is_copy ? text_at(s, "percent") + " %" : "",
           text_at(s, "reason")});
  }
  const auto all = number_at(plan, "copies_made") + number_at(plan, "copies_dropped");
  const auto more = all - static_cast<std::int64_t>(std::min(shown, steps_shown));
  std::string text = shown == 0 ? std::string{} : "\n" + t.text();
  if (more > 0 && shown > 0) text += "and " + std::to_string(more) + " more\n";
  return text;
}

std::string plan_text(const json::value& plan) {
  const json::value& predicted = part_of(plan, "predicted");
  const json::value& measured = part_of(plan, "measured");
  std::string text = title_of(plan) + "\nreason: " + text_at(plan, "reason") + "\n" +
                     text_at(plan, "copies_made") + " copies made, " +
                     text_at(plan, "copies_dropped") + " given up, " + bytes_text(plan, "bytes") +
                     " to move\n";
  table t{{"", "HOTTEST/MEAN", "FINISHING TIME"}};
  for (const char* when : {"before", "after"})
    t.add({std::string{"predicted "} + when,
           ratio_text(part_of(predicted, when), "hottest_over_mean"),
           ratio_text(part_of(predicted, when), "finishing_time")});
  if (text_at(plan, "state") == "done")
    t.add({"measured", ratio_text(measured, "hottest_over_mean"), ""});
  text += t.text();
  if (number_at(plan, "ended_unix_ms") != 0 && number_at(plan, "applied_unix_ms") != 0)
    text +=
        "moved " + bytes_text(measured, "bytes") + " in " + text_at(measured, "took_ms") + " ms\n";
  for (const auto& line : list_at(plan, "explanation"))
    if (const auto* words = line.if_string()) text += "- " + std::string{*words} + "\n";
  return text + steps_text(plan);
}

std::string path_of(const plan_options& o) { return "/api/v1/plans/" + std::to_string(o.id); }

}  // namespace

result<int> show_plan(const operator_options& o, const json::value& plan) {
  ATOLL_TRY(o.as_json ? print(plan) : print(plan_text(plan)));
  const std::string state = text_at(plan, "state");
  return state == "failed" || state == "cancelled" ? 1 : 0;
}

result<json::value> wait_for_plan(operator_session& at, json::value plan) {
  const std::string id = text_at(plan, "id");
  std::string since = "0";
  while (text_at(plan, "state") == "applying") {
    ATOLL_ASSIGN(const json::value news, at.ask("GET", "/api/v1/events?wait=5&since=" + since));
    since = text_at(news, "revision");
    ATOLL_ASSIGN(plan, at.ask("GET", "/api/v1/plans/" + id));
  }
  return plan;
}

result<int> run_expert_rebalance(const rebalance_options& o) {
  return with_session(o.at, [&](operator_session& at) -> result<int> {
    ATOLL_ASSIGN(json::value plan,
                 at.ask("POST",
                        "/api/v1/placement/rebalance",
                        json::serialize(json::object{{"dry_run", o.is_dry_run}})));
    if (!o.detaches) {
      ATOLL_ASSIGN(plan, wait_for_plan(at, std::move(plan)));
    }
    ATOLL_ASSIGN(const int code, show_plan(o.at, plan));
    if (o.is_dry_run && !o.at.as_json && text_at(plan, "state") == "advised")
      ATOLL_TRY(print("\napply it with: atoll expert apply " + text_at(plan, "id") + "\n"));
    return code;
  });
}

result<int> run_expert_plans(const operator_options& o) {
  return with_session(o, [&](operator_session& at) -> result<int> {
    ATOLL_ASSIGN(const json::value all, at.ask("GET", "/api/v1/plans"));
    if (o.as_json) return print(json::value(list_at(all, "items")));
    table t{{"PLAN", "STATE", "BY", "COPIES", "BYTES", "BEFORE", "AFTER", "MEASURED", "REASON"}};
    for (const auto& p : list_at(all, "items")) {
      const json::value& predicted = part_of(p, "predicted");
      t.add({text_at(p, "id"),
             text_at(p, "state"),
             text_at(p, "by"),
             "+" + text_at(p, "copies_made") + " -" + text_at(p, "copies_dropped"),
             bytes_text(p, "bytes"),
             ratio_text(part_of(predicted, "before"), "hottest_over_mean"),
             ratio_text(part_of(predicted, "after"), "hottest_over_mean"),
             ratio_text(part_of(p, "measured"), "hottest_over_mean"),
             text_at(p, "reason")});
    }
    return print(t.text());
  });
}

result<int> run_expert_plan(const plan_options& o) {
  return with_session(o.at, [&](operator_session& at) -> result<int> {
    ATOLL_ASSIGN(const json::value plan, at.ask("GET", path_of(o)));
    return show_plan(o.at, plan);
  });
}

result<int> run_expert_apply(const plan_options& o) {
  return with_session(o.at, [&](operator_session& at) -> result<int> {
    ATOLL_ASSIGN(json::value plan, at.ask("POST", path_of(o) + "/apply"));
    if (!o.detaches) {
      ATOLL_ASSIGN(plan, wait_for_plan(at, std::move(plan)));
    }
    return show_plan(o.at, plan);
  });
}

result<int> run_expert_cancel(const plan_options& o) {
  return with_session(o.at, [&](operator_session& at) -> result<int> {
    ATOLL_ASSIGN(const json::value plan, at.ask("DELETE", path_of(o)));
    ATOLL_TRY(o.at.as_json ? print(plan) : print(title_of(plan) + "\n"));
    return 0;
  });
}

result<int> run_expert_policy(const policy_options& o) {
  return with_session(o.at, [&](operator_session& at) -> result<int> {
    const std::string path = "/api/v1/policy";
    const bool is_change = !o.policy.empty();
    ATOLL_ASSIGN(const json::value now,
                 is_change
                     ? at.ask("PUT", path, json::serialize(json::object{{"policy", o.policy}}))
                     : at.ask("GET", path));
    return o.at.as_json ? print(now) : print(text_at(now, "policy") + "\n");
  });
}

}  // namespace atl::ops
