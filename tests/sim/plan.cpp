// SPDX-License-Identifier: Apache-2.0
#include "sim/plan.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <set>
#include <sstream>
#include <stdexcept>

#include "model/hash.hpp"
#include "support/chance.hpp"

namespace rapport::sim {
namespace {

/// Draws one plan. Each class of faults is off with probability one half, else its rate is drawn.
class Draw {
public:
    Draw(std::uint64_t seed, bool plain)
        : seed_(seed),
          plain_(plain),
          chance_(hash64({reinterpret_cast<const char*>(&seed), sizeof seed})),
          apart_(hash64({reinterpret_cast<const char*>(&seed), sizeof seed}, 1)) {}

    Plan plan() {
        lay_out();
        const std::size_t operations = world_size();
        if (!plain_) apart([&] { draw_recoveries(operations); });
        for (std::size_t i = 0; i < operations; ++i) {
            happen();
            if (!plain_) apart([&] { recover(i); });
        }
        add("settle", {});
        return {seed_, std::move(events_)};
    }

private:
    std::uint64_t below(std::uint64_t n) { return n == 0 ? 0 : chance_() % n; }
    double real() { return static_cast<double>(chance_()) * 0x1.0p-32; }
    bool happens(double rate) { return real() < rate; }
    /// Off in half of the worlds; else up to `most`.
    double rate(double most) {
        const bool off = below(2) == 0;
        const double drawn = real() * most;
        return off ? 0 : drawn;
    }
    std::int64_t number(std::uint64_t n) { return static_cast<std::int64_t>(below(n)); }

    Event& add(std::string verb, std::map<std::string, std::int64_t, std::less<>> arguments) {
        events_.push_back({++last_, std::move(verb), std::move(arguments)});
        return events_.back();
    }

    // ---- the world

    /// 100 to 2,000, most of them near 100.
    std::size_t world_size() {
        return static_cast<std::size_t>(100 * std::pow(20.0, std::pow(real(), 6)));
    }

    void lay_out() {
        const double u = real();
        devices_ = u < 0.5 ? 2 : u < 0.75 ? 3 : u < 0.9 ? 4 : 5 + below(4);
        engines_ = below(3) == 0 ? 1 + below(3) : 1;
        tenants_ = below(4) == 0 ? 2 + below(2) : 1;
        territories_ = below(4) != 0 ? 2 : 1 + below(8);
        Event& server = add("server", {{"engines", static_cast<std::int64_t>(engines_)}});
        if (below(2)) server.arguments["reply_records"] = 1 + number(6);
        if (below(2)) server.arguments["request_bundles"] = 1 + number(3);
        const double skewed = rate(1.0);
        newer_ = rate(1.0);
        for (std::size_t i = 0; i < devices_; ++i) {
            // Phones of reps mostly; one in the office that sees all territories.
            const bool office = i > 1 && below(3) == 0;
            const std::int64_t role = office ? 1 + number(3) : 0;
            const std::int64_t tenant = i < 2 ? 0 : number(tenants_);
            const std::int64_t territory = i < 2 ? 0 : number(territories_);
            Event& device = add("device", {{"tenant", tenant},
                                           {"role", role},
                                           {"territory", office ? -1 : territory},
                                           {"rep", i < 2 ? 0 : static_cast<std::int64_t>(i)}});
            if (happens(skewed)) device.arguments["skew_s"] = skew();
            if (happens(newer_)) device.arguments["newer"] = 1;
            device_events_.push_back(device.number);
            device_tenants_.push_back(tenant);
            device_offices_.push_back(office);
        }
        // Something to work on that most know.
        for (std::size_t i = 0; i < devices_; ++i) {
            if (device_offices_[i]) continue;
            capture_customer(i);
        }
        for (std::size_t i = 0; i < devices_; ++i) add("sync", {{"device", at(i)}, {"times", 8}});

        for (auto* r :
             {&lost_, &reply_lost_, &twice_, &cut_, &flipped_, &portal_, &busy_, &old_, &killed_})
            *r = rate(0.25);
        late_ = rate(0.06), restart_ = rate(0.05), server_restart_ = rate(0.03);
        crash_ = rate(0.06), server_crash_ = rate(0.04), io_ = rate(0.05), full_ = rate(0.05);
        clock_ = rate(0.04), server_clock_ = rate(0.02), days_ = rate(0.02), months_ = rate(0.004);
        move_ = rate(0.05), poison_ = rate(0.04), upgrade_ = rate(0.02);
        inner_ = rate(0.5), requests_ = rate(0.1), drafts_ = rate(0.04), wide_ = rate(0.1);
        office_ = rate(0.03), reference_ = rate(0.03), territory_move_ = rate(0.01);
    }
    std::int64_t at(std::size_t device) const { return device_events_[device]; }

    /// Seconds, from a wrong zone to ten years.
    std::int64_t skew() {
        static constexpr std::int64_t most[] = {120, 7200, 86'400 * 30, 86'400 * 3650};
        const std::int64_t bound = most[below(4)];
        return number(static_cast<std::uint64_t>(2 * bound)) - bound;
    }

    // ---- faults somebody has to recover from

    /// These are drawn apart, and their events numbered apart: all else that happens in a seed is
    /// the same with and without them.
    template <class Work>
    void apart(Work work) {
        const auto with = [](auto& from, auto& more) {
            const std::size_t size = from.size();
            from.insert(from.end(), more.begin(), more.end());
            return size;
        };
        const auto without = [](auto& from, auto& more, std::size_t size) {
            more.assign(from.begin() + static_cast<std::ptrdiff_t>(size), from.end());
            from.resize(size);
        };
        std::swap(chance_, apart_);
        std::swap(last_, last_apart_);
        const std::size_t customers = with(customers_, customers_apart_),
                          records = with(records_, records_apart_), sent = with(sent_, sent_apart_);
        work();
        without(customers_, customers_apart_, customers);
        without(records_, records_apart_, records);
        without(sent_, sent_apart_, sent);
        std::swap(chance_, apart_);
        std::swap(last_, last_apart_);
    }

    /// None in half of the worlds, so that half are judged by every promise; in the others each
    /// group of kinds, and in it each kind, is off with probability one half.
    void draw_recoveries(std::size_t operations) {
        const auto off = [&] { return below(2) == 0; };
        const auto drawn = [&] {
            std::set<std::size_t> when;
            if (off()) return when;
            for (std::uint64_t n = below(4) == 0 ? 2 : 1; n > 0; --n)
                when.insert(operations / 4 + below(operations - operations / 4));
            return when;
        };
        if (off()) return;
        if (!off()) {
            restore_at_ = drawn();
            put_back_at_ = drawn();
            clone_at_ = drawn();
            if (!off()) draw_interruptions();
            if (!restore_at_.empty()) backup_ = 0.02 + real() * 0.1;
            if (!put_back_at_.empty()) copy_ = 0.02 + real() * 0.1;
            copied_ = device_events_[below(devices_)];
        }
        if (!off()) {
            user_ = rate(0.1);
            reinstall_at_ = drawn();
        }
        if (!off()) {
            revoke_at_ = drawn();
            scopes_ = rate(0.06);
        }
        if (!off()) erase_ = 0.002 + real() * 0.03;
        if (erase_ > 0) events_.front().arguments["erasures"] = 1;
        enrol_ = 0.01 + real() * 0.05;
    }

    /// While devices recover from a restored centre, the next fault strikes; a restored centre may
    /// be one that knew of the recovery.
    void draw_interruptions() {
        for (const std::size_t restored : std::set<std::size_t>(restore_at_)) {
            const auto soon = [&] { return restored + 1 + below(40); };
            if (below(2)) backup_at_.insert(soon());
            for (auto* next : {&restore_at_, &put_back_at_, &clone_at_})
                if (below(3) == 0) next->insert(soon());
        }
    }

    void recover(std::size_t i) {
        const auto one = [&] { return at(below(devices_)); };
        if (happens(backup_) || backup_at_.contains(i)) add("backup", {});
        if (restore_at_.contains(i)) add("restore", {});
        if (happens(copy_)) add("copy", {{"device", copied_}});
        if (put_back_at_.contains(i)) add("put_back", {{"device", copied_}});
        if (clone_at_.contains(i)) {
            const std::size_t of = below(devices_);
            clones_.emplace_back(add("clone", {{"device", at(of)}}).number, device_tenants_[of]);
        }
        if (happens(user_)) add("user", {{"device", one()}, {"to", number(3)}});
        if (reinstall_at_.contains(i)) add("reinstall", {{"device", one()}});
        if (revoke_at_.contains(i)) add("revoke", {{"device", one()}});
        if (happens(scopes_))
            add("scopes",
                {{"device", one()}, {"territories", 1 + number((1U << territories_) - 1)}});
        if (happens(erase_)) add("erase", {{"customer", some_customer()}});
        // Of those that need it somebody gets a new code.
        const bool enrols = happens(enrol_);
        if (enrols)
            for (const std::uint32_t device : device_events_) add("enrol", {{"device", device}});
        for (const auto& [clone, tenant] : clones_) {
            if (enrols) add("enrol", {{"device", clone}});
            if (!happens(0.3)) continue;
            device_events_.push_back(clone);
            device_tenants_.push_back(tenant);
            below(2) ? work(devices_) : sync(devices_);
            device_events_.pop_back();
            device_tenants_.pop_back();
        }
    }

    // ---- what happens

    void capture_customer(std::size_t device) {
        const Event& e = add("customer", {{"device", at(device)}});
        customers_.push_back({e.number, device_tenants_[device]});
    }
    std::uint32_t some_customer() {
        return customers_.empty() ? 0 : customers_[below(customers_.size())].first;
    }
    /// Recent ones more often.
    std::uint32_t some_record() {
        std::vector<std::uint32_t>& from = records_;
        if (from.empty() || below(3) == 0) return some_customer();
        const std::size_t span = std::min<std::size_t>(from.size(), below(2) ? 6 : from.size());
        return from[from.size() - 1 - below(span)];
    }

    void happen() {
        if (happens(0.3)) add("pass", {{"ms", 1 + number(below(4) == 0 ? 3'600'000 : 20'000)}});
        fault();
        const std::size_t d = below(devices_);
        const double u = real();
        if (u < 0.36)
            sync(d);
        else
            work(d);
    }

    void work(std::size_t d) {
        const std::int64_t device = at(d);
        const double u = real();
        if (happens(poison_)) {
            const Event& e = add("poison", {{"device", device}, {"customer", some_customer()}});
            records_.push_back(e.number);
        } else if (happens(requests_)) {
            add("request", {{"device", device}, {"record", some_record()}, {"to", number(8)}});
        } else if (happens(drafts_ / 3)) {
            const Event& e =
                add("entwined",
                    {{"device", device}, {"customer", some_customer()}, {"circle", number(2)}});
            const std::uint32_t draft = e.number;
            if (below(2)) work(d);
            add("submit", {{"device", device}, {"record", draft}});
            records_.push_back(draft);
        } else if (happens(drafts_)) {
            const Event& e = add("draft", {{"device", device}, {"customer", some_customer()}});
            add(below(2) ? "submit" : "discard", {{"device", device}, {"record", e.number}});
        } else if (happens(wide_)) {
            add("edit_two", {{"device", device},
                             {"a", some_record()},
                             {"b", some_record()},
                             {"fields", 1 + number(15)}});
        } else if (happens(reference_)) {
            add("reference", {{"customer", some_customer()}});
        } else if (u < 0.05) {
            capture_customer(d);
        } else if (u < 0.2) {
            const Event& e = add("visit", {{"device", device},
                                           {"customer", some_customer()},
                                           {"complaints", number(3)},
                                           {"wishes", number(2)}});
            records_.push_back(e.number);
        } else if (u < 0.28) {
            const Event& e = add("complaint", {{"device", device}, {"customer", some_customer()}});
            records_.push_back(e.number);
        } else if (u < 0.34) {
            add("resolve", {{"device", device}, {"pick", number(8)}, {"keep", number(3)}});
        } else if (u < 0.38) {
            add("repair", {{"device", device}, {"pick", number(8)}});
        } else {
            add("edit", {{"device", device},
                         {"record", some_record()},
                         {"part", number(3)},
                         {"fields", 1 + number(15)}});
        }
    }

    void sync(std::size_t d) {
        Event& e = add("sync", {{"device", at(d)},
                                {"times", 1 + number(below(3) == 0 ? 2 : 8)},
                                {"engine", number(engines_)}});
        const std::uint32_t sent = e.number;
        if (const Fate fate = drawn_fate(); fate != Fate::none) {
            e.arguments["fate"] = static_cast<std::int64_t>(fate);
            e.arguments["at"] = number(below(2) ? 1 : 3);
            e.arguments["where"] = number(1 << 20);
        }
        if (happens(inner_)) {
            e.arguments["inner"] = 1 + number(3);
            e.arguments["answered"] = number(2);
        }
        sent_.push_back(sent);
        if (happens(late_) && !sent_.empty()) {
            const std::size_t back = std::min<std::size_t>(sent_.size(), 1 + below(12));
            add("deliver", {{"of", sent_[sent_.size() - back]},
                            {"at", number(2)},
                            {"engine", number(engines_)}});
        }
    }

    Fate drawn_fate() {
        const std::pair<double, std::vector<Fate>> classes[] = {
            {lost_, {Fate::request_lost}},
            {reply_lost_, {Fate::reply_lost}},
            {twice_, {Fate::twice}},
            {cut_, {Fate::request_cut, Fate::reply_cut}},
            {flipped_, {Fate::request_flipped, Fate::reply_flipped}},
            {portal_, {Fate::portal}},
            {busy_, {Fate::busy, Fate::away}},
            {old_, {Fate::old_reply}},
            {killed_, {Fate::killed_before, Fate::killed_after}},
        };
        for (const auto& [often, fates] : classes)
            if (happens(often)) return fates[below(fates.size())];
        return Fate::none;
    }

    void fault() {
        const std::int64_t device = at(below(devices_));
        const auto disk = [&](std::int64_t which, const char* what) {
            add("disk", {{"device", which},
                         {what, 1 + number(below(3) == 0 ? 200 : 25)},
                         {"damage", number(4)},
                         {"lasting", number(3) == 0}});
        };
        if (happens(crash_)) disk(device, "crash");
        if (happens(server_crash_)) disk(0, "crash");
        if (happens(io_)) disk(below(4) == 0 ? 0 : device, "io");
        if (happens(full_)) disk(below(4) == 0 ? 0 : device, "full");
        if (happens(restart_)) add("restart", {{"device", device}, {"reboot", number(2)}});
        if (happens(server_restart_)) add("restart", {{"device", 0}});
        if (happens(clock_)) add("clock", {{"device", device}, {"skew_s", skew()}});
        if (happens(server_clock_))
            add("server_clock", {{"engine", number(engines_)}, {"skew_s", number(1200) - 600}});
        if (happens(days_)) add("pass", {{"ms", 86'400'000 * (1 + number(9))}});
        if (happens(months_)) add("pass", {{"ms", 86'400'000 * (170 + number(40))}});
        if (happens(move_))
            add("hand_over", {{"customer", some_customer()}, {"to", number(territories_)}});
        if (happens(territory_move_))
            add("hand_over_all", {{"from", number(territories_)}, {"to", number(territories_)}});
        if (happens(move_ + territory_move_ + requests_))
            add("carry_on", {{"engine", number(engines_)}});
        if (happens(upgrade_))
            add("upgrade", {{"engine", number(engines_)},
                            {"version", 1 + number(4)},
                            {"reply_records", 1 + number(9)}});
        if (happens(office_)) add("office", {{"pick", number(4)}, {"accept", number(2)}});
    }

    std::uint64_t seed_;
    bool plain_;
    test::Chance chance_;
    std::vector<Event> events_;
    std::uint32_t last_ = 0;
    std::size_t devices_ = 2, engines_ = 1, tenants_ = 1, territories_ = 2;
    std::vector<std::uint32_t> device_events_;
    std::vector<std::int64_t> device_tenants_;
    std::vector<bool> device_offices_;
    std::vector<std::pair<std::uint32_t, std::int64_t>> customers_;
    std::vector<std::uint32_t> records_, sent_;
    test::Chance apart_;
    std::uint32_t last_apart_ = 500'000;
    std::vector<std::pair<std::uint32_t, std::int64_t>> customers_apart_;
    std::vector<std::uint32_t> records_apart_, sent_apart_;
    std::set<std::size_t> backup_at_, restore_at_, put_back_at_, clone_at_, reinstall_at_,
        revoke_at_;
    std::int64_t copied_ = 0;
    std::vector<std::pair<std::uint32_t, std::int64_t>> clones_;  // with their tenants
    double backup_ = 0, copy_ = 0, user_ = 0, scopes_ = 0, erase_ = 0, enrol_ = 0;
    double lost_ = 0, reply_lost_ = 0, twice_ = 0, cut_ = 0, flipped_ = 0, portal_ = 0, busy_ = 0,
           old_ = 0, killed_ = 0, late_ = 0, restart_ = 0, server_restart_ = 0, crash_ = 0,
           server_crash_ = 0, io_ = 0, full_ = 0, clock_ = 0, server_clock_ = 0, days_ = 0,
           months_ = 0, move_ = 0, poison_ = 0, upgrade_ = 0, inner_ = 0, requests_ = 0,
           drafts_ = 0, wide_ = 0, office_ = 0, reference_ = 0, territory_move_ = 0, newer_ = 0;
};

std::int64_t number_in(std::string_view text) {
    std::int64_t value = 0;
    const auto [end, fault] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (fault != std::errc() || end != text.data() + text.size())
        throw std::runtime_error("a plan says `" + std::string(text) + "` where a number belongs");
    return value;
}

}  // namespace

std::int64_t Event::get(std::string_view name, std::int64_t otherwise) const {
    const auto at = arguments.find(name);
    return at == arguments.end() ? otherwise : at->second;
}

std::uint64_t Event::draw(std::uint64_t seed, std::uint64_t salt) const {
    const std::uint64_t all[] = {seed, number, salt};
    return hash64({reinterpret_cast<const char*>(all), sizeof all});
}

Plan Plan::drawn_from(std::uint64_t seed, bool plain) { return Draw(seed, plain).plan(); }

Plan Plan::parse(std::string_view text) {
    Plan plan;
    std::istringstream lines{std::string(text)};
    for (std::string line; std::getline(lines, line);) {
        std::istringstream words(line);
        std::string first, verb;
        if (!(words >> first) || first[0] == '#') continue;
        words >> verb;
        if (first == "seed") {
            plan.seed = static_cast<std::uint64_t>(number_in(verb));
            continue;
        }
        Event event{static_cast<std::uint32_t>(number_in(first)), verb, {}};
        for (std::string word; words >> word;) {
            const std::size_t equals = word.find('=');
            if (equals == std::string::npos)
                throw std::runtime_error("a plan says `" + word + "` where NAME=VALUE belongs");
            event.arguments[word.substr(0, equals)] =
                number_in(std::string_view(word).substr(equals + 1));
        }
        plan.events.push_back(std::move(event));
    }
    return plan;
}

std::string Plan::text() const {
    std::string text = "seed " + std::to_string(seed) + "\n";
    for (const Event& event : events) {
        text += std::to_string(event.number) + " " + event.verb;
        for (const auto& [name, value] : event.arguments)
            text += " " + name + "=" + std::to_string(value);
        text += "\n";
    }
    return text;
}

}  // namespace rapport::sim
