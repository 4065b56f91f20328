// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "rapport/environment.hpp"
#include "server/engine.hpp"
#include "server/storage.hpp"
#include "server/views.hpp"

/// What an administrator does to a server. A command is one JSON object; it runs in the server when
/// one has the store open, else in the program that was asked, through the same function either
/// way.
namespace rapport::server::admin {

inline constexpr std::size_t kRequestBytesMax = 64 * 1024;
inline constexpr std::size_t kImportLinesMax = 500;  ///< lines of an import in one commit

/// What a command works on.
struct Host {
    Storage& storage;
    Environment& environment;
    /// Runs a job with the engine on the engine's thread and returns when it is done; what the job
    /// throws, this throws.
    std::function<void(const std::function<void(Engine&)>& job)> with_engine;
    /// True when the command should end soon; may be null.
    const std::atomic<bool>* stopping = nullptr;
    Views* views = nullptr;  ///< of this store; null = it has none
};

/// Takes one line of the answer, a JSON object without line break, which is one of
/// {"columns":["writer",...]}  the columns of the rows that follow
/// {"row":[...]}               one row
/// {"say":"..."}               a line for stdout
/// {"complain":"..."}          a line for stderr
/// {"progress":1200}           lines of a file done so far
/// and at the very end, written by whoever called run(), {"exit":0}.
using Emit = std::function<void(const std::string& json_line)>;

/// Runs one command and returns the program's exit code: 0 done, 1 something was refused or
/// invalid, 2 wrong usage. The commands, with their members beside "command":
///   invite       rep, role, scopes[], tenant, days
///   key_add      role, tenant;  key_list;  key_revoke  name
///   devices;     devices_revoke  writer;  devices_scopes  writer, scopes[]
///   handover     customer or from, to, tenant
///   import       path, tenant          accept   path, tenant, rep
///   stats        backup  to            views    update (bool)
///   loop         tenant, open (1: the tasks that are)
///   recoveries   tenant;  recoveries_show, recoveries_accept, recoveries_dismiss  note, tenant
///   review_list  tenant, refused (true: these as well), lang
///   review_show  bundle, tenant, lang
///   review_accept  bundle, tenant, lang      review_reject  bundle, reason, tenant
///   erase        contacts[], customers[], hold_texts, tenant
///   erasures     tenant            subject_export  contacts[] or customers[], tenant
///   held_list    tenant            held_release, held_erase  record, tenant
/// Paths are absolute. Throws nothing but Error(internal).
int run(const Host& host, std::string_view request, const Emit& emit);

/// The administration socket of a running server: `<store path>.admin`, mode 0600, for the same
/// user and root only. One request line, then the answer's lines.
///
/// Ownership: borrows what the host borrows.  Thread-safety: thread-safe.
class Socket {
public:
    /// Errors: conflict (another server answers there), network_failed (path too long, not
    /// writable, ...).
    Socket(const std::string& path, Host host);
    /// Ends running commands at their next commit and removes the socket.
    ~Socket();
    Socket(const Socket&) = delete;
    Socket& operator=(const Socket&) = delete;

private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};
std::string socket_path(const std::string& store_path);

/// Asks the server at this socket. nullopt: nobody answers there, so the store is free to be
/// opened. `emit` gets every line but the last. Throws Error(network_failed) when the server goes
/// away before its last line.
std::optional<int> ask(const std::string& path, const std::string& request, const Emit& emit);

}  // namespace rapport::server::admin
