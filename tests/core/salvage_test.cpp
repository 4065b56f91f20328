// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <random>
#include <set>

#include "../support/temp_dir.hpp"
#include "rapport/kinds.hpp"
#include "rapport/store.hpp"
#include "store/core.hpp"
#include "store/pending.hpp"
#include "store/replica.hpp"

using namespace rapport;

namespace {

constexpr std::size_t kPage = 4096;

std::string bytes_of(const std::string& path) {
    std::ifstream in(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
}
void write_bytes(const std::string& path, const std::string& bytes) {
    std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
}

// A device in the middle of its work: confirmed records, bundles queued and in flight, drafts.
struct Device {
    TempDir folder;
    std::string path = folder.file("a.rapport"), fresh = folder.file("new.rapport");
    std::vector<RecordId> queued, sent, drafts, confirmed;
    std::string bytes;            // of the whole file, its log worked in
    std::set<std::size_t> roots;  // pages where tables with unsent work begin

    explicit Device(int each) {
        {
            Store store = Store::open(path);
            Replica replica(store);
            Identity identity;
            identity.server = "http://127.0.0.1:1";
            identity.rep = "R17";
            identity.scopes = {"territory/DE-50"};
            identity.writer = 77;
            identity.credential = "secret";
            replica.enrol(identity);
            for (int i = 0; i < each; ++i) confirmed.push_back(customer(store, i));
            const Outgoing first = send(replica);
            answer(replica, first);
            for (int i = 0; i < each; ++i) sent.push_back(complaint(store, "gesendet", i));
            // A later edit of what is on its way, and of what is confirmed.
            send(replica);
            for (int i = 0; i < each; i += 3)
                REQUIRE(store.edit(Id<Customer>(confirmed[static_cast<std::size_t>(i)]))
                            .set(&Customer::legal_name, "Recht " + std::to_string(i))
                            .save());
            for (int i = 0; i < each; ++i) queued.push_back(complaint(store, "wartend", i));
            for (int i = 0; i < each; ++i) {
                Bundling bundle = store.bundle();
                ProductWish wish;
                wish.customer_id = Id<Customer>(confirmed[0]);
                wish.need = words("Entwurf", i);
                drafts.push_back(bundle.add(wish));
                REQUIRE(bundle.save_draft());
            }
            REQUIRE(store.check() == std::vector<std::string>{});
            Store::Core::Writing writing(store.core());
            writing.commit();
        }
        {
            sqlite::Database db = sqlite::Database::open(path, {});
            db.checkpoint();
            auto select = db.prepare(
                "SELECT rootpage-1 FROM sqlite_schema WHERE name IN "
                "('change','bundle','customer','complaint','product_wish','meta','request')");
            while (select.step()) roots.insert(static_cast<std::size_t>(select.integer(0)));
        }
        bytes = bytes_of(path);
        REQUIRE(bytes.size() % kPage == 0);
    }

    static std::string words(const std::string& what, int i) {
        return what + " " + std::to_string(i) + " " +
               std::string(static_cast<std::size_t>(200 + i % 7 * 900), 'x');
    }
    static RecordId customer(Store& store, int i) {
        Customer c;
        c.name = "Molkerei " + std::to_string(i);
        c.external_ids = {ExternalId{"erp", std::to_string(10000 + i)}};
        const auto [id, captured] = store.put(c);
        REQUIRE(captured);
        return id;
    }
    RecordId complaint(Store& store, const std::string& what, int i) const {
        Complaint c;
        c.customer_id = Id<Customer>(confirmed[0]);
        c.product_text = "Becher";
        c.verbatim = words(what, i);
        c.severity = Severity::major;
        const auto [id, captured] = store.put(c);
        REQUIRE(captured);
        return id;
    }
    static Outgoing send(Replica& replica) { return replica.compose(replica.limits()); }
    static void answer(Replica& replica, const Outgoing& request) {
        Incoming incoming;
        incoming.next = request.next;
        incoming.tag = 5;
        incoming.leaves_entry = true;
        incoming.cursor = "cursor";
        incoming.receipt = request.bundles.size();
        for (std::uint64_t n = 1; n <= request.bundles.size(); ++n)
            incoming.verdicts.push_back({n, Verdict::applied, {}});
        incoming.checkpoint = true;
        incoming.server_time_ms = 1'772'438'400'000;
        REQUIRE(replica.settle(incoming)->applied == request.bundles.size());
    }

    Salvage salvaged() {
        for (const char* ending : {"", "-wal", "-shm", "-lock"})
            std::filesystem::remove(fresh + ending);
        return salvage(path, fresh);
    }
};

// The pages on which these records stand, as whoever knows the file sees it.
std::set<std::size_t> pages_with(const std::string& bytes, const RecordId& id) {
    std::set<std::size_t> pages;
    const std::string raw(reinterpret_cast<const char*>(id.bytes.data()), id.bytes.size());
    for (auto at = bytes.find(raw); at != std::string::npos; at = bytes.find(raw, at + 1))
        pages.insert(at / kPage);
    return pages;
}

}  // namespace

TEST_CASE("a sound file is salvaged whole and goes on where it stood") {
    Device device(20);
    const Salvage result = device.salvaged();
    CHECK(result.remarks == std::vector<std::string>{});
    CHECK(result.whole());
    CHECK(bytes_of(device.path) == device.bytes);
    Store old = Store::open(device.path), fresh = Store::open(device.fresh);
    CHECK(fresh.check() == std::vector<std::string>{});
    const auto lines = [](const Store& store) {
        std::vector<std::string> all;
        store.export_records(nullptr, false, [&](const std::string& json) { all.push_back(json); });
        return all;
    };
    CHECK(lines(old) == lines(fresh));
    Replica before(old), after(fresh);
    const Outgoing a = Device::send(before), b = Device::send(after);
    CHECK(a.next == b.next);
    CHECK(a.bundles == b.bundles);
    CHECK(old.overview().file_id == fresh.overview().file_id);
    CHECK(fresh.find_external("erp", "10003"));
    CHECK_THROWS_AS(salvage(device.path, device.fresh), Error);  // it exists
}

TEST_CASE("work that is only in the log yet is salvaged, too") {
    TempDir folder;
    const std::string path = folder.file("a.rapport"), fresh = folder.file("b.rapport");
    Store store = Store::open(path);
    const RecordId id = Device::customer(store, 1);
    REQUIRE(std::filesystem::file_size(path + "-wal") > 0);
    CHECK(salvage(path, fresh).whole());
    CHECK(Store::open(fresh).find(id));
}

TEST_CASE("whatever page is lost, unsent work on the others survives and can go on") {
    Device device(30);
    const std::size_t pages = device.bytes.size() / kPage;
    REQUIRE(pages > 90);
    std::map<RecordId, std::set<std::size_t>> where;
    for (const auto* ids : {&device.queued, &device.sent, &device.drafts})
        for (const RecordId& id : *ids) where[id] = pages_with(device.bytes, id);
    std::mt19937 random(3);
    std::size_t whole = 0;
    std::set<std::size_t> lost = device.roots;  // from each of them on nothing leads further
    REQUIRE(lost.size() == 7);
    lost.insert(0);
    for (std::size_t page = 1; page < pages; page += pages / 14 + 1) lost.insert(page);
    for (const std::size_t page : lost) {
        CAPTURE(page);
        std::string damaged = device.bytes;
        for (std::size_t i = 0; i < kPage; ++i)
            damaged[page * kPage + i] = page % 2 ? static_cast<char>(random()) : '\0';
        write_bytes(device.path, damaged);
        const Salvage result = device.salvaged();
        CHECK(bytes_of(device.path) == damaged);
        Store store = Store::open(device.fresh);
        const auto findings = store.check();
        CHECK_MESSAGE(findings.empty(), (findings.empty() ? "" : findings[0]));
        for (const auto& [id, at] : where)
            if (!at.count(page)) CHECK_MESSAGE(store.find(id), id.text());
        whole += result.whole() ? 1U : 0U;
        // Nothing leaves as if all were well when it is not.
        if (!result.goes_on) CHECK(store.diagnose().receipt == 0);
        Device::customer(store, 999);
    }
    CHECK(whole < lost.size());
}

TEST_CASE("a broken text in unsent work costs what cannot be read of it") {
    TempDir folder;
    const std::string path = folder.file("a.rapport"), fresh = folder.file("b.rapport");
    Id<Customer> id;
    std::string left = "Exp\uFFFDrt";
    {
        Store store = Store::open(path);
        Customer c;
        c.name = "Molkerei Nord";
        c.tags = {"Export"};
        id = store.put(c).first;
        SUBCASE("and nothing if it was sent") {
            Replica replica(store);
            replica.enrol({"http://127.0.0.1", "default", "R17", Role::rep, {}, 77, "secret"});
            REQUIRE(replica.compose({}).bundles.size() == 1);
            left = "Export";
        }
        SUBCASE("when it was not sent") {}
        Store::Core::Writing writing(store.core());
        writing.db.execute(
            "UPDATE change SET writes=CAST(replace(CAST(writes AS TEXT), 'Export', 'Exp' || "
            "CAST(x'a2' AS TEXT) || 'rt') AS BLOB)");
        REQUIRE(writing.db.changes() == 1);
        writing.commit();
    }
    const Salvage result = salvage(path, fresh);
    CHECK_FALSE(result.whole());
    Store store = Store::open(fresh);
    CHECK(store.check() == std::vector<std::string>{});
    const auto customer = store.find(id);
    REQUIRE(customer);
    CHECK(customer->value("name") == Value("Molkerei Nord"));
    CHECK(customer->shown("tags") == Content{{canonical_bytes(left), left}});
    CHECK(store.edit(id).set(&Customer::name, "Molkerei Süd").save());
}

TEST_CASE("a file cut short keeps what is left of it") {
    Device device(30);
    for (const int tenths : {9, 6, 3}) {
        CAPTURE(tenths);
        const std::size_t size = device.bytes.size() / 10 * static_cast<std::size_t>(tenths);
        write_bytes(device.path, device.bytes.substr(0, size));
        const Salvage result = device.salvaged();
        CHECK_FALSE(result.whole());
        const Store store = Store::open(device.fresh);
        CHECK(store.check() == std::vector<std::string>{});
        std::size_t left = 0;
        for (const RecordId& id : device.queued) {
            const auto pages = pages_with(device.bytes, id);
            if (*pages.rbegin() >= size / kPage) continue;
            ++left;
            CHECK(store.find(id));
        }
        if (tenths == 9) CHECK(left > 0);
    }
    write_bytes(device.path, std::string(3 * kPage, '\0'));
    CHECK_THROWS_AS(device.salvaged(), Error);
    CHECK_FALSE(std::filesystem::exists(device.fresh));
}

TEST_CASE(
    "a salvaged capture keeps its capture ids, and what was sent is sent again under others") {
    Device device(6);
    const auto captures_of = [](Store& store, const RecordId& id) {
        Store::Core::Reading reading(store.core());
        std::vector<CaptureId> ids;
        const auto loaded = load(reading.db, id);
        REQUIRE(loaded);
        for (const PendingChange& change : loaded->pending)
            for (const Write& write : change.writes)
                for (const Added& add : write.adds) ids.push_back(add.capture);
        return ids;
    };
    std::vector<std::vector<CaptureId>> before;
    {
        Store store = Store::open(device.path);
        for (const RecordId& id : device.sent) before.push_back(captures_of(store, id));
    }
    // The cursor's own page: an entry without its cursor must not be believed.
    sqlite::Database db = sqlite::Database::open(device.path, {});
    db.checkpoint();
    auto root = db.prepare("SELECT rootpage FROM sqlite_schema WHERE name='entry'");
    REQUIRE(root.step());
    const auto page = static_cast<std::size_t>(root.integer(0)) - 1;
    std::string damaged = bytes_of(device.path);
    std::fill_n(damaged.begin() + static_cast<std::ptrdiff_t>(page * kPage), kPage, '\0');
    const std::string copy = device.folder.file("copy.rapport");
    write_bytes(copy, damaged);

    const Salvage result = salvage(copy, device.fresh);
    CHECK_FALSE(result.goes_on);
    Store store = Store::open(device.fresh);
    for (std::size_t i = 0; i < device.sent.size(); ++i)
        CHECK(captures_of(store, device.sent[i]) == before[i]);
    Replica replica(store);
    const Outgoing request = Device::send(replica);
    CHECK(request.last == EntryRef{});
    CHECK(request.bundles.size() >= device.sent.size());
    CHECK(decode_bundle(request.bundles[0]).counter > 12);
    CHECK_FALSE(decode_bundle(request.bundles[0]).changes.at(0).writes.at(0).former.empty());
}
