// SPDX-License-Identifier: Apache-2.0
// Erasure orders: what one reaches is gone from every reply, and in the end from every byte.
#include <fstream>
#include <iterator>

#include "model/erasure.hpp"
#include "sim/simulation.hpp"
#include "sim/violation.hpp"
#include "store/replica.hpp"

namespace rapport::sim {

/// Of a customer; everything about them hangs on it.
void Simulation::erase(const Event& event) {
    const auto customers = records_of(event, "customer");
    if (customers.empty() || !erasures_) return;
    const std::string tenant = tenant_name(tenants_[customers[0]]);
    const bool done = at_centre([&] {
        servers_[0].engine->erase(tenant, customers[0], false);
        servers_[0].engine->scrub();
    });
    orders_wait_ |= !done;
    // An order counts once it is flushed, whatever became of carrying it out.
    if (!erasures_->order_on(tenant, customers[0]) || !erased_.insert(customers[0]).second) return;
    strike("customer erased");
    for (auto& [number, u] : units_)
        for (const int n : u->unsent)
            if (is_erased(oracle_.at(n).site)) {
                strike("customer erased while a device had unsent work on it");
                break;
            }
}

const RecordId& Simulation::subject_of(const Site& site) const {
    const auto root = customer_of_.find(site.record);
    return root == customer_of_.end() ? site.record : root->second;
}

/// Does an order take what is written there?
bool Simulation::is_erased(const Site& site) const {
    if (erased_.empty()) return false;
    const RecordId& subject = subject_of(site);
    if (!erased_.contains(subject) || tenants_.at(subject) != tenants_.at(site.record))
        return false;
    const Field* field = kinds_.at(site.record)->field(site.field);
    return field && erasable(*field);
}

/// What is captured about somebody whom this device has erased already is nothing that comes back;
/// the centre drops it.
void Simulation::note_told(Unit& u, std::vector<Capture>& captures) {
    if (erased_.empty()) return;
    const auto orders = Replica(*u.store).orders_after(0, 1'000);
    for (Capture& capture : captures)
        for (const ErasureOrder& order : orders)
            capture.knowingly |=
                is_erased(capture.site) && order.subject == subject_of(capture.site);
}

/// The office decides that nothing held back is to be shown, and the files are looked through.
void Simulation::erase_for_good() {
    if (erased_.empty()) return;
    std::vector<std::pair<std::string, RecordId>> held;
    look_at_centre([&](server::Transaction& tx) {
        held.clear();
        for (const std::string& tenant : tx.tenants())
            for (const server::HeldText& text : tx.held_texts(tenant, {}))
                held.emplace_back(tenant, text.record);
    });
    for (const auto& [tenant, record] : held) {
        strike("words about an erased customer held back");
        at_centre([&] { servers_[0].engine->decide_held(tenant, record, false); });
    }
    bool clean = false;
    for (int round = 0; round < 10 && !clean; ++round)
        at_centre([&] { clean = servers_[0].engine->scrub(); });
    expect(clean, "nothing erased comes back", "the centre does not get rid of its old pages");
}

void Simulation::judge_erased(const std::string& path, const std::string& whose, bool is_device) {
    if (erased_.empty()) return;
    for (const char* beside : {"", "-wal"}) {
        std::ifstream in(path + beside, std::ios::binary);
        const std::string bytes{std::istreambuf_iterator<char>(in), {}};
        each_text(bytes, [&](int number) {
            expect(
                !is_erased(oracle_.at(number).site) || (is_device && oracle_.at(number).knowingly),
                "nothing erased comes back",
                "~w" + std::to_string(number) + "~ of an erased customer stands in " + whose);
        });
    }
}

}  // namespace rapport::sim
