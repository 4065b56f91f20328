// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "model/json.hpp"
#include "output.hpp"
#include "rapport/store.hpp"

/// The commands of `rapport`, each a function of what the user typed. They print to standard
/// output, complain on standard error and return the exit code.
namespace rapport::cli {

enum Exit : int {
    kDone = 0,
    kRefused = 1,     ///< something was refused or invalid, or needs a person
    kUsage = 2,       ///< the command was not understood
    kNotReached = 3,  ///< the server was not reached; nothing is lost, try again
};

/// Ends a command with an exit code and what to say after `rapport: `.
struct Failure : std::runtime_error {
    Failure(Exit code, const std::string& sentence) : std::runtime_error(sentence), exit(code) {}
    Exit exit;
};

struct InitOptions {
    std::string file, rep;
};
struct EnrolOptions {
    std::string file, server, code;
};
struct LogoutOptions {
    std::string file;
};
struct LoginOptions {
    std::string file, rep;
};
struct AddOptions {
    std::string file;
    std::vector<std::string> words;  ///< KIND f=v ... [+ KIND f=v ...]
    bool draft = false;
};
struct SetOptions {
    std::string file, id;
    std::vector<std::string> words;
};
struct RequestOptions {
    std::string file, id, state, reason;
    std::vector<std::string> words;
};
struct DraftOptions {
    std::string file, id;
};
struct DraftsOptions {
    std::string file, id;            ///< without an id all are listed
    std::vector<std::string> words;  ///< what to type into it
    Format format = Format::table;
};
struct ListOptions {
    std::string file, kind, sort, since;
    std::vector<std::string> where, columns;
    std::size_t limit = 50;  ///< 0 = all
    Format format = Format::table;
};
struct SearchOptions {
    std::string file;
    std::vector<std::string> words, kinds;
    std::string customer;
    std::size_t limit = 20, offset = 0;
    Format format = Format::table;
};
struct ShowOptions {
    std::string file, id;
    Format format = Format::table;
};
struct StatusOptions {
    std::string file;
    Format format = Format::table;
};
struct DepartedOptions {
    std::string file;
    std::size_t limit = 50;  ///< 0 = all
    Format format = Format::table;
};
struct LoopOptions {
    std::string file;
    Format format = Format::table;
};
struct ConflictsOptions {
    std::string file;
    Format format = Format::table;
};
struct ResolveOptions {
    std::string file, conflict;
    std::optional<std::string> keep, value;
};
struct SyncOptions {
    std::string file;
    std::string budget;                ///< `20s`; empty = the library's default
    std::optional<std::string> watch;  ///< interval between rounds; absent = one round
    bool compare = false;              ///< what is confirmed with what the server has
    Format format = Format::table;
};
struct ImportOptions {
    std::string file, data;  ///< `-` = standard input
};
struct ExportOptions {
    std::string file, kind;
    bool unsent = false;
};
struct DoctorOptions {
    std::string file;
    std::string salvage;  ///< the new file; empty = only look
    Format format = Format::table;
};

int init(const InitOptions& options);
int enrol(const EnrolOptions& options);
int logout(const LogoutOptions& options);
int login(const LoginOptions& options);
int add(const AddOptions& options);
int set(const SetOptions& options);
int request(const RequestOptions& options);
int drafts(const DraftsOptions& options);
int submit(const DraftOptions& options);
int discard(const DraftOptions& options);
int list(const ListOptions& options);
int search(const SearchOptions& options);
int show(const ShowOptions& options);
int status(const StatusOptions& options);
int departed(const DepartedOptions& options);
int loop(const LoopOptions& options);
int conflicts(const ConflictsOptions& options);
int resolve(const ResolveOptions& options);
int sync(const SyncOptions& options);
int import_lines(const ImportOptions& options);
int export_lines(const ExportOptions& options);
int doctor(const DoctorOptions& options);
/// `kind` empty = all.
int schema(const std::string& kind);

// ---- what they share

/// Opens a file that `init` made. Errors: Failure when there is none; what Store::open throws.
Store open_store(const std::string& file, bool read_only,
                 Milliseconds lock_wait = Milliseconds{5000});

/// Prints `rapport: sentence` on standard error.
void complain(const std::string& sentence);
/// The language of refusals: `--lang`, else what LC_ALL, LC_MESSAGES or LANG name, else English.
Language language();
/// Errors: Failure(kUsage) for another than de and en.
void use_language(const std::string& name);

/// One refusal for people, in their language: `field: sentence (code)`.
std::string sentence_of(const Refusal& refusal);
/// The same without the code.
std::string plain_sentence_of(const Refusal& refusal);

/// Errors: Failure that names the nearest kind.
const Kind& kind_called(const std::string& name);
/// A full id or `@system:id`. Errors: Failure when it is neither, or nothing has it.
RecordId id_called(const Store& store, const std::string& text);
/// What `@system:id` and full ids in field values stand for.
ResolveReference references_in(const Store& store);

/// The candidate that was probably meant; empty if none is near.
std::string_view nearest(std::string_view typed, const std::vector<std::string_view>& candidates);
/// `a, b, c`.
std::string listed(const std::vector<std::string_view>& names);
/// `; did you mean X?` for the candidate nearest to what was typed; if none is near, all of them
/// after the words `all`, or nothing.
std::string suggestion(std::string_view typed, const std::vector<std::string_view>& candidates,
                       std::string_view all = {});

/// `500ms`, `20s`, `5m`, `2h`, `7d`, `2w`. Errors: Failure.
Milliseconds duration_called(const std::string& text);
/// RFC 3339, a date (local midnight), or a duration before now. Errors: Failure.
Instant moment_called(const std::string& text);

}  // namespace rapport::cli
