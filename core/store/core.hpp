// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "model/clock.hpp"
#include "model/limits.hpp"
#include "rapport/store.hpp"
#include "sqlite/database.hpp"
#include "store/file_lock.hpp"

namespace rapport {

/// Who wants to hear of changes. Callbacks run on the thread that made the change, with no lock
/// held; what they throw is dropped, because the change has been made.  Thread-safety: thread-safe.
class Observers {
public:
    std::uint64_t add(std::vector<const Kind*> kinds, std::function<void(const Changes&)> callback);
    /// Waits for calls that run on other threads; none starts afterwards.
    void remove(std::uint64_t id);
    void notify(const Changes& changes);

private:
    struct Observer {
        std::uint64_t id = 0;
        std::vector<const Kind*> kinds;
        std::function<void(const Changes&)> callback;
        std::vector<std::thread::id> running;
    };
    std::mutex mutex_;
    std::condition_variable returned_;
    std::vector<std::shared_ptr<Observer>> observers_;
    std::uint64_t next_ = 1;
};

/// What all parts of the store share: the writer connection, the pool of readers, clock and
/// observers.
///
/// Thread-safety: thread-safe. Writing parts take `Writing`, reading parts take `Reading`;
/// callbacks run with neither held.
class Store::Core {
public:
    Core(const std::string& path, const Store::Options& options);
    ~Core();

    /// The writer connection in one immediate transaction; nothing is kept unless commit() is
    /// called, which also tells the observers. One at a time: a thread that holds one must not take
    /// another. Errors: storage_busy when the store was opened read-only.
    class Writing {
    public:
        explicit Writing(Core& core);
        /// Null when another thread is writing: for work that can wait.
        static std::unique_ptr<Writing> if_free(Core& core);
        sqlite::Database& db;
        void changed(const Kind& kind, const RecordId& id);  ///< for the observers
        /// The newest bundle is new and holds this stamp, so the clock need not be written as well.
        void clock_is_in_queue(Stamp stamp) { in_queue_ = stamp; }
        void commit();  ///< `db` is not to be used afterwards

    private:
        Writing(Core& core, std::unique_lock<std::mutex> lock);
        Core& core_;
        std::unique_lock<std::mutex> lock_;
        sqlite::Transaction transaction_;
        std::map<std::uint16_t, Changes::Of> changes_;  // by kind number
        Stamp in_queue_ = 0;
    };
    /// A pooled read-only connection in one snapshot, taken with the first statement.
    class Reading {
    public:
        explicit Reading(const Core& core) : Reading(core, core.take_reader()) {}
        ~Reading();
        Reading(const Reading&) = delete;
        Reading& operator=(const Reading&) = delete;
        sqlite::Database& db;

    private:
        Reading(const Core& core, std::unique_ptr<sqlite::Database> database);
        const Core& core_;
        std::unique_ptr<sqlite::Database> database_;
        std::optional<sqlite::Transaction> snapshot_;
    };

    /// Leaves no byte of what was removed, in free pages or the log. False: a reader is in the way
    /// of the log. Not while Writing.
    bool scrub();

    /// Gives back the pages the writer keeps in memory; nothing while somebody writes.
    void give_back_pages() noexcept;

    Environment& environment() const { return environment_; }
    bool read_only() const { return !writer_; }
    Instant now() const { return environment_.now(); }
    std::uint64_t file() const { return file_; }  ///< how the file names itself
    /// Of capture ids: another one at each opening, so that two copies of a file never give the
    /// same.
    std::uint64_t capture_file() const { return capture_file_; }
    void renumber(std::uint64_t file) { file_ = file; }  ///< after a fork, while Writing
    HybridClock& clock() { return clock_; }  ///< use only while Writing; kept with the commit
    /// Of what is captured under this stamp: the stamp itself, unless the clock was set back since
    /// a number like that was given. Use only while Writing; kept with the commit.
    std::uint64_t capture_number(Stamp stamp) { return stamp > captures_ ? stamp : ++captures_; }
    /// Stamps go on from here, although later ones were given; use only while Writing.
    void set_back_clock(Stamp stamp) {
        captures_ = std::max(captures_, clock_.last());
        clock_ = HybridClock(stamp);
    }

    /// The server's time, as far as known without asking: by the time since the machine was started
    /// if it was learnt in the same run, else by the wall clock.
    std::int64_t server_time_ms() const;
    /// Was it learnt since the machine was started?
    bool server_time_is_exact() const;
    void learn_server_time(sqlite::Database& db, std::int64_t server_ms);
    /// Only differences mean something; sleep counts.
    std::int64_t elapsed_ms() const;
    const std::shared_ptr<Observers>& observers() const { return observers_; }

private:
    std::unique_ptr<sqlite::Database> take_reader() const;
    void give_back(std::unique_ptr<sqlite::Database> reader) const;
    void open_for_writing(const Store::Options& options);

    std::string path_;
    Environment& environment_;
    std::optional<FileLock> lock_;              // writing stores only
    std::unique_ptr<sqlite::Database> writer_;  // null when read-only
    std::mutex writer_mutex_;
    mutable std::mutex readers_mutex_;
    mutable std::vector<std::unique_ptr<sqlite::Database>> readers_;
    std::atomic<std::uint64_t> file_ = 0;
    std::uint64_t capture_file_ = 0;
    HybridClock clock_;
    Stamp stored_clock_ = 0;      // the clock in the file
    std::uint64_t captures_ = 0;  // numbers up to here are given, whatever the clock says
    std::uint64_t stored_captures_ = 0;
    struct ServerTime {
        std::int64_t offset_ms = 0;  // to the wall clock, when it was learnt
        std::uint64_t boot = 0;
        std::int64_t boot_offset_ms = 0;  // to the time since that boot
    } server_time_;
    std::shared_ptr<Observers> observers_ = std::make_shared<Observers>();
};

}  // namespace rapport
