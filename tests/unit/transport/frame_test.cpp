#include "transport/frame.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <string>

namespace atl::transport {
namespace {

frame sample() {
  frame f;
  f.header.kind = frame_kind::dispatch;
  f.header.flags = flag_payload_checksummed;
  f.header.source = {node_id{0x01020304}, 0x05060708};
  f.header.destination = {node_id{0x11121314}, 0x15161718};
  f.header.sender = incarnation{0x2122232425262728};
  f.header.epoch = atl::epoch{0x3132333435363738};
  f.header.sequence = 0x4142434445464748;
  for (int i = 0; i < 37; ++i) f.metadata.push_back(static_cast<std::byte>(i * 7));
  f.payload = own_payload(std::vector<float>{1.5F, -2.0F, 3.25F});
  return f;
}

/// What a receiving end does with bytes from a medium, in its order.
result<void> receive(std::span<const std::byte> bytes) {
  ATOLL_ASSIGN(const frame_header header, parse_header(bytes));
  const auto rest = bytes.subspan(frame_header_bytes);
  if (rest.size() != header.metadata_bytes + header.payload_bytes) {
    return error{errc::malformed_frame, "cut short"};
  }
  ATOLL_TRY(check_metadata(header, rest.first(header.metadata_bytes)));
  return check_payload(header, rest.subspan(header.metadata_bytes));
}

std::vector<std::byte> on_the_wire(frame f) {
  const auto sealed = seal(f).value();
  std::vector<std::byte> out{sealed.begin(), sealed.end()};
  out.insert(out.end(), f.metadata.begin(), f.metadata.end());
  out.insert(out.end(), f.payload.bytes.begin(), f.payload.bytes.end());
  return out;
}

TEST(frame, header_layout_is_the_documented_one) {
  frame f = sample();
  const header_bytes bytes = seal(f).value();
  const unsigned char expected[64] = {
      'A',  'T',  'O',  'L',  1,    0,    5,    0,    1,    0,    0,    0,    37,
      0,    0,    0,    12,   0,    0,    0,    0,    0,    0,    0,    0x04, 0x03,
      0x02, 0x01, 0x14, 0x13, 0x12, 0x11, 0x08, 0x07, 0x06, 0x05, 0x18, 0x17, 0x16,
      0x15, 0x28, 0x27, 0x26, 0x25, 0x24, 0x23, 0x22, 0x21, 0x38, 0x37, 0x36, 0x35,
      0x34, 0x33, 0x32, 0x31, 0x48, 0x47, 0x46, 0x45, 0x44, 0x43, 0x42, 0x41};
  for (std::size_t i = 0; i < sizeof expected; ++i) {
    EXPECT_EQ(std::to_integer<unsigned>(bytes[i]), expected[i]) << "byte " << i;
  }
}

TEST(frame, header_comes_back_as_it_was) {
  frame f = sample();
  const auto bytes = seal(f).value();
  const auto header = parse_header(bytes);
  ASSERT_TRUE(header.has_value()) << header.error().message();
  EXPECT_EQ(*header, f.header);
  EXPECT_EQ(header->metadata_bytes, 37U);
  EXPECT_EQ(header->payload_bytes, 12U);
  EXPECT_TRUE(check_metadata(*header, f.metadata).has_value());
  EXPECT_TRUE(check_payload(*header, f.payload.bytes).has_value());
}

TEST(frame, empty_metadata_and_payload) {
  frame f;
  const auto bytes = seal(f).value();
  EXPECT_TRUE(receive(bytes).has_value());
}

TEST(frame, every_single_bit_flip_is_refused) {
  std::vector<std::byte> bytes = on_the_wire(sample());
  ASSERT_TRUE(receive(bytes).has_value());
  for (std::size_t bit = 0; bit < bytes.size() * 8; ++bit) {
    const auto mask = static_cast<std::byte>(1U << (bit % 8));
    bytes[bit / 8] ^= mask;
    const auto outcome = receive(bytes);
    ASSERT_TRUE(outcome.has_error()) << "bit " << bit;
    ASSERT_EQ(outcome.error().code(), errc::malformed_frame);
    bytes[bit / 8] ^= mask;
  }
}

TEST(frame, payload_flips_pass_only_where_the_payload_is_not_hashed) {
  frame f = sample();
  f.header.flags = 0;
  std::vector<std::byte> bytes = on_the_wire(f);
  bytes.back() ^= std::byte{1};
  EXPECT_TRUE(receive(bytes).has_value());
}

TEST(frame, truncation_at_every_byte_is_refused) {
  const std::vector<std::byte> bytes = on_the_wire(sample());
  for (std::size_t n = 0; n < bytes.size(); ++n) {
    EXPECT_TRUE(receive(std::span{bytes}.first(n)).has_error()) << n;
  }
}

TEST(frame, caps_are_checked_before_anything_else_is_read) {
  frame_header h;
  h.metadata_bytes = metadata_bytes_max;
  h.payload_bytes = payload_bytes_max;
  EXPECT_TRUE(parse_header(encode_header(h)).has_value());
  h.metadata_bytes = metadata_bytes_max + 1;
  EXPECT_NE(parse_header(encode_header(h)).error().message().find("16777217 bytes of metadata"),
            std::string::npos);
  h.metadata_bytes = 0;
  h.payload_bytes = payload_bytes_max + 1;
  EXPECT_NE(parse_header(encode_header(h)).error().message().find("bytes of payload"),
            std::string::npos);
  h.payload_bytes = ~0ULL;
  EXPECT_TRUE(parse_header(encode_header(h)).has_error());
}

TEST(frame, unknown_versions_kinds_flags_and_reserved_bytes_are_refused) {
  const header_bytes good = encode_header({});
  const auto with = [&](std::size_t at, int value) {
    header_bytes bytes = good;
    bytes[at] = static_cast<std::byte>(value);
    return parse_header(bytes);
  };
  EXPECT_TRUE(parse_header(good).has_value());
  EXPECT_TRUE(with(0, 'B').has_error());
  EXPECT_NE(with(4, 2).error().message().find("version 2"), std::string::npos);
  EXPECT_TRUE(with(6, 0).has_error());
  EXPECT_TRUE(with(6, frame_kind_last).has_value());
  EXPECT_TRUE(with(6, frame_kind_last + 1).has_error());
  EXPECT_TRUE(with(8, flags_known).has_value());
  EXPECT_TRUE(with(8, 2).has_error());
  EXPECT_TRUE(with(9, 1).has_error());
  EXPECT_TRUE(with(10, 1).has_error());
}

TEST(frame, every_kind_has_a_name) {
  std::set<std::string_view> names;
  for (std::uint16_t k = 1; k <= frame_kind_last; ++k) {
    names.insert(to_string(static_cast<frame_kind>(k)));
  }
  EXPECT_EQ(names.size(), frame_kind_last);
  EXPECT_EQ(names.count("unknown"), 0U);
}

TEST(frame, too_much_metadata_is_not_sealed) {
  frame f;
  f.metadata.resize(metadata_bytes_max + std::size_t{1});
  const auto sealed = seal(f);
  ASSERT_TRUE(sealed.has_error());
  EXPECT_EQ(sealed.error().code(), errc::invalid_argument);
}

TEST(frame, sizes_that_differ_from_the_header_are_refused) {
  frame f = sample();
  ASSERT_TRUE(seal(f).has_value());
  f.metadata.push_back(std::byte{0});
  EXPECT_TRUE(check_metadata(f.header, f.metadata).has_error());
  EXPECT_TRUE(check_payload(f.header, f.payload.bytes.first(11)).has_error());
}

}  // namespace
}  // namespace atl::transport
