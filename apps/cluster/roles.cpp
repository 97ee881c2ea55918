#include "apps/cluster/roles.hpp"

#include "transport/wire/control.hpp"

#include <array>
#include <utility>

namespace atl::ops {
namespace {

namespace wire = transport::wire;

constexpr std::array<std::pair<std::uint32_t, std::string_view>, 4> all{
    {{wire::role_coordinator, "coordinator"},
     {wire::role_gateway, "gateway"},
     {wire::role_attention, "attention"},
     {wire::role_expert, "expert"}}};

}  // namespace

result<std::uint32_t> role_bits(const std::vector<std::string>& names) {
  std::uint32_t bits = 0;
  for (const auto& name : names) {
    std::uint32_t bit = 0;
    for (const auto& [value, word] : all)
      if (word == name) bit = value;
    if (bit == 0)
      return error{errc::invalid_argument,
                   "there is no role \"" + name +
                       "\"; roles are coordinator, gateway, attention and expert"};
    bits |= bit;
  }
  if (bits == 0)
    return error{errc::invalid_argument,
                 "no role; give some of coordinator, gateway, attention and expert"};
  return bits;
}

result<std::vector<std::string>> parse_roles(std::string_view option, std::string_view text) {
  std::vector<std::string> names;
  for (;;) {
    const std::string_view name = text.substr(0, text.find(','));
    if (!name.empty()) names.emplace_back(name);
    if (name.size() == text.size()) break;
    text.remove_prefix(name.size() + 1);
  }
  const auto bits = role_bits(names);
  if (bits.has_error())
    return error{errc::invalid_argument, std::string{option} + ": " + bits.error().message()};
  return role_names(*bits);
}

std::vector<std::string> role_names(std::uint32_t bits) {
  std::vector<std::string> names;
  for (const auto& [value, word] : all)
    if ((bits & value) != 0) names.emplace_back(word);
  return names;
}

std::string roles_text(std::uint32_t bits) {
  std::string text;
  for (const auto& name : role_names(bits)) text += (text.empty() ? "" : ",") + name;
  return text;
}

}  // namespace atl::ops
