// SPDX-License-Identifier: Apache-2.0
#include "store/core.hpp"

#include <sys/stat.h>

#include <algorithm>
#include <new>

#include "store/pending.hpp"
#include "store/schema.hpp"

namespace rapport {
namespace {

constexpr std::size_t kIdleReadersMax = 4;
constexpr int kWriterCacheKib =
    1000;  // SQLite's own 2,000 make neither a sync nor an import faster

bool holds_anything(const std::string& path) {
    struct stat status {};
    return ::stat(path.c_str(), &status) == 0 && status.st_size > 0;
}

sqlite::Database open_reader(const std::string& path) {
    return sqlite::Database::open(path, {.read_only = true, .create = false});
}

sqlite::Database& writable(sqlite::Database* writer) {
    if (!writer) throw Error(ErrorCode::storage_busy, "the store was opened for reading only");
    return *writer;
}

}  // namespace

// ---- Observers

std::uint64_t Observers::add(std::vector<const Kind*> kinds,
                             std::function<void(const Changes&)> callback) {
    const std::lock_guard lock(mutex_);
    auto observer = std::make_shared<Observer>();
    observer->id = next_++;
    observer->kinds = std::move(kinds);
    observer->callback = std::move(callback);
    observers_.push_back(observer);
    return observer->id;
}

void Observers::remove(std::uint64_t id) {
    std::unique_lock lock(mutex_);
    const auto it = std::find_if(observers_.begin(), observers_.end(),
                                 [&](const auto& o) { return o->id == id; });
    if (it == observers_.end()) return;
    const std::shared_ptr<Observer> observer = *it;
    observers_.erase(it);
    const auto self = std::this_thread::get_id();
    returned_.wait(lock, [&] {  // a callback may end its own subscription
        return std::all_of(observer->running.begin(), observer->running.end(),
                           [&](const auto& t) { return t == self; });
    });
}

void Observers::notify(const Changes& changes) {
    std::unique_lock lock(mutex_);
    for (const auto& observer : std::vector(observers_)) {
        Changes wanted;
        for (const Changes::Of& of : changes.kinds)
            if (observer->kinds.empty() || std::find(observer->kinds.begin(), observer->kinds.end(),
                                                     of.kind) != observer->kinds.end())
                wanted.kinds.push_back(of);
        const bool gone =
            std::find(observers_.begin(), observers_.end(), observer) == observers_.end();
        if (wanted.kinds.empty() || gone) continue;
        const auto self = std::this_thread::get_id();
        observer->running.push_back(self);
        lock.unlock();
        try {
            observer->callback(wanted);
        } catch (...) {
        }
        lock.lock();
        observer->running.erase(
            std::find(observer->running.begin(), observer->running.end(), self));
        returned_.notify_all();
    }
}

// ---- Core

Store::Core::Core(const std::string& path, const Store::Options& options)
    : path_(path), environment_(options.environment ? *options.environment : system_environment()) {
    readers_.reserve(kIdleReadersMax);  // giving one back needs no memory
    if (!options.read_only) {
        open_for_writing(options);
        return;
    }
    auto reader = std::make_unique<sqlite::Database>(open_reader(path_));
    check_format(*reader);
    file_ = static_cast<std::uint64_t>(meta_integer(*reader, "file").value_or(0));
    give_back(std::move(reader));
}

void Store::Core::open_for_writing(const Store::Options& options) {
    lock_.emplace(path_, options.lock_wait);
    const bool is_new = !holds_anything(path_);
    writer_ = std::make_unique<sqlite::Database>(sqlite::Database::open(path_, {.wal = false}));
    // Somebody else's database must not be turned to WAL before we notice that it is not ours.
    if (!is_new) check_ours(*writer_);
    writer_->use_wal();
    writer_->execute("PRAGMA cache_size=-" + std::to_string(kWriterCacheKib));
    create_or_migrate(*writer_);
    sqlite::Transaction transaction(*writer_);
    const auto draw = [&] {
        return std::max<std::int64_t>(static_cast<std::int64_t>(environment_.random64() >> 1), 1);
    };
    capture_file_ = static_cast<std::uint64_t>(draw());
    if (!meta_integer(*writer_, "file")) {
        set_meta(*writer_, "file", draw());
        set_meta(*writer_, "rep", options.rep);
        set_meta(*writer_, "clock", std::int64_t{0});
    }
    file_ = static_cast<std::uint64_t>(meta_integer(*writer_, "file").value_or(0));
    stored_clock_ = static_cast<Stamp>(meta_integer(*writer_, "clock").value_or(0));
    clock_ = HybridClock(std::max(stored_clock_, newest_unsent_stamp(*writer_)));
    captures_ = stored_captures_ =
        static_cast<std::uint64_t>(meta_integer(*writer_, "captures").value_or(0));
    server_time_ = {meta_integer(*writer_, "server_offset_ms").value_or(0),
                    static_cast<std::uint64_t>(meta_integer(*writer_, "boot").value_or(0)),
                    meta_integer(*writer_, "boot_offset_ms").value_or(0)};
    transaction.commit();
}

Store::Core::~Core() = default;

// ---- the server's time

std::int64_t Store::Core::server_time_ms() const {
    if (const auto up = environment_.uptime(); up && up->boot == server_time_.boot)
        return up->ms + server_time_.boot_offset_ms;
    return now().at.time_since_epoch().count() + server_time_.offset_ms;
}

bool Store::Core::server_time_is_exact() const {
    const auto up = environment_.uptime();
    return !up || up->boot == server_time_.boot;
}

std::int64_t Store::Core::elapsed_ms() const {
    const auto up = environment_.uptime();
    return up ? up->ms : now().at.time_since_epoch().count();
}

void Store::Core::learn_server_time(sqlite::Database& db, std::int64_t server_ms) {
    const auto up = environment_.uptime().value_or(Uptime{});
    server_time_ = {server_ms - now().at.time_since_epoch().count(), up.boot, server_ms - up.ms};
    set_meta(db, "server_offset_ms", server_time_.offset_ms);
    set_meta(db, "boot", static_cast<std::int64_t>(server_time_.boot));
    set_meta(db, "boot_offset_ms", server_time_.boot_offset_ms);
}

std::unique_ptr<sqlite::Database> Store::Core::take_reader() const {
    {
        const std::lock_guard lock(readers_mutex_);
        if (!readers_.empty()) {
            auto reader = std::move(readers_.back());
            readers_.pop_back();
            return reader;
        }
    }
    return std::make_unique<sqlite::Database>(open_reader(path_));
}

void Store::Core::give_back(std::unique_ptr<sqlite::Database> reader) const {
    const std::lock_guard lock(readers_mutex_);
    if (readers_.size() < kIdleReadersMax) readers_.push_back(std::move(reader));
}

bool Store::Core::scrub() {
    const std::lock_guard lock(writer_mutex_);
    writable(writer_.get()).vacuum();
    return writer_->truncate_log();
}

void Store::Core::give_back_pages() noexcept {
    const std::unique_lock lock(writer_mutex_, std::try_to_lock);
    if (!lock || !writer_) return;
    try {
        writer_->execute("PRAGMA shrink_memory");
    } catch (...) {  // then they are kept
    }
}

// ---- Writing, Reading

Store::Core::Writing::Writing(Core& core) : Writing(core, std::unique_lock(core.writer_mutex_)) {}

Store::Core::Writing::Writing(Core& core, std::unique_lock<std::mutex> lock)
    : db(writable(core.writer_.get())), core_(core), lock_(std::move(lock)), transaction_(db) {}

std::unique_ptr<Store::Core::Writing> Store::Core::Writing::if_free(Core& core) {
    std::unique_lock lock(core.writer_mutex_, std::try_to_lock);
    if (!lock) return nullptr;
    return std::unique_ptr<Writing>(new Writing(core, std::move(lock)));
}

void Store::Core::Writing::changed(const Kind& kind, const RecordId& id) {
    auto& of = changes_[kind.number];
    of.kind = &kind;
    of.ids.push_back(id);
}

void Store::Core::Writing::commit() {
    const Stamp last = core_.clock_.last();
    if (last != core_.stored_clock_ && last != in_queue_)
        set_meta(db, "clock", static_cast<std::int64_t>(last));
    const std::uint64_t captures = core_.captures_;
    if (captures != core_.stored_captures_)
        set_meta(db, "captures", static_cast<std::int64_t>(captures));
    Changes changes;
    for (auto& [number, of] : changes_) {
        std::sort(of.ids.begin(), of.ids.end());
        of.ids.erase(std::unique(of.ids.begin(), of.ids.end()), of.ids.end());
        changes.kinds.push_back(std::move(of));
    }
    changes_.clear();
    transaction_.commit();
    if (last != in_queue_) core_.stored_clock_ = last;
    core_.stored_captures_ = captures;
    lock_.unlock();
    // The change has been made: who cannot be told for want of memory must not undo the success.
    try {
        if (!changes.kinds.empty()) core_.observers_->notify(changes);
    } catch (const std::bad_alloc&) {
    }
}

Store::Core::Reading::Reading(const Core& core, std::unique_ptr<sqlite::Database> database)
    : db(*database), core_(core), database_(std::move(database)) {
    snapshot_.emplace(db, sqlite::Transaction::Kind::deferred);
}

Store::Core::Reading::~Reading() {
    snapshot_.reset();
    core_.give_back(std::move(database_));
}

}  // namespace rapport
