// SPDX-License-Identifier: Apache-2.0
#include "sim/oracle.hpp"

namespace rapport::sim {

void Oracle::captured(std::vector<Capture> captures) {
    forget_planned();
    for (Capture& capture : captures) {
        const int number = capture.number;
        by_id_[{capture.id, capture.site, content_hash(capture.key, capture.value)}] = number;
        by_site_[capture.site].push_back(number);
        at(number) = std::move(capture);
    }
}

void Oracle::arrived(const Bundle& bundle, Dot dot) {
    for (const Change& change : bundle.changes)
        for (const Write& write : change.writes) {
            const Site site{change.id, write.field};
            for (const Added& add : write.adds) {
                const int number = find(add.capture, site, content_hash(add.key, add.value));
                if (number < 0) continue;
                at(number).arrived = true;
                at(number).dot = dot;
                by_dot_[{dot, site, add.key}] = number;
                entered_.insert(number);
            }
            for (const KnownCapture& folded : write.folded)
                if (const int number = find(folded.id, site, folded.hash); number >= 0)
                    at(number).arrived = true;
        }
}

void Oracle::offered(int number) {
    if (at(number).arrived) return;
    at(number).arrived = true;
    for (const int seen : std::set<int>(at(number).seen)) offered(seen);
}

std::set<int> Oracle::all_arrived() const {
    std::set<int> arrived;
    for (const Capture& capture : captures_)
        if (capture.arrived) arrived.insert(capture.number);
    return arrived;
}

void Oracle::back_to(const std::set<int>& arrived) {
    for (Capture& capture : captures_)
        if (capture.arrived) capture.arrived = arrived.contains(capture.number);
}

std::set<int> Oracle::live(const Site& site) const {
    std::set<int> live;
    for (const int number : at_site(site))
        if (at(number).arrived) live.insert(number);
    for (const int number : at_site(site))
        if (at(number).arrived)
            for (const int seen : at(number).seen) live.erase(seen);
    return live;
}

int Oracle::find(const CaptureId& id, const Site& site, std::uint64_t hash) const {
    const auto found = by_id_.find({id, site, hash});
    return found == by_id_.end() ? -1 : found->second;
}

int Oracle::under(Dot dot, const Site& site, const std::string& key) const {
    const auto found = by_dot_.find({dot, site, key});
    return found == by_dot_.end() ? -1 : found->second;
}

const std::vector<int>& Oracle::at_site(const Site& site) const {
    static const std::vector<int> none;
    const auto found = by_site_.find(site);
    return found == by_site_.end() ? none : found->second;
}

std::vector<std::uint16_t> Oracle::followed(const RecordId& record) const {
    std::vector<std::uint16_t> fields;
    for (auto it = by_site_.lower_bound({record, 0});
         it != by_site_.end() && it->first.record == record; ++it)
        fields.push_back(it->first.field);
    return fields;
}

std::set<int> Oracle::with_seen(const std::set<int>& numbers) const {
    std::set<int> all = numbers;
    for (const int number : numbers) all.insert(at(number).seen.begin(), at(number).seen.end());
    return all;
}

}  // namespace rapport::sim
