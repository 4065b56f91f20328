// SPDX-License-Identifier: Apache-2.0
#include "progress.hpp"

#include <unistd.h>

#include <algorithm>
#include <iostream>

#include "output.hpp"

namespace rapport::cli {

namespace {
constexpr std::size_t kBarColumns = 24;
constexpr auto kShowEvery = std::chrono::milliseconds(100);
}  // namespace

ProgressLine::ProgressLine() : terminal_(isatty(STDERR_FILENO) != 0) {}

bool ProgressLine::due() {
    if (!terminal_) return false;
    const auto now = std::chrono::steady_clock::now();
    if (now < next_) return false;
    next_ = now + kShowEvery;
    return true;
}

void ProgressLine::show(std::uint64_t done, std::uint64_t total, const std::string& text) {
    if (!terminal_) return;
    std::string line;
    if (total > 0) {
        const auto filled = static_cast<std::size_t>(std::min(done, total) * kBarColumns / total);
        line = "[" + std::string(filled, '#') + std::string(kBarColumns - filled, '.') + "] ";
    }
    line += text;
    const std::size_t columns = terminal_width(STDERR_FILENO);
    if (columns > 1) line = fitted(line, columns - 1);
    std::cerr << "\r\x1b[K" << line << std::flush;
    shown_ = true;
}

void ProgressLine::clear() {
    if (shown_) std::cerr << "\r\x1b[K" << std::flush;
    shown_ = false;
}

}  // namespace rapport::cli
