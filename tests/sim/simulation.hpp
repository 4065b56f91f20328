// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <ostream>
#include <set>
#include <stdexcept>
#include <string>
#include <vector>

#include "protocol/messages.hpp"
#include "rapport/kinds.hpp"
#include "rapport/store.hpp"
#include "rapport/sync/syncer.hpp"
#include "server/engine.hpp"
#include "server/erasure.hpp"
#include "sim/oracle.hpp"
#include "sim/plan.hpp"
#include "support/chance.hpp"
#include "support/fault_vfs.hpp"
#include "support/temp_dir.hpp"

/// The production store, syncer, session and engine in one thread, over simulated clocks, network,
/// disks and chance. The same plan gives the same run, to the byte.
namespace rapport::sim {

/// How a plan ended.
struct Report {
    std::string violated;  ///< a promise, by a short name; empty: all held
    std::string sentence;
    std::uint32_t event = 0;            ///< at which it was seen
    std::uint64_t trace = 0;            ///< of everything that happened
    std::map<std::string, int> struck;  ///< faults that had an effect, and how often
};

/// Runs a plan and judges it after every event. `log` gets a line per event.
Report simulate(const Plan& plan, std::ostream* log = nullptr);

/// The classes of faults a long run must have seen.
const std::vector<std::string>& fault_classes();

/// A clock that moves only when told, and chance that depends on the event.
class Machine : public Environment {
public:
    Machine(const std::int64_t& world_ms, std::int64_t skew)
        : skew_ms(skew), world_ms_(world_ms), booted_ms_(world_ms) {}
    Instant now() override {
        return Instant(TimePoint(Milliseconds(world_ms_ + skew_ms)), std::chrono::minutes(60));
    }
    /// How long it has been running, which no set clock changes.
    std::optional<Uptime> uptime() override { return Uptime{boot_, world_ms_ - booted_ms_}; }
    void reboot() {
        ++boot_;
        booted_ms_ = world_ms_;
    }
    void random(std::span<std::uint8_t> out) override {
        for (std::uint8_t& byte : out) byte = static_cast<std::uint8_t>(chance_());
    }
    void draw_from(std::uint64_t seed) { chance_ = test::Chance(seed); }
    std::int64_t skew_ms;

private:
    const std::int64_t& world_ms_;
    std::int64_t booted_ms_ = 0;
    std::uint64_t boot_ = 1;
    test::Chance chance_{0};
};

inline constexpr const char* kAddress = "https://centre.example";

/// By the rules of the scopes, not by the server's code for them.
bool in_reach(const server::Device& device, const std::string& scope);

class Simulation {
public:
    Simulation(const Plan& plan, std::ostream* log);
    ~Simulation();
    void run();
    Report report;

private:
    // ---- the devices

    /// What a device file holds that nobody else may have, of its present user and of others.
    struct Held {
        struct User {
            std::uint64_t writer = 0;
            std::set<int> unsent;
            bool declined = false;
        };
        std::string rep;
        std::uint64_t writer = 0;
        std::set<int> unsent;                    ///< captures, as far as the centre has said
        bool declined = false;                   ///< it waits to be enrolled anew
        bool switched = false;                   ///< somebody has logged out of it
        std::map<std::string, User> logged_out;  ///< whose work waits in the file
        std::set<int> all_unsent() const;
    };
    /// One device file, its disk, its clock and its conversation.
    struct Unit : Held {
        std::uint32_t event = 0;  ///< that made it
        std::int64_t tenant = 0;
        std::string path, first_rep;
        Role role = Role::rep;
        bool newer_server = false;  ///< its server sends a field it does not know
        std::unique_ptr<Machine> machine;
        std::unique_ptr<test::Disk> disk;
        std::string planned, damage;  ///< the fault its disk is to meet
        std::unique_ptr<Transport> wire;
        std::unique_ptr<Store> store;
        std::unique_ptr<Syncer> syncer;
        bool doomed = false;  ///< its disk went while it was in an exchange
        const Event* syncing = nullptr;
        int exchanges = 0;
        std::vector<std::vector<Capture>> unsure;  ///< of commits that did not return
        struct Sent {
            std::uint64_t hash = 0, bundles = 0;  ///< of all of it, and of its bundles
        };
        std::map<std::uint64_t, Sent> requests;  ///< by sync id
        std::uint64_t newest_request = 0;
        std::deque<std::string> old_replies;
        std::uint64_t answered_at = 0;  ///< version of the centre at the last answer
        std::string copy;               ///< of its file, put aside; empty: none
        Held at_copy;
        int copies = 0;             ///< how often it was put back or cloned
        bool told_to_wait = false;  ///< by the last answer
    };
    class Wire;
    std::unique_ptr<Transport> wire_of(Unit& unit);
    struct Killed {};

    std::unique_ptr<test::Disk> make_disk(const std::string& path, std::uint32_t device);
    Unit* unit(const Event& event, std::string_view name = "device");
    void open(Unit& unit);
    void close(Unit& unit);
    /// Runs it on the open store. False: a fault struck, and the device is up again.
    bool on(Unit& unit, const std::function<void()>& work);
    void after_faults(Unit& unit, std::uint64_t failed_before);
    /// Takes note of what is captured; false if it was refused or did not return.
    bool commit(Unit& unit, std::vector<RecordEdit> edits, std::vector<Capture> captures,
                bool as_draft = false);
    void settle_unsure(Unit& unit);
    /// Under which id the device holds what was just captured; nullopt: it does not.
    std::optional<CaptureId> held_as(Unit& unit, const Capture& capture);
    void name_captures(Unit& unit, std::vector<Capture>& captures);
    /// What stands on the screen where the device is about to write.
    std::set<int> screen(Unit& unit, const RecordId& id, const Field& field, bool all_of_it);
    struct Draft;
    template <class K>
    void create(Draft& draft, const RecordId& id, const K& record);
    void add_edit(Unit& unit, Draft& draft, const RecordId& id, std::uint32_t fields,
                  std::uint64_t salt);
    std::vector<RecordId> records_of(const Event& event, std::string_view name = "record");

    // ---- the centre

    struct Server {
        std::unique_ptr<Machine> machine;
        std::shared_ptr<server::Storage> storage;  ///< one for all
        std::unique_ptr<server::Engine> engine;
        Limits limits;
    };
    Server& server(const Event& event);
    void open_servers();
    void close_servers();
    /// False: a fault struck, and the centre is up again.
    bool at_centre(const std::function<void()>& work);
    void look_at_centre(const std::function<void(server::Transaction&)>& work);
    HttpResponse exchange(Unit& unit, const HttpRequest& request);
    HttpResponse enrol(const HttpRequest& request);
    HttpResponse answer(Server& server, const HttpRequest& request, bool untouched,
                        const Unit* from);
    std::string as_newer_server(const std::string& archive) const;
    void tell(const protocol::Request& request, const protocol::Reply& reply) const;
    void as_older_device(protocol::Request& request) const;

    // ---- events

    void happen(const Event& event);
    void make_server(const Event& event);
    void make_device(const Event& event);
    void capture_customer(const Event& event);
    void capture_poison(const Event& event);
    void capture_entwined(const Event& event);
    void capture_visit(const Event& event);
    void capture_complaint(const Event& event);
    void capture_draft(const Event& event);
    void end_draft(const Event& event);
    void edit(const Event& event);
    void edit_two(const Event& event);
    void resolve(const Event& event);
    void repair(const Event& event);
    void request_state(const Event& event);
    void reference_data(const Event& event);
    void sync(const Event& event);
    void run_sync(Unit& unit, const Event& event);
    void note_writer(Unit& unit);
    void deliver(const Event& event);
    void plan_fault(const Event& event);
    void restart(const Event& event);
    void upgrade(const Event& event);
    void hand_over(const Event& event);
    void decide(const Event& event);
    void back_up(const Event& event);
    void restore(const Event& event);
    void copy_device(const Event& event);
    void put_back(const Event& event);
    void clone(const Event& event);
    void reinstall(const Event& event);
    void hold(Unit& unit, Held held);
    /// What the centre makes of who uses the file now.
    enum class Standing { known, revoked, unknown };
    Standing standing(const Unit& unit);
    std::vector<std::string> scopes_of(Unit& unit);
    void enrol_as(Unit& unit, const std::string& rep, const std::vector<std::string>& scopes);
    void switch_user(const Event& event);
    void become(Unit& unit, const std::string& rep);
    void revoke(const Event& event);
    void enrol_again(const Event& event);
    void set_scopes(const Event& event);
    void erase(const Event& event);
    const RecordId& subject_of(const Site& site) const;
    bool is_erased(const Site& site) const;
    void note_told(Unit& unit, std::vector<Capture>& captures);
    void erase_for_good();
    void settle();
    /// One sync without faults; returns whether something was sent or heard.
    static std::vector<std::string> others_of(const Unit& unit);
    void judge_at_rest(Unit& unit);
    bool sync_at_rest(Unit& unit, const Event& round);

    // ---- judging

    [[noreturn]] void violated(std::string invariant, std::string sentence) const;
    void expect(bool holds, const char* invariant, const std::string& sentence) const {
        if (!holds) violated(invariant, sentence);
    }
    /// Two faults of which each alone would leave a copy that knows: listed for a person.
    bool doubled() const { return restores_ > 1 || (restores_ > 0 && copies_ > 0); }
    std::set<std::uint64_t> kept_back();
    void note_offers(const server::Device& device, const protocol::Request& request,
                     const std::set<std::uint64_t>& kept_back_before);
    void note_overtaken(std::uint64_t writer);
    /// What the file could offer a restored centre: all it holds confirmed, and what is on its way.
    std::set<int> held_by(Unit& unit, bool confirmed);
    /// A sync that came to its end has offered all of it.
    void note_offered(const Unit& unit);
    void note_arrivals(std::uint64_t writer, const std::vector<std::string>& bundles);
    /// Has the centre a note that keeps an offer of this record for a person?
    static bool keeps_back(server::Transaction& tx, const std::string& tenant, const RecordId& id);
    void judge_record(server::Transaction& tx, std::int64_t tenant, const RecordId& id);
    void note_taken_for_one(server::Transaction& tx, const server::StoredRecord& stored,
                            const Site& site, std::set<int>& expected, const std::set<int>& live);
    void judge_sent(server::Transaction& tx, const server::Device& device,
                    std::string_view archive);
    void judge_unsent(Unit& unit);
    void judge_copy(Unit& unit);
    void judge_parked(Unit& unit);
    void judge_result(Unit& unit, const SyncResult& result);
    void judge_centre();
    void judge_whole(Unit& unit);
    std::set<int> kept_for_a_person();
    void judge_lost();
    void judge_readable(server::Transaction& tx, const std::string& tenant,
                        const RecordState& state);
    /// Calls for every text in these bytes that somebody captured, by its number.
    void each_text(std::string_view bytes, const std::function<void(int)>& work) const;
    void judge_erased(const std::string& path, const std::string& whose, bool is_device);
    void judge_file(Unit& unit);

    void strike(const std::string& fault) { ++report.struck[fault]; }
    void trace(std::string_view bytes);
    std::string tenant_name(std::int64_t tenant) const { return "t" + std::to_string(tenant); }
    std::string territory(std::int64_t number) const {
        return "territory/DE-" + std::to_string(10 + number);
    }
    RecordId draw_id(const Unit& unit);

    const Plan& plan_;
    std::ostream* log_;
    TempDir folder_;
    std::int64_t now_ms_ = 1'772'438'400'000;  // 2026-03-02T08:00:00Z
    std::size_t next_ = 0;                     // event
    const Event* event_ = nullptr;
    int depth_ = 0;
    std::uint64_t drawn_ids_ = 0, syncs_at_rest_ = 0;
    std::map<std::uint32_t, std::unique_ptr<Unit>> units_;
    std::vector<Server> servers_;
    std::unique_ptr<test::Disk> server_disk_;
    std::string server_planned_, server_damage_;
    std::uint64_t centre_version_ = 0;  // raised with everything that may have changed it
    std::int64_t newest_server_ms_ = 0;
    Oracle oracle_;
    int commits_ = 0;
    std::map<std::uint32_t, std::vector<RecordId>> records_;  // by event
    std::map<RecordId, std::int64_t> tenants_;                // of every record somebody captured
    std::map<RecordId, const Kind*> kinds_;
    std::map<std::uint32_t, std::vector<HttpRequest>> sent_;  // by event
    std::map<std::pair<std::uint64_t, std::uint64_t>, std::pair<Verdict, std::uint64_t>>
        judged_;                // by writer and counter: verdict and hash of the bytes
    std::set<RecordId> moved_;  // customers handed over
    bool territory_moved_ = false, scopes_changed_ = false;
    std::vector<std::pair<int, std::vector<int>>> wholes_;  // captures saved together, by commit
    struct Backup {
        std::string file;
        Oracle::Known known;
        std::map<std::pair<std::uint64_t, std::uint64_t>, std::pair<Verdict, std::uint64_t>> judged;
    };
    std::map<int, RecordId> whole_of_;  // customer of a commit
    std::optional<Backup> backup_;
    std::unique_ptr<server::Erasures> erasures_;  // only where a plan has erasures
    bool erases_ = false;
    std::set<RecordId> erased_;  // customers
    bool orders_wait_ = false;   // they are flushed; a fault kept the centre from what they say
    std::map<RecordId, RecordId> customer_of_;
    int restores_ = 0, copies_ = 0;  // of the centre; of device files
    std::set<int> shared_;      // captures that two files were to send, each under its own clock
    bool forgetful_ = false;    // a device dropped what it had received: it can offer it to nobody
    std::set<int> taken_back_;  // what the centre had, and lost when it was restored
    // What the files held at the last restore: of those that live on and have not offered it yet,
    // and of those that have.
    std::map<std::uint32_t, std::set<int>> could_offer_;
    std::set<int> offered_;
    std::set<std::uint32_t> not_back_;  // devices that have not synced since the last restore
};

}  // namespace rapport::sim
