// atoll plan.
#include "apps/commands.hpp"
#include "apps/output.hpp"
#include "apps/plan_input.hpp"

namespace atl::apps {
namespace {

constexpr std::size_t plan_file_bytes_max = std::size_t{1} << 30;

}  // namespace

result<int> run_plan(const plan_options& o) {
  const auto files = system_disk();
  ATOLL_ASSIGN(const std::string text,
               files->read(o.input == "-" ? "/dev/stdin" : o.input, plan_file_bytes_max));
  ATOLL_ASSIGN(const plan_input input,
               read_plan_input(text, o.input == "-" ? "standard input" : o.input));
  const auto plan = cluster::plan_balance(input.cluster);
  if (plan.has_error()) return error{plan.error().code(), o.input + ": " + plan.error().message()};
  ATOLL_ASSIGN(output out, output::open(*files, o.out));
  ATOLL_TRY(out.write(o.as_json ? plan_as_json(input, *plan) : plan_as_text(input, *plan)));
  ATOLL_TRY(out.finish());
  return 0;
}

}  // namespace atl::apps
