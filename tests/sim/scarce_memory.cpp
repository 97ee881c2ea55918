#include "tests/sim/scarce_memory.hpp"

#include "actors/uncaught.hpp"

#include <caf/scheduled_actor.hpp>

#include <cstdlib>
#include <exception>
#include <new>
#include <utility>

namespace atl::sim {
namespace {

struct scarcity {
  double chance = 0;
  random_source* random = nullptr;
  std::uint64_t refusals = 0;
};

scarcity& present() {
  static scarcity one;
  return one;
}

process_end& teller() {
  static process_end one;
  return one;
}

bool is_refused() {
  scarcity& s = present();
  if (s.random == nullptr || s.random->unit() >= s.chance) return false;
  ++s.refusals;
  return true;
}

}  // namespace

scarce_memory::scarce_memory(double chance, random_source& random) {
  present().chance = chance;
  present().random = &random;
}

scarce_memory::~scarce_memory() { present().random = nullptr; }

std::uint64_t scarce_memory::refusals() { return present().refusals; }

void set_process_end(process_end tell) { teller() = std::move(tell); }

void* allocate(std::size_t alignment, std::size_t bytes) {
  void* memory = nullptr;
  if (is_refused() || posix_memalign(&memory, alignment, bytes) != 0) return nullptr;
  return memory;
}

}  // namespace atl::sim

namespace atl::actors {

void end_process_on_exception(caf::scheduled_actor& self) {
  self.set_exception_handler(
      [](caf::scheduled_actor* from, std::exception_ptr& thrown) -> caf::error {
        std::string what;
        try {
          std::rethrow_exception(thrown);
        } catch (const std::bad_alloc&) {
        } catch (const std::exception& e) {
          what = std::string{from->name()} + ": " + e.what();
        }
        if (sim::teller()) sim::teller()(from->id(), what);
        return caf::exit_reason::unhandled_exception;
      });
}

}  // namespace atl::actors

extern "C" void* aligned_alloc(std::size_t alignment, std::size_t bytes) {
  return atl::sim::allocate(alignment, bytes);
}
