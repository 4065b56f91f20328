// SPDX-License-Identifier: Apache-2.0
#include <unistd.h>

#include <filesystem>
#include <iostream>

#include "command.hpp"
#include "shown.hpp"

namespace rapport::cli {

namespace {

int save_what_is_left(const DoctorOptions& options) {
    const Salvage result = salvage(options.file, options.salvage);
    {
        Rows rows(std::cout, options.format, {"table", "rows", "lost", "every page read"},
                  terminal_width(STDOUT_FILENO));
        for (const Salvage::Table& table : result.tables)
            if (table.rows + table.lost > 0 || !table.complete)
                rows.add({table.name, table.rows, table.lost, table.complete});
    }
    for (const std::string& remark : result.remarks) complain(options.salvage + ": " + remark);
    if (options.format == Format::table)
        std::cout << '\n'
                  << options.salvage << " has " << counted(result.unsent, "bundle")
                  << " of unsent work"
                  << (result.goes_on ? " and goes on where the old file stood; do not use both\n"
                                     : "\n");
    return result.whole() ? kDone : kRefused;
}

std::string acknowledged(const Diagnosis& diagnosis) {
    if (diagnosis.sent == 0) return "nothing was sent yet";
    std::string text = counted(diagnosis.sent, "bundle") + " sent, the server acknowledges up to " +
                       std::to_string(diagnosis.receipt);
    for (std::size_t i = 0; i < diagnosis.unanswered.size(); ++i)
        text += (i == 0 ? "; no answer yet to " : ", ") + std::to_string(diagnosis.unanswered[i]);
    return text;
}

}  // namespace

int doctor(const DoctorOptions& options) {
    if (!options.salvage.empty()) return save_what_is_left(options);
    std::optional<Store> store;
    try {
        store.emplace(open_store(options.file, true));
    } catch (const Error& error) {
        if (error.code() != ErrorCode::storage_damaged && error.code() != ErrorCode::storage_failed)
            throw;
        complain(options.file + ": " + error.what());
        complain("`rapport doctor " + options.file + " --salvage NEW` saves what can be read");
        return kRefused;
    }
    const Diagnosis diagnosis = store->diagnose();
    if (options.format == Format::table) {
        std::error_code error;
        const auto size = std::filesystem::file_size(options.file, error);
        std::cout << options.file << (error ? "" : ": " + bytes_shown(size));
        try {
            const Overview o = store->overview();
            std::cout << ", file " << o.file_id << ", "
                      << counted(o.drafts + o.queued + o.sent + o.refused + o.waiting, "bundle")
                      << " not yet received, " << counted(o.conflicts, "open conflict");
        } catch (const Error&) {  // the findings say why
        }
        std::cout << '\n' << acknowledged(diagnosis) << "\n\n";
    }
    {
        Rows rows(std::cout, options.format, {"kind", "records", "unsent"},
                  terminal_width(STDOUT_FILENO));
        for (const Diagnosis::Count& count : diagnosis.counts)
            rows.add({count.kind->name, count.records, count.unsent});
    }
    for (const std::string& finding : diagnosis.findings) complain(options.file + ": " + finding);
    if (!diagnosis.findings.empty()) {
        complain("keep a copy of the file before anything else; `rapport doctor " + options.file +
                 " --salvage NEW` saves what can be read");
        return kRefused;
    }
    if (options.format == Format::table) std::cout << "\nsound\n";
    return kDone;
}

}  // namespace rapport::cli
