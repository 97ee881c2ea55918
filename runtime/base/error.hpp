// Errors that are expected to happen: one numbered list for all parts, and the value that carries
// them. An error names file, field, value and remedy in one sentence; it is logged once, where it
// is first known. Values are plain; any thread may hold one.
#pragma once

#include <string>
#include <string_view>

namespace atl {

/// Numbers are part of the wire format and of exit codes' mapping: append only.
enum class errc : int {
  invalid_argument = 1,  // usage: a value the caller gave cannot be used
  invalid_model = 2,     // checkpoint, configuration or tokenizer is malformed
  unsupported = 3,       // well-formed, but not a thing this build does
  not_found = 4,
  io = 5,               // the operating system refused: disk full, permission, ...
  out_of_memory = 6,    // a budget would be exceeded
  malformed_frame = 7,  // bytes from a peer failed a check
  stale_epoch = 8,
  peer_gone = 9,
  overloaded = 10,  // a bounded queue is full; try again later
  cancelled = 11,
  deadline = 12,
  internal = 13,      // a bug of ours that was contained
  unauthorised = 14,  // no key, or one that does not allow it
  unavailable = 15,   // what it needs is lost at the moment; later it may work
};

/// Short stable name, for logs and JSON ("invalid_model").
std::string_view to_string(errc code) noexcept;

class error {
public:
  /// Only for result<T>::error(), which needs one to answer when there is no error.
  error() = default;
  error(errc code, std::string message);

  errc code() const noexcept { return code_; }
  const std::string& message() const noexcept { return message_; }

private:
  errc code_ = errc::internal;
  std::string message_;
};

/// Exit code of a command that ends with this error: 2 for usage and invalid models, 1 for failures
/// at run time.
int exit_code(const error& e) noexcept;

}  // namespace atl
