// Peers of neighbouring versions understand each other. recorded/first.frames holds what the first
// release sent: first_messages(), from slot 4 of node 3 to slot 6 of node 5, each as header,
// metadata and payload, one after the other. It is never written again.
#include "tests/unit/transport/wire/same.hpp"
#include "tests/unit/transport/wire/samples.hpp"

#include <gtest/gtest.h>

#include <cstring>
#include <fstream>
#include <iterator>
#include <set>

namespace atl::transport::wire {
namespace {

std::vector<std::byte> recorded_bytes() {
  std::ifstream in{ATOLL_SOURCE_DIR "/tests/unit/transport/wire/recorded/first.frames",
                   std::ios::binary};
  const std::vector<char> chars{std::istreambuf_iterator<char>{in}, {}};
  std::vector<std::byte> bytes(chars.size());
  std::memcpy(bytes.data(), chars.data(), chars.size());
  return bytes;
}

/// Takes the next frame from the front of the bytes, checked as a receiving end does.
result<frame> take_frame(std::span<const std::byte>& bytes) {
  ATOLL_ASSIGN(const frame_header header, parse_header(bytes));
  bytes = bytes.subspan(frame_header_bytes);
  if (bytes.size() < header.metadata_bytes ||
      bytes.size() - header.metadata_bytes < header.payload_bytes) {
    return error{errc::malformed_frame, "the recording ends inside a frame"};
  }
  const auto metadata = bytes.first(header.metadata_bytes);
  const auto payload = bytes.subspan(header.metadata_bytes, header.payload_bytes);
  bytes = bytes.subspan(header.metadata_bytes + header.payload_bytes);
  ATOLL_TRY(check_metadata(header, metadata));
  ATOLL_TRY(check_payload(header, payload));
  return frame{header,
               {metadata.begin(), metadata.end()},
               own_payload(std::vector<std::byte>{payload.begin(), payload.end()})};
}

TEST(versions, what_the_first_release_sent_means_what_it_meant) {
  const std::vector<std::byte> recorded = recorded_bytes();
  std::span<const std::byte> rest{recorded};
  std::set<frame_kind> kinds;
  for (const message& m : first_messages()) {
    const auto f = take_frame(rest);
    ASSERT_TRUE(f.has_value()) << f.error().message();
    EXPECT_EQ(f->header.source, (address{node_id{3}, 4}));
    EXPECT_EQ(f->header.destination, (address{node_id{5}, 6}));
    EXPECT_EQ(f->header.sender, incarnation{0x0102030405060708});
    const auto back = decode(*f);
    ASSERT_TRUE(back.has_value()) << back.error().message();
    EXPECT_TRUE(same(m, *back)) << to_string(f->header.kind);
    kinds.insert(f->header.kind);
  }
  EXPECT_TRUE(rest.empty());
  EXPECT_EQ(kinds.size(), 12U);
}

template <class T>
T read_at(const std::vector<std::byte>& bytes, std::size_t at) {
  T value{};
  std::memcpy(&value, bytes.data() + at, sizeof value);
  return value;
}

template <class T>
void append(std::vector<std::byte>& bytes, T value) {
  const auto* data = reinterpret_cast<const std::byte*>(&value);
  bytes.insert(bytes.end(), data, data + sizeof value);
}

/// The root table of FlatBuffers metadata as a later release may send it: with a field number 60.
/// A table begins with the distance back to its list of fields; a list is its own size, the table's
/// size, and for each field its place in the table or 0. So a longer list at the end is all it
/// takes; the new field lies where the first four bytes of the table are.
std::vector<std::byte> with_a_field_of_later(std::vector<std::byte> bytes) {
  constexpr std::size_t list_entries = 2 + 61;
  const auto table = read_at<std::uint32_t>(bytes, 0);
  const auto old_list = table - read_at<std::int32_t>(bytes, table);
  const auto old_bytes = read_at<std::uint16_t>(bytes, old_list);
  while (bytes.size() % 8 != 0) bytes.push_back(std::byte{0});
  const std::size_t list = bytes.size();
  append(bytes, static_cast<std::uint16_t>(2 * list_entries));
  for (std::size_t at = 2; at < 2 * list_entries; at += 2) {
    const bool is_old = at < old_bytes;
    append(bytes, is_old ? read_at<std::uint16_t>(bytes, old_list + at) : std::uint16_t{0});
  }
  const std::uint16_t place_of_new = 4;
  std::memcpy(bytes.data() + bytes.size() - 2, &place_of_new, 2);
  const auto distance = static_cast<std::int32_t>(table) - static_cast<std::int32_t>(list);
  std::memcpy(bytes.data() + table, &distance, sizeof distance);
  return bytes;
}

TEST(versions, a_field_that_a_later_release_appended_is_passed_over) {
  for (const message& m : sample_messages()) {
    frame f = encode_any(m).value();
    const std::vector<std::byte> before = f.metadata;
    f.metadata = with_a_field_of_later(before);
    ASSERT_GT(f.metadata.size(), before.size() + 2 * 61);
    const auto back = decode(f);
    ASSERT_TRUE(back.has_value()) << back.error().message();
    EXPECT_TRUE(same(m, *back)) << to_string(f.header.kind);
  }
}

TEST(versions, a_kind_of_a_later_release_is_refused_by_its_header) {
  frame f = encode(heartbeat{}, {}, {}).value();
  f.header.kind = static_cast<frame_kind>(frame_kind_last + 1);
  const auto bytes = seal(f).value();
  const auto header = parse_header(bytes);
  ASSERT_TRUE(header.has_error());
  EXPECT_EQ(header.error().code(), errc::malformed_frame);
}

}  // namespace
}  // namespace atl::transport::wire
