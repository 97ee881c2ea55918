#include "apps/cluster/request_api.hpp"

#include "apps/cluster/api_fields.hpp"
#include "apps/cluster/audit_api.hpp"
#include "runtime/base/log.hpp"
#include "transport/wire/control.hpp"

#include <boost/json.hpp>

#include <algorithm>
#include <mutex>
#include <utility>

namespace atl::ops {
namespace {

namespace json = boost::json;

/// "3-17-5": request 5 of life 17 of gateway 3.
struct request_name {
  node_id gateway;
  std::uint64_t life = 0;
  std::uint64_t number = 0;
};

error unknown(const std::string& id) {
  return {errc::not_found, "there is no request " + id + "; it may have ended"};
}

result<request_name> name_of(const std::string& id) {
  const std::size_t first = id.find('-');
  const std::size_t second = first == std::string::npos ? first : id.find('-', first + 1);
  if (second == std::string::npos) return unknown(id);
  const std::string_view text = id;
  const auto gateway = number_of<std::uint32_t>("gateway", text.substr(0, first));
  const auto life = number_of<std::uint64_t>("life", text.substr(first + 1, second - first - 1));
  const auto number = number_of<std::uint64_t>("request", text.substr(second + 1));
  if (gateway.has_error() || life.has_error() || number.has_error()) return unknown(id);
  return request_name{node_id{*gateway}, *life, *number};
}

/// That can answer now.
std::vector<node_id> gateways_of(const cluster::control& on, time_point_ns now) {
  std::vector<node_id> all;
  for (const auto& n : on.view(now).nodes) {
    const bool is_here = n.state != cluster::node_state::absent &&
                         n.state != cluster::node_state::removed &&
                         n.state != cluster::node_state::suspect;
    if (is_here && (n.roles & transport::wire::role_gateway) != 0) all.push_back(n.node);
  }
  return all;
}

double age_of(const json::value& request) {
  const auto* age = request.is_object() ? request.get_object().if_contains("age_s") : nullptr;
  boost::system::error_code code;
  const double value = age == nullptr ? 0 : age->to_number<double>(code);
  return code ? 0 : value;
}

/// What gateways say, as it comes in; the last one ends it.
class gathering {
public:
  gathering(std::size_t gateways, std::shared_ptr<http::exchange> to)
      : left_{gateways}, to_{std::move(to)} {}

  void take(node_id from, result<json::object> said) {
    const std::lock_guard lock{mutex_};
    const auto* items = said.has_value() ? said->if_contains("items") : nullptr;
    if (items == nullptr || !items->is_array()) {
      missing_.emplace_back(from.value);
    } else {
      for (const auto& one : items->get_array()) items_.push_back(one);
      const auto* more = said->if_contains("more");
      boost::system::error_code code;
      if (more != nullptr) more_ += more->to_number<std::uint64_t>(code);
    }
    if (--left_ == 0) end();
  }

  /// The longest under way first.
  void end() {
    std::stable_sort(items_.begin(), items_.end(), [](const auto& a, const auto& b) {
      return age_of(a) > age_of(b);
    });
    to_->reply(to_response(api_reply{200,
                                     json::object{{"items", std::move(items_)},
                                                  {"more", more_},
                                                  {"silent", std::move(missing_)}}}));
  }

private:
  std::mutex mutex_;
  std::size_t left_;
  std::shared_ptr<http::exchange> to_;
  json::array items_, missing_;
  std::uint64_t more_ = 0;
};

}  // namespace

void request_desk::list(call&& c) {
  if (const auto read = no_more(c); read.has_error())
    return c.answer->reply(to_response(read.error(), false));
  const auto found = std::make_shared<std::vector<node_id>>();
  const auto answer = c.answer;
  const auto sent = on_.control(
      [found](cluster::control& s, time_point_ns now) { *found = gateways_of(s, now); },
      [found, answer, hub = hub_](const result<void>&) {
        const auto all = std::make_shared<gathering>(found->size(), answer);
        if (found->empty()) return all->end();
        for (const node_id gateway : *found)
          hub->ask(gateway, {{"what", "list"}}, [all, gateway](result<json::object> said) {
            all->take(gateway, std::move(said));
          });
      });
  if (sent.has_error()) answer->reply(to_response(sent.error(), false));
}

void request_desk::ask_about(const call& c,
                             json::object asked_for,
                             std::function<void(result<json::object>)> then) {
  const auto named = name_of(c.id);
  if (named.has_error()) return then(named.error());
  asked_for["life"] = named->life;
  asked_for["request"] = named->number;
  const auto is_here = std::make_shared<bool>(false);
  const auto asked =
      [is_here, then, asked_for, of = named->gateway, id = c.id, hub = hub_](const result<void>&) {
        if (!*is_here) return then(unknown(id));
        hub->ask(of, asked_for, then);
      };
  const auto sent = on_.control(
      [is_here, of = named->gateway](cluster::control& s, time_point_ns now) {
        const auto all = gateways_of(s, now);
        *is_here = std::find(all.begin(), all.end(), of) != all.end();
      },
      asked);
  if (sent.has_error()) then(sent.error());
}

void request_desk::show(call&& c) {
  if (const auto read = no_more(c); read.has_error())
    return c.answer->reply(to_response(read.error(), false));
  ask_about(c, {{"what", "show"}}, [answer = c.answer, id = c.id](result<json::object> said) {
    if (said.has_error()) return answer->reply(to_response(said.error(), false));
    const auto* found = said->if_contains("request");
    if (found == nullptr || !found->is_object())
      return answer->reply(to_response(unknown(id), false));
    answer->reply(to_response(api_reply{200, *found}));
  });
}

void request_desk::cancel(call&& c) {
  if (const auto read = no_more(c); read.has_error())
    return c.answer->reply(to_response(read.error(), false));
  audit_entry noted = audit_of(c, on_);
  log_event(log_level::info,
            "operator's request",
            {{"what", noted.what}, {"key", noted.who}, {"from", noted.from}});
  if (const auto trouble = trouble_of(on_))
    return c.answer->reply(
        to_response(error{errc::unavailable, "nothing was changed: " + trouble->message()}, false));
  ask_about(c,
            {{"what", "cancel"}},
            [me = shared_from_this(), noted = std::move(noted), answer = c.answer, id = c.id](
                result<json::object> said) {
              const auto* done = said.has_value() ? said->if_contains("is_cancelled") : nullptr;
              const bool is_done = done != nullptr && done->is_bool() && done->get_bool();
              http::response reply =
                  said.has_error() ? to_response(said.error(), false)
                  : is_done        ? to_response(
                                  api_reply{200, json::object{{"id", id}, {"state", "cancelled"}}})
                            : to_response(unknown(id), false);
              answer_audited(me->on_, noted, std::move(reply), answer);
            });
}

void request_desk::line(call&& c) {
  auto asked = on_.joins->read_line(c.request.body);
  if (asked.has_error()) return c.answer->reply(to_response(asked.error(), false));
  const auto allowed = std::make_shared<result<void>>();
  const auto sent = on_.control(
      [allowed, facts = asked->facts](cluster::control& s, time_point_ns now) {
        *allowed = enrolment::check_member(s, facts, now);
      },
      [allowed, hub = hub_, of = *asked->facts.node, answers = asked->answers, answer = c.answer](
          const result<void>&) {
        if (allowed->has_error()) return answer->reply(to_response(allowed->error(), false));
        hub->answer(of, answers);
        hub->hold(of, answer);
      });
  if (sent.has_error()) c.answer->reply(to_response(sent.error(), false));
}

}  // namespace atl::ops
