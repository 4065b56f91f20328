// SPDX-License-Identifier: Apache-2.0
#include "server/http/listener.hpp"

#include <atomic>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/strand.hpp>
#include <boost/asio/thread_pool.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http.hpp>
#include <condition_variable>
#include <future>
#include <mutex>
#include <thread>
#include <unordered_map>
#include <utility>
#include <vector>

#include "rapport/error.hpp"
#include "server/http/framing.hpp"
#include "server/http/log.hpp"

namespace rapport::server::http {

namespace asio = boost::asio;
namespace beast_http = boost::beast::http;
using Tcp = asio::ip::tcp;
using ErrorStatus = boost::system::error_code;

namespace {

constexpr int kIoThreads = 2;       // sockets and (de)compression of answers
constexpr int kHandlerThreads = 2;  // reads of the storage
constexpr std::size_t kReadBytes = 16 * 1024;
constexpr std::size_t kLingerBytes =
    4U << 20;  // read and thrown away after a refusal, so that the peer sees the answer
constexpr std::chrono::milliseconds kLingerTime{2000};
constexpr std::chrono::milliseconds kAcceptPause{100};  // when the process is out of descriptors
constexpr auto kAwait = asio::as_tuple(asio::use_awaitable);

/// One socket with one clock: whatever it waits for, it waits at most until the deadline set last.
/// Stranded.
struct Connection {
    explicit Connection(Tcp::socket s) : socket(std::move(s)), timer(socket.get_executor()) {}
    Tcp::socket socket;
    asio::steady_timer timer;
    boost::beast::flat_buffer buffer{kHeadBytesMax + 2 * kReadBytes};
    std::uint64_t deadline =
        0;  ///< number of the deadline set last; an older one that fires late means nothing
    bool timed_out = false;
    bool waiting_for_request = false;
};

void set_deadline(const std::shared_ptr<Connection>& connection, std::chrono::milliseconds in) {
    connection->timed_out = false;
    connection->timer.expires_after(in);
    connection->timer.async_wait(
        [connection, mine = ++connection->deadline](const ErrorStatus& status) {
            if (status || mine != connection->deadline) return;
            connection->timed_out = true;
            ErrorStatus ignored;
            connection->socket.cancel(ignored);
        });
}

void clear_deadline(Connection& connection) {
    ++connection.deadline;
    connection.timer.cancel();
}

std::string_view bytes_of(const boost::beast::flat_buffer& buffer) {
    return {static_cast<const char*>(buffer.data().data()), buffer.size()};
}

Response fault_response(const Fault& fault) {
    const bool too_large = fault.status == 413 || fault.status == 414 || fault.status == 431;
    Response response = problem(fault.status, too_large ? "limit_exceeded" : "protocol_violated",
                                fault.status == 408 ? "retry" : "stop", fault.sentence);
    response.close = true;
    return response;
}

}  // namespace

struct Listener::Impl {
    Impl(const ListenerOptions& o, Handler& h)
        : options(o), handler(h), acceptor(asio::make_strand(context)) {
        listen();
    }

    void listen();
    asio::awaitable<void> accept();
    asio::awaitable<void> turn_away(std::shared_ptr<Connection> connection);
    asio::awaitable<void> serve(std::shared_ptr<Connection> connection);
    /// Returns whether another request may follow.
    asio::awaitable<bool> exchange(std::shared_ptr<Connection> connection);
    asio::awaitable<bool> answer(std::shared_ptr<Connection> connection, Response response,
                                 const Head* head);
    asio::awaitable<void> linger(std::shared_ptr<Connection> connection);
    asio::awaitable<Response> handled(Request request);
    void leave(const Connection* connection);
    /// Ends all connections, or those that wait for a request.
    void close(bool idle_only);

    const ListenerOptions options;
    Handler& handler;
    asio::io_context context{kIoThreads};
    asio::thread_pool handlers{kHandlerThreads};
    Tcp::acceptor acceptor;
    std::vector<std::thread> threads;
    std::atomic<bool> stopping{false};

    mutable std::mutex mutex;
    std::condition_variable left;
    std::unordered_map<const Connection*, std::weak_ptr<Connection>> open;
};

void Listener::Impl::listen() {
    ErrorStatus status;
    Tcp::resolver resolver(context);
    const auto found =
        resolver.resolve(options.host, std::to_string(options.port),
                         Tcp::resolver::passive | Tcp::resolver::numeric_service, status);
    if (status || found.empty())
        throw Error(ErrorCode::invalid_argument, "the address to listen on is not known");
    const Tcp::endpoint endpoint = found.begin()->endpoint();
    if (!endpoint.address().is_loopback() && !options.any_address)
        throw Error(ErrorCode::invalid_argument,
                    "plain HTTP is served on loopback only, because credentials would cross the "
                    "network in the clear; "
                    "--insecure-any-address allows it behind a proxy that ends TLS");
    const auto check = [&](const char* what) {
        if (status)
            throw Error(ErrorCode::network_failed, std::string(what) + ": " + status.message(),
                        status.value());
    };
    acceptor.open(endpoint.protocol(), status);
    check("the socket could not be opened");
    acceptor.set_option(asio::socket_base::reuse_address(true), status);
    acceptor.bind(endpoint, status);
    check("the address could not be bound");
    acceptor.listen(asio::socket_base::max_listen_connections, status);
    check("the socket does not listen");
}

asio::awaitable<void> Listener::Impl::accept() {
    while (!stopping) {
        auto [status, socket] = co_await acceptor.async_accept(asio::make_strand(context), kAwait);
        if (stopping || status == asio::error::operation_aborted ||
            status == asio::error::bad_descriptor)
            break;
        if (status) {
            asio::steady_timer pause(acceptor.get_executor(), kAcceptPause);
            co_await pause.async_wait(kAwait);
            continue;
        }
        auto connection = std::make_shared<Connection>(std::move(socket));
        ErrorStatus ignored;
        connection->socket.set_option(Tcp::no_delay(true), ignored);
        bool room = false;
        {
            const std::lock_guard lock(mutex);
            room = open.size() < options.connections_max;
            // Those turned away are few and short-lived, but count while they last.
            if (open.size() < options.connections_max + options.connections_max / 8 + 8)
                open.emplace(connection.get(), connection);
            else
                continue;
        }
        const auto executor = connection->socket.get_executor();
        asio::co_spawn(executor, room ? serve(connection) : turn_away(connection),
                       [this, connection](const std::exception_ptr&) { leave(connection.get()); });
    }
}

asio::awaitable<void> Listener::Impl::turn_away(std::shared_ptr<Connection> connection) {
    Response response =
        problem(503, "unavailable", "retry", "the server has as many connections as it can take",
                std::chrono::seconds(5));
    response.close = true;
    co_await answer(connection, std::move(response), nullptr);
    co_await linger(connection);
}

asio::awaitable<void> Listener::Impl::serve(std::shared_ptr<Connection> connection) {
    while (co_await exchange(connection)) {
    }
    clear_deadline(*connection);
    ErrorStatus ignored;
    connection->socket.close(ignored);
}

asio::awaitable<bool> Listener::Impl::exchange(std::shared_ptr<Connection> connection) {
    Tcp::socket& socket = connection->socket;
    boost::beast::flat_buffer& buffer = connection->buffer;

    // The head.
    HeadScan scan;
    bool begun = buffer.size() > 0;
    set_deadline(connection, begun ? options.head_time_max : options.idle_time_max);
    while (true) {
        scan = scan_head(bytes_of(buffer));
        if (scan.fault || scan.size > 0) break;
        connection->waiting_for_request = !begun;
        if (!begun && stopping) co_return false;
        const auto [status, count] =
            co_await socket.async_read_some(buffer.prepare(kReadBytes / 4), kAwait);
        connection->waiting_for_request = false;
        if (status) {
            if (!connection->timed_out || !begun) co_return false;
            scan.fault = Fault{408, "the head did not arrive in time"};
            break;
        }
        buffer.commit(count);
        if (!begun) set_deadline(connection, options.head_time_max);
        begun = true;
    }
    auto parsed = scan.fault ? std::variant<Head, Fault>(*scan.fault)
                             : parse_head(bytes_of(buffer).substr(0, scan.size));
    beast_http::request_parser<beast_http::string_body> parser;
    if (std::holds_alternative<Head>(parsed)) {
        ErrorStatus status;
        parser.header_limit(static_cast<std::uint32_t>(kHeadBytesMax));
        parser.body_limit(boost::none);  // known when the path is
        parser.put(asio::buffer(bytes_of(buffer).data(), scan.size), status);
        parser.eager(true);
        if (status || !parser.is_header_done()) parsed = Fault{400, "the head is malformed"};
    }
    if (const Fault* fault = std::get_if<Fault>(&parsed)) {
        log::write(log::Level::warning, "request_malformed",
                   {{"status", fault->status}, {"reason", fault->sentence}});
        Response refusal = fault_response(*fault);
        handler.answered("malformed", refusal.status, 0, refusal.body.size());
        co_await answer(connection, std::move(refusal), nullptr);
        co_await linger(connection);
        co_return false;
    }
    buffer.consume(scan.size);
    clear_deadline(*connection);

    // Who may send what.
    const auto started = std::chrono::steady_clock::now();
    Request request;
    request.head = std::move(std::get<Head>(parsed));
    const Head& head = request.head;
    Admission admission = co_await asio::co_spawn(
        handlers, [&]() -> asio::awaitable<Admission> { co_return handler.admit(head); },
        asio::use_awaitable);
    std::optional<Response> response = std::move(admission.refusal);
    if (!response && head.content_length.value_or(0) > admission.body_bytes_max)
        response =
            problem(413, "limit_exceeded", "refresh", "the body is larger than this path takes");
    bool body_unread = head.has_body();

    // The body.
    if (!response && head.has_body()) {
        if (head.expects_continue && buffer.size() == 0) {
            set_deadline(connection, options.idle_time_max);
            constexpr std::string_view kContinue = "HTTP/1.1 100 Continue\r\n\r\n";
            const auto [status, count] =
                co_await asio::async_write(socket, asio::buffer(kContinue), kAwait);
            if (status) co_return false;
        }
        parser.body_limit(admission.body_bytes_max);
        const auto body_end = started + options.body_time_max;
        while (!parser.is_done()) {
            const auto left_ms = std::chrono::duration_cast<std::chrono::milliseconds>(
                body_end - std::chrono::steady_clock::now());
            set_deadline(connection, std::max(std::chrono::milliseconds(0),
                                              std::min(left_ms, options.idle_time_max)));
            const auto [status, count] =
                co_await beast_http::async_read_some(socket, buffer, parser, kAwait);
            if (!status) continue;
            if (connection->timed_out)
                response = fault_response({408, "the body did not arrive in time"});
            else if (status == beast_http::error::body_limit)
                response = problem(413, "limit_exceeded", "refresh",
                                   "the body is larger than this path takes");
            else if (status.category() ==
                         beast_http::make_error_code(beast_http::error::bad_chunk).category() &&
                     status != beast_http::error::partial_message &&
                     status != beast_http::error::end_of_stream)
                response = fault_response({400, "the body is not framed as announced"});
            else
                co_return false;
            break;
        }
        clear_deadline(*connection);
        if (!response) {
            request.body = std::move(parser.get().body());
            body_unread = false;
        }
    }

    const std::size_t bytes_in = request.body.size();
    const std::string path = response && response->status == 404 ? "other" : head.path;
    const Head said = head;
    const std::uint64_t writer = admission.writer;
    request.writer = writer;
    if (!response) response = co_await handled(std::move(request));
    if (response->finish) {
        const auto finish = std::exchange(response->finish, nullptr);
        finish(*response);
    }
    response->close |= body_unread || !said.keep_alive || stopping;

    const int status = response->status;
    const std::size_t bytes_out = response->body.size();
    const bool close = response->close;
    handler.answered(path, status, bytes_in, bytes_out);
    const bool sent = co_await answer(connection, std::move(*response), &said);
    const auto took = std::chrono::duration_cast<std::chrono::milliseconds>(
        std::chrono::steady_clock::now() - started);
    log::write(log::Level::info, "request",
               {{"method", said.method},
                {"path", path},
                {"status", status},
                {"writer", std::to_string(writer)},
                {"bytes_in", bytes_in},
                {"bytes_out", bytes_out},
                {"duration_ms", took.count()}});
    if (sent && close) co_await linger(connection);
    co_return sent && !close;
}

asio::awaitable<Response> Listener::Impl::handled(Request request) {
    auto initiate = [this](auto completion, Request taken) {
        using Completion = decltype(completion);
        auto kept = std::make_shared<Completion>(std::move(completion));
        // Keeps the connection's executor busy until the answer is there, so that the threads stay.
        auto executor = asio::prefer(asio::get_associated_executor(*kept),
                                     asio::execution::outstanding_work.tracked);
        auto done = [kept, executor](Response response) {
            asio::post(executor, [kept, answer = std::move(response)]() mutable {
                auto completion_once = std::move(*kept);
                completion_once(std::move(answer));
            });
        };
        asio::post(handlers, [this, done = std::move(done), taken = std::move(taken)]() mutable {
            handler.handle(std::move(taken), std::move(done));
        });
    };
    co_return co_await asio::async_initiate<const asio::use_awaitable_t<>, void(Response)>(
        std::move(initiate), asio::use_awaitable, std::move(request));
}

asio::awaitable<bool> Listener::Impl::answer(std::shared_ptr<Connection> connection,
                                             Response response, const Head* head) {
    beast_http::response<beast_http::string_body> message;
    message.version(11);
    message.result(static_cast<unsigned>(response.status));
    message.reason(std::string(phrase_of(response.status)));
    if (!response.content_type.empty())
        message.set(beast_http::field::content_type, response.content_type);
    for (const auto& [name, value] : response.fields) message.set(name, value);
    message.set(beast_http::field::cache_control, "no-store");
    if (response.close)
        message.set(beast_http::field::connection, "close");
    else if (head != nullptr && head->version_minor == 0)  // in HTTP/1.1 it goes without saying
        message.set(beast_http::field::connection, "keep-alive");
    message.content_length(response.body.size());
    const bool with_body = head == nullptr || head->method != "HEAD";
    if (with_body) message.body() = std::move(response.body);

    beast_http::response_serializer<beast_http::string_body> serializer(message);
    if (!with_body) serializer.split(true);
    while (with_body ? !serializer.is_done() : !serializer.is_header_done()) {
        set_deadline(connection, options.idle_time_max);
        const auto [status, count] =
            co_await beast_http::async_write_some(connection->socket, serializer, kAwait);
        if (status) co_return false;
    }
    clear_deadline(*connection);
    co_return true;
}

asio::awaitable<void> Listener::Impl::linger(std::shared_ptr<Connection> connection) {
    ErrorStatus ignored;
    connection->socket.shutdown(Tcp::socket::shutdown_send, ignored);
    connection->buffer.clear();
    set_deadline(connection, kLingerTime);
    for (std::size_t seen = 0; seen < kLingerBytes && !stopping;) {
        const auto [status, count] = co_await connection->socket.async_read_some(
            connection->buffer.prepare(kReadBytes), kAwait);
        if (status) break;
        seen += count;
    }
    clear_deadline(*connection);
    connection->socket.close(ignored);
}

void Listener::Impl::leave(const Connection* connection) {
    const std::lock_guard lock(mutex);
    open.erase(connection);
    left.notify_all();
}

void Listener::Impl::close(bool idle_only) {
    if (threads.empty()) return;
    // Each on its own strand; returns when all have been seen to, for afterwards the threads may
    // end.
    const auto all = std::make_shared<std::promise<void>>();
    auto seen_to = all->get_future();
    {
        const auto guard = std::shared_ptr<void>(nullptr, [all](void*) { all->set_value(); });
        const std::lock_guard lock(mutex);
        for (const auto& [key, weak] : open) {
            const auto connection = weak.lock();
            if (!connection) continue;
            asio::post(connection->socket.get_executor(), [connection, idle_only, guard] {
                if (idle_only && !connection->waiting_for_request) return;
                ErrorStatus ignored;
                connection->socket.close(ignored);
            });
        }
    }
    seen_to.wait();
}

Listener::Listener(const ListenerOptions& options, Handler& handler)
    : impl_(std::make_unique<Impl>(options, handler)) {}

Listener::~Listener() { stop(std::chrono::milliseconds(0)); }

std::uint16_t Listener::port() const {
    ErrorStatus ignored;
    return impl_->acceptor.local_endpoint(ignored).port();
}

void Listener::run() {
    asio::co_spawn(impl_->acceptor.get_executor(), impl_->accept(), asio::detached);
    for (int i = 0; i < kIoThreads; ++i)
        impl_->threads.emplace_back([this] { impl_->context.run(); });
}

void Listener::stop(std::chrono::milliseconds grace) {
    if (impl_->stopping.exchange(true)) return;
    asio::post(impl_->acceptor.get_executor(), [this] {
        ErrorStatus ignored;
        impl_->acceptor.close(ignored);
    });
    impl_->close(true);
    {
        std::unique_lock lock(impl_->mutex);
        impl_->left.wait_for(lock, grace,
                             [this] { return impl_->open.empty() || impl_->threads.empty(); });
    }
    impl_->close(false);
    impl_->handlers.join();
    impl_->context.stop();
    for (std::thread& thread : impl_->threads) thread.join();
    impl_->threads.clear();
}

std::size_t Listener::connections() const {
    const std::lock_guard lock(impl_->mutex);
    return impl_->open.size();
}

}  // namespace rapport::server::http
