// SPDX-License-Identifier: Apache-2.0
#include "rapport/environment.hpp"

#include <fcntl.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>

#include "rapport/error.hpp"

namespace rapport {
namespace {

void read_urandom(std::span<std::uint8_t> out) {
    const int file = ::open("/dev/urandom", O_RDONLY | O_CLOEXEC);
    if (file < 0) throw Error(ErrorCode::internal, "the system has no random source", errno);
    while (!out.empty()) {
        const ssize_t got = ::read(file, out.data(), out.size());
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) {
            const int why = errno;
            ::close(file);
            throw Error(ErrorCode::internal, "the system's random source gave nothing", why);
        }
        out = out.subspan(static_cast<std::size_t>(got));
    }
    ::close(file);
}

class SystemEnvironment final : public Environment {
public:
    Instant now() override {
        timespec t{};
        ::clock_gettime(CLOCK_REALTIME, &t);
        tm local{};
        ::localtime_r(&t.tv_sec, &local);
        // Columns and wire hold whole minutes; no zone in use today has seconds.
        const std::chrono::minutes offset{std::clamp<long>(local.tm_gmtoff / 60, -1023, 1023)};
        return {TimePoint(Milliseconds(std::int64_t{t.tv_sec} * 1000 + t.tv_nsec / 1'000'000)),
                offset};
    }

    void random(std::span<std::uint8_t> out) override {
        constexpr std::size_t kMostAtOnce = 256;
        while (!out.empty()) {
            const auto piece = out.first(std::min(out.size(), kMostAtOnce));
            if (::getentropy(piece.data(), piece.size()) != 0) return read_urandom(out);
            out = out.subspan(piece.size());
        }
    }
};

}  // namespace

std::uint64_t Environment::random64() {
    std::array<std::uint8_t, 8> bytes{};
    random(bytes);
    std::uint64_t v = 0;
    for (const std::uint8_t b : bytes) v = v << 8 | b;
    return v;
}

Environment& system_environment() {
    // Never destroyed: threads may still draw ids while static objects go.
    static Environment* const environment = new SystemEnvironment;
    return *environment;
}

}  // namespace rapport
