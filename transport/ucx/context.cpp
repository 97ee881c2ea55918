#include "transport/ucx/context.hpp"

#include "runtime/base/log.hpp"

#include <ucp/api/ucp.h>
#include <ucs/debug/log_def.h>

#include <algorithm>
#include <array>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <mutex>
#include <net/if.h>
#include <set>
#include <string_view>

namespace atl::transport::ucx {

namespace {

struct setting {
  const char* name;  // as ucp_config_modify() wants it: options of a wire without its prefix
  std::array<const char*, 2> environment;
  const char* value;
};

/// What the defaults of UCX lack; the environment overrides each.
/// Shared memory carries an endpoint that reports failures only with its error handling on, and
/// looks for the peer's process once per keepalive interval. One eager lane keeps frames in order.
/// Larger segments are fewer copies and calls per frame; received ones of a power of two lie alike
/// in the caches and are slower by a quarter than ones between (link_bench). Shared memory has to
/// be asked for: where nodes have fewer cores than threads, its receivers wake up late (seven nodes
/// on two cores: 5 times as long for a token as over tcp), and a killed peer is noticed late.
constexpr std::array<setting, 6> settings{
    {{"TLS", {"UCX_TLS"}, "^sm"},
     {"MM_ERROR_HANDLING", {"UCX_POSIX_ERROR_HANDLING", "UCX_SYSV_ERROR_HANDLING"}, "y"},
     {"KEEPALIVE_INTERVAL", {"UCX_KEEPALIVE_INTERVAL"}, "500ms"},
     {"MAX_EAGER_LANES", {"UCX_MAX_EAGER_LANES"}, "1"},
     {"TX_SEG_SIZE", {"UCX_TCP_TX_SEG_SIZE"}, "32k"},
     {"RX_SEG_SIZE", {"UCX_TCP_RX_SEG_SIZE"}, "96k"}}};

bool is_in_environment(const setting& s) {
  return std::any_of(s.environment.begin(), s.environment.end(), [](const char* name) {
    return name != nullptr && std::getenv(name) != nullptr;
  });
}

/// UCX writes to standard output. What it says beyond warnings it was asked for by UCX_LOG_LEVEL.
ucs_log_func_rc_t take_log_line(const char*,
                                unsigned,
                                const char*,
                                ucs_log_level_t level,
                                const ucs_log_component_config_t*,
                                const char* format,
                                va_list arguments) {
  if (level > UCS_LOG_LEVEL_WARN) return UCS_LOG_FUNC_RC_CONTINUE;
  // A setting of ours for a wire that UCX_TLS leaves out is no mistake.
  const std::string_view said{format};
  if (said.find("invalid configuration") == 0) return UCS_LOG_FUNC_RC_STOP;
  std::array<char, 512> text{};
  std::vsnprintf(text.data(), text.size(), format, arguments);
  const std::string line = std::string{"ucx: "} + text.data();
  // What ends a connection is an error to UCX, and told to the receiver here.
  if (level == UCS_LOG_LEVEL_FATAL) {
    log_error(line);
  } else {
    log_warning(line);
  }
  return UCS_LOG_FUNC_RC_STOP;
}

std::set<std::string> devices_of_this_machine() {
  std::set<std::string> out;
  if (auto* all = if_nameindex(); all != nullptr) {
    for (auto* one = all; one->if_index != 0; ++one) out.insert(one->if_name);
    if_freenameindex(all);
  }
  std::error_code ignored;
  for (const auto& one : std::filesystem::directory_iterator{"/sys/class/infiniband", ignored}) {
    out.insert(one.path().filename().string());
  }
  return out;
}

struct config_release {
  void operator()(ucp_config_t* c) const { ucp_config_release(c); }
};
using config = std::unique_ptr<ucp_config_t, config_release>;

result<void> set(ucp_config_t& c, const char* name, const std::string& value) {
  const ucs_status_t status = ucp_config_modify(&c, name, value.c_str());
  if (status != UCS_OK) return failure("UCX_" + std::string{name} + "=" + value, status);
  return {};
}

}  // namespace

error failure(const std::string& what, int status) {
  return {errc::io, "ucx: " + what + ": " + ucs_status_string(static_cast<ucs_status_t>(status))};
}

result<void> check_interfaces(const std::string& names) {
  const auto known = devices_of_this_machine();
  std::string_view rest = names;
  while (!rest.empty()) {
    const std::string_view one = rest.substr(0, rest.find(','));
    rest.remove_prefix(std::min(one.size() + 1, rest.size()));
    const std::string device{one.substr(0, one.find(':'))};
    if (known.count(device) != 0) continue;
    std::string there;
    for (const auto& name : known) there += (there.empty() ? "" : ", ") + name;
    return error{errc::invalid_argument,
                 "no network interface '" + std::string{one} + "'; this machine has " + there};
  }
  return {};
}

result<std::shared_ptr<context>> context::make(const std::string& interfaces) {
  static std::once_flag once;
  std::call_once(once, [] { ucs_log_push_handler(&take_log_line); });
  const std::string devices = interfaces.empty() ? "lo" : interfaces;
  ATOLL_TRY(check_interfaces(devices));
  ucp_config_t* read = nullptr;
  if (const auto status = ucp_config_read(nullptr, nullptr, &read); status != UCS_OK) {
    return failure("its environment variables", status);
  }
  const config c{read};
  ATOLL_TRY(set(*c, "NET_DEVICES", devices));
  for (const auto& s : settings) {
    if (!is_in_environment(s)) ATOLL_TRY(set(*c, s.name, s.value));
  }
  ucp_params_t params{};
  params.field_mask = UCP_PARAM_FIELD_FEATURES | UCP_PARAM_FIELD_MT_WORKERS_SHARED;
  params.features = UCP_FEATURE_AM | UCP_FEATURE_WAKEUP;
  params.mt_workers_shared = 1;  // receivers give buffers back on their own threads
  ucp_context_h handle = nullptr;
  if (const auto status = ucp_init(&params, c.get(), &handle); status != UCS_OK) {
    return failure("setting up " + devices, status);
  }
  return std::make_shared<context>(handle);
}

context::~context() { ucp_cleanup(handle_); }

}  // namespace atl::transport::ucx
