// SPDX-License-Identifier: Apache-2.0
#include "sim/oracle.hpp"

#include <cstdlib>
#include <utility>

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
                // What had come before, under another dot or with what replaced it, comes once.
                if (!std::exchange(at(number).arrived, true)) entered_.insert(number);
                at(number).dot = dot;
                by_dot_[{dot, site, add.key}] = number;
            }
            for (const KnownCapture& folded : write.folded)
                if (const int number = find(folded.id, site, folded.hash); number >= 0)
                    at(number).arrived = true;
        }
}

void Oracle::offered(int number) {
    if (at(number).arrived) return;
    take(number);
    if (live(at(number).site).contains(number)) entered_.insert(number);
}

void Oracle::take(int number) {
    if (std::exchange(at(number).arrived, true)) return;
    for (const int seen : at(number).seen) take(seen);
}

Oracle::Known Oracle::known() const {
    Known known{{}, entered_};
    for (const Capture& capture : captures_)
        if (capture.arrived) known.arrived.insert(capture.number);
    return known;
}

void Oracle::back_to(const Known& known) {
    for (Capture& capture : captures_)
        if (capture.arrived) capture.arrived = known.arrived.contains(capture.number);
    entered_ = known.entered;
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

int Oracle::which(const Site& site, const LiveValue& value) const {
    if (!value.capture.is_none())
        return find(value.capture, site, content_hash(value.key, value.value));
    const Value* words = &value.value;
    if (const auto* parts = value.value.parts(); parts && !parts->empty()) words = &parts->front();
    if (const std::string* text = words->text())
        if (const std::size_t at = text->find("~w"); at != std::string::npos)
            if (const int number = std::atoi(text->c_str() + at + 2);
                knows(number) && this->at(number).site == site)
                return number;
    return under(value.dot, site, value.key);
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
