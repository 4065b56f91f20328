// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "model/lifecycle.hpp"
#include "server/round.hpp"
#include "server/storage.hpp"

namespace rapport::server {

/// {system, id} of a record in another system.
using ExternalName = std::pair<std::string, std::string>;

/// What one bundle makes of the records it touches, in memory until save(): one that is refused
/// leaves no trace.
///
/// Whatever is read here shows the bundle's own changes as well. References to records stay valid
/// as long as it lives. Ownership: borrows its Round.  Thread-safety: confined.
class Changeset {
public:
    /// `bundle` is `<writer>.<counter>` and `author` a name, both for the feed and the history.
    Changeset(Round& round, std::string tenant, std::string bundle, std::string author);

    const std::string& tenant() const { return tenant_; }
    /// Null if the tenant has no such record and this bundle makes none.
    StoredRecord* find(const RecordId& id);
    /// The same for who only looks at it now: until it is found to be changed it is not copied.
    const StoredRecord* look_at(const RecordId& id);
    /// A new record without scope. There must be none with this id.
    StoredRecord& create(const Kind& kind, const RecordId& id);
    /// The same, with what says that the server made it now.
    StoredRecord& create_as_server(const Kind& kind, const RecordId& id, Stamp stamp);
    bool is_new(const StoredRecord& record) const;
    /// What becomes of the record is not what its device makes of it.
    void not_as_sent(const StoredRecord& record) { held(record).only_as_sent = false; }
    /// The record will be saved, and so reach everybody in its scope, also if nothing in it
    /// changes.
    void touch(const StoredRecord& record);

    /// Where a customer's records belong: itself, or the one it was merged into at last.
    StoredRecord& standing(StoredRecord& customer);
    const StoredRecord& standing(const StoredRecord& customer);
    /// The record hangs on what `on` hangs on (on it, if it is a customer), and lives where that
    /// customer lives now; without a customer it lives where `on` does.
    void hang(StoredRecord& record, const StoredRecord& on);
    /// The record has left `from` for the scope it has now: its move number rises, and who reads
    /// `from` is told.
    void depart(StoredRecord& record, const std::string& from);

    /// Merges a write of a device; what leaves becomes history, and what had been replaced before
    /// it came.
    void merge(StoredRecord& record, const Field& field, const Write& write, Dot dot);
    /// Makes a field show this content by a write of the server that replaces all live values. A
    /// field that shows it already is not written. Returns whether it was written.
    bool write(StoredRecord& record, const Field& field, const Content& content, Stamp stamp);
    /// The same for a register by its name; a kind without such a field is a broken rule of our
    /// own.
    bool write(StoredRecord& record, std::string_view field, Value value, Stamp stamp);

    /// Joins a field as a device saw it confirmed before the server was restored. `hidden` says
    /// which live values the device was not shown, so that it cannot have seen them go. Returns
    /// whether anything changed.
    bool join(StoredRecord& record, const Field& field, const FieldState& witnessed,
              const std::function<bool(const LiveValue&)>& hidden);

    struct Unseen {
        RecordId record;
        const Field* field;
        LiveValue value;
    };
    /// Values that came and left, or never entered, although who replaced their dots may not have
    /// seen them: what a file put back writes stands under counters that were used before.
    const std::vector<Unseen>& replaced_unseen() const { return replaced_unseen_; }

    /// The workflow of a kind: its newest StateTable, else what this build brings; null for kinds
    /// without states.
    const Lifecycle* lifecycle(const Kind& kind);
    /// Records of a kind whose `subject_id` is `subject`.
    std::vector<StoredRecord*> about(const RecordId& subject, const Kind& kind);
    /// Records of a customer that name `theme` among their `theme_ids`.
    std::vector<StoredRecord*> linked_to(const RecordId& theme, const RecordId& customer);
    /// A record of the kind other than `except` that has this id in another system.
    std::optional<RecordId> other_holder(const Kind& kind, const RecordId& except,
                                         const ExternalName& name);

    bool empty() const { return order_.empty(); }
    /// Gives the touched records the feed's next commit and puts each once at the head of its
    /// stream.
    void save();
    /// Lets the transaction have the saved records, for who reads them next; only to be destroyed
    /// afterwards.
    void give_up();

private:
    struct Held {
        StoredRecord record;
        bool is_new = false, touched = false, external_ids_written = false, links_written = false;
        bool only_as_sent = true;
    };
    Held& held(const StoredRecord& record) { return held_.at(record.state.id); }
    void note_written(StoredRecord& record, const Field& field, std::vector<LiveValue> left);
    bool is_of_another_file(const Field& field, const LiveValue& value) const;
    bool is_covered_unseen(const StoredRecord& record, const Field& field, const FieldState& before,
                           const LiveValue& value);
    bool has_left(const StoredRecord& record, const Field& field, const LiveValue& value);
    bool was_replaced_before(const FieldState& state, const Write& write, Dot dot);
    bool name_offered_before(FieldState& state, const Write& write, Dot dot);
    void know_offered_before(StoredRecord& record, const Field& field, const Write& write, Dot dot);
    FieldState without_twins(const FieldState& present, FieldState witnessed);

    Round& round_;
    const std::string tenant_, bundle_, author_;
    std::map<RecordId, Held> held_;
    std::map<RecordId, std::shared_ptr<const StoredRecord>> seen_;  ///< that are not held
    std::vector<RecordId> order_;                                   ///< of the touched ones
    std::vector<HistoryLine> history_;
    std::vector<Unseen> replaced_unseen_;
    std::vector<StoredDeparture> departures_;
    /// That were looked up since a state table was changed here.
    std::map<std::pair<std::string, std::uint16_t>, Lifecycle> lifecycles_;
    /// Who took which name in another system here, and may have given it up again.
    std::map<std::pair<std::uint16_t, ExternalName>, std::vector<RecordId>> takers_;
};

/// What a record shows in the field of this name; empty if its kind has none.
Content shown(const StoredRecord& record, std::string_view field);
/// The single value it shows there; null if unset.
Value shown_value(const StoredRecord& record, std::string_view field);
/// The text of that value; empty if unset.
std::string shown_text(const StoredRecord& record, std::string_view field);
/// The record it names there; nil if none.
RecordId shown_reference(const StoredRecord& record, std::string_view field);

std::vector<ExternalName> external_names(const Content& external_ids);

}  // namespace rapport::server
