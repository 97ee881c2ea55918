#include "runtime/model/safetensors.hpp"
#include "tests/unit/runtime/model/checkpoint_fixture.hpp"

#include <gtest/gtest.h>

namespace atl::model {
namespace {

void expect_refused(const bytes& file, const std::string& part) {
  const auto parsed = parse_safetensors(file, "/m/x.safetensors");
  ASSERT_TRUE(parsed.has_error()) << part;
  EXPECT_EQ(parsed.error().code(), errc::invalid_model);
  EXPECT_TRUE(parsed.error().message().starts_with("/m/x.safetensors: "));
  EXPECT_NE(parsed.error().message().find(part), std::string::npos) << parsed.error().message();
}

std::string one(const std::string& shape, const std::string& offsets, const std::string& dtype) {
  return R"({"a":{"dtype":")" + dtype + R"(","shape":)" + shape + R"(,"data_offsets":)" + offsets +
         "}}";
}

TEST(safetensors, reads_what_the_format_allows) {
  const std::string header = R"(  {"__metadata__":{"format":"pt"},)"
                             R"("b":{"shape":[2,3],"data_offsets":[4,16],"dtype":"BF16"},)"
                             R"("a":{"dtype":"F32","shape":[],"data_offsets":[0,4]},)"
                             R"("empty":{"dtype":"I64","shape":[3,0],"data_offsets":[16,16]},)"
                             R"("four":{"dtype":"F4","shape":[4],"data_offsets":[16,18]}}   )";
  const bytes file = raw_safetensors(header, 18);
  const auto tensors = parse_safetensors(file, "x");
  ASSERT_TRUE(tensors.has_value()) << tensors.error().message();
  ASSERT_EQ(tensors->size(), 4U);
  EXPECT_EQ((*tensors)[0].name, "a");
  EXPECT_EQ((*tensors)[0].bytes, 4U);
  EXPECT_EQ((*tensors)[1].name, "b");
  EXPECT_EQ((*tensors)[1].type.name, "BF16");
  EXPECT_EQ((*tensors)[1].shape, (std::vector<std::uint64_t>{2, 3}));
  EXPECT_EQ((*tensors)[1].offset, 8 + header.size() + 4);
  EXPECT_EQ((*tensors)[2].bytes, 0U);
  EXPECT_EQ((*tensors)[3].bytes, 2U);
  const auto none = parse_safetensors(raw_safetensors("{}", 0), "x");
  ASSERT_TRUE(none.has_value());
  EXPECT_TRUE(none->empty());
}

TEST(safetensors, refuses_header_lengths_that_cannot_be) {
  expect_refused({}, "has 0 bytes");
  expect_refused(bytes(7), "has 7 bytes");
  bytes huge(16);
  const std::uint64_t length = 0xFFFFFF000000003CULL;
  std::memcpy(huge.data(), &length, sizeof length);
  expect_refused(huge, "at most 100000000");
  bytes longer = raw_safetensors("{}", 0);
  longer[0] = std::byte{3};
  expect_refused(longer, "the header claims 3 bytes");
  longer[0] = std::byte{0};
  expect_refused(longer, "not UTF-8 JSON");
}

TEST(safetensors, refuses_headers_that_are_no_json) {
  expect_refused(raw_safetensors("\xFF", 0), "not UTF-8 JSON");
  expect_refused(raw_safetensors("{", 0), "not UTF-8 JSON");
  expect_refused(raw_safetensors("{\"\xC3\x28\":1}", 0), "not UTF-8 JSON");
  expect_refused(raw_safetensors("{} {}", 0), "goes on");
  expect_refused(raw_safetensors("[]", 0), "a list where none belongs");
  expect_refused(raw_safetensors("3", 0), "a number where none belongs");
  expect_refused(raw_safetensors(std::string(5000, '['), 0), "where none belongs");
}

TEST(safetensors, refuses_entries_against_the_schema) {
  const auto refused = [](const std::string& header, const std::string& part) {
    expect_refused(raw_safetensors(header, 4), part);
  };
  refused(R"({"a":1})", "a number where none belongs");
  refused(R"({"a":{"dtype":"F32","shape":[1]}})", "lacks");
  refused(one("[1]", "[0,4]", "F33"), "dtype F33 is unknown");
  refused(one("[-1]", "[0,4]", "F32"), "negative");
  refused(one("[1.0]", "[0,4]", "F32"), "fractional");
  refused(one("[1]", "[0,-4]", "F32"), "negative");
  refused(one("[1]", "[0,4.5]", "F32"), "fractional");
  refused(one("[1]", "[0]", "F32"), "two numbers");
  refused(one("[1]", "[0,4,4]", "F32"), "number where none");
  refused(one("[[1]]", "[0,4]", "F32"), "list where none");
  refused(one("[null]", "[0,4]", "F32"), "null");
  refused(one("\"1\"", "[0,4]", "F32"), "string where none");
  refused(one("1", "[0,4]", "F32"), "number where none");
  refused(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4],"x":1}})", "unknown field x");
  refused(R"({"a":{"dtype":"F32","shape":[1],"shape":[1],"data_offsets":[0,4]}})", "given twice");
  refused(R"({"__metadata__":{"a":1}})", "number where none");
  refused(R"({"__metadata__":{"a":{}}})", "object where none");
  refused(R"({"__metadata__":{},"__metadata__":{}})", "given twice");
}

TEST(safetensors, refuses_a_name_given_twice) {
  const std::string header = R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},)"
                             R"("a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})";
  expect_refused(raw_safetensors(header, 8), "tensor a is given twice");
}

TEST(safetensors, refuses_sizes_that_do_not_add_up) {
  expect_refused(raw_safetensors(one("[2,2]", "[0,4]", "I32"), 4), "needs 16 bytes");
  expect_refused(raw_safetensors(one("[2,18446744073709551614]", "[0,4]", "I32"), 4), "overflows");
  expect_refused(raw_safetensors(one("[2,9223372036854775807]", "[0,4]", "I32"), 4), "overflows");
  expect_refused(raw_safetensors(one("[18446744073709551616]", "[0,4]", "I32"), 4), "above 2^64");
  expect_refused(raw_safetensors(one("[3]", "[0,1]", "F4"), 1), "ends inside a byte");
  expect_refused(raw_safetensors(one("[1]", "[4,0]", "F32"), 4), "should begin at 0");
}

TEST(safetensors, refuses_data_that_overlap_or_leave_holes) {
  const auto two = [](const std::string& begin, const std::string& end) {
    return R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},)"
           R"("b":{"dtype":"F32","shape":[1],"data_offsets":[)" +
           begin + "," + end + "]}}";
  };
  EXPECT_TRUE(parse_safetensors(raw_safetensors(two("4", "8"), 8), "x").has_value());
  expect_refused(raw_safetensors(two("3", "7"), 8), "tensor b");
  expect_refused(raw_safetensors(two("5", "9"), 9), "tensor b");
  expect_refused(raw_safetensors(two("0", "4"), 4), "overlap");
  expect_refused(raw_safetensors(two("4", "8"), 6), "cut short");
  expect_refused(raw_safetensors(two("4", "8"), 9), "left over");
  expect_refused(raw_safetensors("{}", 1), "left over");
}

TEST(safetensors, every_cut_of_a_file_is_refused) {
  tensor_map tensors;
  tensors["a"] = {"F32", {2}, bytes(8)};
  tensors["b"] = {"U8", {3}, bytes(3)};
  const bytes file = to_safetensors(tensors);
  ASSERT_TRUE(parse_safetensors(file, "x").has_value());
  for (std::size_t size = 0; size < file.size(); ++size)
    EXPECT_TRUE(parse_safetensors(std::span{file}.first(size), "x").has_error()) << size;
}

TEST(safetensors, finds_tensors_of_a_real_file) {
  const auto file =
      safetensors_file::open(*system_disk(), golden_directory("v2-lite") + "/model.safetensors");
  ASSERT_TRUE(file.has_value());
  const stored_tensor* norm = file->find("model.norm.weight");
  ASSERT_NE(norm, nullptr);
  EXPECT_EQ(file->data(*norm).size(), 64U * 4);
  EXPECT_EQ(file->find("model.norm"), nullptr);
  EXPECT_EQ(file->find("zzz"), nullptr);
}

}  // namespace
}  // namespace atl::model
