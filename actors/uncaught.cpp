#include "actors/uncaught.hpp"

#include "runtime/base/log.hpp"

#include <caf/scheduled_actor.hpp>

#include <cstdlib>
#include <exception>
#include <new>
#include <string>

namespace atl::actors {

void end_process_on_exception(caf::scheduled_actor& self) {
  self.set_exception_handler([](caf::scheduled_actor* from,
                                std::exception_ptr& thrown) -> caf::error {
    const std::string who{from->name()};
    try {
      std::rethrow_exception(thrown);
    } catch (const std::bad_alloc&) {
      log_error(who + " has no memory left; lower --batch-size, --prefill-chunk or --kv-memory");
    } catch (const std::exception& e) {
      log_error(who + " cannot go on: " + e.what());
    } catch (...) {
      log_error(who + " cannot go on");
    }
    std::_Exit(1);
  });
}

}  // namespace atl::actors
