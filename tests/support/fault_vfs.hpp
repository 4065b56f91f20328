// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <string>

namespace rapport::test {

/// What a power cut leaves of what was written and not yet synced.
enum class Damage : std::uint8_t {
    kept,     ///< all of it: the process was killed, the machine lives on
    dropped,  ///< nothing: files are as they were when last synced, new names are gone, removed
              ///< ones are back
    some,     ///< sector by sector what was there at the last sync, or anything written since
    torn,     ///< as `some`, and sectors that are partly the one and partly the other
};

enum class Fault : std::uint8_t {
    io,    ///< EIO: reading, writing, syncing, opening, removing
    full,  ///< ENOSPC: writing and creating; what fits of a write is written
};

/// The disk of one simulated machine: all files SQLite opens in this process whose names begin with
/// `path`, so a database with its log, or a folder of them.
///
/// A shim over SQLite's default VFS, which the first Disk registers as the default one. The files
/// are real ones; only syncing them is left to the books kept here, so a crash costs no more than
/// writing the damaged files. The same operations, points and seeds give the same bytes.
///
/// Files that were there before the first operation count as synced. A failed sync syncs nothing,
/// and what was written before it stays in doubt until it is written and synced again (as Linux
/// does).  Thread-safety: thread-safe.
class Disk {
public:
    explicit Disk(const std::string& path);
    Disk(const Disk&) = delete;
    Disk& operator=(const Disk&) = delete;
    /// What is open stays open, without faults.
    ~Disk();

    /// It will not crash, so nobody asks what was synced: it need not be remembered, which is
    /// what a disk that may crash spends most of its time with. Before the first operation.
    void never_crashes();

    // ---- counting, from the beginning
    /// Operations that change the disk: create, write, truncate, sync, remove. A crash between two
    /// of them leaves what a crash in the next one leaves when that is dropped.
    std::uint64_t changes() const;
    /// Operations at which this fault can strike.
    std::uint64_t points(Fault fault) const;

    // ---- faults
    /// The `nth` change from now, 1 being the next, is begun and never returns success; from then
    /// on every operation fails, until reboot().
    void crash_at(std::uint64_t nth, Damage damage, std::uint64_t seed = 0);
    void crash_now(Damage damage, std::uint64_t seed = 0);
    bool crashed() const;
    /// The `nth` operation from now at which the fault can strike fails; with `lasting` every later
    /// one too, until heal().
    void fail_at(Fault fault, std::uint64_t nth, bool lasting);
    /// How many operations have failed so, from the beginning.
    std::uint64_t failed() const;
    /// No crash and no fault is planned any more.
    void heal();
    /// While it is on, operations are not counted and do not fail: for who looks at the files and
    /// is no part of what is tested.
    void spare(bool on);
    /// From now on a sync says it was done and does nothing: to see that a test notices.
    void ignore_syncs(bool on);

    /// Writes what the crash left into the files; they are as after a cold start then. Without a
    /// crash before it, one with Damage::kept is made. Everything must have been closed.
    void reboot();
    /// What stands in the files now counts as synced: after they were put there past SQLite.
    void adopt();
    /// SQLite's own randomness, from which it draws the salts of its logs, starts from its
    /// beginning: for runs that are to be the same byte by byte within one process.
    static void begin_anew();

    struct State;

private:
    std::shared_ptr<State> state_;
};

/// Is this thread inside the shim? Whoever refuses memory spares it: it is no part of what is
/// tested.
bool shim_at_work();

}  // namespace rapport::test
