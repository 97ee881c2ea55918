#include "transport/tls/secrets.hpp"

#include "runtime/base/assert.hpp"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>

#include <algorithm>

namespace atl::transport::tls {

namespace {

const unsigned char* raw(std::span<const std::byte> bytes) {
  return reinterpret_cast<const unsigned char*>(bytes.data());
}

}  // namespace

void secure_random(std::span<std::byte> into) {
  auto* const bytes = reinterpret_cast<unsigned char*>(into.data());
  ATOLL_ASSERT(RAND_bytes(bytes, static_cast<int>(into.size())) == 1);
}

digest sha256(std::span<const std::byte> bytes) {
  digest made{};
  auto* const out = reinterpret_cast<unsigned char*>(made.data());
  ATOLL_ASSERT(EVP_Digest(raw(bytes), bytes.size(), out, nullptr, EVP_sha256(), nullptr) == 1);
  return made;
}

digest hmac_sha256(std::span<const std::byte> key, std::span<const std::byte> bytes) {
  digest made{};
  auto* const out = reinterpret_cast<unsigned char*>(made.data());
  ATOLL_ASSERT(HMAC(EVP_sha256(),
                    key.data(),
                    static_cast<int>(key.size()),
                    raw(bytes),
                    bytes.size(),
                    out,
                    nullptr) != nullptr);
  return made;
}

bool equal_in_constant_time(std::span<const std::byte> a, std::span<const std::byte> b) noexcept {
  return a.size() == b.size() && CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

std::string to_hex(std::span<const std::byte> bytes) {
  static constexpr std::string_view digits = "0123456789abcdef";
  std::string text;
  text.reserve(2 * bytes.size());
  for (const std::byte one : bytes) {
    text += digits[std::to_integer<std::size_t>(one >> 4)];
    text += digits[std::to_integer<std::size_t>(one & std::byte{15})];
  }
  return text;
}

bool is_hex(std::string_view text) noexcept {
  return std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
  });
}

}  // namespace atl::transport::tls
