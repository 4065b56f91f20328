// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "client/session.hpp"
#include "protocol/messages.hpp"
#include "rapport/kinds.hpp"
#include "rapport/store.hpp"
#include "server/engine.hpp"
#include "support/temp_dir.hpp"

/// Devices and a server in one thread, from one seed: the production store, session and engine over
/// a simulated network and simulated clocks. The same seed gives the same run.
namespace rapport::sim {

/// A clock that moves only when told, and chance from a seed. Each device has its own skew.
class SimulatedEnvironment : public Environment {
public:
    SimulatedEnvironment(const std::int64_t& world_ms, std::uint64_t seed)
        : world_ms_(world_ms), random_(seed) {}
    Instant now() override {
        return Instant(TimePoint(Milliseconds(world_ms_ + skew_ms)), std::chrono::minutes(60));
    }
    void random(std::span<std::uint8_t> out) override {
        for (auto& byte : out) byte = static_cast<std::uint8_t>(random_());
    }
    std::optional<Uptime> uptime() override {
        if (boot == 0) return std::nullopt;
        return Uptime{boot, world_ms_ - started_ms_};
    }
    /// From now on the device tells how long it has been running.
    void start_machine() {
        ++boot;
        started_ms_ = world_ms_;
    }
    std::int64_t skew_ms = 0;
    std::uint64_t boot = 0;

private:
    std::int64_t started_ms_ = 0;
    const std::int64_t& world_ms_;
    std::mt19937_64 random_;
};

/// Fails the test for each refusal of a capture.
void expect(const Captured& captured);

Visit a_visit(const Id<Customer>& customer);
Complaint a_complaint(const Id<Customer>& customer, const std::string& words = "Deckel undicht");

/// How often the network does what, each 0 .. 1 per message.
struct Faults {
    double lose_request = 0, lose_reply = 0;
    double repeat = 0;  ///< a request is delivered and stays in the network, to be delivered again
                        ///< at any later time
    double delay = 0;   ///< a message stays for a later step, perhaps after its successor
    double cut = 0;     ///< a body arrives short
};

class World;

/// One device file and its conversation.
class Device {
public:
    Device(World& world, std::string name, const std::string& path, const Identity& identity,
           std::uint64_t seed);

    template <class K>
    Id<K> capture(const K& record) {
        auto [id, captured] = store->put(record);
        last = captured;
        return id;
    }
    template <class K>
    Edit<K> edit(const Id<K>& id) {
        return store->edit(id);
    }
    template <class K>
    K read(const Id<K>& id) const {
        return store->read(id).value_or(K{});
    }
    /// Closes the file and opens it again, as after a kill: whatever was only in memory is gone.
    void restart();
    /// A copy of the file as it is now, in a file of this name beside it.
    std::string copy(const std::string& name);
    /// The file is what it was when this copy was made.
    void restore(const std::string& copy);
    /// Gives the session a reply.
    Session::Step take(const std::string& archive);

    const std::string& path() const { return path_; }

    std::string name;
    SimulatedEnvironment environment;
    std::unique_ptr<Store> store;
    std::unique_ptr<Session> session;
    std::uint64_t writer = 0;  ///< under which it sends: after a fork another one
    bool online = true;
    Captured last;  ///< of the last capture()

private:
    std::string path_;
};

struct WorldOptions {
    std::uint64_t seed = 1;
    Limits limits;
    Faults faults;
};

class World {
public:
    explicit World(const WorldOptions& options = {});
    ~World();

    Device& device(const std::string& rep, Role role, std::vector<std::string> scopes);
    /// Another device over a copy of this one's file, as after a phone was set up from the backup
    /// of another.
    Device& clone(Device& of);
    /// The same over a copy made before.
    Device& clone(Device& of, const std::string& copy);
    /// Phone and tablet of one rep.
    std::pair<Device&, Device&> pair(const std::string& territory, const std::string& rep = "R17");

    /// One customer in the territory, known to the server and, after settle(), to all devices of
    /// the territory.
    Id<Customer> customer(Device& by, const std::string& name = "Molkerei Nord");

    /// As `rapportd handover` does; what hangs on the customer follows by and by.
    void hand_over(const RecordId& customer, const std::string& to);

    /// As `rapportd devices scopes` does.
    void give_scopes(const Device& device, const std::vector<std::string>& scopes);

    void set_server_clock(std::int64_t skew_ms) { server_environment_.skew_ms = skew_ms; }
    /// The server is killed and started again over its file; `meanwhile` may change it.
    void restart_server(const std::function<void()>& meanwhile = {});
    /// A consistent copy of the server's file, as `rapportd backup` makes it.
    std::string back_up_server();
    /// The server starts again over this copy; all it did since is lost.
    void restore_server(const std::string& copy);

    void cut(Device& device) { device.online = false; }
    void heal() {
        for (auto& d : devices_) d->online = true;
    }
    /// Lets time pass.
    void pass(std::int64_t ms) { now_ms_ += ms; }

    /// One thing happens: a device sends, or the network delivers, loses, repeats or holds a
    /// message.
    void step();
    /// Without faults, until every online device is done and has seen what the others sent.
    /// Messages still in the network arrive first, late as they are. Fails the test if it does not
    /// end.
    void settle();
    void heal_and_settle() {
        heal();
        settle();
    }

    /// Every device shows exactly what the server holds for it: live values, dots and counters; and
    /// no row is out of scope. Returns a sentence per difference.
    std::vector<std::string> differences();
    RecordState server_state(const RecordId& id);

    std::uint64_t chance(std::uint64_t below) { return random_() % below; }
    bool happens(double rate) { return static_cast<double>(random_() >> 11) * 0x1.0p-53 < rate; }

    std::vector<std::unique_ptr<Device>>& devices() { return devices_; }
    server::Storage& storage() { return *storage_; }
    server::Engine& engine() { return *engine_; }
    std::string server_file() const { return folder_.file("server.db"); }
    const std::int64_t& now_ms() const { return now_ms_; }
    Faults faults;
    /// Messages of each fate since the start, to see that a fault really struck.
    std::map<std::string, int> struck;

private:
    struct Message {
        std::size_t device;
        std::uint64_t writer;  ///< of the credential it was sent with
        bool to_server;
        std::string body;
    };
    /// What a server says who does not know the credential; false: it is right.
    bool not_known(Device& device, std::uint64_t writer);
    void send(std::size_t device);
    void deliver(const Message& message);
    std::string body_of(const std::string& archive, protocol::Contents contents);

    WorldOptions options_;
    TempDir folder_;
    std::int64_t now_ms_ = 1'772'438'400'000;  // 2026-03-02T08:00:00Z
    std::mt19937_64 random_;
    SimulatedEnvironment server_environment_;
    std::unique_ptr<server::Storage> storage_;
    std::unique_ptr<server::Erasures> erasures_;
    std::unique_ptr<server::Engine> engine_;
    std::vector<std::unique_ptr<Device>> devices_;
    std::deque<Message> network_;
    int backups_ = 0;
};

/// Changes rows behind the store's back; the test fails if there are none.
void damage(Device& device, const std::string& sql);
/// An id as SQL writes it.
std::string blob(const RecordId& id);

/// Fails the test for each of world.differences().
void check_converged(World& world);

}  // namespace rapport::sim
