// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "server/http/message.hpp"

/// The sockets: HTTP/1.1 with keep-alive over TCP, framed as framing.hpp says, every wait with an
/// end.
namespace rapport::server::http {

struct Request {
    Head head;
    std::string body;
    std::uint64_t writer = 0;  ///< as Admission gave it
};

/// What is decided from the head alone, before a byte of body is read.
struct Admission {
    std::optional<Response>
        refusal;  ///< answered at once; if a body was announced the connection ends
    std::size_t body_bytes_max = 0;
    std::uint64_t writer = 0;  ///< of the device that sends it; 0 = none
};

/// Who answers. Called on a few threads at once; may block for a read of the storage, not for a
/// commit.
class Handler {
public:
    virtual ~Handler() = default;
    virtual Admission admit(const Head& head) = 0;
    /// Calls `done` exactly once, now or later, on any thread, but not after the listener was
    /// destroyed.
    virtual void handle(Request request, std::function<void(Response)> done) = 0;
    /// What became of a request, also of one that was never handled. `path` is a known one,
    /// `other`, or `malformed`.
    virtual void answered(std::string_view path, int status, std::size_t bytes_in,
                          std::size_t bytes_out) = 0;
};

struct ListenerOptions {
    std::string host = "127.0.0.1";  ///< an address or a name; its first address is taken
    std::uint16_t port = 0;          ///< 0 = any free one
    bool any_address =
        false;  ///< plain HTTP beyond loopback; nobody reads the credentials on the way there
    std::size_t connections_max = 2000;
    std::chrono::milliseconds head_time_max{10'000};  ///< from its first byte to its last
    std::chrono::milliseconds idle_time_max{
        60'000};  ///< between requests, and between two pieces of a body or an answer
    std::chrono::milliseconds body_time_max{600'000};  ///< for a whole body
};

/// Listens from its construction on; answers from run() on.
///
/// Ownership: borrows the handler.  Thread-safety: thread-safe.
class Listener {
public:
    /// Errors: invalid_argument (not loopback without any_address, or no such name), network_failed
    /// (port taken, ...).
    Listener(const ListenerOptions& options, Handler& handler);
    /// As stop(0).
    ~Listener();
    Listener(const Listener&) = delete;
    Listener& operator=(const Listener&) = delete;

    std::uint16_t port() const;
    /// Starts its threads and returns.
    void run();
    /// Stops accepting, closes connections that wait for a request, lets those under way finish for
    /// at most `grace`, and ends the threads. Harmless to repeat.
    void stop(std::chrono::milliseconds grace);
    std::size_t connections() const;

private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

}  // namespace rapport::server::http
