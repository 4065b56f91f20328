// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "rapport/kind.hpp"

namespace rapport {

/// How a device file stands, from the first page to what the server has acknowledged.
struct Diagnosis {
    /// One sentence per thing that should not be; empty = sound.
    std::vector<std::string> findings;
    struct Count {
        const Kind* kind;
        std::size_t records;  ///< departed ones too
        std::size_t unsent;   ///< with work the server has not taken, drafts too
    };
    std::vector<Count> counts;  ///< kinds with records
    std::uint64_t receipt = 0;  ///< up to this number the server has answered every bundle
    std::uint64_t sent = 0;     ///< up to this number bundles were sent
    std::vector<std::uint64_t> unanswered;  ///< numbers of bundles sent without an answer so far
};

/// What `salvage` could read.
struct Salvage {
    struct Table {
        std::string name;
        std::size_t rows = 0;   ///< carried over
        std::size_t lost = 0;   ///< rows that were there and do not make sense
        bool complete = false;  ///< every page of it could be read
    };
    std::vector<Table> tables;
    std::vector<std::string> remarks;  ///< what was mended, what is missing, what to do next
    std::size_t unsent = 0;            ///< bundles with unsent work in the new file, drafts too
    /// Can the new file go on with its server where the damaged one stood? Else its next sync is
    /// told to recover, and until then nothing leaves it.
    bool goes_on = false;
    bool whole() const;
};

/// Makes a new device file with everything that can be read of a damaged one: identity, unsent
/// work, drafts, then what the server had confirmed. Works on pages, not through SQLite, so that a
/// lost page costs what stands on it. Writes only to `fresh`, and to that as a whole or not at all.
/// No process may have the damaged file open. Errors: not_found; conflict when `fresh` exists;
/// storage_damaged when nothing can be read.
Salvage salvage(const std::string& damaged, const std::string& fresh);

}  // namespace rapport
