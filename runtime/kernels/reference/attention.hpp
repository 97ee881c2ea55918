// What the attention kernels should give, in plain double-precision code: an oracle for tests.
#pragma once

#include "runtime/kernels/attention.hpp"

#include <vector>

namespace atl::kernels::reference {

/// z (tokens, heads, kv_rank): softmax over all visible keys at once.
std::vector<double>
attention(const attention_shape& shape, const query_slice& queries, const latent_pages& keys);

}  // namespace atl::kernels::reference
