#include "apps/cluster/init.hpp"

#include "apps/cluster/state.hpp"
#include "apps/output.hpp"
#include "apps/serve/keys.hpp"
#include "cluster/journal.hpp"
#include "cluster/records.hpp"
#include "runtime/base/disk.hpp"
#include "runtime/base/log.hpp"
#include "transport/tls/authority.hpp"
#include "transport/wire/control.hpp"

#include <boost/json.hpp>

#include <algorithm>
#include <array>
#include <filesystem>
#include <span>
#include <vector>

namespace atl::ops {
namespace {

constexpr std::size_t name_bytes_max = 64;

result<void> check_name(const std::string& name) {
  const bool is_plain = std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '_' || c == '.';
  });
  if (is_plain && name.size() <= name_bytes_max) return {};
  return error{errc::invalid_argument, "--name " + name + ": 1 to 64 letters of A-Z a-z 0-9 - _ ."};
}

result<void> refuse_used(const std::string& dir) {
  for (const char* name : {"cluster.json", "ca.key", "journal", "node.json"})
    if (std::filesystem::exists(dir + "/" + name))
      return error{errc::invalid_argument,
                   "--dir " + dir + ": there is " + name +
                       " already; nothing was changed. Give another directory, or remove this one"};
  return {};
}

/// The first records: the coordinator is node 1 and may take any role.
result<void> begin_journal(const std::string& dir, const std::string& cluster) {
  ATOLL_ASSIGN(auto opened, atl::cluster::journal::open(system_disk(), dir + "/journal", cluster));
  atl::cluster::durable_state first;
  first.counters.node_next = coordinator_node.value + 1;
  atl::cluster::node_record self;
  self.node = coordinator_node;
  self.name = "coordinator";
  self.roles = transport::wire::roles_known;
  first.nodes[self.node] = self;
  for (const std::string& record : atl::cluster::snapshot(first))
    ATOLL_TRY(opened.log.append(std::as_bytes(std::span{record.data(), record.size()})));
  return {};
}

std::string fresh_cluster_id() {
  std::array<std::byte, 8> random{};
  transport::tls::secure_random(random);
  return "c-" + transport::tls::to_hex(random);
}

result<void> keep_admin_key(const std::string& file, const std::string& secret) {
  if (std::filesystem::exists(file))
    return error{errc::invalid_argument,
                 "--admin-key-out " + file + ": the file is there already; give another name"};
  return write_private(file, secret + "\n");
}

}  // namespace

result<int> run_cluster_init(const init_options& o) {
  const std::string dir = o.dir.empty() ? default_state_dir() : o.dir;
  ATOLL_TRY(check_name(o.name));
  ATOLL_TRY(refuse_used(dir));
  ATOLL_TRY(make_state_dir(dir));
  ATOLL_ASSIGN(const auto lock, directory_lock::take(dir));
  ATOLL_TRY(refuse_used(dir));  // nobody makes one meanwhile
  const std::string id = fresh_cluster_id();
  ATOLL_ASSIGN(const auto authority, transport::tls::authority::create(id, unix_time_ms() / 1000));
  ATOLL_ASSIGN(const auto key,
               serve::make_key("admin",
                               static_cast<unsigned>(serve::scope::admin) |
                                   static_cast<unsigned>(serve::scope::read),
                               1,
                               0));
  if (!o.admin_key_out.empty()) ATOLL_TRY(keep_admin_key(o.admin_key_out, key.secret));
  const auto saved = authority.save();
  ATOLL_TRY(begin_journal(dir, id));
  ATOLL_TRY(serve::append_key(dir + "/keys", key.line));
  ATOLL_TRY(write_private(dir + "/ca.key", saved.key));
  ATOLL_TRY(write_private(dir + "/ca.pem", saved.certificate));
  // Last: a directory with it is complete.
  ATOLL_TRY(write_cluster_card(dir, {id, o.name.empty() ? id : o.name}));

  const auto files = system_disk();
  ATOLL_ASSIGN(apps::output to, apps::output::open(*files, ""));
  boost::json::object made{{"cluster", id},
                           {"dir", dir},
                           {"ca", dir + "/ca.pem"},
                           {"ca_fingerprint", authority.fingerprint()}};
  std::string text = "cluster " + id + " in " + dir + "\nauthority " + dir + "/ca.pem, SHA-256 " +
                     authority.fingerprint() + "\n";
  if (o.admin_key_out.empty()) {
    made["admin_key"] = key.secret;
    text += "admin key, shown once: " + key.secret + "\n";
  } else {
    made["admin_key_file"] = o.admin_key_out;
    text += "admin key in " + o.admin_key_out + "\n";
  }
  ATOLL_TRY(to.write(o.as_json ? boost::json::serialize(made) + "\n" : text));
  ATOLL_TRY(to.finish());
  return 0;
}

}  // namespace atl::ops
