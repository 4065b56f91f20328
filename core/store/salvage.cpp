// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <cstdio>
#include <filesystem>
#include <map>
#include <set>

#include "model/bundle.hpp"
#include "model/clock.hpp"
#include "rapport/environment.hpp"
#include "sqlite/wreck.hpp"
#include "store/comparison.hpp"
#include "store/doctor.hpp"
#include "store/erasure.hpp"
#include "store/identity.hpp"
#include "store/needs.hpp"
#include "store/pending.hpp"
#include "store/schema.hpp"

namespace rapport {
namespace {

using sqlite::RawRow;
using sqlite::RawValue;

// Rows on pages that no tree leads to any more are known by their shape alone. Of these tables none
// is like another; what the others hold can be derived, or is only of use as a whole.
constexpr std::array<std::string_view, 5> kKnownByShape{"meta", "bundle", "change", "author",
                                                        "external_id"};
constexpr std::array<std::string_view, 28> kMetaKeys{
    "file",          "rep",      "clock",      "identity",    "enrolment_secret", "next_secret",
    "limits",        "counter",  "run",        "last_sync",   "server_offset_ms", "stamps_final",
    "captures",      "recovery", "declined",   "parent",      "renewal",          "scopes_changed",
    "erasures_done", "anew",     "compare_at", "compared_at", "mended",           "mended_at",
    "differing",     "revoked",  "forked_at",  "recovered_at"};

// What the server never hears of.
constexpr std::array<std::string_view, 3> kOursAlone{"draft_text", "author", "external_id"};

template <std::size_t N>
bool is_one_of(const std::array<std::string_view, N>& list, std::string_view name) {
    return std::find(list.begin(), list.end(), name) != list.end();
}

struct Target {
    struct Place {
        std::string name, type, otherwise;
        bool required = false;
        int from = -1;  // in the damaged file's rows; none: this build's column is new
    };
    std::string name;
    const Kind* kind = nullptr;
    bool has_rowid = true;
    std::vector<Place> places;
    std::size_t width = 0;  // of the damaged file's rows
    std::uint32_t root = 0;
    Salvage::Table report;

    // Could the row be one of this table's?
    bool fits(const RawRow& row, bool exactly) const {
        if (row.has_rowid != has_rowid || row.values.size() > width ||
            (exactly && row.values.size() != width))
            return false;
        for (std::size_t i = 0; i < places.size(); ++i) {
            const Place& place = places[i];
            if (place.from < 0 || static_cast<std::size_t>(place.from) >= row.values.size())
                continue;
            const RawValue& value = row.values[static_cast<std::size_t>(place.from)];
            const bool is_row_number = has_rowid && i == 0;
            if (value.type == RawValue::Type::null) {
                if (place.required && !is_row_number) return false;
                continue;
            }
            if (is_row_number) return false;
            if ((place.type == "INTEGER" && value.type != RawValue::Type::integer) ||
                (place.type == "TEXT" && value.type != RawValue::Type::text) ||
                (place.type == "BLOB" && value.type != RawValue::Type::blob))
                return false;
            const bool is_id = place.name == "record" || (kind && place.name == "id");
            if (is_id && value.bytes.size() != 16) return false;
        }
        return true;
    }
};

class Salvaging {
public:
    Salvaging(const std::string& damaged, sqlite::Database& db) : wreck_(damaged), db_(db) {}

    Salvage run() {
        sqlite::Transaction transaction(db_);
        list_targets();
        find_trees();
        bool whole = true;
        for (Target& target : targets_) {
            target.report.complete =
                target.root != 0 &&
                wreck_.walk(target.root, [&](const RawRow& row) { carry(target, row, false); });
            whole = whole && target.report.complete;
        }
        if (!whole) take_strays();
        std::size_t rows = 0;
        for (const Target& target : targets_) rows += target.report.rows;
        if (rows == 0) throw Error(ErrorCode::storage_damaged, "nothing in the file can be read");
        mend();
        settle_conversation();
        erase_again(db_);  // rows may have come from free pages
        transaction.commit();
        for (const std::string& finding : diagnose(db_).findings) remark(finding);
        for (Target& target : targets_) salvage_.tables.push_back(std::move(target.report));
        return std::move(salvage_);
    }

private:
    void remark(std::string sentence) { salvage_.remarks.push_back(std::move(sentence)); }
    // What was not as it should be, so that nothing the server relies on can be taken for granted.
    void mended(std::size_t count, const std::string& sentence) {
        if (count == 0) return;
        remark(std::to_string(count) + " " + sentence);
        mended_ = true;
    }

    // ---- which tables, and where they begin

    static std::vector<Target::Place> columns_in(sqlite::Database& db, const std::string& table) {
        std::vector<Target::Place> places;
        auto select = db.prepare(
            "SELECT name, type, coalesce(dflt_value,''), \"notnull\" FROM pragma_table_info(?)");
        select.bind(1, table);
        while (select.step())
            places.push_back({std::string(select.text(0)), std::string(select.text(1)),
                              std::string(select.text(2)), select.integer(3) != 0, -1});
        return places;
    }

    void list_targets() {
        auto select = db_.prepare("SELECT name, sql FROM sqlite_schema WHERE type='table'");
        while (select.step()) {
            Target target;
            target.name = target.report.name = select.text(0);
            target.kind = kind_named(target.name);
            target.has_rowid = select.text(1).find("WITHOUT ROWID") == std::string_view::npos;
            target.places = columns_in(db_, target.name);
            targets_.push_back(std::move(target));
        }
    }

    void find_trees() {
        std::map<std::string, std::pair<std::uint32_t, std::string>> found;
        const auto take = [&](const RawRow& row) {
            const auto& v = row.values;
            if (!row.has_rowid || v.size() != 5 || v[0].bytes != "table" ||
                v[3].type != RawValue::Type::integer || v[3].integer < 2 ||
                v[3].integer > wreck_.pages() || v[4].bytes.rfind("CREATE TABLE", 0) != 0)
                return;
            found.emplace(v[1].bytes,
                          std::pair(static_cast<std::uint32_t>(v[3].integer), v[4].bytes));
        };
        if (!wreck_.walk(1, take)) wreck_.strays(take);
        for (Target& target : targets_) {
            std::vector<Target::Place> theirs = target.places;
            if (const auto it = found.find(target.name); it != found.end()) {
                target.root = it->second.first;
                theirs = columns_by(it->second.second, target);
            }
            target.width = theirs.size();
            for (Target::Place& place : target.places)
                for (std::size_t i = 0; i < theirs.size(); ++i)
                    if (theirs[i].name == place.name) place.from = static_cast<int>(i);
        }
    }

    // As the file's own build made the table; later builds append columns.
    static std::vector<Target::Place> columns_by(const std::string& sql, const Target& target) {
        try {
            sqlite::Database scratch = sqlite::Database::open(":memory:", {});
            scratch.execute(sql);
            if (auto places = columns_in(scratch, target.name); !places.empty()) return places;
        } catch (const Error&) {
        }
        return target.places;
    }

    // ---- rows

    void carry(Target& target, const RawRow& row, bool stray) {
        if (!target.fits(row, stray)) {
            ++target.report.lost;
            return;
        }
        // A stray's number may have been given again.
        const bool new_number = stray && target.kind;
        std::string names, values;
        std::vector<const RawValue*> bound;
        RawValue number;
        for (std::size_t i = 0; i < target.places.size(); ++i) {
            const Target::Place& place = target.places[i];
            if (place.from < 0 || (i == 0 && new_number)) continue;
            const auto at = static_cast<std::size_t>(place.from);
            names += (names.empty() ? "" : ",") + identifier(place.name);
            values += values.empty() ? "" : ",";
            values += place.required && !place.otherwise.empty()
                          ? "coalesce(?," + place.otherwise + ")"
                          : "?";
            if (i == 0 && target.has_rowid) {
                number = {RawValue::Type::integer, row.rowid, {}};
                bound.push_back(&number);
            } else {
                bound.push_back(at < row.values.size() ? &row.values[at] : nullptr);
            }
        }
        try {
            auto insert = db_.prepare("INSERT OR IGNORE INTO " + identifier(target.name) + "(" +
                                      names + ") VALUES(" + values + ")");
            for (std::size_t i = 0; i < bound.size(); ++i) {
                const int index = static_cast<int>(i) + 1;
                if (bound[i])
                    insert.bind(index, *bound[i]);
                else
                    insert.bind_null(index);
            }
            insert.run();
            target.report.rows += static_cast<std::size_t>(db_.changes());
        } catch (const Error&) {
            ++target.report.lost;
        }
    }

    void take_strays() {
        // First what says of which kind a record is.
        wreck_.strays([&](const RawRow& row) {
            for (Target& target : targets_) {
                if (target.report.complete || !is_one_of(kKnownByShape, target.name) ||
                    !target.fits(row, true))
                    continue;
                if (target.name == "meta" && !is_one_of(kMetaKeys, row.values[0].bytes)) continue;
                if (target.name == "bundle" &&
                    (row.values[1].integer < 0 || row.values[1].integer > 3))
                    continue;
                carry(target, row, true);
                return;
            }
        });
        std::size_t doubtful = 0;
        wreck_.strays([&](const RawRow& row) {
            std::vector<Target*> fitting;
            for (Target& target : targets_)
                if (target.kind && !target.report.complete && target.fits(row, true))
                    fitting.push_back(&target);
            if (fitting.size() > 1) {
                auto select = db_.prepare("SELECT kind FROM change WHERE record=? LIMIT 1");
                select.bind_blob(1, row.values[1].bytes);
                const bool known = select.step();
                std::erase_if(fitting, [&](const Target* target) {
                    return !known || target->kind->number != select.integer(0);
                });
                if (fitting.empty()) ++doubtful;
            }
            if (fitting.size() == 1) carry(*fitting.front(), row, true);
        });
        if (doubtful > 0)
            remark(std::to_string(doubtful) + " rows could be of more than one kind and were left");
    }

    // ---- what belongs together

    void mend() {
        index_kinds_with_rows(db_);
        for (const Kind* kind : all_kinds()) mend_rows(*kind);
        mend_bundles();
        mend_changes();
        restore_from_sent();
        drop_orphans();
        for (const Kind* kind : all_kinds()) queue_forgotten(*kind);
        for (const Kind* kind : all_kinds()) refresh_rows(*kind);
        if (!everything_read()) note_external_ids();
        name_needs();
        auto count = db_.prepare("SELECT count(*) FROM bundle");
        count.step();
        salvage_.unsent = static_cast<std::size_t>(count.integer(0));
    }

    std::vector<std::int64_t> rows_where(const Kind& kind, const std::string& condition) {
        std::vector<std::int64_t> rows;
        auto select =
            db_.prepare("SELECT row FROM " + identifier(kind.name) + " WHERE " + condition);
        while (select.step()) rows.push_back(select.integer(0));
        return rows;
    }
    Row row_numbered(const Kind& kind, std::int64_t row) {
        auto select = db_.prepare(select_of(kind) + " WHERE row=?");
        select.bind(1, row);
        if (!select.step()) throw Error(ErrorCode::internal, "a row has gone");
        return row_at(select, kind);
    }

    // Where the confirmed state cannot be read, what the row shows is still worth having; the
    // server sends the rest again.
    void mend_rows(const Kind& kind) {
        std::size_t without_version = 0, dropped = 0;
        const std::string table = identifier(kind.name);
        for (const std::int64_t number : rows_where(kind, "true")) {
            try {
                row_numbered(kind, number);
                continue;
            } catch (const Error&) {
            }
            try {
                db_.prepare("UPDATE " + table +
                            " SET siblings=NULL, version=CASE WHEN EXISTS(SELECT "
                            "1 FROM change c WHERE c.record=" +
                            table + ".id AND c.creates) THEN NULL ELSE ?1 END WHERE row=?2")
                    .bind_blob(1, encode_fields(RecordState{}, false))
                    .bind(2, number)
                    .run();
                row_numbered(kind, number);
                ++without_version;
            } catch (const Error&) {
                db_.prepare("DELETE FROM " + table + " WHERE row=?").bind(1, number).run();
                ++dropped;
            }
        }
        mended(without_version, "of " + kind.name + " kept only what they showed");
        mended(dropped, "of " + kind.name + " made no sense");
        for (Target& target : targets_)
            if (target.kind == &kind) {
                target.report.rows -= std::min(dropped, target.report.rows);
                target.report.lost += dropped;
            }
        db_.execute("UPDATE " + table +
                    " SET status=status|2 WHERE status&3=0 AND id IN (SELECT record FROM change)");
    }

    // A bundle is little more than its number: changes whose bundle is lost are one again.
    void mend_bundles() {
        std::vector<std::int64_t> missing;
        auto select = db_.prepare(
            "SELECT DISTINCT bundle FROM change WHERE bundle NOT IN (SELECT id FROM bundle)");
        while (select.step()) missing.push_back(select.integer(0));
        select.reset();
        for (const std::int64_t bundle : missing) {
            bool draft = false;
            for (const auto& [id, kind] : records_of(db_, bundle)) {
                const auto row = kind ? load_row_or_none(*kind, id) : std::nullopt;
                draft = draft || (row && (row->status & (kRowDraft | kRowPending)) == kRowDraft);
            }
            db_.prepare("INSERT INTO bundle(id, state, captured_at) VALUES(?,?,?)")
                .bind_all(
                    bundle,
                    static_cast<std::int64_t>(draft ? BundleState::draft : BundleState::queued),
                    system_environment().now().packed())
                .run();
        }
        mended(missing.size(), "bundles were lost, but not what they carry");

        std::vector<std::int64_t> all, senseless;
        auto bundles = db_.prepare("SELECT id FROM bundle");
        while (bundles.step()) all.push_back(bundles.integer(0));
        for (const std::int64_t bundle : all) try {
                load_bundle(db_, bundle);
                if (!has_sound_needs(db_, bundle)) senseless.push_back(bundle);
            } catch (const Error&) {
                senseless.push_back(bundle);
            }
        for (const std::int64_t bundle : senseless)
            db_.prepare("UPDATE bundle SET reasons=NULL, former=NULL, needs=NULL WHERE id=?")
                .bind_all(bundle)
                .run();
        mended(senseless.size(), "bundles have lost what was said about them");
        forget_ids_to_come(db_);
    }

    std::optional<Row> load_row_or_none(const Kind& kind, const RecordId& id) {
        try {
            return load_row(db_, kind, id);
        } catch (const Error&) {
            return std::nullopt;
        }
    }

    // What was sent stands once more in the bytes that were sent.
    void restore_from_sent() {
        std::vector<std::pair<std::int64_t, std::string>> sent;
        auto select = db_.prepare("SELECT id, bytes FROM bundle WHERE bytes IS NOT NULL");
        while (select.step()) sent.emplace_back(select.integer(0), std::string(select.blob(1)));
        select.reset();
        std::size_t restored = 0, unreadable = 0;
        for (const auto& [bundle, bytes] : sent) {
            try {
                for (const Change& change : decode_bundle(bytes).changes)
                    restored += restore_change(bundle, change) ? 1U : 0U;
            } catch (const Error&) {
                ++unreadable;
            }
        }
        mended(restored, "changes were restored from what had been sent");
        mended(unreadable, "bundles are no longer as they were sent");
    }

    bool restore_change(std::int64_t bundle, const Change& change) {
        const Kind* kind = kind_numbered(change.kind);
        if (!kind) return false;
        auto known = db_.prepare("SELECT 1 FROM change WHERE bundle=? AND record=?");
        known.bind(1, bundle).bind(2, change.id);
        const bool has_change = known.step();
        auto loaded = load(db_, change.id);
        if (has_change && loaded) return false;
        if (!loaded) {
            loaded.emplace();
            Row& row = loaded->row;
            row.kind = kind;
            row.id = row.confirmed.id = change.id;
            row.confirmed.kind = kind->number;
            row.confirmed.scope = change.scope;
            row.confirmed_once = !change.create;
        }
        std::erase_if(loaded->pending, [&](const PendingChange& c) { return c.bundle == bundle; });
        PendingChange own;
        own.bundle = bundle;
        own.state = BundleState::frozen;
        own.kind = kind;
        own.record = change.id;
        own.creates = change.create;
        own.scope = change.scope;
        own.writes = change.writes;
        const auto at = std::find_if(loaded->pending.begin(), loaded->pending.end(),
                                     [&](const PendingChange& c) { return c.bundle > bundle; });
        loaded->pending.insert(at, std::move(own));
        save_with_pending(db_, loaded->row, loaded->pending);
        return true;
    }

    // A change that a disk has broken stands once more in the bytes that were sent; of what was not
    // sent, what can be read goes on.
    void mend_changes() {
        struct Broken {
            std::int64_t bundle;
            RecordId record;
            std::string mended;  // empty: nothing of it can be read
        };
        std::vector<Broken> broken;
        std::size_t values = 0, unreadable = 0;
        auto select = db_.prepare(
            "SELECT c.bundle, c.record, c.kind, c.writes, b.bytes FROM change c LEFT JOIN bundle b "
            "ON b.id=c.bundle");
        while (select.step()) {
            const Kind* kind = kind_numbered(static_cast<std::uint16_t>(select.integer(2)));
            Broken change{select.integer(0), select.id(1), {}};
            std::size_t mended_here = 0;
            try {
                StoredWrites stored(select.blob(3));
                mended_here = kind ? stored.mend(*kind) : 0;
                if (mended_here == 0) continue;
                change.mended = stored.encode();
            } catch (const Error&) {
            }
            if (was_sent(select.blob(4), change.record)) {
                change.mended.clear();  // restore_from_sent
            } else {
                values += mended_here;
                unreadable += change.mended.empty() ? 1U : 0U;
            }
            broken.push_back(std::move(change));
        }
        select.reset();
        for (const Broken& change : broken)
            if (change.mended.empty())
                db_.prepare("DELETE FROM change WHERE bundle=? AND record=?")
                    .bind_all(change.bundle, change.record)
                    .run();
            else
                db_.prepare("UPDATE change SET writes=? WHERE bundle=? AND record=?")
                    .bind_blob(1, change.mended)
                    .bind(2, change.bundle)
                    .bind(3, change.record)
                    .run();
        mended(values, "values of unsent work are as far as they could be read");
        mended(unreadable, "unsent changes could not be read");
    }

    static bool was_sent(std::string_view bytes, const RecordId& record) {
        try {
            const Bundle bundle = decode_bundle(bytes);
            return std::any_of(bundle.changes.begin(), bundle.changes.end(),
                               [&](const Change& change) { return change.id == record; });
        } catch (const Error&) {
            return false;
        }
    }

    void drop_orphans() {
        std::vector<std::pair<std::int64_t, RecordId>> lost;
        auto select = db_.prepare("SELECT bundle, record, kind FROM change");
        while (select.step()) {
            const Kind* kind = kind_numbered(static_cast<std::uint16_t>(select.integer(2)));
            const RecordId id = select.id(1);
            try {
                const auto row = kind ? load_row(db_, *kind, id) : std::nullopt;
                if (!row) lost.emplace_back(select.integer(0), id);
            } catch (const Error&) {
                lost.emplace_back(select.integer(0), id);
            }
        }
        select.reset();
        for (const auto& [bundle, record] : lost)
            db_.prepare("DELETE FROM change WHERE bundle=? AND record=?")
                .bind_all(bundle, record)
                .run();
        db_.execute(
            "DELETE FROM draft_text WHERE record NOT IN (SELECT c.record FROM change c JOIN bundle "
            "b "
            "ON b.id=c.bundle WHERE b.state=0)");
        mended(lost.size(), "unsent changes are lost with their records");
        std::vector<std::int64_t> empty;
        auto bundles =
            db_.prepare("SELECT id FROM bundle WHERE id NOT IN (SELECT bundle FROM change)");
        while (bundles.step()) empty.push_back(bundles.integer(0));
        bundles.reset();
        for (const std::int64_t bundle : empty) delete_bundle(db_, bundle);
        mended(empty.size(), "bundles had nothing left in them");
    }

    // A record the server does not know, and of which no change says that it is to be sent: it is
    // captured again as it stands, under its id.
    void queue_forgotten(const Kind& kind) {
        const auto rows = rows_where(
            kind, "version IS NULL AND id NOT IN (SELECT record FROM change WHERE creates)");
        for (const std::int64_t number : rows) {
            Row row = row_numbered(kind, number);
            const BundleState state = (row.status & (kRowDraft | kRowPending)) == kRowDraft
                                          ? BundleState::draft
                                          : BundleState::queued;
            PendingChange change;
            change.bundle = next_bundle(db_);
            insert_bundle(db_, change.bundle, state, system_environment().now(), {});
            change.state = state;
            change.kind = &kind;
            change.record = row.id;
            change.creates = true;
            if (kind.home == Home::territory) change.scope = row.confirmed.scope;
            const Stamp stamp = next_stamp();
            const std::uint64_t capture = capture_number(stamp);
            for (const auto& [field_number, content] : row.shown) {
                const Field* field = kind.field(field_number);
                if (!field || field->policy == Policy::owned || content.empty()) continue;
                if (field_number == common_field::state && field->marks.writers.empty()) continue;
                Write write{field_number, {}, {}, {}, {}, {}};
                for (const Item& item : content)
                    write.adds.push_back({item.key, item.value, stamp, {file(), capture}});
                change.writes.push_back(std::move(write));
            }
            save_with_pending(db_, row, {change});
        }
        mended(rows.size(), "of " + kind.name + " were captured again as they stand");
    }

    std::uint64_t file() {
        if (!meta_integer(db_, "file"))
            set_meta(db_, "file",
                     std::max<std::int64_t>(
                         static_cast<std::int64_t>(system_environment().random64() >> 1), 1));
        return static_cast<std::uint64_t>(*meta_integer(db_, "file"));
    }
    Stamp next_stamp() {
        HybridClock clock(static_cast<Stamp>(meta_integer(db_, "clock").value_or(0)));
        const Stamp stamp = clock.tick(system_environment().now().at.time_since_epoch().count() +
                                       meta_integer(db_, "server_offset_ms").value_or(0));
        set_meta(db_, "clock", static_cast<std::int64_t>(stamp));
        return stamp;
    }

    // A clock that was set back gives no number twice.
    std::uint64_t capture_number(Stamp stamp) {
        const auto given = static_cast<std::uint64_t>(meta_integer(db_, "captures").value_or(0));
        if (stamp > given) return stamp;
        set_meta(db_, "captures", static_cast<std::int64_t>(given + 1));
        return given + 1;
    }

    void refresh_rows(const Kind& kind) {
        Stamp newest = 0;
        for (const std::int64_t number : rows_where(kind, "status<>0")) {
            Row row = row_numbered(kind, number);
            const auto pending = load_pending(db_, row);
            for (const PendingChange& change : pending)
                for (const Write& write : change.writes)
                    for (const Added& add : write.adds) newest = std::max(newest, add.stamp);
            save_with_pending(db_, row, pending);
        }
        if (newest > static_cast<Stamp>(meta_integer(db_, "clock").value_or(0)))
            set_meta(db_, "clock", static_cast<std::int64_t>(newest));
    }

    // They follow from the rows.
    void note_external_ids() {
        db_.execute("DELETE FROM external_id");
        for (const Kind* kind : all_kinds())
            if (kind->field(common_field::external_ids))
                for (const std::int64_t number : rows_where(*kind, "true")) {
                    Row row = row_numbered(*kind, number);
                    save_row(db_, row);
                }
    }

    bool everything_read() const {
        return std::all_of(targets_.begin(), targets_.end(), [](const Target& target) {
            return target.report.complete && target.report.lost == 0;
        });
    }
    // Of this column as well, if one is named: an earlier build had none.
    bool complete(std::string_view table, std::string_view column = {}) const {
        return std::any_of(targets_.begin(), targets_.end(), [&](const Target& target) {
            return target.name == table && target.report.complete && target.report.lost == 0 &&
                   std::none_of(target.places.begin(), target.places.end(), [&](const auto& place) {
                       return place.name == column && place.from < 0;
                   });
        });
    }

    // Too many only keep an order that was so anyway; one too few would send out of order.
    void name_needs() {
        if (complete("bundle", "needs") && !mended_) return;
        std::map<std::int64_t, std::vector<std::int64_t>> needs;
        auto same = db_.prepare(
            "SELECT DISTINCT later.bundle, earlier.bundle FROM change later JOIN change earlier ON "
            "later.record=earlier.record AND earlier.bundle<later.bundle");
        while (same.step()) needs[same.integer(0)].push_back(same.integer(1));
        auto changes = db_.prepare("SELECT bundle, record FROM change");
        while (changes.step()) {
            const auto row = load_row(db_, changes.id(1));
            if (!row) continue;
            for (const Field& field : row->kind->fields) {
                const auto shown = row->shown.find(field.number);
                if (field.type.shape != Shape::reference || shown == row->shown.end()) continue;
                for (const Item& item : shown->second) {
                    if (!item.value.text()) continue;
                    auto creating = db_.prepare(
                        "SELECT bundle FROM change WHERE record=? AND creates AND bundle<?");
                    creating.bind_blob(1, *item.value.text()).bind(2, changes.integer(0));
                    while (creating.step())
                        needs[changes.integer(0)].push_back(creating.integer(0));
                }
            }
        }
        for (const auto& [bundle, earlier] : needs) add_needs(db_, bundle, earlier);
    }

    // ---- what the server believes of this file

    // Entries and requests say what both sides have in common. That is only true if nothing is
    // missing of what they speak about.
    void settle_conversation() {
        auto highest = db_.prepare("SELECT max(counter) FROM bundle");
        highest.step();
        set_meta(db_, "counter",
                 std::max(meta_integer(db_, "counter").value_or(0), highest.integer(0)));
        highest.reset();
        std::optional<Identity> identity;
        mend_meta("identity", [&] { identity = stored_identity(db_); });
        mend_meta("limits", [&] { stored_limits(db_); });
        set_meta(db_, kCompareAt, std::int64_t{0});  // at once: no page vouches for what it holds
        bool whole = !mended_;
        for (const Target& target : targets_)
            whole = whole && (is_one_of(kOursAlone, target.name) ||
                              (target.report.complete && target.report.lost == 0));
        salvage_.goes_on = whole;
        if (whole) return;
        if (!identity && complete("meta")) {
            salvage_.goes_on = true;  // it never spoke with a server
            return;
        }
        std::vector<std::int64_t> frozen;
        auto select = db_.prepare("SELECT id FROM bundle WHERE state IN (2,4)");
        while (select.step()) frozen.push_back(select.integer(0));
        select.reset();
        for (const std::int64_t id : frozen) {
            BundleRow bundle = *load_bundle(db_, id);
            if (identity) bundle.former.push_back({identity->writer, bundle.counter});
            bundle.counter = 0;
            bundle.state = BundleState::queued;
            save_bundle(db_, bundle);
        }
        for (const char* table :
             {"entry", "entry_more", "offer", "touched", "request", "request_bundle", "staged",
              "staged_departure", "incomplete", "renewed", "awaited"})
            db_.execute(std::string("DELETE FROM ") + table);
        db_.execute("DELETE FROM meta WHERE key IN ('renewal', 'recovery')");
        remark(identity
                   ? "what this file and its server had in common is not certain any more: the "
                     "next sync goes on as a new device with everything that is unsent"
                   : "who this file is to its server is lost: it must be enrolled again");
    }

    template <class Read>
    void mend_meta(const std::string& key, Read read) {
        try {
            read();
        } catch (const Error&) {
            db_.prepare("DELETE FROM meta WHERE key=?").bind_all(key).run();
            mended(1, "entry of the file about itself made no sense: " + key);
        }
    }

    sqlite::Wreck wreck_;
    sqlite::Database& db_;
    std::vector<Target> targets_;
    bool mended_ = false;
    Salvage salvage_;
};

void remove_database(const std::string& path) {
    for (const char* ending : {"", "-wal", "-shm"}) std::remove((path + ending).c_str());
}

}  // namespace

bool Salvage::whole() const {
    return goes_on && remarks.empty() &&
           std::all_of(tables.begin(), tables.end(),
                       [](const Table& table) { return table.complete && table.lost == 0; });
}

Salvage salvage(const std::string& damaged, const std::string& fresh) {
    if (std::filesystem::exists(fresh)) throw Error(ErrorCode::conflict, fresh + " exists already");
    const std::string part = fresh + ".part";
    remove_database(part);
    try {
        Salvage result;
        {
            sqlite::Database db = sqlite::Database::open(part, {});
            create_or_migrate(db);
            result = Salvaging(damaged, db).run();
            db.checkpoint();
        }
        std::filesystem::rename(part, fresh);
        return result;
    } catch (...) {
        remove_database(part);
        throw;
    }
}

}  // namespace rapport
