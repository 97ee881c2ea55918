// make_checkpoint SHAPE OUT: writes a synthetic checkpoint. OUT appears whole or not at all.
#include "tools/synthetic_checkpoint.hpp"

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <unistd.h>
#include <utility>

namespace atl::tools {
namespace {

namespace fs = std::filesystem;

struct arguments {
  shape_options shape;
  std::uint64_t seed = 0;
  std::string out;
  bool force = false;
};

/// A directory beside OUT that goes away unless it is renamed to OUT.
class partial_directory {
public:
  static result<partial_directory> beside(const std::string& out) {
    std::string path = out;
    while (path.size() > 1 && path.back() == '/') path.pop_back();
    path += ".partial.XXXXXX";
    if (::mkdtemp(path.data()) == nullptr)
      return error{errc::io, out + ": cannot create a directory there; choose another place"};
    return partial_directory{path};
  }
  partial_directory(partial_directory&& other) noexcept : path_{std::exchange(other.path_, {})} {}
  partial_directory& operator=(partial_directory&&) = delete;
  ~partial_directory() {
    std::error_code ignored;
    if (!path_.empty()) fs::remove_all(path_, ignored);
  }

  const std::string& path() const noexcept { return path_; }

  result<void> rename_to(const std::string& out) {
    std::error_code ec;
    fs::permissions(path_, fs::perms{0755}, ec);
    if (!ec) fs::remove_all(out, ec);
    if (!ec) fs::rename(path_, out, ec);
    if (ec) return error{errc::io, out + ": cannot be put in place: " + ec.message()};
    path_.clear();
    return {};
  }

private:
  explicit partial_directory(std::string path) : path_{std::move(path)} {}
  std::string path_;
};

/// With --force only something that looks like a checkpoint is replaced.
result<void> check_out(const arguments& a) {
  std::error_code ec;
  if (!fs::exists(fs::symlink_status(a.out, ec))) return {};
  if (!a.force)
    return error{errc::invalid_argument, a.out + ": exists; choose another or give --force"};
  if (fs::is_directory(a.out, ec) &&
      (fs::is_empty(a.out, ec) || fs::is_regular_file(a.out + "/config.json", ec)))
    return {};
  return error{errc::invalid_argument,
               a.out + ": is not a checkpoint directory, --force does not replace it"};
}

result<void> check_space(const std::string& out, const std::string& directory, std::size_t bytes) {
  std::error_code ec;
  const fs::space_info space = fs::space(directory, ec);
  if (ec || space.available > bytes) return {};
  return error{errc::io,
               out + ": " + std::to_string(bytes >> 20) + " MiB are needed, " +
                   std::to_string(space.available >> 20) +
                   " are free; choose another place, fewer --layers or --experts"};
}

/// Interrupts stay pending and are looked for between blocks, so that what was begun is removed.
bool is_interrupted() {
  sigset_t pending;
  ::sigpending(&pending);
  return ::sigismember(&pending, SIGINT) == 1 || ::sigismember(&pending, SIGTERM) == 1;
}

void hold_interrupts() {
  sigset_t held;
  ::sigemptyset(&held);
  ::sigaddset(&held, SIGINT);
  ::sigaddset(&held, SIGTERM);
  ::pthread_sigmask(SIG_BLOCK, &held, nullptr);
}

result<void> make(const arguments& a) {
  ATOLL_TRY(check_out(a));
  ATOLL_ASSIGN(const std::string config, synthetic_config(a.shape));
  ATOLL_ASSIGN(const std::size_t total, synthetic_bytes(config, a.shape.type));
  ATOLL_ASSIGN(partial_directory partial, partial_directory::beside(a.out));
  ATOLL_TRY(check_space(a.out, partial.path(), total));
  const auto files = system_disk();
  const bool is_terminal = ::isatty(STDERR_FILENO) == 1;  // one line that changes, or a few lines
  const std::size_t percent_step = is_terminal ? 1 : 20;
  const char* begin = is_terminal ? "\r" : "";
  const char* end = is_terminal ? "" : "\n";
  std::size_t percent_shown = 0;
  const auto step = [&](std::size_t done) -> result<void> {
    if (is_interrupted()) return error{errc::cancelled, "interrupted; nothing was left behind"};
    const std::size_t percent = done / (total / 100 + 1);
    if (percent >= percent_shown + percent_step) {
      std::fprintf(
          stderr, "%smake_checkpoint: %zu %% of %zu MB%s", begin, percent, total / 1'000'000, end);
      percent_shown = percent;
    }
    return {};
  };
  const result<void> written =
      write_synthetic(*files, partial.path(), config, {.type = a.shape.type, .seed = a.seed}, step);
  if (is_terminal) std::fprintf(stderr, "\r%60s\r", "");
  if (written.has_error()) return written.error();
  return partial.rename_to(a.out);
}

int run(int argc, const char* const* argv) {
  arguments a;
  std::string type = "bf16";
  CLI::App app{
      "Writes a synthetic checkpoint with random weights in Hugging Face layout, without a "
      "tokenizer and without the MTP layer. The same arguments give the same bytes.",
      "make_checkpoint"};
  app.add_option("SHAPE", a.shape.shape, "v2-lite, v2 or v3")->required();
  app.add_option("OUT", a.out, "directory to create")->required();
  app.add_option("--layers", a.shape.layers, "decoder layers (default: the shape's)");
  app.add_option("--experts", a.shape.experts, "routed experts a layer (default: the shape's)");
  app.add_option("--dtype", type, "bf16, f32 or fp8 (linear weights)")->capture_default_str();
  app.add_option("--seed", a.seed, "of the random weights")->capture_default_str();
  app.add_flag("--force", a.force, "replace OUT where it is a checkpoint");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? 0 : 2;
  }
  const auto parsed = tensor::dtype_from_string(type);
  if (!parsed) {
    std::fprintf(stderr, "make_checkpoint: --dtype %s: choose bf16, f32 or fp8\n", type.c_str());
    return 2;
  }
  a.shape.type = *parsed;
  hold_interrupts();
  const result<void> made = make(a);
  if (made.has_value()) return 0;
  std::fprintf(stderr, "make_checkpoint: %s\n", made.error().message().c_str());
  return exit_code(made.error());
}

}  // namespace
}  // namespace atl::tools

int main(int argc, char** argv) { return atl::tools::run(argc, argv); }
