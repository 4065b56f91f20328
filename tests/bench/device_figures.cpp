// SPDX-License-Identifier: Apache-2.0
#include <filesystem>
#include <stdexcept>

#include "bench/figures.hpp"
#include "support/temp_dir.hpp"

namespace rapport::bench {
namespace {

constexpr std::uint64_t kSeed = 4711;

/// Rows as the device file has them, once, so that the floor writes exactly what Rapport wrote.
struct Rows {
    explicit Rows(const std::string& device_file) : rows(rows_of(device_file)) {}
    Rows(const Rows&) = delete;
    Rows& operator=(const Rows&) = delete;
    ~Rows() { floor_free(rows); }
    floor_rows* rows;
};

struct FloorStore {
    FloorStore(const std::string& path, const Rows& shape, bool full)
        : store(floor_open(path.c_str(), shape.rows, full)) {}
    FloorStore(const FloorStore&) = delete;
    FloorStore& operator=(const FloorStore&) = delete;
    ~FloorStore() { floor_close(store); }
    floor_store* store;
};

/// Rows of everything in the corpus as Rapport stores it.
std::unique_ptr<Rows> rows_of(const TempDir& dir, const Corpus& corpus) {
    const std::string path = dir.file("shape.rapport");
    {
        Store store = Store::open(path, {.rep = "R1"});
        capture_all(store, corpus.customers, 20);
        capture_all(store, corpus.records, 20);
    }
    return std::make_unique<Rows>(path);
}

}  // namespace

void capture_figures(const Sizes& sizes) {
    TempDir dir;
    const std::size_t warm = sizes.captures / 10 + 1;
    const Corpus corpus = make_corpus(kSeed, sizes.captures + warm);
    const auto rows = rows_of(dir, corpus);
    floor_count_syncs();
    int number = 0;
    std::vector<double> syncs;
    const auto floor = [&](bool full) {
        FloorStore floor_file(dir.file("floor" + std::to_string(++number)), *rows, full);
        const std::size_t first = floor_count(rows->rows) - sizes.captures;
        const auto capture = [&](std::size_t i) {
            floor_begin(floor_file.store);
            floor_insert(floor_file.store, floor_at(rows->rows, i), 1);
            floor_commit(floor_file.store);
        };
        for (std::size_t i = 0; i < first; ++i) capture(i);
        return seconds([&] {
            for (std::size_t i = first; i < first + sizes.captures; ++i) capture(i);
        });
    };
    const auto ours = [&] {
        Store store = Store::open(dir.file("ours" + std::to_string(++number)), {.rep = "R1"});
        capture_all(store, corpus.customers, 20);
        for (std::size_t i = 0; i < warm; ++i) capture_all(store, {corpus.records[i]}, 1);
        const double took = seconds([&] {
            for (std::size_t i = warm; i < warm + sizes.captures; ++i) {
                const std::int64_t before = floor_syncs();
                if (!store.commit(std::span(&corpus.records[i], 1)))
                    throw std::runtime_error("a capture was refused");
                syncs.push_back(static_cast<double>(floor_syncs() - before));
            }
        });
        return took;
    };
    const double per_capture = 1e6 / static_cast<double>(sizes.captures);
    const Pairs full = interleaved(
        sizes.pairs, [&] { return floor(true); }, ours);
    print_ratio("capture", full, per_capture, "us", 1.1,
                "one record per transaction, synchronous=FULL");
    const auto more = std::count_if(syncs.begin(), syncs.end(), [](double n) { return n > 1; });
    print_at_most("capture_fsyncs", median(syncs), "fsyncs", 1.0,
                  std::to_string(more) + " of " + std::to_string(syncs.size()) +
                      " captures moved the log into the file as well");
    floor_sync_normal(1);
    const Pairs normal = interleaved(
        sizes.pairs, [&] { return floor(false); }, ours);
    floor_sync_normal(0);
    print_ratio("capture_at_normal", normal, per_capture, "us", 1.3,
                "the log is not synced, as with synchronous=NORMAL");
}

void import_figures(const Sizes& sizes) {
    TempDir dir;
    const Corpus corpus = make_corpus(kSeed + 1, sizes.import);
    const auto rows = rows_of(dir, corpus);
    int number = 0;
    const auto fresh = [&] { return dir.file("import" + std::to_string(++number)); };
    const Pairs pairs = interleaved(
        sizes.pairs,
        [&] {
            const std::string path = fresh();
            const double took = seconds([&] {
                FloorStore floor(path, *rows, true);
                floor_begin(floor.store);
                for (std::size_t i = 0; i < floor_count(rows->rows); ++i)
                    floor_insert(floor.store, floor_at(rows->rows, i), 1);
                floor_commit(floor.store);
            });
            std::filesystem::remove(path);
            return took;
        },
        [&] {
            const std::string path = fresh();
            Store store = Store::open(path, {.rep = "R1"});
            const double took = seconds([&] {
                capture_all(store, corpus.customers, 20);
                capture_all(store, corpus.records, 20);
            });
            std::filesystem::remove(path);
            return took;
        });
    print_ratio("import", pairs, 1e6 / static_cast<double>(floor_count(rows->rows)), "us/record", 2,
                std::to_string(floor_count(rows->rows)) +
                    " records in bundles of 20; floor in one transaction");
}

void reading_figures(const Sizes& sizes) {
    TempDir dir;
    const std::string path = dir.file("reading.rapport");
    const Corpus corpus = make_corpus(kSeed + 2, sizes.open);
    {
        Store store = Store::open(path, {.rep = "R1"});
        capture_all(store, corpus.customers, 20);
        capture_all(store, corpus.records, 20);
    }
    const std::string count = std::to_string(sizes.open) + " records, ";
    std::vector<double> open, newest;
    for (std::size_t i = 0; i < sizes.pairs; ++i) {
        std::optional<Store> store;
        open.push_back(1000 * seconds([&] { store.emplace(Store::open(path)); }));
        Query query;
        query.kind = &kind_of<Visit>();
        query.where = {{"customer_id", Compare::equal,
                        Value(corpus.customers[i % corpus.customers.size()].id.raw())}};
        (void)store->query(query);  // opens the reader
        newest.push_back(1000 * seconds([&] { (void)store->query(query); }));
    }
    print_at_most("open", median(open), "ms", 20, count + "for writing");
    print_at_most("newest_50_visits", median(newest), "ms", 2, count + "of one customer");

    Store store = Store::open(path);
    while (store.index_some()) {
    }
    std::vector<double> search;
    for (const char* words : {"undichter Deckel", "Lieferung Palette", "Wettbew", "\"der Kunde\"",
                              "Verpackung -Folie", "Qualit\u00e4t Abf\u00fcllung", "und"})
        search.push_back(1000 * seconds([&] { (void)store.search({.text = words}); }));
    print_at_most("search", *std::max_element(search.begin(), search.end()), "ms", 20,
                  count + "the slowest of " + std::to_string(search.size()) + " searches");
}

floor_rows* rows_of(const std::string& device_file) {
    static const char* const kTables[] = {"customer", "visit", "complaint", "product_wish"};
    return floor_read(device_file.c_str(), kTables, 4);
}

void capture_all(Store& store, const std::vector<RecordEdit>& edits, std::size_t per_bundle) {
    std::vector<std::span<const RecordEdit>> bundles;
    const auto flush = [&] {
        for (const Captured& captured : store.commit_all(bundles))
            if (!captured)
                throw std::runtime_error("refused: " + captured.refusals.front().sentence);
        bundles.clear();
    };
    for (std::size_t i = 0; i < edits.size(); i += per_bundle) {
        bundles.push_back(std::span(edits).subspan(i, std::min(per_bundle, edits.size() - i)));
        if (bundles.size() * per_bundle >= 5000) flush();
    }
    flush();
}

}  // namespace rapport::bench
