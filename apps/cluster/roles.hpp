// Roles of nodes as words and as the bits of the wire (transport/wire/control.hpp). Pure.
#pragma once

#include "runtime/base/result.hpp"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace atl::ops {

/// "coordinator", "gateway", "attention", "expert"; refuses other words and an empty list.
result<std::uint32_t> role_bits(const std::vector<std::string>& names);
/// "gateway,attention" taken apart and checked; `option` begins the error.
result<std::vector<std::string>> parse_roles(std::string_view option, std::string_view text);
/// In the order above.
std::vector<std::string> role_names(std::uint32_t bits);
/// With commas between them.
std::string roles_text(std::uint32_t bits);

}  // namespace atl::ops
