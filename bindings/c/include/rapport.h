/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rapport in C: capture, read and sync one device file. bindings/ABI.md has the rules all calls
 * share.
 *
 * Calls that can fail return RAPPORT_OK or a code, and then fill `error`, which may be NULL; it is
 * the caller's to free. Texts go in as pointer and size, UTF-8, and come out as a rapport_buffer,
 * which is the caller's to free. What a user meets in normal life is no error: refusals, a sync
 * without network and the like stand in the JSON of a result.
 */
#ifndef RAPPORT_H
#define RAPPORT_H

#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define RAPPORT_API __attribute__((visibility("default")))
#else
#define RAPPORT_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* ---- errors, buffers, version */

/* The codes of core/include/rapport/error.def; their numbers never change their meaning. */
typedef int32_t rapport_code;
enum {
    RAPPORT_OK = 0,
    RAPPORT_ERROR_INVALID_ARGUMENT = 1,
    RAPPORT_ERROR_NOT_FOUND = 2,
    RAPPORT_ERROR_STORAGE_FAILED = 3,
    RAPPORT_ERROR_STORAGE_DAMAGED = 4,
    RAPPORT_ERROR_STORAGE_BUSY = 5,
    RAPPORT_ERROR_STORAGE_NEWER = 6,
    RAPPORT_ERROR_NETWORK_FAILED = 7,
    RAPPORT_ERROR_PROTOCOL_VIOLATED = 8,
    RAPPORT_ERROR_NOT_AUTHORISED = 9,
    RAPPORT_ERROR_NOT_ENROLLED = 10,
    RAPPORT_ERROR_LIMIT_EXCEEDED = 11,
    RAPPORT_ERROR_CONFLICT = 12,
    RAPPORT_ERROR_CANCELLED = 13,
    RAPPORT_ERROR_INTERNAL = 14
};

typedef struct rapport_error rapport_error;
RAPPORT_API rapport_code rapport_error_code(const rapport_error* error);
/* The SQLite, HTTP or errno number when there is one, else 0. */
RAPPORT_API int32_t rapport_error_detail(const rapport_error* error);
/* English, for the developer, without customer data; lives as long as the error. */
RAPPORT_API const char* rapport_error_sentence(const rapport_error* error);
RAPPORT_API void rapport_error_free(rapport_error* error);

/* `data` has a zero byte behind its `size` bytes. */
typedef struct rapport_buffer {
    char* data;
    size_t size;
} rapport_buffer;
/* Frees what it holds and empties it; takes NULL and what is empty already. */
RAPPORT_API void rapport_buffer_free(rapport_buffer* buffer);

/* "0.1.0"; static. */
RAPPORT_API const char* rapport_version(void);

/* ---- a store */

/* One device file. Thread-safe, but for rapport_store_free. */
typedef struct rapport_store rapport_store;

enum { RAPPORT_LANGUAGE_ENGLISH = 0, RAPPORT_LANGUAGE_GERMAN = 1 };

typedef struct rapport_open_options {
    size_t struct_size;   /* sizeof(rapport_open_options) */
    const char* rep;      /* with a new file: who captures, until enrolment says so; may be NULL */
    size_t rep_size;      /* bytes */
    int64_t lock_wait_ms; /* how long to wait for another process that writes; 0: 5 seconds */
    int32_t read_only;    /* not 0: never waits and takes no lock; the file must exist */
    int32_t language;     /* of the sentences in results: RAPPORT_LANGUAGE_... */
} rapport_open_options;

/* Opens or creates the file. `options` may be NULL: zeros. */
RAPPORT_API rapport_code rapport_store_open(const char* path, size_t path_size,
                                            const rapport_open_options* options,
                                            rapport_store** store, rapport_error** error);
/* Closes it. No other call with this store may be running; its observers hear nothing more, and may
 * be freed before or after. */
RAPPORT_API void rapport_store_free(rapport_store* store);

/*
 * Captures new records as one bundle: saved together, sent together, judged together. `json` is an
 * array of
 * {"kind", "ref", "fields"}; "@name" refers to the record of the array with that ref, "@system:id"
 * to one of the store. On disk when it returns. Result: {"ids": [...], "refusals": [{"record",
 * "field", "code", "sentence"}]}; with a refusal nothing was captured.
 */
RAPPORT_API rapport_code rapport_store_capture(rapport_store* store, const char* json,
                                               size_t json_size, rapport_buffer* result,
                                               rapport_error** error);
/*
 * Changes records as one bundle. `json` is an array of {"id", "fields": {name: value, or null to
 * clear}, "add", "remove"}. Result as of a capture.
 */
RAPPORT_API rapport_code rapport_store_edit(rapport_store* store, const char* json,
                                            size_t json_size, rapport_buffer* result,
                                            rapport_error** error);

/*
 * One record by its id or "@system:id". Result: {"record": {"kind", "id", "scope", "fields"},
 * "status": {"sync", "conflict", "reasons", "waits_for"}}. Error not_found.
 */
RAPPORT_API rapport_code rapport_store_get(rapport_store* store, const char* id, size_t id_size,
                                           rapport_buffer* result, rapport_error** error);
/*
 * A page of records of one kind. `json` is {"kind", "where": [{"field", "is", "value"}], "since",
 * "sort", "limit", "after"}, all but the kind optional. Result: {"records": [{"sync", "kind", "id",
 * ...}], "next"}; a next that is not null goes into "after" of the following page.
 */
RAPPORT_API rapport_code rapport_store_query(rapport_store* store, const char* json,
                                             size_t json_size, rapport_buffer* result,
                                             rapport_error** error);
/*
 * How the file stands: who and where it is enrolled, how many bundles are in which state, since
 * when something has not been received, in "held" each bundle that is refused, in review or
 * waits, with reasons and what it waits for, in "turned_down" the changes of state that were not
 * granted, in "logged_out" whose work waits, and whether the file was forked, recovered or revoked.
 */
RAPPORT_API rapport_code rapport_store_status(rapport_store* store, rapport_buffer* result,
                                              rapport_error** error);

/* ---- users of one device */

/*
 * Ends the session of the user who is enrolled, so that another may enrol or log in. What the
 * server has goes from the file; unsent work and drafts stay in it, and nobody else sees or sends
 * them. Waits for a sync that is running. Error not_enrolled.
 */
RAPPORT_API rapport_code rapport_log_out(rapport_store* store, rapport_error** error);
/*
 * Goes on where this user logged out; the app has made sure that it is them. rapport_store_status
 * lists who has logged out and what of theirs waits. Errors: not_found; conflict while somebody
 * else is logged in.
 */
RAPPORT_API rapport_code rapport_log_in(rapport_store* store, const char* rep, size_t rep_size,
                                        rapport_error** error);

/* ---- sync */

/* Redeems an invitation code at a server's address. Errors: network_failed, not_authorised,
 * conflict. */
RAPPORT_API rapport_code rapport_store_enrol(rapport_store* store, const char* server,
                                             size_t server_size, const char* code, size_t code_size,
                                             rapport_error** error);

typedef struct rapport_sync_options {
    size_t struct_size; /* sizeof(rapport_sync_options) */
    int64_t time_ms;    /* at most so long; 0: a minute */
    uint64_t bytes;     /* bodies both ways; 0: any number */
} rapport_sync_options;

/*
 * Sends what was captured and takes what others changed, until all is done or the budget is used.
 * `options` may be NULL: zeros. Blocks; a second call waits for the first. Result: {"end":
 * "complete", "sentence", "sent", "applied", "conflicted", "refused", "later", "review", "decided",
 * "unanswered", "left", "received", ...}. No network is an "end", not an error.
 */
RAPPORT_API rapport_code rapport_store_sync(rapport_store* store,
                                            const rapport_sync_options* options,
                                            rapport_buffer* result, rapport_error** error);
/* Makes a running sync return soon with end "cancelled"; from any thread. */
RAPPORT_API void rapport_store_cancel_sync(rapport_store* store);

/* ---- observing */

typedef struct rapport_observer rapport_observer;

/*
 * Something changed. Runs on the thread that made the change, after its commit and with no lock
 * held, and must return soon: call rapport_observer_changes on a thread of your choosing. None runs
 * once the observer or the store is freed.
 */
typedef void (*rapport_wake)(void* context);

/* Hears of every commit and sync that changes records, from now on. */
RAPPORT_API rapport_code rapport_store_observe(rapport_store* store, rapport_wake wake,
                                               void* context, rapport_observer** observer,
                                               rapport_error** error);
/* What changed since the last call: {"complaint": [ids], ...}, each id once; {} for nothing. */
RAPPORT_API rapport_code rapport_observer_changes(rapport_observer* observer,
                                                  rapport_buffer* result, rapport_error** error);
/* Waits for a wake that runs on another thread. May be called from within its own wake. */
RAPPORT_API void rapport_observer_free(rapport_observer* observer);

#ifdef __cplusplus
}
#endif
#endif
