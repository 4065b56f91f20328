// SPDX-License-Identifier: Apache-2.0
// Every operation of a device file, broken off by a power cut, a failing or full disk, or a lack of
// memory at each of its points: whole or absent, the file sound, the store usable.
// RAPPORT_POINTS=all takes every point instead of a sample, RAPPORT_OPERATION=NAME one operation.
#include <fstream>
#include <map>
#include <sstream>

#include "client/session.hpp"
#include "model/json.hpp"
#include "protocol/messages.hpp"
#include "rapport/json.hpp"
#include "rapport/kinds.hpp"
#include "rapport/store.hpp"
#include "server/engine.hpp"
#include "support/crash_points.hpp"
#include "support/records.hpp"

using namespace rapport;
using namespace rapport::test;

namespace {

constexpr const char* kNorth = "territory/DE-50";
constexpr std::int64_t kDayMs = 86'400'000;

/// What preparing an operation leaves for its steps.
struct Notes {
    std::vector<RecordId> ids;
    std::vector<std::vector<RecordEdit>> bundles;
    std::map<std::uint64_t, std::string> replies;  // by sync id
};

/// The server of the rehearsal: a real engine over a store of its own.
struct Centre {
    explicit Centre(SteadyEnvironment& steady, const Limits& limits = {})
        : environment(steady), engine(*storage, environment, limits) {}

    Identity enrol(std::uint64_t writer, const std::string& rep = "R17",
                   const std::string& scope = kNorth) {
        server::Device row;
        row.tenant = "default";
        row.writer = writer;
        row.rep = rep;
        row.scopes = {scope};
        row.credential_hash = "hash-" + std::to_string(writer);
        const auto transaction = storage->begin_write();
        transaction->save(row);
        transaction->commit();
        return {"memory:", "default", rep, Role::rep, {scope}, writer, "secret"};
    }
    void carry_on() {
        while (engine.carry_on() > 0) {
        }
    }

    SteadyEnvironment& environment;
    TempDir folder;
    std::unique_ptr<server::Storage> storage =
        server::open_sqlite_storage(folder.file("centre.db"));
    server::Engine engine;
};

/// A phone with one device file.
struct Phone {
    explicit Phone(const std::string& folder) : file(folder + "/phone.rapport") {}

    void open() {
        if (store) return;
        Store::Options options;
        options.rep = "R17";
        options.environment = &environment;
        store = std::make_unique<Store>(Store::open(file, options));
    }
    void close() { store.reset(); }
    std::string state() const { return rows_of(file); }
    std::string shown() {
        const bool was_open = store != nullptr;
        open();
        std::string text;
        store->export_records(nullptr, false, [&](const std::string& line) {
            text +=
                std::string(name_of(store->status(RecordId_of(line)).state)) + " " + line + "\n";
        });
        const Overview o = store->overview();
        for (const std::size_t n :
             {o.drafts, o.queued, o.sent, o.refused, o.review, o.waiting, o.conflicts, o.departed})
            text += std::to_string(n) + " ";
        for (const Draft& draft : store->drafts())
            for (const Draft::Typed& typed : draft.unfinished) text += typed.text + " ";
        if (!was_open) close();
        return text;
    }
    std::vector<std::string> findings() {
        auto found = unsound(file);
        if (found.empty() && store) found = store->check();
        return found;
    }
    static RecordId RecordId_of(const std::string& line) {
        const std::size_t at = line.find("\"id\":\"") + 6;
        return *RecordId::parse(line.substr(at, 36));
    }

    // ---- for the steps

    std::string request() const { return Session(*store).next_request(); }
    /// The reply to the request in flight: the centre's in the rehearsal, which is noted.
    void take_reply() {
        const std::string archive = request();
        std::string& reply = notes.replies[decode<protocol::Request>(archive).next];
        if (centre) {
            const auto answer = centre->engine.sync({writer, archive});
            must(answer.error_code.empty());
            reply = answer.archive;
        }
        must(Session(*store).take_reply(reply).counted);
    }
    void sync_all() {
        Session session(*store);
        session.begin();
        for (bool done = false; !done;) {
            const auto answer = centre->engine.sync({writer, session.next_request()});
            must(answer.error_code.empty());
            done = session.take_reply(answer.archive).done;
        }
    }

    // ---- for preparing

    void enrolled(const Limits& limits = {}) {
        open();
        centre = std::make_unique<Centre>(environment, limits);
        Replica(*store).enrol(centre->enrol(writer));
    }
    Id<Customer> customer(const std::string& name = "Molkerei Nord") {
        Customer c;
        c.name = name;
        auto [id, captured] = store->put(c);
        must(static_cast<bool>(captured));
        return id;
    }
    template <class K>
    Id<K> put(const K& record) {
        auto [id, captured] = store->put(record);
        must(static_cast<bool>(captured));
        return id;
    }
    template <class T>
    Id<T> noted(std::size_t i) const {
        return Id<T>(notes.ids.at(i));
    }

    std::string file;
    SteadyEnvironment environment;
    std::unique_ptr<Store> store;
    Notes notes;
    std::unique_ptr<Centre> centre;  // while rehearsing
    std::uint64_t writer = 77;
};

Visit a_visit(const Id<Customer>& customer, const std::string& summary = "Linie 3 angesehen") {
    Visit v;
    v.customer_id = customer;
    v.type = VisitType::visit;
    v.summary = summary;
    return v;
}
ProductWish a_wish(const Id<Customer>& customer) {
    ProductWish w;
    w.customer_id = customer;
    w.need = "Nachfüllbeutel";
    w.importance = Importance::important;
    return w;
}

/// Another rep's device that tells the centre something.
struct Colleague {
    Colleague(Phone& phone, const std::string& rep, std::uint64_t writer)
        : colleague(folder.path().string()) {
        colleague.writer = writer;
        colleague.environment.at_step(writer);
        colleague.open();
        colleague.centre = std::move(phone.centre);
        Replica(*colleague.store).enrol(colleague.centre->enrol(writer, rep));
        colleague.sync_all();
        home = &phone;
    }
    ~Colleague() { home->centre = std::move(colleague.centre); }
    TempDir folder;
    Phone colleague;
    Phone* home = nullptr;
};

std::vector<Operation<Phone>> operations() {
    const auto customer_only = [](Phone& p) {
        p.enrolled();
        p.notes.ids = {p.customer()};
    };
    const auto confirmed = [](Phone& p) {
        p.enrolled();
        p.notes.ids = {p.customer()};
        p.notes.ids.push_back(p.put(a_complaint(p.noted<Customer>(0))));
        p.sync_all();
    };
    const auto draft = [](Phone& p) {
        p.open();
        p.notes.ids = {p.customer()};
        Bundling bundle = p.store->bundle();
        p.notes.ids.push_back(bundle.add(a_visit(p.noted<Customer>(0))));
        p.notes.ids.push_back(bundle.add(a_wish(p.noted<Customer>(0))));
        must(static_cast<bool>(bundle.save_draft()));
    };
    const auto take = [](Phone& p) { p.take_reply(); };
    const auto compose = [](Phone& p) { p.request(); };
    const auto captured = [](const Captured& c) { must(static_cast<bool>(c)); };

    // Twelve visits of a colleague, told in pages of five.
    const auto pages = [](Phone& p) {
        Limits limits;
        limits.reply_records_max = 5;
        p.enrolled(limits);
        const Id<Customer> customer = p.customer();
        p.sync_all();
        Colleague other(p, "R18", 78);
        for (int i = 0; i < 12; ++i) other.colleague.put(a_visit(customer));
        other.colleague.sync_all();
    };

    std::vector<Operation<Phone>> all;
    const auto add = [&](Operation<Phone> operation) -> Operation<Phone>& {
        all.push_back(std::move(operation));
        return all.back();
    };

    // ---- the file
    {
        auto& o = add({"create", [](Phone&) {}, {[](Phone& p) { p.open(); }}});
        o.opens = false;
        o.once = true;
    }
    {
        auto& o = add({"open", customer_only, {[](Phone& p) { p.open(); }}});
        o.opens = false;
        o.once = true;
    }
    {
        auto& o = add({"open after a kill", customer_only, {[](Phone& p) { p.open(); }}});
        o.opens = false;
        o.killed = o.once = true;
    }
    {
        auto& o = add({"migrate",
                       [](Phone& p) {
                           const std::ifstream dump(RAPPORT_GOLDEN_DIR "/device_v1.sql");
                           std::stringstream sql;
                           sql << dump.rdbuf();
                           auto db = sqlite::Database::open(p.file, {});
                           db.execute(sql.str());
                       },
                       {[](Phone& p) { p.open(); }}});
        o.opens = false;
        o.once = true;
    }
    add({"close", customer_only, {[](Phone& p) { p.close(); }}}).once = true;

    // ---- capture
    add({"capture one", customer_only, {[](Phone& p) { p.put(a_visit(p.noted<Customer>(0))); }}});
    add({"capture a bundle", customer_only, {[=](Phone& p) {
             Bundling bundle = p.store->bundle();
             const Id<Visit> visit = bundle.add(a_visit(p.noted<Customer>(0)));
             Complaint complaint = a_complaint(p.noted<Customer>(0));
             complaint.visit_id = visit;
             bundle.add(complaint);
             bundle.add(a_wish(p.noted<Customer>(0)));
             captured(bundle.save());
         }}});
    add({"import",
         [=](Phone& p) {
             customer_only(p);
             for (const char* text : {"eins", "zwei", "drei", "vier"}) {
                 const ImportLine line = parse_import_line(
                     R"({"kind":"visit","ref":"v","fields":{"customer_id":")" +
                         p.notes.ids.at(0).text() +
                         R"(","type":"visit","started_at":"2026-03-02T09:00:00+01:00","summary":")" +
                         text + R"("}})",
                     [](std::string_view) { return std::nullopt; });
                 must(line.refusals.empty());
                 RecordEdit edit{line.record.kind, {}, true, {}, {}};
                 for (const auto& [number, content] : line.record.fields)
                     edit.fields.push_back(
                         {line.record.kind->field(number), FieldEdit::Op::set, content});
                 p.notes.bundles.push_back({std::move(edit)});
             }
         },
         {[](Phone& p) {
             const std::vector<std::span<const RecordEdit>> bundles(p.notes.bundles.begin(),
                                                                    p.notes.bundles.end());
             for (const Captured& c : p.store->commit_all(bundles)) must(static_cast<bool>(c));
         }}});
    {  // SQLite copies the log into the file when a commit leaves it with 4000 pages
        auto& o = add({"capture across a checkpoint of the log",
                       [=](Phone& p) {
                           p.open();
                           p.notes.ids = {p.customer()};
                           // Edits of one record fill the log, and not the file.
                           for (int i = 1000;
                                std::filesystem::file_size(p.file + "-wal") < 3980 * 4120; ++i)
                               captured(p.store->edit(p.noted<Customer>(0))
                                            .set(&Customer::phone, "+49246112" + std::to_string(i))
                                            .save());
                       },
                       {[](Phone& p) { p.put(a_visit(p.noted<Customer>(0))); },
                        [](Phone& p) { p.put(a_visit(p.noted<Customer>(0))); },
                        [](Phone& p) { p.put(a_visit(p.noted<Customer>(0))); }}});
        o.killed = true;
    }

    // ---- drafts
    add({"save a draft", customer_only, {[=](Phone& p) {
             Bundling bundle = p.store->bundle();
             bundle.add(a_visit(p.noted<Customer>(0)));
             captured(bundle.save_draft());
         }}});
    add({"autosave",
         draft,
         {[](Phone& p) { must(p.store->autosave(p.notes.ids[1], "summary", "Linie 4").empty()); },
          [](Phone& p) {
              must(!p.store->autosave(p.notes.ids[1], "started_at", "gestern").empty());
          }}});
    add({"submit", draft, {[=](Phone& p) { captured(p.store->submit(p.notes.ids[1])); }}});
    add({"discard", draft, {[](Phone& p) { p.store->discard(p.notes.ids[1]); }}});

    // ---- edits
    add({"edit what waits", customer_only, {[=](Phone& p) {
             captured(
                 p.store->edit(p.noted<Customer>(0)).set(&Customer::phone, "+492461123456").save());
         }}});
    add({"edit what is confirmed", confirmed, {[=](Phone& p) {
             captured(p.store->edit(p.noted<Complaint>(1))
                          .set(&Complaint::description, "Charge 4711")
                          .save());
         }}});
    add({"edit what is under way",
         [=](Phone& p) {
             confirmed(p);
             captured(p.store->edit(p.noted<Complaint>(1))
                          .set(&Complaint::description, "erst so")
                          .save());
             p.request();
         },
         {[=](Phone& p) {
             captured(p.store->edit(p.noted<Complaint>(1))
                          .set(&Complaint::description, "dann so")
                          .save());
         }}});
    add({"withdraw", confirmed, {[=](Phone& p) {
             captured(p.store->request_state(p.notes.ids[1], "withdrawn", "doch dicht", {}));
         }}});
    add({"resolve a conflict",
         [=](Phone& p) {
             confirmed(p);
             captured(p.store->edit(p.noted<Complaint>(1))
                          .set(&Complaint::remedy_wanted, Remedy::credit)
                          .save());
             Colleague other(p, "R18", 78);
             captured(other.colleague.store->edit(p.noted<Complaint>(1))
                          .set(&Complaint::remedy_wanted, Remedy::refund)
                          .save());
             other.colleague.sync_all();
             std::swap(p.centre, other.colleague.centre);
             p.sync_all();
             std::swap(p.centre, other.colleague.centre);
             must(p.store->conflicts().size() == 1);
         },
         {[=](Phone& p) {
             captured(p.store->resolve(p.store->conflicts().at(0).id, Keep::theirs));
         }}});

    // ---- sync
    add({"enrol",
         [](Phone& p) {
             p.open();
             p.notes.ids = {p.customer()};
         },
         {[](Phone& p) { must(p.store && Replica(*p.store).enrolment_secret().size() > 40); },
          [](Phone& p) {
              Replica(*p.store).enrol(
                  {"memory:", "default", "R17", Role::rep, {kNorth}, p.writer, "secret"});
          }}});
    add({"begin a run", confirmed, {[](Phone& p) { Session(*p.store).begin(); }}});
    add({"compose and take the reply", customer_only, {compose, take}});
    add({"send as one what needs each other",
         [=](Phone& p) {
             p.enrolled();
             Bundling bundle = p.store->bundle();
             Task task;
             task.text = "Anrufen";
             const Id<Task> open = bundle.add(task);
             captured(bundle.save_draft());
             Note note;
             note.subject_id = AnyId(open);
             note.text = "Vor zehn";
             const auto [about_it, kept] = p.store->put(note);
             captured(kept);
             captured(p.store->edit(open).set(&Task::subject_id, AnyId(about_it)).save());
             captured(p.store->submit(open));
         },
         {compose, take}});
    add({"a checkpoint of several pages", pages, {compose, take, compose, take, compose, take}});
    add({"a first download",
         [=](Phone& p) {
             Limits limits;
             limits.reply_records_max = 5;
             p.open();
             p.centre = std::make_unique<Centre>(p.environment, limits);
             {
                 Colleague other(p, "R18", 78);
                 const Id<Customer> customer = other.colleague.customer();
                 for (int i = 0; i < 8; ++i) other.colleague.put(a_visit(customer));
                 other.colleague.sync_all();
             }
             Replica(*p.store).enrol(p.centre->enrol(p.writer));
         },
         {compose, take, compose, take, compose, take}});
    add({"a departure",
         [=](Phone& p) {
             confirmed(p);
             must(!p.centre->engine.begin("default", {p.notes.ids[0], {}, "territory/DE-40"}));
             p.centre->carry_on();
         },
         {compose, take}});
    add({"remove what has departed",
         [=](Phone& p) {
             confirmed(p);
             p.notes.ids.push_back(p.customer("Bleibt"));
             p.sync_all();
             must(!p.centre->engine.begin("default", {p.notes.ids[0], {}, "territory/DE-40"}));
             p.centre->carry_on();
             p.sync_all();
         },
         {[](Phone& p) {
             p.environment.now_ms += 60LL * 24 * 3600 * 1000;
             Replica(*p.store).tidy();
         }}});
    auto& renewal = add(
        {"a renewal",
         [=](Phone& p) {
             Limits limits;
             limits.reply_records_max = 5;
             p.enrolled(limits);
             p.notes.ids = {p.customer(), p.customer("Gegangen")};
             for (int i = 0; i < 4; ++i) p.put(a_visit(p.noted<Customer>(i % 2)));
             p.sync_all();
             p.environment.now_ms += 181 * kDayMs;
             must(!p.centre->engine.begin("default", {p.notes.ids[1], {}, "territory/DE-40"}));
             p.centre->carry_on();
             captured(
                 p.store->edit(p.noted<Customer>(0)).set(&Customer::phone, "+492461123456").save());
         },
         {compose, take, compose, take, [](Phone& p) { Replica(*p.store).tidy(); }}});
    renewal.in_parts = true;  // what does not come any more goes a few at a time
    add({"a refusal, repaired",
         [=](Phone& p) {
             p.enrolled();
             Customer twin;
             twin.name = "Käserei";
             twin.external_ids = {ExternalId{"erp", "4711"}};
             {
                 Colleague other(p, "R18", 78);
                 other.colleague.put(twin);
                 other.colleague.sync_all();
             }
             p.notes.ids = {p.put(twin)};
         },
         {compose, take, [=](Phone& p) {
              captured(
                  p.store->edit(p.noted<Customer>(0))
                      .set(&Customer::external_ids, AddWins<ExternalId>{ExternalId{"erp", "4712"}})
                      .save());
          }}});
    add({"a lasting `later`",
         [=](Phone& p) {
             confirmed(p);
             captured(p.store->edit(p.noted<Complaint>(1))
                          .set(&Complaint::description, "Charge 4711")
                          .save());
             auto db = sqlite::Database::open(p.centre->folder.file("centre.db"), {});
             db.execute("UPDATE record SET tenant='elsewhere'");
         },
         {compose, take, [](Phone& p) { Session(*p.store).begin(); }, compose, take}});

    // ---- search, and what only reads
    add({"index and search",
         [=](Phone& p) {
             p.open();
             p.notes.ids = {p.customer()};
             for (int i = 0; i < 5; ++i) p.put(a_visit(p.noted<Customer>(0)));
         },
         {[](Phone& p) {
              while (p.store->index_some()) {
              }
          },
          [](Phone& p) {
              SearchRequest request;
              request.text = "linie";
              must(p.store->search(request).hits.size() == 5);
          }}});
    add({"read",
         confirmed,
         {[](Phone& p) {
              Query query;
              query.kind = &kind_of<Complaint>();
              must(p.store->query(query).records.size() == 1 && p.store->count(query) == 1);
          },
          [](Phone& p) { must(p.store->status_with_children(p.notes.ids[0]).reasons.empty()); },
          [](Phone& p) { must(p.store->overview().conflicts == 0 && p.store->held().empty()); },
          [](Phone& p) {
              std::size_t lines = 0;
              p.store->export_records(nullptr, false, [&](const std::string&) { ++lines; });
              must(lines >= 2);
          }}})
        .reads = true;
    return all;
}

}  // namespace

TEST_CASE("every operation of a device file is whole or absent wherever it is broken off") {
    drill(operations());
}
