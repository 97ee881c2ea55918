// Requests as people write them: one JSON object a line, or a text on the command line. Every field
// is checked for type and range; an error names file, line, field, value and what would be right.
// Pure but for reading the file; any thread.
#pragma once

#include "runtime/base/disk.hpp"
#include "runtime/base/ids.hpp"
#include "runtime/base/result.hpp"
#include "runtime/model/sampler.hpp"
#include "runtime/model/tokenizer.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace atl::apps {

/// How a text is to be continued.
struct sampling {
  model::sampling_params params;
  std::int64_t tokens_max = 128;
  std::vector<std::string> stop;
  bool ignore_eos = false;
  bool is_seeded = false;  // someone chose params.seed
};

struct prompt {
  std::string source;  // "FILE:LINE" or "-p", for messages
  std::string id;      // as JSON
  std::optional<std::string> text;
  std::vector<token_id> tokens;  // as given; of a text after encode_prompts()
  sampling how;
};

enum class line_fields {
  prompt,           // id, and tokens or text
  prompt_sampling,  // the same and sampling fields
  text,             // text alone
  tokens            // tokens alone
};

/// Lines of `content`; blank ones are skipped, and there must be another. `defaults` holds for what
/// a line leaves out; a line without an id gets its number, from 0.
result<std::vector<prompt>> parse_prompts(std::string_view content,
                                          const std::string& file,
                                          line_fields fields,
                                          const sampling& defaults);

/// The same from a file, or from standard input where it is "-".
result<std::vector<prompt>>
read_prompts(disk& files, const std::string& file, line_fields fields, const sampling& defaults);

/// Gives every prompt its tokens, checks them against the vocabulary and the context, and lets no
/// answer leave the context. `with` may be null where all prompts are tokens.
result<void> encode_prompts(std::vector<prompt>& prompts,
                            const model::tokenizer* with,
                            bool with_bos,
                            std::int64_t vocabulary,
                            std::int64_t context_max);

}  // namespace atl::apps
