// Secret bytes and their text forms: what makes join tokens, tickets and serial numbers. Plain
// functions, any thread.
#pragma once

#include <array>
#include <cstddef>
#include <functional>
#include <span>
#include <string>
#include <string_view>

namespace atl::transport::tls {

/// Fills the bytes with numbers nobody can guess. Tests give their own.
using random_bytes = std::function<void(std::span<std::byte>)>;

/// The generator of the system's TLS library, seeded by the kernel. A machine without entropy ends
/// the process: a key that can be guessed is worse.
void secure_random(std::span<std::byte> into);

using digest = std::array<std::byte, 32>;
digest sha256(std::span<const std::byte> bytes);
digest hmac_sha256(std::span<const std::byte> key, std::span<const std::byte> bytes);

/// In a time that depends on the sizes alone.
bool equal_in_constant_time(std::span<const std::byte> a, std::span<const std::byte> b) noexcept;

/// Lower case, two digits a byte.
std::string to_hex(std::span<const std::byte> bytes);
bool is_hex(std::string_view text) noexcept;

}  // namespace atl::transport::tls
