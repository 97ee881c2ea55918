// Any bytes as tokenizer.json, then as text for the tokenizer they made (or for a fixed one):
// no crash, and what encodes decodes to the same text where each byte has a token.
#include "runtime/model/byte_alphabet.hpp"
#include "runtime/model/tokenizer.hpp"
#include "runtime/model/utf8.hpp"

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>

namespace {

/// All bytes, one merge, an added token, and the split patterns of DeepSeek V3's kind.
std::string fixed_tokenizer() {
  std::string vocab;
  for (unsigned byte = 0; byte < 256; ++byte) {
    std::string name;
    atl::model::append_utf8(name, atl::model::character_of(static_cast<std::uint8_t>(byte)));
    if (name == "\"" || name == "\\") name = "\\" + name;
    vocab += "\"" + name + "\":" + std::to_string(byte) + ",";
  }
  return R"({"added_tokens":[{"id":300,"content":"<a>","normalized":false,"special":true}],)"
         R"("pre_tokenizer":{"type":"Sequence","pretokenizers":[)"
         R"({"type":"Split","pattern":{"Regex":"\\p{N}{1,3}"},"behavior":"Isolated"},)"
         R"({"type":"Split","pattern":{"Regex":"\\s+$"},"behavior":"Isolated"},)"
         R"({"type":"Split","pattern":{"Regex":" ?[\\p{P}\\p{S}]+|\\s+(?!\\S)|\\s+"},)"
         R"("behavior":"Isolated"},)"
         R"({"type":"ByteLevel","add_prefix_space":false,"use_regex":true}]},)"
         R"("decoder":{"type":"ByteLevel"},"model":{"type":"BPE","vocab":{)" +
         vocab + R"("ab":256},"merges":["a b"]}})";
}

void encode_with(const atl::model::tokenizer& made, std::string_view text, bool must_round_trip) {
  const auto ids = made.encode(text, {});
  if (ids.has_error()) return;
  const std::string decoded = made.decode(*ids, false);
  if (must_round_trip && decoded != text) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const auto fixed =
      atl::model::tokenizer::parse(fixed_tokenizer(), "", "tokenizer.json").value();
  const std::string_view input{reinterpret_cast<const char*>(data), size};
  encode_with(*fixed, input, true);
  const auto made = atl::model::tokenizer::parse(input, input, "tokenizer.json");
  if (!made.has_error()) encode_with(**made, input, false);
  return 0;
}
