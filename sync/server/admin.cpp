// SPDX-License-Identifier: Apache-2.0
#include "server/admin.hpp"

#include <algorithm>
#include <charconv>
#include <exception>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "model/bundle.hpp"
#include "model/clock.hpp"
#include "model/hash.hpp"
#include "model/json.hpp"
#include "model/refusals.hpp"
#include "model/state.hpp"
#include "model/validation.hpp"
#include "protocol/messages.hpp"
#include "rapport/error.hpp"
#include "rapport/kinds/contact.hpp"
#include "rapport/kinds/loop_task.hpp"
#include "server/admission.hpp"
#include "server/auth/access.hpp"
#include "server/erasure.hpp"
#include "server/feed.hpp"
#include "server/scopes.hpp"
#include "server/subject_export.hpp"

namespace rapport::server::admin {

namespace {

using Json = nlohmann::ordered_json;

constexpr std::size_t kLineBytesMax = 1U << 20;  // of an import; a record's limits are far below
constexpr std::size_t kScanRecords = 1000;       // read at once when all records are looked at
constexpr std::string_view kDefaultTenant = "default";

/// Writes the lines of an answer.
class Answer {
public:
    explicit Answer(const Emit& emit) : emit_(emit) {}
    void columns(std::initializer_list<const char*> names) {
        send("columns", Json(std::vector<std::string>(names.begin(), names.end())));
    }
    void row(Json cells) { send("row", std::move(cells)); }
    void say(const std::string& text) { send("say", text); }
    void complain(const std::string& text) { send("complain", text); }
    void progress(std::size_t lines) { send("progress", lines); }

private:
    void send(const char* name, Json value) {
        Json line;
        line[name] = std::move(value);
        emit_(line.dump(-1, ' ', false, Json::error_handler_t::replace));
    }
    const Emit& emit_;
};

/// The members of a request. What is missing or of the wrong type throws Error(invalid_argument),
/// which names it.
class Members {
public:
    explicit Members(std::string_view json) : tree_(Json::parse(json, nullptr, false)) {
        if (!tree_.is_object()) fail("the request is not a JSON object");
    }
    std::string text(const char* name) const {
        const auto it = tree_.find(name);
        if (it == tree_.end() || !it->is_string() || it->get_ref<const std::string&>().empty())
            fail(std::string(name) + " is missing");
        return it->get<std::string>();
    }
    std::string text_or(const char* name, std::string_view otherwise) const {
        return tree_.contains(name) ? text(name) : std::string(otherwise);
    }
    std::int64_t number_or(const char* name, std::int64_t otherwise) const {
        const auto it = tree_.find(name);
        if (it == tree_.end()) return otherwise;
        if (!it->is_number_integer()) fail(std::string(name) + " is not a number");
        return it->get<std::int64_t>();
    }
    std::vector<std::string> texts(const char* name) const {
        std::vector<std::string> out;
        const auto it = tree_.find(name);
        if (it == tree_.end() || !it->is_array()) fail(std::string(name) + " is missing");
        for (const Json& each : *it) {
            if (!each.is_string()) fail(std::string(name) + " holds something that is no text");
            out.push_back(each.get<std::string>());
        }
        return out;
    }
    bool flag(const char* name) const {
        const auto it = tree_.find(name);
        if (it == tree_.end()) return false;
        if (!it->is_boolean()) fail(std::string(name) + " is not true or false");
        return it->get<bool>();
    }
    Role role(const char* name) const {
        const auto role = role_named(text(name));
        if (!role) fail("the role is unknown");
        return *role;
    }

private:
    [[noreturn]] static void fail(const std::string& sentence) {
        throw Error(ErrorCode::invalid_argument, sentence);
    }
    Json tree_;
};

std::string time_text(std::int64_t unix_ms) {
    return Instant(TimePoint(Milliseconds(unix_ms))).rfc3339();
}

std::string joined(const std::vector<std::string>& parts, const char* with) {
    std::string out;
    for (const std::string& part : parts) out += (out.empty() ? "" : with) + part;
    return out;
}

// ---- rights

int invite_rep(const Host& host, const Members& in, Answer& out) {
    Invitee invitee;
    invitee.tenant = in.text_or("tenant", kDefaultTenant);
    invitee.rep = in.text("rep");
    invitee.role = in.role("role");
    invitee.scopes = in.texts("scopes");
    invitee.days = in.number_or("days", kInvitationDays);
    std::string code;
    host.with_engine([&](Engine&) {
        const auto transaction = host.storage.begin_write();
        code = invite(*transaction, host.environment, invitee);
        transaction->commit();
    });
    out.say("Invitation for " + invitee.rep + " as " + std::string(name_of(invitee.role)) + " in " +
            joined(invitee.scopes, ", ") + ", valid " + std::to_string(invitee.days) +
            " days, for one device: " + code);
    return 0;
}

int add_key(const Host& host, const Members& in, Answer& out) {
    const std::string tenant = in.text_or("tenant", kDefaultTenant);
    const Role role = in.role("role");
    std::string secret;
    host.with_engine([&](Engine&) {
        const auto transaction = host.storage.begin_write();
        secret = add_api_key(*transaction, host.environment, tenant, role);
        transaction->commit();
    });
    out.say("Key with role " + std::string(name_of(role)) + " for tenant " + tenant +
            ", shown only this once: " + secret);
    return 0;
}

int list_keys(const Host& host, const Members&, Answer& out) {
    out.columns({"name", "tenant", "role", "created_at", "revoked"});
    for (const ApiKey& key : host.storage.begin_read()->api_keys())
        out.row({name_of(key), key.tenant, name_of(key.role), time_text(key.created_at_ms),
                 key.revoked});
    return 0;
}

int revoke_key(const Host& host, const Members& in, Answer& out) {
    const std::string name = in.text("name");
    int code = 1;
    host.with_engine([&](Engine&) {
        const auto transaction = host.storage.begin_write();
        for (ApiKey& key : transaction->api_keys()) {
            if (name_of(key) != name) continue;
            key.revoked = true;
            transaction->save(key);
            code = 0;
        }
        transaction->commit();
    });
    if (code == 0)
        out.say("Key " + name + " is revoked.");
    else
        out.complain("There is no key " + name + "; `rapportd key list` shows their names.");
    return code;
}

int list_devices(const Host& host, const Members&, Answer& out) {
    out.columns({"writer", "tenant", "rep", "role", "scopes", "file", "enrolled_at", "last_seen_at",
                 "receipt", "revoked", "parent"});
    for (const Device& device : host.storage.begin_read()->devices()) {
        const Json parent = device.parent == 0 ? Json() : Json(std::to_string(device.parent));
        out.row({std::to_string(device.writer), device.tenant, device.rep, name_of(device.role),
                 joined(device.scopes, " "), device.file_id, time_text(device.enrolled_at_ms),
                 time_text(device.last_seen_ms), device.receipt, device.revoked, parent});
    }
    return 0;
}

std::int64_t now_ms(const Host& host) {
    return host.environment.now().at.time_since_epoch().count();
}

std::uint64_t writer_called(const std::string& name) {
    std::uint64_t writer = 0;
    const auto [end, fault] = std::from_chars(name.data(), name.data() + name.size(), writer);
    if (fault != std::errc() || end != name.data() + name.size())
        throw Error(ErrorCode::invalid_argument,
                    "a writer is a number, as `rapportd devices` shows it");
    return writer;
}

int set_scopes(const Host& host, const Members& in, Answer& out) {
    const std::string name = in.text("writer");
    const std::uint64_t writer = writer_called(name);
    Invitee checked;
    checked.scopes = in.texts("scopes");
    bool found = false;
    host.with_engine([&](Engine&) {
        const auto transaction = host.storage.begin_write();
        const auto device = transaction->device(writer);
        if (!device) return;
        checked.rep = device->rep;
        checked.role = device->role;
        if (const auto fault = fault_of(checked)) throw Error(ErrorCode::invalid_argument, *fault);
        give_scopes(*transaction, *device, checked.scopes, now_ms(host));
        transaction->commit();
        found = true;
    });
    if (!found) {
        out.complain("There is no device " + name + "; `rapportd devices` shows them.");
        return 1;
    }
    out.say("Device " + name + " has " + joined(checked.scopes, ", ") +
            " from its next sync on; what it loses it removes.");
    return 0;
}

int revoke_device(const Host& host, const Members& in, Answer& out) {
    const std::string name = in.text("writer");
    const std::uint64_t writer = writer_called(name);
    std::vector<std::string> revoked;
    host.with_engine([&](Engine&) {
        const auto transaction = host.storage.begin_write();
        // A forked device is revoked with the one it came from; a child is never its own ancestor.
        std::set<std::uint64_t> chosen{writer};
        auto devices = transaction->devices();
        for (bool grown = true; grown;) {
            grown = false;
            for (const Device& device : devices)
                if (device.parent != 0 && chosen.count(device.parent) != 0)
                    grown |= chosen.insert(device.writer).second;
        }
        for (Device& device : devices) {
            if (chosen.count(device.writer) == 0) continue;
            device.revoked = true;
            transaction->save(device);
            transaction->save_revocation(device.writer, now_ms(host));
            revoked.push_back(std::to_string(device.writer));
        }
        transaction->commit();
    });
    if (revoked.empty()) {
        out.complain("There is no device " + name + "; `rapportd devices` shows them.");
        return 1;
    }
    for (const std::string& each : revoked)
        out.say("Device " + each + " is revoked; what it captured it may hand in.");
    return 0;
}

// ---- territories

bool stopping(const Host& host) { return host.stopping != nullptr && host.stopping->load(); }

/// By its id, or `@system:id` as another system calls it.
std::optional<RecordId> record_called(const Host& host, const std::string& tenant, const Kind& kind,
                                      const std::string& name) {
    if (const auto id = RecordId::parse(name)) return id;
    const std::size_t colon = name.find(':');
    if (name.empty() || name.front() != '@' || colon == std::string::npos)
        throw Error(
            ErrorCode::invalid_argument,
            "a " + kind.name + " is named by its id, or as @erp:10023 by that of another system");
    return host.storage.begin_read()->by_external_id(tenant, kind.number, name.substr(1, colon - 1),
                                                     name.substr(colon + 1));
}

int hand_over(const Host& host, const Members& in, Answer& out) {
    const std::string tenant = in.text_or("tenant", kDefaultTenant);
    Engine::HandOver wanted;
    wanted.to = in.text("to");
    wanted.from = in.text_or("from", "");
    const std::string customer = in.text_or("customer", "");
    if (customer.empty() == wanted.from.empty())
        throw Error(ErrorCode::invalid_argument,
                    "name either a customer or the territory it is from");
    if (!customer.empty()) {
        const auto id = record_called(host, tenant, kind_of<Customer>(), customer);
        if (!id) {
            out.complain("There is no customer " + customer + ".");
            return 1;
        }
        wanted.customer = *id;
    }
    std::optional<Refusal> refused;
    host.with_engine([&](Engine& engine) { refused = engine.begin(tenant, wanted); });
    if (refused) {
        out.complain(refused->sentence);
        return 1;
    }
    std::size_t moved = 0;
    for (bool more = true; more;) {
        if (stopping(host)) {
            out.complain("The server is stopping; it goes on with the rest when it starts again.");
            return 1;
        }
        host.with_engine([&](Engine& engine) {
            const std::size_t looked_at = engine.carry_on();
            moved += looked_at;
            more = looked_at > 0;
        });
        out.progress(moved);
    }
    const auto devices = host.storage.begin_read()->devices();
    if (std::none_of(devices.begin(), devices.end(), [&](const Device& device) {
            return device.tenant == tenant && !device.revoked && device.role == Role::rep &&
                   reaches(device, wanted.to);
        }))
        out.complain("No rep's device has " + wanted.to + " yet.");
    out.say((customer.empty() ? "The customers of " + wanted.from : "Customer " + customer) +
            " and what hangs on them live in " + wanted.to + " now.");
    return 0;
}

// ---- files

/// Lines of a text file with their numbers. A line above the bound comes out empty with `too_long`
/// set, so that memory stays flat whatever the file holds.
class LineReader {
public:
    explicit LineReader(const std::string& path) : file_(path, std::ios::binary) {
        if (!file_ || std::filesystem::is_directory(path))
            throw Error(ErrorCode::not_found, "the file cannot be read: " + path);
    }
    bool next() {
        line.clear();
        too_long = false;
        ++number;
        std::streambuf& buffer = *file_.rdbuf();
        bool any = false;
        for (int c = buffer.sbumpc(); c != std::char_traits<char>::eof(); c = buffer.sbumpc()) {
            any = true;
            if (c == '\n') break;
            if (line.size() < kLineBytesMax)
                line += static_cast<char>(c);
            else
                too_long = true;
        }
        if (number == 1 && line.substr(0, 3) == "\xEF\xBB\xBF") line.erase(0, 3);
        if (!line.empty() && line.back() == '\r') line.pop_back();
        if (too_long) line.clear();
        return any;
    }
    bool blank() const { return !too_long && line.find_first_not_of(" \t") == std::string::npos; }

    std::string line;
    std::size_t number = 0;
    bool too_long = false;

private:
    std::ifstream file_;
};

void complain_about(Answer& out, std::size_t line, const std::vector<Refusal>& refusals) {
    for (const Refusal& refusal : refusals)
        out.complain("line " + std::to_string(line) + ": " +
                     (refusal.field.empty() ? "" : refusal.field + ": ") + refusal.sentence);
}

std::vector<std::pair<std::string, std::string>> external_ids_of(const Record& record) {
    std::vector<std::pair<std::string, std::string>> out;
    for (const Item& item : record.shown("external_ids"))
        if (const Parts* parts = item.value.parts();
            parts && parts->size() == 2 && (*parts)[0].text() && (*parts)[1].text())
            out.emplace_back(*(*parts)[0].text(), *(*parts)[1].text());
    return out;
}

/// Reference data from a file, in commits of kImportLinesMax.
class Import {
public:
    Import(const Host& host, std::string tenant, Answer& out)
        : host_(host), tenant_(std::move(tenant)), out_(out) {}

    int run(const std::string& path) {
        LineReader reader(path);
        while (reader.next()) {
            if (reader.blank()) continue;
            if (stopping(host_)) {
                out_.complain(
                    "The server is stopping; " + std::to_string(written_) +
                    " records are in. Import the file again, what is there is recognised.");
                return 1;
            }
            if (reader.too_long)
                refuse(reader.number, {refusal({}, "", "too_long", {"line"})});
            else
                take(reader.number, reader.line);
            if (chunk_.size() == kImportLinesMax) {
                write();
                out_.progress(reader.number);
            }
        }
        write();
        out_.say(std::to_string(written_) + " records imported, " + std::to_string(refused_) +
                 " lines refused.");
        return refused_ == 0 ? 0 : 1;
    }

private:
    struct Pending {
        std::size_t line;
        std::string ref;
    };

    void take(std::size_t number, const std::string& text) {
        ImportLine line = parse_import_line(
            text, [this](std::string_view reference) { return resolve(reference); });
        if (line.no_record) return;
        Record& record = line.record;
        if (line.refusals.empty() && !line.ref.empty() &&
            (refs_.count(line.ref) != 0 || fresh_refs_.count(line.ref) != 0))
            line.refusals.push_back(refusal(record.id, "ref", "ref_used"));
        if (!line.refusals.empty()) return refuse(number, line.refusals);
        if (!line.ref.empty()) fresh_refs_.insert(line.ref);
        for (const auto& [system, id] : external_ids_of(record))
            fresh_external_.insert(system + ":" + id);
        pending_.push_back({number, line.ref});
        chunk_.push_back(std::move(record));
    }

    /// What an earlier line of the same commit brings has no id before the commit.
    std::optional<RecordId> resolve(std::string_view reference) {
        if (!reference.empty() && reference.front() == '@') reference.remove_prefix(1);
        const std::string name(reference);
        const std::size_t colon = name.find(':');
        if (colon == std::string::npos) {
            if (fresh_refs_.count(name) != 0) write();
            const auto known = refs_.find(name);
            return known == refs_.end() ? std::nullopt : std::optional(known->second);
        }
        if (fresh_external_.count(name) != 0) write();
        if (!snapshot_) snapshot_ = host_.storage.begin_read();
        for (const Kind* kind : all_kinds())
            if (kind->field("external_ids") != nullptr)
                if (const auto id = snapshot_->by_external_id(
                        tenant_, kind->number, name.substr(0, colon), name.substr(colon + 1)))
                    return id;
        return std::nullopt;
    }

    void write() {
        snapshot_.reset();
        if (chunk_.empty()) return;
        std::vector<Engine::Written> results;
        host_.with_engine(
            [&](Engine& engine) { results = engine.write_as_server(tenant_, chunk_); });
        for (std::size_t i = 0; i < results.size(); ++i) {
            if (!results[i].refusals.empty()) {
                refuse(pending_[i].line, results[i].refusals);
                continue;
            }
            ++written_;
            if (!pending_[i].ref.empty()) refs_.emplace(pending_[i].ref, results[i].id);
        }
        chunk_.clear();
        pending_.clear();
        fresh_refs_.clear();
        fresh_external_.clear();
    }

    void refuse(std::size_t line, const std::vector<Refusal>& refusals) {
        ++refused_;
        complain_about(out_, line, refusals);
    }

    const Host& host_;
    const std::string tenant_;
    Answer& out_;
    std::vector<Record> chunk_;
    std::vector<Pending> pending_;
    std::unordered_set<std::string> fresh_refs_, fresh_external_;  // of the chunk
    std::unordered_map<std::string, RecordId> refs_;               // of the file
    std::unique_ptr<Transaction> snapshot_;                        // since the last commit
    std::size_t written_ = 0, refused_ = 0;
};

int import_file(const Host& host, const Members& in, Answer& out) {
    return Import(host, in.text_or("tenant", kDefaultTenant), out).run(in.text("path"));
}

/// The unsent work of a device that cannot send any more, from `rapport export --unsent`.
///
/// It takes the way of every capture: a device row without a credential stands in for the author's,
/// so that the same rights, checks and merge rules decide. It has seen nothing, so where the centre
/// has another value both stay, as a conflict. The same file accepted again is recognised by its
/// capture ids.
class Acceptance {
public:
    Acceptance(const Host& host, std::string tenant, std::string rep, Answer& out)
        : host_(host), tenant_(std::move(tenant)), rep_(std::move(rep)), out_(out) {}

    int run(const std::string& path) {
        LineReader reader(path);
        out_.columns({"line", "kind", "id", "author", "outcome", "detail"});
        while (reader.next()) {
            if (reader.blank()) continue;
            if (stopping(host_))
                throw Error(ErrorCode::cancelled, "the server is stopping; accept the file again");
            ImportLine line =
                parse_import_line(reader.line, [](std::string_view) { return std::nullopt; });
            if (reader.too_long) line.refusals = {refusal({}, "", "too_long", {"line"})};
            if (line.no_record) continue;
            take({reader.number, std::move(line.record)}, std::move(line.refusals), false);
        }
        // Records that name one from further down the file.
        for (const Handed& handed : std::exchange(waiting_, {})) take(handed, {}, true);
        return open_ == 0 ? 0 : 1;
    }

private:
    struct Handed {
        std::size_t line;
        Record record;
    };

    void take(Handed handed, std::vector<Refusal> refusals, bool again) {
        Record& record = handed.record;
        if (refusals.empty() && record.id.is_nil())
            refusals.push_back(refusal({}, "id", "required", {"handed_over"}));
        for (auto& [number, content] : record.fields)
            if (refusals.empty())
                check_content(*record.kind->field(number), record.id, content, Limits{}, refusals);
        const std::string* created_by = record.kind ? record.value("created_by").text() : nullptr;
        const std::string author = !rep_.empty() ? rep_ : created_by ? *created_by : std::string();
        if (refusals.empty() && author.empty())
            refusals.push_back(refusal(record.id, "created_by", "required", {"author"}));
        if (!refusals.empty()) return report(handed, author, "refused", refusals);

        bool known = false, applied = true;
        std::vector<Refusal> waits;
        host_.with_engine([&](Engine& engine) {
            const auto stored = host_.storage.begin_read()->record(tenant_, record.id);
            known = stored.has_value();
            Change change = change_of(record, stored);
            if (known && change.writes.empty()) return;
            const auto device = stand_in(author);
            if (!device) {
                refusals.push_back(refusal(record.id, "", "not_author", {"unknown"}));
                return;
            }
            const protocol::BundleVerdict verdict =
                send(engine, *device, record, std::move(change));
            applied = verdict.verdict == Verdict::applied;
            if (!applied) (verdict.verdict == Verdict::later ? waits : refusals) = verdict.reasons;
        });
        if (!refusals.empty()) return report(handed, author, "refused", refusals);
        if (!applied && !again) return waiting_.push_back(std::move(handed));
        if (!applied) return report(handed, author, "waits", waits);
        if (!known) return report(handed, author, "created", {});
        std::vector<Refusal> conflicts;
        if (const auto stored = host_.storage.begin_read()->record(tenant_, record.id))
            for (const auto& [number, state] : stored->state.fields)
                if (const Field* field = record.kind->field(number);
                    field && record.fields.count(number) && conflicted(*field, state))
                    conflicts.push_back(refusal(record.id, field->name, "conflict"));
        report(handed, author, conflicts.empty() ? "known" : "conflict", conflicts);
    }

    void report(const Handed& handed, const std::string& author, const std::string& outcome,
                const std::vector<Refusal>& why) {
        std::vector<std::string> sentences;
        for (const Refusal& refusal : why)
            sentences.push_back((refusal.field.empty() ? "" : refusal.field + ": ") +
                                refusal.sentence);
        if (outcome == "refused" || outcome == "waits") ++open_;
        const Record& record = handed.record;
        out_.row({handed.line, record.kind ? Json(record.kind->name) : Json(),
                  record.id.is_nil() ? Json() : Json(record.id.text()),
                  author.empty() ? Json() : Json(author), outcome, joined(sentences, " ")});
    }

    /// What the record holds and the centre does not show.
    Change change_of(const Record& record, const std::optional<StoredRecord>& stored) const {
        Change change;
        change.kind = record.kind->number;
        change.id = record.id;
        change.create = !stored;
        if (!stored && record.kind->home == Home::territory) change.scope = record.scope;
        const Record there = stored ? show(stored->state) : Record{};
        const auto created_at = record.value(common_field::created_at).integer();
        const Stamp stamp = HybridClock::at(
            created_at ? Instant::unpack(*created_at).at.time_since_epoch().count() : now_ms());
        for (const auto& [number, content] : record.fields) {
            const Field* field = record.kind->field(number);
            const auto present = there.fields.find(number);
            const Content shown = present == there.fields.end() ? Content{} : present->second;
            if (field->policy == Policy::owned || content == shown) continue;
            Write write;
            write.field = number;
            Content wanted = content;
            if (field->policy == Policy::keep_both && content.size() > 1)
                wanted = {{"", Value(text_of(content))}};
            for (const Item& item : wanted) {
                if (std::find(shown.begin(), shown.end(), item) != shown.end()) continue;
                const std::string key = field->is_keyed() ? item.key : std::string();
                write.adds.push_back(
                    {key, item.value, stamp, capture_of(record.id, number, key, item.value)});
            }
            if (!write.adds.empty()) change.writes.push_back(std::move(write));
        }
        return change;
    }

    static std::string text_of(const Content& siblings) {
        std::vector<std::string> texts;
        for (const Item& item : siblings)
            if (const std::string* text = item.value.text()) texts.push_back(*text);
        return joined(texts, "\n\n");
    }

    /// The same content of the same field always has the same name.
    static CaptureId capture_of(const RecordId& record, std::uint16_t field, const std::string& key,
                                const Value& value) {
        const std::string place =
            record.raw() + static_cast<char>(field >> 8) + static_cast<char>(field & 0xFF);
        return {hash64("accept" + place) | 1, hash64(place + key + canonical_bytes(value))};
    }

    /// The device row that stands in for the author's; made from the devices the author was given.
    /// nullopt: there are none.
    std::optional<Device> stand_in(const std::string& author) const {
        const auto transaction = host_.storage.begin_write();
        Device made;
        made.file_id = kFileId;
        for (const Device& device : transaction->devices()) {
            if (device.tenant != tenant_ || device.rep != author) continue;
            if (device.file_id == kFileId) return device;
            made.role = device.role;
            for (const std::string& scope : device.scopes)
                if (std::find(made.scopes.begin(), made.scopes.end(), scope) == made.scopes.end())
                    made.scopes.push_back(scope);
        }
        if (made.scopes.empty()) return std::nullopt;
        made.tenant = tenant_;
        made.rep = author;
        made.writer = unused_writer(*transaction, host_.environment);
        made.enrolled_at_ms = made.last_seen_ms = now_ms();
        transaction->save(made);
        transaction->commit();
        return made;
    }

    protocol::BundleVerdict send(Engine& engine, const Device& device, const Record& record,
                                 Change change) const {
        Bundle bundle;
        bundle.counter = device.receipt + 1;
        const auto schema = record.value(common_field::schema_version).integer();
        bundle.schema_version = static_cast<std::uint32_t>(schema ? *schema : kSchemaVersion);
        const auto created_at = record.value(common_field::created_at).integer();
        bundle.captured_at = created_at ? *created_at : host_.environment.now().packed();
        bundle.changes.push_back(std::move(change));

        protocol::Request request;
        request.writer = device.writer;
        if (!device.entries.empty())
            request.last = {device.entries.back().id, device.entries.back().answers.back().tag};
        while (request.next == 0) request.next = host_.environment.random64();
        request.limits_version = engine.limits().version;
        request.bundles.push_back(encode_bundle(bundle));
        const Engine::Answer answer = engine.sync(Engine::Call{device.writer, encode(request)});
        if (!answer.error_code.empty())
            throw Error(answer.error_code == name_of(ErrorCode::internal) ? ErrorCode::internal
                                                                          : ErrorCode::conflict,
                        answer.error_sentence);
        const auto reply = decode<protocol::Reply>(answer.archive);
        if (reply.verdicts.size() != 1)
            throw Error(ErrorCode::internal, "the engine gave no verdict");
        return reply.verdicts.front();
    }

    std::int64_t now_ms() const { return host_.environment.now().at.time_since_epoch().count(); }

    static constexpr const char* kFileId = "accept";
    const Host& host_;
    const std::string tenant_, rep_;
    Answer& out_;
    std::vector<Handed> waiting_;
    std::size_t open_ = 0;
};

int accept_file(const Host& host, const Members& in, Answer& out) {
    return Acceptance(host, in.text_or("tenant", kDefaultTenant), in.text_or("rep", ""), out)
        .run(in.text("path"));
}

// ---- what a person decides

Dot bundle_called(const Members& in) {
    const std::string name = in.text("bundle");
    const std::size_t dot = name.find('.');
    Dot bundle;
    const auto read = [](std::string_view digits, std::uint64_t& number) {
        const auto [end, fault] =
            std::from_chars(digits.data(), digits.data() + digits.size(), number);
        return fault == std::errc() && end == digits.data() + digits.size();
    };
    if (dot == std::string::npos || !read(std::string_view(name).substr(0, dot), bundle.writer) ||
        !read(std::string_view(name).substr(dot + 1), bundle.counter))
        throw Error(ErrorCode::invalid_argument,
                    "a bundle is WRITER.COUNTER, as `rapportd review list` shows it");
    return bundle;
}

Language language_called(const Members& in) {
    const auto language = language_named(in.text_or("lang", "en"));
    if (!language) throw Error(ErrorCode::invalid_argument, "the language is unknown");
    return *language;
}

std::string_view state_of(Verdict verdict) {
    return verdict == Verdict::review ? "review" : "refused";
}

int list_reviews(const Host& host, const Members& in, Answer& out) {
    const Language language = language_called(in);
    const bool refused = in.flag("refused");
    out.columns({"bundle", "rep", "received_at", "state", "records", "field", "code", "sentence"});
    const auto snapshot = host.storage.begin_read();
    snapshot->open_bundles(in.text_or("tenant", kDefaultTenant), [&](const StoredBundle& stored) {
        if (stored.verdict.verdict != Verdict::review && !refused) return;
        std::vector<std::string> kinds;
        for (const Change& change : decode_bundle(stored.bytes).changes) {
            const Kind* kind = kind_numbered(change.kind);
            kinds.push_back(kind ? kind->name : std::to_string(change.kind));
        }
        const auto device = snapshot->device(stored.writer);
        const Json name = bundle_name(stored.writer, stored.counter);
        const auto row = [&](const Refusal* reason) {
            out.row({name, device->rep, time_text(stored.received_at_ms),
                     state_of(stored.verdict.verdict), joined(kinds, ", "),
                     reason ? reason->field : "", reason ? reason->code : "",
                     reason ? sentence(*reason, language) : ""});
        };
        for (const Refusal& reason : stored.verdict.reasons) row(&reason);
        if (stored.verdict.reasons.empty()) row(nullptr);
    });
    return 0;
}

int no_such_bundle(const Members& in, Answer& out) {
    out.complain("There is no bundle " + in.text("bundle") +
                 " in review; `rapportd review list` shows those there are.");
    return 1;
}

std::string reason_json(const Refusal& reason, Language language) {
    Json line;
    line["record"] = reason.record.is_nil() ? Json() : Json(reason.record.text());
    line["field"] = reason.field;
    line["code"] = reason.code;
    line["sentence"] = sentence(reason, language);
    return Json{{"reason", line}}.dump(-1, ' ', false, Json::error_handler_t::replace);
}

/// What the bundle writes, a line per record, then the reasons.
int show_review(const Host& host, const Members& in, Answer& out) {
    const Language language = language_called(in);
    const Dot name = bundle_called(in);
    const std::string tenant = in.text_or("tenant", kDefaultTenant);
    const auto snapshot = host.storage.begin_read();
    const auto device = snapshot->device(name.writer);
    const auto stored = device && device->tenant == tenant
                            ? snapshot->bundle(name.writer, name.counter)
                            : std::nullopt;
    if (!stored) return no_such_bundle(in, out);
    for (const Change& change : decode_bundle(stored->bytes).changes) {
        Record record{kind_numbered(change.kind), change.id, change.scope, {}};
        if (const auto present = snapshot->record(tenant, change.id))
            record.scope = present->state.scope;
        for (const Write& write : change.writes)
            for (const Added& add : write.adds)
                record.fields[write.field].push_back({add.key, add.value});
        out.say(to_json(record, {{"change", change.create ? "\"create\"" : "\"update\""}}));
    }
    for (const Refusal& reason : stored->verdict.reasons) out.say(reason_json(reason, language));
    return 0;
}

int accept_review(const Host& host, const Members& in, Answer& out) {
    const Language language = language_called(in);
    const Dot name = bundle_called(in);
    std::optional<StoredVerdict> verdict;
    host.with_engine([&](Engine& engine) {
        verdict = engine.accept(in.text_or("tenant", kDefaultTenant), name);
    });
    if (!verdict) return no_such_bundle(in, out);
    for (const Refusal& reason : verdict->reasons)
        out.complain((reason.field.empty() ? "" : reason.field + ": ") +
                     sentence(reason, language) + " (" + reason.code + ")");
    const std::string bundle = "Bundle " + in.text("bundle");
    switch (verdict->verdict) {
        case Verdict::applied:
            out.say(bundle + " is applied; its device hears of it with its next sync.");
            return 0;
        case Verdict::refused:
            out.complain(bundle + " is refused; its device shows why.");
            return 1;
        default:
            out.complain(bundle + " stays in review: what it needs is still not here.");
            return 1;
    }
}

int reject_review(const Host& host, const Members& in, Answer& out) {
    const Dot name = bundle_called(in);
    const std::string reason = in.text("reason");
    bool found = false;
    host.with_engine([&](Engine& engine) {
        found = engine.reject(in.text_or("tenant", kDefaultTenant), name, reason);
    });
    if (!found) return no_such_bundle(in, out);
    out.say("Bundle " + in.text("bundle") + " is refused; its device shows the reason.");
    return 0;
}

// ---- after a restore

std::uint64_t note_called(const Members& in) {
    const std::string digits = in.text("note");
    std::uint64_t number = 0;
    const auto [end, fault] = std::from_chars(digits.data(), digits.data() + digits.size(), number);
    if (fault != std::errc() || end != digits.data() + digits.size())
        throw Error(ErrorCode::invalid_argument,
                    "a note is a number, as `rapportd recoveries` shows it");
    return number;
}

int list_recoveries(const Host& host, const Members& in, Answer& out) {
    out.columns({"note", "at", "writer", "rep", "kind", "id", "field", "code", "kept_back"});
    const auto snapshot = host.storage.begin_read();
    for (const RecoveryNote& note :
         snapshot->recovery_notes(in.text_or("tenant", kDefaultTenant))) {
        const Kind* kind = kind_numbered(note.kind);
        const auto device = snapshot->device(note.writer);
        out.row({std::to_string(note.id), time_text(note.at_ms), std::to_string(note.writer),
                 device ? Json(device->rep) : Json(), kind ? Json(kind->name) : Json(),
                 note.record.is_nil() ? Json() : Json(note.record.text()), note.field, note.code,
                 !note.offered.empty()});
    }
    return 0;
}

int no_such_note(const Members& in, Answer& out) {
    out.complain("There is no note " + in.text("note") +
                 " that this can be done with; `rapportd recoveries` shows those there are.");
    return 1;
}

int show_recovery(const Host& host, const Members& in, Answer& out) {
    const std::uint64_t number = note_called(in);
    for (const RecoveryNote& note :
         host.storage.begin_read()->recovery_notes(in.text_or("tenant", kDefaultTenant)))
        if (note.id == number && !note.offered.empty()) {
            out.say(to_json(show(decode_record(note.offered)), {}));
            return 0;
        }
    return no_such_note(in, out);
}

int accept_recovery(const Host& host, const Members& in, Answer& out) {
    const std::uint64_t number = note_called(in);
    bool done = false;
    host.with_engine([&](Engine& engine) {
        done = engine.accept_offered(in.text_or("tenant", kDefaultTenant), number);
    });
    if (!done) return no_such_note(in, out);
    out.say("What note " + in.text("note") + " kept back is joined.");
    return 0;
}

int dismiss_recovery(const Host& host, const Members& in, Answer& out) {
    const std::uint64_t number = note_called(in);
    bool done = false;
    host.with_engine([&](Engine& engine) {
        done = engine.dismiss_note(in.text_or("tenant", kDefaultTenant), number);
    });
    if (!done) return no_such_note(in, out);
    out.say("Note " + in.text("note") + " is gone.");
    return 0;
}

// ---- privacy

struct Subject {
    const Kind* kind;
    std::string name;
    RecordId id;
};

/// Those a command names; complains of those that are not there.
std::vector<Subject> subjects_called(const Host& host, const Members& in, Answer& out) {
    const std::string tenant = in.text_or("tenant", kDefaultTenant);
    std::vector<Subject> subjects;
    const auto add = [&](const Kind& kind, const std::string& name) {
        const auto id = record_called(host, tenant, kind, name);
        const auto stored = id ? host.storage.begin_read()->record(tenant, *id) : std::nullopt;
        if (stored && stored->state.kind == kind.number)
            subjects.push_back({&kind, name, *id});
        else
            out.complain("There is no " + kind.name + " " + name + ".");
    };
    for (const std::string& name : in.texts("contacts")) add(kind_of<Contact>(), name);
    for (const std::string& name : in.texts("customers")) add(kind_of<Customer>(), name);
    if (in.texts("contacts").empty() && in.texts("customers").empty())
        throw Error(ErrorCode::invalid_argument, "name a contact or a customer");
    return subjects;
}

int erase_subjects(const Host& host, const Members& in, Answer& out) {
    const std::string tenant = in.text_or("tenant", kDefaultTenant);
    const bool hold_texts = in.flag("hold_texts");
    const auto subjects = subjects_called(host, in, out);
    const bool all = subjects.size() == in.texts("contacts").size() + in.texts("customers").size();
    if (!all) return 1;  // an order cannot be taken back, so a misspelt one stops the others
    bool clean = true;
    for (const Subject& subject : subjects) {
        std::optional<Erased> erased;
        host.with_engine(
            [&](Engine& engine) { erased = engine.erase(tenant, subject.id, hold_texts); });
        if (!erased) throw Error(ErrorCode::conflict, "the record has just become another");
        out.say("Order " + std::to_string(erased->number) + ": " + subject.kind->name + " " +
                subject.id.text() + " erased in " + std::to_string(erased->records) +
                " records and " + std::to_string(erased->bundles) + " stored bundles, " +
                std::to_string(erased->held) + " texts held.");
    }
    host.with_engine([&](Engine& engine) { clean = engine.scrub(); });
    if (host.views != nullptr && std::filesystem::exists(host.views->folder()))
        while (!stopping(host) && host.views->step()) {
        }
    if (!clean)
        out.say("Somebody reads the database: its log is emptied as soon as they are done.");
    out.say("Devices erase with their next sync; `rapportd erasures` shows which have.");
    return 0;
}

int list_erasures(const Host& host, const Members& in, Answer& out) {
    const std::string tenant = in.text_or("tenant", kDefaultTenant);
    out.columns({"order", "kind", "id", "issued_at", "carried_out", "devices", "missing"});
    const auto snapshot = host.storage.begin_read();
    std::vector<Device> devices = snapshot->devices();
    std::erase_if(devices, [&](const Device& device) {
        return device.tenant != tenant || device.revoked || device.last_seen_ms == 0 ||
               device.credential_hash.empty();
    });
    std::vector<std::uint64_t> done;
    for (const Device& device : devices) done.push_back(erasures_done_by(*snapshot, device.writer));
    for (const StoredErasure& erasure : snapshot->erasures(tenant)) {
        std::vector<std::string> missing;
        for (std::size_t i = 0; i < devices.size(); ++i)
            if (done[i] < erasure.order.number)
                missing.push_back(devices[i].rep + " (" + std::to_string(devices[i].writer) + ")");
        const Kind* kind = kind_numbered(erasure.order.kind);
        out.row({erasure.order.number, kind ? kind->name : "", erasure.order.subject.text(),
                 time_text(erasure.order.issued_at_ms), devices.size() - missing.size(),
                 devices.size(), joined(missing, ", ")});
    }
    return 0;
}

int list_held(const Host& host, const Members& in, Answer& out) {
    out.columns({"id", "kind", "author", "received_at", "field", "text"});
    for (const HeldText& held :
         host.storage.begin_read()->held_texts(in.text_or("tenant", kDefaultTenant), RecordId{})) {
        const Kind* kind = kind_numbered(held.kind);
        const Field* field = kind ? kind->field(held.write.field) : nullptr;
        for (const Added& add : held.write.adds)
            out.row({held.record.text(), kind ? kind->name : "", held.author,
                     time_text(held.received_at_ms), field ? field->name : "",
                     field ? content_to_json(*field, {{add.key, add.value}}) : ""});
    }
    return 0;
}

int decide_held(const Host& host, const Members& in, Answer& out, bool release) {
    const std::string name = in.text("record");
    const auto id = RecordId::parse(name);
    bool found = false;
    if (id)
        host.with_engine([&](Engine& engine) {
            found = engine.decide_held(in.text_or("tenant", kDefaultTenant), *id, release);
            engine.scrub();
        });
    if (!found) {
        out.complain("Nothing is held of a record " + name + "; `rapportd held list` shows it.");
        return 1;
    }
    out.say(release ? "The words of " + name + " are shown again."
                    : "The words of " + name + " are erased.");
    return 0;
}
int release_held(const Host& host, const Members& in, Answer& out) {
    return decide_held(host, in, out, true);
}
int erase_held(const Host& host, const Members& in, Answer& out) {
    return decide_held(host, in, out, false);
}

int export_subjects(const Host& host, const Members& in, Answer& out) {
    const auto subjects = subjects_called(host, in, out);
    if (subjects.empty()) return 1;
    const auto snapshot = host.storage.begin_read();
    const Limits limits;
    Round round(*snapshot, host.environment, limits);
    for (const Subject& subject : subjects)
        export_subject(round, in.text_or("tenant", kDefaultTenant), subject.id,
                       [&](const std::string& line) { out.say(line); });
    return 0;
}

// ---- looking at it

/// How far the decisions have been told, by territory; with `open` those nobody has told yet.
int show_loop(const Host& host, const Members& in, Answer& out) {
    struct Told {
        std::size_t decided = 0, delivered = 0, seen = 0, told = 0, open = 0, nobody = 0;
    };
    const std::string tenant = in.text_or("tenant", kDefaultTenant);
    const bool list = in.number_or("open", 0) != 0;
    const Kind& kind = kind_of<LoopTask>();
    const auto snapshot = host.storage.begin_read();
    std::map<std::string, Told> territories;
    if (list) out.columns({"territory", "rep", "decided_at", "customer", "subject", "id"});
    for (const RecordId& id : snapshot->of_kind(tenant, kind.number)) {
        const auto stored = snapshot->record(tenant, id);
        if (!stored || stopping(host)) continue;
        const auto task = from_record<LoopTask>(show(stored->state));
        if (task.state == TaskState::cancelled) continue;
        Told& told = territories[stored->state.scope];
        ++told.decided;
        if (task.delivered_at) ++told.delivered;
        if (task.rep_seen_at) ++told.seen;
        if (task.told_at) {
            ++told.told;
            continue;
        }
        ++told.open;
        if (!task.rep_id) ++told.nobody;
        if (list)
            out.row({stored->state.scope, task.rep_id ? Json(*task.rep_id) : Json(),
                     task.created_at ? Json(task.created_at->rfc3339()) : Json(),
                     task.customer_id ? Json(task.customer_id->text()) : Json(),
                     task.subject_id ? Json(task.subject_id->text()) : Json(), id.text()});
    }
    if (list) return 0;
    out.columns({"territory", "decided", "delivered", "seen", "told", "open", "without_rep"});
    for (const auto& [territory, told] : territories)
        out.row({territory, told.decided, told.delivered, told.seen, told.told, told.open,
                 told.nobody});
    return 0;
}

int show_stats(const Host& host, const Members&, Answer& out) {
    out.columns({"tenant", "what", "name", "number"});
    const auto snapshot = host.storage.begin_read();
    const auto devices = snapshot->devices();
    for (const std::string& tenant : snapshot->tenants()) {
        std::map<std::uint16_t, std::size_t> conflicts;
        std::uint64_t after = 0;
        while (!stopping(host)) {
            const auto records = snapshot->feed(tenant, after, kScanRecords);
            if (records.empty()) break;
            for (const StoredRecord& record : records)
                if (conflicted(record.state)) ++conflicts[record.state.kind];
            after = records.back().commit;
        }
        for (const Kind* kind : all_kinds())
            if (const std::uint64_t count = snapshot->count(tenant, kind->number); count > 0)
                out.row({tenant, "records", kind->name, count});
        for (const auto& [kind, count] : conflicts)
            out.row({tenant, "records in conflict",
                     kind_numbered(kind) ? kind_numbered(kind)->name : std::to_string(kind),
                     count});
        for (const Stream& stream : snapshot->streams(tenant))
            out.row({tenant, "stream head", stream.scope, stream.head});
        out.row({tenant, "feed head", "", snapshot->feed_head(tenant)});
        out.row({tenant, "devices", "",
                 std::count_if(devices.begin(), devices.end(),
                               [&](const Device& d) { return d.tenant == tenant && !d.revoked; })});
    }
    return 0;
}

int show_views(const Host& host, const Members& in, Answer& out) {
    if (host.views == nullptr) throw Error(ErrorCode::invalid_argument, "this store has no views");
    if (in.flag("update"))
        while (!stopping(host) && host.views->step()) {
        }
    out.columns({"tenant", "file", "commit", "feed head"});
    for (const Views::Place& place : host.views->places())
        out.row({place.tenant, place.path, place.commit, place.head});
    return 0;
}

int back_up(const Host& host, const Members& in, Answer& out) {
    const std::string to = in.text("to");
    if (std::ifstream(to)) {
        out.complain("There is a file already: " + to);
        return 1;
    }
    host.storage.backup(to);
    out.say("A consistent copy is in " + to);
    return 0;
}

using Command = int (*)(const Host&, const Members&, Answer&);
constexpr std::pair<std::string_view, Command> kCommands[] = {
    {"invite", invite_rep},
    {"key_add", add_key},
    {"key_list", list_keys},
    {"key_revoke", revoke_key},
    {"devices", list_devices},
    {"devices_revoke", revoke_device},
    {"devices_scopes", set_scopes},
    {"handover", hand_over},
    {"import", import_file},
    {"accept", accept_file},
    {"review_list", list_reviews},
    {"review_show", show_review},
    {"review_accept", accept_review},
    {"review_reject", reject_review},
    {"recoveries", list_recoveries},
    {"recoveries_show", show_recovery},
    {"recoveries_accept", accept_recovery},
    {"recoveries_dismiss", dismiss_recovery},
    {"erase", erase_subjects},
    {"erasures", list_erasures},
    {"held_list", list_held},
    {"held_release", release_held},
    {"held_erase", erase_held},
    {"subject_export", export_subjects},
    {"loop", show_loop},
    {"stats", show_stats},
    {"views", show_views},
    {"backup", back_up},
};

}  // namespace

int run(const Host& host, std::string_view request, const Emit& emit) {
    Answer out(emit);
    try {
        const Members members(request);
        const std::string name = members.text("command");
        for (const auto& [known, command] : kCommands)
            if (known == name) return command(host, members, out);
        out.complain("This server does not know the command " + name + ".");
        return 2;
    } catch (const Error& error) {
        if (error.code() == ErrorCode::internal) throw;
        try {
            out.complain(error.what());
        } catch (const std::exception&) {
            // Whoever asked has gone.
        }
        return error.code() == ErrorCode::invalid_argument ? 2 : 1;
    }
}

}  // namespace rapport::server::admin
