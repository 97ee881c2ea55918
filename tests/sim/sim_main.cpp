// atoll-sim: runs a whole cluster in virtual time, once for each seed, and says which seeds broke
// a promise. See --help.
#include "runtime/base/log.hpp"
#include "tests/sim/coverage.hpp"
#include "tests/sim/run.hpp"
#include "tests/sim/small_model.hpp"

#include <CLI/CLI.hpp>

#include <cinttypes>
#include <cstdio>
#include <fstream>
#include <string>
#include <sys/wait.h>
#include <unistd.h>

namespace {

using namespace atl::sim;

struct arguments {
  std::vector<std::uint64_t> seeds;
  std::string faults = "all";
  std::string mutation;
  int jobs = 1;
  bool is_json = false;
  bool verifies = false;
  bool is_verbose = false;
  bool proves_mutations = false;
  bool tells_coverage = false;
};

void print_text(const run_report& r, const arguments& a) {
  if (!r.found && !a.is_verbose) return;
  std::printf("seed %" PRIu64 ": %s, %zu requests accepted %zu times, %zu failed, %zu faults, "
              "%.1f virtual seconds, %" PRIu64 " turns, %" PRIu64 " frames, trace %016" PRIx64 "\n",
              r.seed,
              r.faults.is_mild ? "mild" : "wild",
              r.requests,
              r.accepted,
              r.failures,
              r.struck,
              r.virtual_s,
              r.turns,
              r.frames,
              r.trace_hash);
  for (const auto& f : r.faults.list) std::printf("  %s\n", to_string(f).c_str());
  if (!r.found) return;
  std::printf("VIOLATED %s at %.3f s: %s\n",
              r.found->invariant.c_str(),
              atl::seconds(r.found->at - atl::time_point_ns{}),
              r.found->what.c_str());
  std::printf("replay: atoll-sim --seed %" PRIu64 " --faults %s%s%s\n",
              r.seed,
              a.faults.c_str(),
              a.mutation.empty() ? "" : " --mutate ",
              a.mutation.c_str());
}

void print_json(const run_report& r) {
  std::printf("{\"seed\":%" PRIu64 ",\"ok\":%s,\"invariant\":\"%s\",\"mild\":%s,\"requests\":%zu,"
              "\"failed\":%zu,\"faults\":%zu,\"virtual_s\":%.3f,\"trace\":\"%016" PRIx64 "\"}\n",
              r.seed,
              r.found ? "false" : "true",
              r.found ? r.found->invariant.c_str() : "",
              r.faults.is_mild ? "true" : "false",
              r.requests,
              r.failures,
              r.struck,
              r.virtual_s,
              r.trace_hash);
}

/// Runs each jobs-th seed from `first` on. The number of those that failed.
int run_some(const arguments& a,
             const std::vector<fault_kind>& allowed,
             std::size_t first,
             coverage& reached) {
  const auto weights = small_model();
  if (weights.has_error()) {
    std::fprintf(stderr, "atoll-sim: %s\n", weights.error().message().c_str());
    return 1;
  }
  const auto book = request_book::make(*weights);
  if (book.has_error()) {
    std::fprintf(stderr, "atoll-sim: %s\n", book.error().message().c_str());
    return 1;
  }
  int failed = 0;
  for (std::size_t i = first; i < a.seeds.size(); i += static_cast<std::size_t>(a.jobs)) {
    const run_options options{a.seeds[i], allowed, a.mutation};
    auto r = run_seed(*weights, *book, options);
    if (a.verifies && run_seed(*weights, *book, options).trace_hash != r.trace_hash && !r.found)
      r.found = violation{"repeatable", "a second run took another course", {}};
    if (r.found) ++failed;
    reached.add(r.reached);
    if (a.is_json)
      print_json(r);
    else
      print_text(r, a);
    std::fflush(stdout);
  }
  return failed;
}

/// Whether each mutation is found by its checker within the seeds.
int prove_mutations(const arguments& a, const std::vector<fault_kind>& allowed) {
  const auto weights = small_model();
  const auto book = weights.has_value() ? request_book::make(*weights)
                                        : atl::result<request_book>{weights.error()};
  if (book.has_error()) {
    std::fprintf(stderr, "atoll-sim: %s\n", book.error().message().c_str());
    return 1;
  }
  int missed = 0;
  for (const auto& m : mutations()) {
    std::optional<run_report> seen;
    for (std::size_t i = 0; i < a.seeds.size() && !seen; ++i) {
      auto r = run_seed(*weights, *book, {a.seeds[i], allowed, m.name});
      if (r.found && r.found->invariant == m.invariant) seen = std::move(r);
    }
    if (!seen) ++missed;
    std::printf("%-18s %-4s %s\n",
                m.name.c_str(),
                m.invariant.c_str(),
                seen ? ("seed " + std::to_string(seen->seed) + ": " + seen->found->what).c_str()
                     : "NOT FOUND");
  }
  return missed;
}

std::string read_all(int file) {
  std::string all;
  char part[4096];
  for (ssize_t n = 0; (n = read(file, part, sizeof part)) > 0;)
    all.append(part, static_cast<std::size_t>(n));
  return all;
}

/// As many processes as asked for, each with its share of the seeds.
int run_all(const arguments& a, const std::vector<fault_kind>& allowed, coverage& reached) {
  if (a.jobs == 1) return run_some(a, allowed, 0, reached);
  struct worker {
    pid_t process;
    int tells;
  };
  std::vector<worker> children;
  for (int j = 0; j < a.jobs; ++j) {
    int ends[2];
    if (pipe(ends) != 0) return 1;
    const pid_t child = fork();
    if (child == 0) {
      coverage own;
      const int failed = run_some(a, allowed, static_cast<std::size_t>(j), own);
      std::fflush(stdout);
      const std::string lines = own.to_lines();
      const bool is_told =
          write(ends[1], lines.data(), lines.size()) == static_cast<ssize_t>(lines.size());
      _exit(is_told ? std::min(failed, 250) : 250);
    }
    close(ends[1]);
    if (child > 0) children.push_back({child, ends[0]});
  }
  int failed = 0;
  for (const auto& [child, tells] : children) {
    reached.add_lines(read_all(tells));
    close(tells);
    int status = 0;
    waitpid(child, &status, 0);
    // One that a signal ended took its seeds with it.
    failed += WIFEXITED(status) ? WEXITSTATUS(status) : 1;
  }
  return failed;
}

bool add_range(const std::string& range, std::vector<std::uint64_t>& to) {
  std::uint64_t first = 0, last = 0;
  if (std::sscanf(range.c_str(), "%" SCNu64 "..%" SCNu64, &first, &last) != 2 || last < first)
    return false;
  for (std::uint64_t s = first; s <= last; ++s) to.push_back(s);
  return true;
}

void add_file(const std::string& path, std::vector<std::uint64_t>& to) {
  std::ifstream in{path};
  std::string line;
  while (std::getline(in, line))
    if (!line.empty() && line[0] != '#') to.push_back(std::strtoull(line.c_str(), nullptr, 10));
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"Runs a whole cluster in one thread and virtual time, from a seed: its faults, what "
               "comes first, how long all takes. The same seed gives the same run."};
  arguments a;
  std::vector<std::uint64_t> single;
  std::string range, file, level = "off";
  app.add_option("--seed", single, "Seeds to run");
  app.add_option("--seeds", range, "A range of seeds, A..B");
  app.add_option("--replay", file, "A file with one seed a line");
  app.add_option("--faults", a.faults, "Kinds of faults, separated by commas, all or none");
  app.add_option("--mutate", a.mutation, "Break the cluster on purpose, to see a checker find it");
  app.add_flag("--prove-mutations",
               a.proves_mutations,
               "Break the cluster in every known way and see that each is found");
  app.add_option("--jobs", a.jobs, "Processes at once")->check(CLI::Range(1, 256));
  app.add_flag("--json", a.is_json, "One object a seed");
  app.add_flag("--verify", a.verifies, "Run each seed twice and compare the traces");
  app.add_flag("--coverage",
               a.tells_coverage,
               "Say what was reached: kinds, pairs, steps of changes; fail where one was not");
  app.add_flag("--verbose", a.is_verbose, "Tell of seeds that are well, too");
  app.add_option("--log", level, "What nodes log: off, warning, info");
  CLI11_PARSE(app, argc, argv);
  atl::set_log_level(level == "info"      ? atl::log_level::info
                     : level == "warning" ? atl::log_level::warning
                                          : atl::log_level::off);
  a.seeds = single;
  if (!range.empty() && !add_range(range, a.seeds)) {
    std::fprintf(stderr, "atoll-sim: --seeds %s: it must be A..B with A <= B\n", range.c_str());
    return 2;
  }
  if (!file.empty()) add_file(file, a.seeds);
  const auto allowed = parse_faults(a.faults);
  if (!allowed) {
    std::fprintf(stderr, "atoll-sim: --faults %s: a kind is not known; they are", a.faults.c_str());
    for (std::size_t k = 0; k < fault_kinds; ++k)
      std::fprintf(stderr, " %s", std::string{to_string(static_cast<fault_kind>(k))}.c_str());
    std::fprintf(stderr, "\n");
    return 2;
  }
  if (a.seeds.empty()) a.seeds.push_back(1);
  if (a.proves_mutations) return prove_mutations(a, *allowed) == 0 ? 0 : 1;
  coverage reached;
  const int failed = run_all(a, *allowed, reached);
  if (!a.is_json) std::printf("%zu seeds, %d failed\n", a.seeds.size(), failed);
  if (a.tells_coverage) std::printf("%s", reached.summary(*allowed).c_str());
  const bool is_covered = !a.tells_coverage || reached.missing(*allowed).empty();
  return failed == 0 && is_covered ? 0 : 1;
}
