// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <filesystem>
#include <map>

#include "model/lifecycle.hpp"
#include "rapport/kinds.hpp"
#include "rapport/store.hpp"
#include "sqlite/database.hpp"
#include "store/core.hpp"
#include "store/replica.hpp"
#include "store/schema.hpp"
#include "support/records.hpp"
#include "support/temp_dir.hpp"

using namespace rapport;
using test::a_complaint;

namespace {

constexpr std::uint64_t kWriter = 77;

/// A server that applies whatever comes, as one that has nothing yet.
class Centre {
public:
    explicit Centre(const std::vector<std::string>& bundles) {
        for (const std::string& bytes : bundles) take(decode_bundle(bytes));
    }

    /// To a request with these bundles; with `elides` what they carried is left out of it.
    Incoming reply_to(const Outgoing& out, bool elides) const {
        Incoming in;
        in.next = out.next;
        in.tag = 5;
        in.checkpoint = in.leaves_entry = true;
        for (const std::string& bytes : out.bundles)
            in.verdicts.push_back({decode_bundle(bytes).counter, Verdict::applied, {}});
        for (const auto& [id, state] : records_)
            in.records.push_back(
                IncomingRecord::from(encode_record(state, [&](auto, const LiveValue& l) {
                    return elides && l.dot.writer == kWriter;
                })));
        return in;
    }

private:
    void take(const Bundle& bundle) {
        for (const Change& change : bundle.changes) {
            RecordState& record = records_[change.id];
            const Kind& kind = *kind_numbered(change.kind);
            record.kind = change.kind;
            record.id = change.id;
            record.scope = "territory/DE-50";
            for (const Write& write : change.writes) {
                FieldState& field = record.fields[write.field];
                merge(field, write, {kWriter, bundle.counter}, kind.field(write.field)->is_keyed());
                for (LiveValue& l : field.live) l.capture = {};
                field.known.clear();
            }
            if (const Lifecycle* lifecycle = lifecycle_of(kind); lifecycle && change.create)
                own(record, kind, common_field::state, Value(std::string(lifecycle->initial)));
            if (const Field* number = kind.field("number"); number && change.create)
                own(record, kind, number->number, Value("N-2026-00007"));
        }
    }
    void own(RecordState& record, const Kind& kind, std::uint16_t field, Value value) {
        Write write;
        write.field = field;
        write.adds.push_back({"", std::move(value), ++stamp_, {}});
        merge(record.fields[field], write, {kServerWriter, stamp_}, kind.field(field)->is_keyed());
    }

    std::map<RecordId, RecordState> records_;
    Stamp stamp_ = 1'000;
};

/// Every row of every table that a reply changes, as text.
std::map<std::string, std::vector<std::string>> content_of(const std::string& file) {
    auto db = sqlite::Database::open(file, {.read_only = true});
    std::vector<std::string> tables{"bundle",   "change", "request",     "touched",
                                    "departed", "staged", "external_id", "author"};
    for (const Kind* kind : all_kinds()) tables.push_back(kind->name);
    std::map<std::string, std::vector<std::string>> content;
    for (const std::string& table : tables) {
        auto all = db.prepare("SELECT * FROM " + identifier(table) + " ORDER BY 1, 2");
        while (all.step()) {
            std::string row;
            for (int i = 0; i < all.columns(); ++i) {
                const sqlite::RawValue value = all.raw(i);
                row +=
                    std::string(all.name(i)) + '=' +
                    (value.type == sqlite::RawValue::Type::null      ? "null"
                     : value.type == sqlite::RawValue::Type::integer ? std::to_string(value.integer)
                                                                     : '\'' + value.bytes + '\'') +
                    ' ';
            }
            content[table].push_back(row);
        }
    }
    return content;
}

struct Sent {
    TempDir folder;
    const std::string file = folder.file("phone.rapport"), other = folder.file("other.rapport");
    Outgoing out;

    /// Captures, freezes what may go, and lets go of the file.
    template <class Capturing>
    explicit Sent(Capturing capturing) {
        Store store = Store::open(file);
        Replica replica(store);
        replica.enrol({"http://127.0.0.1",
                       "default",
                       "R17",
                       Role::rep,
                       {"territory/DE-50"},
                       kWriter,
                       "secret"});
        const auto behind = capturing(store);
        out = replica.compose({});
        behind(store);
    }
    /// The reply with all values in it goes the long way, through the merge of each record.
    void check_that_both_replies_leave_the_same() {
        {
            auto db = sqlite::Database::open(file, {});
            db.checkpoint();
        }
        std::filesystem::copy_file(file, other);
        const Centre centre(out.bundles);
        for (const bool elides : {true, false}) {
            Store store = Store::open(elides ? file : other);
            Replica replica(store);
            const auto settled = replica.settle(centre.reply_to(out, elides));
            REQUIRE(settled);
            CHECK(settled->applied == out.bundles.size());
            CHECK(store.diagnose().findings.empty());
        }
        const auto elided = content_of(file), whole = content_of(other);
        for (const auto& [table, rows] : whole) {
            CAPTURE(table);
            REQUIRE(elided.contains(table));
            CHECK(elided.at(table) == rows);
        }
        CHECK(elided.size() == whole.size());
    }
};

constexpr auto kNothing = [](Store&) {};

Customer dairy() {
    Customer c;
    c.name = "Molkerei Nord";
    c.address = Address{};
    c.remarks = "Rampe 2, nur vormittags";
    c.external_ids = {ExternalId{"erp", "4711"}};
    c.tags = {"Bio", "Export"};
    return c;
}

}  // namespace

TEST_CASE("a record that comes back without its words leaves the file as one that comes whole") {
    Sent sent([](Store& store) {
        const auto [customer, captured] = store.put(dairy());
        REQUIRE(captured);
        for (int i = 0; i < 3; ++i) REQUIRE(store.put(a_complaint(customer)).second);
        Visit visit;
        visit.customer_id = customer;
        visit.type = VisitType::visit;
        visit.summary = "Probe dagelassen";
        visit.purpose = {Purpose::complain};
        REQUIRE(store.put(visit).second);
        return kNothing;
    });
    REQUIRE(sent.out.bundles.size() == 5);
    sent.check_that_both_replies_leave_the_same();
}

TEST_CASE("so does one with a field that was cleared again before it was sent") {
    Sent sent([](Store& store) {
        const auto [customer, captured] = store.put(dairy());
        REQUIRE(captured);
        REQUIRE(store.edit(customer).clear(&Customer::remarks).save());
        REQUIRE(store.edit(customer).set(&Customer::website, "https://molkerei.example").save());
        return kNothing;
    });
    REQUIRE(sent.out.bundles.size() == 1);
    sent.check_that_both_replies_leave_the_same();
}

TEST_CASE("so does one that was edited while it was on its way") {
    Sent sent([](Store& store) {
        const auto [customer, captured] = store.put(dairy());
        REQUIRE(captured);
        return [customer = customer](Store& open) {
            REQUIRE(open.edit(customer).set(&Customer::name, "Molkerei Süd").save());
            REQUIRE(open.edit(customer).add(&Customer::tags, "Neu").save());
        };
    });
    sent.check_that_both_replies_leave_the_same();
}

TEST_CASE("applied bundles go together, and what lies between them stays") {
    TempDir folder;
    Store store = Store::open(folder.file("phone.rapport"));
    Replica replica(store);
    replica.enrol(
        {"http://127.0.0.1", "default", "R17", Role::rep, {"territory/DE-50"}, kWriter, "secret"});
    std::vector<Id<Customer>> customers;
    for (int i = 0; i < 5; ++i) {
        Customer c = dairy();
        c.external_ids = {};
        c.name = "Kunde " + std::to_string(i);
        customers.push_back(store.put(c).first);
    }
    const Outgoing out = replica.compose({});
    REQUIRE(out.bundles.size() == 5);
    Incoming in = Centre(out.bundles).reply_to(out, true);
    std::erase_if(in.records, [&](const auto& record) { return record.id == customers[2]; });
    in.verdicts[2] = {3, Verdict::refused, {{customers[2], "name", "malformed", "", {}}}};
    const auto settled = replica.settle(std::move(in));
    REQUIRE(settled);
    CHECK(settled->applied == 4);
    CHECK(settled->refused == 1);
    const Overview left = store.overview();
    CHECK(left.refused == 1);
    CHECK(left.queued == 0);
    CHECK(left.sent == 0);
}
