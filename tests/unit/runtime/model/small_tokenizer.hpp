// A minimal byte-level tokenizer.json to vary, for tests: the 256 bytes as tokens 0 to 255, and
// what a test adds.
#pragma once

#include "runtime/model/byte_alphabet.hpp"
#include "runtime/model/tokenizer.hpp"
#include "runtime/model/utf8.hpp"

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <gtest/gtest.h>

#include <string>

namespace atl::model::test {

inline boost::json::object small_tokenizer() {
  boost::json::object vocab;
  for (unsigned byte = 0; byte < 256; ++byte) {
    std::string name;
    append_utf8(name, character_of(static_cast<std::uint8_t>(byte)));
    vocab[name] = byte;
  }
  return {
      {"added_tokens", boost::json::array{}},
      {"normalizer", nullptr},
      {"pre_tokenizer", {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", false}}},
      {"post_processor", nullptr},
      {"decoder", {{"type", "ByteLevel"}}},
      {"model", {{"type", "BPE"}, {"vocab", vocab}, {"merges", boost::json::array{}}}}};
}

/// Adds a token to the vocabulary with the next id; returns the id.
inline token_id add_to_vocab(boost::json::object& file, const std::string& name) {
  auto& vocab = file["model"].as_object()["vocab"].as_object();
  const auto id = static_cast<token_id>(vocab.size());
  vocab[name] = id;
  return id;
}

inline boost::json::array& merges_of(boost::json::object& file) {
  return file["model"].as_object()["merges"].as_array();
}

inline result<std::shared_ptr<const tokenizer>> parse(const boost::json::object& file,
                                                      const std::string& config = "") {
  return tokenizer::parse(boost::json::serialize(file), config, "tokenizer.json");
}

/// Refused with this code, by a message that has all these parts.
inline void expect_refused(const result<std::shared_ptr<const tokenizer>>& parsed,
                           errc code,
                           const std::vector<std::string>& parts) {
  ASSERT_TRUE(parsed.has_error());
  EXPECT_EQ(parsed.error().code(), code) << parsed.error().message();
  for (const auto& part : parts)
    EXPECT_NE(parsed.error().message().find(part), std::string::npos)
        << part << " in: " << parsed.error().message();
}

}  // namespace atl::model::test
