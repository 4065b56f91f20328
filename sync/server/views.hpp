// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <condition_variable>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "server/storage.hpp"
#include "sqlite/database.hpp"

/// What backend teams read with any SQL tool: per tenant one SQLite file with a typed table per
/// kind of record, generated from the kinds' field lists (sync/VIEWS.md).
namespace rapport::server {

/// Keeps these files in step with the feed.
///
/// They are apart from the store, so that nobody's query holds up a device and nobody sees
/// credentials, and hold nothing of their own: each step's place in the feed is in its commit, so
/// the process may be killed anywhere, and a file that was deleted, is damaged or is of another
/// version is filled anew.
///
/// Ownership: borrows the storage.  Thread-safety: thread-safe.
class Views {
public:
    /// `folder` gets `<tenant>.db`; it is made when it is missing.
    Views(Storage& storage, std::string folder);

    /// Takes at most about a thousand lines of each tenant's feed, a commit per tenant. Returns
    /// whether anything was taken.
    bool step();

    struct Place {
        std::string tenant, path;
        std::uint64_t commit = 0;  ///< everything up to it is in the file; 0 = no file yet
        std::uint64_t head = 0;    ///< of the feed
    };
    std::vector<Place> places();
    const std::string& folder() const { return folder_; }

private:
    sqlite::Database& file_of(const std::string& tenant);
    bool step(const std::string& tenant);
    std::string path_of(const std::string& tenant) const;

    Storage& storage_;
    const std::string folder_;
    std::mutex mutex_;  // one connection writes a file, whoever asks for a step
    std::map<std::string, sqlite::Database> files_;
};

/// A thread that keeps the files in step from its construction to its destruction, at most seconds
/// behind, and gives way to everything else on the machine. What fails is logged and tried again.
///
/// Ownership: borrows the views.  Thread-safety: thread-safe.
class ViewsFollower {
public:
    explicit ViewsFollower(Views& views);
    ~ViewsFollower();
    ViewsFollower(const ViewsFollower&) = delete;
    ViewsFollower& operator=(const ViewsFollower&) = delete;

private:
    void work();

    Views& views_;
    std::mutex mutex_;
    std::condition_variable ending_;
    bool end_ = false;
    std::thread thread_;
};

/// `<store path>.views`
std::string views_folder(const std::string& store_path);

}  // namespace rapport::server
