// SPDX-License-Identifier: Apache-2.0
// Who may do what changes: users of one file, revoked devices, scopes.
#include <algorithm>

#include "server/auth/access.hpp"
#include "server/scopes.hpp"
#include "sim/simulation.hpp"
#include "sim/violation.hpp"
#include "store/replica.hpp"

namespace rapport::sim {

/// With a new invitation: what the file holds unsent goes under its new name.
void Simulation::enrol_as(Unit& u, const std::string& rep, const std::vector<std::string>& scopes) {
    server::Invitee invitee;
    invitee.tenant = tenant_name(u.tenant);
    invitee.rep = rep;
    invitee.role = u.role;
    invitee.scopes = scopes;
    std::string code;
    while (code.empty())
        at_centre([&] {
            const auto tx = servers_[0].storage->begin_write();
            const std::string drawn = server::invite(*tx, *servers_[0].machine, invitee);
            tx->commit();
            code = drawn;
        });
    server_disk_->heal();
    on(u, [&] {
        u.syncer->enrol(kAddress, code);
        u.writer = Replica(*u.store).identity()->writer;
    });
}

// ---- several users of one file

/// Whoever is logged in logs out, and the other one logs in, the first time by an invitation.
void Simulation::switch_user(const Event& event) {
    Unit* u = unit(event);
    if (!u || u->syncing) return;
    const std::string rep = event.get("to") == 0
                                ? u->first_rep
                                : "R" + std::to_string(1000 + u->event * 10 + event.get("to"));
    if (rep == u->rep) return;
    become(*u, rep);
    strike("user switched");
    judge_unsent(*u);
}

void Simulation::become(Unit& u, const std::string& rep) {
    open(u);
    u.disk->heal();  // what a crash leaves of a log-out is seen by tests/crash
    server_disk_->heal();
    if (rep == u.rep) return;
    const auto scopes = scopes_of(u);
    const bool left = on(u, [&] { u.store->log_out(); });
    expect(left, "a user can log out", "a log-out without a fault did not come to its end");
    if (!u.unsent.empty()) strike("user switched with unsent work");
    u.logged_out[u.rep] = {u.writer, std::move(u.unsent), u.declined};
    u.unsent.clear();
    u.declined = false;
    u.rep = rep;
    u.switched = forgetful_ = true;
    could_offer_.erase(u.event);
    if (const auto back = u.logged_out.find(rep); back != u.logged_out.end()) {
        on(u, [&] { u.store->log_in(rep); });
        u.writer = back->second.writer;
        u.unsent = std::move(back->second.unsent);
        u.declined = back->second.declined;
        u.logged_out.erase(back);
    } else {
        enrol_as(u, rep, scopes);
    }
}

std::vector<std::string> Simulation::scopes_of(Unit& u) {
    std::vector<std::string> scopes;
    on(u, [&] { scopes = Replica(*u.store).identity()->scopes; });
    return scopes;
}

// ---- revoked devices

Simulation::Standing Simulation::standing(const Unit& u) {
    auto standing = Standing::unknown;
    look_at_centre([&](server::Transaction& tx) {
        const auto device = tx.device(u.writer);
        if (!device) return;
        // A fork that is turned away, and a file put back to the middle of its fork, asks for it
        // again under the name it came of.
        const auto devices = tx.devices();
        const bool revoked =
            device->revoked || std::any_of(devices.begin(), devices.end(), [&](const auto& fork) {
                return fork.parent == u.writer && fork.revoked;
            });
        standing = revoked ? Standing::revoked : Standing::known;
    });
    return standing;
}

/// With every file that came of it, as `rapportd devices revoke` does it.
void Simulation::revoke(const Event& event) {
    Unit* u = unit(event);
    if (!u || standing(*u) != Standing::known) return;
    at_centre([&] {
        const auto tx = servers_[0].storage->begin_write();
        std::set<std::uint64_t> chosen{u->writer};
        for (bool grown = true; grown;) {
            grown = false;
            for (const server::Device& device : tx->devices())
                if (device.parent != 0 && chosen.contains(device.parent))
                    grown |= chosen.insert(device.writer).second;
        }
        for (server::Device& device : tx->devices()) {
            if (!chosen.contains(device.writer)) continue;
            device.revoked = true;
            tx->save(device);
            tx->save_revocation(device.writer,
                                servers_[0].machine->now().at.time_since_epoch().count());
        }
        tx->commit();
        forgetful_ = true;
        for (const auto& [number, of] : units_)
            if (chosen.contains(of->writer)) could_offer_.erase(number);
        strike(u->unsent.empty() ? "device revoked" : "device revoked with unsent work");
    });
}

/// Who was revoked or turned away, or whom a restored centre does not know.
void Simulation::enrol_again(const Event& event) {
    Unit* u = unit(event);
    if (!u || u->syncing || (!u->declined && standing(*u) == Standing::known)) return;
    open(*u);
    u->disk->heal();
    server_disk_->heal();
    enrol_as(*u, u->rep, scopes_of(*u));
    u->declined = false;
    strike("file enrolled anew");
    judge_unsent(*u);
}

// ---- scopes

/// As `rapportd devices scopes` does it.
void Simulation::set_scopes(const Event& event) {
    Unit* u = unit(event);
    if (!u) return;
    const auto mask = static_cast<std::uint64_t>(event.get("territories", 1));
    std::vector<std::string> scopes;
    for (std::int64_t i = 0; i < 8; ++i)
        if (mask >> i & 1U) scopes.push_back(territory(i));
    if (scopes.empty()) return;
    at_centre([&] {
        const auto tx = servers_[0].storage->begin_write();
        const auto known = tx->device(u->writer);
        if (!known) return;  // a restored centre: the file is to be enrolled anew
        const auto any_but = [](const auto& of, const auto& those) {
            return std::any_of(of.begin(), of.end(), [&](const std::string& scope) {
                return std::find(those.begin(), those.end(), scope) == those.end();
            });
        };
        const bool lost = any_but(known->scopes, scopes), gained = any_but(scopes, known->scopes);
        server::give_scopes(*tx, *known, scopes,
                            servers_[0].machine->now().at.time_since_epoch().count());
        tx->commit();
        if (lost)
            strike(u->unsent.empty() ? "territory taken" : "territory taken with unsent work");
        if (gained) strike("territory given");
        scopes_changed_ |= lost || gained;
        forgetful_ |= lost;
    });
}

}  // namespace rapport::sim
