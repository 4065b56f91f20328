// SPDX-License-Identifier: Apache-2.0
// The engine from outside: hand-built requests in, replies out.
#include "server/engine.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <map>
#include <tuple>

#include "model/archive.hpp"
#include "model/clock.hpp"
#include "model/comparison.hpp"
#include "model/lifecycle.hpp"
#include "protocol/messages.hpp"
#include "rapport/record.hpp"
#include "support/temp_dir.hpp"

namespace rapport::server {
namespace {

constexpr std::int64_t kMonday = 1'772'442'000'000;  // 2026-03-02 09:00 UTC
constexpr std::int64_t kDayMs = 86'400'000;

class Clockwork : public Environment {
public:
    Instant now() override {
        return Instant(TimePoint(Milliseconds(now_ms)), std::chrono::minutes(60));
    }
    void random(std::span<std::uint8_t> out) override {
        for (auto& byte : out) {
            state_ = state_ * 6364136223846793005ULL + 1442695040888963407ULL;
            byte = static_cast<std::uint8_t>(state_ >> 56);
        }
    }
    std::int64_t now_ms = kMonday;

private:
    std::uint64_t state_ = 1;
};

RecordId id_of(unsigned n) {
    RecordId id;
    id.bytes[6] = 0x70;
    id.bytes[8] = 0x80;
    id.bytes[14] = static_cast<std::uint8_t>(n >> 8);
    id.bytes[15] = static_cast<std::uint8_t>(n);
    return id;
}

Value at(std::int64_t ms) { return Value(Instant(TimePoint(Milliseconds(ms))).packed()); }
Value ref(const RecordId& id) { return Value(id.raw()); }

/// One field as a test writes it: what enters and what it has seen.
struct Set {
    std::string field;
    Value value;
    std::string key = {};  ///< of a map
    std::vector<Overwritten> over = {};
};

/// A device that speaks the protocol by hand and keeps what it was told.
class Phone {
public:
    Phone(Engine& engine, Storage& storage, Clockwork& clock, std::uint64_t writer, std::string rep,
          Role role, std::vector<std::string> scopes, std::string tenant = "acme")
        : engine_(engine), clock_(clock), writer_(writer), rep_(std::move(rep)) {
        Device d;
        d.tenant = std::move(tenant);
        d.writer = writer;
        d.rep = rep_;
        d.role = role;
        d.scopes = std::move(scopes);
        d.credential_hash = "hash of " + std::to_string(writer);
        const auto tx = storage.begin_write();
        tx->save(d);
        tx->commit();
    }

    std::uint64_t writer() const { return writer_; }

    Write write(const Kind& kind, const Set& set) {
        const Field* field = kind.field(set.field);
        REQUIRE(field);
        Write w;
        w.field = field->number;
        const std::string key = field->is_set() ? canonical_bytes(set.value) : set.key;
        w.adds.push_back(
            {key, set.value, HybridClock::at(clock_.now_ms) + ++ticks_, {writer_, ++captures_}});
        w.over = set.over;
        return w;
    }
    Change change(std::string_view kind_name, const RecordId& id, bool create,
                  const std::vector<Set>& sets) {
        const Kind& kind = *kind_named(kind_name);
        Change c;
        c.kind = kind.number;
        c.id = id;
        c.create = create;
        for (const Set& set : sets) {
            Write w = write(kind, set);
            const auto same = std::find_if(c.writes.begin(), c.writes.end(),
                                           [&](const Write& x) { return x.field == w.field; });
            if (same == c.writes.end())
                c.writes.push_back(std::move(w));
            else
                same->adds.push_back(w.adds.front());
        }
        std::sort(c.writes.begin(), c.writes.end(),
                  [](const Write& a, const Write& b) { return a.field < b.field; });
        return c;
    }
    Change create(std::string_view kind, const RecordId& id, std::vector<Set> sets) {
        sets.push_back({"created_at", at(clock_.now_ms)});
        sets.push_back({"created_by", Value(rep_)});
        return change(kind, id, true, sets);
    }
    Change customer(const RecordId& id, const std::string& scope = {}) {
        Change c = create("customer", id, {{"name", "Molkerei"}});
        c.scope = scope;
        return c;
    }
    Change complaint(const RecordId& id, const RecordId& customer, std::vector<Set> more = {}) {
        std::vector<Set> sets{{"customer_id", ref(customer)},
                              {"product_text", "Becher"},
                              {"verbatim", "undicht"},
                              {"channel", "visit"},
                              {"received_at", at(clock_.now_ms)},
                              {"severity", "major"}};
        for (Set& set : more) {
            sets.erase(std::remove_if(sets.begin(), sets.end(),
                                      [&](const Set& s) { return s.field == set.field; }),
                       sets.end());
            sets.push_back(std::move(set));
        }
        return create("complaint", id, sets);
    }
    Change wish(const RecordId& id, const RecordId& customer) {
        return create("product_wish", id,
                      {{"customer_id", ref(customer)},
                       {"need", "Ein Liter"},
                       {"importance", "nice"},
                       {"category", "other"}});
    }
    Change request_state(const RecordId& id, const RecordId& subject, std::int64_t version,
                         const std::string& to,
                         const std::map<std::string, std::string>& fields = {},
                         const std::string& reason = {}) {
        std::vector<Set> sets{
            {"subject_id", ref(subject)}, {"expected_version", Value(version)}, {"to", Value(to)}};
        for (const auto& [name, text] : fields) sets.push_back({"fields", Value(text), name});
        if (!reason.empty()) sets.push_back({"reason", Value(reason)});
        return create("state_request", id, sets);
    }
    Bundle bundle(std::vector<Change> changes, std::vector<std::uint64_t> needs = {}) {
        Bundle b;
        b.counter = ++counter_;
        b.schema_version = 1;
        b.captured_at = clock_.now().packed();
        b.needs = std::move(needs);
        b.changes = std::move(changes);
        for (const Change& c : b.changes)
            for (const Write& w : c.writes)
                for (const Added& a : w.adds) sent_[{b.counter, c.id, w.field, a.key}] = a.value;
        return b;
    }

    protocol::Request compose(const std::vector<Bundle>& bundles = {}) {
        protocol::Request q;
        q.writer = writer_;
        q.last = last;
        q.next = writer_ * 1000 + ++syncs_;
        q.limits_version = 1;
        for (const Bundle& b : bundles) q.bundles.push_back(encode_bundle(b));
        return q;
    }
    Engine::Answer answer(const protocol::Request& q) {
        return engine_.sync(Engine::Call{writer_, encode(q)});
    }
    /// Sends; the reply is looked at but not taken.
    protocol::Reply send(const protocol::Request& q) {
        const Engine::Answer a = answer(q);
        INFO(a.error_code, ": ", a.error_sentence);
        REQUIRE(a.error_code.empty());
        last_bytes = a.archive;
        return decode<protocol::Reply>(a.archive);
    }
    /// A whole round: compose, send, take.
    protocol::Reply sync(const std::vector<Bundle>& bundles = {}) {
        const protocol::Request q = compose(bundles);
        protocol::Reply r = send(q);
        REQUIRE(r.outcome == protocol::Outcome::ok);
        take(q, r);
        return r;
    }
    void take(const protocol::Request& q, const protocol::Reply& r) {
        CHECK(r.next == q.next);
        if (r.tag != 0) last = {q.next, r.tag};
        for (const std::string& bytes : r.records) {
            RecordState state = decode_record(bytes);
            for (auto& [number, field] : state.fields)
                for (LiveValue& l : field.live)
                    if (l.elided) l.value = sent_.at({l.dot.counter, state.id, number, l.key});
            has[state.id] = std::move(state);
        }
        if (r.confirmed) confirm(q, r);
        for (const auto& author : r.authors) authors[author.writer] = author.name;
    }

    const FieldState& field(const RecordId& id, std::string_view name) {
        static const FieldState kNone;
        const RecordState& state = has.at(id);
        const Field* f = kind_numbered(state.kind)->field(name);
        REQUIRE(f);
        const auto found = state.fields.find(f->number);
        return found == state.fields.end() ? kNone : found->second;
    }
    std::string text(const RecordId& id, std::string_view name) {
        const Value v = show(has.at(id)).value(name);
        return v.text() ? *v.text() : "";
    }
    std::vector<Overwritten> seen(const RecordId& id, std::string_view name) {
        return shown_dots(*kind_numbered(has.at(id).kind)->field(name), field(id, name));
    }

    protocol::Entry last;
    std::map<RecordId, RecordState> has;
    std::map<std::uint64_t, std::string> authors;
    std::string last_bytes;

private:
    /// What the reply leaves out is what it held, with what it sent merged.
    void confirm(const protocol::Request& q, const protocol::Reply& r) {
        std::map<RecordId, std::vector<std::pair<Change, Dot>>> sent;
        for (std::size_t i = 0; i < q.bundles.size(); ++i) {
            const Bundle b = decode_bundle(q.bundles[i]);
            if (r.verdicts.at(i).verdict != Verdict::applied) continue;
            for (const Change& c : b.changes) sent[c.id].push_back({c, Dot{writer_, b.counter}});
        }
        std::uint64_t sum = 0;
        auto next = sent.begin();
        bool left_out = true;
        for (const std::uint32_t run : r.confirmed->runs) {
            for (std::uint32_t n = 0; n < run; ++n, ++next) {
                REQUIRE(next != sent.end());
                if (!left_out) continue;
                RecordState& state = has.at(next->first);
                for (const auto& [change, dot] : next->second)
                    for (const Write& write : change.writes) {
                        FieldState& merged = state.fields[write.field];
                        merge(merged, write, dot,
                              kind_numbered(change.kind)->field(write.field)->is_keyed());
                        merged.known.clear();
                        for (LiveValue& l : merged.live) l.capture = {};
                    }
                RecordState whole = state;
                for (auto& [number, field] : whole.fields)
                    for (LiveValue& l : field.live) l.elided = false;
                sum += checksum(whole);
            }
            left_out = !left_out;
        }
        CHECK(next == sent.end());
        CHECK(sum == r.confirmed->sum);
    }

    Engine& engine_;
    Clockwork& clock_;
    const std::uint64_t writer_;
    const std::string rep_;
    std::map<std::tuple<std::uint64_t, RecordId, std::uint16_t, std::string>, Value> sent_;
    std::uint64_t counter_ = 0, syncs_ = 0, captures_ = 0, ticks_ = 0;
};

struct Centre {
    TempDir dir;
    Clockwork clock;
    Limits limits;
    std::unique_ptr<Storage> storage = open_sqlite_storage(dir.file("server.db"));
    Engine engine{*storage, clock, limits};

    Phone phone(std::uint64_t writer, const std::string& rep, Role role = Role::rep,
                std::vector<std::string> scopes = {"territory/A"},
                const std::string& tenant = "acme") {
        return Phone(engine, *storage, clock, writer, rep, role, std::move(scopes), tenant);
    }
    Record reference(std::string_view kind,
                     const std::vector<std::pair<std::string, Value>>& fields) {
        Record r;
        r.kind = kind_named(kind);
        for (const auto& [name, value] : fields) r.set(name, value);
        return r;
    }
    StoredRecord stored(const RecordId& id) {
        auto r = storage->begin_read()->record("acme", id);
        REQUIRE(r);
        return *r;
    }
};

const RecordId kCustomer = id_of(1), kComplaint = id_of(2), kRequest = id_of(3), kOther = id_of(4),
               kTheme = id_of(5);

bool has_code(const protocol::BundleVerdict& verdict, const std::string& code,
              const std::string& field = {}) {
    return std::any_of(verdict.reasons.begin(), verdict.reasons.end(),
                       [&](const Refusal& r) { return r.code == code && r.field == field; });
}

/// What became of the bundles of a request: `applied`, or the verdict with code and field of each
/// reason.
std::string verdicts_of(const protocol::Reply& reply) {
    static const char* const kNames[] = {"", "applied", "refused", "later", "review"};
    std::string text;
    for (const protocol::BundleVerdict& v : reply.verdicts) {
        text += (text.empty() ? "" : "; ") + std::string(kNames[static_cast<int>(v.verdict)]);
        for (const Refusal& r : v.reasons)
            text += " " + r.code + (r.field.empty() ? "" : ":" + r.field);
    }
    return text;
}

// ---- rounds and entries

TEST_CASE_FIXTURE(Centre,
                  "a bundle goes up, and another device of the territory gets its records whole") {
    Phone phone = this->phone(10, "R17"), tablet = this->phone(11, "R17");
    const auto r = phone.sync(
        {phone.bundle({phone.customer(kCustomer), phone.complaint(kComplaint, kCustomer)})});
    REQUIRE(r.verdicts.size() == 1);
    CHECK(verdicts_of(r) == "applied");
    CHECK(r.receipt == 1);
    CHECK(r.checkpoint);
    CHECK(r.tag != 0);

    tablet.sync();
    CHECK(tablet.text(kCustomer, "name") == "Molkerei");
    CHECK(tablet.has.at(kCustomer).scope == "territory/A");
    CHECK(tablet.has.at(kComplaint).scope == "territory/A");
    CHECK(tablet.text(kComplaint, "state") == "submitted");
    CHECK(tablet.text(kComplaint, "number") == "C-2026-00001");
    CHECK(tablet.authors.at(10) == "R17");
    CHECK(tablet.authors.at(kServerWriter) == "server");
    CHECK(tablet.field(kComplaint, "verbatim").live[0].dot == Dot{10, 1});
    CHECK(tablet.field(kComplaint, "verbatim").live[0].capture.is_none());

    const StoredRecord stored = this->stored(kComplaint);
    CHECK(stored.root == kCustomer);
    CHECK(stored.event == "created");
    CHECK(stored.bundle == "10.1");
    CHECK(stored.author == "R17");
    CHECK(stored.commit == this->stored(kCustomer).commit);
}

TEST_CASE_FIXTURE(Centre,
                  "a lost reply is answered again with the same verdicts and under another tag") {
    Phone phone = this->phone(10, "R17"), tablet = this->phone(11, "R17");
    const auto q = phone.compose({phone.bundle({phone.customer(kCustomer)})});
    const auto lost = phone.send(q);
    tablet.sync();
    tablet.sync(
        {tablet.bundle({tablet.change("customer", kCustomer, false, {{"phone", "+4930123456"}})})});

    const auto r = phone.send(q);
    CHECK(r.outcome == protocol::Outcome::ok);
    CHECK(r.verdicts == lost.verdicts);
    CHECK(r.receipt == 1);
    CHECK(r.tag != lost.tag);
    phone.take(q, r);
    CHECK(phone.text(kCustomer, "phone") == "+4930123456");
    CHECK(phone.sync().tag == 0);  // the answer that arrived is the one it goes on from
    CHECK(storage->begin_read()->device(10)->entries.back().answers.size() == 2);

    // The first answer may still be the one the device has.
    Phone late = this->phone(12, "R17");
    const auto first = late.compose();
    const auto a = late.send(first);
    late.send(first);
    late.take(first, a);
    CHECK(late.compose().last.tag == a.tag);
    late.sync();
}

TEST_CASE_FIXTURE(Centre, "a repeated bundle is never processed twice") {
    Phone phone = this->phone(10, "R17");
    const auto q = phone.compose(
        {phone.bundle({phone.customer(kCustomer), phone.complaint(kComplaint, kCustomer)})});
    for (int i = 0; i < 3; ++i) phone.send(q);
    CHECK(storage->begin_read()->feed_head("acme") == 1);
    CHECK(storage->begin_read()->feed("acme", 0, 10).size() == 2);
    CHECK(storage->begin_read()->history("acme", kComplaint).empty());
}

TEST_CASE_FIXTURE(Centre,
                  "sixty-four answers are kept for one request, eight entries and some older") {
    Phone phone = this->phone(10, "R17"), tablet = this->phone(11, "R17");
    const auto q = phone.compose({phone.bundle({phone.customer(kCustomer)})});
    for (int i = 0; i < 70; ++i) phone.send(q);
    CHECK(storage->begin_read()->device(10)->entries.back().answers.size() == 64);
    std::vector<std::uint64_t> sent;
    for (unsigned i = 0; i < 200; ++i) {
        tablet.sync({tablet.bundle({tablet.customer(id_of(100 + i))})});
        sent.push_back(storage->begin_read()->device(11)->entries.back().id);
    }
    const auto entries = storage->begin_read()->device(11)->entries;
    CHECK(entries.size() > 8 + 4);
    CHECK(entries.size() <= 32);
    const auto age = [&](const ServerEntry& e) {
        return sent.end() - std::find(sent.begin(), sent.end(), e.id);
    };
    for (std::size_t i = 1; i <= 8; ++i)
        CHECK(age(entries[entries.size() - i]) == static_cast<std::ptrdiff_t>(i));
    CHECK(age(entries.front()) > 50);
}

TEST_CASE_FIXTURE(Centre, "a sync that changes neither cursor nor receipt leaves no entry") {
    Phone phone = this->phone(10, "R17");
    phone.sync({phone.bundle({phone.customer(kCustomer)})});
    const auto before = phone.last;
    const auto r = phone.sync();
    CHECK(r.tag == 0);
    CHECK(r.cursor.empty());
    CHECK(r.records.empty());
    CHECK(r.checkpoint);
    CHECK(r.receipt == 1);
    CHECK(phone.last == before);
    CHECK(storage->begin_read()->device(10)->entries.size() == 1);
}

TEST_CASE_FIXTURE(Centre, "a late copy of a sync that found nothing new does not stop the device") {
    Phone phone = this->phone(10, "R17"), tablet = this->phone(11, "R17");
    phone.sync({phone.bundle({phone.customer(kCustomer)})});
    const auto idle = phone.compose();
    phone.take(idle, phone.send(idle));
    tablet.sync();
    tablet.sync(
        {tablet.bundle({tablet.change("customer", kCustomer, false, {{"phone", "+4930123456"}})})});
    CHECK(phone.send(idle).tag != 0);  // there is something new by now, for a sync long over
    const auto r = phone.sync();
    CHECK(r.outcome == protocol::Outcome::ok);
    CHECK(r.records.size() == 1);
    phone.send(idle);  // and once more, behind the device's newest entry
    CHECK(phone.sync().outcome == protocol::Outcome::ok);
}

TEST_CASE_FIXTURE(
    Centre, "entries that do not meet change nothing and are answered with the server's list") {
    Phone phone = this->phone(10, "R17");
    phone.sync({phone.bundle({phone.customer(kCustomer)})});
    phone.sync({phone.bundle({phone.complaint(kComplaint, kCustomer)})});
    const auto newest = phone.last;
    const auto expect_mismatch = [&](protocol::Request q) {
        const auto r = phone.send(q);
        CHECK(r.outcome == protocol::Outcome::mismatch);
        CHECK(r.next == q.next);
        REQUIRE(r.entries.size() == 2);
        CHECK(r.entries.back() == newest);
        CHECK_FALSE(storage->begin_read()->record("acme", kOther));
        CHECK(storage->begin_read()->device(10)->receipt == 2);
    };
    const std::string unsent = encode_bundle(phone.bundle({phone.customer(kOther)}));
    auto q = phone.compose();
    q.bundles = {unsent};
    SUBCASE("an older entry: a restored file") { q.last = {phone.writer() * 1000 + 1, 1}; }
    SUBCASE("the newest entry under a tag the server never gave") { q.last.tag ^= 1; }
    SUBCASE("no entry at all") { q.last = {}; }
    SUBCASE("an entry the server does not know") { q.last = {7, 7}; }
    SUBCASE("a recovery from another entry than the newest") {
        q.kind = protocol::kRecover;
        q.basis = {newest.id, newest.tag ^ 1};
    }
    expect_mismatch(q);
}

TEST_CASE_FIXTURE(Centre, "only an enrolled device is heard, and only in its own name") {
    Phone phone = this->phone(10, "R17");
    auto q = phone.compose();
    q.writer = 11;
    CHECK(phone.answer(q).error_code == "not_authorised");
    CHECK(engine.sync(Engine::Call{77, encode(phone.compose())}).error_code == "not_authorised");
}

TEST_CASE_FIXTURE(
    Centre,
    "what is not the protocol is an error of that call, and the others of the commit go on") {
    Phone phone = this->phone(10, "R17"), tablet = this->phone(11, "R18");
    auto gap = phone.compose({phone.bundle({phone.customer(kOther)})});
    Bundle skipped = phone.bundle({phone.customer(id_of(9))});
    skipped.counter = 5;
    gap.bundles.push_back(encode_bundle(skipped));
    const auto good = tablet.compose({tablet.bundle({tablet.customer(kCustomer)})});
    auto broken = phone.compose();
    broken.bundles = {"\x01nonsense"};
    auto newer = phone.compose();
    newer.version = 99;
    const auto answers = engine.sync({{10, "no archive"},
                                      {10, encode(gap)},
                                      {10, encode(broken)},
                                      {10, encode(newer)},
                                      {11, encode(good)}});
    REQUIRE(answers.size() == 5);
    for (int i = 0; i < 4; ++i)
        CHECK(answers[static_cast<std::size_t>(i)].error_code == "protocol_violated");
    CHECK(answers[4].error_code.empty());
    CHECK(storage->begin_read()->record("acme", kCustomer));
    CHECK_FALSE(storage->begin_read()->record(
        "acme", kOther));  // the first bundle of the call with the gap
    CHECK(storage->begin_read()->device(10)->receipt == 0);
}

// ---- verdicts

TEST_CASE_FIXTURE(Centre, "a refused bundle leaves nothing but its verdict, and blocks nobody") {
    Phone phone = this->phone(10, "R17");
    const auto bad = phone.bundle(
        {phone.customer(kOther), phone.complaint(kComplaint, kOther, {{"severity", "awful"}})});
    const auto good = phone.bundle({phone.customer(kCustomer)});
    const auto r = phone.sync({bad, good});
    REQUIRE(r.verdicts.size() == 2);
    CHECK(r.verdicts[0].verdict == Verdict::refused);
    CHECK(has_code(r.verdicts[0], "unknown_code", "severity"));
    CHECK(r.verdicts[0].reasons[0].record == kComplaint);
    CHECK(r.verdicts[1].verdict == Verdict::applied);
    CHECK(r.receipt == 2);
    CHECK_FALSE(storage->begin_read()->record("acme", kOther));
    CHECK_FALSE(storage->begin_read()->record("acme", kComplaint));
    CHECK(storage->begin_read()->feed_head("acme") == 1);
    CHECK(storage->begin_read()->verdict(10, 1)->verdict == Verdict::refused);

    Bundle repaired = phone.bundle({phone.customer(kOther), phone.complaint(kComplaint, kOther)});
    for (Change& c : repaired.changes)
        for (Write& w : c.writes) w.former = {{10, 1}};
    CHECK(verdicts_of(phone.sync({repaired})) == "applied");
    CHECK(phone.text(kComplaint, "number") == "C-2026-00001");  // the refused one used none up
}

TEST_CASE_FIXTURE(Centre, "a bundle that has its verdict keeps it, whichever request brings it") {
    Phone phone = this->phone(10, "R17");
    const auto edit = phone.change("customer", kCustomer, false, {{"phone", "+4930123456"}});
    const Bundle waits = phone.bundle({edit}), good = phone.bundle({phone.customer(kCustomer)});
    const auto first = phone.sync({waits, good});
    const auto again = phone.sync({waits, good});
    CHECK(again.verdicts == first.verdicts);
    CHECK(again.receipt == 2);
    CHECK(storage->begin_read()->feed_head("acme") == 1);
}

TEST_CASE("a bundle over the published limits is refused") {
    Centre centre;
    centre.limits.bundle_bytes_max = 2000;
    centre.limits.bundle_changes_max = 2;
    Engine engine(*centre.storage, centre.clock, centre.limits);
    Phone phone(engine, *centre.storage, centre.clock, 10, "R17", Role::rep, {"territory/A"});
    CHECK(verdicts_of(phone.sync({phone.bundle(
              {phone.customer(kCustomer), phone.customer(kOther), phone.customer(id_of(9))})})) ==
          "refused too_many_records");
    const std::vector<Set> long_text{{"name", "x"}, {"remarks", Value(std::string(2500, 'a'))}};
    CHECK(
        verdicts_of(phone.sync({phone.bundle({phone.create("customer", kCustomer, long_text)})})) ==
        "refused too_large");
    CHECK(centre.storage->begin_read()->feed_head("acme") == 0);
}

TEST_CASE_FIXTURE(Centre,
                  "a change of an unknown record waits, and is applied once the record is there") {
    Phone phone = this->phone(10, "R17"), tablet = this->phone(11, "R17");
    const auto edit = phone.change("customer", kCustomer, false, {{"phone", "+4930123456"}});
    const auto r = phone.sync({phone.bundle({edit})});
    CHECK(r.verdicts[0].verdict == Verdict::later);
    CHECK(has_code(r.verdicts[0], "unknown_record"));
    CHECK(r.receipt == 1);

    const auto child = phone.sync({phone.bundle({phone.complaint(kComplaint, kCustomer)})});
    CHECK(child.verdicts[0].verdict == Verdict::later);
    CHECK(has_code(child.verdicts[0], "unknown_reference", "customer_id"));

    tablet.sync({tablet.bundle({tablet.customer(kCustomer)})});
    CHECK(verdicts_of(phone.sync({phone.bundle({edit})})) == "applied");
    CHECK(phone.has.count(kCustomer) == 1);
}

TEST_CASE_FIXTURE(Centre, "no device silences another by naming its future writes") {
    Phone phone = this->phone(10, "R17"), tablet = this->phone(11, "R17");
    phone.sync({phone.bundle({phone.customer(kCustomer)})});
    tablet.sync();
    Change hostile = tablet.change("customer", kCustomer, false, {{"phone", "+4930123456"}});
    hostile.writes.front().over.push_back({{10, 1000}, ""});
    const auto r = tablet.sync({tablet.bundle({hostile})});
    CHECK(r.verdicts[0].verdict == Verdict::later);
    CHECK(has_code(r.verdicts[0], "unknown_dot", "phone"));
    phone.sync(
        {phone.bundle({phone.change("customer", kCustomer, false, {{"phone", "+4930999999"}})})});
    tablet.sync();
    CHECK(show(phone.has.at(kCustomer)).value("phone") == Value("+4930999999"));
}

TEST_CASE_FIXTURE(Centre, "a bundle waits for those it names, until they are applied") {
    Phone phone = this->phone(10, "R17");
    const auto bad = phone.bundle({phone.complaint(kComplaint, kOther)});
    const auto dependent = phone.bundle({phone.customer(kCustomer)}, {1});
    const auto r = phone.sync({bad, dependent});
    CHECK(r.verdicts[0].verdict == Verdict::later);
    CHECK(r.verdicts[1].verdict == Verdict::later);
    CHECK(has_code(r.verdicts[1], "waits_for"));
    phone.sync({phone.bundle({phone.customer(kOther)})});
    CHECK(verdicts_of(phone.sync({phone.bundle({phone.customer(kCustomer)}, {3})})) == "applied");
}

TEST_CASE_FIXTURE(Centre, "a kind or field of a newer app waits for a newer server") {
    Phone phone = this->phone(10, "R17");
    Change newer = phone.customer(kCustomer);
    newer.writes.push_back(newer.writes.front());
    newer.writes.back().field = 900;
    const auto r = phone.sync({phone.bundle({newer})});
    CHECK(r.verdicts[0].verdict == Verdict::later);
    Change kind = phone.customer(kOther);
    kind.kind = 900;
    CHECK(phone.sync({phone.bundle({kind})}).verdicts[0].verdict == Verdict::later);
}

TEST_CASE_FIXTURE(Centre, "rights are enforced: role, author, owned fields, append-only kinds") {
    Phone phone = this->phone(10, "R17"),
          quality = this->phone(20, "Q1", Role::qm, {"territory/*"});
    phone.sync({phone.bundle({phone.customer(kCustomer), phone.complaint(kComplaint, kCustomer)})});
    quality.sync();
    SUBCASE("a role that may not create the kind") {
        CHECK(verdicts_of(quality.sync({quality.bundle({quality.complaint(kOther, kCustomer)})}))
                  .rfind("refused not_creatable", 0) == 0);
    }
    SUBCASE("a field of another role") {
        CHECK(verdicts_of(phone.sync({phone.bundle(
                  {phone.change("complaint", kComplaint, false, {{"cause_code", "x"}})})})) ==
              "refused not_writable:cause_code");
    }
    SUBCASE("a field only the server writes") {
        CHECK(verdicts_of(phone.sync({phone.bundle(
                  {phone.change("complaint", kComplaint, false, {{"state", "closed"}})})})) ==
              "refused not_writable:state");
    }
    SUBCASE("somebody else's name") {
        Change c = phone.customer(kOther);
        for (Write& w : c.writes)
            if (w.field == common_field::created_by) w.adds[0].value = Value("R99");
        CHECK(verdicts_of(phone.sync({phone.bundle({c})})) == "refused not_author:created_by");
    }
    SUBCASE("nobody's name") {
        CHECK(verdicts_of(phone.sync({phone.bundle({phone.change(
                  "customer", kOther, true, {{"name", "x"}, {"created_at", at(kMonday)}})})})) ==
              "refused not_author:created_by");
    }
    SUBCASE("a change of what is only added") {
        phone.sync({phone.bundle(
            {phone.create("note", kOther, {{"subject_id", ref(kComplaint)}, {"text", "eins"}})})});
        CHECK(verdicts_of(phone.sync({phone.bundle({phone.change(
                  "note", kOther, false, {{"text", "zwei"}})})})) == "refused append_only");
    }
    CHECK(stored(kComplaint).bundle == "10.1");
}

TEST_CASE_FIXTURE(Centre, "a highest field is raised by all and lowered by the role it names") {
    Phone phone = this->phone(10, "R17"),
          quality = this->phone(20, "Q1", Role::qm, {"territory/*"});
    phone.sync({phone.bundle({phone.customer(kCustomer), phone.complaint(kComplaint, kCustomer)})});
    const auto set = [&](Phone& who, const char* severity) {
        who.sync();
        return who.sync({who.bundle(
            {who.change("complaint", kComplaint, false,
                        {{"severity", severity, {}, who.seen(kComplaint, "severity")}})})});
    };
    CHECK(verdicts_of(set(phone, "minor")) == "refused not_lowerable:severity");
    CHECK(verdicts_of(set(phone, "safety")) == "applied");
    CHECK(verdicts_of(set(quality, "minor")) == "applied");
    CHECK(quality.text(kComplaint, "severity") == "minor");
}

TEST_CASE_FIXTURE(
    Centre,
    "a write-once field keeps its value, and two first values are a conflict a person resolves") {
    Phone phone = this->phone(10, "R17"), tablet = this->phone(11, "R17");
    phone.sync({phone.bundle({phone.customer(kCustomer), phone.complaint(kComplaint, kCustomer)})});
    tablet.sync();
    const auto lot = [&](Phone& who, const char* value, bool having_seen) {
        std::vector<Overwritten> over;
        if (having_seen)
            for (const LiveValue& l : who.field(kComplaint, "lot").live)
                over.push_back({l.dot, ""});
        return who.sync(
            {who.bundle({who.change("complaint", kComplaint, false, {{"lot", value, {}, over}})})});
    };
    CHECK(verdicts_of(lot(phone, "L1", false)) == "applied");
    clock.now_ms += 1000;
    CHECK(verdicts_of(lot(tablet, "L2", false)) == "applied");
    CHECK(tablet.text(kComplaint, "lot") == "L1");
    CHECK(tablet.field(kComplaint, "lot").live.size() == 2);
    CHECK(verdicts_of(lot(tablet, "L2", true)) == "applied");
    CHECK(tablet.text(kComplaint, "lot") == "L2");
    CHECK(verdicts_of(lot(tablet, "L3", true)) == "refused write_once:lot");
}

TEST_CASE_FIXTURE(
    Centre,
    "two devices edit one field unseen: both values stay live until one that saw both writes") {
    Phone phone = this->phone(10, "R17"), tablet = this->phone(11, "R17");
    phone.sync({phone.bundle({phone.customer(kCustomer),
                              phone.complaint(kComplaint, kCustomer, {{"description", "alt"}})})});
    phone.sync();
    tablet.sync();
    const auto edit = [&](Phone& who, const char* text) {
        return who.bundle(
            {who.change("complaint", kComplaint, false,
                        {{"description", text, {}, who.seen(kComplaint, "description")}})});
    };
    const Bundle a = edit(phone, "am Rand"), b = edit(tablet, "am Boden");
    CHECK(verdicts_of(phone.sync({a})) == "applied");
    CHECK(verdicts_of(tablet.sync({b})) == "applied");
    phone.sync();
    REQUIRE(phone.field(kComplaint, "description").live.size() == 2);
    CHECK(conflicted(phone.has.at(kComplaint)));
    CHECK(show(phone.has.at(kComplaint)).shown("description").size() == 2);
    CHECK(storage->begin_read()->history("acme", kComplaint).size() ==
          1);  // only the text both had seen

    phone.sync({edit(phone, "am Rand und am Boden")});
    tablet.sync();
    CHECK(tablet.text(kComplaint, "description") == "am Rand und am Boden");
    const auto history = storage->begin_read()->history("acme", kComplaint);
    REQUIRE(history.size() == 3);
    CHECK(history[0].value.value == Value("alt"));
    CHECK(history[0].author == "R17");
    CHECK(history[2].left_by == "10.3");
}

TEST_CASE_FIXTURE(Centre, "scopes are enforced on records, references and homes") {
    Phone phone = this->phone(10, "R17"), far = this->phone(30, "R23", Role::rep, {"territory/B"});
    phone.sync({phone.bundle({phone.customer(kCustomer)})});
    CHECK(verdicts_of(far.sync({far.bundle(
              {far.change("customer", kCustomer, false, {{"phone", "+4930123456"}})})})) ==
          "refused not_in_scope");
    CHECK(verdicts_of(far.sync({far.bundle({far.complaint(kComplaint, kCustomer)})})) ==
          "refused not_in_scope:customer_id");
    CHECK(verdicts_of(far.sync({far.bundle({far.customer(kOther, "territory/A")})})) ==
          "refused not_in_scope");
    CHECK(verdicts_of(far.sync({far.bundle({far.customer(kOther, "rep/R23")})})) ==
          "refused malformed:scope");
    CHECK(far.has.empty());

    Phone both = this->phone(31, "R24", Role::rep, {"territory/A", "territory/B"});
    CHECK(verdicts_of(both.sync({both.bundle({both.customer(kOther)})})) ==
          "refused required:scope");
    CHECK(verdicts_of(both.sync({both.bundle({both.customer(kOther, "territory/B")})})) ==
          "applied");
    far.sync();
    CHECK(far.has.count(kOther) == 1);
}

TEST_CASE_FIXTURE(
    Centre,
    "children live where their customer lives, through any chain, in any order within the bundle") {
    Phone phone = this->phone(10, "R17");
    const RecordId visit = id_of(20), talk = id_of(21), note = id_of(22), product = id_of(23),
                   task = id_of(24);
    engine.write_as_server(
        "acme", {[&] {
            Record r = reference("product", {{"code", Value("P1")}, {"name", Value("Becher")}});
            r.id = product;
            return r;
        }()});
    const auto r = phone.sync({phone.bundle(
        {phone.create("note", note, {{"subject_id", ref(talk)}, {"text", "Muster"}}),
         phone.create(
             "product_talk", talk,
             {{"visit_id", ref(visit)}, {"product_id", ref(product)}, {"aida", "interest"}}),
         phone.create("visit", visit,
                      {{"customer_id", ref(kCustomer)},
                       {"type", "visit"},
                       {"purpose", "renew"},
                       {"started_at", at(kMonday)}}),
         phone.customer(kCustomer), phone.create("task", task, {{"text", "anrufen"}})})});
    CHECK(verdicts_of(r) == "applied");
    for (const RecordId& id : {visit, talk, note}) {
        CHECK(stored(id).state.scope == "territory/A");
        CHECK(stored(id).root == kCustomer);
    }
    CHECK(stored(note).subject == talk);
    CHECK(stored(task).state.scope == "rep/R17");
    CHECK(stored(product).state.scope == "global");
    CHECK(phone.has.size() == 6);
}

TEST_CASE_FIXTURE(Centre, "a right in the past ends with the sync that told of the departure") {
    Phone offline = phone(10, "R17"), told = phone(11, "R17"), stranger = phone(12, "R30");
    const protocol::Reply created =
        told.sync({told.bundle({told.customer(kCustomer), told.complaint(kComplaint, kCustomer)})});
    REQUIRE(verdicts_of(created) == "applied");
    offline.sync();
    const auto edit = [](Phone& phone) {
        return phone.bundle(
            {phone.change("complaint", kComplaint, false, {{"description", "zwei Paletten"}})});
    };
    clock.now_ms += kDayMs;
    const Bundle before = edit(offline);
    clock.now_ms += kDayMs;
    REQUIRE_FALSE(engine.begin("acme", {kCustomer, {}, "territory/B"}));
    while (engine.carry_on() > 0) {
    }
    clock.now_ms += kDayMs;
    CHECK(verdicts_of(offline.sync({before})) == "applied");
    told.sync();
    clock.now_ms -= 2 * kDayMs;  // a device's clock set back gives no rights
    const Bundle pretended = edit(told);
    clock.now_ms += 2 * kDayMs;
    CHECK(verdicts_of(told.sync({pretended})) == "review not_in_scope");

    Phone south = phone(13, "R23", Role::rep, {"territory/B"});
    const RecordId theirs = id_of(77);
    REQUIRE(verdicts_of(south.sync({south.bundle({south.customer(theirs)})})) == "applied");
    CHECK(verdicts_of(stranger.sync({stranger.bundle(
              {stranger.change("customer", theirs, false, {{"phone", "+4930123456"}})})})) ==
          "refused not_in_scope");
}

TEST_CASE_FIXTURE(Centre, "a contact of another customer is not taken") {
    Phone phone = this->phone(10, "R17");
    const RecordId contact = id_of(20);
    const auto name = Value(Parts{Value("Eva"), Value("Reuter")});
    phone.sync({phone.bundle(
        {phone.customer(kCustomer), phone.customer(kOther),
         phone.create("contact", contact, {{"customer_id", ref(kOther)}, {"name", name}})})});
    CHECK(verdicts_of(phone.sync({phone.bundle(
              {phone.complaint(kComplaint, kCustomer, {{"contact_id", ref(contact)}})})})) ==
          "refused other_customer:contact_id");
    CHECK(verdicts_of(phone.sync({phone.bundle({phone.complaint(
              kComplaint, kOther, {{"contact_id", ref(contact)}})})})) == "applied");
}

TEST_CASE_FIXTURE(Centre, "an id in another system is unique per tenant, kind and system") {
    Phone phone = this->phone(10, "R17"),
          other = this->phone(40, "U1", Role::rep, {"territory/A"}, "umbrella");
    const Value erp(Parts{Value("erp"), Value("4711")});
    const auto with_id = [&](Phone& who, const RecordId& id) {
        Change c = who.create("customer", id, {{"name", "Molkerei"}, {"external_ids", erp}});
        return who.sync({who.bundle({c})});
    };
    CHECK(verdicts_of(with_id(phone, kCustomer)) == "applied");
    CHECK(verdicts_of(with_id(phone, kOther)) == "refused duplicate_external_id:external_ids");
    CHECK(verdicts_of(with_id(other, kOther)) == "applied");
    CHECK(verdicts_of(phone.sync({phone.bundle(
              {phone.create(
                   "customer", id_of(50),
                   {{"name", "a"}, {"external_ids", Value(Parts{Value("erp"), Value("1")})}}),
               phone.create("customer", id_of(51),
                            {{"name", "b"},
                             {"external_ids", Value(Parts{Value("erp"), Value("1")})}})})})) ==
          "refused duplicate_external_id:external_ids duplicate_external_id:external_ids");

    // An id given up in the same bundle is free.
    const auto over = phone.field(kCustomer, "external_ids").live;
    REQUIRE(over.size() == 1);
    Change gives = phone.change("customer", kCustomer, false, {{"phone", "+4930123456"}});
    Write removal;
    removal.field = common_field::external_ids;
    removal.over = {{over[0].dot, over[0].key}};
    gives.writes.insert(gives.writes.begin(), removal);
    CHECK(verdicts_of(phone.sync({phone.bundle(
              {phone.create("customer", kOther, {{"name", "neu"}, {"external_ids", erp}}),
               gives})})) == "applied");
    CHECK(storage->begin_read()->by_external_id("acme", 1, "erp", "4711") == kOther);
}

TEST_CASE_FIXTURE(Centre, "a create of a known id merges, but not into another kind") {
    Phone phone = this->phone(10, "R17"), tablet = this->phone(11, "R17");
    phone.sync({phone.bundle({phone.customer(kCustomer)})});
    Change again =
        tablet.create("customer", kCustomer, {{"name", "Molkerei"}, {"phone", "+4930123456"}});
    CHECK(verdicts_of(tablet.sync({tablet.bundle({again})})) == "applied");
    CHECK(tablet.text(kCustomer, "phone") == "+4930123456");
    CHECK(tablet.text(kCustomer, "state") == "prospect");
    CHECK(verdicts_of(tablet.sync({tablet.bundle(
              {tablet.create("task", kCustomer, {{"text", "x"}})})})) == "refused wrong_kind");
}

TEST_CASE_FIXTURE(Centre,
                  "values that are not in their canonical form are refused, since the device would "
                  "keep its own") {
    Phone phone = this->phone(10, "R17");
    Change c = phone.create("customer", kCustomer, {{"name", " Molkerei "}});
    CHECK(verdicts_of(phone.sync({phone.bundle({c})})) == "refused malformed:name");
    CHECK(verdicts_of(phone.sync({phone.bundle({phone.create(
              "customer", kCustomer, {{"name", "x"}, {"gln", "1234567890123"}})})})) ==
          "refused gln_check_digit:gln");
    CHECK(verdicts_of(phone.sync({phone.bundle({phone.create(
              "customer", kCustomer, {{"phone", "+4930123456"}})})})) == "refused required:name");
}

TEST_CASE_FIXTURE(Centre, "a stamp far ahead is held back, and the order within the push stays") {
    Phone phone = this->phone(10, "R17");
    Change c = phone.customer(kCustomer);
    const Stamp year_ahead = HybridClock::at(kMonday + 365 * kDayMs);
    for (std::size_t i = 0; i < c.writes.size(); ++i) c.writes[i].adds[0].stamp = year_ahead + i;
    phone.sync({phone.bundle({c})});
    const RecordState state = stored(kCustomer).state;
    Stamp previous = 0;
    for (const Write& w : c.writes) {
        const Stamp stamp = state.fields.at(w.field).live[0].stamp;
        CHECK(stamp <= HybridClock::at(kMonday + 6 * 60 * 1000));
        CHECK(stamp > previous);
        previous = stamp;
    }
}

// ---- states

TEST_CASE_FIXTURE(
    Centre,
    "quality acknowledges and answers a complaint, and the rep sees states, times and events") {
    Phone phone = this->phone(10, "R17"),
          quality = this->phone(20, "Q1", Role::qm, {"territory/*"});
    phone.sync({phone.bundle({phone.customer(kCustomer), phone.complaint(kComplaint, kCustomer)})});
    quality.sync();
    clock.now_ms += kDayMs;
    const auto r = quality.sync(
        {quality.bundle({quality.request_state(kRequest, kComplaint, 1, "acknowledged")})});
    CHECK(verdicts_of(r) == "applied");
    CHECK(quality.text(kRequest, "verdict") == "accepted");
    phone.sync();
    CHECK(phone.text(kComplaint, "state") == "acknowledged");
    const Record shown_complaint = show(phone.has.at(kComplaint));
    CHECK(*shown_complaint.value("state_version").integer() == 2);
    CHECK(shown_complaint.value("ack_at") == at(clock.now_ms));
    CHECK(shown_complaint.value("due_at") == at(clock.now_ms + 7 * kDayMs));
    const RecordId event = name_based_id("acme", "status_event", kComplaint.text() + ":2");
    REQUIRE(phone.has.count(event) == 1);
    CHECK(phone.text(event, "from") == "submitted");
    CHECK(phone.text(event, "to") == "acknowledged");
    CHECK(phone.text(event, "by") == "Q1");
    CHECK(stored(event).subject == kComplaint);

    quality.sync({quality.bundle(
        {quality.change("complaint", kComplaint, false, {{"defect_code", "leak"}})})});
    quality.sync({quality.bundle(
        {quality.request_state(id_of(30), kComplaint, 2, "assessed"),
         quality.request_state(id_of(31), kComplaint, 3, "answered",
                               {{"decision", "goodwill"}, {"reply_text", "Wir liefern neu."}})})});
    CHECK(quality.text(id_of(31), "verdict") == "accepted");
    phone.sync();
    CHECK(phone.text(kComplaint, "state") == "answered");
    CHECK(phone.text(kComplaint, "decision") == "goodwill");
    CHECK(phone.text(kComplaint, "reply_text") == "Wir liefern neu.");
    CHECK_FALSE(show(phone.has.at(kComplaint)).value("answered_at").is_null());
}

TEST_CASE_FIXTURE(Centre,
                  "a request that does not fit is turned down without refusing its bundle") {
    Phone phone = this->phone(10, "R17"),
          quality = this->phone(20, "Q1", Role::qm, {"territory/*"}),
          second = this->phone(21, "Q2", Role::qm, {"territory/*"});
    phone.sync({phone.bundle({phone.customer(kCustomer), phone.complaint(kComplaint, kCustomer)})});
    quality.sync();
    second.sync();
    SUBCASE("not this role's") {
        CHECK(verdicts_of(phone.sync({phone.bundle(
                  {phone.request_state(kRequest, kComplaint, 1, "acknowledged")})})) == "applied");
        CHECK(phone.text(kRequest, "verdict") == "refused");
        CHECK(phone.text(kRequest, "verdict_code") == "not_your_role");
        CHECK(phone.text(kComplaint, "state") == "submitted");
    }
    SUBCASE("a field that cannot be read") {
        CHECK(verdicts_of(quality.sync({quality.bundle({quality.request_state(
                  kRequest, kComplaint, 1, "acknowledged", {{"due_at", "tomorrow"}})})})) ==
              "applied");
        CHECK(quality.text(kRequest, "verdict") == "refused");
        CHECK(quality.text(kRequest, "verdict_sentence").find("due_at") != std::string::npos);
        CHECK(quality.text(kComplaint, "state") == "submitted");
    }
    SUBCASE(
        "two ask for the same: the second is there already; one for something else has an old "
        "version") {
        CHECK(verdicts_of(quality.sync({quality.bundle({quality.request_state(
                  kRequest, kComplaint, 1, "acknowledged")})})) == "applied");
        CHECK(verdicts_of(second.sync({second.bundle(
                  {second.request_state(kOther, kComplaint, 1, "acknowledged"),
                   second.request_state(id_of(40), kComplaint, 1, "withdrawn", {}, "Irrtum")})})) ==
              "applied");
        CHECK(second.text(kOther, "verdict") == "already_there");
        CHECK(second.text(id_of(40), "verdict") == "refused");
        CHECK(second.text(id_of(40), "verdict_code") == "stale_version");
        CHECK(*show(second.has.at(kComplaint)).value("state_version").integer() == 2);
    }
    SUBCASE("a kind without states") {
        const RecordId visit = id_of(20);
        CHECK(verdicts_of(phone.sync({phone.bundle({phone.create(
                  "visit", visit, {{"customer_id", ref(kCustomer)}, {"type", "call"}})})})) ==
              "applied");
        CHECK(verdicts_of(phone.sync({phone.bundle(
                  {phone.request_state(kRequest, visit, 1, "closed")})})) == "applied");
        CHECK(phone.text(kRequest, "verdict_code") == "no_lifecycle");
    }
}

TEST_CASE_FIXTURE(Centre, "a request that arrives twice under two names is judged once") {
    Phone phone = this->phone(10, "R17"),
          quality = this->phone(20, "Q1", Role::qm, {"territory/*"});
    phone.sync({phone.bundle({phone.customer(kCustomer), phone.complaint(kComplaint, kCustomer)})});
    const Change request = quality.request_state(kRequest, kComplaint, 1, "acknowledged");
    quality.sync({quality.bundle({request})});
    const std::string verdict_at =
        show(quality.has.at(kRequest)).value("verdict_at").is_null() ? "" : "set";
    clock.now_ms += 1000;
    CHECK(verdicts_of(quality.sync({quality.bundle({request})})) == "applied");
    CHECK(verdict_at == "set");
    CHECK(show(quality.has.at(kRequest)).value("verdict_at") == at(kMonday));
    CHECK(quality.text(kRequest, "verdict") == "accepted");
}

TEST_CASE_FIXTURE(
    Centre, "a decided theme decides the wishes behind it, and only those that were triaged") {
    Phone phone = this->phone(10, "R17"),
          manager = this->phone(20, "P1", Role::pm, {"territory/*"});
    const RecordId triaged = id_of(30), untouched = id_of(31);
    phone.sync({phone.bundle({phone.customer(kCustomer), phone.wish(triaged, kCustomer),
                              phone.wish(untouched, kCustomer)})});
    manager.sync();
    manager.sync({manager.bundle(
        {manager.create("theme", kTheme, {{"title", "Nachfüllbeutel"}}),
         manager.change("product_wish", triaged, false, {{"theme_ids", ref(kTheme)}}),
         manager.change("product_wish", untouched, false, {{"theme_ids", ref(kTheme)}}),
         manager.request_state(id_of(40), triaged, 1, "triaged")})});
    CHECK(manager.text(triaged, "state") == "triaged");
    CHECK(manager.text(untouched, "state") == "submitted");
    manager.sync({manager.bundle({manager.request_state(id_of(41), kTheme, 1, "under_review")})});
    manager.sync({manager.bundle({manager.request_state(
        id_of(42), kTheme, 2, "planned", {{"decision_text_for_customer", "Kommt im Herbst."}})})});
    CHECK(manager.text(id_of(42), "verdict") == "accepted");
    phone.sync();
    CHECK(phone.text(kTheme, "state") == "planned");
    CHECK(phone.text(kTheme, "decision_text_for_customer") == "Kommt im Herbst.");
    CHECK(*show(phone.has.at(kTheme)).value("decision_version").integer() == 1);
    CHECK(phone.text(triaged, "state") == "decided");
    CHECK(phone.text(untouched, "state") == "submitted");
    CHECK(phone.text(name_based_id("acme", "status_event", triaged.text() + ":3"), "by") ==
          "server");
    CHECK(phone.text(triaged, "number") == "W-2026-00001");
}

// ---- what leaves the server

TEST_CASE_FIXTURE(Centre, "text for the centre is in no reply, not even in that to its author") {
    Phone phone = this->phone(10, "R17"),
          manager = this->phone(20, "P1", Role::pm, {"territory/*"});
    const std::string secret = "Marge zu klein";
    std::string all;
    manager.sync(
        {manager.bundle({manager.create("theme", kTheme, {{"title", "Nachfüllbeutel"}})})});
    manager.sync({manager.bundle({manager.request_state(id_of(41), kTheme, 1, "under_review")})});
    manager.sync({manager.bundle({manager.request_state(
        id_of(42), kTheme, 2, "planned",
        {{"decision_text_internal", secret}, {"decision_text_for_customer", "Kommt."}})})});
    all += manager.last_bytes;
    phone.sync();
    all += phone.last_bytes;
    Phone fresh = this->phone(21, "P1", Role::pm, {"territory/*"});
    fresh.sync();
    all += fresh.last_bytes;
    CHECK(all.find(secret) == std::string::npos);
    CHECK(fresh.text(id_of(42), "verdict") == "accepted");
    CHECK(fresh.field(id_of(42), "fields").live.size() == 1);
    CHECK(fresh.field(id_of(42), "fields").live[0].key == "decision_text_for_customer");
    CHECK(stored(kTheme)
              .state.fields.at(kind_named("theme")->field("decision_text_internal")->number)
              .live[0]
              .value == Value(secret));
}

TEST_CASE_FIXTURE(
    Centre, "fields and kinds of other roles do not go out, and the cursor passes over them") {
    Phone phone = this->phone(10, "R17"),
          manager = this->phone(20, "P1", Role::pm, {"territory/*"});
    const RecordId contact = id_of(20), wish = id_of(21);
    Change w = phone.wish(wish, kCustomer);
    w.writes.push_back(phone.write(*kind_named("product_wish"), {"contact_id", ref(contact)}));
    std::sort(w.writes.begin(), w.writes.end(),
              [](const Write& a, const Write& b) { return a.field < b.field; });
    CHECK(verdicts_of(phone.sync(
              {phone.bundle({phone.customer(kCustomer),
                             phone.create("contact", contact,
                                          {{"customer_id", ref(kCustomer)},
                                           {"name", Value(Parts{Value("Eva"), Value("Reuter")})}}),
                             w})})) == "applied");
    manager.sync();
    CHECK(manager.has.count(wish) == 1);
    CHECK(manager.has.count(contact) == 0);
    CHECK(manager.field(wish, "contact_id").live.empty());
    CHECK_FALSE(phone.field(wish, "contact_id").live.empty());
    CHECK(manager.last_bytes.find("Reuter") == std::string::npos);
    CHECK(manager.last_bytes.find(contact.raw()) == std::string::npos);
    CHECK(manager.sync().tag == 0);
}

TEST_CASE_FIXTURE(Centre, "of a value the request carried only the bytes are left out") {
    Phone phone = this->phone(10, "R17"), tablet = this->phone(11, "R17");
    const auto r = phone.sync(
        {phone.bundle({phone.customer(kCustomer), phone.complaint(kComplaint, kCustomer)})});
    for (const std::string& bytes : r.records)
        for (const auto& [number, field] : decode_record(bytes).fields)
            for (const LiveValue& l : field.live) CHECK(l.value.is_null() == (l.dot.writer == 10));
    const LiveValue& own = phone.field(kComplaint, "verbatim").live[0];
    CHECK(own.elided);
    CHECK(own.dot == Dot{10, 1});
    CHECK(own.stamp != 0);
    CHECK_FALSE(phone.field(kComplaint, "state").live[0].elided);
    CHECK(phone.last_bytes.find("undicht") == std::string::npos);

    tablet.sync({tablet.bundle(
        {tablet.change("complaint", kComplaint, false, {{"description", "am Rand"}})})});
    CHECK(tablet.field(kComplaint, "description").live[0].elided);
    CHECK(tablet.text(kComplaint, "verbatim") == "undicht");
    phone.sync();  // carries nothing, so everything comes
    CHECK(phone.text(kComplaint, "verbatim") == "undicht");
    CHECK(phone.text(kComplaint, "description") == "am Rand");
}

TEST_CASE_FIXTURE(
    Centre,
    "a wildcard reaches every territory, an exact scope its own, and what is global everybody") {
    Phone a = this->phone(10, "R17"), b = this->phone(11, "R23", Role::rep, {"territory/B"});
    Phone office = this->phone(20, "M1", Role::mgr, {"territory/*"}),
          some = this->phone(21, "M2", Role::mgr, {"territory/B*"});
    engine.write_as_server(
        "acme", {reference("product", {{"code", Value("P1")}, {"name", Value("Becher")}})});
    a.sync({a.bundle({a.customer(kCustomer)})});
    b.sync({b.bundle({b.customer(kOther)})});
    office.sync();
    some.sync();
    a.sync();
    CHECK(office.has.size() == 3);
    CHECK(some.has.size() == 2);
    CHECK(some.has.count(kCustomer) == 0);
    CHECK(a.has.count(kOther) == 0);
    CHECK(a.has.size() == 2);
    // Global first: the rest refers to it.
    Phone fresh = this->phone(22, "M3", Role::mgr, {"territory/*"});
    CHECK(decode_record(fresh.sync().records.front()).scope == "global");
    // A stream that begins later is reached as well.
    Phone c = this->phone(12, "R31", Role::rep, {"territory/C"});
    c.sync({c.bundle({c.customer(id_of(60))})});
    office.sync();
    CHECK(office.has.count(id_of(60)) == 1);
}

TEST_CASE_FIXTURE(Centre, "a person's tasks reach this person alone, and a manager may give one") {
    Phone phone = this->phone(10, "R17"), other = this->phone(11, "R18"),
          manager = this->phone(20, "M1", Role::mgr, {"territory/*"});
    const auto task = [&](Phone& who, const RecordId& id) {
        return who.sync(
            {who.bundle({who.create("task", id, {{"text", "anrufen"}, {"assignee", "R17"}})})});
    };
    CHECK(verdicts_of(task(manager, kRequest)) == "applied");
    CHECK(verdicts_of(task(other, kOther)) == "refused not_in_scope");
    phone.sync();
    CHECK(phone.text(kRequest, "text") == "anrufen");
    CHECK(other.has.empty());
}

TEST_CASE_FIXTURE(Centre, "two tenants with the same names see nothing of each other") {
    Phone acme = this->phone(10, "R17"),
          umbrella = this->phone(40, "R17", Role::rep, {"territory/A"}, "umbrella");
    acme.sync({acme.bundle({acme.customer(kCustomer), acme.complaint(kComplaint, kCustomer)})});
    umbrella.sync();
    CHECK(umbrella.has.empty());
    const auto r = umbrella.sync({umbrella.bundle(
        {umbrella.change("customer", kCustomer, false, {{"phone", "+4930123456"}})})});
    CHECK(r.verdicts[0].verdict == Verdict::later);
    CHECK(verdicts_of(umbrella.sync({umbrella.bundle(
              {umbrella.customer(kCustomer), umbrella.complaint(kComplaint, kCustomer)})})) ==
          "applied");
    CHECK(umbrella.text(kComplaint, "number") == "C-2026-00001");
    CHECK(storage->begin_read()->feed_head("umbrella") == 1);
    acme.sync();
    CHECK(acme.field(kCustomer, "name").live[0].dot == Dot{10, 1});
}

TEST_CASE(
    "pages follow each other until one reaches the heads, and lose nothing that changes between "
    "them") {
    Centre centre;
    centre.limits.reply_records_max = 3;
    Engine engine(*centre.storage, centre.clock, centre.limits);
    Phone writer(engine, *centre.storage, centre.clock, 10, "R17", Role::rep, {"territory/A"});
    Phone reader(engine, *centre.storage, centre.clock, 11, "R17", Role::rep, {"territory/A"});
    std::vector<Change> customers;
    for (unsigned i = 0; i < 8; ++i) customers.push_back(writer.customer(id_of(100 + i)));
    writer.sync({writer.bundle(customers)});
    auto r = reader.sync();
    CHECK(r.records.size() == 3);
    CHECK_FALSE(r.checkpoint);
    CHECK(r.tag != 0);
    // One that was already paged and one that was not change meanwhile.
    writer.sync({writer.bundle(
        {writer.change("customer", id_of(100), false, {{"phone", "+4930123456"}}),
         writer.change("customer", id_of(107), false, {{"phone", "+4930123456"}})})});
    int pages = 1;
    while (!r.checkpoint && pages < 10) {
        r = reader.sync();
        ++pages;
    }
    CHECK(pages == 3);
    CHECK(reader.has.size() == 8);
    CHECK(reader.text(id_of(100), "phone") == "+4930123456");
    CHECK(reader.text(id_of(107), "phone") == "+4930123456");
}

TEST_CASE("a page is bounded in bytes, and a record larger than a page travels alone") {
    Centre centre;
    centre.limits.reply_bytes_max = 600;
    Engine engine(*centre.storage, centre.clock, centre.limits);
    Phone writer(engine, *centre.storage, centre.clock, 10, "R17", Role::rep, {"territory/A"});
    Phone reader(engine, *centre.storage, centre.clock, 11, "R17", Role::rep, {"territory/A"});
    std::vector<Change> changes;
    for (unsigned i = 0; i < 4; ++i)
        changes.push_back(writer.create(
            "customer", id_of(100 + i),
            {{"name", "x"}, {"remarks", Value(std::string(i == 1 ? 1000 : 100, 'a'))}}));
    writer.sync({writer.bundle(changes)});
    std::vector<std::size_t> sizes;
    for (bool done = false; !done && sizes.size() < 10;) {
        const auto r = reader.sync();
        sizes.push_back(r.records.size());
        done = r.checkpoint;
    }
    CHECK(sizes == std::vector<std::size_t>{2, 1, 1});
}

TEST_CASE_FIXTURE(Centre, "limits and scopes are told when they are news") {
    Phone phone = this->phone(10, "R17");
    auto q = phone.compose();
    q.limits_version = 0;
    const auto first = phone.send(q);
    phone.take(q, first);
    CHECK(first.limits == limits);
    CHECK(first.scopes == std::vector<std::string>{"territory/A"});
    const auto second = phone.sync();
    CHECK_FALSE(second.limits);
    CHECK(second.scopes.empty());
    {
        const auto tx = storage->begin_write();
        Device d = *tx->device(10);
        d.scopes.push_back("territory/B");
        tx->save(d);
        tx->commit();
    }
    const auto third = phone.sync();
    CHECK(third.tag != 0);
    CHECK(third.scopes == std::vector<std::string>{"territory/A", "territory/B"});
}

// ---- reference data

TEST_CASE_FIXTURE(Centre, "a second import updates the first and writes again only what changed") {
    const auto product = [&](const char* code, const char* name, const char* sku) {
        Record r = reference("product", {{"code", Value(code)}, {"name", Value(name)}});
        const Value external(Parts{Value("sku"), Value(sku)});
        r.fields[common_field::external_ids] = {{canonical_bytes(external), external}};
        return r;
    };
    const auto label = [&](const char* de) {
        Record r = reference("code_list", {{"list", Value("defect_code")},
                                           {"code", Value("leak")},
                                           {"active", Value(std::int64_t{1})}});
        r.fields[r.kind->field("label")->number] = {{"de", Value(de)}};
        return r;
    };
    const auto theme = reference("theme", {{"title", Value("Nachfüllbeutel")}});
    const auto territory =
        reference("territory", {{"code", Value("DE-50")}, {"name", Value("Köln")}});
    const auto first = engine.write_as_server(
        "acme", {product("P1", "Becher", "s1"), label("Undicht"), theme, territory});
    REQUIRE(first.size() == 4);
    for (const auto& w : first) {
        INFO((w.refusals.empty() ? std::string() : w.refusals[0].code));
        CHECK(w.refusals.empty());
    }
    const std::uint64_t head = storage->begin_read()->feed_head("acme");
    CHECK(head == 1);
    CHECK(stored(first[0].id).author == "server");
    CHECK(show(stored(first[2].id).state).value("state") == Value("open"));
    CHECK(show(stored(first[0].id).state).value("created_by") == Value("server"));

    const auto same = engine.write_as_server(
        "acme", {product("P1", "Becher", "s1"), label("Undicht"), theme, territory});
    for (std::size_t i = 0; i < 4; ++i) CHECK(same[i].id == first[i].id);
    CHECK(storage->begin_read()->feed_head("acme") == head);

    clock.now_ms += 5;
    const auto second =
        engine.write_as_server("acme", {product("P1", "Becher 500", "s1"), label("Läuft aus")});
    CHECK(second[0].id == first[0].id);
    CHECK(second[1].id == first[1].id);
    const RecordState state = stored(first[0].id).state;
    CHECK(show(state).value("name") == Value("Becher 500"));
    const auto number = [&](const char* name) {
        return kind_named("product")->field(name)->number;
    };
    CHECK(state.fields.at(number("name")).live[0].stamp >
          state.fields.at(number("code")).live[0].stamp);
    CHECK(storage->begin_read()->count("acme", kind_named("product")->number) == 1);
    CHECK(show(stored(first[1].id).state).shown("label") == Content{{"de", Value("Läuft aus")}});
    CHECK(stored(first[0].id).event == "changed");
}

TEST_CASE_FIXTURE(Centre, "an import leaves out what is wrong and takes the rest") {
    const Record visit = reference("visit", {{"type", Value("call")}});
    const auto written = engine.write_as_server(
        "acme",
        {reference("product", {{"name", Value("ohne Code")}}), visit,
         reference("territory",
                   {{"code", Value("A")}, {"name", Value("Aachen")}, {"parent", ref(kOther)}}),
         reference("territory", {{"code", Value("B")}, {"name", Value("Bonn")}}), Record{}});
    REQUIRE(written.size() == 5);
    CHECK(written[0].refusals.at(0).code == "required");
    CHECK(written[1].refusals.at(0).code == "not_reference_data");
    CHECK(written[2].refusals.at(0).code == "unknown_reference");
    CHECK(written[3].refusals.empty());
    CHECK(written[4].refusals.at(0).code == "unknown_kind");
    CHECK(storage->begin_read()->count("acme", kind_named("territory")->number) == 1);
}

TEST_CASE_FIXTURE(Centre, "server time never runs behind its last commit") {
    Phone phone = this->phone(10, "R17");
    phone.sync({phone.bundle({phone.customer(kCustomer), phone.complaint(kComplaint, kCustomer)})});
    const Stamp before = storage->begin_read()->last_stamp();
    clock.now_ms -= kDayMs;
    const auto r = phone.sync({phone.bundle({phone.customer(kOther)})});
    CHECK(r.server_time_ms >= kMonday);
    CHECK(storage->begin_read()->last_stamp() > before);
}

}  // namespace
}  // namespace rapport::server
