#include "apps/cluster/data_path.hpp"

#include <gtest/gtest.h>

namespace atl::ops {
namespace {

const std::vector<interface_facts> machine{
    {.name = "lo", .is_loopback = true, .is_rdma = false, .addresses = {"127.0.0.1", "::1"}},
    {.name = "eth0", .is_loopback = false, .is_rdma = false, .addresses = {"192.0.2.7"}},
    {.name = "eth1",
     .is_loopback = false,
     .is_rdma = false,
     .addresses = {"10.1.0.7", "198.51.100.7"}},
    {.name = "eth2", .is_loopback = false, .is_rdma = false, .addresses = {}},
    {.name = "mlx5_0:1", .is_loopback = false, .is_rdma = true, .addresses = {}},
};

result<data_path> choose(const std::string& transport,
                         const std::string& interface,
                         std::vector<std::string> trusted = {}) {
  return choose_data_path({transport, interface, std::move(trusted)}, machine);
}

void expect_refused(const result<data_path>& r, const std::string& because) {
  ASSERT_TRUE(r.has_error());
  EXPECT_EQ(r.error().code(), errc::invalid_argument);
  EXPECT_NE(r.error().message().find(because), std::string::npos) << r.error().message();
}

TEST(data_path, auto_is_ucx_where_no_stranger_can_reach_it_and_tls_elsewhere) {
  EXPECT_EQ(choose("auto", "lo")->kind, data_kind::ucx);
  EXPECT_EQ(choose("auto", "mlx5_0:1")->kind, data_kind::ucx);
  const auto between = choose("auto", "eth0");
  ASSERT_TRUE(between.has_value());
  EXPECT_EQ(between->kind, data_kind::tls);
  EXPECT_EQ(between->address, "192.0.2.7");
  // A trusted network is a permission and no wish.
  EXPECT_EQ(choose("auto", "eth0", {"192.0.2.0/24"})->kind, data_kind::tls);
}

TEST(data_path, ucx_over_tcp_needs_a_network_that_was_named_as_trusted) {
  expect_refused(choose("ucx", "eth0"), "--trusted-network");
  EXPECT_EQ(choose("ucx", "eth0", {"192.0.2.0/24"})->kind, data_kind::ucx);
  expect_refused(choose("ucx", "eth0", {"192.0.2.8/29", "10.0.0.0/8"}), "--trusted-network");
  // Every address of the interface counts: UCX may take any.
  expect_refused(choose("ucx", "eth1", {"10.0.0.0/8"}), "--trusted-network");
  EXPECT_EQ(choose("ucx", "eth1", {"10.0.0.0/8", "198.51.100.0/24"})->kind, data_kind::ucx);
  expect_refused(choose("ucx", "eth2", {"0.0.0.0/0"}), "--trusted-network");
}

TEST(data_path, refuses_what_is_not_there_and_what_is_not_named) {
  expect_refused(choose("auto", ""), "lo, eth0, eth1, eth2, mlx5_0:1");
  expect_refused(choose("auto", "eth9"), "no such interface");
  expect_refused(choose("rdma", "eth0"), "expected auto, ucx or tls");
  expect_refused(choose("tls", "mlx5_0:1"), "RDMA");
  expect_refused(choose("tls", "eth2"), "no address");
  expect_refused(choose("tls", "eth0", {"192.0.2.0"}), "ADDRESS/BITS");
}

TEST(data_path, tls_over_the_loopback_is_allowed) {
  EXPECT_EQ(choose("tls", "lo")->address, "127.0.0.1");
}

TEST(data_path, networks_hold_what_their_first_bits_say) {
  EXPECT_TRUE(*is_in_network("192.0.2.128/25", "192.0.2.200"));
  EXPECT_FALSE(*is_in_network("192.0.2.128/25", "192.0.2.100"));
  EXPECT_TRUE(*is_in_network("0.0.0.0/0", "203.0.113.1"));
  EXPECT_TRUE(*is_in_network("192.0.2.7/32", "192.0.2.7"));
  EXPECT_FALSE(*is_in_network("192.0.2.7/32", "192.0.2.6"));
  EXPECT_TRUE(*is_in_network("fd00::/8", "fd12::1"));
  EXPECT_FALSE(*is_in_network("fd00::/8", "192.0.2.7"));
  for (const char* wrong : {"", "192.0.2.0", "192.0.2.0/33", "192.0.2.0/", "a/8", "192.0.2.0/8x"})
    EXPECT_TRUE(is_in_network(wrong, "192.0.2.7").has_error()) << wrong;
}

TEST(data_path, this_machine_has_a_loopback) {
  const auto all = look_at_interfaces();
  EXPECT_TRUE(std::any_of(
      all.begin(), all.end(), [](const auto& i) { return i.is_loopback && i.name == "lo"; }));
}

}  // namespace
}  // namespace atl::ops
