#include "apps/cluster/event_commands.hpp"

#include "apps/cluster/operator_output.hpp"
#include "apps/cluster/operator_session.hpp"
#include "apps/cluster/table.hpp"
#include "apps/output.hpp"

#include <boost/json.hpp>

#include <utility>

namespace atl::ops {
namespace {

namespace json = boost::json;

constexpr std::chrono::milliseconds again_after{1000};

/// An error of the way to the coordinator, or of its being away; another will not go by itself.
bool may_pass(const error& e) {
  switch (e.code()) {
  case errc::peer_gone:
  case errc::io:
  case errc::deadline:
  case errc::overloaded: return true;
  default: return false;
  }
}

class event_reader {
public:
  event_reader(operator_session& at, const events_options& o) : at_{at}, o_{o}, since_{o.since} {}

  result<int> run() {
    ATOLL_TRY(tell(at_.ask("GET", path(0))));
    while (o_.follows) {
      auto news = at_.ask("GET", path(30));
      if (news.has_error() && may_pass(news.error())) {
        if (!std::exchange(is_away_, true))
          apps::note("the coordinator does not answer, and is asked again: " +
                     news.error().message() + "\n");
        at_.pause(again_after);
        continue;
      }
      if (std::exchange(is_away_, false)) apps::note("the coordinator answers again\n");
      ATOLL_TRY(tell(std::move(news)));
    }
    return 0;
  }

private:
  std::string path(int wait_s) const {
    return "/api/v1/events?since=" + std::to_string(since_) + "&wait=" + std::to_string(wait_s);
  }

  result<void> tell(result<json::value> news) {
    if (news.has_error()) return news.error();
    const auto revision = static_cast<std::uint64_t>(number_at(*news, "revision"));
    const auto complete = static_cast<std::uint64_t>(number_at(*news, "complete_since"));
    std::string text;
    if (revision < since_) {
      text += gap(revision, "the cluster is another, or was restored");
    } else if (since_ > 0 && since_ < complete) {
      text += gap(complete, "some may be missing");
    }
    for (const auto& e : list_at(*news, "items")) text += line(e);
    since_ = revision;
    if (!text.empty()) ATOLL_TRY(print(text));
    return {};
  }

  std::string gap(std::uint64_t until, const char* what) const {
    const std::string why = "events between revision " + std::to_string(since_) + " and " +
                            std::to_string(until) + " are not kept: " + what;
    if (!o_.at.as_json) return "-  " + std::to_string(until) + "  gap  " + why + "\n";
    return json::serialize(json::object{{"revision", until},
                                        {"time", nullptr},
                                        {"kind", "gap"},
                                        {"node", nullptr},
                                        {"text", why}}) +
           "\n";
  }

  std::string line(const json::value& e) const {
    if (o_.at.as_json) return json::serialize(e) + "\n";
    return text_at(e, "time") + "  " + text_at(e, "revision") + "  " + text_at(e, "kind") + "  " +
           text_at(e, "text") + "\n";
  }

  operator_session& at_;
  const events_options& o_;
  std::uint64_t since_;
  bool is_away_ = false;
};

}  // namespace

result<int> run_events(const events_options& o) {
  return with_session(o.at, [&](operator_session& at) -> result<int> {
    return event_reader{at, o}.run();
  });
}

result<int> run_audit(const audit_options& o) {
  return show_list(o.at,
                   "/api/v1/audit?since=" + std::to_string(o.since) +
                       "&limit=" + std::to_string(o.limit),
                   {{"NUMBER", "number"},
                    {"TIME", "time"},
                    {"WHO", "who"},
                    {"FROM", "from"},
                    {"WHAT", "what"},
                    {"BODY", "body"},
                    {"STATUS", "status"},
                    {"OUTCOME", "outcome"}});
}

}  // namespace atl::ops
