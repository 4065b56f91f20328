/* SPDX-License-Identifier: Apache-2.0 */
#include "bench/floor.h"

#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { kTablesMax = 8, kBatchMax = 5000 };

static void fail(sqlite3* db, const char* doing) {
    fprintf(stderr, "%s: %s\n", doing, db ? sqlite3_errmsg(db) : "out of memory");
    exit(2);
}
static void check(sqlite3* db, int code, const char* doing) {
    if (code != SQLITE_OK && code != SQLITE_ROW && code != SQLITE_DONE) fail(db, doing);
}
static void* grown(void* old, size_t size) {
    void* const memory = realloc(old, size);
    if (!memory) fail(NULL, "grow");
    return memory;
}
static sqlite3* opened(const char* path) {
    sqlite3* db = NULL;
    check(db,
          sqlite3_open_v2(path, &db,
                          SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, NULL),
          path);
    return db;
}
static void execute(sqlite3* db, const char* sql) {
    check(db, sqlite3_exec(db, sql, NULL, NULL, NULL), sql);
}
static sqlite3_stmt* prepared(sqlite3* db, const char* sql) {
    sqlite3_stmt* statement = NULL;
    check(db, sqlite3_prepare_v3(db, sql, -1, SQLITE_PREPARE_PERSISTENT, &statement, NULL), sql);
    return statement;
}
static int64_t only(sqlite3* db, const char* sql) {
    sqlite3_stmt* const statement = prepared(db, sql);
    check(db, sqlite3_step(statement), sql);
    const int64_t value = sqlite3_column_int64(statement, 0);
    sqlite3_finalize(statement);
    return value;
}

/* ---- rows in memory */

typedef struct table {
    char name[64];
    char columns[2048]; /* the names with commas between */
    char* schema;       /* statements that make the table and its indexes */
    int count;
    char names[80][48];
} table;

struct floor_rows {
    table tables[kTablesMax];
    int table_count;
    floor_row* rows;
    size_t count;
};

static void read_shape(sqlite3* db, table* into, const char* name) {
    snprintf(into->name, sizeof into->name, "%s", name);
    sqlite3_stmt* q = prepared(db, "SELECT name FROM pragma_table_info(?) WHERE name<>'version'");
    sqlite3_bind_text(q, 1, name, -1, SQLITE_STATIC);
    while (sqlite3_step(q) == SQLITE_ROW) {
        const char* const column = (const char*)sqlite3_column_text(q, 0);
        snprintf(into->names[into->count], sizeof into->names[0], "%s", column);
        const size_t used = strlen(into->columns);
        snprintf(into->columns + used, sizeof into->columns - used, "%s\"%s\"", used ? "," : "",
                 column);
        ++into->count;
    }
    sqlite3_finalize(q);
    q = prepared(
        db, "SELECT sql FROM sqlite_schema WHERE tbl_name=? AND sql IS NOT NULL ORDER BY rowid");
    sqlite3_bind_text(q, 1, name, -1, SQLITE_STATIC);
    size_t size = 1;
    into->schema = grown(NULL, size);
    into->schema[0] = '\0';
    while (sqlite3_step(q) == SQLITE_ROW) {
        const char* const sql = (const char*)sqlite3_column_text(q, 0);
        size += strlen(sql) + 1;
        into->schema = grown(into->schema, size);
        strcat(strcat(into->schema, sql), ";");
    }
    sqlite3_finalize(q);
}

static void read_values(sqlite3_stmt* q, int columns, floor_value* values) {
    for (int i = 0; i < columns; ++i) {
        floor_value* const v = &values[i];
        memset(v, 0, sizeof *v);
        const int type = sqlite3_column_type(q, i);
        if (type == SQLITE_INTEGER) {
            v->type = FLOOR_INTEGER;
            v->integer = sqlite3_column_int64(q, i);
        } else if (type != SQLITE_NULL) {
            v->type = type == SQLITE_BLOB ? FLOOR_BLOB : FLOOR_TEXT;
            v->size = sqlite3_column_bytes(q, i);
            v->bytes = v->size ? sqlite3_column_blob(q, i) : "";
        }
    }
}

/* Ids are given in the order of capture. */
static int by_id(const void* a, const void* b) {
    return memcmp(((const floor_row*)a)->values[1].bytes, ((const floor_row*)b)->values[1].bytes,
                  16);
}

floor_rows* floor_read(const char* device_file, const char* const* tables, int count) {
    sqlite3* const db = opened(device_file);
    floor_rows* const rows = grown(NULL, sizeof *rows);
    memset(rows, 0, sizeof *rows);
    rows->table_count = count;
    for (int t = 0; t < count; ++t) {
        table* const shape = &rows->tables[t];
        read_shape(db, shape, tables[t]);
        char sql[2200];
        snprintf(sql, sizeof sql, "SELECT %s FROM \"%s\"", shape->columns, shape->name);
        sqlite3_stmt* const q = prepared(db, sql);
        while (sqlite3_step(q) == SQLITE_ROW) {
            floor_value* const values = grown(NULL, (size_t)shape->count * sizeof *values);
            read_values(q, shape->count, values);
            for (int i = 0; i < shape->count; ++i)
                if (values[i].size) {
                    char* const copy = grown(NULL, (size_t)values[i].size);
                    memcpy(copy, values[i].bytes, (size_t)values[i].size);
                    values[i].bytes = copy;
                }
            values[0].type = FLOOR_NULL; /* the row number is given anew */
            rows->rows = grown(rows->rows, (rows->count + 1) * sizeof *rows->rows);
            rows->rows[rows->count++] = (floor_row){t, shape->count, values};
        }
        sqlite3_finalize(q);
    }
    sqlite3_close(db);
    qsort(rows->rows, rows->count, sizeof *rows->rows, by_id);
    return rows;
}

size_t floor_count(const floor_rows* rows) { return rows->count; }
const floor_row* floor_at(const floor_rows* rows, size_t index) { return &rows->rows[index]; }
int floor_columns(const floor_rows* rows, int t) { return rows->tables[t].count; }
const char* floor_column(const floor_rows* rows, int t, int column) {
    return rows->tables[t].names[column];
}

void floor_free(floor_rows* rows) {
    for (size_t i = 0; i < rows->count; ++i) {
        for (int c = 0; c < rows->rows[i].columns; ++c)
            if (rows->rows[i].values[c].size) free((void*)(uintptr_t)rows->rows[i].values[c].bytes);
        free((void*)(uintptr_t)rows->rows[i].values);
    }
    for (int t = 0; t < rows->table_count; ++t) free(rows->tables[t].schema);
    free(rows->rows);
    free(rows);
}

/* ---- a store */

struct floor_store {
    sqlite3* db;
    sqlite3_stmt *begin, *commit, *pend, *take, *forget;
    sqlite3_stmt *insert[kTablesMax], *select[kTablesMax];
    int columns[kTablesMax], table_count;
    floor_value* taken_values; /* the rows given out */
    char* taken_texts;
    int64_t last_taken;
};

floor_store* floor_open(const char* path, const floor_rows* shape, int full_sync) {
    floor_store* const s = grown(NULL, sizeof *s);
    memset(s, 0, sizeof *s);
    s->db = opened(path);
    execute(s->db, "PRAGMA journal_mode=WAL");
    execute(s->db, full_sync ? "PRAGMA synchronous=FULL" : "PRAGMA synchronous=NORMAL");
    execute(s->db, "BEGIN");
    execute(s->db,
            "CREATE TABLE IF NOT EXISTS pending(seq INTEGER PRIMARY KEY, record BLOB NOT NULL, "
            "kind INTEGER NOT NULL,"
            " captured_at INTEGER NOT NULL) STRICT");
    const int fresh = only(s->db, "SELECT count(*) FROM sqlite_schema") == 1;
    s->table_count = shape->table_count;
    for (int t = 0; t < shape->table_count; ++t) {
        const table* const of = &shape->tables[t];
        if (fresh) execute(s->db, of->schema);
        char sql[4096], marks[256] = "?";
        for (int i = 1; i < of->count; ++i) strcat(marks, ",?");
        snprintf(sql, sizeof sql, "INSERT OR REPLACE INTO \"%s\"(%s) VALUES(%s)", of->name,
                 of->columns, marks);
        s->insert[t] = prepared(s->db, sql);
        snprintf(sql, sizeof sql, "SELECT %s FROM \"%s\" WHERE id=?", of->columns, of->name);
        s->select[t] = prepared(s->db, sql);
        s->columns[t] = of->count;
    }
    execute(s->db, "COMMIT");
    s->begin = prepared(s->db, "BEGIN IMMEDIATE");
    s->commit = prepared(s->db, "COMMIT");
    s->pend = prepared(s->db, "INSERT INTO pending(record, kind, captured_at) VALUES(?,?,?)");
    s->take = prepared(s->db, "SELECT seq, record, kind FROM pending ORDER BY seq LIMIT ?");
    s->forget = prepared(s->db, "DELETE FROM pending WHERE seq<=?");
    return s;
}

static void run(floor_store* s, sqlite3_stmt* statement, const char* doing) {
    check(s->db, sqlite3_step(statement), doing);
    sqlite3_reset(statement);
}
void floor_begin(floor_store* s) { run(s, s->begin, "begin"); }
void floor_commit(floor_store* s) { run(s, s->commit, "commit"); }

void floor_insert(floor_store* s, const floor_row* row, int pending) {
    sqlite3_stmt* const q = s->insert[row->table];
    for (int i = 0; i < row->columns; ++i) {
        const floor_value* const v = &row->values[i];
        switch (v->type) {
            case FLOOR_NULL:
                sqlite3_bind_null(q, i + 1);
                break;
            case FLOOR_INTEGER:
                sqlite3_bind_int64(q, i + 1, v->integer);
                break;
            case FLOOR_TEXT:
                sqlite3_bind_text(q, i + 1, v->bytes, v->size, SQLITE_STATIC);
                break;
            case FLOOR_BLOB:
                sqlite3_bind_blob(q, i + 1, v->bytes, v->size, SQLITE_STATIC);
                break;
        }
    }
    run(s, q, "insert");
    if (!pending) return;
    sqlite3_bind_blob(s->pend, 1, row->values[1].bytes, 16, SQLITE_STATIC);
    sqlite3_bind_int(s->pend, 2, row->table);
    sqlite3_bind_int64(s->pend, 3, 1);
    run(s, s->pend, "insert pending");
}

static void give_back(floor_store* s) {
    free(s->taken_texts);
    free(s->taken_values);
    s->taken_texts = NULL;
    s->taken_values = NULL;
}

/* Texts are copied, as a client that formats a batch before it sends it would have to. */
int floor_take_pending(floor_store* s, int limit, floor_row* out) {
    give_back(s);
    if (limit > kBatchMax) limit = kBatchMax;
    size_t values = 0, room = 0, text = 0, text_room = 0;
    char* texts = NULL;
    int count = 0;
    floor_begin(s);
    sqlite3_bind_int(s->take, 1, limit);
    while (sqlite3_step(s->take) == SQLITE_ROW) {
        s->last_taken = sqlite3_column_int64(s->take, 0);
        const int t = sqlite3_column_int(s->take, 2);
        sqlite3_stmt* const q = s->select[t];
        sqlite3_bind_blob(q, 1, sqlite3_column_blob(s->take, 1), 16, SQLITE_STATIC);
        check(s->db, sqlite3_step(q), "select");
        if (values + (size_t)s->columns[t] > room) {
            room = room * 2 + 4096;
            s->taken_values = grown(s->taken_values, room * sizeof *s->taken_values);
        }
        floor_value* const row = s->taken_values + values;
        read_values(q, s->columns[t], row);
        for (int i = 0; i < s->columns[t]; ++i) {
            if (!row[i].size) continue;
            while (text + (size_t)row[i].size > text_room) {
                text_room = text_room * 2 + 65536;
                texts = grown(texts, text_room);
            }
            memcpy(texts + text, row[i].bytes, (size_t)row[i].size);
            row[i].integer = (int64_t)text; /* its place, until the texts have stopped moving */
            text += (size_t)row[i].size;
        }
        out[count++] = (floor_row){t, s->columns[t], NULL};
        values += (size_t)s->columns[t];
        sqlite3_reset(q);
    }
    sqlite3_reset(s->take);
    floor_commit(s);
    s->taken_texts = texts;
    floor_value* at = s->taken_values;
    for (int i = 0; i < count; ++i) {
        for (int c = 0; c < out[i].columns; ++c)
            if (at[c].size) at[c].bytes = texts + at[c].integer;
        out[i].values = at;
        at += out[i].columns;
    }
    return count;
}

void floor_forget_pending(floor_store* s) {
    floor_begin(s);
    sqlite3_bind_int64(s->forget, 1, s->last_taken);
    run(s, s->forget, "delete pending");
    floor_commit(s);
}

void floor_close(floor_store* s) {
    give_back(s);
    for (int t = 0; t < s->table_count; ++t) {
        sqlite3_finalize(s->insert[t]);
        sqlite3_finalize(s->select[t]);
    }
    sqlite3_finalize(s->begin);
    sqlite3_finalize(s->commit);
    sqlite3_finalize(s->pend);
    sqlite3_finalize(s->take);
    sqlite3_finalize(s->forget);
    sqlite3_close(s->db);
    free(s);
}

int64_t floor_file_bytes(const char* path) {
    sqlite3* const db = opened(path);
    execute(db, "PRAGMA wal_checkpoint(TRUNCATE)");
    const int64_t bytes = (only(db, "PRAGMA page_count") - only(db, "PRAGMA freelist_count")) *
                          only(db, "PRAGMA page_size");
    sqlite3_close(db);
    return bytes;
}

int64_t floor_table_bytes(const char* path, const char* part) {
    sqlite3* const db = opened(path);
    sqlite3_stmt* const q =
        prepared(db, "SELECT coalesce(sum(pgsize),0) FROM dbstat WHERE instr(name,?)>0");
    sqlite3_bind_text(q, 1, part, -1, SQLITE_STATIC);
    check(db, sqlite3_step(q), "dbstat");
    const int64_t bytes = sqlite3_column_int64(q, 0);
    sqlite3_finalize(q);
    sqlite3_close(db);
    return bytes;
}

/* ---- a file system that counts */

typedef struct counted_file {
    sqlite3_file base;
    int is_log;
    sqlite3_file* real; /* follows in the same memory */
} counted_file;

static sqlite3_vfs* real_vfs;
static int64_t syncs;
static int leave_out_log;

#define REAL(file) (((counted_file*)(file))->real)
static int counted_close(sqlite3_file* f) {
    return REAL(f)->pMethods ? REAL(f)->pMethods->xClose(REAL(f)) : SQLITE_OK;
}
static int counted_read(sqlite3_file* f, void* to, int n, sqlite3_int64 at) {
    return REAL(f)->pMethods->xRead(REAL(f), to, n, at);
}
static int counted_write(sqlite3_file* f, const void* from, int n, sqlite3_int64 at) {
    return REAL(f)->pMethods->xWrite(REAL(f), from, n, at);
}
static int counted_truncate(sqlite3_file* f, sqlite3_int64 size) {
    return REAL(f)->pMethods->xTruncate(REAL(f), size);
}
static int counted_sync(sqlite3_file* f, int flags) {
    if (((counted_file*)f)->is_log && leave_out_log) return SQLITE_OK;
    __atomic_fetch_add(&syncs, 1, __ATOMIC_RELAXED);
    return REAL(f)->pMethods->xSync(REAL(f), flags);
}
static int counted_size(sqlite3_file* f, sqlite3_int64* size) {
    return REAL(f)->pMethods->xFileSize(REAL(f), size);
}
static int counted_lock(sqlite3_file* f, int level) {
    return REAL(f)->pMethods->xLock(REAL(f), level);
}
static int counted_unlock(sqlite3_file* f, int level) {
    return REAL(f)->pMethods->xUnlock(REAL(f), level);
}
static int counted_reserved(sqlite3_file* f, int* out) {
    return REAL(f)->pMethods->xCheckReservedLock(REAL(f), out);
}
static int counted_control(sqlite3_file* f, int op, void* arg) {
    return REAL(f)->pMethods->xFileControl(REAL(f), op, arg);
}
static int counted_sector(sqlite3_file* f) { return REAL(f)->pMethods->xSectorSize(REAL(f)); }
static int counted_traits(sqlite3_file* f) {
    return REAL(f)->pMethods->xDeviceCharacteristics(REAL(f));
}
static int counted_shm_map(sqlite3_file* f, int page, int size, int extend, void volatile** out) {
    return REAL(f)->pMethods->xShmMap(REAL(f), page, size, extend, out);
}
static int counted_shm_lock(sqlite3_file* f, int at, int n, int flags) {
    return REAL(f)->pMethods->xShmLock(REAL(f), at, n, flags);
}
static void counted_shm_barrier(sqlite3_file* f) { REAL(f)->pMethods->xShmBarrier(REAL(f)); }
static int counted_shm_unmap(sqlite3_file* f, int remove) {
    return REAL(f)->pMethods->xShmUnmap(REAL(f), remove);
}

static const sqlite3_io_methods methods = {
    .iVersion = 2,
    .xClose = counted_close,
    .xRead = counted_read,
    .xWrite = counted_write,
    .xTruncate = counted_truncate,
    .xSync = counted_sync,
    .xFileSize = counted_size,
    .xLock = counted_lock,
    .xUnlock = counted_unlock,
    .xCheckReservedLock = counted_reserved,
    .xFileControl = counted_control,
    .xSectorSize = counted_sector,
    .xDeviceCharacteristics = counted_traits,
    .xShmMap = counted_shm_map,
    .xShmLock = counted_shm_lock,
    .xShmBarrier = counted_shm_barrier,
    .xShmUnmap = counted_shm_unmap,
};

static int counted_open(sqlite3_vfs* vfs, const char* name, sqlite3_file* f, int flags, int* out) {
    (void)vfs;
    counted_file* const file = (counted_file*)f;
    file->real = (sqlite3_file*)(file + 1);
    file->is_log = (flags & SQLITE_OPEN_WAL) != 0;
    const int code = real_vfs->xOpen(real_vfs, name, file->real, flags, out);
    file->base.pMethods = code == SQLITE_OK ? &methods : NULL;
    return code;
}

void floor_count_syncs(void) {
    static sqlite3_vfs counted;
    if (real_vfs) return;
    real_vfs = sqlite3_vfs_find(NULL);
    counted = *real_vfs;
    counted.zName = "counted";
    counted.szOsFile = real_vfs->szOsFile + (int)sizeof(counted_file);
    counted.xOpen = counted_open;
    check(NULL, sqlite3_vfs_register(&counted, 1), "register");
}
int64_t floor_syncs(void) { return __atomic_load_n(&syncs, __ATOMIC_RELAXED); }
void floor_sync_normal(int normal) { leave_out_log = normal; }
