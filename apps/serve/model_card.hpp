// What a served model says of itself: which weights it has, and how its makers want text to be
// drawn. Reads files; call from no I/O thread.
#pragma once

#include "actors/cluster_options.hpp"
#include "runtime/base/disk.hpp"
#include "runtime/base/result.hpp"
#include "runtime/model/sampler.hpp"
#include "runtime/model/weights.hpp"

#include <string>

namespace atl::serve {

/// "atoll-VERSION-COMMIT-wDIGEST-CLASS": equal fingerprints, equal seeds and equal requests give
/// equal texts. The digest is of the shards' headers and of samples all over them, which any
/// training changes; the class is "invariant", or "fast" with its instruction set, followed by
/// "bf16-rows" or "fp8-rows" where rows travel so.
std::string system_fingerprint(const model::model_weights& weights,
                               const actors::cluster_options& resolved);

/// temperature, top_p, top_k and repetition_penalty of generation_config.json where it names them,
/// else 1, 1, off and 1. Values out of range are left out, and said so in the log.
result<model::sampling_params> sampling_defaults(disk& files, const std::string& directory);

}  // namespace atl::serve
