// SPDX-License-Identifier: Apache-2.0
#include "rapport/instant.hpp"

#include <cstdio>
#include <cstdlib>

namespace rapport {
namespace {

using namespace std::chrono;

/// Takes fixed forms off the front of a text; once something does not fit, `ok` stays false.
struct Scanner {
    std::string_view rest;
    bool ok = true;

    int number(std::size_t digits) {
        int n = 0;
        if (rest.size() < digits) ok = false;
        for (std::size_t i = 0; ok && i < digits; ++i) {
            if (rest[i] < '0' || rest[i] > '9')
                ok = false;
            else
                n = n * 10 + (rest[i] - '0');
        }
        if (ok) rest.remove_prefix(digits);
        return n;
    }
    char one_of(std::string_view allowed) {
        if (!ok || rest.empty() || allowed.find(rest.front()) == std::string_view::npos) {
            ok = false;
            return 0;
        }
        const char c = rest.front();
        rest.remove_prefix(1);
        return c;
    }
    int milliseconds_after_point() {
        int ms = 0, digits = 0;
        while (!rest.empty() && rest.front() >= '0' && rest.front() <= '9') {
            if (digits < 3) ms = ms * 10 + (rest.front() - '0');
            ++digits;
            rest.remove_prefix(1);
        }
        if (digits == 0 || digits > 9) ok = false;
        for (; digits < 3; ++digits) ms *= 10;
        return ms;
    }
};

}  // namespace

std::string Instant::rfc3339() const {
    const auto local = at + offset;
    const auto day = floor<days>(local);
    const year_month_day date(day);
    const hh_mm_ss<Milliseconds> time(local - day);
    char text[64];
    std::snprintf(text, sizeof text, "%04d-%02u-%02uT%02d:%02d:%02d.%03d", int(date.year()),
                  unsigned(date.month()), unsigned(date.day()),
                  static_cast<int>(time.hours().count()), static_cast<int>(time.minutes().count()),
                  static_cast<int>(time.seconds().count()),
                  static_cast<int>(time.subseconds().count()));
    std::string out = text;
    if (offset.count() == 0) return out + 'Z';
    const int minutes = std::abs(static_cast<int>(offset.count()));
    std::snprintf(text, sizeof text, "%c%02d:%02d", offset.count() < 0 ? '-' : '+', minutes / 60,
                  minutes % 60);
    return out + text;
}

std::optional<Instant> Instant::parse(std::string_view text) {
    Scanner s{text};
    const int y = s.number(4);
    s.one_of("-");
    const int m = s.number(2);
    s.one_of("-");
    const int d = s.number(2);
    s.one_of("Tt");
    const int hour = s.number(2);
    s.one_of(":");
    const int minute = s.number(2);
    s.one_of(":");
    const int second = s.number(2);
    int ms = 0;
    if (s.ok && !s.rest.empty() && s.rest.front() == '.') {
        s.rest.remove_prefix(1);
        ms = s.milliseconds_after_point();
    }
    const char zone = s.one_of("Zz+-");
    int offset_minutes = 0;
    if (zone == '+' || zone == '-') {
        const int hours = s.number(2);
        s.one_of(":");
        const int rest = s.number(2);
        if (hours > 23 || rest > 59) return std::nullopt;
        offset_minutes = (hours * 60 + rest) * (zone == '-' ? -1 : 1);
    }
    if (!s.ok || !s.rest.empty()) return std::nullopt;

    const year_month_day date(year{y}, month{static_cast<unsigned>(m)},
                              day{static_cast<unsigned>(d)});
    if (y < 1970 || !date.ok() || hour > 23 || minute > 59 || second > 60) return std::nullopt;
    if (std::abs(offset_minutes) > 1023) return std::nullopt;
    const minutes offset{offset_minutes};
    const auto to_the_minute = sys_days(date) + hours{hour} + minutes{minute} - offset;
    // A leap second is inserted at the end of a day in UTC; POSIX time gives it the next second.
    if (second == 60 && to_the_minute - floor<days>(to_the_minute) != hours{23} + minutes{59})
        return std::nullopt;
    return Instant(to_the_minute + seconds{second} + Milliseconds{ms}, offset);
}

Instant Instant::unpack(std::int64_t packed) {
    // Shifting rounds down, also before 1970.
    return {TimePoint(Milliseconds(packed >> 11)), minutes((packed & 0x7FF) - 1024)};
}

}  // namespace rapport
