// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <list>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>

#include "rapport/error.hpp"
#include "server/admin.hpp"
#include "server/http/log.hpp"

namespace rapport::server::admin {

namespace {

constexpr int kCommandsMax = 8;  // at once
constexpr int kRequestTimeMaxMs = 5000;
constexpr std::size_t kReadBytes = 16 * 1024;
constexpr std::string_view kExit = "{\"exit\":";

class Descriptor {
public:
    explicit Descriptor(int number = -1) : number_(number) {}
    Descriptor(Descriptor&& other) noexcept : number_(std::exchange(other.number_, -1)) {}
    Descriptor& operator=(Descriptor&& other) noexcept {
        std::swap(number_, other.number_);
        return *this;
    }
    ~Descriptor() {
        if (number_ >= 0) ::close(number_);
    }
    int number() const { return number_; }

private:
    int number_;
};

[[noreturn]] void fail(const std::string& what) {
    const int cause = errno;
    throw Error(ErrorCode::network_failed, what + ": " + std::strerror(cause), cause);
}

sockaddr_un address_of(const std::string& path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (path.size() >= sizeof address.sun_path) {
        errno = ENAMETOOLONG;
        fail("the path of the administration socket");
    }
    std::memcpy(address.sun_path, path.data(), path.size());
    return address;
}

Descriptor unix_socket() {
    Descriptor made(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (made.number() < 0) fail("the administration socket");
    return made;
}

/// False: nobody listens there.
bool connected(const Descriptor& to, const std::string& path) {
    const sockaddr_un address = address_of(path);
    return ::connect(to.number(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
}

bool same_user(const Descriptor& peer) {
    ucred credentials{};
    socklen_t size = sizeof credentials;
    return ::getsockopt(peer.number(), SOL_SOCKET, SO_PEERCRED, &credentials, &size) == 0 &&
           (credentials.uid == ::geteuid() || credentials.uid == 0);
}

void send_all(const Descriptor& to, std::string_view bytes) {
    while (!bytes.empty()) {
        const ssize_t sent = ::send(to.number(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR) continue;
        if (sent <= 0) throw Error(ErrorCode::cancelled, "whoever asked has gone");
        bytes.remove_prefix(static_cast<std::size_t>(sent));
    }
}

}  // namespace

struct Socket::Impl {
    Impl(std::string p, Host h) : path(std::move(p)), host(std::move(h)) {
        host.stopping = &stopping;
    }

    void listen();
    void accept();
    void serve(const Descriptor& peer);

    struct Running {
        std::thread thread;
        std::atomic<bool> done{false};
    };

    const std::string path;
    Host host;
    std::atomic<bool> stopping{false};
    Descriptor listener;
    std::array<Descriptor, 2> wake;  // a pipe; its write end closes when the socket does
    std::thread acceptor;
    std::list<Running> running;  // only of the acceptor's thread
};

void Socket::Impl::listen() {
    if (connected(unix_socket(), path))
        throw Error(ErrorCode::conflict, "another rapportd serves this store already");
    listener = unix_socket();
    ::unlink(path.c_str());  // of a server that was killed
    const sockaddr_un address = address_of(path);
    const mode_t before = ::umask(0177);
    const int bound =
        ::bind(listener.number(), reinterpret_cast<const sockaddr*>(&address), sizeof address);
    ::umask(before);
    if (bound != 0 || ::listen(listener.number(), kCommandsMax) != 0)
        fail("the administration socket " + path);
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_CLOEXEC) != 0) fail("a pipe");
    wake = {Descriptor(ends[0]), Descriptor(ends[1])};
}

void Socket::Impl::accept() {
    while (!stopping) {
        std::array<pollfd, 2> waiting{
            {{listener.number(), POLLIN, 0}, {wake[0].number(), POLLIN, 0}}};
        if (::poll(waiting.data(), waiting.size(), -1) < 0 && errno != EINTR) break;
        if (stopping || waiting[1].revents != 0) break;
        if (waiting[0].revents == 0) continue;
        Descriptor peer(::accept4(listener.number(), nullptr, nullptr, SOCK_CLOEXEC));
        running.remove_if([](Running& each) {
            if (!each.done) return false;
            each.thread.join();
            return true;
        });
        if (peer.number() < 0 || !same_user(peer)) continue;
        if (running.size() >= static_cast<std::size_t>(kCommandsMax)) continue;
        Running& mine = running.emplace_back();
        mine.thread =
            std::thread([this, &mine, kept = std::make_shared<Descriptor>(std::move(peer))] {
                serve(*kept);
                mine.done = true;
            });
    }
    for (Running& each : running) each.thread.join();
}

void Socket::Impl::serve(const Descriptor& peer) {
    std::string request;
    while (request.find('\n') == std::string::npos) {
        pollfd waiting{peer.number(), POLLIN, 0};
        if (request.size() > kRequestBytesMax || ::poll(&waiting, 1, kRequestTimeMaxMs) <= 0)
            return;
        std::array<char, 4096> piece{};
        const ssize_t count = ::recv(peer.number(), piece.data(), piece.size(), 0);
        if (count <= 0) return;
        request.append(piece.data(), static_cast<std::size_t>(count));
    }
    request.resize(request.find('\n'));
    try {
        const int code =
            run(host, request, [&](const std::string& line) { send_all(peer, line + '\n'); });
        send_all(peer, std::string(kExit) + std::to_string(code) + "}\n");
    } catch (const Error& error) {
        // The engine's thread has already stopped the process if a rule of our own was broken; else
        // the asker went away.
        log::write(log::Level::warning, "administration_ended", {{"code", name_of(error.code())}});
    } catch (const std::exception& error) {
        log::write(log::Level::error, "administration_failed", {{"sentence", error.what()}});
    }
}

Socket::Socket(const std::string& path, Host host)
    : impl_(std::make_unique<Impl>(path, std::move(host))) {
    impl_->listen();
    impl_->acceptor = std::thread([impl = impl_.get()] { impl->accept(); });
}

Socket::~Socket() {
    impl_->stopping = true;
    ::unlink(impl_->path.c_str());
    impl_->wake[1] = Descriptor();
    impl_->acceptor.join();
}

std::string socket_path(const std::string& store_path) { return store_path + ".admin"; }

std::optional<int> ask(const std::string& path, const std::string& request, const Emit& emit) {
    const Descriptor server = unix_socket();
    if (path.size() >= sizeof(sockaddr_un::sun_path) || !connected(server, path))
        return std::nullopt;
    const auto gone = [] {
        return Error(ErrorCode::network_failed,
                     "the server went away before it was done; what it had committed is there");
    };
    try {
        send_all(server, request + '\n');
    } catch (const Error&) {
        throw gone();
    }
    std::string waiting;
    std::array<char, kReadBytes> piece{};
    while (true) {
        const ssize_t count = ::recv(server.number(), piece.data(), piece.size(), 0);
        if (count < 0 && errno == EINTR) continue;
        if (count <= 0) throw gone();
        waiting.append(piece.data(), static_cast<std::size_t>(count));
        std::size_t begin = 0;
        for (std::size_t end = waiting.find('\n'); end != std::string::npos;
             end = waiting.find('\n', begin)) {
            const std::string line = waiting.substr(begin, end - begin);
            begin = end + 1;
            if (line.compare(0, kExit.size(), kExit) == 0)
                return std::atoi(line.c_str() + kExit.size());
            emit(line);
        }
        waiting.erase(0, begin);
    }
}

}  // namespace rapport::server::admin
