// HTTP requests and replies as plain values, and the one exchange between them. Nothing of Beast
// shows here.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace atl::http {

struct header {
  std::string name;  // lower case
  std::string value;
};

struct request {
  std::string method;           // "GET"; HEAD arrives as GET, and its answer loses the body
  std::string path;             // decoded; begins with '/', has no "." or ".." segment
  std::string query;            // as sent, without '?'
  std::vector<header> headers;  // as sent, names in lower case
  std::string body;
  std::string peer;      // "127.0.0.1:51234"
  std::string id;        // X-Request-Id: the client's where it is plain and short, else a fresh one
  std::string listener;  // the name of the listener it came in by

  /// The first header of that name (lower case), or empty.
  std::string_view header_value(std::string_view name) const noexcept;
};

struct response {
  int status = 200;
  std::string content_type = "application/json";
  std::vector<header> headers;
  std::string body;
};

/// Where the answer to one request goes. Either reply() once, or begin_stream(), any number of
/// write(), then end_stream() or abort(); what comes after that does nothing. Any thread; none of
/// these blocks. X-Request-Id, Date, Server, Content-Length and Connection are the server's: the
/// same names among the headers are left out, as are values with control characters. Dropping the
/// last reference unanswered replies 500, or aborts the stream.
class exchange {
public:
  virtual ~exchange() = default;

  virtual void reply(response whole) = 0;

  /// Head of an answer that comes in pieces (chunked; to HTTP/1.0, until the connection ends).
  virtual void begin_stream(response head) = 0;
  /// Queues a piece; what gathers until the server's thread looks goes out as one chunk. False when
  /// the client is gone, or has not read for so long that more than the limit stream_buffer_max
  /// waits: then the connection is reset. To HEAD a stream has ended with its head: nothing more
  /// is taken, and when_gone() is called.
  virtual bool write(std::string piece) = 0;
  virtual void end_stream() = 0;
  /// Ends the connection so that the client sees an incomplete answer.
  virtual void abort() = 0;

  /// Called once, on the server's thread, if the client leaves (closes, half-closes, resets, or
  /// does not read) before the handler has finished its answer; soon, where it has left already.
  /// One callback; it goes when the answer is finished. A client that half-closed before the answer
  /// began still gets a whole reply(); its streams end.
  virtual void when_gone(std::function<void()> callback) = 0;
};

using handler = std::function<void(request&&, std::shared_ptr<exchange>)>;

/// Looks at a request's head before its body is read; a response refuses it.
using head_check = std::function<std::optional<response>(const request& head)>;

}  // namespace atl::http
