// SPDX-License-Identifier: Apache-2.0
#include <unistd.h>

#include <iostream>

#include "command.hpp"
#include "shown.hpp"

namespace rapport::cli {

namespace {

// Searching may write its index, but need not: somebody else may be writing the file.
Store open_to_search(const std::string& file) {
    try {
        return open_store(file, false, Milliseconds{200});
    } catch (const Error& error) {
        if (error.code() != ErrorCode::storage_busy && error.code() != ErrorCode::storage_failed)
            throw;
        return open_store(file, true);
    }
}

std::string ranges_json(const std::vector<TextRange>& ranges) {
    std::string out = "[";
    for (const TextRange& range : ranges)
        out += (out.size() > 1 ? ",[" : "[") + std::to_string(range.begin) + "," +
               std::to_string(range.end) + "]";
    return out + "]";
}

// The snippet with its hits in bold, or between brackets where nothing can be bold.
std::string marked(const SearchHit& hit, bool terminal) {
    const auto piece = [&](std::size_t begin, std::size_t end) {
        return fitted(std::string_view(hit.snippet).substr(begin, end - begin), SIZE_MAX);
    };
    std::string out;
    std::size_t at = 0;
    for (const TextRange& range : hit.snippet_ranges) {
        out += piece(at, range.begin) + (terminal ? "\033[1m" : "[") +
               piece(range.begin, range.end) + (terminal ? "\033[0m" : "]");
        at = range.end;
    }
    return out + piece(at, hit.snippet.size());
}

}  // namespace

int search(const SearchOptions& options) {
    SearchRequest request;
    for (const std::string& word : options.words)
        request.text += (request.text.empty() ? "" : " ") + word;
    for (const std::string& kind : options.kinds) request.kinds.push_back(&kind_called(kind));
    request.limit = options.limit;
    request.offset = options.offset;
    Store store = open_to_search(options.file);
    if (!options.customer.empty()) request.customer = id_called(store, options.customer);
    if (SearchPage page = store.search(request); page.behind) try {
            while (store.index_some()) {
            }
        } catch (const Error& error) {
            if (error.code() != ErrorCode::storage_busy) throw;  // opened for reading only
        }
    const SearchPage page = store.search(request);

    if (options.format != Format::table) {
        Rows rows(std::cout, options.format,
                  {"kind", "id", "field", "ranges", "snippet", "snippet_ranges", "rank"}, 0);
        for (const SearchHit& hit : page.hits)
            rows.add({hit.kind->name, Cell::whole(hit.id.text()), hit.field,
                      Cell::raw(ranges_json(hit.ranges)), hit.snippet,
                      Cell::raw(ranges_json(hit.snippet_ranges)), hit.rank});
        rows.finish();
    } else {
        const bool terminal = ::isatty(STDOUT_FILENO) != 0;
        Reader reader(store);
        for (const SearchHit& hit : page.hits) {
            const auto record = store.find(hit.id);
            const Value customer = record ? record->value("customer_id") : Value();
            const auto* raw = customer.text();
            const auto id = raw ? RecordId::from_bytes(*raw) : std::nullopt;
            std::cout << hit.kind->name << ' ' << hit.id.text()
                      << (id ? "  " + fitted(reader.label(*id), 48) : "") << "\n    " << hit.field
                      << ": " << marked(hit, terminal) << '\n';
        }
        if (page.hits.empty()) std::cout << "nothing found\n";
    }
    if (page.more)
        complain("there is more; --offset " + std::to_string(options.offset + page.hits.size()) +
                 " shows it");
    if (page.behind)
        complain(
            "some records are not in the search index yet, because another process is writing "
            "the file");
    return kDone;
}

}  // namespace rapport::cli
