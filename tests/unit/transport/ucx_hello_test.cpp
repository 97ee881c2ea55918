#include "transport/ucx/hello.hpp"

#include <gtest/gtest.h>

namespace atl::transport::ucx {
namespace {

hello sample() {
  hello h;
  h.from = {node_id{3}, incarnation{77}};
  h.to = {node_id{4}, incarnation{88}};
  h.session = 0x1122334455667788;
  h.ticket = {std::byte{1}, std::byte{2}, std::byte{3}};
  h.address = {std::byte{9}, std::byte{8}};
  return h;
}

TEST(ucx_hello, round_trip_and_layout) {
  const auto bytes = encode(sample()).value();
  ASSERT_EQ(bytes.size(), 64U + 3 + 2);
  // By the table of PROTOCOL.md.
  EXPECT_EQ(std::to_integer<char>(bytes[0]), 'A');
  EXPECT_EQ(std::to_integer<char>(bytes[3]), 'H');
  EXPECT_EQ(std::to_integer<int>(bytes[4]), 1);
  EXPECT_EQ(std::to_integer<int>(bytes[6]), 3);
  EXPECT_EQ(std::to_integer<int>(bytes[8]), 2);
  EXPECT_EQ(std::to_integer<int>(bytes[12]), 3);
  EXPECT_EQ(std::to_integer<int>(bytes[16]), 4);
  EXPECT_EQ(std::to_integer<int>(bytes[24]), 77);
  EXPECT_EQ(std::to_integer<int>(bytes[32]), 88);
  EXPECT_EQ(std::to_integer<int>(bytes[40]), 0x88);
  EXPECT_EQ(std::to_integer<int>(bytes[64]), 1);
  EXPECT_EQ(std::to_integer<int>(bytes[67]), 9);
  EXPECT_EQ(parse_hello(bytes).value(), sample());
}

TEST(ucx_hello, the_largest_fits_and_more_does_not) {
  hello h = sample();
  h.ticket.resize(ticket_bytes_max);
  h.address.resize(address_bytes_max);
  EXPECT_EQ(parse_hello(encode(h).value()).value(), h);
  h.ticket.resize(ticket_bytes_max + 1);
  EXPECT_EQ(encode(h).error().code(), errc::invalid_argument);
  h.ticket.clear();
  h.address.resize(address_bytes_max + 1);
  EXPECT_EQ(encode(h).error().code(), errc::invalid_argument);
}

TEST(ucx_hello, truncated_or_damaged_is_refused) {
  const auto bytes = encode(sample()).value();
  for (std::size_t n = 0; n < bytes.size(); ++n) {
    EXPECT_EQ(parse_hello(std::span{bytes}.first(n)).error().code(), errc::malformed_frame) << n;
  }
  auto longer = bytes;
  longer.push_back({});
  EXPECT_TRUE(parse_hello(longer).has_error());
  for (std::size_t bit = 0; bit < bytes.size() * 8; ++bit) {
    auto damaged = bytes;
    damaged[bit / 8] ^= static_cast<std::byte>(1U << (bit % 8));
    EXPECT_TRUE(parse_hello(damaged).has_error()) << "bit " << bit;
  }
}

TEST(ucx_hello, refusal_and_goodbye) {
  const refusal r{42, errc::stale_epoch, "too late"};
  EXPECT_EQ(parse_refusal(encode(r)).value(), r);
  const auto cut = parse_refusal(encode(refusal{1, errc::io, std::string(2000, 'x')})).value();
  EXPECT_EQ(cut.reason.size(), reason_bytes_max);
  auto bytes = encode(r);
  EXPECT_TRUE(parse_refusal(std::span{bytes}.first(11)).has_error());
  bytes[8] = std::byte{0xff};
  EXPECT_TRUE(parse_refusal(bytes).has_error()) << "an unknown code";
  bytes.resize(13 + reason_bytes_max);
  EXPECT_TRUE(parse_refusal(bytes).has_error());

  EXPECT_EQ(parse_goodbye(encode_goodbye(7)).value(), 7U);
  EXPECT_TRUE(parse_goodbye(std::span{bytes}.first(7)).has_error());
  EXPECT_TRUE(parse_goodbye(std::span{bytes}.first(9)).has_error());
}

}  // namespace
}  // namespace atl::transport::ucx
