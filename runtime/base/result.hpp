// result<T>: a value or an error. Every function below the actors that can fail for an expected
// reason returns one.
#pragma once

#include "runtime/base/error.hpp"

#include <boost/system/result.hpp>

namespace atl {

template <class T>
using result = boost::system::result<T, error>;

/// value() on an error is a programmer error: it ends the process with the message.
[[noreturn]] void throw_exception_from_error(const error& e, const boost::source_location& where);

}  // namespace atl

#define ATOLL_CONCAT_(a, b) a##b
#define ATOLL_CONCAT(a, b) ATOLL_CONCAT_(a, b)

/// Returns the error of `expr` (a result<void>) from the calling function.
#define ATOLL_TRY(expr)                                                                            \
  do {                                                                                             \
    auto atoll_try_ = (expr);                                                                      \
    if (atoll_try_.has_error()) return atoll_try_.error();                                         \
  } while (false)

/// `ATOLL_ASSIGN(auto x, f());` binds the value of a result<T>, or returns its error.
#define ATOLL_ASSIGN_IMPL(tmp, decl, expr)                                                         \
  auto tmp = (expr);                                                                               \
  if (tmp.has_error()) return tmp.error();                                                         \
  decl = std::move(*tmp)
#define ATOLL_ASSIGN(decl, expr)                                                                   \
  ATOLL_ASSIGN_IMPL(ATOLL_CONCAT(atoll_assign_, __COUNTER__), decl, expr)
