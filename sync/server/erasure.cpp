// SPDX-License-Identifier: Apache-2.0
#include "server/erasure.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "model/hash.hpp"
#include "rapport/error.hpp"
#include "rapport/kinds/contact.hpp"
#include "rapport/kinds/loop_task.hpp"
#include "server/admission.hpp"
#include "server/auth/secret.hpp"
#include "server/engine.hpp"

namespace rapport::server {
namespace {

using Json = nlohmann::ordered_json;

std::string hex(std::uint64_t number) {
    static constexpr char kDigits[] = "0123456789abcdef";
    std::string text(16, '0');
    for (std::size_t i = 16; i-- > 0; number >>= 4U) text[i] = kDigits[number & 15U];
    return text;
}

std::string text_of(const Erasures::Line& line) {
    Json json;
    json["tenant"] = line.tenant;
    if (!line.decided.is_nil()) {
        json[line.released ? "released" : "erased"] = line.decided.text();
    } else {
        json["order"] = line.order.number;
        json["kind"] = line.order.kind;
        json["subject"] = line.order.subject.text();
        json["issued_at_ms"] = line.order.issued_at_ms;
        json["holds_texts"] = line.holds_texts;
        json["seal"] = line.order.seal;
        json["claim"] = line.order.claim;
    }
    const std::string text = json.dump(-1, ' ', false, Json::error_handler_t::replace);
    return text + " " + hex(hash64(text)) + "\n";
}

/// nullopt: it is not what text_of() wrote.
std::optional<Erasures::Line> line_of(std::string_view text) {
    constexpr std::size_t kSum = 17;
    if (text.size() <= kSum) return std::nullopt;
    const std::string_view body = text.substr(0, text.size() - kSum);
    if (text.substr(text.size() - kSum) != " " + hex(hash64(body))) return std::nullopt;
    const Json json = Json::parse(body, nullptr, false);
    if (!json.is_object()) return std::nullopt;
    Erasures::Line line;
    line.tenant = json.value("tenant", "");
    const auto id = [&](const char* name) {
        return RecordId::parse(json.value(name, "")).value_or(RecordId{});
    };
    line.released = json.contains("released");
    line.decided = id(line.released ? "released" : "erased");
    if (!line.decided.is_nil()) return line;
    line.order = {json.value("order", std::uint64_t{0}),
                  json.value("kind", std::uint16_t{0}),
                  id("subject"),
                  json.value("issued_at_ms", std::int64_t{0}),
                  json.value("seal", std::uint64_t{0}),
                  json.value("claim", std::uint64_t{0})};
    line.holds_texts = json.value("holds_texts", false);
    return line;
}

[[noreturn]] void failed(const char* what, int error) {
    throw Error(ErrorCode::storage_failed, std::string("the file of erasure orders ") + what,
                error);
}

void flush_folder(const std::string& path) {
    const auto folder = std::filesystem::absolute(path).parent_path();
    const int fd = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) failed("cannot be made durable", errno);
    const int result = ::fsync(fd), error = errno;
    ::close(fd);
    if (result != 0) failed("cannot be made durable", error);
}

}  // namespace

// ---- the file

Erasures::Erasures(std::string path) : path_(std::move(path)) {
    const bool is_new = !std::filesystem::exists(path_);
    file_.number = ::open(path_.c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (file_.number < 0) failed("cannot be opened", errno);
    if (is_new) flush_folder(path_);
    std::ifstream in(path_, std::ios::binary);
    const std::string all{std::istreambuf_iterator<char>(in), {}};
    std::size_t at = 0;
    while (at < all.size()) {
        const std::size_t end = all.find('\n', at);
        const auto line = end == std::string::npos
                              ? std::nullopt
                              : line_of(std::string_view(all).substr(at, end - at));
        if (!line) {
            // A crash tears only the end: what follows a damaged line was written after it.
            if (end != std::string::npos && end + 1 < all.size())
                throw Error(ErrorCode::storage_damaged,
                            "the file of erasure orders is damaged before its end");
            if (::ftruncate(file_.number, static_cast<off_t>(at)) != 0 ||
                ::fsync(file_.number) != 0)
                failed("cannot be cut to its last whole line", errno);
            break;
        }
        take(*line);
        at = end + 1;
    }
}

Erasures::File::~File() {
    if (number >= 0) ::close(number);
}

void Erasures::append(const Line& line) {
    const std::string text = text_of(line);
    const off_t before = ::lseek(file_.number, 0, SEEK_END);
    std::size_t written = 0;
    while (written < text.size()) {
        const ssize_t count = ::write(file_.number, text.data() + written, text.size() - written);
        if (count < 0 && errno == EINTR) continue;
        if (count <= 0) break;
        written += static_cast<std::size_t>(count);
    }
    if (written < text.size() || ::fsync(file_.number) != 0) {
        const int error = errno;
        // What cannot be cut off is a torn tail, or an order that will have been given after all.
        [[maybe_unused]] const int cut = ::ftruncate(file_.number, before);
        failed("does not take a line", error);
    }
    take(line);
}

void Erasures::take(Line line) {
    Tenant& tenant = tenants_[line.tenant];
    if (!line.decided.is_nil()) {
        if (line.released)
            tenant.released.insert(line.decided);
        else
            tenant.released.erase(line.decided);
    } else {
        if (line.order.number != tenant.orders.size() + 1)
            throw Error(ErrorCode::storage_damaged, "an erasure order is missing in their file");
        tenant.orders.push_back(line.order);
        tenant.subjects.insert(line.order.subject);
        if (tenant.orders.size() >= tenant.lacking) tenant.lacking = 0;
        lacking_ = std::any_of(tenants_.begin(), tenants_.end(),
                               [](const auto& t) { return t.second.lacking != 0; });
    }
    lines_.push_back(std::move(line));
}

const ErasureOrder* Erasures::highest(const std::string& tenant) const {
    const auto at = tenants_.find(tenant);
    return at == tenants_.end() || at->second.orders.empty() ? nullptr : &at->second.orders.back();
}

std::vector<ErasureOrder> Erasures::after(const std::string& tenant, std::uint64_t number,
                                          std::size_t limit) const {
    const auto at = tenants_.find(tenant);
    if (at == tenants_.end() || number >= at->second.orders.size()) return {};
    const auto from = at->second.orders.begin() + static_cast<std::ptrdiff_t>(number);
    const auto left = static_cast<std::size_t>(at->second.orders.end() - from);
    return {from, from + static_cast<std::ptrdiff_t>(std::min(left, limit))};
}

const std::set<RecordId>& Erasures::subjects(const std::string& tenant) const {
    static const std::set<RecordId> none;
    const auto at = tenants_.find(tenant);
    return at == tenants_.end() ? none : at->second.subjects;
}

const ErasureOrder* Erasures::order_on(const std::string& tenant, const RecordId& subject) const {
    if (!subjects(tenant).contains(subject)) return nullptr;
    const std::vector<ErasureOrder>& orders = tenants_.at(tenant).orders;
    const auto on = [&](const ErasureOrder& order) { return order.subject == subject; };
    return &*std::find_if(orders.begin(), orders.end(), on);
}

bool Erasures::released(const std::string& tenant, const RecordId& record) const {
    const auto at = tenants_.find(tenant);
    return at != tenants_.end() && at->second.released.contains(record);
}

void Erasures::note_lacking(const std::string& tenant, std::uint64_t number) {
    Tenant& t = tenants_[tenant];
    if (number > t.orders.size()) t.lacking = std::max(t.lacking, number);
    lacking_ = lacking_ || t.lacking != 0;
}

std::uint64_t Erasures::lacking_up_to(const std::string& tenant) const {
    const auto at = tenants_.find(tenant);
    return at == tenants_.end() ? 0 : at->second.lacking;
}

std::string erasures_path(const std::string& store_path) { return store_path + ".erasures"; }

// ---- the seal

std::uint64_t Seal::mac(const std::string& text) const {
    const std::string digest = sha256_hex(key_ + sha256_hex(key_ + text));
    return std::stoull(digest.substr(0, 16), nullptr, 16);
}

std::uint64_t Seal::claim(const std::string& tenant, std::uint64_t number) const {
    return mac("claim\n" + tenant + "\n" + std::to_string(number));
}

std::uint64_t Seal::seal(const std::string& tenant, const ErasureOrder& order) const {
    return mac("order\n" + tenant + "\n" + std::to_string(order.number) + "\n" +
               std::to_string(order.kind) + "\n" + order.subject.text() + "\n" +
               std::to_string(order.issued_at_ms));
}

// ---- what it takes

namespace {

/// Everything stored that the order reaches, the subject first.
class Reach {
public:
    Reach(Round& round, Changeset& changes, const ErasureOrder& order)
        : round_(round), changes_(changes), subjects_{order.subject} {
        take(order.subject);
        // What names a contact is of its customer; the tasks of a person hang on their subject.
        if (StoredRecord* subject = changes_.find(order.subject)) {
            const bool is_customer = order.kind == kind_of<Customer>().number;
            StoredRecord* customer = is_customer              ? subject
                                     : subject->root.is_nil() ? nullptr
                                                              : changes_.find(subject->root);
            if (customer) look_under(changes_.standing(*customer).state.id);
        }
        for (std::size_t i = 0; i < found_.size(); ++i)
            for (const Kind* kind : all_kinds())
                if (kind->field("subject_id"))
                    for (const RecordId& id :
                         round_.tx.with_subject(changes_.tenant(), found_[i], kind->number))
                        take(id);
    }
    const std::vector<RecordId>& found() const { return found_; }
    const std::set<RecordId>& ids() const { return ids_; }

private:
    void look_under(const RecordId& customer) {
        constexpr std::size_t kReadAtOnce = 500;
        const auto find = [&](const RecordId& id) -> const RecordState* {
            const StoredRecord* record = changes_.find(id);
            return record ? &record->state : nullptr;
        };
        for (RecordId after;;) {
            const auto some = round_.tx.hanging_on(changes_.tenant(), customer, after, kReadAtOnce);
            if (some.empty()) return;
            after = some.back();
            for (const RecordId& id : some)
                if (reached(changes_.find(id)->state, subjects_, find)) take(id);
        }
    }
    void take(const RecordId& id) {
        if (ids_.insert(id).second) found_.push_back(id);
    }

    Round& round_;
    Changeset& changes_;
    const std::set<RecordId> subjects_;
    std::vector<RecordId> found_;
    std::set<RecordId> ids_;
};

std::vector<std::uint16_t> erasable_fields(const Kind& kind) {
    std::vector<std::uint16_t> numbers;
    for (const Field& field : kind.fields)
        if (erasable(field)) numbers.push_back(field.number);
    return numbers;
}

/// Has it anything that an order could take?
bool holds_words(const RecordState& state) {
    const Kind* kind = kind_numbered(state.kind);
    return std::any_of(state.fields.begin(), state.fields.end(), [&](const auto& entry) {
        const Field* field = kind ? kind->field(entry.first) : nullptr;
        return !entry.second.live.empty() && (!field || erasable(*field));
    });
}

/// Records as they are stored, each read once.
class Finder {
public:
    Finder(Transaction& tx, const std::string& tenant) : tx_(tx), tenant_(tenant) {}
    const RecordState* operator()(const RecordId& id) const {
        auto at = known_.find(id);
        if (at == known_.end()) at = known_.emplace(id, tx_.record(tenant_, id)).first;
        return at->second ? &at->second->state : nullptr;
    }
    /// What a recovery kept back for a person is not here, and yet it says what it is about.
    const RecordState* also_kept_back(const RecordId& id) const {
        if (const RecordState* stored = (*this)(id)) return stored;
        auto at = kept_back_.find(id);
        if (at == kept_back_.end()) {
            const auto bytes = tx_.kept_back(tenant_, id);
            at = kept_back_.emplace(id, bytes ? std::optional(decode_record(*bytes)) : std::nullopt)
                     .first;
        }
        return at->second ? &*at->second : nullptr;
    }
    /// Do orders about these subjects reach it?
    bool reached(const RecordState& state, const std::set<RecordId>& subjects) const {
        return rapport::reached(state, subjects,
                                [&](const RecordId& id) { return also_kept_back(id); });
    }

private:
    Transaction& tx_;
    const std::string& tenant_;
    mutable std::map<RecordId, std::optional<StoredRecord>> known_;
    mutable std::map<RecordId, std::optional<RecordState>> kept_back_;
};

constexpr const char* kScrubNote = "scrub_due";

void mark_erased(Changeset& changes, StoredRecord& record, Stamp stamp) {
    changes.write(record, "erased", Value(std::int64_t{1}), stamp);
    changes.touch(record);
}

/// The records of a bundle that `ids` reach: in them, naming one, or hanging on one of the bundle.
std::set<RecordId> reached_in(const Bundle& bundle, const std::set<RecordId>& subjects,
                              const std::set<RecordId>& ids) {
    std::set<RecordId> all;
    for (std::size_t before = SIZE_MAX; before != all.size();) {
        before = all.size();
        for (const Change& change : bundle.changes) {
            bool is = ids.contains(change.id);
            for (const RecordId& id : references_of(change)) is |= subjects.contains(id);
            for (const RecordId& id : parents_of(change))
                is |= ids.contains(id) || all.contains(id);
            if (is) all.insert(change.id);
        }
    }
    return all;
}

void scrub_late(Round& round) {
    round.tx.save_note(kScrubNote, "1");
    round.erased_late = true;
}

struct StripCount {
    std::size_t bundles = 0, notes = 0;
};
/// Takes what hangs on `ids`, or names a subject, out of stored bundles and of what recoveries kept
/// back.
StripCount strip_stored(Round& round, const std::string& tenant, Transaction::Which which,
                        const std::set<RecordId>& subjects, std::set<RecordId> ids,
                        const std::function<bool(const RecordId&)>& released) {
    StripCount count;
    // In the order they came, so what a bundle makes that was not applied is known to be reached
    // before the bundles that wait for it.
    round.tx.rewrite_bundles(tenant, which, [&](StoredBundle& stored) {
        if (stored.bytes.empty()) return false;
        Bundle bundle = decode_bundle(stored.bytes);
        const std::set<RecordId> in_it = reached_in(bundle, subjects, ids);
        if (in_it.empty()) return false;
        for (const RecordId& id : in_it)
            if (!ids.contains(id) && !round.tx.record(tenant, id)) ids.insert(id);
        bool any = false;
        for (Change& change : bundle.changes)
            if (in_it.contains(change.id) && !released(change.id)) any |= strip(change);
        if (any) stored.bytes = encode_bundle(bundle);
        any |= strip(stored.verdict.reasons);
        count.bundles += any ? 1U : 0U;
        return any;
    });
    const Finder find(round.tx, tenant);
    for (RecoveryNote& note : round.tx.recovery_notes(tenant)) {
        if (note.offered.empty()) continue;
        RecordState offered = decode_record(note.offered);
        bool is = ids.contains(offered.id) || find.reached(offered, subjects);
        for (const RecordId& id : parents_of(offered)) is |= ids.contains(id);
        if (!is || released(offered.id) || !strip(offered)) continue;
        note.offered = encode_record(offered);
        round.tx.save(note);
        ++count.notes;
    }
    return count;
}

}  // namespace

std::vector<RecordId> reached_by(Round& round, Changeset& changes, const ErasureOrder& order) {
    return Reach(round, changes, order).found();
}

Erased carry_out(Round& round, const Erasures& erasures, const Erasures::Line& line, bool fresh) {
    const ErasureOrder& order = line.order;
    const std::string& tenant = line.tenant;
    Erased erased;
    erased.number = order.number;
    Changeset changes(round, tenant, bundle_name(kServerWriter, round.tick()), kServerName);
    const Reach reach(round, changes, order);
    const Stamp stamp = round.tick();
    for (const RecordId& id : reach.found()) {
        StoredRecord* record = changes.find(id);
        const bool released = id != order.subject && erasures.released(tenant, id);
        if (!record || (released && !fresh)) continue;
        if (released) erased.released_before.push_back(id);
        ++erased.records;
        std::vector<std::pair<std::uint16_t, LiveValue>> taken;
        strip(record->state, &taken);
        if (!line.holds_texts || id == order.subject) round.tx.forget_held(tenant, id);
        for (auto& [field, live] : taken) {
            if (!line.holds_texts || id == order.subject || live.value.is_null()) continue;
            Write write;
            write.field = field;
            write.adds.push_back({live.key, std::move(live.value), live.stamp, live.capture});
            round.tx.hold(tenant, {id, record->state.kind, std::move(write), live.dot,
                                   round.name_of(live.dot.writer), round.now_ms()});
            ++erased.held;
        }
        const Kind& kind = *kind_numbered(record->state.kind);
        round.tx.forget_history(tenant, id, erasable_fields(kind));
        round.tx.save_external_ids(tenant, kind.number, id, {});
        // Nobody is left to be told.
        if (kind.number == kind_of<LoopTask>().number && order.kind == kind_of<Customer>().number &&
            shown_text(*record, "state") == "open")
            changes.write(*record, "state", Value("cancelled"), stamp);
        mark_erased(changes, *record, stamp);
    }
    changes.save();
    erased.bundles = strip_stored(round, tenant, Transaction::Which::all, {order.subject},
                                  reach.ids(), [](const RecordId&) { return false; })
                         .bundles;
    round.tx.save(tenant, StoredErasure{order, erased.records > 0 ? round.tx.feed_head(tenant)
                                                                  : round.tx.next_commit(tenant)});
    return erased;
}

void carry_out_late(Round& round, const std::string& tenant, const std::vector<RecordId>& records) {
    if (!round.erasures) return;
    const std::set<RecordId>& subjects = round.erasures->subjects(tenant);
    if (subjects.empty()) return;
    const Finder find(round.tx, tenant);
    std::set<RecordId> again, late;
    for (const RecordId& id : records) {
        const RecordState* state = find(id);
        if (!state || round.erasures->released(tenant, id) || !find.reached(*state, subjects))
            continue;
        late.insert(id);
        if (!holds_words(*state)) continue;
        for (const RecordId& subject : subjects)
            if (find.reached(*state, {subject})) again.insert(subject);
    }
    for (const Erasures::Line& line : round.erasures->lines())
        if (line.decided.is_nil() && line.tenant == tenant && again.contains(line.order.subject))
            carry_out(round, *round.erasures, line, false);
    if (!again.empty()) scrub_late(round);
    strip_kept(round, tenant, late);
}

void strip_kept(Round& round, const std::string& tenant, const std::set<RecordId>& reached) {
    if (!round.erasures || reached.empty()) return;
    const std::set<RecordId>& subjects = round.erasures->subjects(tenant);
    const auto [bundles, notes] = strip_stored(
        round, tenant, Transaction::Which::not_applied, subjects, reached, [&](const RecordId& id) {
            return round.erasures->released(tenant, id) && !subjects.contains(id);
        });
    if (bundles + notes > 0) scrub_late(round);
}

Stripped strip(Transaction& tx, const Erasures& erasures, const Device& device, Bundle& bundle,
               std::int64_t now_ms) {
    Stripped stripped;
    const std::set<RecordId>& subjects = erasures.subjects(device.tenant);
    if (subjects.empty()) return stripped;
    const Finder find(tx, device.tenant);
    std::set<RecordId> stored;  // of those the bundle changes or hangs on
    const auto look_at = [&](const RecordId& id) {
        const RecordState* state = find.also_kept_back(id);
        if (subjects.contains(id) || (state && find.reached(*state, subjects))) stored.insert(id);
    };
    const auto look_into = [&](const Bundle& at) {
        for (const Change& change : at.changes) {
            look_at(change.id);
            for (const RecordId& id : parents_of(change)) look_at(id);
        }
        return reached_in(at, subjects, stored);
    };
    // Of a record that is not here the bundle says what it hangs on that makes it, and that was not
    // applied either.
    std::set<std::uint64_t> behind(bundle.needs.begin(), bundle.needs.end());
    std::vector<Bundle> needed;  // newest first
    while (!behind.empty()) {
        const auto counter = behind.extract(std::prev(behind.end())).value();
        const auto kept = tx.bundle(device.writer, counter);
        if (!kept || kept->bytes.empty() || kept->verdict.verdict == Verdict::applied) continue;
        needed.push_back(decode_bundle(kept->bytes));
        behind.insert(needed.back().needs.begin(), needed.back().needs.end());
    }
    for (auto earlier = needed.rbegin(); earlier != needed.rend(); ++earlier)
        for (const RecordId& id : look_into(*earlier))
            if (!find(id)) stored.insert(id);
    stripped.reached = look_into(bundle);
    for (Change& change : bundle.changes) {
        // What hangs on a record whose words are shown is shown as well.
        bool released = erasures.released(device.tenant, change.id);
        for (const RecordId& id : parents_of(change))
            released |= erasures.released(device.tenant, id);
        if (!stripped.reached.contains(change.id) || (released && !subjects.contains(change.id)))
            continue;
        std::vector<Write> taken;
        stripped.anything |= strip(change, &taken);
        if (subjects.contains(change.id)) continue;
        for (Write& write : taken)
            stripped.held.push_back({change.id,
                                     change.kind,
                                     std::move(write),
                                     {device.writer, bundle.counter},
                                     device.rep,
                                     now_ms});
    }
    // Of a record that is not here nothing is left to wait for.
    std::erase_if(bundle.changes, [&](const Change& change) {
        return stripped.reached.contains(change.id) && change.writes.empty() && !change.create &&
               !find(change.id);
    });
    return stripped;
}

bool strip(Transaction& tx, const Erasures& erasures, const std::string& tenant,
           RecordState& witnessed) {
    const std::set<RecordId>& subjects = erasures.subjects(tenant);
    if (subjects.empty()) return false;
    const Finder find(tx, tenant);
    if (!find.reached(witnessed, subjects)) return false;
    if (erasures.released(tenant, witnessed.id) && !subjects.contains(witnessed.id)) return false;
    const Kind* kind = kind_numbered(witnessed.kind);
    witnessed.fields.erase_if([&](const auto& entry) {
        const Field* field = kind ? kind->field(entry.first) : nullptr;
        return !field || erasable(*field);
    });
    return true;
}

void hold(Transaction& tx, const std::string& tenant, const Stripped& stripped) {
    for (const HeldText& text : stripped.held) {
        // A bundle that comes again is held once.
        const auto same = [&](const HeldText& other) {
            return other.write.field == text.write.field && other.write.adds == text.write.adds;
        };
        const auto held = tx.held_texts(tenant, text.record);
        if (std::none_of(held.begin(), held.end(), same)) tx.hold(tenant, text);
    }
}

// ---- between a device and the centre

namespace {

constexpr const char* kKeyNote = "erasure_key";
std::string done_note(std::uint64_t writer) { return "erasures_done/" + std::to_string(writer); }
std::string lacking_note(const std::string& tenant) { return "erasures_lacking/" + tenant; }

Seal seal_of(Transaction& tx) { return Seal(tx.note(kKeyNote).value_or("")); }

/// Returns whether anything was held.
bool settle_held(Round& round, const std::string& tenant, const RecordId& id, bool release) {
    const auto held = round.tx.held_texts(tenant, id);
    if (held.empty()) return false;
    Changeset changes(round, tenant, bundle_name(kServerWriter, round.tick()), kServerName);
    StoredRecord* record = changes.find(id);
    if (release && record) {
        const Kind& kind = *kind_numbered(record->state.kind);
        for (const HeldText& text : held) {
            const Field* field = kind.field(text.write.field);
            if (!field) continue;
            // Its counter may count as merged already: from before it was taken, or by an edit that
            // followed it.
            const FieldState& state = record->state.fields[field->number];
            const bool merged = state.merged_up_to(text.dot.writer) >= text.dot.counter;
            changes.merge(*record, *field, text.write,
                          merged ? Dot{kServerWriter, round.tick()} : text.dot);
        }
        changes.touch(*record);
        changes.save();
    }
    round.tx.forget_held(tenant, id);
    return true;
}

}  // namespace

std::uint64_t erasures_done_by(Transaction& tx, std::uint64_t writer) {
    const auto note = tx.note(done_note(writer));
    return note ? decode<std::uint64_t>(*note) : 0;
}

std::optional<protocol::Reply> settle_erasures(Round& round, const Device& device,
                                               const protocol::Request& request) {
    Erasures& erasures = *round.erasures;
    const std::string& tenant = device.tenant;
    const auto highest = [&] {
        const ErasureOrder* order = erasures.highest(tenant);
        return order ? order->number : 0;
    };
    if (request.erasures > highest()) {
        const Seal seal = seal_of(round.tx);
        if (request.erasures_claim != seal.claim(tenant, request.erasures))
            throw Error(ErrorCode::protocol_violated,
                        "the request names an erasure order this server never gave");
        for (const ErasureOrder& order : request.handed) {
            if (order.number != highest() + 1) continue;
            if (order.seal != seal.seal(tenant, order))
                throw Error(ErrorCode::protocol_violated,
                            "the request hands back an erasure order this server never gave");
            erasures.append({tenant, order, false, {}, false});
            carry_out(round, erasures, erasures.lines().back(), true);
            round.tx.save_note(kScrubNote, "1");
        }
        if (request.erasures > highest()) {
            erasures.note_lacking(tenant, request.erasures);
            round.tx.save_note(lacking_note(tenant), encode(request.erasures));
            protocol::Reply reply;
            reply.outcome = protocol::Outcome::erasures_wanted;
            reply.next = request.next;
            reply.server_time_ms = round.now_ms();
            reply.erasures_known = highest();
            return reply;
        }
    }
    if (erasures.lacking_up_to(tenant) != 0)
        throw Error(ErrorCode::cancelled, "erasure orders are missing here; a device has them");
    if (highest() != 0 && erasures_done_by(round.tx, request.writer) != request.erasures)
        round.tx.save_note(done_note(request.writer), encode(request.erasures));
    return std::nullopt;
}

// ---- the engine's face

void Engine::carry_out_what_is_left() {
    if (erasures_ && erasures_done_ < erasures_->lines().size()) catch_up_with_erasures();
}

void Engine::catch_up_with_erasures() {
    const auto tx = storage_.begin_write();
    Round round(*tx, environment_, limits_, horizon_days_);
    round.erasures = erasures_;
    if (!tx->note(kKeyNote)) {
        std::array<std::uint8_t, 32> key{};
        environment_.random(key);
        tx->save_note(kKeyNote, {reinterpret_cast<const char*>(key.data()), key.size()});
    }
    std::map<std::string, std::set<std::uint64_t>> done;
    for (const std::string& tenant : tx->tenants()) {
        for (const StoredErasure& stored : tx->erasures(tenant)) {
            const ErasureOrder* last = erasures_->highest(tenant);
            // The file is an older one; the storage remembers.
            if (stored.order.number == (last ? last->number : 0) + 1)
                erasures_->append({tenant, stored.order, false, {}, false});
            done[tenant].insert(stored.order.number);
        }
        if (const auto lacking = tx->note(lacking_note(tenant)))
            erasures_->note_lacking(tenant, decode<std::uint64_t>(*lacking));
    }
    bool any = false;
    for (const Erasures::Line& line : erasures_->lines()) {
        if (!line.decided.is_nil()) {
            const bool stands = erasures_->released(line.tenant, line.decided) == line.released;
            any |= stands && settle_held(round, line.tenant, line.decided, line.released);
        } else if (!done[line.tenant].contains(line.order.number)) {
            carry_out(round, *erasures_, line, false);
            any = true;
        }
    }
    if (any || tx->note(kScrubNote)) {
        tx->save_note(kScrubNote, "1");
        scrub_ = Scrub::all;
    }
    commit(round);
}

std::optional<Erased> Engine::erase(const std::string& tenant, const RecordId& subject,
                                    bool holds_texts) {
    if (!erasures_) throw Error(ErrorCode::invalid_argument, "this server keeps no erasure orders");
    carry_out_what_is_left();
    const auto tx = storage_.begin_write();
    Round round(*tx, environment_, limits_, horizon_days_);
    round.erasures = erasures_;
    Erasures::Line line{tenant, {}, holds_texts, {}, false};
    const ErasureOrder* given = erasures_->order_on(tenant, subject);
    const bool fresh = given == nullptr;
    if (given) {
        line.order = *given;
    } else {
        const auto record = tx->record(tenant, subject);
        if (!record || (record->state.kind != kind_of<Contact>().number &&
                        record->state.kind != kind_of<Customer>().number))
            return std::nullopt;
        const Seal seal = seal_of(*tx);
        const ErasureOrder* last = erasures_->highest(tenant);
        line.order = {
            (last ? last->number : 0) + 1, record->state.kind, subject, round.now_ms(), 0, 0};
        line.order.seal = seal.seal(tenant, line.order);
        line.order.claim = seal.claim(tenant, line.order.number);
        erasures_->append(line);
    }
    const Erased erased = carry_out(round, *erasures_, line, fresh);
    for (const RecordId& id : erased.released_before)
        erasures_->append({tenant, {}, false, id, false});
    tx->save_note(kScrubNote, "1");
    commit(round);
    scrub_ = Scrub::all;
    return erased;
}

bool Engine::decide_held(const std::string& tenant, const RecordId& record, bool release) {
    if (!erasures_) throw Error(ErrorCode::invalid_argument, "this server keeps no erasure orders");
    carry_out_what_is_left();
    const auto tx = storage_.begin_write();
    Round round(*tx, environment_, limits_, horizon_days_);
    round.erasures = erasures_;
    if (tx->held_texts(tenant, record).empty()) return false;
    if (release && !tx->record(tenant, record)) return false;
    erasures_->append({tenant, {}, false, record, release});
    settle_held(round, tenant, record, release);
    tx->save_note(kScrubNote, "1");
    commit(round);
    scrub_ = Scrub::all;
    return true;
}

bool Engine::scrub() {
    if (scrub_ == Scrub::done) return true;
    const bool clean = storage_.scrub(scrub_ == Scrub::log);
    scrub_ = Scrub::log;
    if (!clean) return false;
    const auto tx = storage_.begin_write();
    tx->forget_note(kScrubNote);
    tx->commit();
    scrub_ = Scrub::done;
    return true;
}

}  // namespace rapport::server
