// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace rapport::cli {

/// One line on standard error that shows how far something is; nothing at all when that is no
/// terminal.
class ProgressLine {
public:
    ProgressLine();
    ~ProgressLine() { clear(); }
    ProgressLine(const ProgressLine&) = delete;
    ProgressLine& operator=(const ProgressLine&) = delete;

    /// Is it time to show something again? At most ten times a second.
    bool due();
    /// A bar, if the total is known (not 0), and the text.
    void show(std::uint64_t done, std::uint64_t total, const std::string& text);
    void clear();

private:
    bool terminal_;
    bool shown_ = false;
    std::chrono::steady_clock::time_point next_{};
};

}  // namespace rapport::cli
