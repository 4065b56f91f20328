// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "command.hpp"

namespace rapport::cli {

/// One `f=v` as it was typed.
struct Assignment {
    enum class Op : std::uint8_t {
        set,     ///< `f=v`; an empty value clears
        json,    ///< `f:=JSON`
        add,     ///< `f+=a,b`
        remove,  ///< `f-=a`
    };
    std::string name;  ///< `field`, `group.part` or `ext.key`
    Op op = Op::set;
    std::string value;
};
/// Errors: Failure(kUsage) when it has no `=` or no name.
Assignment assignment_called(const std::string& word);

/// Collects the assignments of one record into its edit. Parts of one group become one value, over
/// what the group shows.
///
/// Ownership: borrows its arguments.  Confined.
class RecordWords {
public:
    /// `present` is the record as it stands; null when it is new.
    RecordWords(const Kind& kind, const RecordId& id, const Record* present,
                const ResolveReference& resolve);

    /// Appends a refusal for a name or value that does not fit.
    void take(const Assignment& assignment, std::vector<Refusal>& refusals);
    const RecordEdit& edit() const { return edit_; }

private:
    void take_part(const Field& field, const std::string& part_name, const Assignment& assignment,
                   std::vector<Refusal>& refusals);
    void take_key(const Field& field, const std::string& key, const Assignment& assignment,
                  std::vector<Refusal>& refusals);
    FieldEdit& edit_of(const Field& field, FieldEdit::Op op);

    const Record* present_;
    const ResolveReference& resolve_;
    RecordEdit edit_;
};

/// One typed value of a field, or of a part of a group, as a query compares it: null for an empty
/// text. Errors: Failure when it does not fit the field.
Value value_called(const Field& field, std::string_view part, const std::string& text,
                   const ResolveReference& resolve);

/// The content a person typed for a whole field: JSON for groups and maps when it begins like it,
/// else text.
std::optional<Content> content_called(const Field& field, const std::string& text,
                                      const ResolveReference& resolve, const RecordId& record,
                                      std::vector<Refusal>& refusals);

}  // namespace rapport::cli
