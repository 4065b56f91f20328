// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <arpa/inet.h>
#include <curl/curl.h>
#include <doctest/doctest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <fstream>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

#include "support/process.hpp"
#include "support/temp_dir.hpp"

/// The two programs as a test uses them: a server with its store, device files, and HTTP as the
/// programs of the centre speak it.
namespace rapport::test {

using Json = nlohmann::json;
using Words = std::vector<std::string>;

inline Words lines_of(const std::string& text) {
    Words lines;
    std::istringstream in(text);
    for (std::string line; std::getline(in, line);) lines.push_back(line);
    return lines;
}

inline std::vector<Json> json_lines(const std::string& text) {
    std::vector<Json> lines;
    for (const std::string& line : lines_of(text)) lines.push_back(Json::parse(line));
    return lines;
}

inline std::string last_word(const std::string& text) {
    std::istringstream in(text);
    std::string word;
    for (std::string next; in >> next;) word = next;
    return word;
}

inline bool has(const std::string& text, const std::string& part) {
    return text.find(part) != std::string::npos;
}

inline Words rapport_words(Words words) {
    words.insert(words.begin(), RAPPORT_PROGRAM);
    return words;
}

/// What the program printed, if it ended well.
inline std::string output_of(const Words& argv) {
    const Outcome outcome = run(argv);
    INFO(argv[0], " ", argv.size() > 1 ? argv[1] : "", ": ", outcome.err);
    REQUIRE(outcome.exit == 0);
    return outcome.out;
}

struct HttpReply {
    long status = 0;  ///< 0: nobody answered
    std::string type, body;
};

/// GET, or POST when there is a body.
inline HttpReply http(const std::string& url, const std::string& bearer,
                      const std::optional<std::string>& body = std::nullopt,
                      const std::string& type = {}) {
    HttpReply reply;
    const std::unique_ptr<CURL, decltype(&curl_easy_cleanup)> curl(curl_easy_init(),
                                                                   &curl_easy_cleanup);
    curl_slist* list = curl_slist_append(nullptr, ("Authorization: Bearer " + bearer).c_str());
    if (body) list = curl_slist_append(list, ("Content-Type: " + type).c_str());
    const std::unique_ptr<curl_slist, decltype(&curl_slist_free_all)> headers(list,
                                                                              &curl_slist_free_all);
    curl_easy_setopt(curl.get(), CURLOPT_URL, url.c_str());
    curl_easy_setopt(curl.get(), CURLOPT_PROXY, "");
    curl_easy_setopt(curl.get(), CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl.get(), CURLOPT_TIMEOUT, 60L);
    curl_easy_setopt(curl.get(), CURLOPT_HTTPHEADER, headers.get());
    if (body) {
        curl_easy_setopt(curl.get(), CURLOPT_POSTFIELDSIZE, static_cast<long>(body->size()));
        curl_easy_setopt(curl.get(), CURLOPT_COPYPOSTFIELDS, body->c_str());
    }
    curl_easy_setopt(curl.get(), CURLOPT_WRITEDATA, &reply.body);
    curl_easy_setopt(
        curl.get(), CURLOPT_WRITEFUNCTION,
        +[](char* data, std::size_t size, std::size_t count, void* into) {
            static_cast<std::string*>(into)->append(data, size * count);
            return size * count;
        });
    if (curl_easy_perform(curl.get()) != CURLE_OK) return {};
    curl_easy_getinfo(curl.get(), CURLINFO_RESPONSE_CODE, &reply.status);
    const char* given = nullptr;
    curl_easy_getinfo(curl.get(), CURLINFO_CONTENT_TYPE, &given);
    if (given != nullptr) reply.type = given;
    return reply;
}

/// A port of 127.0.0.1 that stays this test's own while its server is stopped: bound, and not
/// listened on, it is given to nobody who asks for any port.
class Port {
public:
    Port() : socket_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
        const int yes = 1;
        ::setsockopt(socket_, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        socklen_t size = sizeof address;
        auto* generic = reinterpret_cast<sockaddr*>(&address);
        if (::bind(socket_, generic, size) != 0 || ::getsockname(socket_, generic, &size) != 0)
            throw std::runtime_error("no free port");
        number_ = ntohs(address.sin_port);
    }
    ~Port() { ::close(socket_); }
    Port(const Port&) = delete;
    Port& operator=(const Port&) = delete;
    int number() const { return number_; }

private:
    int socket_;
    int number_ = 0;
};

/// One page of the feed.
struct FeedPage {
    std::vector<Json> records;
    std::string cursor;
};

/// `rapportd` over one store. Stopped or killed it can be started again, at the same address.
class Server {
public:
    explicit Server(std::string path, Words options = {})
        : path_(std::move(path)), options_(std::move(options)) {
        start();
    }

    void start() {
        Words words{RAPPORTD_PROGRAM, "serve",    "--store",
                    store(),          "--listen", "127.0.0.1:" + std::to_string(port_.number())};
        words.insert(words.end(), options_.begin(), options_.end());
        process_.emplace(words);
        if (!process_->printed("\"listening\""))
            throw std::runtime_error("the server did not start: " + process_->err());
    }
    Outcome stop() {
        const Outcome outcome = process_->stop();
        process_.reset();
        return outcome;
    }
    Outcome kill() {
        process_->kill();
        const Outcome outcome = process_->wait();
        process_.reset();
        return outcome;
    }
    bool running() const { return process_ && process_->running(); }

    int port() const { return port_.number(); }
    std::string url() const { return "http://127.0.0.1:" + std::to_string(port_.number()); }
    std::string store() const { return "sqlite:" + path_; }

    /// An administration command; `words` begin with its name.
    Outcome administer(Words words) const {
        words.insert(words.begin(), RAPPORTD_PROGRAM);
        words.insert(words.end(), {"--store", store()});
        return run(words);
    }
    std::string administered(const Words& words) const {
        const Outcome outcome = administer(words);
        INFO(words[0], ": ", outcome.out, outcome.err);
        REQUIRE(outcome.exit == 0);
        return outcome.out;
    }
    std::string invite(const std::string& rep, const std::string& role, const std::string& scope,
                       const std::string& tenant = "default") const {
        return last_word(administered(
            {"invite", "--rep", rep, "--role", role, "--scope", scope, "--tenant", tenant}));
    }
    std::string feed_key(const std::string& tenant = "default") const {
        return last_word(administered({"key", "add", "--role", "feed", "--tenant", tenant}));
    }
    std::vector<Json> rows(Words words) const {
        words.insert(words.end(), {"--format", "json"});
        return Json::parse(administered(words)).get<std::vector<Json>>();
    }

    FeedPage feed_page(const std::string& key, const std::string& query) const {
        const HttpReply reply = http(url() + "/v1/feed?" + query, key);
        INFO(reply.body);
        REQUIRE(reply.status == 200);
        FeedPage page{json_lines(reply.body), {}};
        REQUIRE_FALSE(page.records.empty());
        page.cursor = page.records.back().at("cursor").get<std::string>();
        page.records.pop_back();
        return page;
    }
    /// The latest state of every record, by id.
    std::map<std::string, Json> feed(const std::string& key,
                                     const std::string& query = "limit=5000") const {
        std::map<std::string, Json> records;
        std::string after;
        for (;;) {
            FeedPage page = feed_page(key, query + "&after=" + after);
            for (Json& record : page.records) {
                const std::string id = record.at("id").get<std::string>();
                records[id] = std::move(record);
            }
            if (page.cursor == after) return records;
            after = page.cursor;
        }
    }

private:
    std::string path_;
    Words options_;
    Port port_;
    std::optional<Process> process_;
};

/// A device file, and the commands on it.
class Device {
public:
    Device(const TempDir& folder, const std::string& name, const std::string& rep)
        : file_(folder.file(name + ".rapport")), rep_(rep) {
        output_of(rapport_words({"init", file_, "--rep", rep}));
    }

    const std::string& file() const { return file_; }
    const std::string& rep() const { return rep_; }

    Outcome enrol_with(const Server& server, const std::string& code) const {
        return run("enrol", {"--server", server.url(), "--code", code});
    }
    const Device& enrol(const Server& server, const std::string& role, const std::string& scope,
                        const std::string& tenant = "default") const {
        const Outcome outcome = enrol_with(server, server.invite(rep_, role, scope, tenant));
        INFO(outcome.err);
        REQUIRE(outcome.exit == 0);
        return *this;
    }

    Words words(const std::string& command, const Words& rest = {}) const {
        Words all = rapport_words({command, file_});
        all.insert(all.end(), rest.begin(), rest.end());
        return all;
    }
    Outcome run(const std::string& command, const Words& rest = {}) const {
        return test::run(words(command, rest));
    }
    std::string output(const std::string& command, const Words& rest = {}) const {
        return output_of(words(command, rest));
    }
    /// The ids, in order.
    Words add(const Words& rest) const { return lines_of(output("add", rest)); }
    std::string customer(const std::string& name, const Words& rest = {}) const {
        Words all{"customer", "name=" + name};
        all.insert(all.end(), rest.begin(), rest.end());
        return add(all).at(0);
    }
    std::string complaint(const std::string& customer, const std::string& verbatim) const {
        return add({"complaint", "customer_id=" + customer, "product_text=Becher 500 g",
                    "verbatim=" + verbatim, "severity=major"})
            .at(0);
    }
    void set(const std::string& id, const Words& assignments) const {
        Words all{id};
        all.insert(all.end(), assignments.begin(), assignments.end());
        output("set", all);
    }
    /// The id of the request.
    std::string request(const std::string& id, const Words& rest) const {
        Words all{id};
        all.insert(all.end(), rest.begin(), rest.end());
        return lines_of(output("request", all)).at(0);
    }

    Outcome sync() const { return run("sync", {"--for", "60s"}); }
    /// Syncs, and everything went through.
    void synced() const {
        const Outcome outcome = sync();
        INFO(file_, ": ", outcome.out, outcome.err);
        REQUIRE(outcome.exit == 0);
    }
    Json status() const { return Json::parse(output("status", {"--format", "json"})); }
    /// Bundles the server has not taken.
    int unsent() const {
        const Json s = status();
        return s["queued"].get<int>() + s["sent"].get<int>() + s["refused"].get<int>() +
               s["review"].get<int>() + s["waiting"].get<int>();
    }
    Json shown(const std::string& id) const {
        return Json::parse(output("show", {id, "--format", "json"}));
    }
    bool knows(const std::string& id) const { return run("show", {id}).exit == 0; }
    std::string state_of(const std::string& id) const {
        return shown(id).at("sync").get<std::string>();
    }
    std::vector<Json> conflicts() const {
        return Json::parse(output("conflicts", {"--format", "json"})).get<std::vector<Json>>();
    }
    std::vector<Json> exported(const Words& rest = {}) const {
        return json_lines(output("export", rest));
    }
    std::vector<Json> list(const std::string& kind, const Words& rest = {}) const {
        Words all{kind, "--limit", "0", "--format", "ndjson"};
        all.insert(all.end(), rest.begin(), rest.end());
        return json_lines(output("list", all));
    }

private:
    std::string file_;
    std::string rep_;
};

/// The bytes of a file and of those SQLite keeps beside it.
inline std::string bytes_of(const std::string& path) {
    std::string bytes;
    for (const char* beside : {"", "-wal", "-journal"}) {
        std::ifstream in(path + beside, std::ios::binary);
        bytes.append(std::istreambuf_iterator<char>(in), {});
    }
    return bytes;
}

}  // namespace rapport::test
