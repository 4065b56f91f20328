// SPDX-License-Identifier: Apache-2.0
#include "server/auth/secret.hpp"

#include <sodium.h>

#include <array>
#include <cstdint>
#include <vector>

#include "rapport/error.hpp"

namespace rapport::server {

namespace {

constexpr std::string_view kCodeAlphabet = "23456789ABCDEFGHJKLMNPQRSTUVWXYZ";
constexpr std::size_t kCodeLetters = 16;
constexpr std::size_t kCodeGroup = 4;
static_assert(kCodeAlphabet.size() == 32);  // five bits a letter

std::string grouped(std::string_view letters) {
    std::string out;
    for (std::size_t i = 0; i < letters.size(); ++i) {
        if (i != 0 && i % kCodeGroup == 0) out += '-';
        out += letters[i];
    }
    return out;
}

}  // namespace

std::string sha256_hex(std::string_view bytes) {
    std::array<unsigned char, crypto_hash_sha256_BYTES> hash{};
    crypto_hash_sha256(hash.data(), reinterpret_cast<const unsigned char*>(bytes.data()),
                       bytes.size());
    std::array<char, crypto_hash_sha256_BYTES * 2 + 1> hex{};
    sodium_bin2hex(hex.data(), hex.size(), hash.data(), hash.size());
    return {hex.data(), hex.size() - 1};
}

bool equal_in_constant_time(std::string_view a, std::string_view b) {
    return a.size() == b.size() && sodium_memcmp(a.data(), b.data(), a.size()) == 0;
}

std::string base64url(std::string_view bytes) {
    constexpr int kVariant = sodium_base64_VARIANT_URLSAFE_NO_PADDING;
    std::string out(sodium_base64_encoded_len(bytes.size(), kVariant), '\0');
    sodium_bin2base64(out.data(), out.size(), reinterpret_cast<const unsigned char*>(bytes.data()),
                      bytes.size(), kVariant);
    out.pop_back();  // its terminating zero
    return out;
}

std::optional<std::string> from_base64url(std::string_view text) {
    std::string out(text.size() * 3 / 4 + 1, '\0');
    std::size_t size = 0;
    if (sodium_base642bin(reinterpret_cast<unsigned char*>(out.data()), out.size(), text.data(),
                          text.size(), nullptr, &size, nullptr,
                          sodium_base64_VARIANT_URLSAFE_NO_PADDING) != 0)
        return std::nullopt;
    out.resize(size);
    if (base64url(out) != text) return std::nullopt;
    return out;
}

std::string new_code(Environment& environment) {
    std::array<std::uint8_t, kCodeLetters> random{};
    environment.random(random);
    std::string letters;
    for (const std::uint8_t byte : random) letters += kCodeAlphabet[byte % kCodeAlphabet.size()];
    return grouped(letters);
}

std::optional<std::string> canonical_code(std::string_view typed) {
    std::string letters;
    for (char c : typed) {
        if (c == '-' || c == ' ') continue;
        if (c >= 'a' && c <= 'z') c = static_cast<char>(c - 'a' + 'A');
        if (kCodeAlphabet.find(c) == std::string_view::npos || letters.size() == kCodeLetters)
            return std::nullopt;
        letters += c;
    }
    if (letters.size() != kCodeLetters) return std::nullopt;
    return grouped(letters);
}

std::string new_api_key(Environment& environment) {
    std::array<std::uint8_t, 32> random{};
    environment.random(random);
    return "rk_" + base64url({reinterpret_cast<const char*>(random.data()), random.size()});
}

}  // namespace rapport::server
