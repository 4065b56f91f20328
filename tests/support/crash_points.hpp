// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <doctest/doctest.h>

#include <array>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <iostream>
#include <memory>
#include <new>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "rapport/environment.hpp"
#include "rapport/error.hpp"
#include "sqlite/database.hpp"
#include "support/fault_memory.hpp"
#include "support/fault_vfs.hpp"
#include "support/temp_dir.hpp"

/// Operations of a store, broken off wherever a disk or memory can break them off.
namespace rapport::test {

/// A clock and a chance that are the same whenever a step is taken again.
class SteadyEnvironment : public Environment {
public:
    Instant now() override {
        return Instant(TimePoint(Milliseconds(now_ms)), std::chrono::minutes(60));
    }
    void random(std::span<std::uint8_t> out) override {
        for (auto& byte : out) byte = static_cast<std::uint8_t>(random_());
    }
    void at_step(std::uint64_t step) {
        now_ms = kBegin_ms + static_cast<std::int64_t>(step) * 1000;
        random_.seed(step);
    }
    static constexpr std::int64_t kBegin_ms = 1'772'438'400'000;  // 2026-03-02T08:00:00Z
    std::int64_t now_ms = kBegin_ms;

private:
    std::mt19937_64 random_;
};

/// What a step of a test needs to be true. Unlike doctest's macros it may meet a lack of memory.
inline void must(bool kept) {
    if (!kept) throw std::logic_error("a step did not do what it is for");
}

/// A file to look at. What was cut off with a journal beside it only who may write can undo, and a
/// part of the machine may open its file no earlier than with the next step.
inline sqlite::Database looked_at(const std::string& path) {
    const bool cut_off = std::filesystem::exists(path + "-journal");
    return sqlite::Database::open(path, {.read_only = !cut_off, .create = false, .wal = false});
}

/// Every row of every table, ordered, as SQL literals.
inline std::string rows_of(const std::string& path) {
    if (!std::filesystem::exists(path)) return {};
    auto db = looked_at(path);
    std::string text;
    std::vector<std::string> tables;
    {
        auto names = db.prepare(
            "SELECT name FROM sqlite_schema WHERE type='table' AND sql NOT LIKE 'CREATE VIRTUAL%' "
            "ORDER BY name");
        while (names.step()) tables.emplace_back(names.text(0));
    }
    for (const std::string& table : tables) {
        std::string columns, order;
        auto names = db.prepare("SELECT name FROM pragma_table_info(?)");
        names.bind(1, table);
        for (int i = 1; names.step(); ++i) {
            columns +=
                (i > 1 ? "||','||quote(\"" : "quote(\"") + std::string(names.text(0)) + "\")";
            order += (i > 1 ? "," : "") + ("\"" + std::string(names.text(0)) + "\"");
        }
        auto rows = db.prepare("SELECT " + columns + " FROM \"" + table + "\" ORDER BY " + order);
        while (rows.step()) text += table + ": " + std::string(rows.text(0)) + "\n";
    }
    return text;
}

inline std::vector<std::string> unsound(const std::string& path) {
    std::vector<std::string> findings;
    if (!std::filesystem::exists(path)) return findings;
    auto db = looked_at(path);
    auto check = db.prepare("PRAGMA integrity_check");
    while (check.step())
        if (check.text(0) != "ok") findings.emplace_back(check.text(0));
    return findings;
}

/// The first line two texts differ in.
inline std::string difference(std::string_view is, std::string_view wanted) {
    std::size_t at = 0, line = 0;
    while (at < is.size() && at < wanted.size() && is[at] == wanted[at])
        if (is[at++] == '\n') line = at;
    const auto rest = [&](std::string_view text) {
        return std::string(text.substr(line, text.find('\n', line) - line)).substr(0, 500);
    };
    return "has `" + rest(is) + "`, wanted `" + rest(wanted) + "`";
}

/// What is done to a machine M, which has
///   M(folder), open(), close(), state(): every row of its files, shown(): what a user sees,
///   findings(), `environment`, and `Notes notes`, what preparing leaves for the steps.
template <class M>
struct Operation {
    using Act = std::function<void(M&)>;
    const char* name;
    Act prepare;
    std::vector<Act> steps;  ///< each one transaction, or none
    bool opens = true;       ///< the machine is open before the first step
    bool killed = false;     ///< what prepared it was killed, not closed
    bool reads = false;      ///< nothing is written
    bool once = false;       ///< a step cannot be taken a second time on the same machine
    bool in_parts = false;  ///< a step is several transactions, and goes on where it was broken off
};

struct DrillTally {
    std::uint64_t operations = 0, changes = 0, crashes = 0, faults = 0, refused_memory = 0;
};

/// Breaks one operation off at its points: all of them when the environment variable RAPPORT_POINTS
/// is `all`, else a sample.
template <class M>
class Drill {
public:
    Drill(const Operation<M>& operation, DrillTally& tally)
        : operation_(operation), tally_(tally), disk_(folder_.file("run/")) {
        prepare();
        rehearse();
        ++tally_.operations;
    }

    void crash_everywhere() {
        for (const Damage damage : {Damage::kept, Damage::dropped, Damage::some, Damage::torn}) {
            const auto kind = static_cast<std::uint64_t>(damage);
            tally_.changes += damage == Damage::kept ? changes_ : 0;
            const std::uint64_t every = all() ? 1 : (changes_ + kCrashSample - 1) / kCrashSample;
            for (std::uint64_t nth = all() ? 1 : 1 + kind * every / 4; nth <= changes_;
                 nth += every)
                crash(nth, damage, nth * 4 + kind);
        }
    }

    void fail_everywhere() {
        for (const bool lasting : {false, true}) {
            for (const Fault fault : {Fault::io, Fault::full})
                fail(
                    lasting, kFaultSample,
                    [&](std::uint64_t nth) {
                        failed_before_ = disk_.failed();
                        disk_.fail_at(fault, nth, lasting);
                    },
                    [&] { disk_.heal(); }, [&] { return disk_.failed() > failed_before_; },
                    tally_.faults);
            fail(
                lasting, kMemorySample, [&](std::uint64_t nth) { memory::fail_at(nth, lasting); },
                [] { memory::heal(); }, [] { return memory::failed(); }, tally_.refused_memory);
        }
    }

private:
    static constexpr std::uint64_t kCrashSample = 3;  // per kind of damage
    static constexpr std::uint64_t kFaultSample = 2;  // points grow by half
    static constexpr std::uint64_t kMemorySample = 2;

    static bool all() {
        const char* points = std::getenv("RAPPORT_POINTS");
        return points != nullptr && std::string_view(points) == "all";
    }

    std::string before() const { return folder_.file("before"); }
    std::string here() const { return folder_.file("run"); }

    void copy(const std::string& from, const std::string& to) {
        std::filesystem::remove_all(to);
        std::filesystem::copy(from, to, std::filesystem::copy_options::recursive);
        for (const auto& entry : std::filesystem::directory_iterator(to))
            if (const std::string name = entry.path().string();
                name.size() > 4 && name.substr(name.size() - 4) == "-shm")
                std::filesystem::remove(entry.path());
    }

    // Once with the other side of the conversation, which leaves its answers in the notes.
    void prepare() {
        const std::string work = folder_.file("work");
        Disk disk(work + "/");  // for its speed
        std::filesystem::create_directory(work);
        M machine(work);
        machine.environment.at_step(1'000'000);
        operation_.prepare(machine);
        if (!operation_.killed) machine.close();
        copy(work, before());
        if (operation_.opens)
            machine.open();
        else
            machine.close();
        for (std::size_t i = 0; i < operation_.steps.size(); ++i) step(machine, i);
        notes_ = machine.notes;
    }

    void fresh() {
        if (machine_) machine_->close();
        machine_.reset();
        disk_.adopt();
        copy(before(), here());
        start();
        if (operation_.opens) machine_->open();
    }
    void start() {
        machine_ = std::make_unique<M>(here());
        machine_->notes = notes_;
        machine_->environment.at_step(operation_.opens ? 0 : 1);
    }
    void step(M& machine, std::size_t i) {
        Disk::begin_anew();  // ids that SQL draws
        machine.environment.at_step(i + 1);
        operation_.steps[i](machine);
    }

    void rehearse() {
        fresh();
        if (operation_.opens) {
            states_ = {machine_->state()};
            shown_ = {machine_->shown()};
        }
        const std::uint64_t first = disk_.changes();
        for (std::size_t i = 0; i < operation_.steps.size(); ++i) {
            step(*machine_, i);
            states_.push_back(machine_->state());
            shown_.push_back(machine_->shown());
        }
        changes_ = disk_.changes() - first;
        CHECK_MESSAGE((changes_ == 0) == operation_.reads, "it does not write what it is to write");
        if (!operation_.opens) {  // opening a file is all or nothing by being repeated
            states_.insert(states_.begin(), states_.back());
            shown_.insert(shown_.begin(), shown_.back());
        }
        sound();
    }

    void sound() {
        for (const std::string& finding : machine_->findings()) FAIL_CHECK(finding);
    }

    // The steps from here on, as if nothing had been.
    void finish(std::size_t from) {
        if (!operation_.opens) return;
        for (std::size_t i = from; i < operation_.steps.size(); ++i) step(*machine_, i);
        const std::string shows = machine_->shown();
        if (shows != shown_.back()) FAIL_CHECK("at the end ", difference(shows, shown_.back()));
    }

    void crash(std::uint64_t nth, Damage damage, std::uint64_t seed) {
        CAPTURE(nth);
        CAPTURE(static_cast<int>(damage));
        ++tally_.crashes;
        fresh();
        disk_.crash_at(nth, damage, seed);
        std::size_t returned = 0;
        try {
            for (; returned < operation_.steps.size(); ++returned) {
                step(*machine_, returned);
                if (disk_.crashed()) break;  // what only closes has nothing to throw
            }
        } catch (const Error& e) {
            CHECK(disk_.crashed());
            clear(e);
        }
        machine_->close();
        machine_.reset();
        disk_.reboot();
        start();
        try {
            machine_->open();
        } catch (const Error& e) {
            FAIL_CHECK("it does not open after a crash: ", std::string(e.what()));
            return;
        }
        sound();
        const std::string state = machine_->state();
        const std::size_t next = std::min(returned + 1, operation_.steps.size());
        if (state != states_[returned] && state != states_[next] && !operation_.in_parts) {
            FAIL_CHECK("neither whole nor absent: ", difference(state, states_[returned]), "; ",
                       difference(state, states_[next]));
            return;
        }
        const bool next_was_reached =
            operation_.in_parts ? state != states_[returned] : state == states_[next];
        finish(next_was_reached ? next : returned);
    }

    // An error that says what it is.
    static void clear(const Error& e) {
        CHECK_MESSAGE(e.code() == ErrorCode::storage_failed, e.what());
        CHECK(std::string_view(e.what()).size() > 10);
    }

    template <class Arm, class Heal, class Struck>
    void fail(bool lasting, std::uint64_t sample, Arm arm, Heal heal, Struck struck,
              std::uint64_t& count) {
        CAPTURE(lasting);
        fresh();
        std::size_t done = 0;
        bool failed_before = false;  // then stamps may have gone on
        std::string before = state_now();
        for (std::uint64_t nth = 1; done < operation_.steps.size();) {
            CAPTURE(done);
            CAPTURE(nth);
            bool threw = false;
            arm(nth);
            try {
                step(*machine_, done);
                heal();
            } catch (const Error& e) {
                heal();
                threw = true;
                if (struck())
                    clear(e);
                else
                    FAIL_CHECK("without a fault: ", std::string(e.what()));
            } catch (const std::bad_alloc&) {
                heal();
                threw = true;
            }
            if (!struck()) {
                if (threw) return;
                ++done;
                nth = 1;
                if (operation_.once && done < operation_.steps.size()) again(done);
                before = state_now();
                continue;
            }
            ++count;
            if (!still_sound(done, threw, before, failed_before)) return;
            failed_before = true;
            nth += all() ? 1 : 1 + nth / sample;
        }
        // A power cut now takes nothing along that was said to be done.
        machine_->close();
        disk_.crash_now(Damage::dropped);
        machine_.reset();
        disk_.reboot();
        start();
        machine_->open();
        sound();
        const std::string shows = machine_->shown();
        if (shows != shown_.back()) FAIL_CHECK("at the end ", difference(shows, shown_.back()));
    }

    // After a fault in this step: whole or absent, whole if it returned, and the machine goes on.
    bool still_sound(std::size_t done, bool threw, std::string& before, bool failed_before) {
        const bool changes = states_[done] != states_[done + 1];
        if (operation_.once) {
            machine_->close();
            try {
                machine_->open();
            } catch (const Error& e) {
                FAIL_CHECK("it does not open after a fault: ", std::string(e.what()));
                return false;
            }
            const std::string shows = machine_->shown();
            if (shows != shown_[done] && shows != shown_[done + 1]) {
                FAIL_CHECK("neither whole nor absent: ", difference(shows, shown_[done + 1]));
                return false;
            }
            sound();
            again(done);
            before = state_now();
            return true;
        }
        const std::string state = machine_->state();
        if (state == before) {
            if (changes && !threw) FAIL_CHECK("it returned and did nothing");
            return !changes || threw;
        }
        const std::string shows = machine_->shown();
        if (!operation_.in_parts &&
            (shows != shown_[done + 1] || (!failed_before && state != states_[done + 1]))) {
            FAIL_CHECK("neither whole nor absent: ", difference(state, before), "; ",
                       difference(state, states_[done + 1]), "; ",
                       difference(shows, shown_[done + 1]));
            return false;
        }
        sound();
        again(done);
        before = state_now();
        return true;
    }

    std::string state_now() { return operation_.opens ? machine_->state() : std::string(); }

    // A machine at which so many steps have been taken.
    void again(std::size_t done) {
        fresh();
        for (std::size_t i = 0; i < done; ++i) step(*machine_, i);
    }

    const Operation<M>& operation_;
    DrillTally& tally_;
    TempDir folder_;
    Disk disk_;
    std::unique_ptr<M> machine_;
    decltype(M::notes) notes_{};
    std::vector<std::string> states_, shown_;  // before the first step and after each
    std::uint64_t changes_ = 0;                // of the disk, by all steps
    std::uint64_t failed_before_ = 0;
};

template <class M>
void drill(const std::vector<Operation<M>>& operations) {
    DrillTally tally;
    const char* only = std::getenv("RAPPORT_OPERATION");
    for (const Operation<M>& operation : operations) {
        if (only != nullptr && std::string_view(only) != operation.name) continue;
        const std::string name = operation.name;
        CAPTURE(name);
        Drill<M> drill(operation, tally);
        drill.crash_everywhere();
        drill.fail_everywhere();
    }
    std::cout << tally.operations << " operations with " << tally.changes
              << " changes of the disk: " << tally.crashes << " crashes, " << tally.faults
              << " failures of the disk, " << tally.refused_memory << " of memory" << std::endl;
}

}  // namespace rapport::test
