// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <condition_variable>
#include <csignal>
#include <functional>
#include <iostream>
#include <mutex>
#include <thread>

#include "command.hpp"
#include "progress.hpp"
#include "rapport/sync/syncer.hpp"
#include "shown.hpp"

namespace rapport::cli {

namespace {

constexpr int kIdleIndexSteps = 40;  // about 10,000 records, half a second
constexpr Milliseconds kWatchInterval{30'000};

std::array<int, 2> signal_pipe{-1, -1};

void on_signal(int number) {
    const int kept = errno;
    const char byte = 1;
    if (write(signal_pipe[1], &byte, 1) < 0) errno = 0;
    // The second one ends the process as ever: nothing of the file depends on a tidy end.
    std::signal(number, SIG_DFL);
    errno = kept;
}

// Hears Ctrl-C and SIGTERM for as long as it lives.
class Interrupt {
public:
    Interrupt() {
        if (pipe2(signal_pipe.data(), O_CLOEXEC | O_NONBLOCK) != 0)
            throw Failure(kRefused, "the system has no pipe to give");
        thread_ = std::thread([this] { listen(); });
        for (const int number : {SIGINT, SIGTERM}) std::signal(number, on_signal);
    }
    ~Interrupt() {
        for (const int number : {SIGINT, SIGTERM}) std::signal(number, SIG_DFL);
        const char byte = 0;
        if (write(signal_pipe[1], &byte, 1) < 0) errno = 0;
        thread_.join();
        close(signal_pipe[0]);
        close(signal_pipe[1]);
    }
    Interrupt(const Interrupt&) = delete;
    Interrupt& operator=(const Interrupt&) = delete;

    bool heard() const { return heard_; }
    /// What to call when it is heard, at once if it was already; empty = nothing.
    void call(std::function<void()> stop) {
        const std::lock_guard<std::mutex> lock(mutex_);
        stop_ = std::move(stop);
        if (heard_ && stop_) stop_();
    }
    /// Returns early when it is heard.
    void wait(Milliseconds time) {
        std::unique_lock<std::mutex> lock(mutex_);
        wake_.wait_for(lock, time, [&] { return heard_.load(); });
    }

private:
    void listen() {
        for (;;) {
            pollfd waiting{signal_pipe[0], POLLIN, 0};
            if (poll(&waiting, 1, -1) < 0 && errno != EINTR) return;
            char byte = 0;
            if (read(signal_pipe[0], &byte, 1) != 1) continue;
            if (byte == 0) return;
            const std::lock_guard<std::mutex> lock(mutex_);
            heard_ = true;
            if (stop_) stop_();
            wake_.notify_all();
        }
    }

    std::thread thread_;
    std::mutex mutex_;
    std::condition_variable wake_;
    std::function<void()> stop_;
    std::atomic<bool> heard_{false};
};

struct Round {
    SyncResult result;
    std::size_t refused_in_file = 0;
    std::size_t conflicts_in_file = 0;
};

// Opens the file for writing, and closes it again: between two rounds others may write.
Round run_round(const SyncOptions& options, const SyncBudget& budget, Transport& transport,
                Interrupt& interrupt) {
    Store store = open_store(options.file, false);
    Syncer syncer(store, transport);
    ProgressLine line;
    interrupt.call([&] { syncer.cancel(); });
    Round round;
    try {
        round.result = syncer.sync_for(budget, [&](const SyncProgress& p) {
            if (!line.due()) return;
            line.show(p.bundles_done, p.bundles_total,
                      std::to_string(p.bundles_done) + " of " + counted(p.bundles_total, "bundle") +
                          " sent, " + counted(p.records_received, "record") + " received, " +
                          bytes_shown(p.bytes_sent) + " up, " + bytes_shown(p.bytes_received) +
                          " down");
        });
    } catch (...) {
        interrupt.call({});
        throw;
    }
    interrupt.call({});
    const Overview after = store.overview();
    round.refused_in_file = after.refused;
    round.conflicts_in_file = after.conflicts;
    // Between two rounds nobody waits for this process; searches then find the index made.
    if (options.watch)
        for (int step = 0; step < kIdleIndexSteps && !interrupt.heard() && store.index_some();)
            ++step;
    return round;
}

void print(const Round& round, const SyncOptions& options, Rows* rows) {
    const SyncResult& r = round.result;
    if (rows != nullptr) {
        rows->add({std::string(name_of(r.end)), r.sent, r.applied, r.conflicted, r.refused, r.later,
                   r.review, r.decided, r.unanswered, r.left, r.received, r.requests, r.bytes_sent,
                   r.bytes_received, r.sentence});
    } else {
        std::cout << "sent " << r.sent << ", applied " << r.applied << ", conflicted "
                  << r.conflicted << ", refused " << r.refused << ", later " << r.later;
        if (r.review > 0) std::cout << ", in review " << r.review;
        if (r.decided > 0) std::cout << ", decided " << r.decided;
        if (r.unanswered > 0) std::cout << ", unanswered " << r.unanswered;
        if (r.compared || r.mended > 0) std::cout << ", mended " << r.mended;
        std::cout << ", left " << r.left << ", received " << r.received << "; "
                  << bytes_shown(r.bytes_sent) << " up, " << bytes_shown(r.bytes_received)
                  << " down, " << counted(static_cast<std::size_t>(r.requests), "request")
                  << std::endl;
    }
    if (r.end != SyncEnd::complete) {
        std::string name(name_of(r.end));
        for (char& c : name)
            if (c == '_') c = ' ';
        complain(options.file + ": " + (r.sentence.empty() ? name : r.sentence));
    }
    if (r.mended > 0)
        complain(counted(r.mended, "record") +
                 " of this file had not been what the server has, and is now");
    if (r.differing > 0)
        complain(counted(r.differing, "record") +
                 " with unsent work is not what the server has; it cannot be mended before that "
                 "work is sent or given up");
    if (options.compare && !r.compared && r.end == SyncEnd::complete)
        complain(
            "the file was not compared with the server; it does not take that, or others "
            "write all the time");
    if (round.refused_in_file > 0)
        complain(counted(round.refused_in_file, "bundle") + " refused; `rapport status " +
                 options.file + "` says why");
    if (round.conflicts_in_file > 0 && rows == nullptr)
        complain(counted(round.conflicts_in_file, "open conflict") + "; `rapport conflicts " +
                 options.file + "` shows all values");
}

bool needs_a_person(SyncEnd end) {
    return end == SyncEnd::not_authorised || end == SyncEnd::needs_recovery ||
           end == SyncEnd::rejected || end == SyncEnd::not_enrolled;
}

int exit_of(const Round& round) {
    if (needs_a_person(round.result.end)) return kRefused;
    if (round.result.end == SyncEnd::not_reached || round.result.end == SyncEnd::cancelled)
        return kNotReached;
    return round.refused_in_file > 0 || round.result.refused > 0 ? kRefused : kDone;
}

}  // namespace

int enrol(const EnrolOptions& options) {
    Store store = open_store(options.file, false);
    const auto transport = make_curl_transport();
    Syncer(store, *transport).enrol(options.server, options.code);
    const Overview o = store.overview();
    std::string scopes;
    for (const std::string& scope : o.scopes) scopes += (scopes.empty() ? "" : ", ") + scope;
    std::cout << "enrolled " << options.file << " as " << o.rep << " (" << o.role << ") of "
              << (o.tenant.empty() ? "the server" : "tenant " + o.tenant) << ", scopes " << scopes
              << '\n';
    return kDone;
}

int sync(const SyncOptions& options) {
    SyncBudget budget;
    if (!options.budget.empty()) budget.time = duration_called(options.budget);
    budget.compare = options.compare;
    const auto transport = make_curl_transport();
    Interrupt interrupt;
    std::optional<Rows> rows;
    if (options.format != Format::table)
        rows.emplace(
            std::cout, options.format,
            std::vector<std::string>{"end", "sent", "applied", "conflicted", "refused", "later",
                                     "review", "decided", "unanswered", "left", "received",
                                     "requests", "bytes_sent", "bytes_received", "sentence"});
    Rows* const machine = rows ? &*rows : nullptr;
    if (!options.watch) {
        const Round round = run_round(options, budget, *transport, interrupt);
        print(round, options, machine);
        return exit_of(round);
    }

    const Milliseconds interval =
        options.watch->empty() ? kWatchInterval : duration_called(*options.watch);
    Backoff backoff;
    while (!interrupt.heard()) {
        Milliseconds pause = interval;
        try {
            const Round round = run_round(options, budget, *transport, interrupt);
            if (interrupt.heard() && round.result.end == SyncEnd::cancelled) break;
            print(round, options, machine);
            std::cout.flush();
            if (needs_a_person(round.result.end)) return kRefused;
            if (round.result.end == SyncEnd::not_reached)
                pause = std::max(interval,
                                 backoff.next(system_environment(), round.result.retry_after));
            else
                backoff.succeeded();
        } catch (const Error& e) {
            // Somebody else writes for longer than a round may wait; the next one may find the file
            // free.
            if (e.code() != ErrorCode::storage_busy) throw;
            complain(e.what());
        }
        interrupt.wait(pause);
    }
    return kDone;
}

}  // namespace rapport::cli
