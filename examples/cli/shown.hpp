// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <unordered_map>
#include <vector>

#include "rapport/store.hpp"

/// Values as a person or a spreadsheet reads them.
namespace rapport::cli {

/// One value without decoration, as `f=v` takes it: codes, RFC 3339, full ids.
std::string plain(const TypeInfo& type, const Value& value);
/// A field's content for a spreadsheet: registers plain, a list of plain elements joined by commas,
/// else JSON.
std::string plain(const Field& field, const Content& content);

/// `2026-03-02 09:30` in the zone in which it was noted.
std::string minute(const Instant& instant);
/// The same moment in this machine's zone, to the second.
std::string local_second(const Instant& instant);
/// `1.4 KiB`.
std::string bytes_shown(std::uint64_t bytes);
/// `1 bundle`, `2 bundles`.
std::string counted(std::size_t n, const std::string& noun);
/// `2 bundles, 1 draft`: what of a user who has logged out waits for them.
std::string waiting_of(const LoggedOut& user);

/// Values for people: amounts with their decimals, references by the name of what they refer to.
///
/// Ownership: borrows its store; remembers the names it looked up.  Confined.
class Reader {
public:
    explicit Reader(const Store& store) : store_(store) {}

    std::string shown(const Field& field, const Content& content);
    /// What tells a person which record it is: name, title, its first words, else kind and time.
    std::string label(const Record& record);
    std::string label(const RecordId& id);

private:
    std::string value(const TypeInfo& type, const Value& value);
    const Store& store_;
    std::unordered_map<RecordId, std::string> labels_;
};

/// A column of a list: a field or a part of a group.
struct Column {
    std::string name;  ///< `field` or `group.part`
    const Field* field = nullptr;
    const PartInfo* part = nullptr;  ///< of a group
    std::size_t part_index = 0;
    /// What of the content this column shows: all of it, or the part.
    Content of(const Record& record) const;
};
/// Errors: Failure that names the nearest field or part.
Column column_called(const Kind& kind, const std::string& name);
/// The columns of a list for people: what tells records of this kind apart.
std::vector<Column> telling_columns(const Kind& kind);
/// Every column of the kind, groups by their parts.
std::vector<Column> all_columns(const Kind& kind);

}  // namespace rapport::cli
