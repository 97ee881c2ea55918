// What an elastic plan does and why, for people. Pure.
#pragma once

#include "cluster/elastic/elastic.hpp"

#include <string>
#include <vector>

namespace atl::cluster::elastic {

/// First what it does in all and what it gains, then one sentence a copy, of the first few.
std::vector<std::string> sentences_of(const elastic_input& input, const elastic_plan& plan);

}  // namespace atl::cluster::elastic
