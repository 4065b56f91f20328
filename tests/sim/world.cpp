// SPDX-License-Identifier: Apache-2.0
#include "sim/world.hpp"

#include <doctest/doctest.h>

#include <filesystem>

#include "protocol/messages.hpp"
#include "server/scopes.hpp"
#include "store/core.hpp"
#include "store/rows.hpp"

namespace rapport::sim {

Device::Device(World& world, std::string name_, const std::string& path, const Identity& identity,
               std::uint64_t seed)
    : name(std::move(name_)), environment(world.now_ms(), seed), path_(path) {
    restart();
    if (identity.writer != 0) Replica(*store).enrol(identity);
    writer = Replica(*store).identity()->writer;
}

Session::Step Device::take(const std::string& archive) {
    const Session::Step step = session->take_reply(archive);
    writer = Replica(*store).identity()->writer;
    return step;
}

std::string Device::copy(const std::string& file) {
    session.reset();
    store.reset();  // closing brings the log home
    const std::filesystem::path to = std::filesystem::path(path_).parent_path() / file;
    std::filesystem::copy_file(path_, to);
    restart();
    return to.string();
}

void Device::restore(const std::string& copy) {
    session.reset();
    store.reset();
    std::filesystem::copy_file(copy, path_, std::filesystem::copy_options::overwrite_existing);
    restart();
}

void Device::restart() {
    session.reset();
    store.reset();
    Store::Options options;
    options.environment = &environment;
    store = std::make_unique<Store>(Store::open(path_, options));
    session = std::make_unique<Session>(*store);
    session->begin();
    if (const auto identity = Replica(*store).identity()) writer = identity->writer;
}

World::World(const WorldOptions& options)
    : faults(options.faults),
      options_(options),
      random_(options.seed),
      server_environment_(now_ms_, options.seed ^ 0x5EEDULL),
      storage_(server::open_sqlite_storage(server_file())),
      erasures_(std::make_unique<server::Erasures>(server::erasures_path(server_file()))),
      engine_(std::make_unique<server::Engine>(*storage_, server_environment_, options.limits,
                                               server::kHorizonDays, erasures_.get())) {}

World::~World() = default;

Device& World::device(const std::string& rep, Role role, std::vector<std::string> scopes) {
    const std::uint64_t writer = 1000 + devices_.size();
    server::Device row;
    row.tenant = "default";
    row.writer = writer;
    row.rep = rep;
    row.role = role;
    row.scopes = scopes;
    row.credential_hash = "hash-" + std::to_string(writer);
    auto transaction = storage_->begin_write();
    transaction->save(row);
    transaction->commit();
    const Identity identity{"memory:", "default", rep, role, std::move(scopes), writer, "secret"};
    const std::string name = rep + "-" + std::to_string(devices_.size());
    devices_.push_back(std::make_unique<Device>(*this, name, folder_.file(name + ".rapport"),
                                                identity, random_()));
    return *devices_.back();
}

Device& World::clone(Device& of) {
    return clone(of, of.copy("clone-" + std::to_string(devices_.size())));
}

Device& World::clone(Device& of, const std::string& copy) {
    const std::string name = of.name + "-" + std::to_string(devices_.size());
    const std::string path = folder_.file(name + ".rapport");
    std::filesystem::copy_file(copy, path);
    devices_.push_back(std::make_unique<Device>(*this, name, path, Identity{}, random_()));
    // Two copies that capture in the same millisecond would give the same capture id.
    devices_.back()->environment.skew_ms = of.environment.skew_ms + 1;
    return *devices_.back();
}

std::string World::back_up_server() {
    std::string copy = folder_.file("backup-" + std::to_string(++backups_) + ".db");
    storage_->backup(copy);
    return copy;
}

void World::restore_server(const std::string& copy) {
    engine_.reset();
    storage_.reset();
    for (const char* tail : {"-wal", "-shm"}) std::filesystem::remove(server_file() + tail);
    std::filesystem::copy_file(copy, server_file(),
                               std::filesystem::copy_options::overwrite_existing);
    restart_server();
}

std::pair<Device&, Device&> World::pair(const std::string& territory, const std::string& rep) {
    Device& phone = device(rep, Role::rep, {territory});
    return {phone, device(rep, Role::rep, {territory})};
}

Id<Customer> World::customer(Device& by, const std::string& name) {
    Customer customer;
    customer.name = name;
    const Id<Customer> id = by.capture(customer);
    REQUIRE(by.last);
    return id;
}

void World::hand_over(const RecordId& customer, const std::string& to) {
    const auto refused = engine_->begin("default", {customer, {}, to});
    REQUIRE_MESSAGE(!refused, refused->sentence);
}

void World::give_scopes(const Device& device, const std::vector<std::string>& scopes) {
    const auto transaction = storage_->begin_write();
    server::give_scopes(*transaction, *transaction->device(device.writer), scopes, now_ms_);
    transaction->commit();
}

void World::restart_server(const std::function<void()>& meanwhile) {
    engine_.reset();
    erasures_.reset();
    storage_.reset();
    if (meanwhile) meanwhile();
    storage_ = server::open_sqlite_storage(server_file());
    erasures_ = std::make_unique<server::Erasures>(server::erasures_path(server_file()));
    engine_ = std::make_unique<server::Engine>(*storage_, server_environment_, options_.limits,
                                               server::kHorizonDays, erasures_.get());
}

std::string World::body_of(const std::string& archive, protocol::Contents contents) {
    std::string body = protocol::pack(archive, contents);
    if (happens(faults.cut)) {
        ++struck["cut"];
        body.resize(chance(body.size()));
    }
    return body;
}

void World::send(std::size_t index) {
    Device& device = *devices_[index];
    const std::string body = body_of(device.session->next_request(), protocol::Contents::request);
    network_.push_back({index, device.writer, true, body});
}

void World::deliver(const Message& message) {
    Device& device = *devices_[message.device];
    std::string archive;
    try {
        archive = protocol::unpack(message.body, 64U << 20);
    } catch (const Error&) {
        return;  // cut on the way; whoever sent it will repeat it
    }
    if (message.to_server) {
        const server::Engine::Answer answer = engine_->sync({message.writer, archive});
        if (answer.error_code == "not_authorised" && not_known(device, message.writer)) return;
        REQUIRE_MESSAGE(answer.error_code.empty(), answer.error_code, ": ", answer.error_sentence);
        network_.push_back({message.device, message.writer, false,
                            body_of(answer.archive, protocol::Contents::reply)});
        return;
    }
    const Session::Step step = device.take(archive);
    REQUIRE_FALSE(step.declined);
    if (!step.counted) ++struck["reply to another request"];
    if (step.done) device.session->begin();
}

bool World::not_known(Device& device, std::uint64_t writer) {
    if (device.writer != writer) return true;  // a late copy from before its fork
    if (!device.session->take_not_known()) return false;
    device.writer = Replica(*device.store).identity()->writer;
    ++struck["fork forgotten"];
    return true;
}

void World::step() {
    pass(static_cast<std::int64_t>(chance(2000)));
    if (happens(0.2)) engine_->carry_on();
    if (network_.empty() || happens(0.3)) {
        const std::size_t index = chance(devices_.size());
        if (devices_[index]->online) send(index);
        return;
    }
    const std::size_t at = happens(faults.delay) ? chance(network_.size()) : 0;
    if (at > 0) ++struck["out of order"];
    Message message = network_[at];
    network_.erase(network_.begin() + static_cast<std::ptrdiff_t>(at));
    if (!devices_[message.device]->online ||
        happens(message.to_server ? faults.lose_request : faults.lose_reply)) {
        ++struck[message.to_server ? "request lost" : "reply lost"];
        return;
    }
    if (message.to_server && happens(faults.repeat)) {
        ++struck["request repeated"];
        network_.push_back(message);
    }
    deliver(message);
}

void World::settle() {
    const Faults before = faults;
    faults = {};
    while (!network_.empty()) {
        const Message message = network_.front();
        network_.pop_front();
        if (devices_[message.device]->online) deliver(message);
    }
    for (int round = 0; round < 3; ++round) {
        while (engine_->carry_on() > 0) {
        }
        for (std::size_t i = 0; i < devices_.size(); ++i) {
            Device& device = *devices_[i];
            if (!device.online) continue;
            device.session->begin();
            for (int requests = 0;; ++requests) {
                REQUIRE_MESSAGE(requests < 1000, device.name, " never gets done");
                pass(20);
                const auto answer = engine_->sync({device.writer, device.session->next_request()});
                if (answer.error_code == "not_authorised" && not_known(device, device.writer))
                    continue;
                REQUIRE_MESSAGE(answer.error_code.empty(), answer.error_code, ": ",
                                answer.error_sentence);
                const Session::Step step = device.take(answer.archive);
                REQUIRE(step.counted);
                REQUIRE_FALSE(step.declined);
                if (step.done) break;
            }
        }
    }
    faults = before;
}

RecordState World::server_state(const RecordId& id) {
    auto transaction = storage_->begin_read();
    auto record = transaction->record("default", id);
    REQUIRE(record);
    return record->state;
}

std::vector<std::string> World::differences() {
    std::vector<std::string> found;
    auto transaction = storage_->begin_read();
    for (const auto& device : devices_) {
        const auto row = transaction->device(device->writer);
        std::set<RecordId> in_scope;
        for (const server::Stream& stream : transaction->streams("default")) {
            bool subscribed = stream.scope == "global" || stream.scope == "rep/" + row->rep;
            for (const std::string& scope : row->scopes)
                subscribed |= scope.back() == '*'
                                  ? stream.scope.rfind(scope.substr(0, scope.size() - 1), 0) == 0
                                  : stream.scope == scope;
            if (!subscribed) continue;
            for (const auto& stored : transaction->changed("default", stream.scope, 0, 1'000'000)) {
                const Kind* kind = kind_numbered(stored.state.kind);
                if (!kind->seen_by.empty() && !kind->seen_by.contains(row->role)) continue;
                in_scope.insert(stored.state.id);
                RecordState expected = stored.state;
                expected.fields.erase_if([&](const auto& entry) {
                    const Field* field = kind->field(entry.first);
                    return field && !field->visible_to(row->role);
                });
                for (auto& [number, field] : expected.fields) {
                    field.known.clear();
                    for (LiveValue& l : field.live) l.capture = {};
                }
                const Store::Core::Reading reading(device->store->core());
                const auto held = load_row(reading.db, stored.state.id);
                if (!held)
                    found.push_back(device->name + " lacks " + kind->name + " " +
                                    stored.state.id.text());
                else if (!(held->confirmed == expected))
                    found.push_back(device->name + " holds another state of " + kind->name + " " +
                                    stored.state.id.text());
            }
        }
        for (const Kind* kind : all_kinds()) {
            Query query;
            query.kind = kind;
            query.limit = 1000;
            for (Page page = device->store->query(query);; page = device->store->query(query)) {
                for (const Record& record : page.records)
                    if (!in_scope.contains(record.id) &&
                        device->store->status(record.id).state == SyncState::confirmed)
                        found.push_back(device->name + " shows a record out of its scope");
                if (page.next.empty()) break;
                query.after = page.next;
            }
        }
    }
    return found;
}

void damage(Device& device, const std::string& sql) {
    Store::Core::Writing writing(device.store->core());
    writing.db.execute(sql);
    REQUIRE(writing.db.changes() > 0);
    writing.commit();
}

std::string blob(const RecordId& id) {
    std::string text = "X'";
    for (const char c : id.text())
        if (c != '-') text += c;
    return text + "'";
}

void expect(const Captured& captured) {
    for (const Refusal& refusal : captured.refusals)
        FAIL_CHECK(refusal.field << " " << refusal.code << ": " << refusal.sentence);
}

Visit a_visit(const Id<Customer>& customer) {
    Visit v;
    v.customer_id = customer;
    v.type = VisitType::visit;
    v.summary = "Besuch";
    v.purpose = {Purpose::complain};
    v.result = VisitResult::order;
    return v;
}

Complaint a_complaint(const Id<Customer>& customer, const std::string& words) {
    Complaint c;
    c.customer_id = customer;
    c.product_text = "Becher 500 g";
    c.verbatim = words;
    c.severity = Severity::major;
    return c;
}

void check_converged(World& world) {
    for (const std::string& difference : world.differences()) FAIL_CHECK(difference);
}

}  // namespace rapport::sim
