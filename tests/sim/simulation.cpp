// SPDX-License-Identifier: Apache-2.0
#include "sim/simulation.hpp"

#include <algorithm>
#include <functional>

#include "model/hash.hpp"
#include "server/auth/access.hpp"
#include "server/http/message.hpp"
#include "sim/violation.hpp"
#include "store/apply.hpp"
#include "store/core.hpp"
#include "store/pending.hpp"
#include "store/replica.hpp"

namespace rapport::sim {
namespace {

constexpr std::int64_t kHiddenMs = std::chrono::milliseconds(kHiddenFor).count();

constexpr std::int64_t kRoundMs = 3'600'000;
constexpr int kRoundsMax = 20;
constexpr std::size_t kRepliesKept = 8;
constexpr const char* kWords[] = {"Deckel undicht", "Charge fehlt", "Palette schief",
                                  "Etikett lose",   "Naht offen",   "Rand zu weit"};

/// The fields that edits of a kind choose from, in the order of the bits of `fields`.
const std::vector<const char*>& edited_fields(const Kind& kind) {
    static const std::map<std::string, std::vector<const char*>> fields{
        {"customer", {"legal_name", "remarks", "tags", "address"}},
        {"complaint", {"description", "severity", "remedy_wanted", "root_cause_text"}},
        {"visit", {"summary", "mood", "result", "purpose"}},
        {"product_wish", {"need", "workaround", "importance", "theme_hint"}},
    };
    static const std::vector<const char*> none;
    const auto found = fields.find(kind.name);
    return found == fields.end() ? none : found->second;
}

std::string words(int number, std::uint64_t salt) {
    return std::string(kWords[salt % std::size(kWords)]) + " ~w" + std::to_string(number) + "~";
}

/// A value of the field's type; a text says which capture it is.
Value drawn_value(const Field& field, int number, std::uint64_t salt) {
    switch (field.type.shape) {
        case Shape::code:
            return Value(std::string(field.type.codes[salt % field.type.codes.size()]));
        case Shape::integer:
            return Value(field.type.min + static_cast<std::int64_t>(
                                              salt % static_cast<std::uint64_t>(
                                                         field.type.max - field.type.min + 1)));
        case Shape::group:
            return Value(
                Parts{Value(words(number, salt)), Value("50667"), Value("Köln"), Value("DE")});
        default:
            return Value(words(number, salt));
    }
}

std::string damage_name(std::int64_t damage) {
    static constexpr const char* names[] = {"kept", "dropped", "some", "torn"};
    return names[damage & 3];
}

HttpResponse response_of(const server::http::Response& response) {
    HttpResponse out;
    out.status = response.status;
    out.content_type = response.content_type;
    for (const auto& [name, value] : response.fields) {
        std::string lower = name;
        for (char& c : lower) c = static_cast<char>(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
        out.headers[lower] = value;
    }
    out.body = response.body;
    return out;
}

HttpResponse problem(int status, std::string_view code, std::string_view sentence) {
    return response_of(server::http::problem(
        status, code, "retry", sentence,
        status == 503 || status == 429 ? std::optional(std::chrono::seconds(17)) : std::nullopt));
}

HttpResponse unreached() {
    HttpResponse none;
    none.failure = "no network";
    return none;
}

void flip(std::string& bytes, std::uint64_t where) {
    if (bytes.empty()) return;
    const std::uint64_t bit = where % (bytes.size() * 8);
    bytes[bit / 8] =
        static_cast<char>(static_cast<unsigned char>(bytes[bit / 8]) ^ (1U << (bit % 8)));
}

bool same_archive(std::string_view damaged, std::string_view sent) {
    try {
        return protocol::unpack(damaged, std::size_t{64} << 20) ==
               protocol::unpack(sent, std::size_t{64} << 20);
    } catch (const Error&) {
        return false;
    }
}

}  // namespace

const std::vector<std::string>& fault_classes() {
    static const std::vector<std::string> classes{
        "request lost",
        "reply lost",
        "request delivered twice",
        "request delivered again later",
        "request late after its successor",
        "request cut",
        "reply cut",
        "request with a flipped bit",
        "reply with a flipped bit",
        "captive portal",
        "429 with Retry-After",
        "503 with Retry-After",
        "reply to an earlier request",
        "captured while a request was under way",
        "device killed while a request was under way",
        "device killed between two steps",
        "device rebooted",
        "device lost power, unsynced sectors kept",
        "device lost power, unsynced sectors dropped",
        "device lost power, unsynced sectors some",
        "device lost power, unsynced sectors torn",
        "device's disk failed",
        "device's disk was full",
        "centre killed and started",
        "centre lost power, unsynced sectors kept",
        "centre lost power, unsynced sectors dropped",
        "centre lost power, unsynced sectors some",
        "centre lost power, unsynced sectors torn",
        "centre's disk failed",
        "centre's disk was full",
        "clock of a device wrong by more than a day",
        "clock of a device set",
        "clock of the centre set",
        "nothing heard for days",
        "nothing heard for longer than the horizon",
        "several servers over one store",
        "server of another version or limits",
        "field of a newer server kept",
        "figures of a customer brought by the ERP",
        "customer handed over",
        "territory handed over",
        "customer gone with unsent edits",
        "bundle refused",
        "bundle told later",
        "bundle in review",
        "bundle in review decided",
        "refused bundle repaired",
        "state changed",
        "state request turned down",
        "conflict",
        "conflict resolved",
        "draft thrown away",
        "a draft that needs a later bundle",
        "bundles that need each other",
        "centre restored from a backup",
        "centre overtaken after it was restored",
        "device file put back from a copy",
        "device file cloned",
        "file went on as a fork",
        "further copy turned away",
        "app reinstalled",
        "app reinstalled with unsent work",
        "offer kept back for a person",
        "value replaced unseen kept for a person",
        "user switched",
        "user switched with unsent work",
        "device revoked",
        "device revoked with unsent work",
        "file enrolled anew",
        "territory taken",
        "territory taken with unsent work",
        "territory given",
        "customer erased",
        "customer erased while a device had unsent work on it",
        "words about an erased customer held back",
        "file renewed",
    };
    return classes;
}

/// What a device's syncer speaks through.
class Simulation::Wire : public Transport {
public:
    Wire(Simulation& simulation, Unit& unit) : simulation_(simulation), unit_(unit) {}
    HttpResponse exchange(const HttpRequest& request, const std::atomic<bool>&,
                          const std::function<void(std::uint64_t, std::uint64_t)>&) override {
        return simulation_.exchange(unit_, request);
    }

private:
    Simulation& simulation_;
    Unit& unit_;
};

std::unique_ptr<Transport> Simulation::wire_of(Unit& u) { return std::make_unique<Wire>(*this, u); }

/// What is about to be captured in one go.
struct Simulation::Draft {
    std::vector<RecordEdit> edits;
    std::vector<Capture> captures;
};

Simulation::Simulation(const Plan& plan, std::ostream* log) : plan_(plan), log_(log) {
    test::Disk::begin_anew();
}

Simulation::~Simulation() = default;

void Simulation::trace(std::string_view bytes) {
    report.trace = hash64(bytes, report.trace);
    if (log_) *log_ << "    " << bytes.substr(0, 200) << "\n";
}

void Simulation::violated(std::string invariant, std::string sentence) const {
    throw Violation(std::move(invariant), std::move(sentence));
}

void Simulation::run() {
    try {
        while (next_ < plan_.events.size()) happen(plan_.events[next_++]);
    } catch (const Violation& v) {
        report.violated = v.invariant;
        report.sentence = v.what();
        report.event = event_ ? event_->number : 0;
    } catch (const std::exception& e) {
        report.violated = "no error without a fault";
        report.sentence = e.what();
        report.event = event_ ? event_->number : 0;
    }
    for (auto& [event, unit] : units_) close(*unit);
    close_servers();
}

void Simulation::happen(const Event& event) {
    static const std::map<std::string, void (Simulation::*)(const Event&), std::less<>> verbs{
        {"server", &Simulation::make_server},
        {"device", &Simulation::make_device},
        {"customer", &Simulation::capture_customer},
        {"poison", &Simulation::capture_poison},
        {"entwined", &Simulation::capture_entwined},
        {"visit", &Simulation::capture_visit},
        {"complaint", &Simulation::capture_complaint},
        {"draft", &Simulation::capture_draft},
        {"submit", &Simulation::end_draft},
        {"discard", &Simulation::end_draft},
        {"edit", &Simulation::edit},
        {"edit_two", &Simulation::edit_two},
        {"resolve", &Simulation::resolve},
        {"repair", &Simulation::repair},
        {"request", &Simulation::request_state},
        {"reference", &Simulation::reference_data},
        {"sync", &Simulation::sync},
        {"deliver", &Simulation::deliver},
        {"disk", &Simulation::plan_fault},
        {"restart", &Simulation::restart},
        {"upgrade", &Simulation::upgrade},
        {"hand_over", &Simulation::hand_over},
        {"hand_over_all", &Simulation::hand_over},
        {"office", &Simulation::decide},
        {"backup", &Simulation::back_up},
        {"restore", &Simulation::restore},
        {"copy", &Simulation::copy_device},
        {"put_back", &Simulation::put_back},
        {"clone", &Simulation::clone},
        {"reinstall", &Simulation::reinstall},
        {"user", &Simulation::switch_user},
        {"revoke", &Simulation::revoke},
        {"enrol", &Simulation::enrol_again},
        {"scopes", &Simulation::set_scopes},
        {"erase", &Simulation::erase},
    };
    const Event* outer = std::exchange(event_, &event);
    now_ms_ += 7;
    drawn_ids_ = 0;
    for (auto& [number, unit] : units_) unit->machine->draw_from(event.draw(plan_.seed, number));
    for (std::size_t i = 0; i < servers_.size(); ++i)
        servers_[i].machine->draw_from(event.draw(plan_.seed, 1'000'000 + i));
    if (log_) *log_ << event.number << " " << event.verb << "\n";
    trace(event.verb);
    if (const auto verb = verbs.find(event.verb); verb != verbs.end()) {
        if (event.verb == "server" || !servers_.empty()) (this->*verb->second)(event);
    } else if (event.verb == "pass") {
        now_ms_ += event.get("ms");
        forgetful_ |= event.get("ms") > kHiddenMs;  // what has departed goes
        if (event.get("ms") >= 86'400'000) strike("nothing heard for days");
        if (event.get("ms") >= 180 * 86'400'000LL)
            strike("nothing heard for longer than the horizon");
    } else if (event.verb == "clock") {
        if (Unit* u = unit(event)) {
            u->machine->skew_ms = event.get("skew_s") * 1000;
            strike("clock of a device set");
            if (std::abs(u->machine->skew_ms) > 86'400'000)
                strike("clock of a device wrong by more than a day");
        }
    } else if (event.verb == "server_clock") {
        if (!servers_.empty()) {
            server(event).machine->skew_ms = event.get("skew_s") * 1000;
            strike("clock of the centre set");
        }
    } else if (event.verb == "carry_on") {
        if (!servers_.empty()) {
            Server& s = server(event);
            at_centre([&] { s.engine->carry_on(); });
        }
    } else if (event.verb == "settle") {
        settle();
    } else {
        throw std::runtime_error("a plan has an event nobody knows: " + event.verb);
    }
    event_ = outer;
}

// ---- the devices

void Simulation::make_server(const Event& event) {
    if (!servers_.empty()) return;
    server_disk_ = make_disk(folder_.file("server.db"), 0);
    const auto engines =
        static_cast<std::size_t>(std::clamp<std::int64_t>(event.get("engines", 1), 1, 3));
    for (std::size_t i = 0; i < engines; ++i) {
        Server s;
        s.machine = std::make_unique<Machine>(now_ms_, 0);
        s.machine->draw_from(event.draw(plan_.seed, i));
        if (const auto n = event.get("reply_records"))
            s.limits.reply_records_max = static_cast<std::uint32_t>(n);
        if (const auto n = event.get("request_bundles"))
            s.limits.request_bundles_max = static_cast<std::uint32_t>(n);
        servers_.push_back(std::move(s));
    }
    if (engines > 1) strike("several servers over one store");
    erases_ = event.get("erasures") != 0;
    open_servers();
}

void Simulation::make_device(const Event& event) {
    if (units_.contains(event.number)) return;
    static constexpr Role roles[] = {Role::rep, Role::mgr, Role::mkt, Role::qm};
    auto made = std::make_unique<Unit>();
    Unit& u = *made;
    u.event = event.number;
    u.tenant = event.get("tenant");
    u.rep = u.first_rep = "R" + std::to_string(event.get("rep"));
    u.role = roles[event.get("role") & 3];
    // A newer server would carry out an order on the fields only it knows.
    u.newer_server = event.get("newer") != 0 && !erases_;
    char name[32];
    std::snprintf(name, sizeof name, "device%06u.rapport", event.number);
    u.path = folder_.file(name);
    u.machine = std::make_unique<Machine>(now_ms_, event.get("skew_s") * 1000);
    u.machine->draw_from(event.draw(plan_.seed, event.number));
    if (std::abs(u.machine->skew_ms) > 86'400'000)
        strike("clock of a device wrong by more than a day");
    u.disk = make_disk(u.path, u.event);
    u.wire = wire_of(u);
    units_.emplace(event.number, std::move(made));
    open(u);
    server::Invitee invitee;
    invitee.tenant = tenant_name(u.tenant);
    invitee.rep = u.rep;
    invitee.role = u.role;
    invitee.scopes = {event.get("territory") < 0 ? "territory/*"
                                                 : territory(event.get("territory"))};
    std::string code;
    at_centre([&] {
        const auto tx = servers_[0].storage->begin_write();
        code = server::invite(*tx, *servers_[0].machine, invitee);
        tx->commit();
    });
    on(u, [&] {
        u.syncer->enrol(kAddress, code);
        u.writer = Replica(*u.store).identity()->writer;
    });
}

std::unique_ptr<test::Disk> Simulation::make_disk(const std::string& path, std::uint32_t device) {
    auto disk = std::make_unique<test::Disk>(path);
    const bool crashes =
        std::any_of(plan_.events.begin(), plan_.events.end(), [&](const Event& event) {
            return event.arguments.contains("crash") && event.get("device") == device;
        });
    if (!crashes) disk->never_crashes();
    return disk;
}

Simulation::Unit* Simulation::unit(const Event& event, std::string_view name) {
    const auto found = units_.find(static_cast<std::uint32_t>(event.get(name)));
    return found == units_.end() ? nullptr : found->second.get();
}

void Simulation::open(Unit& u) {
    // A fault that strikes now passes; after the first the disk is in order.
    for (int attempt = 0; !u.store; ++attempt) {
        const std::uint64_t failed = u.disk->failed();
        try {
            Store::Options options;
            options.environment = u.machine.get();
            options.lock_wait = Milliseconds(0);
            u.store = std::make_unique<Store>(Store::open(u.path, options));
            u.syncer = std::make_unique<Syncer>(*u.store, *u.wire, *u.machine);
        } catch (const Error& e) {
            u.store.reset();
            const bool struck = u.disk->crashed() || u.disk->failed() != failed;
            expect(struck && attempt == 0, "a file opens after any fault",
                   std::string("a device file does not open: ") + e.what());
            if (u.disk->crashed()) {
                strike("device lost power, unsynced sectors " + u.damage);
                u.disk->reboot();
            } else {
                strike(u.planned == "full" ? "device's disk was full" : "device's disk failed");
            }
            u.disk->heal();
        }
    }
}

void Simulation::close(Unit& u) {
    u.syncer.reset();
    u.store.reset();
}

bool Simulation::on(Unit& u, const std::function<void()>& work) {
    open(u);
    const std::uint64_t failed = u.disk->failed();
    bool done = false;
    try {
        work();
        done = true;
    } catch (const Killed&) {
        if (!u.doomed) strike("device killed while a request was under way");
        close(u);
    } catch (const Error& e) {
        if (!u.disk->crashed() && u.disk->failed() == failed)
            violated("no error without a fault", e.what());
    }
    after_faults(u, failed);
    return done;
}

void Simulation::after_faults(Unit& u, std::uint64_t failed_before) {
    if (u.disk->failed() != failed_before)
        strike(u.planned == "full" ? "device's disk was full" : "device's disk failed");
    if (u.syncing) {  // somebody is still speaking through the open file
        u.doomed |= u.disk->crashed();
        return;
    }
    u.doomed = false;
    const bool crashed = u.disk->crashed();
    if (crashed) {
        strike("device lost power, unsynced sectors " + u.damage);
        close(u);
        u.disk->reboot();
        u.disk->heal();
        u.machine->reboot();
    }
    open(u);
    settle_unsure(u);
    if (crashed) {
        judge_file(u);
        judge_unsent(u);
    }
}

/// A commit that did not return is there as a whole or not at all. Which of the two shows when the
/// file is opened the next time: SQLite may find it in the log then.
void Simulation::settle_unsure(Unit& u) {
    if (u.unsure.empty()) return;
    close(u);
    u.disk->heal();
    open(u);
    for (std::vector<Capture>& captures : u.unsure) {
        std::size_t there = 0;
        for (Capture& capture : captures)
            if (const auto id = held_as(u, capture)) {
                capture.id = *id;
                ++there;
            }
        expect(there == 0 || there == captures.size(), "a commit is whole or absent",
               "a commit that did not return left " + std::to_string(there) + " of " +
                   std::to_string(captures.size()) + " values");
        if (there == 0) continue;
        for (const Capture& capture : captures) u.unsent.insert(capture.number);
        oracle_.captured(std::move(captures));
    }
    u.unsure.clear();
}

std::optional<CaptureId> Simulation::held_as(Unit& u, const Capture& capture) {
    const Store::Core::Reading reading(u.store->core());
    const auto loaded = load(reading.db, *kinds_.at(capture.site.record), capture.site.record);
    if (!loaded) return std::nullopt;
    const std::uint64_t hash = content_hash(capture.key, capture.value);
    for (const PendingChange& change : loaded->pending)
        if (const Write* write = change.write_of(capture.site.field))
            for (const Added& add : write->adds)
                if (content_hash(add.key, add.value) == hash &&
                    oracle_.find(add.capture, capture.site, hash) < 0)
                    return add.capture;
    return std::nullopt;
}

/// A commit that returned is there.
void Simulation::name_captures(Unit& u, std::vector<Capture>& captures) {
    for (Capture& capture : captures) {
        const auto id = held_as(u, capture);
        expect(id.has_value(), "a capture that returned is there",
               "~w" + std::to_string(capture.number) + "~ was captured and is not on its device");
        capture.id = *id;
    }
}

std::set<int> Simulation::screen(Unit& u, const RecordId& id, const Field& field, bool all_of_it) {
    std::set<int> seen;
    const Store::Core::Reading reading(u.store->core());
    const auto loaded = load(reading.db, *kinds_.at(id), id);
    if (!loaded) return seen;
    const Site site{id, field.number};
    const auto see = [&](int number) {
        if (number >= 0) seen.insert(number);
    };
    const auto pending = [&](const Added& add) {
        see(oracle_.find(add.capture, site, content_hash(add.key, add.value)));
    };
    const FieldState* confirmed = nullptr;
    if (const auto at = loaded->row.confirmed.fields.find(field.number);
        at != loaded->row.confirmed.fields.end())
        confirmed = &at->second;

    if (field.is_keyed()) {  // all its elements
        for (const PendingChange& change : loaded->pending)
            if (const Write* write = change.write_of(field.number))
                for (const Added& add : write->adds) pending(add);
        if (confirmed)
            for (const LiveValue& l : confirmed->live) see(oracle_.which(site, l));
        return seen;
    }
    // What is pending hides what is confirmed, and what an edit replaces never grows by a pull.
    const Write* own = nullptr;
    for (const PendingChange& change : loaded->pending)
        if (const Write* write = change.write_of(field.number)) own = write;
    if (own)
        for (const Added& add : own->adds) pending(add);
    if (confirmed && (!own || all_of_it)) {
        const Content shown = show(field, *confirmed);
        for (const LiveValue& l : confirmed->live)
            if (all_of_it ||
                std::any_of(shown.begin(), shown.end(),
                            [&](const Item& item) { return item.value == l.value; }) ||
                (shown.empty() && l.value.is_null()))
                see(oracle_.which(site, l));
    }
    return oracle_.with_seen(seen);
}

std::vector<RecordId> Simulation::records_of(const Event& event, std::string_view name) {
    const auto found = records_.find(static_cast<std::uint32_t>(event.get(name)));
    return found == records_.end() ? std::vector<RecordId>{} : found->second;
}

RecordId Simulation::draw_id(const Unit& u) {
    const std::uint64_t all[] = {event_->draw(plan_.seed, 77'000 + drawn_ids_),
                                 event_->draw(plan_.seed, 78'000 + drawn_ids_)};
    ++drawn_ids_;
    std::array<std::uint8_t, 10> random{};
    for (std::size_t i = 0; i < random.size(); ++i)
        random[i] = static_cast<std::uint8_t>(all[i / 8] >> (8 * (i % 8)));
    return time_ordered_id(u.machine->now().at.time_since_epoch().count(), random);
}

bool Simulation::commit(Unit& u, std::vector<RecordEdit> edits, std::vector<Capture> captures,
                        bool as_draft) {
    if (edits.empty()) return false;
    ++commits_;
    for (Capture& capture : captures) {
        capture.device = u.event;
        capture.tenant = u.tenant;
        capture.commit = commits_;
    }
    for (const RecordEdit& e : edits)
        if (e.create) {
            tenants_.emplace(e.id, u.tenant);
            kinds_.emplace(e.id, e.kind);
            for (const FieldEdit& f : e.fields)
                if (f.field->name == "customer_id" && !f.content.empty())
                    if (const auto* id = f.content[0].value.text())
                        customer_of_.emplace(e.id, *RecordId::from_bytes(*id));
        }
    Captured captured;
    bool returned = false, unsure = false;
    const bool done = on(u, [&] {
        note_told(u, captures);  // what is broken off may be there nevertheless
        try {
            captured = u.store->commit(edits, as_draft);
            returned = true;
            // A disk that goes with the commit still has it: it is looked for once it is up again.
            if (captured && !u.disk->crashed()) name_captures(u, captures);
        } catch (const Error&) {
            if (returned) throw;  // only to look for it failed
            // Before the faults are dealt with, which looks for what it left.
            oracle_.forget_planned();
            u.unsure.push_back(captures);
            unsure = true;
            throw;
        }
    });
    if (!done && !returned) {
        if (!unsure) oracle_.forget_planned();
        return false;
    }
    if (!captured) {
        trace("refused " + captured.refusals[0].code + " " + captured.refusals[0].field);
        oracle_.forget_planned();
        return false;
    }
    if (std::any_of(captures.begin(), captures.end(),
                    [](const Capture& capture) { return capture.id.is_none(); })) {
        if (u.doomed) {  // nobody can look before it is up again
            oracle_.forget_planned();
            u.unsure.push_back(std::move(captures));
            return false;
        }
        u.disk->spare(true);
        name_captures(u, captures);
        u.disk->spare(false);
    }
    for (const Capture& capture : captures) u.unsent.insert(capture.number);
    oracle_.captured(std::move(captures));
    if (u.syncing || depth_ > 0) strike("captured while a request was under way");
    if (!u.doomed) judge_unsent(u);
    return true;
}

// ---- captures

void Simulation::add_edit(Unit& u, Draft& draft, const RecordId& id, std::uint32_t fields,
                          std::uint64_t salt) {
    const auto found = u.store->find(id);
    if (!found) return;
    const auto& names = edited_fields(*found->kind);
    RecordEdit edit{found->kind, id, false, {}, {}};
    for (std::size_t i = 0; i < names.size(); ++i) {
        if ((fields >> i & 1U) == 0) continue;
        const Field& field = *found->kind->field(names[i]);
        if (!field.marks.writers.contains(u.role)) continue;
        const std::uint64_t drawn = hash64({reinterpret_cast<const char*>(&i), sizeof i}, salt);
        Capture capture;
        capture.number = oracle_.next_number();
        capture.site = {id, field.number};
        capture.value = drawn_value(field, capture.number, drawn >> 8);
        if (field.is_keyed()) {
            capture.key = canonical_bytes(capture.value);
            const bool replaces = drawn % 3 == 0;
            Content content{{capture.key, capture.value}};
            const Content& shown = found->shown(field.name);
            if (std::any_of(shown.begin(), shown.end(),
                            [&](const Item& item) { return item.key == capture.key; }))
                continue;
            if (replaces) {  // some of what is there stays
                capture.seen = screen(u, id, field, true);
                for (std::size_t k = 0; k < shown.size(); ++k) {
                    if ((drawn >> (20 + k) & 1U) == 0) continue;
                    content.push_back(shown[k]);
                    std::erase_if(capture.seen,
                                  [&](int n) { return oracle_.at(n).key == shown[k].key; });
                }
                std::sort(content.begin(), content.end(),
                          [](const Item& a, const Item& b) { return a.key < b.key; });
            }
            edit.fields.push_back(
                {&field, replaces ? FieldEdit::Op::set : FieldEdit::Op::add, content});
        } else {
            capture.seen = screen(u, id, field, false);
            const Content& shown = found->shown(field.name);
            if (shown.size() == 1 && shown[0].value == capture.value) continue;
            edit.fields.push_back({&field, FieldEdit::Op::set, {{"", capture.value}}});
        }
        draft.captures.push_back(std::move(capture));
    }
    if (!edit.fields.empty()) draft.edits.push_back(std::move(edit));
}

/// The edit that creates a record, and the captures of those of its fields that are followed: texts
/// with a number, and what is edited later.
template <class K>
void Simulation::create(Draft& draft, const RecordId& id, const K& record) {
    RecordEdit edit = creation(record, id);
    const auto& edited = edited_fields(kind_of<K>());
    for (const FieldEdit& f : edit.fields) {
        if (f.field->is_keyed() || f.content.empty()) continue;
        const std::string* text =
            f.field->type.shape == Shape::text ? f.content[0].value.text() : nullptr;
        const std::size_t at = text ? text->find("~w") : std::string::npos;
        if (at == std::string::npos &&
            std::find(edited.begin(), edited.end(), f.field->name) == edited.end())
            continue;
        Capture capture;
        capture.number =
            at == std::string::npos ? oracle_.next_number() : std::stoi(text->substr(at + 2));
        capture.site = {id, f.field->number};
        capture.value = f.content[0].value;
        draft.captures.push_back(std::move(capture));
    }
    draft.edits.push_back(std::move(edit));
}

void Simulation::capture_customer(const Event& event) {
    Unit* u = unit(event);
    if (!u) return;
    Draft draft;
    Customer customer;
    customer.name = words(oracle_.next_number(), 0);
    const RecordId id = draw_id(*u);
    create(draft, id, customer);
    records_[event.number] = {id};
    commit(*u, draft.edits, draft.captures);
}

/// The centre refuses all but the first that have one and the same external id.
void Simulation::capture_poison(const Event& event) {
    Unit* u = unit(event);
    if (!u) return;
    Draft draft;
    Customer customer;
    customer.name = words(oracle_.next_number(), 1);
    customer.external_ids = {ExternalId{"erp", "4711"}};
    const RecordId id = draw_id(*u);
    create(draft, id, customer);
    records_[event.number] = {id};
    if (!commit(*u, draft.edits, draft.captures)) return;
    Draft behind;
    Complaint complaint;
    complaint.customer_id = Id<Customer>(id);
    complaint.product_text = "Becher 500 g";
    complaint.verbatim = words(oracle_.next_number(), 2);
    complaint.severity = Severity::minor;
    const RecordId dependent = draw_id(*u);
    create(behind, dependent, complaint);
    records_[event.number].push_back(dependent);
    commit(*u, behind.edits, behind.captures);
}

void Simulation::capture_visit(const Event& event) {
    Unit* u = unit(event);
    const auto customers = records_of(event, "customer");
    if (!u || customers.empty()) return;
    open(*u);
    Draft draft;
    const RecordId id = draw_id(*u);
    std::vector<RecordId> made{id};
    Visit visit;
    visit.customer_id = Id<Customer>(customers[0]);
    visit.type = VisitType::visit;
    visit.summary = words(oracle_.next_number(), 3);
    create(draft, id, visit);
    for (std::int64_t i = 0; i < event.get("complaints"); ++i) {
        Complaint complaint;
        complaint.customer_id = Id<Customer>(customers[0]);
        complaint.visit_id = Id<Visit>(id);
        complaint.product_text = "Beutel 5 kg";
        complaint.verbatim = words(oracle_.next_number(), static_cast<std::uint64_t>(i));
        complaint.severity = Severity::minor;
        made.push_back(draw_id(*u));
        create(draft, made.back(), complaint);
    }
    for (std::int64_t i = 0; i < event.get("wishes"); ++i) {
        ProductWish wish;
        wish.customer_id = Id<Customer>(customers[0]);
        wish.visit_id = Id<Visit>(id);
        wish.need = words(oracle_.next_number(), 5);
        wish.importance = Importance::nice;
        made.push_back(draw_id(*u));
        create(draft, made.back(), wish);
    }
    records_[event.number] = made;
    std::vector<int> whole;
    for (const Capture& capture : draft.captures) whole.push_back(capture.number);
    if (commit(*u, draft.edits, draft.captures) && made.size() > 1)
        wholes_.emplace_back(commits_, std::move(whole)), whole_of_[commits_] = customers[0];
}

void Simulation::capture_complaint(const Event& event) {
    Unit* u = unit(event);
    const auto customers = records_of(event, "customer");
    if (!u || customers.empty()) return;
    Draft draft;
    Complaint complaint;
    complaint.customer_id = Id<Customer>(customers[0]);
    complaint.product_text = "Becher 500 g";
    complaint.verbatim = words(oracle_.next_number(), 4);
    complaint.severity = Severity::major;
    const RecordId id = draw_id(*u);
    create(draft, id, complaint);
    records_[event.number] = {id};
    commit(*u, draft.edits, draft.captures);
}

void Simulation::capture_draft(const Event& event) {
    Unit* u = unit(event);
    const auto customers = records_of(event, "customer");
    if (!u || customers.empty()) return;
    Draft draft;
    Complaint complaint;
    complaint.customer_id = Id<Customer>(customers[0]);
    complaint.product_text = "Becher 500 g";
    complaint.verbatim = words(oracle_.next_number(), 0);
    complaint.severity = Severity::major;
    const RecordId id = draw_id(*u);
    create(draft, id, complaint);
    records_[event.number] = {id};
    commit(*u, draft.edits, draft.captures, true);
}

/// A draft that comes to name what was captured while it stayed open: with `circle` something that
/// names what comes with the draft.
void Simulation::capture_entwined(const Event& event) {
    Unit* u = unit(event);
    const auto customers = records_of(event, "customer");
    if (!u || customers.empty()) return;
    const bool circle = event.get("circle") != 0;
    Draft draft, later;
    Id<Customer> at(customers[0]);
    if (circle) {
        Customer customer;
        customer.name = words(oracle_.next_number(), 1);
        at = Id<Customer>(draw_id(*u));
        create(draft, at, customer);
    }
    Visit visit;
    visit.customer_id = at;
    visit.type = VisitType::visit;
    visit.summary = words(oracle_.next_number(), 3);
    const Id<Visit> visited(draw_id(*u));
    create(circle ? draft : later, visited, visit);
    RecordEdit naming;
    if (circle) {
        Contact contact;
        contact.customer_id = at;
        contact.name = PersonName{"Udo", "Kamp"};
        const Id<Contact> met(draw_id(*u));
        create(later, met, contact);
        const Value named(met.raw());
        naming = {&kind_of<Visit>(),
                  visited,
                  false,
                  {},
                  {{kind_of<Visit>().field("participants"),
                    FieldEdit::Op::add,
                    {{canonical_bytes(named), named}}}}};
        records_[event.number] = {visited, at};
    } else {
        Complaint complaint;
        complaint.customer_id = at;
        complaint.product_text = "Becher 500 g";
        complaint.verbatim = words(oracle_.next_number(), 4);
        complaint.severity = Severity::minor;
        const Id<Complaint> told(draw_id(*u));
        create(draft, told, complaint);
        naming = {&kind_of<Complaint>(),
                  told,
                  false,
                  {},
                  {{kind_of<Complaint>().field("visit_id"),
                    FieldEdit::Op::set,
                    {{"", Value(visited.raw())}}}}};
        records_[event.number] = {told, visited};
    }
    if (!commit(*u, draft.edits, draft.captures, true)) return;
    if (!commit(*u, later.edits, later.captures)) return;
    if (commit(*u, {naming}, {}))
        strike(circle ? "bundles that need each other" : "a draft that needs a later bundle");
}

void Simulation::end_draft(const Event& event) {
    Unit* u = unit(event);
    const auto records = records_of(event);
    if (!u || records.empty()) return;
    const RecordId id = records[0];
    on(*u, [&] {
        if (!u->store->find(id) || u->store->status(id).state != SyncState::draft) return;
        if (event.verb == "submit") {
            u->store->submit(id);
            return;
        }
        strike("draft thrown away");
        // Should the disk fail now, the draft may or may not be gone.
        for (const std::uint16_t field : oracle_.followed(id))
            for (const int number : oracle_.at_site({id, field})) {
                oracle_.gone(number);
                u->unsent.erase(number);
            }
        u->store->discard(id);
    });
}

void Simulation::edit(const Event& event) {
    Unit* u = unit(event);
    const auto records = records_of(event);
    if (!u || records.empty()) return;
    Draft draft;
    on(*u, [&] {
        add_edit(*u, draft, records[static_cast<std::size_t>(event.get("part")) % records.size()],
                 static_cast<std::uint32_t>(event.get("fields")), event.draw(plan_.seed, 1));
    });
    commit(*u, draft.edits, draft.captures);
}

void Simulation::edit_two(const Event& event) {
    Unit* u = unit(event);
    const auto a = records_of(event, "a"), b = records_of(event, "b");
    if (!u || a.empty() || b.empty() || a.back() == b.front()) return;
    Draft draft;
    on(*u, [&] {
        const auto fields = static_cast<std::uint32_t>(event.get("fields"));
        add_edit(*u, draft, a.back(), fields, event.draw(plan_.seed, 1));
        add_edit(*u, draft, b.front(), fields, event.draw(plan_.seed, 2));
    });
    commit(*u, draft.edits, draft.captures);
}

void Simulation::resolve(const Event& event) {
    Unit* u = unit(event);
    if (!u) return;
    std::vector<Conflict> conflicts;
    Capture capture;
    Captured captured;
    bool asked = false;
    const auto pick = static_cast<std::size_t>(event.get("pick"));
    on(*u, [&] {
        conflicts = u->store->conflicts();
        if (conflicts.empty()) return;
        const Conflict& conflict = conflicts[pick % conflicts.size()];
        const Field& field = *conflict.field;
        if (!conflict.key.empty() || !field.marks.writers.contains(u->role) ||
            oracle_.at_site({conflict.record, field.number}).empty())
            return;
        capture.device = u->event;
        capture.tenant = u->tenant;
        capture.commit = ++commits_;
        capture.number = oracle_.next_number();
        capture.site = {conflict.record, field.number};
        capture.value = drawn_value(field, capture.number, event.draw(plan_.seed, 3));
        capture.seen = screen(*u, conflict.record, field, true);
        asked = true;
        std::vector<Capture> one{capture};
        try {
            captured = u->store->resolve(conflict.id, Keep::value, {{"", capture.value}});
            if (captured && !u->disk->crashed()) name_captures(*u, one);
        } catch (const Error&) {
            oracle_.forget_planned();
            u->unsure.push_back(one);
            captured.refusals.resize(1);
            throw;
        }
        capture = one[0];
    });
    if (asked && captured && capture.id.is_none()) {
        oracle_.forget_planned();
        u->unsure.push_back({capture});
        if (!u->doomed && !u->syncing) settle_unsure(*u);
        return;
    }
    if (!asked || !captured || capture.id.is_none()) return oracle_.forget_planned();
    strike("conflict resolved");
    u->unsent.insert(capture.number);
    oracle_.captured({capture});
    if (!u->doomed) judge_unsent(*u);
}

/// Gives a refused customer an external id that nobody has.
void Simulation::repair(const Event& event) {
    Unit* u = unit(event);
    if (!u) return;
    on(*u, [&] {
        std::vector<RecordId> refused;
        for (const HeldBundle& held : u->store->held())
            if (held.state == SyncState::refused)
                for (const TitledRecord& record : held.records)
                    if (record.kind->name == "customer") refused.push_back(record.id);
        if (refused.empty()) return;
        const RecordId id = refused[static_cast<std::size_t>(event.get("pick")) % refused.size()];
        const bool repaired{
            u->store->edit(Id<Customer>(id))
                .set(&Customer::external_ids,
                     AddWins<ExternalId>{ExternalId{"erp", std::to_string(event.number)}})
                .save()};
        if (repaired) strike("refused bundle repaired");
    });
}

void Simulation::request_state(const Event& event) {
    Unit* u = unit(event);
    const auto records = records_of(event);
    if (!u || records.empty()) return;
    on(*u, [&] {
        const RecordId& subject =
            records[static_cast<std::size_t>(event.get("to")) % records.size()];
        if (!u->store->find(subject)) return;
        const auto next = u->store->next_states(subject);
        if (next.empty()) return;
        const NextState& to = next[static_cast<std::size_t>(event.get("to")) % next.size()];
        if (to.to == "merged") return;
        std::map<std::string, std::string> fields;
        for (const std::string& name : to.sets) {
            if (name == "decision") fields[name] = "goodwill";
            if (name == "reply_text" || name == "question") fields[name] = "Ersatz kommt am Montag";
            if (name == "owner") fields[name] = "Q1";
        }
        const Captured asked =
            u->store->request_state(subject, to.to, to.needs_reason ? "auf Wunsch" : "", fields);
        for (const RecordId& id : asked.ids) tenants_.emplace(id, u->tenant);
    });
}

// ---- the centre

Simulation::Server& Simulation::server(const Event& event) {
    return servers_[static_cast<std::size_t>(event.get("engine")) % servers_.size()];
}

void Simulation::open_servers() {
    for (int attempt = 0; attempt < 2; ++attempt) {
        const std::uint64_t failed = server_disk_->failed();
        try {
            const std::shared_ptr<server::Storage> storage =
                server::open_sqlite_storage(folder_.file("server.db"));
            if (erases_)
                erasures_ = std::make_unique<server::Erasures>(
                    server::erasures_path(folder_.file("server.db")));
            for (Server& s : servers_) {
                s.storage = storage;
                s.engine = std::make_unique<server::Engine>(*s.storage, *s.machine, s.limits,
                                                            server::kHorizonDays, erasures_.get());
            }
            return;
        } catch (const Error& e) {
            close_servers();
            expect((server_disk_->crashed() || server_disk_->failed() != failed) && attempt == 0,
                   "a file opens after any fault",
                   std::string("the centre's file does not open: ") + e.what());
            if (server_disk_->crashed()) server_disk_->reboot();
            server_disk_->heal();
        }
    }
}

void Simulation::close_servers() {
    for (Server& s : servers_) {
        s.engine.reset();
        s.storage.reset();
    }
}

bool Simulation::at_centre(const std::function<void()>& work) {
    const std::uint64_t failed = server_disk_->failed();
    ++centre_version_;
    for (const Server& s : servers_)
        newest_server_ms_ =
            std::max(newest_server_ms_, s.machine->now().at.time_since_epoch().count());
    bool done = false;
    try {
        work();
        done = true;
    } catch (const Error& e) {
        if (!server_disk_->crashed() && server_disk_->failed() == failed)
            violated("no error without a fault", std::string("at the centre: ") + e.what());
    }
    if (server_disk_->failed() != failed)
        strike(server_planned_ == "full" ? "centre's disk was full" : "centre's disk failed");
    if (server_disk_->crashed()) {
        strike("centre lost power, unsynced sectors " + server_damage_);
        close_servers();
        server_disk_->reboot();
        server_disk_->heal();
        open_servers();
        done = false;
    }
    return done;
}

HttpResponse Simulation::enrol(const HttpRequest& request) {
    HttpResponse response = unreached();
    at_centre([&] {
        const auto wanted = server::enrolment_request_from_json(request.body);
        const auto tx = servers_[0].storage->begin_write();
        const auto enrolment = server::redeem(*tx, *servers_[0].machine, wanted);
        if (!enrolment) {  // the credential of a file that has one already
            response = problem(403, "not_authorised", "the code is not to be redeemed so");
            return;
        }
        tx->commit();
        response = response_of(server::http::json(200, server::to_json(*enrolment)));
    });
    return response;
}

/// As the HTTP face of the centre answers: who it is, the frame, the engine, the frame.
HttpResponse Simulation::answer(Server& s, const HttpRequest& request, bool untouched,
                                const Unit* from) {
    const auto bearer = request.headers.find("Authorization");
    std::optional<server::Device> device;
    HttpResponse response =
        problem(503, "storage_failed", "the storage does not take anything now");
    std::string archive;
    try {
        archive = protocol::unpack(request.body, 8U << 20);
    } catch (const Error& e) {
        expect(!untouched, "the frame of a request holds", e.what());
        return problem(400, "protocol_violated", e.what());
    }
    auto wire = decode<protocol::Request>(archive);
    for (const auto& [number, u] : units_)
        if (u->newer_server && !wire.witnessed.empty() && u->requests.contains(wire.next)) {
            as_older_device(wire);
            archive = encode(wire);
            break;
        }
    const auto notes_before = wire.witnessed.empty() ? std::set<std::uint64_t>{} : kept_back();
    const bool done = at_centre([&] {
        device = server::device_of(
            *s.storage->begin_read(),
            server::bearer_of(bearer == request.headers.end() ? "" : bearer->second));
        if (!device) {
            response = problem(401, "not_authorised", "the credential is unknown or revoked");
            return;
        }
        server::Engine::Answer a = s.engine->sync({device->writer, archive});
        // A late copy asks for a fork that has been revoked since. And a restored centre may have
        // given the credential of a file to its copy, enrolled anew, or to the file itself under a
        // new name, after which a request under the old one comes late.
        const auto asker = s.storage->begin_read()->device(wire.writer);
        if ((device->revoked || (asker && asker->revoked) ||
             (restores_ > 0 && (copies_ > 0 || !from))) &&
            a.error_code == "not_authorised") {
            response = problem(401, "not_authorised", a.error_sentence);
            return;
        }
        expect(a.error_code.empty(), "no request of a device violates the protocol",
               a.error_code + ": " + a.error_sentence);
        trace(a.archive);
        response = {};
        response.status = 200;
        response.content_type = protocol::kContentType;
        response.body = std::move(a.archive);
    });
    if (device && done && response.status == 200) {
        orders_wait_ = false;
        note_offers(*device, wire, notes_before);
    }
    if (device) {
        const bool forks = wire.kind == protocol::kFork;
        note_arrivals(forks ? wire.writer : device->writer, wire.bundles);
    }
    if (!done) return problem(503, "storage_failed", "the storage does not take anything now");
    if (response.status != 200) return response;
    const std::string sent = response.body;
    look_at_centre([&](server::Transaction& tx) {
        // A fork that is asked for again may have been given other scopes since.
        const auto fork =
            wire.kind == protocol::kFork ? tx.device(wire.writer) : std::optional<server::Device>{};
        judge_sent(tx, fork ? *fork : *device, sent);
    });
    const auto reply = decode<protocol::Reply>(response.body);
    if (log_) tell(wire, reply);
    // A newer server's records hold more than the device makes of its own writes: it leaves none
    // out.
    if (from && from->newer_server && reply.confirmed) return answer(s, request, untouched, from);
    if (device->revoked) {
        bool reasons = false;
        for (const auto& verdict : reply.verdicts) reasons |= !verdict.reasons.empty();
        expect(
            reply.records.empty() && reply.departures.empty() && reply.authors.empty() && !reasons,
            "a revoked device receives nothing", "a reply to a revoked device says more");
    }
    // What a file enrolled anew offers begins once more when it is given other scopes.
    if (from && reply.outcome == protocol::Outcome::mismatch &&
        !(scopes_changed_ && wire.kind != protocol::kNormal))
        expect(restores_ + copies_ > 0, "nobody recovers without a restore",
               "a device is told that it or the centre was restored");
    if (reply.renewal) {
        strike("file renewed");
        forgetful_ = true;
    }
    if (reply.outcome == protocol::Outcome::declined) strike("further copy turned away");
    if (from && from->newer_server) response.body = as_newer_server(response.body);
    response.body = protocol::pack(response.body, protocol::Contents::reply);
    return response;
}

/// An exchange in the log, a line.
void Simulation::tell(const protocol::Request& request, const protocol::Reply& reply) const {
    *log_ << "    request kind " << int{request.kind} << " more " << request.more << " bundles "
          << request.bundles.size() << " witnessed " << request.witnessed.size() << "; outcome "
          << static_cast<int>(reply.outcome) << " checkpoint " << reply.checkpoint << " download "
          << reply.download << " renewal " << reply.renewal;
    for (const auto& v : reply.verdicts)
        *log_ << " verdict " << v.counter << "=" << static_cast<int>(v.verdict);
    for (const std::string& bytes : reply.records) {
        const RecordState state = decode_record(bytes);
        *log_ << " record " << state.id.text().substr(24) << " " << state.scope;
    }
    for (const protocol::Departed& d : reply.departures)
        *log_ << " departure " << d.id.text().substr(24) << " " << d.move;
    for (const RecordId& id : reply.not_yours) *log_ << " not_yours " << id.text().substr(24);
    *log_ << "\n";
}

/// Every record gets a field that this build does not know.
std::string Simulation::as_newer_server(const std::string& archive) const {
    auto reply = decode<protocol::Reply>(archive);
    for (std::string& bytes : reply.records) {
        RecordState state = decode_record(bytes);
        add_unknown_field(state);
        bytes = encode_record(state, [](std::uint16_t, const LiveValue& l) { return l.elided; });
    }
    return encode(reply);
}

/// Its server would know the field; this one does not.
void Simulation::as_older_device(protocol::Request& request) const {
    for (std::string& bytes : request.witnessed) {
        RecordState state = decode_record(bytes);
        state.fields.erase(kUnknownField);
        bytes = encode_record(state);
    }
}

HttpResponse Simulation::exchange(Unit& u, const HttpRequest& request) {
    if (request.url.size() > 6 && request.url.substr(request.url.size() - 6) == "/enrol")
        return enrol(request);
    const Event& event = *u.syncing;
    const int nth = u.exchanges++;
    if (nth >= event.get("times", 1)) {
        HttpResponse cancelled;
        cancelled.cancelled = true;
        return cancelled;
    }
    now_ms_ += 20;
    const auto wire = decode<protocol::Request>(protocol::unpack(request.body, 8U << 20));
    const Unit::Sent sent{hash64(request.body), hash64(encode(wire.bundles))};
    const auto [kept, first] = u.requests.emplace(wire.next, sent);
    // An order takes what it reaches also from a request on its way, and who logs in again has lost
    // what syncs before had brought and says so.
    expect(first || kept->second.hash == sent.hash || !erased_.empty() ||
               (u.switched && kept->second.bundles == sent.bundles),
           "a retry is the same request", "the request of a sync id has other bytes than before");
    u.newest_request = wire.next;
    trace(request.body);
    sent_[event.number].push_back(request);

    Server& s = server(event);
    const auto inner = [&] {
        if (depth_ > 0) return;
        ++depth_;
        for (std::int64_t i = 0; i < event.get("inner") && next_ < plan_.events.size(); ++i)
            if (plan_.events[next_].verb != "settle") happen(plan_.events[next_++]);
        --depth_;
        if (u.doomed) throw Killed{};
    };
    const bool answered_first = event.get("answered") != 0;
    if (nth == 0 && !answered_first) inner();
    const auto passed_on = [&](const HttpRequest& r, bool untouched) {
        HttpResponse response = answer(s, r, untouched, &u);
        u.answered_at = centre_version_;
        if (response.status == 200) {
            u.old_replies.push_back(response.body);
            if (u.old_replies.size() > kRepliesKept) u.old_replies.pop_front();
        }
        if (nth == 0 && answered_first) inner();
        return response;
    };
    const auto where = static_cast<std::uint64_t>(event.get("where"));
    const Fate fate = nth == event.get("at") ? static_cast<Fate>(event.get("fate")) : Fate::none;
    switch (fate) {
        case Fate::request_lost:
            strike("request lost");
            return unreached();
        case Fate::reply_lost:
            passed_on(request, true);
            strike("reply lost");
            return unreached();
        case Fate::twice:
            passed_on(request, true);
            strike("request delivered twice");
            return passed_on(request, true);
        case Fate::request_cut:
        case Fate::request_flipped: {
            HttpRequest damaged = request;
            if (fate == Fate::request_cut)
                damaged.body.resize(where % damaged.body.size());
            else
                flip(damaged.body, where);
            // A zstd frame has a bit that says nothing.
            if (same_archive(damaged.body, request.body)) return passed_on(damaged, true);
            const HttpResponse response = passed_on(damaged, false);
            expect(response.status != 200, "damaged bytes are not taken",
                   "the centre took a request that was cut or had a flipped bit");
            strike(fate == Fate::request_cut ? "request cut" : "request with a flipped bit");
            return unreached();  // a proxy on the way noticed and gave up
        }
        case Fate::reply_cut:
        case Fate::reply_flipped: {
            HttpResponse response = passed_on(request, true);
            if (response.status != 200) return response;
            if (fate == Fate::reply_cut)
                response.body.resize(where % response.body.size());
            else
                flip(response.body, where);
            strike(fate == Fate::reply_cut ? "reply cut" : "reply with a flipped bit");
            return response;
        }
        case Fate::portal: {
            HttpResponse page;
            page.status = 200;
            page.content_type = "text/html; charset=utf-8";
            page.body = "<html>Willkommen im WLAN. Bitte melden Sie sich an.</html>";
            strike("captive portal");
            return page;
        }
        case Fate::busy:
            strike("429 with Retry-After");
            u.told_to_wait = true;
            return problem(429, "busy", "too many requests");
        case Fate::away:
            strike("503 with Retry-After");
            u.told_to_wait = true;
            return problem(503, "busy", "stopping");
        case Fate::old_reply: {
            if (u.old_replies.empty()) return unreached();
            HttpResponse old;
            old.status = 200;
            old.content_type = protocol::kContentType;
            old.body = u.old_replies[where % u.old_replies.size()];
            strike("reply to an earlier request");
            u.answered_at = 0;  // it tells of an earlier centre
            return old;
        }
        case Fate::killed_before:
            throw Killed{};
        case Fate::killed_after:
            passed_on(request, true);
            throw Killed{};
        default:
            return passed_on(request, true);
    }
}

void Simulation::sync(const Event& event) {
    Unit* u = unit(event);
    if (u && !u->syncing) run_sync(*u, event);
}

void Simulation::run_sync(Unit& u, const Event& event) {
    open(u);
    u.exchanges = 0;
    u.told_to_wait = false;
    std::optional<SyncResult> result;
    on(u, [&] {
        // Ends with the call, whichever way: faults of the disk are dealt with after it.
        struct Speaking {
            Unit& unit;
            Speaking(Unit& of, const Event& by) : unit(of) { unit.syncing = &by; }
            ~Speaking() { unit.syncing = nullptr; }
        } speaking(u, event);
        SyncBudget budget;
        budget.time = std::chrono::hours(24 * 400);
        result = u.syncer->sync_for(budget);
    });
    if (result) u.declined = result->end == SyncEnd::needs_recovery;
    note_writer(u);
    if (result) judge_result(u, *result);
    if (result && result->end == SyncEnd::complete) note_offered(u);
    judge_unsent(u);
    judge_whole(u);
    if (result && result->end == SyncEnd::complete && u.answered_at == centre_version_)
        judge_copy(u);
}

/// A fork has another name from then on.
void Simulation::note_writer(Unit& u) {
    on(u, [&] {
        const std::uint64_t writer = Replica(*u.store).identity()->writer;
        if (u.writer == writer) return;
        u.writer = writer;
        strike("file went on as a fork");
        // A file that has left more entries than are kept since the backup cannot tell.
        expect(copies_ + restores_ > 0, "nobody forks without a copy",
               "a device file that nobody copied went on under a new name");
    });
}

void Simulation::deliver(const Event& event) {
    const auto sent = sent_.find(static_cast<std::uint32_t>(event.get("of")));
    if (sent == sent_.end() || sent->second.empty()) return;
    const HttpRequest request =
        sent->second[static_cast<std::size_t>(event.get("at")) % sent->second.size()];
    const auto wire = decode<protocol::Request>(protocol::unpack(request.body, 8U << 20));
    const Unit* from = nullptr;
    for (auto& [number, u] : units_)
        if (u->requests.contains(wire.next)) from = u.get();
    HttpResponse response = answer(server(event), request, true, nullptr);
    if (from && from->newer_server && response.status == 200)
        response.body = protocol::pack(as_newer_server(protocol::unpack(response.body, 64U << 20)),
                                       protocol::Contents::reply);
    for (auto& [number, u] : units_) {
        if (!u->requests.contains(wire.next)) continue;
        strike(u->newest_request == wire.next ? "request delivered again later"
                                              : "request late after its successor");
        if (response.status != 200 || u->newer_server) continue;
        u->old_replies.push_back(response.body);
        if (u->old_replies.size() > kRepliesKept) u->old_replies.pop_front();
    }
}

// ---- what else goes wrong

void Simulation::plan_fault(const Event& event) {
    const std::string what = event.arguments.contains("crash") ? "crash"
                             : event.arguments.contains("io")  ? "io"
                                                               : "full";
    const auto nth = static_cast<std::uint64_t>(std::max<std::int64_t>(event.get(what, 1), 1));
    const bool lasting = event.get("lasting") != 0;
    test::Disk* disk = server_disk_.get();
    if (event.get("device") == 0) {
        server_planned_ = what;
        server_damage_ = damage_name(event.get("damage"));
    } else if (Unit* u = unit(event)) {
        disk = u->disk.get();
        u->planned = what;
        u->damage = damage_name(event.get("damage"));
    } else {
        return;
    }
    if (disk->crashed()) return;
    disk->heal();
    if (what == "crash")
        disk->crash_at(nth, static_cast<test::Damage>(event.get("damage") & 3),
                       event.draw(plan_.seed, 5));
    else
        disk->fail_at(what == "io" ? test::Fault::io : test::Fault::full, nth, lasting);
}

void Simulation::restart(const Event& event) {
    if (event.get("device") == 0) {
        if (depth_ > 0) return;
        close_servers();
        server_disk_->heal();
        open_servers();
        strike("centre killed and started");
        return;
    }
    Unit* u = unit(event);
    if (!u || u->syncing) return;
    close(*u);
    u->disk->heal();
    if (event.get("reboot")) u->machine->reboot();
    open(*u);
    strike(event.get("reboot") ? "device rebooted" : "device killed between two steps");
    judge_unsent(*u);
}

void Simulation::upgrade(const Event& event) {
    if (depth_ > 0) return;
    Server& s = server(event);
    s.limits.version = static_cast<std::uint32_t>(std::max<std::int64_t>(event.get("version"), 1));
    s.limits.reply_records_max =
        static_cast<std::uint32_t>(std::max<std::int64_t>(event.get("reply_records"), 1));
    close_servers();
    server_disk_->heal();
    open_servers();
    strike("server of another version or limits");
}

void Simulation::hand_over(const Event& event) {
    const std::string to = territory(event.get("to"));
    if (event.verb == "hand_over_all") {
        at_centre([&] {
            territory_moved_ = true;
            if (!servers_[0].engine->begin(tenant_name(0), {{}, territory(event.get("from")), to}))
                strike("territory handed over");
        });
        return;
    }
    const auto customers = records_of(event, "customer");
    if (customers.empty()) return;
    moved_.insert(customers[0]);
    at_centre([&] {
        if (!servers_[0].engine->begin(tenant_name(tenants_[customers[0]]), {customers[0], {}, to}))
            strike("customer handed over");
    });
}

/// What an ERP knows of a customer and no device is told.
void Simulation::reference_data(const Event& event) {
    const auto customers = records_of(event, "customer");
    if (customers.empty()) return;
    Record figures;
    figures.kind = &kind_of<Customer>();
    figures.id = customers[0];
    figures.set("rev12", Value(Parts{Value(std::int64_t{event.number}), Value("EUR")}));
    at_centre([&] {
        const auto written =
            servers_[0].engine->write_as_server(tenant_name(tenants_[customers[0]]), {figures});
        if (written[0].refusals.empty()) strike("figures of a customer brought by the ERP");
    });
}

void Simulation::decide(const Event& event) {
    std::vector<std::pair<std::string, server::StoredBundle>> open;
    look_at_centre([&](server::Transaction& tx) {
        open.clear();
        for (const std::string& tenant : tx.tenants())
            tx.open_bundles(tenant, [&](const server::StoredBundle& bundle) {
                if (bundle.verdict.verdict == Verdict::review) open.emplace_back(tenant, bundle);
            });
    });
    if (open.empty()) return;
    const auto& [tenant, bundle] = open[static_cast<std::size_t>(event.get("pick")) % open.size()];
    const Dot dot{bundle.writer, bundle.counter};
    at_centre([&] {
        if (event.get("accept"))
            servers_[0].engine->accept(tenant, dot);
        else
            servers_[0].engine->reject(tenant, dot, "so nicht");
    });
    judged_.erase({bundle.writer, bundle.counter});
    note_arrivals(bundle.writer, {bundle.bytes});
    strike("bundle in review decided");
}

// ---- rest

/// Faults stop. Within kRoundsMax rounds nothing is to be sent or heard any more.
void Simulation::settle() {
    if (servers_.empty()) return;
    server_disk_->heal();
    for (auto& [number, u] : units_) u->disk->heal();
    Event round{event_->number, "sync", {{"times", 10'000}}};
    const auto carry_on = [&] {
        bool any = false;
        at_centre([&] {
            for (Server& s : servers_)
                for (int commits = 0; s.engine->carry_on() > 0; ++commits) {
                    any = true;
                    expect(commits < 10'000, "everything comes to rest",
                           "what the centre carries on with has no end");
                }
        });
        return any;
    };
    bool quiet = false;
    for (int rounds = 0; !quiet; ++rounds) {
        expect(rounds < kRoundsMax, "everything comes to rest",
               "something is still sent or heard after " + std::to_string(kRoundsMax) + " rounds");
        quiet = true;
        carry_on();
        round.arguments["engine"] = rounds;
        for (auto& [number, u] : units_) {
            // Who logs out offers nothing any more.
            if (could_offer_.contains(number) && !u->logged_out.empty() && sync_at_rest(*u, round))
                quiet = false;
            if (sync_at_rest(*u, round)) quiet = false;
            // Whoever comes back to a file downloads all of theirs; that is no news.
            for (const std::string& rep : others_of(*u)) {
                become(*u, rep);
                if (sync_at_rest(*u, round)) quiet = false;
            }
        }
        if (carry_on()) quiet = false;  // it moved something
        now_ms_ += kRoundMs;
    }
    erase_for_good();
    judge_centre();
    for (auto& [number, u] : units_) {
        for (const std::string& rep : others_of(*u)) {
            judge_at_rest(*u);
            become(*u, rep);
            sync_at_rest(*u, round);
        }
        judge_at_rest(*u);
    }
    judge_lost();
}

std::vector<std::string> Simulation::others_of(const Unit& u) {
    std::vector<std::string> reps;
    for (const auto& [rep, user] : u.logged_out) reps.push_back(rep);
    return reps;
}

bool Simulation::sync_at_rest(Unit& u, const Event& round) {
    const Event* outer = std::exchange(event_, &round);
    // No two of them draw one and the same sync id.
    u.machine->draw_from(round.draw(plan_.seed, 9'000 + ++syncs_at_rest_));
    open(u);
    u.exchanges = 0;
    u.told_to_wait = false;
    u.syncing = &round;
    SyncBudget budget;
    budget.time = std::chrono::hours(24 * 400);
    const SyncResult result = u.syncer->sync_for(budget);
    u.syncing = nullptr;
    event_ = outer;
    if (std::exchange(u.declined, result.end == SyncEnd::needs_recovery) || u.declined)
        return false;
    note_writer(u);
    if (result.end == SyncEnd::not_authorised && standing(u) == Standing::unknown) {
        judge_result(u, result);
        enrol_as(u, u.rep, scopes_of(u));
        return true;
    }
    expect(result.end == SyncEnd::complete || result.end == SyncEnd::not_authorised,
           "everything comes to rest",
           "a sync without faults ended with " + std::string(name_of(result.end)) + ": " +
               result.sentence);
    judge_result(u, result);
    if (result.end == SyncEnd::complete) note_offered(u);
    return result.applied + result.refused + result.decided > 0 ||
           (result.received > 0 && u.logged_out.empty());
}

void Simulation::judge_at_rest(Unit& u) {
    judge_unsent(u);
    judge_file(u);
    if (u.declined || standing(u) == Standing::revoked) return;
    judge_copy(u);
    judge_parked(u);
    judge_erased(u.path, "device " + std::to_string(u.event), true);
}

Report simulate(const Plan& plan, std::ostream* log) {
    Simulation simulation(plan, log);
    simulation.run();
    return simulation.report;
}

}  // namespace rapport::sim
