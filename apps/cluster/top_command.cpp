#include "apps/cluster/top_command.hpp"

#include "apps/cluster/operator_output.hpp"
#include "apps/cluster/operator_session.hpp"
#include "apps/cluster/top_view.hpp"
#include "apps/inbox.hpp"

#include <boost/json.hpp>

#include <cerrno>
#include <poll.h>
#include <sys/ioctl.h>
#include <unistd.h>

namespace atl::ops {
namespace {

namespace json = boost::json;

constexpr int refresh_ms = 1000;
constexpr std::chrono::milliseconds patience{3000};
constexpr std::size_t hottest_most = 10;
constexpr std::size_t columns_plain = 160;

/// The other screen of the terminal, without a cursor; the first comes back at the end.
class screen {
public:
  screen() : is_open_{::isatty(STDOUT_FILENO) == 1} {}
  ~screen() {
    if (is_open_ && was_shown_) static_cast<void>(print(std::string{"\x1b[?25h\x1b[?1049l"}));
  }
  screen(const screen&) = delete;
  screen& operator=(const screen&) = delete;

  bool is_terminal() const { return is_open_; }

  result<int> show(const json::object& summary) {
    winsize size{};
    if (::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_row == 0) size = {24, 80, 0, 0};
    std::string text = was_shown_ ? "\x1b[H" : "\x1b[?1049h\x1b[?25l\x1b[H";
    was_shown_ = true;
    const auto lines = top_lines(summary, size.ws_col, size.ws_row);
    for (std::size_t i = 0; i < lines.size(); ++i)
      text += (i == 0 ? "" : "\r\n") + lines[i] + "\x1b[K";
    return print(text + "\x1b[J");
  }

private:
  bool is_open_;
  bool was_shown_ = false;
};

/// False: an interrupt came.
bool wait_a_second() {
  pollfd one{apps::interrupt_descriptor(), POLLIN, 0};
  while (::poll(&one, 1, refresh_ms) < 0 && errno == EINTR) {
  }
  return apps::take_interrupt() == 0;
}

class top {
public:
  top(operator_session& at, const top_options& o) : at_{at}, o_{o} {}

  result<int> run() {
    screen to;
    for (bool is_first = true;; is_first = false) {
      auto seen = look();
      if (seen.has_error() && (is_first || o_.once)) return seen.error();
      if (seen.has_value()) last_ = std::move(*seen);
      json::object shown = last_;
      if (seen.has_error()) {
        shown["state"] = "unknown";
        shown["reason"] = seen.error().message() + "; what follows is of before";
      }
      ATOLL_TRY(show(to, shown, is_first));
      if (o_.once) return text_at(json::value(shown), "state") == "healthy" ? 0 : 1;
      if (!wait_a_second()) return 0;
    }
  }

private:
  result<json::object> look() {
    top_answers a;
    ATOLL_ASSIGN(a.cluster, at_.ask("GET", "/api/v1/cluster"));
    ATOLL_ASSIGN(a.experts, at_.ask("GET", "/api/v1/experts"));
    ATOLL_ASSIGN(a.plans, ask_if_there("/api/v1/plans", has_plans_));
    ATOLL_ASSIGN(a.status, ask_if_there("/api/v1/status", has_status_));
    return top_summary(a, hottest_most);
  }

  /// Null where the server does not know the path, or does not tell it with this key.
  result<json::value> ask_if_there(const char* path, bool& is_there) {
    if (!is_there) return json::value{};
    auto got = at_.ask("GET", path);
    if (got.has_value()) return got;
    const errc code = got.error().code();
    if (code != errc::not_found && code != errc::unauthorised && code != errc::invalid_argument)
      return got;
    is_there = false;
    return json::value{};
  }

  result<int> show(screen& to, const json::object& summary, bool is_first) const {
    if (o_.at.as_json) return print(json::value(summary));
    if (to.is_terminal() && !o_.once) return to.show(summary);
    std::string text = is_first ? "" : "\n";
    for (const auto& line : top_lines(summary, columns_plain, std::string::npos))
      text += line + "\n";
    return print(text);
  }

  operator_session& at_;
  const top_options& o_;
  json::object last_;
  bool has_plans_ = true, has_status_ = true;
};

}  // namespace

result<int> run_top(const top_options& o) {
  if (!o.once) apps::hold_interrupts();
  return with_session(o.at, [&](operator_session& at) -> result<int> {
    at.set_patience(patience);
    return top{at, o}.run();
  });
}

}  // namespace atl::ops
