// SPDX-License-Identifier: Apache-2.0
#include "server/feed.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "model/hash.hpp"
#include "model/json.hpp"
#include "server/auth/secret.hpp"

namespace rapport::server {

namespace {

constexpr char kCursorVersion = 1;
constexpr std::size_t kCommitBytes = 8, kCheckBytes = 2;
constexpr std::size_t kBatchLines = 500;  // read from the storage at once
constexpr std::size_t kScannedMax =
    20'000;  // lines of other kinds, so that one page stays short work

std::string check_of(std::string_view bytes) {
    const std::uint64_t hash = hash64(bytes);
    return {static_cast<char>(hash & 0xFF), static_cast<char>((hash >> 8) & 0xFF)};
}

std::string json_text(std::string_view text) {
    return nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

}  // namespace

std::string conflicts_json(const StoredRecord& record, const Kind& kind) {
    std::string out;
    for (const Field& field : kind.fields) {
        const auto state = record.state.fields.find(field.number);
        if (state == record.state.fields.end() || !conflicted(field, state->second)) continue;
        std::string values;
        std::vector<const Value*> seen;
        for (const LiveValue& live : state->second.live) {
            if (std::any_of(seen.begin(), seen.end(),
                            [&](const Value* v) { return *v == live.value; }))
                continue;
            seen.push_back(&live.value);
            values += values.empty() ? "" : ",";
            values +=
                live.value.is_null() ? "null" : content_to_json(field, {{live.key, live.value}});
        }
        out += (out.empty() ? "{" : ",") + json_text(field.name) + ":[" + values + "]";
    }
    return out.empty() ? out : out + '}';
}

std::string feed_cursor(std::uint64_t commit) {
    std::string bytes(1, kCursorVersion);
    for (std::size_t i = kCommitBytes; i-- > 0;)
        bytes += static_cast<char>((commit >> (8 * i)) & 0xFF);
    return base64url(bytes + check_of(bytes));
}

std::optional<std::uint64_t> commit_of(std::string_view cursor) {
    if (cursor.size() > 64) return std::nullopt;
    const auto bytes = from_base64url(cursor);
    if (!bytes || bytes->size() != 1 + kCommitBytes + kCheckBytes ||
        bytes->front() != kCursorVersion)
        return std::nullopt;
    const std::string_view body = std::string_view(*bytes).substr(0, 1 + kCommitBytes);
    if (bytes->substr(1 + kCommitBytes) != check_of(body)) return std::nullopt;
    std::uint64_t commit = 0;
    for (const char c : body.substr(1)) commit = commit << 8 | static_cast<unsigned char>(c);
    return commit;
}

std::string feed_line(const StoredRecord& stored) {
    const Record record = show(stored.state);
    const Instant received(TimePoint(Milliseconds(stored.received_at_ms)));
    std::vector<std::pair<std::string, std::string>> leading{
        {"event", json_text(stored.event)},
        {"bundle", json_text(stored.bundle)},
        {"author", json_text(stored.author)},
        {"received_at", json_text(received.rfc3339())}};
    if (record.kind != nullptr)
        if (const std::string conflicts = conflicts_json(stored, *record.kind); !conflicts.empty())
            leading.emplace_back("conflicts", conflicts);
    return rapport::to_json(record, leading);
}

std::string feed_line(const StoredDeparture& departure) {
    const Kind* kind = kind_numbered(departure.kind);
    const Instant at(TimePoint(Milliseconds(departure.at_ms)));
    return R"({"event":"departed","received_at":)" + json_text(at.rfc3339()) + R"(,"kind":)" +
           json_text(kind ? kind->name : std::to_string(departure.kind)) + R"(,"id":)" +
           json_text(departure.id.text()) + R"(,"from":)" + json_text(departure.from) +
           R"(,"to":)" + json_text(departure.to) + R"(,"move":)" + std::to_string(departure.move) +
           "}";
}

std::string feed_line(const StoredErasure& erasure) {
    const Kind* kind = kind_numbered(erasure.order.kind);
    const Instant at(TimePoint(Milliseconds(erasure.order.issued_at_ms)));
    return R"({"event":"erased","received_at":)" + json_text(at.rfc3339()) + R"(,"kind":)" +
           json_text(kind ? kind->name : std::to_string(erasure.order.kind)) + R"(,"id":)" +
           json_text(erasure.order.subject.text()) + R"(,"order":)" +
           std::to_string(erasure.order.number) + "}";
}

FeedBatch feed_batch(Transaction& snapshot, const std::string& tenant, std::uint64_t after,
                     std::size_t lines_min) {
    FeedBatch batch{snapshot.feed(tenant, after, lines_min),
                    snapshot.feed_departures(tenant, after, lines_min),
                    snapshot.feed_erasures(tenant, after, lines_min), after};
    // Behind a full part more may follow; all are whole up to the earliest of such ends.
    std::uint64_t until = UINT64_MAX;
    const auto bound = [&](const auto& lines) {
        if (lines.size() >= lines_min) until = std::min(until, lines.back().commit);
    };
    const auto cut = [&](auto& lines) {
        while (!lines.empty() && lines.back().commit > until) lines.pop_back();
        if (!lines.empty()) batch.end = std::max(batch.end, lines.back().commit);
    };
    bound(batch.records);
    bound(batch.departures);
    bound(batch.erasures);
    cut(batch.records);
    cut(batch.departures);
    cut(batch.erasures);
    return batch;
}

std::string feed_page(Transaction& snapshot, const FeedRequest& request) {
    const auto wanted = [&](std::uint16_t number) {
        return request.kinds.empty() ||
               std::any_of(request.kinds.begin(), request.kinds.end(),
                           [&](const Kind* kind) { return kind->number == number; });
    };
    std::string page;
    std::uint64_t after = request.after;
    std::size_t lines = 0, scanned = 0;
    while (lines < request.limit && scanned < kScannedMax) {
        const std::size_t batch = std::min(request.limit - lines, kBatchLines);
        const FeedBatch read = feed_batch(snapshot, request.tenant, after, batch);
        if (read.end == after) break;
        const auto take = [&](std::uint16_t kind, const auto& each) {
            ++scanned;
            if (!wanted(kind)) return;
            page += feed_line(each) + '\n';
            ++lines;
        };
        auto departure = read.departures.begin();
        auto erasure = read.erasures.begin();
        const auto depart_up_to = [&](std::uint64_t commit) {
            const auto commit_at = [](auto at, auto end) {
                return at == end ? UINT64_MAX : at->commit;
            };
            for (;;) {
                const std::uint64_t erased = commit_at(erasure, read.erasures.end());
                const std::uint64_t departed = commit_at(departure, read.departures.end());
                if (std::min(erased, departed) > commit) return;
                if (erased <= departed) {
                    take(erasure->order.kind, *erasure);
                    ++erasure;
                } else {
                    take(departure->kind, *departure);
                    ++departure;
                }
            }
        };
        for (const StoredRecord& record : read.records) {
            depart_up_to(record.commit);
            take(record.state.kind, record);
        }
        depart_up_to(read.end);
        after = read.end;
    }
    return page + "{\"cursor\":" + json_text(feed_cursor(after)) + "}\n";
}

}  // namespace rapport::server
