// Whether two nodes have the same model: a hash over what config.json means and over all tensors
// (name, type, shape, and a sample of their bytes), however they are spread over files. It tells
// checkpoints apart that were mixed up; it is no proof against somebody who forges one. Blocks on
// files; call from no actor.
#pragma once

#include "runtime/model/checkpoint.hpp"

#include <cstddef>
#include <string>

namespace atl::model {

/// Of each tensor the first and the last so many bytes are sampled.
inline constexpr std::size_t fingerprint_sample_bytes = 4096;

/// 32 hexadecimal digits: XXH3-128.
std::string fingerprint(const checkpoint& source);

}  // namespace atl::model
