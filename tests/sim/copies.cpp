// SPDX-License-Identifier: Apache-2.0
// What somebody has to recover from: the centre or a device file goes back to a copy, a file lives
// on twice.
#include <algorithm>
#include <filesystem>

#include "server/recovery.hpp"
#include "sim/simulation.hpp"
#include "sim/violation.hpp"
#include "sqlite/database.hpp"
#include "store/core.hpp"
#include "store/pending.hpp"
#include "store/replica.hpp"

namespace rapport::sim {

void Simulation::back_up(const Event& event) {
    const std::string file = folder_.file("backup" + std::to_string(event.number));
    if (at_centre([&] { servers_[0].storage->backup(file); }))
        backup_ = Backup{file, oracle_.known(), judged_};
}

void Simulation::restore(const Event&) {
    if (!backup_ || depth_ > 0) return;
    offered_.clear();
    for (auto& [number, u] : units_) {
        judge_unsent(*u);  // while it is known what has come
        not_back_.insert(number);
        could_offer_[number] = held_by(*u, true);
    }
    // What nobody but the centre has goes with it.
    for (const int number : kept_for_a_person())
        if (!oracle_.at(number).arrived &&
            std::none_of(could_offer_.begin(), could_offer_.end(),
                         [&](const auto& held) { return held.second.contains(number); }))
            oracle_.at(number).excused = true;
    close_servers();
    server_disk_->heal();
    const std::string file = folder_.file("server.db");
    for (const char* tail : {"-wal", "-shm"}) std::filesystem::remove(file + tail);
    std::filesystem::copy_file(backup_->file, file,
                               std::filesystem::copy_options::overwrite_existing);
    server_disk_->adopt();
    open_servers();
    ++centre_version_;
    ++restores_;
    const std::set<int> had = oracle_.known().arrived;
    oracle_.back_to(backup_->known);
    for (const int number : had)
        if (!oracle_.at(number).arrived) taken_back_.insert(number);
    // What had come and whose reply had not is unsent again.
    for (auto& [number, u] : units_)
        for (const int n : held_by(*u, false))
            if (taken_back_.contains(n) && !oracle_.at(n).gone) u->unsent.insert(n);
    judged_ = backup_->judged;
    strike("centre restored from a backup");
}

/// By its file: what waits, and what is confirmed as well.
std::set<int> Simulation::held_by(Unit& u, bool confirmed) {
    std::set<int> held;
    if (u.doomed || !u.store || u.disk->crashed()) return held;
    u.disk->spare(true);
    {
        auto db = sqlite::Database::open(u.path, {.read_only = true, .create = false});
        for (const Kind* kind : all_kinds()) {
            auto rows = db.prepare(select_of(*kind));
            while (rows.step()) {
                const Row row = row_at(rows, *kind);
                if (confirmed)
                    for (const auto& [number, field] : row.confirmed.fields)
                        for (const LiveValue& l : field.live)
                            held.insert(oracle_.which({row.id, number}, l));
                for (const PendingChange& change : load_pending(db, row))
                    for (const Write& write : change.writes)
                        for (const Added& add : write.adds)
                            held.insert(oracle_.find(add.capture, {row.id, write.field},
                                                     content_hash(add.key, add.value)));
            }
        }
    }
    u.disk->spare(false);
    held.erase(-1);
    return held;
}

void Simulation::note_offered(const Unit& u) {
    if (const auto node = could_offer_.extract(u.event))
        offered_.insert(node.mapped().begin(), node.mapped().end());
}

/// Notes that keep an offered record for a person.
std::set<std::uint64_t> Simulation::kept_back() {
    std::set<std::uint64_t> kept;
    look_at_centre([&](server::Transaction& tx) {
        kept.clear();
        for (const std::string& tenant : tx.tenants())
            for (const server::RecoveryNote& note : tx.recovery_notes(tenant))
                if (!note.offered.empty()) kept.insert(note.id);
    });
    return kept;
}

/// With each value that the centre took up from an offer comes all that it replaced.
void Simulation::note_offers(const server::Device& device, const protocol::Request& request,
                             const std::set<std::uint64_t>& kept_back_before) {
    if (request.witnessed.empty()) return;
    std::set<RecordId> kept, offered;
    std::vector<RecordState> replaced;
    // A repeat finds the note that was made the first time, without what an order takes; but what
    // the device reaches by now is not kept back once more.
    const auto is_offered = [&](const server::RecoveryNote& note) {
        if (note.code == server::recovery_code::kOutOfScope &&
            in_reach(device, decode_record(note.offered).scope))
            return false;
        return std::any_of(request.witnessed.begin(), request.witnessed.end(),
                           [&](const std::string& bytes) {
                               return bytes == note.offered ||
                                      (!erased_.empty() && decode_record(bytes).id == note.record);
                           });
    };
    look_at_centre([&](server::Transaction& tx) {
        kept.clear(), replaced.clear();
        for (const server::RecoveryNote& note : tx.recovery_notes(device.tenant))
            if (note.code == server::recovery_code::kReplaced)
                replaced.push_back(decode_record(note.offered));
            else if (!note.offered.empty() && (!kept_back_before.contains(note.id) ||
                                               (note.writer == device.writer && is_offered(note))))
                kept.insert(note.record);
    });
    // Of these the value is kept for a person, and not the record.
    const auto is_replaced = [&](const RecordId& id, std::uint16_t number, const LiveValue& l) {
        return std::any_of(replaced.begin(), replaced.end(), [&](const RecordState& r) {
            const auto at = r.fields.find(number);
            return r.id == id && at != r.fields.end() &&
                   std::any_of(at->second.live.begin(), at->second.live.end(),
                               [&](const LiveValue& k) {
                                   return k.dot == l.dot && k.key == l.key && k.value == l.value;
                               });
        });
    };
    for (const std::string& bytes : request.witnessed) {
        const RecordState state = decode_record(bytes);
        if (kept.contains(state.id)) continue;
        offered.insert(state.id);
        for (const auto& [number, field] : state.fields)
            for (const LiveValue& l : field.live)
                if (const int which = oracle_.which({state.id, number}, l);
                    which >= 0 && !is_replaced(state.id, number, l))
                    oracle_.offered(which);
    }
    look_at_centre([&](server::Transaction& tx) {
        for (const RecordId& id : offered)
            judge_record(tx, std::stoll(device.tenant.substr(1)), id);
    });
}

void Simulation::note_overtaken(std::uint64_t writer) {
    for (auto& [number, u] : units_)
        if (u->writer == writer) not_back_.erase(number);
    if (!not_back_.empty()) strike("centre overtaken after it was restored");
}

void Simulation::copy_device(const Event& event) {
    Unit* u = unit(event);
    if (!u || u->syncing) return;
    u->disk->heal();
    close(*u);  // closing brings the log home
    u->copy = folder_.file("copy" + std::to_string(event.number));
    std::filesystem::copy_file(u->path, u->copy);
    u->at_copy = *u;
    open(*u);
}

std::set<int> Simulation::Held::all_unsent() const {
    std::set<int> all = unsent;
    for (const auto& [name, user] : logged_out) all.insert(user.unsent.begin(), user.unsent.end());
    return all;
}

/// The file is another one from now on. Work that it does not hold and that was not sent went with
/// the one before: nobody can bring it back.
void Simulation::hold(Unit& u, Held held) {
    const std::set<int> kept = held.all_unsent();
    for (const int number : u.all_unsent()) {
        Capture& capture = oracle_.at(number);
        if (!kept.contains(number) && !capture.arrived) capture.excused = true;
    }
    static_cast<Held&>(u) = std::move(held);
    forgetful_ = true;
    could_offer_.erase(u.event);
}

void Simulation::put_back(const Event& event) {
    Unit* u = unit(event);
    if (!u || u->syncing || u->copy.empty()) return;
    close(*u);
    u->disk->heal();
    for (const char* tail : {"-wal", "-shm"}) std::filesystem::remove(u->path + tail);
    std::filesystem::copy_file(u->copy, u->path, std::filesystem::copy_options::overwrite_existing);
    u->disk->adopt();
    hold(*u, u->at_copy);
    shared_.merge(u->all_unsent());
    ++u->copies;
    ++copies_;
    open(*u);
    strike("device file put back from a copy");
}

/// The app is removed, and its file with it; who does that is told what has not been sent.
void Simulation::reinstall(const Event& event) {
    Unit* u = unit(event);
    if (!u || u->syncing) return;
    open(*u);
    u->disk->heal();
    server_disk_->heal();
    const auto scopes = scopes_of(*u);
    strike(u->all_unsent().empty() ? "app reinstalled" : "app reinstalled with unsent work");
    close(*u);
    for (const char* tail : {"", "-wal", "-shm"}) std::filesystem::remove(u->path + tail);
    u->disk->adopt();
    hold(*u, {});
    u->copy.clear();
    u->rep = u->first_rep;
    enrol_as(*u, u->rep, scopes);
}

void Simulation::clone(const Event& event) {
    Unit* of = unit(event);
    if (!of || of->syncing || units_.contains(event.number)) return;
    open(*of);
    of->disk->heal();
    close(*of);
    auto made = std::make_unique<Unit>();
    Unit& u = *made;
    u.event = event.number;
    static_cast<Held&>(u) = *of;
    shared_.merge(u.all_unsent());
    u.tenant = of->tenant;
    u.first_rep = of->first_rep;
    u.role = of->role;
    u.newer_server = of->newer_server;
    u.requests = of->requests;
    char name[32];
    std::snprintf(name, sizeof name, "device%06u.rapport", event.number);
    u.path = folder_.file(name);
    std::filesystem::copy_file(of->path, u.path);
    // Two copies that capture in the same millisecond would give the same capture id.
    u.machine = std::make_unique<Machine>(now_ms_, of->machine->skew_ms + 1);
    u.machine->draw_from(event.draw(plan_.seed, event.number));
    u.disk = make_disk(u.path, u.event);
    u.wire = wire_of(u);
    ++u.copies, ++of->copies, ++copies_;
    units_.emplace(event.number, std::move(made));
    open(*of);
    open(u);
    strike("device file cloned");
}

}  // namespace rapport::sim
