// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <charconv>
#include <ctime>
#include <filesystem>
#include <iostream>
#include <numeric>

#include "command.hpp"

namespace rapport::cli {

namespace {

// Insertions, deletions, replacements and swaps of neighbours.
std::size_t distance(std::string_view a, std::string_view b) {
    std::vector<std::size_t> before_last, last(b.size() + 1), row(b.size() + 1);
    std::iota(last.begin(), last.end(), std::size_t{0});
    for (std::size_t i = 1; i <= a.size(); ++i) {
        row[0] = i;
        for (std::size_t j = 1; j <= b.size(); ++j) {
            row[j] = std::min(
                {last[j] + 1, row[j - 1] + 1, last[j - 1] + (a[i - 1] == b[j - 1] ? 0U : 1U)});
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                row[j] = std::min(row[j], before_last[j - 2] + 1);
        }
        before_last = last;
        last = row;
    }
    return last[b.size()];
}

std::optional<Milliseconds> parsed_duration(std::string_view text) {
    std::int64_t count = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), count);
    if (error != std::errc{} || count < 0 || count > 1'000'000'000) return std::nullopt;
    const std::string_view unit = text.substr(static_cast<std::size_t>(end - text.data()));
    struct Unit {
        std::string_view name;
        std::int64_t ms;
    };
    for (const Unit& u : {Unit{"ms", 1},
                          {"s", 1000},
                          {"m", 60'000},
                          {"h", 3'600'000},
                          {"d", 86'400'000},
                          {"w", 604'800'000}})
        if (u.name == unit) return Milliseconds(count * u.ms);
    return std::nullopt;
}

std::optional<Language> chosen_language;

}  // namespace

Store open_store(const std::string& file, bool read_only, Milliseconds lock_wait) {
    std::error_code ignored;
    if (!std::filesystem::exists(file, ignored))
        throw Failure(kRefused, file + ": no such file; make one with `rapport init " + file + "`");
    Store::Options options;
    options.read_only = read_only;
    options.lock_wait = lock_wait;
    return Store::open(file, options);
}

void complain(const std::string& sentence) { std::cerr << "rapport: " << sentence << '\n'; }

Language language() { return chosen_language ? *chosen_language : language_of_environment(); }

void use_language(const std::string& name) {
    chosen_language = language_named(name);
    if (!chosen_language) throw Failure(kUsage, "--lang takes de or en");
}

std::string sentence_of(const Refusal& refusal) {
    std::string out = plain_sentence_of(refusal);
    if (!refusal.code.empty()) out += " (" + refusal.code + ")";
    return out;
}

std::string plain_sentence_of(const Refusal& refusal) {
    const std::string text = sentence(refusal, language());
    if (refusal.field.empty()) return text;
    // Many sentences begin with the field; it need not stand there twice.
    const std::string subject = "`" + refusal.field + "` ";
    const bool twice = text.compare(0, subject.size(), subject) == 0;
    return refusal.field + ": " + text.substr(twice ? subject.size() : 0);
}

const Kind& kind_called(const std::string& name) {
    if (const Kind* kind = kind_named(name)) return *kind;
    std::vector<std::string_view> names;
    for (const Kind* kind : all_kinds()) names.push_back(kind->name);
    throw Failure(kRefused,
                  "there is no kind \"" + name + "\"" + suggestion(name, names, "the kinds are"));
}

RecordId id_called(const Store& store, const std::string& text) {
    if (const auto id = RecordId::parse(text)) return *id;
    if (text.size() > 1 && text.front() == '@') {
        if (const auto id = references_in(store)(std::string_view(text).substr(1))) return *id;
        throw Failure(kRefused, "no record in this file is known as " + text);
    }
    throw Failure(kRefused, "\"" + text +
                                "\" is no id: 36 characters as `rapport list` shows them, or "
                                "@system:id for an id of another system");
}

ResolveReference references_in(const Store& store) {
    return [&store](std::string_view reference) -> std::optional<RecordId> {
        if (!reference.empty() && reference.front() == '@') reference.remove_prefix(1);
        const auto colon = reference.find(':');
        if (colon == std::string_view::npos) return RecordId::parse(reference);
        return store.find_external(std::string(reference.substr(0, colon)),
                                   std::string(reference.substr(colon + 1)));
    };
}

std::string_view nearest(std::string_view typed, const std::vector<std::string_view>& candidates) {
    std::string_view best;
    std::size_t least = std::max<std::size_t>(2, typed.size() / 3) + 1;
    for (const std::string_view candidate : candidates) {
        // A name cut short or with a forgotten ending is near, however long the rest.
        const bool begins = typed.size() >= 3 && candidate.substr(0, typed.size()) == typed;
        const std::size_t away = begins ? 1 : distance(typed, candidate);
        if (away < least && away < candidate.size()) {
            least = away;
            best = candidate;
        }
    }
    return best;
}

std::string listed(const std::vector<std::string_view>& names) {
    std::string list;
    for (const std::string_view name : names) list.append(list.empty() ? "" : ", ").append(name);
    return list;
}

std::string suggestion(std::string_view typed, const std::vector<std::string_view>& candidates,
                       std::string_view all) {
    if (const std::string_view near = nearest(typed, candidates); !near.empty())
        return "; did you mean " + std::string(near) + "?";
    if (all.empty() || candidates.empty()) return {};
    return "; " + std::string(all) + " " + listed(candidates);
}

Milliseconds duration_called(const std::string& text) {
    if (const auto duration = parsed_duration(text)) return *duration;
    throw Failure(kUsage, "\"" + text + "\" is no duration; write 500ms, 20s, 5m, 2h or 7d");
}

Instant moment_called(const std::string& text) {
    if (const auto instant = Instant::parse(text)) return *instant;
    if (const auto ago = parsed_duration(text)) {
        Instant now = system_environment().now();
        now.at -= *ago;
        return now;
    }
    std::tm day{};
    const char* const end = strptime(text.c_str(), "%Y-%m-%d", &day);
    if (end != nullptr && *end == '\0') {
        day.tm_isdst = -1;
        const std::time_t midnight = std::mktime(&day);
        if (midnight != std::time_t{-1})
            return Instant(TimePoint(std::chrono::seconds(midnight)),
                           std::chrono::minutes(day.tm_gmtoff / 60));
    }
    throw Failure(kUsage,
                  "\"" + text + "\" is no time; write 2026-03-02T09:30:00+01:00, 2026-03-02 or 7d");
}

}  // namespace rapport::cli
