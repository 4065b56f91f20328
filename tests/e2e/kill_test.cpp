// SPDX-License-Identifier: Apache-2.0
// kill -9 of the real programs at random points of what they usually take, over a network that
// delays, narrows, cuts and loses. RAPPORT_KILLS is how many must have hit a living process at work
// (100), RAPPORT_SEED draws the points. soak.sh runs it for longer.
#include <algorithm>
#include <array>
#include <chrono>
#include <cstdlib>
#include <iostream>
#include <random>
#include <set>
#include <thread>

#include "programs.hpp"
#include "rapport/id.hpp"
#include "rapport/store.hpp"
#include "support/chance.hpp"
#include "support/fault_proxy.hpp"

using namespace rapport::test;

namespace {

using Clock = std::chrono::steady_clock;
using Micros = std::chrono::microseconds;

// One bundle: a visit with its complaint and its wish, all three marked with one text of their own.
struct Trip {
    std::string text;
    std::array<std::string, 3> ids;  // visit, complaint, wish
};

Words trip_words(const std::string& customer, const std::string& text) {
    return {"visit",
            "customer_id=" + customer,
            "type=visit",
            "started_at=2026-03-02T09:00:00+01:00",
            "summary=" + text,
            "+",
            "complaint",
            "customer_id=" + customer,
            "visit_id=@1",
            "product_text=Becher",
            "verbatim=undicht",
            "severity=major",
            "lot=" + text,
            "+",
            "product_wish",
            "customer_id=" + customer,
            "visit_id=@1",
            "importance=nice",
            "need=" + text};
}

std::string trip_lines(const std::string& customer, const Trip& trip) {
    const auto line = [&](const char* kind, std::size_t i, Json fields) {
        fields["customer_id"] = customer;
        if (i > 0) fields["visit_id"] = trip.ids[0];
        return Json{{"kind", kind}, {"id", trip.ids[i]}, {"bundle", trip.text}, {"fields", fields}}
                   .dump() +
               "\n";
    };
    return line("visit", 0,
                {{"type", "visit"},
                 {"started_at", "2026-03-02T09:00:00+01:00"},
                 {"summary", trip.text}}) +
           line("complaint", 1,
                {{"product_text", "Becher"},
                 {"verbatim", "undicht"},
                 {"severity", "major"},
                 {"lot", trip.text}}) +
           line("product_wish", 2, {{"importance", "nice"}, {"need", trip.text}});
}

// The text of the trip a record belongs to; empty for others.
std::string trip_of(const Json& record) {
    const std::string kind = record.at("kind");
    const char* field = kind == "visit"          ? "summary"
                        : kind == "complaint"    ? "lot"
                        : kind == "product_wish" ? "need"
                                                 : "";
    return record.at("fields").value(field, "");
}

std::set<std::string> hints_of(const Json& wish) {
    return wish.at("fields").value("theme_hint", std::set<std::string>{});
}

bool holds(const std::set<std::string>& all, const std::set<std::string>& some) {
    return std::includes(all.begin(), all.end(), some.begin(), some.end());
}

// Texts of the trips in these records; `broken` gets those that are not there whole, or twice.
std::set<std::string> trips_in(const std::map<std::string, Json>& records, Words& broken) {
    std::map<std::string, std::multiset<std::string>> kinds;
    for (const auto& [id, record] : records)
        if (const std::string text = trip_of(record); !text.empty())
            kinds[text].insert(record.at("kind").get<std::string>());
    std::set<std::string> texts;
    for (const auto& [text, found] : kinds) {
        texts.insert(text);
        if (found != std::multiset<std::string>{"complaint", "product_wish", "visit"})
            broken.push_back(text);
    }
    return texts;
}

// What a device file holds, read by the library itself while nobody writes.
struct Content {
    std::map<std::string, Json> records;
    std::set<std::string> confirmed;
    std::size_t sent = 0;  // bundles under way
    Words findings;        // what `rapport doctor` says

    Content(const std::string& file, bool with_states) {
        rapport::Store::Options options;
        options.read_only = true;
        const auto store = rapport::Store::open(file, options);
        findings = store.check();
        sent = store.overview().sent;
        store.export_records(nullptr, false, [&](const std::string& line) {
            Json record = Json::parse(line);
            const std::string id = record.at("id");
            if (with_states) {
                const auto state = store.status(*rapport::RecordId::parse(id)).state;
                if (state == rapport::SyncState::confirmed || state == rapport::SyncState::conflict)
                    confirmed.insert(id);
            }
            records.emplace(id, std::move(record));
        });
    }
};

// How long something usually takes, learnt from the kills that came in time or too late.
class Pace {
public:
    void start(Micros idle, Micros usual) {
        idle_ = std::min(idle, usual / 2);
        usual_ = usual;
    }
    // Before `idle` the system only loads the program.
    Micros draw(Chance& chance) const {
        const auto span = static_cast<std::uint64_t>((usual_ - idle_).count()) + 1;
        const std::uint64_t random = std::uint64_t{chance()} << 32 | chance();
        return idle_ + Micros(static_cast<std::int64_t>(random % span));
    }
    // Settles where one in four comes too late: then the points reach to the very end of the work.
    // Until one has come in time, what was measured was another load of the machine.
    void learn(bool hit) {
        met_ = met_ || hit;
        if (hit)
            usual_ = usual_ * 104 / 100;
        else
            usual_ =
                std::max(idle_ + Micros(1000), met_ ? usual_ * 88 / 100 : (idle_ + usual_) / 2);
    }
    Micros usual() const { return usual_; }

private:
    Micros idle_{0}, usual_{0};
    bool met_ = false;
};

struct Tally {
    int hit = 0, late = 0;
    int midway = 0;  // of the hits: something was done and something was not
};

struct Plan {
    Chance chance;
    int wanted;
    std::map<std::string, Pace> paces;
    std::map<std::string, Tally> tallies;
    std::map<std::string, int> network{};  // connections by what they met with

    int hits() const {
        int sum = 0;
        for (const auto& [name, tally] : tallies) sum += tally.hit;
        return sum;
    }
    int strikes() const {
        int sum = 0;
        for (const auto& [name, tally] : tallies) sum += tally.hit + tally.late;
        return sum;
    }
    bool done() const { return hits() >= wanted; }
};

// A fresh server and fresh files then, so that reading them stays quick.
constexpr int kKillsOfOneWeek = 25;

// A server and two devices of one rep, and what was ever seen in them: none of it may go again.
class Week {
public:
    Week(Plan& plan, int number) : plan_(plan), prefix_("W" + std::to_string(number) + "-") {
        network_.calm(true);
        for (const Device* device : {&phone_, &tablet_})
            device->output("enrol", {"--server", network_.url(), "--code",
                                     server_.invite(device->rep(), "rep", "territory/DE-50")});
        key_ = server_.feed_key();
        customer_ = phone_.customer("Molkerei Mork");
        capture(phone_, 2);  // for either device to edit
        phone_.synced();
        tablet_.synced();
        sound(tablet_);
    }

    void play() {
        if (plan_.paces.empty()) measure();
        const int until = plan_.hits() + kKillsOfOneWeek;
        const Device *here = &phone_, *there = &tablet_;
        network_.calm(false);
        while (!plan_.done() && plan_.hits() < until) {
            import_under_fire(*here);
            sync_under_fire(*here);
            add_under_fire(*there);
            edit_under_fire(*there);
            sync_with_the_server_under_fire();
            for (const Device* device : {&phone_, &tablet_}) CHECK(device->run("doctor").exit == 0);
            std::swap(here, there);
        }
        settle();
    }

private:
    // ---- the victims

    // Runs it and kills it at a random point of what it usually takes.
    Outcome strike(const std::string& name, const Words& argv) {
        Pace& pace = plan_.paces[name];
        const Micros drawn = pace.draw(plan_.chance);
        const auto started = Clock::now();
        Process victim(argv);
        std::this_thread::sleep_until(started + drawn);
        victim.kill();
        const Outcome outcome = victim.wait();
        const bool hit = outcome.signal == SIGKILL;
        pace.learn(hit);
        ++(hit ? plan_.tallies[name].hit : plan_.tallies[name].late);
        // What had time to end, ended well; a sync may have found no network.
        if (!hit)
            CHECK_MESSAGE((outcome.exit == 0 || (name == "sync" && outcome.exit == 3)), name,
                          " printed ", outcome.err);
        return outcome;
    }

    void import_under_fire(const Device& device) {
        const std::vector<Trip> trips = new_trips();
        const std::string file = write(trips);
        for (int i = 0; i < 2; ++i) {
            const Outcome outcome = strike("import", device.words("import", {file}));
            const Content content = sound(device);
            // Captured one after the other: what is there are the first ones.
            const std::size_t there = leading(trips, content);
            for (std::size_t n = there; n < trips.size(); ++n)
                if (content.records.count(trips[n].ids[0]) != 0)
                    FAIL_CHECK(trips[n].text, " is there and one before it is not");
            if (outcome.signal == SIGKILL && there > 0 && there < trips.size())
                ++plan_.tallies["import"].midway;
            if (outcome.signal == 0) CHECK(there == trips.size());
        }
        // The same file again completes it, and nothing of it comes twice.
        device.output("import", {file});
        CHECK(leading(trips, sound(device)) == trips.size());
    }

    void add_under_fire(const Device& device) {
        const std::string text = prefix_ + std::to_string(next_++);
        const Outcome outcome = strike("add", device.words("add", trip_words(customer_, text)));
        const Content content = sound(device);
        Words broken;
        const bool there = trips_in(content.records, broken).count(text) == 1;
        const Words printed = lines_of(outcome.out);
        const bool returned =
            outcome.signal == 0 || (printed.size() == 3 && outcome.out.back() == '\n');
        if (returned) {
            REQUIRE(printed.size() == 3);
            for (const std::string& id : printed)
                CHECK_MESSAGE(content.records.count(id) == 1, id, " was printed and is not there");
        } else if (there) {
            ++plan_.tallies["add"].midway;
        }
    }

    void edit_under_fire(const Device& device) {
        const Words& wishes = wishes_[&device];
        REQUIRE_FALSE(wishes.empty());
        const std::string wish = wishes[plan_.chance() % wishes.size()];
        const std::string hint = prefix_ + "hint-" + std::to_string(next_++);
        const Outcome outcome = strike("set", device.words("set", {wish, "theme_hint+=" + hint}));
        const Content content = sound(device);
        const bool there = hints_of(content.records.at(wish)).count(hint) == 1;
        if (outcome.signal == 0) CHECK_MESSAGE(there, "an edit that returned is not there");
        if (there && outcome.signal == SIGKILL) ++plan_.tallies["set"].midway;
    }

    void sync_under_fire(const Device& device) {
        for (int i = 0; i < 2; ++i) {
            const Outcome outcome = strike("sync", device.words("sync", {"--for", "60s"}));
            const Content content = sound(device, true);
            if (outcome.signal == SIGKILL && content.sent > 0) ++plan_.tallies["sync"].midway;
            read_feed();
            compare_confirmed(device, content);
        }
    }

    void sync_with_the_server_under_fire() {
        for (int i = 0; i < 2; ++i) {
            Pace& pace = plan_.paces["serve"];
            const Micros drawn = pace.draw(plan_.chance);
            const auto started = Clock::now();
            Process one(phone_.words("sync", {"--for", "60s"})),
                other(tablet_.words("sync", {"--for", "60s"}));
            std::this_thread::sleep_until(started + drawn);
            const bool at_work = one.running() || other.running();
            CHECK(server_.kill().signal == SIGKILL);
            Tally& tally = plan_.tallies["serve"];
            ++(at_work ? tally.hit : tally.late);
            pace.learn(at_work);
            bool interrupted = false;
            for (Process* sync : {&one, &other}) {
                const Outcome outcome = sync->wait();
                CHECK_MESSAGE((outcome.exit == 0 || outcome.exit == 3), outcome.err);
                interrupted |= outcome.exit == 3;
            }
            if (at_work && interrupted) ++tally.midway;
            server_.start();
            read_feed_again();
            for (const Device* device : {&phone_, &tablet_})
                compare_confirmed(*device, sound(*device, true));
            // Something to send for the second one as well.
            if (i == 0) capture(phone_, 4);
        }
    }

    // ---- what must hold

    // The file is sound, every bundle in it whole, and what was once there still is.
    Content sound(const Device& device, bool with_states = false) {
        Content content(device.file(), with_states);
        CHECK_MESSAGE(content.findings.empty(), device.file(), ": ",
                      content.findings.empty() ? "" : content.findings[0]);
        Words broken;
        const auto trips = trips_in(content.records, broken);
        CHECK_MESSAGE(broken.empty(), broken.size(), " bundles are not whole, the first is ",
                      broken.empty() ? "" : broken[0]);
        seen_trips_.insert(trips.begin(), trips.end());
        auto& seen = seen_[&device];
        for (const auto& [id, hints] : seen) {
            const auto record = content.records.find(id);
            if (record == content.records.end())
                FAIL_CHECK(id, " was in ", device.file(), " and is gone");
            else if (!holds(hints_of(record->second), hints))
                FAIL_CHECK("an edit of ", id, " was in ", device.file(), " and is gone");
        }
        wishes_[&device].clear();
        for (const auto& [id, record] : content.records) {
            if (record.at("kind") == "product_wish") wishes_[&device].push_back(id);
            seen[id] = hints_of(record);
            seen_hints_[id].insert(seen[id].begin(), seen[id].end());
        }
        return content;
    }

    static std::size_t leading(const std::vector<Trip>& trips, const Content& content) {
        std::size_t there = 0;
        while (there < trips.size() && content.records.count(trips[there].ids[0])) ++there;
        return there;
    }

    // Reads on where it stopped.
    void read_feed() {
        for (;;) {
            FeedPage page = server_.feed_page(key_, "limit=5000&after=" + cursor_);
            for (Json& record : page.records) {
                const std::string id = record.at("id");
                feed_[id] = std::move(record);
            }
            if (page.cursor == cursor_) break;
            cursor_ = page.cursor;
        }
        Words broken;
        trips_in(feed_, broken);
        CHECK_MESSAGE(broken.empty(), broken.size(),
                      " bundles are not whole at the server, the first is ",
                      broken.empty() ? "" : broken[0]);
    }

    // A reader that went on and one that begins anew have the same: nothing that was given out is
    // gone, nothing was slipped in behind a cursor.
    void read_feed_again() {
        read_feed();
        const auto anew = server_.feed(key_);
        if (anew == feed_) return;
        FAIL_CHECK("the feed reads differently from its beginning");
        for (const auto& [id, record] : feed_)
            if (anew.count(id) == 0) FAIL_CHECK(id, " was in the feed and is gone");
    }

    void compare_confirmed(const Device& device, const Content& content) {
        for (const std::string& id : content.confirmed) {
            const auto there = feed_.find(id);
            if (there == feed_.end())
                FAIL_CHECK(id, " is confirmed in ", device.file(), " and not at the server");
            else if (!holds(hints_of(there->second), hints_of(content.records.at(id))))
                FAIL_CHECK("an edit of ", id, " is confirmed in ", device.file(),
                           " and not at the server");
        }
    }

    // Everything runs to its end, and all agree.
    void settle() {
        network_.calm(true);
        for (int i = 0; i < 2; ++i)
            for (const Device* device : {&phone_, &tablet_}) device->synced();
        std::map<std::string, std::map<std::string, Json>> files;
        for (const Device* device : {&phone_, &tablet_}) {
            CHECK(device->run("doctor").exit == 0);
            CHECK(device->unsent() == 0);
            CHECK(device->conflicts().empty());
            CHECK(device->exported({"--unsent"}).empty());
            for (Json& record : device->exported()) {
                const std::string id = record.at("id");
                CHECK(files[device->file()].emplace(id, std::move(record)).second);
            }
        }
        const auto& mine = files[phone_.file()];
        CHECK_MESSAGE(mine == files[tablet_.file()], "the two devices differ");

        read_feed_again();
        CHECK(feed_.size() == mine.size());
        for (const auto& [id, record] : mine) {
            if (feed_.count(id) == 0) {
                FAIL_CHECK(id, " is not in the feed");
                continue;
            }
            for (const char* member : {"kind", "scope", "fields"})
                if (feed_.at(id).at(member) != record.at(member))
                    FAIL_CHECK(member, " of ", id, ": ", record.dump(), " on the devices, ",
                               feed_.at(id).dump(), " at the server");
        }
        Words broken;
        const auto texts = trips_in(mine, broken);
        CHECK(broken.empty());
        CHECK(texts == seen_trips_);
        for (const auto& [id, hints] : seen_hints_)
            if (hints_of(mine.at(id)) != hints) FAIL_CHECK("edits of ", id, " are not all there");
        CHECK(server_.stop().exit == 0);
        for (const auto& [name, count] : network_.struck()) plan_.network[name] += count;
    }

    // ---- captures

    std::vector<Trip> new_trips(std::size_t count = 0) {
        if (count == 0) count = 5 + plan_.chance() % 8;
        std::vector<Trip> trips(count);
        for (Trip& trip : trips) {
            trip.text = prefix_ + std::to_string(next_++);
            for (std::string& id : trip.ids) {
                std::array<std::uint8_t, 10> random{};
                for (std::uint8_t& byte : random) byte = static_cast<std::uint8_t>(plan_.chance());
                const auto now = std::chrono::duration_cast<std::chrono::milliseconds>(
                    std::chrono::system_clock::now().time_since_epoch());
                id = rapport::time_ordered_id(now.count(), random).text();
            }
        }
        return trips;
    }

    std::string write(const std::vector<Trip>& trips) const {
        std::ofstream out(folder_.file("data.ndjson"), std::ios::binary | std::ios::trunc);
        for (const Trip& trip : trips) out << trip_lines(customer_, trip);
        return folder_.file("data.ndjson");
    }

    void capture(const Device& device, std::size_t count) {
        const std::vector<Trip> trips = new_trips(count);
        device.output("import", {write(trips)});
        CHECK(leading(trips, sound(device)) == count);
    }

    // How long each of them takes when nobody disturbs it.
    void measure() {
        const auto timed = [&](const Words& argv) {
            const auto started = Clock::now();
            output_of(argv);
            return std::chrono::duration_cast<Micros>(Clock::now() - started);
        };
        const Micros idle = timed(rapport_words({"--version"}));
        const std::vector<Trip> trips = new_trips(10);
        plan_.paces["import"].start(idle, timed(phone_.words("import", {write(trips)})));
        plan_.paces["sync"].start(idle, timed(phone_.words("sync")));
        const std::string text = prefix_ + std::to_string(next_++);
        plan_.paces["add"].start(idle, timed(tablet_.words("add", trip_words(customer_, text))));
        plan_.paces["set"].start(
            idle, timed(phone_.words("set", {trips[0].ids[2], "theme_hint+=first"})));
        const auto started = Clock::now();
        {
            Process one(phone_.words("sync")), other(tablet_.words("sync"));
            CHECK(one.wait().exit == 0);
            CHECK(other.wait().exit == 0);
        }
        plan_.paces["serve"].start(idle,
                                   std::chrono::duration_cast<Micros>(Clock::now() - started));
        sound(phone_);
        sound(tablet_);
    }

    Plan& plan_;
    const std::string prefix_;
    int next_ = 1;
    TempDir folder_;
    Server server_{folder_.file("server.db")};
    FaultProxy network_{server_.port(), plan_.chance()};
    Device phone_{folder_, "phone", "R17"}, tablet_{folder_, "tablet", "R17"};
    std::string key_, customer_, cursor_;
    std::map<std::string, Json> feed_;
    std::map<const Device*, std::map<std::string, std::set<std::string>>> seen_;  // ids with hints
    std::map<const Device*, Words> wishes_;
    std::map<std::string, std::set<std::string>> seen_hints_;
    std::set<std::string> seen_trips_;
};

std::uint64_t number_in(const char* variable, std::uint64_t otherwise) {
    const char* text = std::getenv(variable);
    return text != nullptr && *text != '\0' ? std::stoull(text) : otherwise;
}

}  // namespace

TEST_CASE("kill -9 of capture, sync and server at any point loses and halves nothing") {
    const std::uint64_t seed = number_in("RAPPORT_SEED", std::random_device{}());
    Plan plan{Chance(seed), static_cast<int>(number_in("RAPPORT_KILLS", 100)), {}, {}};
    std::cout << "RAPPORT_SEED=" << seed << std::endl;
    for (int week = 1; !plan.done(); ++week) {
        Week(plan, week).play();
        // Most points must lie in the work, or they prove nothing.
        REQUIRE(plan.strikes() < 3 * plan.wanted + 30);
    }
    int midway = 0;
    for (const auto& [name, tally] : plan.tallies) {
        std::cout << name << ": " << tally.hit << " kills hit it, " << tally.midway
                  << " of them midway, " << tally.late << " came late; it takes about "
                  << plan.paces[name].usual().count() / 1000 << " ms" << std::endl;
        if (plan.wanted >= 100) CHECK(tally.hit > 0);
        midway += tally.midway;
    }
    std::cout << "connections:";
    for (const auto& [name, count] : plan.network) std::cout << ' ' << name << ' ' << count << ';';
    std::cout << std::endl;
    if (plan.wanted >= 100) CHECK(plan.network.size() == 5);
    if (plan.wanted >= 100) CHECK(midway > plan.wanted / 10);
}
