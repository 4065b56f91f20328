// SPDX-License-Identifier: Apache-2.0
#include "server/comparison.hpp"

#include <algorithm>
#include <iterator>
#include <optional>
#include <set>

#include "model/hash.hpp"
#include "server/projection.hpp"
#include "server/pull.hpp"
#include "server/scopes.hpp"

namespace rapport::server {
namespace {

constexpr std::size_t kReadAhead = 256;

/// What a device may see, in the order of comparison, behind a point.
class Walk {
public:
    Walk(Round& round, const Device& device, const ComparePoint& from)
        : round_(round),
          device_(device),
          streams_(streams_of(device, round.tx.streams(device.tenant))) {
        std::sort(streams_.begin(), streams_.end(),
                  [](const Stream& a, const Stream& b) { return a.scope < b.scope; });
        for (const Kind* kind : all_kinds())
            if (kind->number >= from.kind && may_see(device_, *kind))
                kinds_.push_back(kind->number);
        std::sort(kinds_.begin(), kinds_.end());
        if (kinds_.empty() || kinds_.front() != from.kind) return;
        while (stream_ < streams_.size() && streams_[stream_].scope < from.scope) ++stream_;
        if (stream_ < streams_.size() && streams_[stream_].scope == from.scope) below_ = from.id;
    }

    /// Null at the end; else the same until it is passed.
    const RecordState* front() {
        while (next_ == read_.size() && kind_ < kinds_.size()) read_on();
        if (next_ == read_.size()) return nullptr;
        if (!visible_) visible_ = project(round_, device_, read_[next_].state);
        return &*visible_;
    }
    void pass() {
        ++next_;
        visible_.reset();
    }

private:
    static RecordId above_all() {
        RecordId id;
        id.bytes.fill(0xFF);
        return id;
    }

    void read_on() {
        if (stream_ == streams_.size()) {
            stream_ = 0;
            ++kind_;
            return;
        }
        const Stream& stream = streams_[stream_];
        read_ = round_.tx.newest(device_.tenant, stream.scope, kinds_[kind_], below_, stream.head,
                                 kReadAhead);
        next_ = 0;
        if (read_.size() == kReadAhead) {
            below_ = read_.back().state.id;
        } else {
            below_ = above_all();
            ++stream_;
        }
    }

    Round& round_;
    const Device& device_;
    std::vector<Stream> streams_;
    std::vector<std::uint16_t> kinds_;
    std::size_t stream_ = 0, kind_ = 0;
    RecordId below_ = above_all();
    std::vector<StoredRecord> read_;
    std::size_t next_ = 0;
    std::optional<RecordState> visible_;
};

/// Can a record of the scope lie between the two? "Yes" may be wrong.
bool can_lie_between(const std::string& scope, const ComparePoint& from, const ComparePoint& to) {
    if (to.kind > from.kind + 1) return true;
    if (to.kind == from.kind) return from.scope <= scope && scope <= to.scope;
    return from.scope <= scope || scope <= to.scope;
}

void check(const Comparison& comparison) {
    const auto violated = [](const char* what) { throw Error(ErrorCode::protocol_violated, what); };
    if (comparison.stretches.size() > kStretchesMax) violated("too much is to be compared at once");
    const ComparePoint* before = &comparison.from;
    for (const Stretch& stretch : comparison.stretches) {
        if (stretch.count > kStretchRecordsMax)
            violated("a stretch to be compared is longer than it may be");
        if (!precedes(*before, stretch.to))
            violated("the stretches to be compared do not follow each other");
        before = &stretch.to;
    }
}

class Comparing {
public:
    Comparing(Round& round, const Device& device, const ComparePoint& from)
        : round_(round), walk_(round, device, from) {
        part_.compared.up_to = from;
    }

    ComparedPart run(const std::vector<Stretch>& stretches, const std::set<std::string>& behind) {
        for (const Stretch& stretch : stretches) {
            const bool moves = std::any_of(behind.begin(), behind.end(), [&](const auto& scope) {
                return can_lie_between(scope, part_.compared.up_to, stretch.to);
            });
            if (moves || looked_at_ >= round_.limits.reply_records_max || !compare(stretch)) break;
        }
        for (const std::uint64_t writer : writers_)
            part_.authors.push_back({writer, round_.name_of(writer)});
        return std::move(part_);
    }

private:
    /// False: not all of it has room, and nothing behind it.
    bool compare(const Stretch& stretch) {
        const ComparePoint from = part_.compared.up_to;
        ComparePoint to = from;
        std::vector<std::string> records;
        std::set<std::uint64_t> writers;
        std::size_t bytes = bytes_;
        std::uint64_t count = 0, sum = 0;
        bool full = false;
        for (const RecordState* record = walk_.front(); record; record = walk_.front()) {
            const ComparePoint at{record->kind, record->scope, record->id};
            if (!lies_between(at, from, stretch.to)) break;
            if (full && count > stretch.count) break;  // it differs, whatever still comes
            std::string encoded = encode_record(*record);
            ++looked_at_;
            ++count;
            sum += hash64(encoded);
            full = full || !has_room(records.size(), bytes + encoded.size());
            if (!full) {
                to = at;
                bytes += encoded.size();
                records.push_back(std::move(encoded));
                for (const auto& [number, field] : record->fields)
                    for (const LiveValue& l : field.live) writers.insert(l.dot.writer);
            }
            walk_.pass();
        }
        if (count == stretch.count && sum == stretch.sum) {
            part_.compared.up_to = stretch.to;
            return true;
        }
        if (!full) to = stretch.to;
        if (to == from) return false;
        part_.compared.up_to = to;
        part_.compared.differing.push_back({from, to, static_cast<std::uint32_t>(records.size())});
        part_.records.insert(part_.records.end(), std::make_move_iterator(records.begin()),
                             std::make_move_iterator(records.end()));
        writers_.merge(writers);
        bytes_ = bytes;
        return !full;
    }

    /// A record larger than a page travels alone.
    bool has_room(std::size_t beside, std::size_t bytes) const {
        const std::size_t records = part_.records.size() + beside;
        return records == 0 || (records < round_.limits.reply_records_max &&
                                bytes <= round_.limits.reply_bytes_max);
    }

    Round& round_;
    Walk walk_;
    ComparedPart part_;
    std::set<std::uint64_t> writers_;
    std::size_t looked_at_ = 0, bytes_ = 0;
};

}  // namespace

ComparedPart compare(Round& round, const Device& device, std::string_view cursor,
                     const Comparison& comparison) {
    check(comparison);
    try {
        const auto behind = behind_heads(round, device, cursor);
        if (!behind) return {{comparison.from, {}}, {}, {}};
        return Comparing(round, device, comparison.from).run(comparison.stretches, *behind);
    } catch (const Error& e) {
        if (e.code() != ErrorCode::protocol_violated) throw;
        throw Error(ErrorCode::internal, "the server holds bytes it cannot read");
    }
}

}  // namespace rapport::server
