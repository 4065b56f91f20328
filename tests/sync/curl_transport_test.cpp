// SPDX-License-Identifier: Apache-2.0
#include <arpa/inet.h>
#include <doctest/doctest.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <thread>

#include "rapport/sync/transport.hpp"

namespace rapport {
namespace {

/// Answers every request on every connection with the same bytes; with none, it never answers.
class RawServer {
public:
    explicit RawServer(std::string answer, bool close_after = false)
        : answer_(std::move(answer)),
          close_after_(close_after),
          listener_(socket(AF_INET, SOCK_STREAM, 0)) {
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        socklen_t size = sizeof address;
        REQUIRE(bind(listener_, reinterpret_cast<sockaddr*>(&address), size) == 0);
        REQUIRE(listen(listener_, 8) == 0);
        getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size);
        url_ = "http://127.0.0.1:" + std::to_string(ntohs(address.sin_port));
        REQUIRE(pipe(stop_) == 0);
        thread_ = std::thread([this] { serve(); });
    }
    ~RawServer() {
        if (write(stop_[1], "x", 1) != 1) std::abort();
        thread_.join();
        for (const int fd : {listener_, stop_[0], stop_[1]}) close(fd);
    }
    RawServer(const RawServer&) = delete;
    RawServer& operator=(const RawServer&) = delete;

    HttpRequest request(std::string body = "hello") const {
        HttpRequest r;
        r.url = url_ + "/v1/sync";
        r.headers = {{"Content-Type", "text/plain"}};
        r.body = std::move(body);
        r.timeout = Milliseconds(20'000);
        return r;
    }

    std::atomic<int> connections{0}, requests{0};
    std::atomic<bool> expect_seen{false};

private:
    bool readable(int fd) {
        pollfd fds[2] = {{fd, POLLIN, 0}, {stop_[0], POLLIN, 0}};
        return poll(fds, 2, -1) > 0 && fds[1].revents == 0;
    }
    void serve() {
        while (readable(listener_)) {
            const int fd = accept(listener_, nullptr, nullptr);
            ++connections;
            std::string seen;
            char buffer[65536];
            while (readable(fd)) {
                const ssize_t n = read(fd, buffer, sizeof buffer);
                if (n <= 0) break;
                seen.append(buffer, static_cast<std::size_t>(n));
                const std::size_t head = seen.find("\r\n\r\n");
                if (head == std::string::npos) continue;
                if (seen.find("Expect") != std::string::npos) expect_seen = true;
                const std::size_t at = seen.find("Content-Length: ");
                const std::size_t length =
                    at == std::string::npos ? 0 : std::stoul(seen.substr(at + 16));
                if (seen.size() < head + 4 + length) continue;
                seen.clear();
                ++requests;
                if (answer_.empty()) continue;
                for (std::size_t sent = 0; sent < answer_.size();) {
                    const ssize_t m =
                        send(fd, answer_.data() + sent, answer_.size() - sent, MSG_NOSIGNAL);
                    if (m <= 0) break;
                    sent += static_cast<std::size_t>(m);
                }
                if (close_after_) break;
            }
            close(fd);
        }
    }

    std::string answer_, url_;
    bool close_after_;
    int listener_;
    int stop_[2] = {-1, -1};
    std::thread thread_;
};

std::string http_answer(const std::string& status, const std::string& fields,
                        const std::string& body) {
    return "HTTP/1.1 " + status + "\r\n" + fields +
           "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
}

const std::atomic<bool> kNoCancel{false};

}  // namespace

TEST_CASE("several exchanges go over one connection, with status, type and headers") {
    const RawServer server(
        http_answer("200 OK", "Content-Type: text/plain; x=1\r\nRetry-AFTER:  7 \r\n", "answer"));
    const auto transport = make_curl_transport();
    for (int i = 0; i < 3; ++i) {
        std::uint64_t sent = 0, received = 0;
        const HttpResponse r =
            transport->exchange(server.request(), kNoCancel, [&](std::uint64_t s, std::uint64_t n) {
                sent = s;
                received = n;
            });
        CHECK(r.failure == "");
        CHECK(r.status == 200);
        CHECK(r.body == "answer");
        CHECK(r.content_type == "text/plain; x=1");
        CHECK(r.headers.at("retry-after") == "7");
        CHECK(sent == 5);
        CHECK(received == 6);
    }
    CHECK(server.requests == 3);
    CHECK(server.connections == 1);
}

TEST_CASE("a large body goes at once, without asking whether it may") {
    const RawServer server(http_answer("200 OK", "", ""));
    CHECK(make_curl_transport()
              ->exchange(server.request(std::string(3 << 20, 'x')), kNoCancel, {})
              .status == 200);
    CHECK_FALSE(server.expect_seen);
}

TEST_CASE("a redirect is an answer, not a way") {
    const RawServer elsewhere(http_answer("200 OK", "", "secret taken"));
    const RawServer server(
        http_answer("307 Temporary Redirect", "Location: " + elsewhere.request().url + "\r\n", ""));
    CHECK(make_curl_transport()->exchange(server.request(), kNoCancel, {}).status == 307);
    CHECK(elsewhere.requests == 0);
}

TEST_CASE("an answer larger than the bound is no answer") {
    const RawServer server(http_answer("200 OK", "", std::string(1 << 20, 'x')));
    HttpRequest request = server.request();
    request.reply_bytes_max = (1 << 20) - 1;
    const auto transport = make_curl_transport();
    const HttpResponse r = transport->exchange(request, kNoCancel, {});
    CHECK(r.status == 0);
    CHECK(r.body.empty());
    CHECK(r.failure == "the answer is larger than expected");
    request.reply_bytes_max = 1 << 20;
    CHECK(transport->exchange(request, kNoCancel, {}).status == 200);
}

TEST_CASE("an answer that is cut short, no HTTP or not given at all is none") {
    const auto transport = make_curl_transport();
    {
        const RawServer server("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this", true);
        const HttpResponse r = transport->exchange(server.request(), kNoCancel, {});
        CHECK(r.status == 0);
        CHECK_FALSE(r.failure.empty());
    }
    {
        const RawServer server("SSH-2.0-OpenSSH_9.2\r\n", true);
        CHECK(transport->exchange(server.request(), kNoCancel, {}).status == 0);
    }
    HttpRequest gone;
    {
        const RawServer server("");
        HttpRequest silent = gone = server.request();
        silent.timeout = Milliseconds(50);
        CHECK(transport->exchange(silent, kNoCancel, {}).status == 0);
    }
    CHECK(transport->exchange(gone, kNoCancel, {}).status == 0);
    gone.url = "file:///etc/hostname";
    CHECK(transport->exchange(gone, kNoCancel, {}).status == 0);
}

TEST_CASE("a cancel from another thread ends an exchange that waits for its answer") {
    const RawServer server("");
    std::atomic<bool> cancel{false};
    std::thread other([&] {
        while (server.requests == 0) std::this_thread::yield();
        cancel = true;
    });
    const auto began = std::chrono::steady_clock::now();
    const HttpResponse r = make_curl_transport()->exchange(server.request(), cancel, {});
    other.join();
    CHECK(r.cancelled);
    CHECK(r.status == 0);
    CHECK(std::chrono::steady_clock::now() - began < std::chrono::seconds(5));
}

}  // namespace rapport
