// SPDX-License-Identifier: Apache-2.0
#include "rapport/environment.hpp"

#include <fcntl.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>
#ifdef __APPLE__
#include <mach/mach_time.h>
#include <sys/sysctl.h>
#endif

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <string_view>

#include "model/hash.hpp"
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

// 0 if the system does not say.
std::uint64_t boot_id() {
    std::array<char, 64> text{};
    std::size_t size = 0;
#ifdef __APPLE__
    size = text.size();
    if (::sysctlbyname("kern.bootsessionuuid", text.data(), &size, nullptr, 0) != 0) return 0;
#else
    const int file = ::open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    if (file < 0) return 0;
    const ssize_t got = ::read(file, text.data(), text.size());
    ::close(file);
    if (got <= 0) return 0;
    size = static_cast<std::size_t>(got);
#endif
    return hash64(std::string_view(text.data(), size)) | 1;
}

std::int64_t ms_since_boot() {
#ifdef __APPLE__
    mach_timebase_info_data_t base{};
    ::mach_timebase_info(&base);
    const std::uint64_t ns = ::mach_continuous_time() * base.numer / base.denom;
    return static_cast<std::int64_t>(ns / 1'000'000);
#else
    timespec t{};
    ::clock_gettime(CLOCK_BOOTTIME, &t);
    return std::int64_t{t.tv_sec} * 1000 + t.tv_nsec / 1'000'000;
#endif
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

    std::optional<Uptime> uptime() override {
        static const std::uint64_t boot = boot_id();
        if (boot == 0) return std::nullopt;
        return Uptime{boot, ms_since_boot()};
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
