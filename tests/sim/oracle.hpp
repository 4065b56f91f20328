// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "model/bundle.hpp"

/// The abstract model the simulator judges by. It knows what was captured, what its author's screen
/// had shown, and which bundles the centre says it has applied; it knows no counters, no cursors
/// and no retries. A request without a reply may be applied at any later time, so nothing is
/// expected of it until the centre's own verdict says so.
namespace rapport::sim {

/// A field of a record.
struct Site {
    RecordId record;
    std::uint16_t field = 0;
    friend auto operator<=>(const Site&, const Site&) = default;
};

/// One captured value.
struct Capture {
    int number = 0;            ///< in its text, as `~w12~`
    std::uint32_t device = 0;  ///< event that made the device it was captured on
    std::int64_t tenant = 0;
    int commit = 0;  ///< what was saved together has one number
    Site site;
    std::string key;  ///< of a set's element
    Value value;
    CaptureId id;
    std::set<int> seen;    ///< what its author's screen showed and it replaces, and what those saw
    bool arrived = false;  ///< at the centre, by a verdict `applied`
    bool gone = false;     ///< its capture never came to be, or its author threw it away
    bool excused = false;  ///< its only file was replaced by an older copy before it was sent
    bool knowingly = false;  ///< on a device that had been told to erase what it is about
    Dot dot;                 ///< under which it arrived; none when it was coalesced
};

class Oracle {
public:
    /// What somebody is about to capture gets its number here, for its text.
    int next_number() { return static_cast<int>(captures_.size()) + planned_++; }
    /// The capture returned. Numbers not used are void.
    void captured(std::vector<Capture> captures);
    void forget_planned() {
        captures_.resize(captures_.size() + static_cast<std::size_t>(planned_), void_capture());
        planned_ = 0;
    }

    /// A bundle the centre applied, under this dot.
    void arrived(const Bundle& bundle, Dot dot);
    void gone(int number) { at(number).gone = true; }
    /// A restored centre was offered this value and took it: with it comes all that it replaced.
    void offered(int number);
    /// The centre takes this value for another one that is there, and does not list it apart: who
    /// replaces that replaces both.
    void taken_for(int number, int other) {
        at(other).seen.insert(number);
        entered_.erase(number);
    }
    /// What the centre knows, for a backup of it, and back to that.
    struct Known {
        std::set<int> arrived, entered;
    };
    Known known() const;
    void back_to(const Known& known);

    /// The captures of this field that no arrived one has seen, by what the centre has applied.
    std::set<int> live(const Site& site) const;
    /// Nullopt-like -1: nobody captured it.
    int find(const CaptureId& id, const Site& site, std::uint64_t hash) const;
    int under(Dot dot, const Site& site, const std::string& key) const;
    /// The capture a stored value is. What a restored centre was offered has no capture id any
    /// more; a text says which it is.
    int which(const Site& site, const LiveValue& value) const;
    /// Has it come to the centre as a value of its own, not coalesced into a later one?
    bool under_any_dot(int number) const { return entered_.contains(number); }
    const std::vector<int>& at_site(const Site& site) const;
    /// Fields of the record that somebody captured a followed value for.
    std::vector<std::uint16_t> followed(const RecordId& record) const;
    Capture& at(int number) { return captures_.at(static_cast<std::size_t>(number)); }
    const Capture& at(int number) const { return captures_.at(static_cast<std::size_t>(number)); }
    bool knows(int number) const {
        return number >= 0 && static_cast<std::size_t>(number) < captures_.size() &&
               !at(number).site.record.is_nil();
    }
    std::size_t size() const { return captures_.size(); }
    /// With what they saw.
    std::set<int> with_seen(const std::set<int>& numbers) const;

private:
    void take(int number);
    static Capture void_capture() {
        Capture none;
        none.gone = true;
        return none;
    }
    using Key = std::tuple<CaptureId, Site, std::uint64_t>;
    std::vector<Capture> captures_;
    int planned_ = 0;
    std::map<Key, int> by_id_;
    std::map<Site, std::vector<int>> by_site_;
    std::map<std::tuple<Dot, Site, std::string>, int> by_dot_;
    std::set<int> entered_;
};

}  // namespace rapport::sim
