// SPDX-License-Identifier: Apache-2.0
#include "bench/floor_sync.hpp"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>
#include <zlib.h>

#include <charconv>
#include <cstring>
#include <functional>
#include <mutex>
#include <stdexcept>
#include <string_view>
#include <thread>
#include <vector>

namespace rapport::bench {
namespace {

[[noreturn]] void fail(const char* what) {
    throw std::runtime_error(std::string("the floor's sync: ") + what);
}

constexpr int kGzip = 15 + 16;  // zlib's way to ask for a gzip head

std::string gunzipped(const std::string& packed) {
    z_stream z{};
    if (inflateInit2(&z, kGzip) != Z_OK) fail("zlib");
    z.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(packed.data()));
    z.avail_in = static_cast<uInt>(packed.size());
    std::string plain(packed.size() * 4 + 1024, '\0');
    int code = Z_OK;
    while (code == Z_OK) {
        if (z.total_out == plain.size()) plain.resize(plain.size() * 2);
        z.next_out = reinterpret_cast<Bytef*>(plain.data()) + z.total_out;
        z.avail_out = static_cast<uInt>(plain.size() - z.total_out);
        code = inflate(&z, Z_NO_FLUSH);
    }
    plain.resize(z.total_out);
    inflateEnd(&z);
    if (code != Z_STREAM_END) fail("a damaged batch");
    return plain;
}

// ---- JSON lines: a flat object, ids as hexadecimal digits

void append_text(std::string& out, const char* bytes, int size) {
    out += '"';
    for (int i = 0; i < size; ++i) {
        const char c = bytes[i];
        if (c == '"' || c == '\\') {
            out += '\\';
            out += c;
        } else if (static_cast<unsigned char>(c) < 0x20) {
            char escape[8];
            std::snprintf(escape, sizeof escape, "\\u%04x", static_cast<unsigned>(c));
            out += escape;
        } else {
            out += c;
        }
    }
    out += '"';
}

void append_hex(std::string& out, const char* bytes, int size) {
    static constexpr char kDigits[] = "0123456789abcdef";
    out += '"';
    for (int i = 0; i < size; ++i) {
        out += kDigits[static_cast<unsigned char>(bytes[i]) >> 4];
        out += kDigits[bytes[i] & 15];
    }
    out += '"';
}

void append_line(std::string& out, const floor_rows* shape, const floor_row& row) {
    out += "{\"table\":";
    out += static_cast<char>('0' + row.table);
    for (int i = 0; i < row.columns; ++i) {
        const floor_value& v = row.values[i];
        if (v.type == FLOOR_NULL) continue;
        if (v.type == FLOOR_INTEGER && i == 0) continue;  // the row number
        out += ",\"";
        out += floor_column(shape, row.table, i);
        out += "\":";
        if (v.type == FLOOR_INTEGER)
            out += std::to_string(v.integer);
        else if (v.type == FLOOR_BLOB)
            append_hex(out, v.bytes, v.size);
        else
            append_text(out, v.bytes, v.size);
    }
    out += "}\n";
}

// Reads what append_line writes. The bytes of texts and ids are put in order in place.
class LineReader {
public:
    LineReader(const floor_rows* shape, std::string& lines)
        : shape_(shape), at_(lines.data()), end_(at_ + lines.size()) {}

    /// False at the end.
    bool next(floor_row& row) {
        if (at_ == end_) return false;
        expect("{\"table\":");
        row.table = *at_++ - '0';
        row.columns = floor_columns(shape_, row.table);
        values_.assign(static_cast<std::size_t>(row.columns), floor_value{});
        int column = 0;
        while (*at_ == ',') {
            ++at_;
            const std::string_view name = name_at();
            while (column < row.columns && name != floor_column(shape_, row.table, column))
                ++column;
            if (column == row.columns) fail("an unknown column");
            read(values_[static_cast<std::size_t>(column)], name == "id" || name.ends_with("_id"));
        }
        expect("}\n");
        row.values = values_.data();
        return true;
    }

private:
    void expect(std::string_view text) {
        if (static_cast<std::size_t>(end_ - at_) < text.size() ||
            std::string_view(at_, text.size()) != text)
            fail("a damaged line");
        at_ += text.size();
    }
    std::string_view name_at() {
        expect("\"");
        const char* const first = at_;
        while (at_ < end_ && *at_ != '"') ++at_;
        const std::string_view name(first, static_cast<std::size_t>(at_ - first));
        expect("\":");
        return name;
    }
    void read(floor_value& v, bool id) {
        if (*at_ != '"') {
            v.type = FLOOR_INTEGER;
            const auto [after, fault] = std::from_chars(at_, end_, v.integer);
            if (fault != std::errc()) fail("a damaged number");
            at_ += after - at_;
            return;
        }
        ++at_;
        char* to = at_;
        v.bytes = to;
        // A digit string of 32 characters under a name of an id is one; device_id is a text of 16.
        const auto digit = [](char c) { return c <= '9' ? c - '0' : c - 'a' + 10; };
        if (id && end_ - at_ > 32 && at_[32] == '"') {
            for (int i = 0; i < 16; ++i, at_ += 2)
                *to++ = static_cast<char>(digit(at_[0]) << 4 | digit(at_[1]));
            v.type = FLOOR_BLOB;
        } else {
            for (; *at_ != '"'; ++at_) {
                if (*at_ == '\\' && at_[1] == 'u') {
                    *to++ = static_cast<char>(digit(at_[4]) << 4 | digit(at_[5]));
                    at_ += 5;
                    continue;
                }
                if (*at_ == '\\') ++at_;
                *to++ = *at_;
            }
            v.type = FLOOR_TEXT;
        }
        v.size = static_cast<int>(to - v.bytes);
        ++at_;
    }

    const floor_rows* shape_;
    char* at_;
    char* end_;
    std::vector<floor_value> values_;
};

// ---- sockets

int listening() {
    const int fd = ::socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (fd < 0 || ::bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 ||
        ::listen(fd, 16) != 0)
        fail("listen");
    return fd;
}
std::uint16_t port_of(int fd) {
    sockaddr_in address{};
    socklen_t size = sizeof address;
    ::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size);
    return ntohs(address.sin_port);
}
void no_delay(int fd) {
    const int on = 1;
    ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}
bool write_all(int fd, std::string_view bytes) {
    while (!bytes.empty()) {
        const ssize_t n = ::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
        if (n <= 0) return false;
        bytes.remove_prefix(static_cast<std::size_t>(n));
    }
    return true;
}

/// Accepts on a thread of its own and gives each connection one more.
class Acceptor {
public:
    explicit Acceptor(std::function<void(int)> serve)
        : serve_(std::move(serve)), fd_(listening()), thread_([this] { accept(); }) {}
    ~Acceptor() {
        ::shutdown(fd_, SHUT_RDWR);
        thread_.join();
        {
            const std::lock_guard lock(mutex_);
            for (const int fd : open_) ::shutdown(fd, SHUT_RDWR);
        }
        for (std::thread& t : serving_) t.join();
        ::close(fd_);
    }
    std::uint16_t port() const { return port_of(fd_); }

private:
    void accept() {
        for (int fd = 0; (fd = ::accept(fd_, nullptr, nullptr)) >= 0;) {
            no_delay(fd);
            const std::lock_guard lock(mutex_);
            open_.push_back(fd);
            serving_.emplace_back([this, fd] {
                serve_(fd);
                const std::lock_guard inner(mutex_);
                std::erase(open_, fd);
                ::close(fd);
            });
        }
    }
    std::function<void(int)> serve_;
    std::mutex mutex_;
    std::vector<int> open_;
    std::vector<std::thread> serving_;
    int fd_;
    std::thread thread_;
};

/// A request or an answer with a stated length; empty head at the end of the connection.
struct Message {
    std::string head, body;
};
Message read_message(int fd, std::string& buffer) {
    Message m;
    char piece[65536];
    std::size_t head = std::string::npos, length = 0;
    while (true) {
        if (head == std::string::npos && (head = buffer.find("\r\n\r\n")) != std::string::npos) {
            head += 4;
            const std::size_t at = buffer.find("Content-Length: ");
            if (at < head) length = std::strtoull(buffer.c_str() + at + 16, nullptr, 10);
        }
        if (head != std::string::npos && buffer.size() >= head + length) break;
        const ssize_t n = ::recv(fd, piece, sizeof piece, 0);
        if (n <= 0) return {};
        buffer.append(piece, static_cast<std::size_t>(n));
    }
    m.head = buffer.substr(0, head);
    m.body = buffer.substr(head, length);
    buffer.erase(0, head + length);
    return m;
}

}  // namespace

std::string gzipped(const std::string& plain) {
    z_stream z{};
    if (deflateInit2(&z, 6, Z_DEFLATED, kGzip, 8, Z_DEFAULT_STRATEGY) != Z_OK) fail("zlib");
    std::string packed(deflateBound(&z, plain.size()), '\0');
    z.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(plain.data()));
    z.avail_in = static_cast<uInt>(plain.size());
    z.next_out = reinterpret_cast<Bytef*>(packed.data());
    z.avail_out = static_cast<uInt>(packed.size());
    if (deflate(&z, Z_FINISH) != Z_STREAM_END) fail("zlib");
    packed.resize(z.total_out);
    deflateEnd(&z);
    return packed;
}

std::string json_line(const floor_rows* shape, const floor_row& row) {
    std::string line;
    append_line(line, shape, row);
    return line;
}

// ---- the server

struct FloorServer::Impl {
    Impl(const std::string& path, const floor_rows* s)
        : shape(s),
          store(floor_open(path.c_str(), s, 1)),
          acceptor([this](int fd) { serve(fd); }) {}

    void serve(int fd) {
        std::string buffer;
        while (true) {
            const Message request = read_message(fd, buffer);
            if (request.head.empty()) return;
            std::string body;
            if (request.head.starts_with("POST")) {
                std::string lines = gunzipped(request.body);
                LineReader reader(shape, lines);
                floor_row row{};
                const std::lock_guard lock(mutex);
                floor_begin(store);
                while (reader.next(row))
                    floor_insert(store, &row, 1);  // the outbox is what a download reads
                floor_commit(store);
            } else {
                const std::lock_guard lock(mutex);
                std::vector<floor_row> rows(5000);
                const int batch = std::atoi(request.head.c_str() + std::strlen("GET /"));
                const int n = floor_take_pending(store, batch, rows.data());
                for (int i = 0; i < n; ++i)
                    append_line(body, shape, rows[static_cast<std::size_t>(i)]);
                if (n > 0) floor_forget_pending(store);
                if (n > 0) body = gzipped(body);
            }
            if (!write_all(fd, "HTTP/1.1 200 OK\r\nContent-Length: " + std::to_string(body.size()) +
                                   "\r\n\r\n" + body))
                return;
        }
    }

    const floor_rows* shape;
    floor_store* store;
    std::mutex mutex;
    Acceptor acceptor;
};

FloorServer::FloorServer(const std::string& path, const floor_rows* shape)
    : impl_(std::make_unique<Impl>(path, shape)) {}
FloorServer::~FloorServer() {
    floor_store* const store = impl_->store;
    impl_.reset();
    floor_close(store);
}
std::uint16_t FloorServer::port() const { return impl_->acceptor.port(); }

// ---- the client

namespace {

class Client {
public:
    explicit Client(std::uint16_t port)
        : url_("http://127.0.0.1:" + std::to_string(port) + "/"), curl_(curl_easy_init()) {
        if (!curl_) fail("libcurl");
        curl_easy_setopt(curl_, CURLOPT_NOPROXY, "*");
        curl_easy_setopt(
            curl_, CURLOPT_WRITEFUNCTION,
            +[](char* data, std::size_t size, std::size_t count, void* to) {
                static_cast<std::string*>(to)->append(data, size * count);
                return size * count;
            });
        headers_ = curl_slist_append(nullptr, "Expect:");
        headers_ = curl_slist_append(headers_, "Content-Type: application/x-ndjson");
        headers_ = curl_slist_append(headers_, "Content-Encoding: gzip");
        curl_easy_setopt(curl_, CURLOPT_HTTPHEADER, headers_);
    }
    ~Client() {
        curl_slist_free_all(headers_);
        curl_easy_cleanup(curl_);
    }
    Client(const Client&) = delete;
    Client& operator=(const Client&) = delete;

    void post(const std::string& body) {
        curl_easy_setopt(curl_, CURLOPT_POST, 1L);
        curl_easy_setopt(curl_, CURLOPT_POSTFIELDS, body.data());
        curl_easy_setopt(curl_, CURLOPT_POSTFIELDSIZE, static_cast<long>(body.size()));
        perform(url_);
    }
    std::string get(int batch) {
        curl_easy_setopt(curl_, CURLOPT_HTTPGET, 1L);
        return perform(url_ + std::to_string(batch));
    }

private:
    std::string perform(const std::string& url) {
        std::string answer;
        long status = 0;
        curl_easy_setopt(curl_, CURLOPT_URL, url.c_str());
        curl_easy_setopt(curl_, CURLOPT_WRITEDATA, &answer);
        if (curl_easy_perform(curl_) != CURLE_OK) fail("no answer");
        curl_easy_getinfo(curl_, CURLINFO_RESPONSE_CODE, &status);
        if (status != 200) fail("refused");
        return answer;
    }
    std::string url_;
    CURL* curl_;
    curl_slist* headers_ = nullptr;
};

}  // namespace

std::size_t floor_upload(floor_store* store, const floor_rows* shape, std::uint16_t port,
                         int batch) {
    Client client(port);
    std::vector<floor_row> rows(static_cast<std::size_t>(batch));
    std::size_t sent = 0;
    while (const int n = floor_take_pending(store, batch, rows.data())) {
        std::string lines;
        for (int i = 0; i < n; ++i) append_line(lines, shape, rows[static_cast<std::size_t>(i)]);
        client.post(gzipped(lines));
        floor_forget_pending(store);
        sent += static_cast<std::size_t>(n);
    }
    return sent;
}

std::size_t floor_download(floor_store* store, const floor_rows* shape, std::uint16_t port,
                           int batch) {
    Client client(port);
    std::size_t received = 0;
    while (true) {
        const std::string page = client.get(batch);
        if (page.empty()) return received;
        std::string lines = gunzipped(page);
        LineReader reader(shape, lines);
        floor_row row{};
        floor_begin(store);
        for (; reader.next(row); ++received) floor_insert(store, &row, 0);
        floor_commit(store);
    }
}

// ---- the proxy

struct CountingProxy::Impl {
    explicit Impl(std::uint16_t port) : to_port(port), acceptor([this](int fd) { pass(fd); }) {}

    void pass(int client) {
        const int server = ::socket(AF_INET, SOCK_STREAM, 0);
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        address.sin_port = htons(to_port);
        if (::connect(server, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0) {
            no_delay(server);
            char piece[65536];
            pollfd both[2] = {{client, POLLIN, 0}, {server, POLLIN, 0}};
            for (bool open = true; open && ::poll(both, 2, -1) > 0;)
                for (int i = 0; i < 2 && open; ++i) {
                    if (both[i].revents == 0) continue;
                    const ssize_t n = ::recv(both[i].fd, piece, sizeof piece, 0);
                    if ((open =
                             n >
                             0)) {  // counted before it is passed on: who asks has seen it arrive
                        (i == 0 ? up : down) += static_cast<std::uint64_t>(n);
                        open = write_all(both[1 - i].fd, {piece, static_cast<std::size_t>(n)});
                    }
                }
        }
        ::close(server);
    }

    const std::uint16_t to_port;
    std::atomic<std::uint64_t> up{0}, down{0};
    Acceptor acceptor;
};

CountingProxy::CountingProxy(std::uint16_t to_port) : impl_(std::make_unique<Impl>(to_port)) {}
CountingProxy::~CountingProxy() = default;
std::uint16_t CountingProxy::port() const { return impl_->acceptor.port(); }
void CountingProxy::reset() { impl_->up = impl_->down = 0; }
std::uint64_t CountingProxy::bytes_up() const { return impl_->up; }
std::uint64_t CountingProxy::bytes_down() const { return impl_->down; }

}  // namespace rapport::bench
