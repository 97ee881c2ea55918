#include "apps/cluster/event_api.hpp"

#include "apps/cluster/api_fields.hpp"
#include "apps/cluster/stream_forward.hpp"
#include "apps/cluster/views.hpp"

#include <boost/json.hpp>

#include <tuple>
#include <utility>
#include <vector>

namespace atl::ops {
namespace {

namespace json = boost::json;
using std::chrono::milliseconds;

constexpr std::int64_t wait_most_s = 60;
constexpr milliseconds poll_interval{200};
// A stream says something at least so often, so that a client that left is noticed, and one whose
// coordinator is gone notices that.
constexpr milliseconds quiet_most{15'000};

struct asked_events {
  std::uint64_t since = 0;
  std::int64_t wait_s = 0;
  bool is_stream = false;
};

result<asked_events> read_events(const http::request& from) {
  asked_events a;
  ATOLL_TRY(read_body(from.body, {}));
  ATOLL_ASSIGN(auto parameters, read_query(from.query, {"since", "wait"}));
  a.is_stream = wants_stream(from);
  const std::string_view last = from.header_value("last-event-id");
  if (a.is_stream && !last.empty()) parameters.emplace_back("since", last);
  for (const auto& [name, value] : parameters) {
    const auto number = number_of<std::uint64_t>(name, value);
    const bool is_wait = name == "wait";
    if (number.has_error() || (is_wait && *number > wait_most_s))
      return error{errc::invalid_argument,
                   is_wait ? "wait: expected seconds from 0 to 60"
                           : "since: expected the revision of an event"};
    if (is_wait) {
      a.wait_s = static_cast<std::int64_t>(*number);
    } else {
      a.since = *number;
    }
  }
  return a;
}

}  // namespace

struct event_feed::news {
  std::vector<cluster::event> events;
  std::uint64_t complete_since = 0;
  std::uint64_t revision = 0;  // of the last there is
};

struct event_feed::watcher {
  std::shared_ptr<http::exchange> answer;
  std::uint64_t since = 0;
  milliseconds left{0};  // to wait; of a stream, until it says that it is there
  bool is_stream = false;
  std::shared_ptr<void> counted;
};

std::shared_ptr<void> event_feed::enter() {
  const std::lock_guard lock{mutex_};
  if (watchers_ == watchers_most) return nullptr;
  ++watchers_;
  return {this, [me = shared_from_this()](void*) {
            const std::lock_guard leaving{me->mutex_};
            --me->watchers_;
          }};
}

void event_feed::handle(call&& c) {
  const auto asked = read_events(c.request);
  if (asked.has_error()) return c.answer->reply(to_response(asked.error(), false));
  const auto w = std::make_shared<watcher>();
  w->answer = std::move(c.answer);
  w->since = asked->since;
  w->is_stream = asked->is_stream;
  w->left = std::chrono::seconds{asked->wait_s};
  if (w->is_stream || asked->wait_s > 0) {
    w->counted = enter();
    if (w->counted == nullptr)
      return w->answer->reply(
          to_response(error{errc::overloaded, "too many clients wait for events"}, false));
  }
  if (w->is_stream) {
    http::response head;
    head.content_type = "text/event-stream";
    head.headers = {{"cache-control", "no-store"}};
    w->answer->begin_stream(std::move(head));
    w->left = milliseconds{0};  // the first look says something
  }
  look(w);
}

/// Asks again every now and then.
void event_feed::look(const std::shared_ptr<watcher>& w) {
  const auto found = std::make_shared<news>();
  const auto sent = on_.control(
      [found, since = w->since](cluster::control& s, time_point_ns) {
        found->events = s.events_since(since);
        std::tie(found->complete_since, found->revision) = s.event_window();
      },
      [me = shared_from_this(), w, found](const result<void>&) {
        if (w->is_stream) {
          if (me->stream(*w, *found)) me->later(w);
        } else if (!found->events.empty() || w->left.count() <= 0) {
          me->answer(*w, *found);
        } else {
          me->later(w);
        }
      });
  if (sent.has_value()) return;
  if (w->is_stream) return w->answer->end_stream();
  w->answer->reply(to_response(sent.error(), false));
}

void event_feed::later(const std::shared_ptr<watcher>& w) {
  w->left -= poll_interval;
  on_.after(poll_interval, [me = shared_from_this(), w] { me->look(w); });
}

void event_feed::answer(watcher& w, const news& found) {
  json::array items;
  for (const auto& e : found.events) items.push_back(to_json(e));
  json::object said{{"items", std::move(items)},
                    {"revision", found.revision},
                    {"complete_since", found.complete_since}};
  w.answer->reply(to_response(api_reply{200, std::move(said)}));
}

/// False: nobody reads any more.
bool event_feed::stream(watcher& w, const news& found) {
  std::string text;
  const bool is_of_before = found.revision < w.since;  // of a cluster that was restored since
  if (is_of_before || (w.since > 0 && w.since < found.complete_since)) {
    // A client that comes back is told no event of before that, so it goes on from here.
    const std::uint64_t until = is_of_before ? found.revision : found.complete_since;
    const json::object gap{{"since", w.since}, {"until", until}};
    text += "id: " + std::to_string(until) + "\nevent: gap\ndata: " + json::serialize(gap) + "\n\n";
    w.since = until;
  }
  for (const auto& e : found.events) {
    text += "id: " + std::to_string(e.revision) + "\ndata: " + json::serialize(to_json(e)) + "\n\n";
    w.since = e.revision;
  }
  if (text.empty() && w.left.count() > 0) return true;
  if (text.empty()) text = ": here\n\n";
  w.left = quiet_most;
  return w.answer->write(std::move(text));
}

}  // namespace atl::ops
