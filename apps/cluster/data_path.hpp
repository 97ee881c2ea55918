// Which transport carries data frames: the rule of trust. UCX trusts whoever can reach its port, so
// it runs on the loopback and over RDMA, and over tcp only where the operator names the network as
// trusted; TLS runs everywhere. The interface is always named. Pure, but for look_at_interfaces().
#pragma once

#include "runtime/base/result.hpp"

#include <string>
#include <string_view>
#include <vector>

namespace atl::ops {

enum class data_kind { ucx, tls };
std::string_view to_string(data_kind kind) noexcept;

struct interface_facts {
  std::string name;  // "eth0"; of an RDMA device with its port: "mlx5_0:1"
  bool is_loopback = false;
  bool is_rdma = false;
  std::vector<std::string> addresses;  // without a prefix length; none of an RDMA device
};

/// Those of this machine.
std::vector<interface_facts> look_at_interfaces();

struct data_choice {
  std::string transport = "auto";  // auto, ucx, tls
  std::string interface;
  std::vector<std::string> trusted_networks;  // "192.0.2.0/24"
};

struct data_path {
  data_kind kind = data_kind::tls;
  std::string interface;
  std::string address;  // that TLS listens at; empty with UCX
};

/// errc::invalid_argument naming option, value and remedy.
result<data_path> choose_data_path(const data_choice& asked,
                                   const std::vector<interface_facts>& interfaces);

/// Whether an address lies in a network "ADDRESS/BITS" of the same family; refuses what is none.
result<bool> is_in_network(std::string_view network, std::string_view address);

}  // namespace atl::ops
