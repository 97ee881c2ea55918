// GET /api/v1/events: what happened in the cluster after a revision, at once, when something comes,
// or as a stream of server-sent events whose ids are revisions. A client that comes back tells the
// last revision it saw (`since`, or Last-Event-ID) and gets each later event once. So many clients
// may wait at a time; who leaves, or does not read, is let go.
//
// Threads: handle() on the server's I/O thread; the rest happens there and where the coordinator's
// mind is.
#pragma once

#include "apps/cluster/api_question.hpp"

#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>

namespace atl::ops {

class event_feed : public std::enable_shared_from_this<event_feed> {
public:
  static constexpr int watchers_most = 64;

  /// `on` outlives the feed.
  explicit event_feed(const api_backend& on) : on_{on} {}

  void handle(call&& c);

private:
  struct watcher;
  struct news;

  /// Counted until it is destroyed; null where there are too many.
  std::shared_ptr<void> enter();
  void look(const std::shared_ptr<watcher>& w);
  void later(const std::shared_ptr<watcher>& w);
  void answer(watcher& w, const news& found);
  bool stream(watcher& w, const news& found);

  const api_backend& on_;
  std::mutex mutex_;
  int watchers_ = 0;
};

}  // namespace atl::ops
