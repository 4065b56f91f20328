/* SPDX-License-Identifier: Apache-2.0 */
/* The C face as a C program uses it, against a real server: RAPPORTD_PROGRAM says where that is. */
#define _POSIX_C_SOURCE 200809L
#include <pthread.h>
#include <rapport.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

static int failures = 0;
static char folder[] = "/tmp/rapport-c-XXXXXX";
static pid_t server = -1;

static void check(int holds, const char* what, int line) {
    if (holds) return;
    fprintf(stderr, "line %d: %s\n", line, what);
    ++failures;
}
#define CHECK(condition) check((condition), #condition, __LINE__)
#define CHECK_DONE(call)                                                       \
    do {                                                                       \
        const rapport_code code_ = (call);                                     \
        if (code_ != RAPPORT_OK) {                                             \
            fprintf(stderr, "%s: %s\n", #call, rapport_error_sentence(error)); \
            check(0, "the call failed", __LINE__);                             \
        }                                                                      \
        rapport_error_free(error);                                             \
        error = NULL;                                                          \
    } while (0)
#define HOLDS(buffer, words) (strstr((buffer).data, (words)) != NULL)

static void end(int code) {
    if (server > 0) {
        kill(server, SIGTERM);
        waitpid(server, NULL, 0);
    }
    char command[200];
    snprintf(command, sizeof command, "rm -rf %s", folder);
    if (system(command) != 0) code = 1;
    exit(code);
}

static const char* path_of(const char* name) {
    static char path[200];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

/* Starts a server and reads from its log where it listens. The log stays open: the server writes
 * on. */
static void start_server(char* address, size_t size) {
    int log[2];
    char store[200], line[500];
    snprintf(store, sizeof store, "sqlite:%s", path_of("centre.db"));
    if (pipe(log) != 0) end(1);
    server = fork();
    if (server == 0) {
        dup2(log[1], STDERR_FILENO);
        close(log[0]);
        close(log[1]);
        execl(RAPPORTD_PROGRAM, RAPPORTD_PROGRAM, "serve", "--store", store, "--listen",
              "127.0.0.1:0", (char*)NULL);
        _exit(1);
    }
    close(log[1]);
    static FILE* lines;
    lines = fdopen(log[0], "r");
    while (lines != NULL && fgets(line, sizeof line, lines) != NULL) {
        const char* port = strstr(line, "\"port\":");
        if (strstr(line, "\"listening\"") == NULL || port == NULL) continue;
        snprintf(address, size, "http://127.0.0.1:%d", atoi(port + 7));
        return;
    }
    fprintf(stderr, "the server did not start\n");
    end(1);
}

static void invite(char* code, size_t size) {
    char command[600], line[400] = "";
    snprintf(command, sizeof command,
             "%s invite --store sqlite:%s --rep R17 --role rep --scope territory/DE-50",
             RAPPORTD_PROGRAM, path_of("centre.db"));
    FILE* out = popen(command, "r");
    if (out == NULL || fgets(line, sizeof line, out) == NULL || pclose(out) != 0) end(1);
    line[strcspn(line, "\n")] = '\0';
    snprintf(code, size, "%s", strrchr(line, ' ') + 1);
}

static rapport_store* open_store(const char* name, int read_only) {
    rapport_store* store = NULL;
    rapport_error* error = NULL;
    rapport_open_options options = {sizeof options, NULL, 0, 0, 0, 0};
    options.rep = "R17";
    options.rep_size = 3;
    options.read_only = read_only;
    options.language = RAPPORT_LANGUAGE_GERMAN;
    const char* path = path_of(name);
    CHECK_DONE(rapport_store_open(path, strlen(path), &options, &store, &error));
    if (store == NULL) end(1);
    return store;
}

/* The 36 characters of the n-th id in a result. */
static void id_in(const rapport_buffer* result, int n, char id[37]) {
    const char* at = strstr(result->data, "\"ids\":[");
    for (at = at == NULL ? NULL : at + 7; at != NULL && n > 0; --n) {
        at = strchr(at, ',');
        if (at != NULL) ++at;
    }
    if (at == NULL || strlen(at) < 38) end(1);
    memcpy(id, at + 1, 36);
    id[36] = '\0';
}

static void count_wake(void* context) { ++*(int*)context; }

struct Syncing {
    rapport_store* store;
    rapport_buffer result;
};
static void* sync_elsewhere(void* context) {
    struct Syncing* syncing = context;
    rapport_store_sync(syncing->store, NULL, &syncing->result, NULL);
    return NULL;
}

int main(void) {
    if (mkdtemp(folder) == NULL) return 1;
    signal(SIGPIPE, SIG_IGN);
    char address[100], code[100], visit[37], complaint[37];
    start_server(address, sizeof address);
    invite(code, sizeof code);
    rapport_error* error = NULL;
    rapport_buffer result = {NULL, 0};

    /* ---- a visit with its complaint */
    rapport_store* store = open_store("r17.rapport", 0);
    int wakes = 0;
    rapport_observer* observer = NULL;
    CHECK_DONE(rapport_store_observe(store, count_wake, &wakes, &observer, &error));
    const char* captured =
        "[{\"kind\":\"visit\",\"ref\":\"v\",\"fields\":{\"customer_id\":\"@mork\",\"type\":"
        "\"visit\"}},"
        "{\"kind\":\"customer\",\"ref\":\"mork\",\"fields\":{\"name\":\"Molkerei Mork\"}},"
        "{\"kind\":\"complaint\",\"fields\":{\"visit_id\":\"@v\",\"product_text\":\"Becher\","
        "\"verbatim\":"
        "\"Der Deckel ist undicht.\",\"severity\":\"major\"}}]";
    CHECK_DONE(rapport_store_capture(store, captured, strlen(captured), &result, &error));
    CHECK(HOLDS(result, "\"refusals\":[]"));
    CHECK(result.data[result.size] == '\0');
    id_in(&result, 0, visit);
    id_in(&result, 2, complaint);
    rapport_buffer_free(&result);
    rapport_buffer_free(&result);
    CHECK(wakes == 1);
    CHECK_DONE(rapport_observer_changes(observer, &result, &error));
    CHECK(HOLDS(result, "\"complaint\":[\"") && HOLDS(result, complaint) &&
          HOLDS(result, "\"customer\""));
    rapport_buffer_free(&result);
    CHECK_DONE(rapport_observer_changes(observer, &result, &error));
    CHECK(strcmp(result.data, "{}") == 0);
    rapport_buffer_free(&result);
    rapport_observer_free(observer);

    /* ---- read back */
    CHECK_DONE(rapport_store_get(store, complaint, 36, &result, &error));
    CHECK(HOLDS(result, "Der Deckel ist undicht.") && HOLDS(result, visit) &&
          HOLDS(result, "\"sync\":\"queued\""));
    rapport_buffer_free(&result);
    const char* question =
        "{\"kind\":\"complaint\",\"where\":[{\"field\":\"severity\",\"is\":\">=\",\"value\":"
        "\"major\"}],\"limit\":10}";
    CHECK_DONE(rapport_store_query(store, question, strlen(question), &result, &error));
    CHECK(HOLDS(result, complaint) && HOLDS(result, "\"next\":null"));
    rapport_buffer_free(&result);

    /* ---- a refusal is a value, in the rep's language */
    const char* lacking =
        "[{\"kind\":\"complaint\",\"fields\":{\"product_text\":\"Becher\",\"severity\":\"major\"}}"
        "]";
    CHECK_DONE(rapport_store_capture(store, lacking, strlen(lacking), &result, &error));
    CHECK(HOLDS(result, "\"ids\":[]") && HOLDS(result, "\"code\":\"required\""));
    CHECK(HOLDS(result, "`verbatim` fehlt. Bitte angeben."));
    rapport_buffer_free(&result);

    /* ---- what the caller did wrong is an error */
    CHECK(rapport_store_capture(store, "{", 1, &result, &error) == RAPPORT_ERROR_INVALID_ARGUMENT);
    CHECK(error != NULL && rapport_error_code(error) == RAPPORT_ERROR_INVALID_ARGUMENT);
    CHECK(rapport_error_sentence(error)[0] != '\0' && rapport_error_detail(error) == 0);
    rapport_error_free(error);
    error = NULL;
    CHECK(result.data == NULL);
    CHECK(rapport_store_get(store, visit, 35, &result, NULL) == RAPPORT_ERROR_INVALID_ARGUMENT);
    CHECK(rapport_store_get(store, "@erp:1", 6, &result, NULL) == RAPPORT_ERROR_NOT_FOUND);
    CHECK(rapport_store_status(NULL, &result, NULL) == RAPPORT_ERROR_INVALID_ARGUMENT);
    CHECK(rapport_store_status(store, NULL, NULL) == RAPPORT_ERROR_INVALID_ARGUMENT);
    CHECK(rapport_store_query(store, "{\"kind\":\"x\"}", 12, &result, NULL) ==
          RAPPORT_ERROR_INVALID_ARGUMENT);
    CHECK(rapport_store_observe(store, NULL, NULL, &observer, NULL) ==
          RAPPORT_ERROR_INVALID_ARGUMENT);
    CHECK(observer == NULL);
    rapport_store_free(NULL);
    rapport_observer_free(NULL);
    rapport_error_free(NULL);
    rapport_buffer_free(NULL);
    struct {
        rapport_sync_options options;
        int64_t of_a_newer_version;
    } newer = {{sizeof newer, 0, 0}, 1};
    CHECK(rapport_store_sync(store, &newer.options, &result, NULL) ==
          RAPPORT_ERROR_INVALID_ARGUMENT);
    newer.of_a_newer_version = 0;

    /* ---- sync: before enrolment, after it, and from another thread */
    CHECK_DONE(rapport_store_sync(store, &newer.options, &result, &error));
    CHECK(HOLDS(result, "\"end\":\"not_enrolled\""));
    rapport_buffer_free(&result);
    CHECK(rapport_store_enrol(store, address, strlen(address), "wrong", 5, NULL) ==
          RAPPORT_ERROR_NOT_AUTHORISED);
    CHECK_DONE(rapport_store_enrol(store, address, strlen(address), code, strlen(code), &error));
    CHECK_DONE(rapport_store_observe(store, count_wake, &wakes, &observer, &error));
    CHECK_DONE(rapport_store_sync(store, NULL, &result, &error));
    CHECK(HOLDS(result, "\"end\":\"complete\"") && HOLDS(result, "\"applied\":1"));
    rapport_buffer_free(&result);
    CHECK_DONE(rapport_observer_changes(observer, &result, &error));
    CHECK(HOLDS(result, complaint));
    rapport_buffer_free(&result);

    char edited[200];
    snprintf(edited, sizeof edited,
             "[{\"id\":\"%s\",\"fields\":{\"remedy_wanted\":\"replace\",\"lot\":null}}]",
             complaint);
    CHECK_DONE(rapport_store_edit(store, edited, strlen(edited), &result, &error));
    CHECK(HOLDS(result, complaint));
    rapport_buffer_free(&result);
    CHECK_DONE(rapport_store_status(store, &result, &error));
    CHECK(HOLDS(result, "\"queued\":1") && HOLDS(result, "\"rep\":\"R17\"") &&
          HOLDS(result, "\"held\":[]"));
    rapport_buffer_free(&result);
    struct Syncing syncing = {store, {NULL, 0}};
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, sync_elsewhere, &syncing) == 0);
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK(HOLDS(syncing.result, "\"applied\":1"));
    rapport_buffer_free(&syncing.result);
    CHECK_DONE(rapport_store_get(store, complaint, 36, &result, &error));
    CHECK(HOLDS(result, "\"number\":\"C-") && HOLDS(result, "\"sync\":\"confirmed\""));
    rapport_buffer_free(&result);

    /* ---- another user of the device sees nothing of this one */
    snprintf(edited, sizeof edited, "[{\"id\":\"%s\",\"fields\":{\"lot\":\"4711\"}}]", complaint);
    CHECK_DONE(rapport_store_edit(store, edited, strlen(edited), &result, &error));
    rapport_buffer_free(&result);
    CHECK_DONE(rapport_log_out(store, &error));
    CHECK(rapport_log_out(store, NULL) == RAPPORT_ERROR_NOT_ENROLLED);
    CHECK(rapport_store_get(store, complaint, 36, &result, NULL) == RAPPORT_ERROR_NOT_FOUND);
    CHECK_DONE(rapport_store_status(store, &result, &error));
    CHECK(HOLDS(result, "\"enrolled\":false") &&
          HOLDS(result, "\"logged_out\":[{\"rep\":\"R17\"") && HOLDS(result, "\"unsent\":1"));
    rapport_buffer_free(&result);
    CHECK(rapport_log_in(store, "R18", 3, NULL) == RAPPORT_ERROR_NOT_FOUND);
    CHECK(rapport_log_in(NULL, "R17", 3, NULL) == RAPPORT_ERROR_INVALID_ARGUMENT);
    CHECK_DONE(rapport_log_in(store, "R17", 3, &error));
    CHECK(rapport_log_in(store, "R17", 3, NULL) == RAPPORT_ERROR_CONFLICT);
    CHECK_DONE(rapport_store_get(store, complaint, 36, &result, &error));
    CHECK(HOLDS(result, "undicht") && HOLDS(result, "\"sync\":\"queued\""));
    rapport_buffer_free(&result);
    CHECK_DONE(rapport_store_sync(store, NULL, &result, &error));
    CHECK(HOLDS(result, "\"end\":\"complete\"") && HOLDS(result, "\"applied\":1"));
    rapport_buffer_free(&result);

    /* ---- one process writes; handles may be freed in any order */
    rapport_store* second = NULL;
    rapport_open_options hasty = {sizeof hasty, NULL, 0, 1, 0, 0};
    const char* path = path_of("r17.rapport");
    CHECK(rapport_store_open(path, strlen(path), &hasty, &second, NULL) ==
          RAPPORT_ERROR_STORAGE_BUSY);
    CHECK(second == NULL);
    second = open_store("r17.rapport", 1);
    CHECK_DONE(rapport_store_query(second, question, strlen(question), &result, &error));
    CHECK(HOLDS(result, complaint));
    rapport_buffer_free(&result);
    rapport_store_free(second);
    rapport_store_free(store);
    CHECK_DONE(rapport_observer_changes(observer, &result, &error));
    rapport_buffer_free(&result);
    rapport_observer_free(observer);
    CHECK(strlen(rapport_version()) >= 5);

    if (failures == 0) printf("all as it should be\n");
    end(failures == 0 ? 0 : 1);
}
