// SPDX-License-Identifier: Apache-2.0
#include "rapport.h"

#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <new>
#include <set>
#include <string>
#include <string_view>
#include <utility>

#include "rapport/json.hpp"
#include "rapport/sync/syncer.hpp"

using namespace rapport;

// ---- the handles

struct rapport_error {
    ErrorCode code;
    int detail;
    std::string sentence;
};

struct rapport_store {
    explicit rapport_store(Store opened, Language told)
        : store(std::move(opened)),
          language(told),
          transport(make_curl_transport()),
          syncer(store, *transport) {}
    Store store;
    const Language language;
    const std::unique_ptr<Transport> transport;
    Syncer syncer;
    std::mutex syncing;
};

struct rapport_observer {
    std::mutex mutex;
    std::map<const Kind*, std::set<RecordId>> changed;
    Subscription subscription;  // last: it ends before what its callback uses
};

namespace {

#define RAPPORT_SAME_NUMBER(c_name, code) \
    static_assert(RAPPORT_ERROR_##c_name == static_cast<int>(ErrorCode::code))
RAPPORT_SAME_NUMBER(INVALID_ARGUMENT, invalid_argument);
RAPPORT_SAME_NUMBER(NOT_FOUND, not_found);
RAPPORT_SAME_NUMBER(STORAGE_FAILED, storage_failed);
RAPPORT_SAME_NUMBER(STORAGE_DAMAGED, storage_damaged);
RAPPORT_SAME_NUMBER(STORAGE_BUSY, storage_busy);
RAPPORT_SAME_NUMBER(STORAGE_NEWER, storage_newer);
RAPPORT_SAME_NUMBER(NETWORK_FAILED, network_failed);
RAPPORT_SAME_NUMBER(PROTOCOL_VIOLATED, protocol_violated);
RAPPORT_SAME_NUMBER(NOT_AUTHORISED, not_authorised);
RAPPORT_SAME_NUMBER(NOT_ENROLLED, not_enrolled);
RAPPORT_SAME_NUMBER(LIMIT_EXCEEDED, limit_exceeded);
RAPPORT_SAME_NUMBER(CONFLICT, conflict);
RAPPORT_SAME_NUMBER(CANCELLED, cancelled);
RAPPORT_SAME_NUMBER(INTERNAL, internal);
#undef RAPPORT_SAME_NUMBER

// ---- the guard around every call that can fail

rapport_code fill(rapport_error** error, ErrorCode code, int detail,
                  const char* sentence) noexcept {
    if (error) {
        try {
            *error = new rapport_error{code, detail, sentence};
        } catch (...) {
            // Without memory there is a code and no sentence.
        }
    }
    return static_cast<rapport_code>(code);
}

template <class Call>
rapport_code guarded(rapport_error** error, Call call) noexcept {
    if (error) *error = nullptr;
    try {
        call();
        return RAPPORT_OK;
    } catch (const Error& e) {
        return fill(error, e.code(), e.detail(), e.what());
    } catch (const std::exception& e) {
        return fill(error, ErrorCode::internal, 0, e.what());
    } catch (...) {
        return fill(error, ErrorCode::internal, 0, "something was thrown that is no exception");
    }
}

// ---- arguments and results

[[noreturn]] void invalid(const char* sentence) {
    throw Error(ErrorCode::invalid_argument, sentence);
}

template <class T>
T& given(T* pointer) {
    if (!pointer) invalid("a handle or a place for a result is missing");
    return *pointer;
}

std::string_view text(const char* data, std::size_t size) {
    if (!data && size > 0) invalid("a text has a size and no bytes");
    return {data ? data : "", size};
}

/// The caller's options in our layout: what an older caller does not have is zero, and what a newer
/// one has beyond ours must be.
template <class Options>
Options known(const Options* options) {
    Options ours{};
    if (!options) return ours;
    const std::size_t theirs = options->struct_size;
    if (theirs < sizeof options->struct_size) invalid("the options do not say their size");
    const char* const bytes = reinterpret_cast<const char*>(options);
    for (std::size_t i = sizeof ours; i < theirs; ++i)
        if (bytes[i] != 0) invalid("the options hold one this version does not know");
    std::memcpy(&ours, bytes, std::min(theirs, sizeof ours));
    return ours;
}

void put(rapport_buffer* result, std::string_view bytes) {
    rapport_buffer& out = given(result);
    char* const data = static_cast<char*>(std::malloc(bytes.size() + 1));
    if (!data) throw std::bad_alloc();
    std::memcpy(data, bytes.data(), bytes.size());
    data[bytes.size()] = '\0';
    out = {data, bytes.size()};
}

void capture(rapport_store& handle, AskedEdits asked, rapport_buffer* result) {
    Captured captured;
    if (asked.refusals.empty())
        captured = handle.store.commit(asked.edits);
    else
        captured.refusals = std::move(asked.refusals);
    put(result, to_json(captured, handle.language));
}

RecordId record_called(const Store& store, std::string_view id) {
    const std::size_t colon = id.find(':');
    const bool external = id.substr(0, 1) == "@" && colon != std::string_view::npos;
    const auto found = external ? store.find_external(std::string(id.substr(1, colon - 1)),
                                                      std::string(id.substr(colon + 1)))
                                : RecordId::parse(id);
    if (!found && !external) invalid("an id has 36 characters, or is @system:id");
    if (!found) throw Error(ErrorCode::not_found, "no record of this store has this id");
    return *found;
}

}  // namespace

// ---- errors, buffers, version

rapport_code rapport_error_code(const rapport_error* error) {
    return error ? static_cast<rapport_code>(error->code) : RAPPORT_OK;
}
int32_t rapport_error_detail(const rapport_error* error) { return error ? error->detail : 0; }
const char* rapport_error_sentence(const rapport_error* error) {
    return error ? error->sentence.c_str() : "";
}
void rapport_error_free(rapport_error* error) { delete error; }

void rapport_buffer_free(rapport_buffer* buffer) {
    if (!buffer) return;
    std::free(buffer->data);
    *buffer = {};
}

const char* rapport_version(void) { return RAPPORT_VERSION; }

// ---- a store

rapport_code rapport_store_open(const char* path, size_t path_size,
                                const rapport_open_options* options, rapport_store** store,
                                rapport_error** error) {
    return guarded(error, [&] {
        given(store) = nullptr;
        const rapport_open_options how = known(options);
        if (how.language != RAPPORT_LANGUAGE_ENGLISH && how.language != RAPPORT_LANGUAGE_GERMAN)
            invalid("the language is unknown");
        if (how.lock_wait_ms < 0) invalid("a wait is not below zero");
        Store::Options opening;
        opening.read_only = how.read_only != 0;
        opening.rep = text(how.rep, how.rep_size);
        if (how.lock_wait_ms > 0) opening.lock_wait = Milliseconds(how.lock_wait_ms);
        *store = new rapport_store(
            Store::open(std::string(text(path, path_size)), opening),
            how.language == RAPPORT_LANGUAGE_GERMAN ? Language::german : Language::english);
    });
}

void rapport_store_free(rapport_store* store) { delete store; }

rapport_code rapport_store_capture(rapport_store* store, const char* json, size_t json_size,
                                   rapport_buffer* result, rapport_error** error) {
    return guarded(error, [&] {
        capture(given(store), new_records(store->store, text(json, json_size)), &given(result));
    });
}

rapport_code rapport_store_edit(rapport_store* store, const char* json, size_t json_size,
                                rapport_buffer* result, rapport_error** error) {
    return guarded(error, [&] {
        capture(given(store), changes(store->store, text(json, json_size)), &given(result));
    });
}

rapport_code rapport_store_get(rapport_store* store, const char* id, size_t id_size,
                               rapport_buffer* result, rapport_error** error) {
    return guarded(error, [&] {
        const Store& from = given(store).store;
        const auto record = from.find(record_called(from, text(id, id_size)));
        if (!record) throw Error(ErrorCode::not_found, "no record of this store has this id");
        put(result, "{\"record\":" + to_json(*record) +
                        ",\"status\":" + to_json(from.status(record->id), store->language) + "}");
    });
}

rapport_code rapport_store_query(rapport_store* store, const char* json, size_t json_size,
                                 rapport_buffer* result, rapport_error** error) {
    return guarded(error, [&] {
        const Store& from = given(store).store;
        put(result, to_json(from, from.query(asked_query(text(json, json_size)))));
    });
}

rapport_code rapport_store_status(rapport_store* store, rapport_buffer* result,
                                  rapport_error** error) {
    return guarded(error, [&] {
        const Store& of = given(store).store;
        put(result, to_json(of.overview(), of.held(), store->language));
    });
}

// ---- users of one device

rapport_code rapport_log_out(rapport_store* store, rapport_error** error) {
    return guarded(error, [&] {
        rapport_store& handle = given(store);
        const std::lock_guard<std::mutex> one_at_a_time(handle.syncing);
        handle.store.log_out();
    });
}

rapport_code rapport_log_in(rapport_store* store, const char* rep, size_t rep_size,
                            rapport_error** error) {
    return guarded(error, [&] {
        rapport_store& handle = given(store);
        const std::lock_guard<std::mutex> one_at_a_time(handle.syncing);
        handle.store.log_in(std::string(text(rep, rep_size)));
    });
}

// ---- sync

rapport_code rapport_store_enrol(rapport_store* store, const char* server, size_t server_size,
                                 const char* code, size_t code_size, rapport_error** error) {
    return guarded(error, [&] {
        rapport_store& handle = given(store);
        const std::lock_guard<std::mutex> one_at_a_time(handle.syncing);
        handle.syncer.enrol(std::string(text(server, server_size)),
                            std::string(text(code, code_size)));
    });
}

rapport_code rapport_store_sync(rapport_store* store, const rapport_sync_options* options,
                                rapport_buffer* result, rapport_error** error) {
    return guarded(error, [&] {
        rapport_store& handle = given(store);
        given(result);
        const rapport_sync_options how = known(options);
        if (how.time_ms < 0) invalid("a time is not below zero");
        SyncBudget budget;
        if (how.time_ms > 0) budget.time = Milliseconds(how.time_ms);
        if (how.bytes > 0) budget.bytes = how.bytes;
        const std::lock_guard<std::mutex> one_at_a_time(handle.syncing);
        put(result, to_json(handle.syncer.sync_for(budget)));
    });
}

void rapport_store_cancel_sync(rapport_store* store) {
    if (store) store->syncer.cancel();
}

// ---- observing

rapport_code rapport_store_observe(rapport_store* store, rapport_wake wake, void* context,
                                   rapport_observer** observer, rapport_error** error) {
    return guarded(error, [&] {
        given(observer) = nullptr;
        if (!wake) invalid("an observer needs something to wake");
        auto made = std::make_unique<rapport_observer>();
        made->subscription = given(store).store.observe(
            {}, [to = made.get(), wake, context](const Changes& changes) {
                {
                    const std::lock_guard<std::mutex> lock(to->mutex);
                    for (const Changes::Of& of : changes.kinds)
                        to->changed[of.kind].insert(of.ids.begin(), of.ids.end());
                }
                wake(context);
            });
        *observer = made.release();
    });
}

rapport_code rapport_observer_changes(rapport_observer* observer, rapport_buffer* result,
                                      rapport_error** error) {
    return guarded(error, [&] {
        std::map<const Kind*, std::set<RecordId>> changed;
        given(result);
        {
            const std::lock_guard<std::mutex> lock(given(observer).mutex);
            changed.swap(observer->changed);
        }
        Changes changes;
        for (const auto& [kind, ids] : changed)
            changes.kinds.push_back({kind, {ids.begin(), ids.end()}});
        put(result, to_json(changes));
    });
}

void rapport_observer_free(rapport_observer* observer) { delete observer; }
