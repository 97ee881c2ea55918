#include "apps/cluster/data_path.hpp"

#include <algorithm>
#include <arpa/inet.h>
#include <array>
#include <charconv>
#include <filesystem>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <optional>
#include <sys/socket.h>

namespace atl::ops {
namespace {

error bad(const std::string& what) { return {errc::invalid_argument, what}; }

struct raw_address {
  std::array<unsigned char, 16> bytes{};
  std::size_t bits = 0;  // 32 or 128
};

std::optional<raw_address> parse_raw(std::string_view text) {
  const std::string whole{text};
  raw_address a;
  if (::inet_pton(AF_INET, whole.c_str(), a.bytes.data()) == 1) {
    a.bits = 32;
    return a;
  }
  if (::inet_pton(AF_INET6, whole.c_str(), a.bytes.data()) == 1) {
    a.bits = 128;
    return a;
  }
  return std::nullopt;
}

std::string text_of(const sockaddr* at) {
  char text[INET6_ADDRSTRLEN] = "";
  if (at->sa_family == AF_INET)
    ::inet_ntop(AF_INET, &reinterpret_cast<const sockaddr_in*>(at)->sin_addr, text, sizeof text);
  if (at->sa_family == AF_INET6) {
    const auto& v6 = reinterpret_cast<const sockaddr_in6*>(at)->sin6_addr;
    if (!IN6_IS_ADDR_LINKLOCAL(&v6)) ::inet_ntop(AF_INET6, &v6, text, sizeof text);
  }
  return text;
}

std::string names_of(const std::vector<interface_facts>& all) {
  std::string names;
  for (const auto& i : all) names += (names.empty() ? "" : ", ") + i.name;
  return names;
}

/// The trusted network that all addresses of the interface lie in one of; empty if there is none.
result<bool> is_trusted(const interface_facts& i, const std::vector<std::string>& networks) {
  bool all = !i.addresses.empty();
  for (const auto& address : i.addresses) {
    bool any = false;
    for (const auto& network : networks) {
      ATOLL_ASSIGN(const bool in, is_in_network(network, address));
      any = any || in;
    }
    all = all && any;
  }
  return all;
}

}  // namespace

std::string_view to_string(data_kind kind) noexcept {
  return kind == data_kind::ucx ? "ucx" : "tls";
}

std::vector<interface_facts> look_at_interfaces() {
  std::vector<interface_facts> found;
  ifaddrs* all = nullptr;
  if (::getifaddrs(&all) == 0) {
    for (const ifaddrs* a = all; a != nullptr; a = a->ifa_next) {
      if ((a->ifa_flags & IFF_UP) == 0) continue;
      auto at = std::find_if(
          found.begin(), found.end(), [&](const auto& i) { return i.name == a->ifa_name; });
      if (at == found.end()) {
        interface_facts fresh;
        fresh.name = a->ifa_name;
        fresh.is_loopback = (a->ifa_flags & IFF_LOOPBACK) != 0;
        at = found.insert(found.end(), std::move(fresh));
      }
      std::string address = a->ifa_addr == nullptr ? std::string{} : text_of(a->ifa_addr);
      if (!address.empty()) at->addresses.push_back(std::move(address));
    }
    ::freeifaddrs(all);
  }
  std::error_code ignored;
  const std::filesystem::path devices{"/sys/class/infiniband"};
  for (const auto& device : std::filesystem::directory_iterator{devices, ignored}) {
    for (const auto& port : std::filesystem::directory_iterator{device.path() / "ports", ignored}) {
      interface_facts fresh;
      fresh.name = device.path().filename().string() + ":" + port.path().filename().string();
      fresh.is_rdma = true;
      found.push_back(std::move(fresh));
    }
  }
  return found;
}

result<bool> is_in_network(std::string_view network, std::string_view address) {
  const std::size_t slash = network.find('/');
  const auto base = parse_raw(network.substr(0, slash));
  std::size_t bits = 0;
  bool is_readable = base.has_value() && slash != std::string_view::npos;
  if (is_readable) {
    const char* const end = network.data() + network.size();
    const auto [at, code] = std::from_chars(network.data() + slash + 1, end, bits);
    is_readable = code == std::errc{} && at == end && bits <= base->bits;
  }
  if (!is_readable)
    return bad("--trusted-network " + std::string{network} +
               ": expected ADDRESS/BITS, such as 192.0.2.0/24 or fd00::/8");
  const auto asked = parse_raw(address);
  if (!asked || asked->bits != base->bits) return false;
  for (std::size_t bit = 0; bit < bits; ++bit) {
    const auto mask = static_cast<unsigned char>(0x80U >> (bit % 8));
    if (((base->bytes[bit / 8] ^ asked->bytes[bit / 8]) & mask) != 0) return false;
  }
  return true;
}

result<data_path> choose_data_path(const data_choice& asked,
                                   const std::vector<interface_facts>& interfaces) {
  if (asked.transport != "auto" && asked.transport != "ucx" && asked.transport != "tls")
    return bad("--data-transport " + asked.transport + ": expected auto, ucx or tls");
  if (asked.interface.empty())
    return bad("--data-interface: name the interface that data goes over, as in eth0; lo where all "
               "nodes are on this machine. Here there are: " +
               names_of(interfaces));
  const auto at = std::find_if(interfaces.begin(), interfaces.end(), [&](const auto& i) {
    return i.name == asked.interface;
  });
  if (at == interfaces.end())
    return bad(
        "--data-interface " + asked.interface +
        ": there is no such interface, or it is down. Here there are: " + names_of(interfaces));
  for (const auto& network : asked.trusted_networks) ATOLL_TRY(is_in_network(network, "0.0.0.0"));
  data_path path;
  path.interface = at->name;
  if (asked.transport != "tls" && (at->is_loopback || at->is_rdma)) {
    path.kind = data_kind::ucx;
    return path;
  }
  if (asked.transport == "ucx") {
    ATOLL_ASSIGN(const bool trusted, is_trusted(*at, asked.trusted_networks));
    if (!trusted)
      return bad("--data-transport ucx over " + at->name +
                 ": UCX trusts whoever can reach its port, so all addresses of the interface must "
                 "lie in a network that you name by --trusted-network; or take tls");
    path.kind = data_kind::ucx;
    return path;
  }
  if (at->is_rdma)
    return bad("--data-transport tls over " + at->name +
               ": TLS needs a network interface and not an RDMA device");
  if (at->addresses.empty())
    return bad("--data-interface " + at->name + ": the interface has no address");
  path.address = at->addresses.front();
  return path;
}

}  // namespace atl::ops
