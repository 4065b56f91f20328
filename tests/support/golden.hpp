// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fstream>
#include <stdexcept>
#include <string>
#include <string_view>

namespace rapport::test {

/// Lower-case hex digits, 32 bytes a line: the form of the golden files.
inline std::string to_hex(std::string_view bytes) {
    static constexpr char kDigits[] = "0123456789abcdef";
    std::string text;
    for (std::size_t i = 0; i < bytes.size(); ++i) {
        const auto byte = static_cast<unsigned char>(bytes[i]);
        text += kDigits[byte >> 4];
        text += kDigits[byte & 15U];
        if (i % 32 == 31 || i + 1 == bytes.size()) text += '\n';
    }
    return text;
}

/// A golden file as it stands. Whoever changes an encoding changes it in the same commit as the
/// document and the version.
inline std::string golden(const std::string& name) {
    std::ifstream in(std::string(RAPPORT_GOLDEN_DIR) + "/" + name, std::ios::binary);
    if (!in) throw std::runtime_error("there is no golden file " + name);
    return {std::istreambuf_iterator<char>(in), {}};
}

}  // namespace rapport::test
