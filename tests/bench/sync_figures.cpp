// SPDX-License-Identifier: Apache-2.0
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <stdexcept>

#include "bench/figures.hpp"
#include "bench/floor_sync.hpp"
#include "rapport/sync/syncer.hpp"
#include "server/auth/access.hpp"
#include "server/http/service.hpp"
#include "support/temp_dir.hpp"

namespace rapport::bench {
namespace {

namespace fs = std::filesystem;
constexpr std::uint64_t kSeed = 1903;
constexpr int kFloorBatch = 2000;

/// A server in this process, on a port that its copies keep: a device file names its server.
struct Centre {
    Centre(std::string path_, std::uint16_t port) : path(std::move(path_)) {
        server::http::ListenerOptions options;
        options.port = port;
        service = std::make_unique<server::http::Service>(
            *storage, system_environment(), options,
            [](const std::string& s) { throw std::runtime_error(s); });
        service->run();
    }
    explicit Centre(const std::string& path_) : Centre(path_, 0) {}
    ~Centre() { service->stop(std::chrono::seconds(1)); }
    Centre(const Centre&) = delete;
    Centre& operator=(const Centre&) = delete;

    std::string invite(const std::string& rep) {
        const auto transaction = storage->begin_write();
        const std::string code =
            server::invite(*transaction, system_environment(),
                           {"default", rep, Role::rep, {"territory/DE-50"}, 14});
        transaction->commit();
        return code;
    }

    std::string path;
    std::unique_ptr<server::Storage> storage = server::open_sqlite_storage(path);
    std::unique_ptr<server::http::Service> service;
};

struct Device {
    explicit Device(const std::string& path)
        : store(Store::open(path, {})),
          transport(make_curl_transport()),
          syncer(store, *transport) {}

    void enrol(Centre& centre, std::uint16_t port, const std::string& rep) {
        syncer.enrol("http://127.0.0.1:" + std::to_string(port), centre.invite(rep));
    }
    SyncResult sync() {
        SyncResult result = syncer.sync_for({.time = Milliseconds(3'600'000)});
        if (result.end != SyncEnd::complete)
            throw std::runtime_error("a sync did not end: " + result.sentence);
        return result;
    }

    Store store;
    std::unique_ptr<Transport> transport;
    Syncer syncer;
};

void copy_database(const std::string& from, const std::string& to) {
    for (const char* suffix : {"", "-wal", "-shm"}) {
        fs::remove(to + suffix);
        if (fs::exists(from + suffix)) fs::copy_file(from + suffix, to + suffix);
    }
}

// ---- first upload and first download

}  // namespace

void upload_figures(const Sizes& sizes) {
    TempDir dir;
    const Corpus corpus = make_corpus(kSeed, sizes.sync);
    const std::string centre_file = dir.file("centre.db"), device_file = dir.file("device.rapport"),
                      reader_file = dir.file("reader.rapport"), empty_centre = dir.file("empty.db");
    std::uint16_t port = 0;
    {
        Centre centre(empty_centre);
        port = centre.service->port();
        Device device(device_file), reader(reader_file);
        device.enrol(centre, port, "R1");
        reader.enrol(centre, port, "R2");
        capture_all(device.store, corpus.customers, 20);
        capture_all(device.store, corpus.records, 1);
    }
    floor_rows* const rows = rows_of(device_file);
    const std::string floor_device = dir.file("floor.device"),
                      floor_server = dir.file("floor.server");
    {
        floor_store* const store = floor_open(floor_device.c_str(), rows, 1);
        floor_begin(store);
        for (std::size_t i = 0; i < floor_count(rows); ++i)
            floor_insert(store, floor_at(rows, i), 1);
        floor_commit(store);
        floor_close(store);
    }
    const std::size_t count = floor_count(rows);
    const auto expect = [&](std::size_t records, const char* what) {
        if (records != count) throw std::runtime_error(std::string(what) + " left records out");
    };
    const std::string work = dir.file("work"), work_centre = dir.file("work.db");

    SyncResult uploaded, downloaded;
    const Pairs up = interleaved(
        sizes.pairs,
        [&] {
            copy_database(floor_device, work);
            for (const char* suffix : {"", "-wal", "-shm"}) fs::remove(floor_server + suffix);
            FloorServer server(floor_server, rows);
            floor_store* const store = floor_open(work.c_str(), rows, 1);
            std::size_t sent = 0;
            const double took =
                seconds([&] { sent = floor_upload(store, rows, server.port(), kFloorBatch); });
            floor_close(store);
            expect(sent, "the floor's upload");
            return took;
        },
        [&] {
            copy_database(device_file, work);
            copy_database(empty_centre, centre_file);
            Centre centre(centre_file, port);
            Device device(work);
            const double took = seconds([&] { uploaded = device.sync(); });
            if (uploaded.applied != uploaded.sent)
                throw std::runtime_error("an upload was not applied");
            return took;
        });
    const double per_record = 1e6 / static_cast<double>(count);
    print_ratio("first_upload", up, per_record, "us/record", 0.7,
                std::to_string(count) + " records, each saved alone");
    print_at_most("first_upload_requests", uploaded.requests, "requests", 10);

    const Pairs down = interleaved(
        sizes.pairs,
        [&] {
            for (const char* suffix : {"", "-wal", "-shm"}) {
                fs::remove(work + suffix);
                fs::remove(floor_server + suffix);
            }
            copy_database(floor_device, floor_server);
            FloorServer server(floor_server, rows);
            floor_store* const store = floor_open(work.c_str(), rows, 1);
            std::size_t received = 0;
            const double took = seconds(
                [&] { received = floor_download(store, rows, server.port(), kFloorBatch); });
            floor_close(store);
            expect(received, "the floor's download");
            return took;
        },
        [&] {
            copy_database(reader_file, work);
            copy_database(centre_file, work_centre);
            Centre centre(work_centre, port);
            Device reader(work);
            const double took = seconds([&] { downloaded = reader.sync(); });
            expect(downloaded.received, "a download");
            return took;
        });
    print_ratio("first_download", down, per_record, "us/record", 0.7,
                std::to_string(count) + " records");
    print_at_most("first_download_requests", downloaded.requests, "requests", 10);

    std::string batch;
    std::size_t by_hand = 0;
    for (std::size_t i = 0; i < count; ++i) {
        batch += json_line(rows, *floor_at(rows, i));
        if ((i + 1) % kFloorBatch == 0 || i + 1 == count) {
            by_hand += gzipped(batch).size();
            batch.clear();
        }
    }
    const double ours = static_cast<double>(uploaded.bytes_sent),
                 floor = static_cast<double>(by_hand);
    print({"first_upload_bytes", ours / static_cast<double>(count), "bytes/record",
           floor / static_cast<double>(count), ours / floor, "<= 0.8x, stretch 0.7x",
           ours / floor <= 0.8, 0, "bodies, against gzip -6 of JSON lines"});
    floor_free(rows);

    // The reader's file holds nothing but confirmed records now.
    floor_rows* const confirmed = rows_of(work);
    const std::string same = dir.file("same");
    floor_store* const store = floor_open(same.c_str(), confirmed, 1);
    floor_begin(store);
    for (std::size_t i = 0; i < floor_count(confirmed); ++i)
        floor_insert(store, floor_at(confirmed, i), 0);
    floor_commit(store);
    floor_close(store);
    floor_free(confirmed);
    {
        Store reader = Store::open(work);
        while (reader.index_some()) {
        }
    }
    const double search = static_cast<double>(floor_table_bytes(work.c_str(), "search"));
    const double file = static_cast<double>(floor_file_bytes(work.c_str())) - search,
                 by_floor = static_cast<double>(floor_file_bytes(same.c_str()));
    print({"file_bytes", file / static_cast<double>(count), "bytes/record",
           by_floor / static_cast<double>(count), file / by_floor, "<= 1.15x",
           file / by_floor <= 1.15, 0, "all confirmed, without the search index"});
    const double index = search / static_cast<double>(corpus.text_bytes);
    print({"search_index_bytes", search / static_cast<double>(count), "bytes/record",
           static_cast<double>(corpus.text_bytes) / static_cast<double>(count), index,
           "<= 0.8x of the text", index <= 0.8, 0, ""});
    fs::remove(work);
    Store fresh = Store::open(dir.file("fresh.rapport"));
    print({"empty_file",
           static_cast<double>(floor_file_bytes(dir.file("fresh.rapport").c_str())) / 1024,
           "KiB",
           {},
           {},
           "none",
           {},
           0,
           "a new file without records"});
}

// ---- small syncs, with every byte on the socket

namespace {

struct Small {
    int requests = 0;
    double bytes_up = 0, bytes_down = 0, body_up = 0, body_down = 0;
};
Small counted(Device& device, CountingProxy& proxy) {
    proxy.reset();
    const SyncResult result = device.sync();
    return {result.requests, static_cast<double>(proxy.bytes_up()),
            static_cast<double>(proxy.bytes_down()), static_cast<double>(result.bytes_sent),
            static_cast<double>(result.bytes_received)};
}

void edit_ten(Device& device, const Corpus& corpus, test::Chance& chance, std::size_t round) {
    for (std::size_t i = 0; i < 10; ++i) {
        const RecordEdit& customer = corpus.customers[(round * 10 + i) % corpus.customers.size()];
        const auto captured = device.store.edit(Id<Customer>(customer.id))
                                  .set(&Customer::legal_name, german_text(chance, 20))
                                  .save();
        if (!captured) throw std::runtime_error("an edit was refused");
    }
}

}  // namespace

void small_figures(const Sizes&) {
    TempDir dir;
    test::Chance chance(kSeed);
    const Corpus corpus = make_corpus(kSeed + 1, 500), more = make_corpus(kSeed + 2, 500);
    Centre centre(dir.file("centre.db"));
    CountingProxy proxy(centre.service->port());
    Device device(dir.file("device.rapport"));
    device.enrol(centre, proxy.port(), "R1");
    capture_all(device.store, corpus.customers, 20);
    capture_all(device.store, corpus.records, 20);
    device.sync();

    const Small idle = counted(device, proxy);
    edit_ten(device, corpus, chance, 0);
    const Small edits = counted(device, proxy);
    std::size_t visits = 0;
    for (const RecordEdit& edit : more.records) {
        if (edit.kind != &kind_of<Visit>() || visits == 10) continue;
        RecordEdit visit = edit;  // of a customer this server knows
        for (FieldEdit& f : visit.fields)
            if (f.field->name == "customer_id")
                f.content[0].value = Value(corpus.customers[visits].id.raw());
        capture_all(device.store, {visit}, 1);
        ++visits;
    }
    const Small news = counted(device, proxy);

    print_at_most("ten_edits_requests", edits.requests, "requests", 1);
    print_at_most("ten_edits_bytes", edits.bytes_up + edits.bytes_down, "bytes", 1000,
                  "both ways with heads; up " + std::to_string(static_cast<int>(edits.bytes_up)));
    print_at_most("ten_visits_bytes", news.bytes_up + news.bytes_down, "bytes", 3200,
                  "both ways with heads; up " + std::to_string(static_cast<int>(news.bytes_up)));
    print_at_most("idle_requests", idle.requests, "requests", 1);
    print_at_most("idle_bytes_out", idle.bytes_up, "bytes", 300, "with head");
    print_at_most("idle_bytes_back", idle.bytes_down, "bytes", 180, "with head");
    print_at_most("idle_body_out", idle.body_up, "bytes", 64);
    print_at_most("idle_body_back", idle.body_down, "bytes", 64);
}

// ---- cost follows the change, not the store

void growth_figures(const Sizes& sizes) {
    std::optional<double> first_edits, first_idle;
    for (const std::size_t records : sizes.stores) {
        TempDir dir;
        test::Chance chance(kSeed);
        Centre centre(dir.file("centre.db"));
        Device device(dir.file("device.rapport"));
        device.enrol(centre, centre.service->port(), "R1");
        // In parts, so that the corpus of a large store need not be in memory at once.
        Corpus part;
        for (std::size_t made = 0; made < records; made += 10'000) {
            part = make_corpus(kSeed + made, std::min<std::size_t>(10'000, records - made));
            capture_all(device.store, part.customers, 20);
            capture_all(device.store, part.records, 20);
        }
        device.sync();
        const double idle = 1000 * seconds([&] { device.sync(); });
        std::vector<double> edits;
        for (std::size_t round = 0; round < std::max<std::size_t>(sizes.pairs, 3); ++round)
            edits.push_back(1000 * seconds([&] {
                                edit_ten(device, part, chance, round);
                                device.sync();
                            }));
        const std::string at = "_at_" + std::to_string(records);
        const double ten = median(edits);
        if (!first_edits) {
            first_edits = ten;
            first_idle = idle;
            print({"ten_edits" + at,
                   ten,
                   "ms",
                   {},
                   {},
                   "none",
                   {},
                   edits.size(),
                   "captured one by one, then synced"});
            print({"sync_after_upload" + at, idle, "ms", {}, {}, "none", {}, 0, {}});
            continue;
        }
        print({"ten_edits" + at, ten, "ms", first_edits, ten / *first_edits, "<= 1.2x",
               ten / *first_edits <= 1.2, edits.size(), "against the smallest store"});
        print({"sync_after_upload" + at, idle, "ms", first_idle, idle / *first_idle, "<= 1.2x",
               idle / *first_idle <= 1.2, 0, "against the smallest store"});
    }
}

// ---- two devices that met nobody

namespace {

std::string website(std::size_t number) {
    return "https://kunde.example/" + std::to_string(number);
}

}  // namespace

void conflict_figures(const Sizes& sizes) {
    for (const bool same_field : {false, true}) {
        TempDir dir;
        test::Chance chance(kSeed);
        Centre centre(dir.file("centre.db"));
        CountingProxy proxy(centre.service->port());
        Device a(dir.file("a.rapport")), b(dir.file("b.rapport"));
        a.enrol(centre, proxy.port(), "R1");
        b.enrol(centre, proxy.port(), "R2");
        std::vector<Id<Customer>> ids;
        std::vector<RecordEdit> customers;
        std::int64_t ms = 1'767'600'000'000;
        for (std::size_t i = 0; i < sizes.conflicts; ++i) {
            std::array<std::uint8_t, 10> random{};
            for (auto& byte : random) byte = static_cast<std::uint8_t>(chance());
            ids.emplace_back(time_ordered_id(ms += 1000, random));
            Customer customer;
            customer.name = "Molkerei " + german_text(chance, 15);
            customer.remarks = german_text(chance, 120);
            customers.push_back(creation(customer, ids.back()));
        }
        capture_all(a.store, customers, 20);
        a.sync();
        b.sync();
        std::vector<std::string> theirs, mine;
        for (const Id<Customer>& id : ids) {
            theirs.push_back(german_text(chance, 20));
            mine.push_back(german_text(chance, 20));
            a.store.edit(id).set(&Customer::legal_name, theirs.back()).save();
            if (same_field)
                b.store.edit(id).set(&Customer::legal_name, mine.back()).save();
            else
                b.store.edit(id).set(&Customer::website, website(mine.size())).save();
        }
        proxy.reset();
        const double took = seconds([&] {
            a.sync();
            b.sync();
            a.sync();
        });
        const double kib = static_cast<double>(proxy.bytes_up() + proxy.bytes_down()) / 1024;
        std::size_t good = 0;
        if (same_field) {
            std::map<std::string, std::size_t> readable;
            for (const Device* device : {&a, &b})
                for (const Conflict& conflict : device->store.conflicts(sizes.conflicts * 2)) {
                    const std::size_t i = static_cast<std::size_t>(
                        std::find(ids.begin(), ids.end(), conflict.record) - ids.begin());
                    std::size_t seen = 0;
                    for (const Candidate& c : conflict.candidates)
                        seen += c.content[0].value == Value(theirs[i]) ||
                                c.content[0].value == Value(mine[i]);
                    if (seen == 2 && ++readable[conflict.id] == 2) ++good;
                }
        } else {
            for (std::size_t i = 0; i < ids.size(); ++i) {
                const auto on_a = a.store.read(ids[i]), on_b = b.store.read(ids[i]);
                good += on_a && on_b && on_a->legal_name == on_b->legal_name &&
                        on_a->website == on_b->website && on_a->legal_name == theirs[i] &&
                        on_a->website == website(i + 1);
            }
        }
        const std::string kind = same_field ? "same_field_" : "other_fields_";
        print({kind + (same_field ? "losers_readable" : "kept"),
               static_cast<double>(good),
               "records",
               {},
               {},
               std::to_string(ids.size()) + " records on both devices",
               good == ids.size(),
               0,
               {}});
        print_at_most(kind + "time", took, "s", 0.25,
                      "three syncs: one device, the other, the first again");
        print_at_most(kind + "bytes", kib, "KiB", 600, "both ways with heads");
    }
}

// ---- memory, in a process of its own

namespace {

std::size_t status_kib(const char* name) {
    std::ifstream status("/proc/self/status");
    for (std::string line; std::getline(status, line);)
        if (line.rfind(name, 0) == 0)
            return std::stoul(line.substr(line.find_first_of("0123456789")));
    throw std::runtime_error("/proc/self/status says nothing of memory");
}

}  // namespace

void memory_figures(const Sizes& sizes) {
    TempDir dir;
    Centre centre(dir.file("centre.db"));
    const std::string path = dir.file("device.rapport");
    const Corpus corpus = make_corpus(kSeed + 3, sizes.memory);
    {
        Device device(path);
        device.enrol(centre, centre.service->port(), "R1");
        device.sync();
        capture_all(device.store, corpus.customers, 20);
        capture_all(device.store, corpus.records, 20);
    }
    const std::string result = dir.file("memory");
    const std::string self = fs::read_symlink("/proc/self/exe").string();
    const pid_t child = ::fork();
    if (child == 0) {
        if (!std::freopen(result.c_str(), "w", stdout)) ::_exit(2);
        ::execl(self.c_str(), self.c_str(), "memory", path.c_str(), static_cast<char*>(nullptr));
        ::_exit(2);
    }
    int status = 0;
    if (child < 0 || ::waitpid(child, &status, 0) != child || status != 0)
        throw std::runtime_error("the process for memory failed");
    double idle = 0, most = 0;
    std::ifstream(result) >> idle >> most;
    print_at_most("sync_memory", (most - idle) / 1024, "MiB", 6,
                  std::to_string(sizes.memory) + " records up; idle process " +
                      std::to_string(static_cast<int>(idle)) + " KiB");
}

int measure_memory(const std::string& file) {
    Device device(file);
    (void)device.store.overview();  // a reader is open, as in an app that shows something
    const std::size_t idle = status_kib("VmRSS");
    device.sync();
    std::printf("%zu %zu\n", idle, status_kib("VmHWM"));
    return 0;
}

}  // namespace rapport::bench
