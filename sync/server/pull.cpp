// SPDX-License-Identifier: Apache-2.0
#include "server/pull.hpp"

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <tuple>

#include "model/archive.hpp"
#include "model/comparison.hpp"
#include "model/hash.hpp"
#include "model/planted.hpp"
#include "server/changeset.hpp"
#include "server/projection.hpp"
#include "server/scopes.hpp"

namespace rapport::server {
namespace {

constexpr std::size_t kReadAhead = 256;  // records read at once: about 100 KiB

constexpr std::int64_t kDayMs = 86'400'000;
constexpr std::int64_t kRefreshDays = 30;  // a cursor with no news is dated anew after these

RecordId above_all() {
    RecordId id;
    id.bytes.fill(0xFF);
    return id;
}

/// How far a device has come in one stream: up to a position, or in a download that ends at one.
struct Place {
    std::uint64_t position = 0;
    std::uint16_t kind = 0;  ///< being downloaded; 0: none, all up to the position is there
    RecordId below;          ///< of that kind the records from here on are there

    bool downloads() const { return kind != 0; }
    friend bool operator==(const Place&, const Place&) = default;
};

/// How far a device has come in each of its streams, under which scopes, and when it was told.
struct Cursor {
    std::uint64_t scopes = 0;
    std::int64_t day = 0;                   ///< since 1970
    bool under_way = false;                 ///< pages of this pull lie staged on the device
    bool renews = false;                    ///< its downloads replace what the device holds
    std::map<std::uint64_t, Place> places;  // by stream id
    friend bool operator==(const Cursor&, const Cursor&) = default;

    static Cursor decode(std::string_view bytes) {
        Cursor cursor;
        if (bytes.empty()) return cursor;
        WireReader r(bytes);
        cursor.scopes = r.varint();
        cursor.day = static_cast<std::int64_t>(r.varint());
        r(cursor.under_way, cursor.renews);
        for (std::size_t n = r.count(); n > 0; --n) {
            Place& place = cursor.places[r.varint()];
            r(place.position, place.kind);
            if (place.downloads()) r(place.below);
        }
        r.finish();
        return cursor;
    }
    std::string encode() const {
        WireWriter w;
        w.varint(scopes);
        w.varint(static_cast<std::uint64_t>(day));
        w(under_way, renews);
        w.varint(places.size());
        for (const auto& [stream, place] : places) {
            w(stream, place.position, place.kind);
            if (place.downloads()) w(place.below);
        }
        return w.take();
    }
};

/// What is downloaded first is what a rep looks for first.
const std::vector<const Kind*>& download_order() {
    static const std::vector<const Kind*> order = [] {
        std::vector<const Kind*> kinds = all_kinds();
        const auto rank = [](const Kind* kind) {
            const std::string_view first[] = {"customer", "contact", "visit"};
            return std::find(std::begin(first), std::end(first), kind->name) - std::begin(first);
        };
        std::stable_sort(kinds.begin(), kinds.end(),
                         [&](const Kind* a, const Kind* b) { return rank(a) < rank(b); });
        return kinds;
    }();
    return order;
}

std::uint64_t hash_of(const std::vector<std::string>& scopes) {
    WireWriter w;
    w(scopes);
    return hash64(w.str());
}

class Reader {
public:
    Reader(Round& round, const Device& device, const Carried& carried, bool as_sent)
        : round_(round), device_(device), carried_(carried), as_sent_(as_sent) {}

    Page read(std::string_view bytes, const std::vector<RecordId>& judged, bool anew) {
        const Cursor from = Cursor::decode(bytes);
        const std::int64_t today = round_.now_ms() / kDayMs;
        Cursor to = from;
        to.scopes = hash_of(device_.scopes);
        if (!bytes.empty() && today - from.day > round_.horizon_days) {
            to.places.clear();
            to.under_way = false;
            anew = true;
        }
        if (anew) to.renews = page_.renewal_begins = true;
        const auto streams = streams_of(device_, round_.tx.streams(device_.tenant));
        place_in(streams, to);
        download(streams, to);
        if (!page_.download || !downloads(to)) {
            const Progress before{page_, writers_, to.places};
            for (const Stream& stream : streams)
                if (const auto at = to.places.find(stream.id); at != to.places.end())
                    at->second.position = advance(stream, at->second.position);
            page_.checkpoint =
                at_heads(streams, to) || RAPPORT_PLANTED("call_any_page_a_checkpoint");
            // What the device shows at once has no place for half of an ordinary pull.
            if (page_.download && !page_.checkpoint)
                std::tie(page_, writers_, to.places) =
                    std::tie(before.page, before.writers, before.places);
        }
        tell_out_of_reach(judged);
        // A stream that waited for the end of this pull is downloaded next: the first page of it
        // shows what lies staged.
        const bool follows = page_.checkpoint && to.places.size() < streams.size();
        page_.checkpoint = page_.checkpoint && !follows;
        page_.renewal = to.renews;
        to.under_way = !page_.checkpoint && !page_.download && !follows;
        to.renews = to.renews && !page_.checkpoint;
        if (!(to == from) || today - from.day >= kRefreshDays) to.day = today;
        page_.scopes_changed = from.scopes != to.scopes;
        page_.cursor = to.encode();
        for (const std::uint64_t writer : writers_)
            page_.authors.push_back({writer, round_.name_of(writer)});
        return std::move(page_);
    }

private:
    /// Streams the cursor does not know begin with a download; one that appears in the middle of a
    /// pull waits for its end, so that what lies staged on the device becomes visible as a whole.
    static void place_in(const std::vector<Stream>& streams, Cursor& to) {
        std::map<std::uint64_t, Place> places;
        for (const Stream& stream : streams) {
            const auto at = to.places.find(stream.id);
            if (at != to.places.end() && at->second.position <= stream.head)
                places.insert(*at);
            else if (!to.under_way)
                places[stream.id] = {stream.head, download_order().front()->number, above_all()};
        }
        to.places = std::move(places);
    }

    /// What the device made may have been taken up by an answer that was lost, in a territory that
    /// was its own only then, or have left before a download begins: it lies behind no cursor.
    void tell_out_of_reach(const std::vector<RecordId>& judged) {
        std::set<RecordId> told;
        for (const protocol::Departed& departed : page_.departures) told.insert(departed.id);
        for (const RecordId& id : judged) {
            const auto stored = round_.tx.look_at(device_.tenant, id);
            if (!stored || reaches(device_, stored->state.scope) || !told.insert(id).second)
                continue;
            const RecordState& state = stored->state;
            if (state.move > 0)
                tell_departed(state.kind, id, state.move, state.scope);
            else
                page_.not_yours.push_back(id);
        }
    }

    struct Progress {
        Page page;
        std::set<std::uint64_t> writers;
        std::map<std::uint64_t, Place> places;
    };

    static bool downloads(const Cursor& cursor) {
        return std::any_of(cursor.places.begin(), cursor.places.end(),
                           [](const auto& place) { return place.second.downloads(); });
    }

    static bool at_heads(const std::vector<Stream>& streams, const Cursor& cursor) {
        return std::all_of(streams.begin(), streams.end(), [&](const Stream& stream) {
            const auto at = cursor.places.find(stream.id);
            return at == cursor.places.end() || at->second == Place{stream.head, 0, {}};
        });
    }

    void download(const std::vector<Stream>& streams, Cursor& to) {
        for (const Stream& stream : streams) {
            const auto at = to.places.find(stream.id);
            if (at == to.places.end() || !at->second.downloads()) continue;
            page_.download = true;
            page_.incomplete.push_back(stream.scope);
            download(stream, at->second);
        }
    }

    void download(const Stream& stream, Place& place) {
        const auto& order = download_order();
        auto kind = std::find_if(order.begin(), order.end(),
                                 [&](const Kind* k) { return k->number == place.kind; });
        while (kind != order.end() && take_newest(stream, **kind, place)) {
            if (++kind != order.end()) {
                place.kind = (*kind)->number;
                place.below = above_all();
            }
        }
        if (RAPPORT_PLANTED("end_a_download_at_todays_head")) place.position = stream.head;
        if (kind == order.end()) place = {place.position, 0, {}};
    }

    /// Takes the records of a kind while the page has room; true if all are taken.
    bool take_newest(const Stream& stream, const Kind& kind, Place& place) {
        if (full_) return false;
        if (!may_see(device_, kind)) return true;
        for (;;) {
            auto records = round_.tx.newest(device_.tenant, stream.scope, kind.number, place.below,
                                            place.position, kReadAhead);
            for (StoredRecord& record : records) {
                const RecordId id = record.state.id;
                if (!take(record)) return false;
                place.below = id;
            }
            if (records.size() < kReadAhead) return true;
        }
    }

    /// Takes what follows `position` while the page has room; returns the position up to which
    /// nothing is missing.
    std::uint64_t advance(const Stream& stream, std::uint64_t position) {
        known_up_to_ = position;
        while (position < stream.head && !full_) {
            auto records = round_.tx.changed(device_.tenant, stream.scope, position, kReadAhead);
            const auto departures =
                round_.tx.departed(device_.tenant, stream.scope, position, kReadAhead);
            std::uint64_t known_up_to = stream.head;
            if (records.size() == kReadAhead)
                known_up_to = std::min(known_up_to, records.back().position);
            if (departures.size() == kReadAhead)
                known_up_to = std::min(known_up_to, departures.back().position);

            auto departure = departures.begin();
            auto record = records.begin();
            while (!full_) {
                const std::uint64_t next_departure =
                    departure == departures.end() ? UINT64_MAX : departure->position;
                const std::uint64_t next_record =
                    record == records.end() ? UINT64_MAX : record->position;
                const std::uint64_t next = std::min(next_departure, next_record);
                if (next > known_up_to) {
                    position = known_up_to;
                    break;
                }
                if (next == next_departure ? !take(*departure) : !take(*record)) {
                    if (RAPPORT_PLANTED("skip_one_when_a_page_is_full")) position = next;
                    break;
                }
                if (next == next_departure)
                    ++departure;
                else
                    ++record;
                position = next;
            }
        }
        return position;
    }

    /// False if the page has no room for it. What is not for this device goes from its fields.
    bool take(StoredRecord& stored) {
        if (is_full()) return false;
        const bool whole = redirects(stored);
        const std::optional<RecordState> visible =
            project(round_, device_, std::move(stored.state));
        if (!visible) {
            ++looked_at_;
            return true;
        }
        if (!whole && is_as_sent(*visible)) {
            page_.confirmed.insert(visible->id);
            page_.confirmed_sum += checksum(*visible);
            return true;
        }
        std::string encoded = encode_record(*visible, [&](std::uint16_t field, const LiveValue& l) {
            return !whole && l.dot.writer == device_.writer &&
                   (was_carried(visible->id, field, l.dot) ||
                    RAPPORT_PLANTED("suppress_echo_by_author"));
        });
        // A record larger than a page travels alone.
        full_ = !page_.records.empty() && bytes_ + encoded.size() > round_.limits.reply_bytes_max;
        if (full_) return false;
        ++looked_at_;
        bytes_ += encoded.size();
        page_.records.push_back(std::move(encoded));
        for (const auto& [number, field] : visible->fields)
            for (const LiveValue& l : field.live) writers_.insert(l.dot.writer);
        return true;
    }

    /// Does the device make this of what it held and sent? Where what it may see of a record hangs
    /// on another value, it may not have held all of it.
    bool is_as_sent(const RecordState& visible) const {
        if (!as_sent_) return false;
        const auto changed = round_.changed.find(visible.id);
        if (changed == round_.changed.end() || changed->second.position > known_up_to_ ||
            (!changed->second.only_as_sent && !RAPPORT_PLANTED("confirm_what_others_changed")))
            return false;
        const Kind& kind = *kind_numbered(visible.kind);
        return !kind.field("disclosure") && kind.name != "state_request";
    }

    /// A merged customer: on the device a later write may have replaced an earlier one that is
    /// still here, because the later one went to the other customer.
    static bool redirects(const StoredRecord& stored) {
        return kind_numbered(stored.state.kind)->home == Home::territory &&
               shown_text(stored, "state") == "merged";
    }

    bool was_carried(const RecordId& record, std::uint16_t field, Dot dot) const {
        const auto bundle = carried_.find(dot.counter);
        if (bundle == carried_.end()) return false;
        for (const Change& change : bundle->second->changes)
            if (change.id == record)
                return std::any_of(change.writes.begin(), change.writes.end(),
                                   [&](const Write& write) { return write.field == field; });
        return false;
    }

    bool take(const StoredDeparture& departure) {
        if (is_full()) return false;
        ++looked_at_;
        tell_departed(departure.kind, departure.id, departure.move, departure.to);
        return true;
    }

    void tell_departed(std::uint16_t number, const RecordId& id, std::uint64_t move,
                       const std::string& to) {
        const Kind* kind = kind_numbered(number);
        if (!kind || !may_see(device_, *kind)) return;
        const bool may_know = reaches(device_, to) || worked_on(id);
        page_.departures.push_back({number, id, move, may_know ? to : std::string()});
    }

    /// Is a value of the record the device's user's?
    bool worked_on(const RecordId& id) {
        const auto record = round_.tx.record(device_.tenant, id);
        if (!record) return false;
        for (const auto& [number, field] : record->state.fields)
            for (const LiveValue& l : field.live)
                if (round_.name_of(l.dot.writer) == device_.rep) return true;
        return false;
    }

    /// What the audience drops counts too: it costs the same to read.
    bool is_full() { return full_ = looked_at_ >= round_.limits.reply_records_max; }

    Round& round_;
    const Device& device_;
    const Carried& carried_;
    Page page_;
    std::set<std::uint64_t> writers_;
    const bool as_sent_;
    std::uint64_t known_up_to_ = 0;  ///< in the stream that is being read
    std::size_t looked_at_ = 0, bytes_ = 0;
    bool full_ = false;
};

}  // namespace

void check_cursor(std::string_view cursor) { Cursor::decode(cursor); }

Page pull(Round& round, const Device& device, std::string_view cursor, const Carried& carried,
          const std::vector<RecordId>& judged, bool as_sent, bool anew) {
    try {
        Page page = Reader(round, device, carried, as_sent).read(cursor, judged, anew);
        const bool at_once =
            page.checkpoint && !page.download && !page.renewal && !Cursor::decode(cursor).under_way;
        if (page.confirmed.empty() || at_once) return page;
        return Reader(round, device, carried, false).read(cursor, judged, anew);
    } catch (const Error& e) {
        if (e.code() != ErrorCode::protocol_violated) throw;
        throw Error(ErrorCode::internal, "an entry of the server holds bytes that are no cursor");
    }
}

std::string with_further_streams(Round& round, const Device& device, std::string_view bytes) {
    if (bytes.empty()) return {};
    Cursor cursor = Cursor::decode(bytes);
    for (const Stream& stream : streams_of(device, round.tx.streams(device.tenant)))
        cursor.places.try_emplace(stream.id);
    return cursor.encode();
}

std::map<std::string, std::uint64_t> sent_up_to(Round& round, const std::string& tenant,
                                                std::string_view bytes) {
    const Cursor cursor = Cursor::decode(bytes);
    std::map<std::string, std::uint64_t> sent;
    for (const Stream& stream : round.tx.streams(tenant))
        if (const auto at = cursor.places.find(stream.id);
            at != cursor.places.end() && !at->second.downloads())
            sent[stream.scope] = at->second.position;
    return sent;
}

std::optional<std::set<std::string>> behind_heads(Round& round, const Device& device,
                                                  std::string_view bytes) {
    const Cursor cursor = Cursor::decode(bytes);
    if (cursor.under_way || cursor.renews || cursor.scopes != hash_of(device.scopes))
        return std::nullopt;
    std::set<std::string> behind;
    for (const Stream& stream : streams_of(device, round.tx.streams(device.tenant))) {
        const auto at = cursor.places.find(stream.id);
        if (at == cursor.places.end() || !(at->second == Place{stream.head, 0, {}}))
            behind.insert(stream.scope);
    }
    return behind;
}

}  // namespace rapport::server
