// Whether two nodes have the same model: a hash over what config.json means and over all tensors
// (name, type, shape, and their bytes or a sample of them), however they are spread over files. It
// tells checkpoints apart that were mixed up or damaged; it is no proof against somebody who forges
// one. Experts are sampled only, since nodes compare what each of them answers before it is used.
// Blocks on files; call from no actor.
#pragma once

#include "runtime/model/checkpoint.hpp"

#include <cstddef>
#include <string>

namespace atl::model {

/// Of each expert's tensor the first and the last so many bytes are sampled.
inline constexpr std::size_t fingerprint_sample_bytes = 4096;
/// Other tensors count whole where all of them together have at most so many bytes; of those of a
/// larger model so many samples are taken, evenly spread.
inline constexpr std::size_t fingerprint_whole_bytes = std::size_t{1} << 30;
inline constexpr std::size_t fingerprint_samples = 64;

/// 32 hexadecimal digits: XXH3-128.
std::string fingerprint(const checkpoint& source);

}  // namespace atl::model
