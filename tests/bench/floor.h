/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RAPPORT_BENCH_FLOOR_H
#define RAPPORT_BENCH_FLOOR_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What the figures are compared with: the same rows in the same tables with the same indexes,
 * written with SQLite's C API by hand. Every function ends the process with a sentence if SQLite
 * refuses. */

enum floor_type { FLOOR_NULL, FLOOR_INTEGER, FLOOR_TEXT, FLOOR_BLOB };
typedef struct floor_value {
    enum floor_type type;
    int64_t integer;
    const char* bytes; /* of texts and blobs; borrowed from the rows they were read with */
    int size;
} floor_value;

/* One row of one of the kinds' tables, the version left out (a row that was never sent has none).
 */
typedef struct floor_row {
    int table;
    int columns;
    const floor_value* values;
} floor_row;

/* All rows of some tables of a device file in the order in which they were captured. */
typedef struct floor_rows floor_rows;
floor_rows* floor_read(const char* device_file, const char* const* tables, int count);
size_t floor_count(const floor_rows* rows);
const floor_row* floor_at(const floor_rows* rows, size_t index);
/* Columns of a table as they stand in floor_row::values. */
int floor_columns(const floor_rows* rows, int table);
const char* floor_column(const floor_rows* rows, int table, int column);
void floor_free(floor_rows* rows);

/* A file with those tables and their indexes as the device file has them, and an outbox:
 * pending(seq, record, kind, captured_at). WAL. */
typedef struct floor_store floor_store;
floor_store* floor_open(const char* path, const floor_rows* shape, int full_sync);
void floor_begin(floor_store* store);
void floor_commit(floor_store* store);
/* Inserts one row, or replaces the one with its id; `pending`: and a row in the outbox. */
void floor_insert(floor_store* store, const floor_row* row, int pending);
/* The next rows of the outbox, at most `limit`, into `out`, which stay valid until the next call;
 * returns how many. */
int floor_take_pending(floor_store* store, int limit, floor_row* out);
/* Removes what the last floor_take_pending gave. */
void floor_forget_pending(floor_store* store);
void floor_close(floor_store* store);

/* Pages in use, in bytes, after everything was moved from the log into the file. */
int64_t floor_file_bytes(const char* path);
/* Pages of the tables whose name contains `part`, in bytes. */
int64_t floor_table_bytes(const char* path, const char* part);

/* Counts SQLite's calls of fsync from then on, in every connection opened afterwards. With `normal`
 * those of the log are left out, which is what synchronous=NORMAL means. */
void floor_count_syncs(void);
int64_t floor_syncs(void);
void floor_sync_normal(int normal);

#ifdef __cplusplus
}
#endif
#endif
