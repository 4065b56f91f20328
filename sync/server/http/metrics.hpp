// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>

#include "server/engine.hpp"

namespace rapport::server::http {

/// What the server has done since it was started, in numbers for whoever watches it; no tenant, no
/// name, nothing of a record.  Thread-safety: thread-safe.
class Metrics {
public:
    void request(std::string_view path, int status, std::size_t bytes_in, std::size_t bytes_out);
    void answer(const Engine::Answer& answer);
    void commit(std::chrono::microseconds took, bool failed);

    /// What is so now, beside what was counted.
    struct Now {
        std::size_t connections = 0;
        std::size_t calls_waiting = 0;  ///< for a commit
    };
    /// In the text format of Prometheus, version 0.0.4.
    std::string text(const Now& now) const;

private:
    /// Upper bounds; what took longer is only in the count.
    static constexpr std::array<std::int64_t, 12> kCommitMicroseconds{
        1'000,   2'500,   5'000,   10'000,  25'000,    50'000,
        100'000, 250'000, 500'000, 1000000, 2'500'000, 10'000'000};

    mutable std::mutex mutex_;
    std::map<std::pair<std::string, int>, std::uint64_t> requests_;  ///< by path and status
    std::uint64_t bytes_in_ = 0, bytes_out_ = 0;
    std::array<std::uint64_t, 5> bundles_{};  ///< by verdict
    std::uint64_t compared_ = 0, stretches_ = 0, records_ = 0, recovered_ = 0, forked_ = 0;
    std::array<std::uint64_t, kCommitMicroseconds.size()> commits_up_to_{};
    std::uint64_t commits_ = 0, commit_us_ = 0, commits_failed_ = 0;
};

}  // namespace rapport::server::http
