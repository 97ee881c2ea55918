#include "apps/cluster/state.hpp"

#include "runtime/base/log.hpp"

#include <boost/json.hpp>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>

namespace atl::ops {
namespace {

namespace json = boost::json;

error failed(const std::string& path, const std::string& what) {
  return {errno == ENOENT ? errc::not_found : errc::io,
          path + ": cannot " + what + ": " + std::strerror(errno)};
}

/// An open file; closed at the end.
struct descriptor {
  int value;
  explicit descriptor(int opened) : value{opened} {}
  ~descriptor() {
    if (value >= 0) ::close(value);
  }
  descriptor(const descriptor&) = delete;
  descriptor& operator=(const descriptor&) = delete;
};

std::string folder_of(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  return slash == std::string::npos ? "." : path.substr(0, std::max<std::size_t>(slash, 1));
}

result<json::object> read_object(const std::string& path) {
  ATOLL_ASSIGN(const std::string text, read_text(path));
  boost::system::error_code code;
  json::value parsed = json::parse(text, code);
  if (code || !parsed.is_object())
    return error{errc::invalid_argument, path + " is damaged: no JSON object"};
  return std::move(parsed.get_object());
}

std::string text_in(const json::object& from, std::string_view name) {
  const auto* v = from.if_contains(name);
  return v != nullptr && v->is_string() ? std::string{v->get_string()} : std::string{};
}

std::int64_t number_in(const json::object& from, std::string_view name, std::int64_t otherwise) {
  const auto* v = from.if_contains(name);
  return v != nullptr && v->is_int64() ? v->get_int64() : otherwise;
}

}  // namespace

std::string default_state_dir() {
  const char* const state = std::getenv("XDG_STATE_HOME");
  if (state != nullptr && *state == '/') return std::string{state} + "/atoll";
  const char* const home = std::getenv("HOME");
  return std::string{home == nullptr ? "" : home} + "/.local/state/atoll";
}

result<void> make_state_dir(const std::string& dir) {
  std::error_code failure;
  const bool is_new = !std::filesystem::exists(dir, failure);
  std::filesystem::create_directories(dir, failure);
  if (failure) return error{errc::io, "--dir " + dir + ": " + failure.message()};
  if (is_new && ::chmod(dir.c_str(), 0700) != 0) return failed(dir, "make it private");
  struct stat about {};
  if (::stat(dir.c_str(), &about) != 0) return failed(dir, "look at it");
  if ((about.st_mode & 0022) != 0)
    return error{errc::invalid_argument,
                 "--dir " + dir + ": others may write there; chmod 700 " + dir};
  return {};
}

result<void> write_private(const std::string& path, std::string_view text) {
  const std::string fresh = path + ".new";
  {
    const descriptor file{
        ::open(fresh.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600)};
    if (file.value < 0 || ::fchmod(file.value, 0600) != 0) return failed(path, "write it");
    while (!text.empty()) {
      const ssize_t n = ::write(file.value, text.data(), text.size());
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) return failed(path, "write it");
      text.remove_prefix(static_cast<std::size_t>(n));
    }
    if (::fsync(file.value) != 0) return failed(path, "write it");
  }
  if (::rename(fresh.c_str(), path.c_str()) != 0) return failed(path, "write it");
  const descriptor folder{::open(folder_of(path).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
  if (folder.value < 0 || ::fsync(folder.value) != 0) return failed(path, "write it");
  return {};
}

result<std::string> read_text(const std::string& path, std::size_t bytes_max) {
  const descriptor file{::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
  if (file.value < 0) return failed(path, "read it");
  std::string text;
  char block[16'384];
  for (;;) {
    const ssize_t n = ::read(file.value, block, sizeof block);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return failed(path, "read it");
    if (n == 0) return text;
    text.append(block, static_cast<std::size_t>(n));
    if (text.size() > bytes_max)
      return error{errc::invalid_argument,
                   path + ": longer than " + std::to_string(bytes_max) + " bytes"};
  }
}

result<directory_lock> directory_lock::take(const std::string& dir) {
  const std::string path = dir + "/lock";
  directory_lock held{::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600)};
  if (held.file_ < 0) return failed(path, "open it");
  if (::flock(held.file_, LOCK_EX | LOCK_NB) == 0) return held;
  if (errno != EWOULDBLOCK) return failed(path, "lock it");
  return error{errc::unavailable,
               "--dir " + dir + ": another process runs this node; give each node its own --dir"};
}

directory_lock::directory_lock(directory_lock&& other) noexcept
    : file_{std::exchange(other.file_, -1)} {}

directory_lock::~directory_lock() {
  if (file_ >= 0) ::close(file_);
}

result<incarnation> begin_life(const std::string& dir) {
  const std::string path = dir + "/life";
  std::uint64_t last = 0;
  const auto kept = read_text(path);
  if (kept.has_error() && kept.error().code() != errc::not_found) return kept.error();
  if (kept.has_value()) {
    const auto [end, code] = std::from_chars(kept->data(), kept->data() + kept->size(), last);
    if (code != std::errc{} || (end != kept->data() + kept->size() && *end != '\n'))
      return error{errc::invalid_argument,
                   path + " is damaged: it must hold the number of this node's last life; where " +
                       "that is lost, remove the directory and join again"};
  }
  const auto now_us = static_cast<std::uint64_t>(std::max<std::int64_t>(unix_time_ms(), 0)) * 1000;
  const incarnation life{std::max(now_us, last + 1)};
  ATOLL_TRY(write_private(path, std::to_string(life.value) + "\n"));
  return life;
}

std::string to_json(const node_card& c) {
  json::array roles;
  for (const auto& r : c.roles) roles.emplace_back(r);
  return json::serialize(json::object{{"cluster", c.cluster},
                                      {"node", c.node.value},
                                      {"name", c.name},
                                      {"roles", std::move(roles)},
                                      {"server", c.server},
                                      {"control", c.control},
                                      {"coordinator", c.coordinator.value},
                                      {"model", c.model},
                                      {"heartbeat_ms", c.heartbeat_ms},
                                      {"suspect_ms", c.suspect_ms},
                                      {"dead_ms", c.dead_ms}}) +
         "\n";
}

result<node_card> parse_node_card(std::string_view text, const std::string& path) {
  boost::system::error_code code;
  const json::value parsed = json::parse({text.data(), text.size()}, code);
  if (code || !parsed.is_object())
    return error{errc::invalid_argument, path + " is damaged: no JSON object"};
  const json::object& o = parsed.get_object();
  node_card c;
  c.cluster = text_in(o, "cluster");
  c.node = node_id{static_cast<std::uint32_t>(number_in(o, "node", 0))};
  c.name = text_in(o, "name");
  if (const auto* roles = o.if_contains("roles"); roles != nullptr && roles->is_array())
    for (const auto& r : roles->get_array())
      if (r.is_string()) c.roles.emplace_back(r.get_string());
  c.server = text_in(o, "server");
  c.control = text_in(o, "control");
  c.coordinator = node_id{static_cast<std::uint32_t>(number_in(o, "coordinator", 0))};
  c.model = text_in(o, "model");
  c.heartbeat_ms = number_in(o, "heartbeat_ms", c.heartbeat_ms);
  c.suspect_ms = number_in(o, "suspect_ms", c.suspect_ms);
  c.dead_ms = number_in(o, "dead_ms", c.dead_ms);
  if (c.cluster.empty() || c.node.value == 0 || c.coordinator.value == 0)
    return error{errc::invalid_argument,
                 path + " is damaged: cluster, node and coordinator must be there"};
  return c;
}

result<node_card> read_node_card(const std::string& dir) {
  const std::string path = dir + "/node.json";
  ATOLL_ASSIGN(const std::string text, read_text(path));
  return parse_node_card(text, path);
}

result<void> write_node_card(const std::string& dir, const node_card& card) {
  return write_private(dir + "/node.json", to_json(card));
}

result<cluster_card> read_cluster_card(const std::string& dir) {
  const std::string path = dir + "/cluster.json";
  ATOLL_ASSIGN(const json::object o, read_object(path));
  cluster_card c{text_in(o, "cluster"), text_in(o, "name")};
  if (c.id.empty()) return error{errc::invalid_argument, path + " is damaged: no cluster"};
  return c;
}

result<void> write_cluster_card(const std::string& dir, const cluster_card& card) {
  return write_private(dir + "/cluster.json",
                       json::serialize(json::object{{"cluster", card.id}, {"name", card.name}}) +
                           "\n");
}

result<coordinator_addresses> read_addresses(const std::string& dir) {
  auto read = read_object(dir + "/addresses.json");
  if (read.has_error()) {
    if (read.error().code() == errc::not_found) return coordinator_addresses{};
    return read.error();
  }
  return coordinator_addresses{text_in(*read, "api"), text_in(*read, "control")};
}

result<void> write_addresses(const std::string& dir, const coordinator_addresses& at) {
  return write_private(dir + "/addresses.json",
                       json::serialize(json::object{{"api", at.api}, {"control", at.control}}) +
                           "\n");
}

}  // namespace atl::ops
