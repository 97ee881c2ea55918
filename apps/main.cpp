// The program atoll.
#include "apps/command_line.hpp"
#include "apps/output.hpp"
#include "runtime/kernels/isa.hpp"

#include <csignal>

int main(int argc, char** argv) {
  using namespace atl;
  // A closed pipe and a file that may not grow are errors of a write, not ends of the process.
  std::signal(SIGPIPE, SIG_IGN);
  std::signal(SIGXFSZ, SIG_IGN);
  auto parsed = apps::parse_command_line(argc, argv);
  if (const int* code = std::get_if<int>(&parsed)) return *code;
  // Before any thread starts, since the permission for tiles is refused afterwards. Whoever needs
  // the answer asks again.
  static_cast<void>(kernels::best_isa());
  const result<int> ran = std::get<apps::command>(parsed)();
  if (ran.has_value()) return *ran;
  if (apps::is_closed_pipe(ran.error())) return 1;
  apps::note("atoll: " + ran.error().message() + "\n");
  if (ran.error().code() == errc::cancelled) return 128 + SIGINT;
  return exit_code(ran.error());
}
