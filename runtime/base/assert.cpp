#include "runtime/base/assert.hpp"

#include "runtime/base/result.hpp"

#include <cstdio>
#include <cstdlib>

namespace atl {

void assertion_failed(const char* expression, const char* file, int line) noexcept {
  std::fprintf(stderr, "atoll: assertion failed: %s (%s:%d)\n", expression, file, line);
  std::abort();
}

void throw_exception_from_error(const error& e, const boost::source_location& where) {
  std::fprintf(stderr,
               "atoll: value taken from an error: %s (%s:%u)\n",
               e.message().c_str(),
               where.file_name(),
               static_cast<unsigned>(where.line()));
  std::abort();
}

}  // namespace atl
