// SPDX-License-Identifier: Apache-2.0
#include <curl/curl.h>

#include <algorithm>
#include <array>
#include <mutex>
#include <string_view>

#include "client/address.hpp"
#include "model/ascii.hpp"
#include "rapport/error.hpp"
#include "rapport/sync/transport.hpp"

namespace rapport {
namespace {

constexpr long kConnectTimeoutMs = 15'000;
constexpr long kStalledSeconds = 30;  // without a byte either way
constexpr int kCancelPollMs = 100;    // how late a cancel is heard
constexpr std::size_t kHeaderBytesMax = 64 * 1024;

struct Exchange {
    const HttpRequest& request;
    const std::atomic<bool>& cancel;
    const std::function<void(std::uint64_t, std::uint64_t)>& progress;
    HttpResponse response;
    std::size_t header_bytes = 0;
    bool too_large = false;
};

constexpr std::string_view kBlanks = " \t\r\n";

std::size_t on_header(char* data, std::size_t size, std::size_t count, void* user) {
    auto& exchange = *static_cast<Exchange*>(user);
    const std::string_view line(data, size * count);
    if ((exchange.header_bytes += line.size()) > kHeaderBytesMax) return 0;
    if (line.rfind("HTTP/", 0) == 0) exchange.response.headers.clear();  // after an interim answer
    const std::size_t colon = line.find(':');
    if (colon != std::string_view::npos)
        exchange.response.headers[lower(trimmed(line.substr(0, colon), kBlanks))] =
            trimmed(line.substr(colon + 1), kBlanks);
    return line.size();
}

std::size_t on_body(char* data, std::size_t size, std::size_t count, void* user) {
    auto& exchange = *static_cast<Exchange*>(user);
    const std::size_t bytes = size * count;
    if (bytes > exchange.request.reply_bytes_max - exchange.response.body.size()) {
        exchange.too_large = true;
        return 0;
    }
    exchange.response.body.append(data, bytes);
    return bytes;
}

int on_progress(void* user, curl_off_t, curl_off_t received, curl_off_t, curl_off_t sent) {
    const auto& exchange = *static_cast<Exchange*>(user);
    if (exchange.progress)
        exchange.progress(static_cast<std::uint64_t>(sent), static_cast<std::uint64_t>(received));
    return exchange.cancel ? 1 : 0;
}

/// A multi handle drives the one easy handle, so that a cancel is heard while nothing arrives.
class CurlTransport final : public Transport {
public:
    CurlTransport() {
        static std::once_flag once;
        std::call_once(once, [] { curl_global_init(CURL_GLOBAL_DEFAULT); });
        easy_.reset(curl_easy_init());
        multi_.reset(curl_multi_init());
        if (!easy_ || !multi_) throw Error(ErrorCode::internal, "libcurl could not be started");
        curl_multi_setopt(multi_.get(), CURLMOPT_MAXCONNECTS, 1L);
    }

    HttpResponse exchange(
        const HttpRequest& request, const std::atomic<bool>& cancel,
        const std::function<void(std::uint64_t, std::uint64_t)>& progress) override {
        Exchange exchange{request, cancel, progress, {}};
        std::array<char, CURL_ERROR_SIZE> said{};
        curl_slist* headers = nullptr;
        for (const auto& [name, value] : request.headers)
            headers = curl_slist_append(headers, (name + ": " + value).c_str());
        headers = curl_slist_append(headers, "Expect:");  // an answer to it would cost a round trip
        if (request.headers.count("Accept") == 0) headers = curl_slist_append(headers, "Accept:");
        const std::unique_ptr<curl_slist, decltype(&curl_slist_free_all)> owned(
            headers, &curl_slist_free_all);
        set_options(exchange, headers, said.data());

        const CURLcode code = run(cancel);
        HttpResponse& response = exchange.response;
        if (code != CURLE_OK) {
            response = {};
            response.cancelled = cancel;
            response.failure = exchange.too_large ? "the answer is larger than expected"
                               : said[0] != '\0'  ? said.data()
                                                  : curl_easy_strerror(code);
            return response;
        }
        long status = 0;
        curl_easy_getinfo(easy_.get(), CURLINFO_RESPONSE_CODE, &status);
        response.status = static_cast<int>(status);
        if (const auto type = response.headers.find("content-type"); type != response.headers.end())
            response.content_type = type->second;
        return response;
    }

private:
    void set_options(Exchange& exchange, curl_slist* headers, char* said) {
        CURL* const easy = easy_.get();
        const HttpRequest& request = exchange.request;
        curl_easy_reset(easy);  // keeps the connection
        curl_easy_setopt(easy, CURLOPT_URL, request.url.c_str());
        curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
        curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, said);
        curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, static_cast<long>(CURL_HTTP_VERSION_1_1));
        curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
        curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, kConnectTimeoutMs);
        curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS,
                         static_cast<long>(std::max<std::int64_t>(request.timeout.count(), 1)));
        curl_easy_setopt(easy, CURLOPT_LOW_SPEED_LIMIT, 1L);
        curl_easy_setopt(easy, CURLOPT_LOW_SPEED_TIME, kStalledSeconds);
        curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
        curl_easy_setopt(easy, CURLOPT_USERAGENT, "rapport");
#if LIBCURL_VERSION_NUM >= 0x075500
        curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
#else
        curl_easy_setopt(easy, CURLOPT_PROTOCOLS, CURLPROTO_HTTP | CURLPROTO_HTTPS);
#endif
        // A proxy of the environment is right for the world outside and never for this machine.
        if (is_loopback(request.url)) curl_easy_setopt(easy, CURLOPT_NOPROXY, "*");
        curl_easy_setopt(easy, CURLOPT_HTTPHEADER, headers);
        if (request.method == "POST") {
            curl_easy_setopt(easy, CURLOPT_POST, 1L);
            curl_easy_setopt(easy, CURLOPT_POSTFIELDS, request.body.data());
            curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE,
                             static_cast<curl_off_t>(request.body.size()));
        } else {
            curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, request.method.c_str());
        }
        curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, &on_header);
        curl_easy_setopt(easy, CURLOPT_HEADERDATA, &exchange);
        curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, &on_body);
        curl_easy_setopt(easy, CURLOPT_WRITEDATA, &exchange);
        curl_easy_setopt(easy, CURLOPT_NOPROGRESS, 0L);
        curl_easy_setopt(easy, CURLOPT_XFERINFOFUNCTION, &on_progress);
        curl_easy_setopt(easy, CURLOPT_XFERINFODATA, &exchange);
    }

    CURLcode run(const std::atomic<bool>& cancel) {
        if (curl_multi_add_handle(multi_.get(), easy_.get()) != CURLM_OK) return CURLE_FAILED_INIT;
        CURLcode code = CURLE_OK;
        for (int running = 1; running > 0;) {
            if (cancel) {
                code = CURLE_ABORTED_BY_CALLBACK;
                break;
            }
            if (curl_multi_perform(multi_.get(), &running) != CURLM_OK ||
                (running > 0 &&
                 curl_multi_poll(multi_.get(), nullptr, 0, kCancelPollMs, nullptr) != CURLM_OK)) {
                code = CURLE_FAILED_INIT;
                break;
            }
        }
        int waiting = 0;
        while (const CURLMsg* message = curl_multi_info_read(multi_.get(), &waiting))
            if (message->msg == CURLMSG_DONE) code = message->data.result;
        curl_multi_remove_handle(multi_.get(), easy_.get());
        return code;
    }

    struct EndEasy {
        void operator()(CURL* easy) const { curl_easy_cleanup(easy); }
    };
    struct EndMulti {
        void operator()(CURLM* multi) const { curl_multi_cleanup(multi); }
    };
    std::unique_ptr<CURLM, EndMulti> multi_;
    std::unique_ptr<CURL, EndEasy> easy_;
};

}  // namespace

std::unique_ptr<Transport> make_curl_transport() { return std::make_unique<CurlTransport>(); }

}  // namespace rapport
