// ATOLL_ASSERT: programmer errors, checked in every build. Not for input: input gets a result<T>.
#pragma once

namespace atl {

[[noreturn]] void assertion_failed(const char* expression, const char* file, int line) noexcept;

}  // namespace atl

#define ATOLL_ASSERT(cond)                                                                         \
  (__builtin_expect(static_cast<bool>(cond), 1)                                                    \
       ? static_cast<void>(0)                                                                      \
       : ::atl::assertion_failed(#cond, __FILE__, __LINE__))
