#include "apps/cluster/request_hub.hpp"

#include "apps/cluster/api_reply.hpp"

#include <boost/json.hpp>

#include <utility>

namespace atl::ops {
namespace {

namespace json = boost::json;

void send(http::exchange& line, json::array questions) {
  line.reply(to_response(api_reply{200, json::object{{"questions", std::move(questions)}}}));
}

}  // namespace

void request_hub::ask(node_id of, json::object question, answered done) {
  held_line line;
  json::array now;
  std::uint64_t number = 0;
  const bool is_here = on_.own_gateway && of == on_.own_node;
  {
    const std::lock_guard lock{mutex_};
    number = ++last_;
    question["number"] = number;
    open_[number] = {of, question, std::move(done), is_here};
    if (const auto held = lines_.find(of); held != lines_.end() && !is_here) {
      line = std::move(held->second);
      lines_.erase(held);
      now = take_questions(of);
    }
  }
  on_.after(answer_time, [me = shared_from_this(), number] { me->expire(number); });
  if (line != nullptr) send(*line, std::move(now));
  if (is_here) ask_here(number, question);
}

void request_hub::ask_here(std::uint64_t number, const json::object& what) {
  on_.own_gateway(json::serialize(what),
                  [me = shared_from_this(), number](const std::string& said) {
                    boost::system::error_code code;
                    json::value found = json::parse(said, code);
                    if (code || !found.is_object()) return;
                    found.get_object()["number"] = number;
                    me->answer(me->on_.own_node, json::array{std::move(found)});
                  });
}

json::array request_hub::take_questions(node_id of) {
  json::array all;
  for (auto& [number, q] : open_)
    if (q.of == of && !std::exchange(q.is_sent, true)) all.push_back(q.what);
  return all;
}

void request_hub::hold(node_id of, std::shared_ptr<http::exchange> line) {
  held_line before;
  json::array now;
  {
    const std::lock_guard lock{mutex_};
    const auto held = lines_.find(of);
    if (held != lines_.end()) {
      before = std::move(held->second);
      lines_.erase(held);
    }
    now = take_questions(of);
    if (now.empty()) lines_[of] = line;
  }
  if (before != nullptr) send(*before, {});
  if (!now.empty()) return send(*line, std::move(now));
  const std::weak_ptr<http::exchange> mine = line;
  line->when_gone([me = weak_from_this(), of, mine] {
    if (const auto here = me.lock()) here->end_line(of, mine);
  });
  on_.after(line_time, [me = shared_from_this(), of, mine] { me->end_line(of, mine); });
}

void request_hub::end_line(node_id of, const std::weak_ptr<http::exchange>& line) {
  held_line ended;
  {
    const std::lock_guard lock{mutex_};
    const auto held = lines_.find(of);
    if (held == lines_.end() || held->second != line.lock()) return;
    ended = std::move(held->second);
    lines_.erase(held);
  }
  send(*ended, {});
}

void request_hub::answer(node_id of, const json::array& answers) {
  for (const json::value& one : answers) {
    const auto* found = one.if_object();
    const auto* number = found == nullptr ? nullptr : found->if_contains("number");
    if (number == nullptr) continue;
    boost::system::error_code code;
    const auto at = number->to_number<std::uint64_t>(code);
    answered done;
    {
      const std::lock_guard lock{mutex_};
      const auto q = code ? open_.end() : open_.find(at);
      if (q == open_.end() || q->second.of != of) continue;
      done = std::move(q->second.done);
      open_.erase(q);
    }
    done(*found);
  }
}

void request_hub::expire(std::uint64_t number) {
  answered done;
  node_id of;
  {
    const std::lock_guard lock{mutex_};
    const auto q = open_.find(number);
    if (q == open_.end()) return;
    of = q->second.of;
    done = std::move(q->second.done);
    open_.erase(q);
  }
  done(error{errc::unavailable, "gateway " + std::to_string(of.value) + " does not answer"});
}

}  // namespace atl::ops
