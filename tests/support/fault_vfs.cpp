// SPDX-License-Identifier: Apache-2.0
#include "support/fault_vfs.hpp"

#include <sqlite3.h>

#include <algorithm>
#include <cstddef>
#include <filesystem>
#include <fstream>
#include <map>
#include <mutex>
#include <new>
#include <optional>
#include <stdexcept>
#include <string_view>
#include <utility>
#include <vector>

#include "support/chance.hpp"

namespace rapport::test {
namespace {

constexpr std::int64_t kSector = 512;
constexpr std::size_t kVersionsMax = 4;

// Contents of a sector from the last sync on, without the present one; short at the file's end.
using Versions = std::map<std::int64_t, std::vector<std::string>>;

struct Entry {
    bool exists = false;
    bool named = false;                 // its name has been synced
    std::optional<std::string> former;  // what a crash brings back when the name has not been
    std::int64_t size = 0, synced_size = 0;
    Versions unsynced;
    Versions doubtful;  // a sync of them failed
};

std::string read_file(const std::string& path) {
    std::ifstream in(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
}

void write_file(const std::string& path, const std::string& bytes) {
    std::ofstream out(path, std::ios::binary | std::ios::trunc);
    out.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    out.close();
    if (!out) throw std::runtime_error("the damaged file cannot be written");
}

// The prefix as SQLite will name the files: without links.
std::string real_name(const std::string& path) {
    return std::filesystem::weakly_canonical(std::filesystem::absolute(path)).string();
}

}  // namespace

struct Disk::State {
    std::mutex mutex;
    std::string prefix;
    std::map<std::string, Entry> entries;
    int open = 0;

    std::uint64_t changes = 0, points[2] = {}, failed = 0;
    bool crashed = false, ignores_syncs = false, may_crash = true, spares = false;
    std::uint64_t crash_at = 0;
    Damage damage = Damage::kept;
    std::uint64_t seed = 0;
    std::uint64_t fail_at[2] = {};
    bool lasting[2] = {};

    // ---- what happens at an operation

    // The fault that strikes now, if one does.
    std::optional<Fault> struck(bool can_be_full) {
        std::optional<Fault> result;
        if (spares) return result;
        for (const Fault fault : {Fault::io, Fault::full}) {
            if (fault == Fault::full && !can_be_full) continue;
            const auto i = static_cast<std::size_t>(fault);
            const std::uint64_t point = ++points[i];
            if (fail_at[i] != 0 && (point == fail_at[i] || (lasting[i] && point > fail_at[i])))
                result = fault;
        }
        if (result) ++failed;
        return result;
    }
    // True if the disk goes with this change.
    bool dies() {
        ++changes;
        if (crash_at != 0 && changes == crash_at) crashed = true;
        return crashed;
    }

    // ---- the books

    void sync_names() {
        for (auto it = entries.begin(); it != entries.end();) {
            Entry& entry = it->second;
            entry.former.reset();
            entry.named = entry.exists;
            it = entry.exists ? std::next(it) : entries.erase(it);
        }
    }
    static void synced(Entry& entry) {
        for (const auto& [sector, versions] : entry.unsynced) entry.doubtful.erase(sector);
        entry.unsynced.clear();
        entry.synced_size = entry.size;
    }
    static void sync_failed(Entry& entry) {
        for (auto& [sector, versions] : entry.unsynced)
            entry.doubtful.emplace(sector, std::move(versions));
        entry.unsynced.clear();
    }

    // The file as the crash leaves it.
    static std::string image(const std::string& path, const Entry& entry, Damage damage,
                             Chance& chance) {
        std::string bytes = read_file(path);
        if (damage == Damage::kept) return bytes;
        const std::size_t now = bytes.size();
        const bool old_size = damage == Damage::dropped || chance() % 2 == 0;
        const auto size = old_size ? static_cast<std::size_t>(entry.synced_size) : now;
        bytes.resize(std::max(now, static_cast<std::size_t>(entry.synced_size)));
        Versions all = entry.doubtful;
        for (const auto& [sector, versions] : entry.unsynced) {
            auto& into = all[sector];
            into.insert(into.end(), versions.begin(), versions.end());
        }
        for (const auto& [sector, versions] : all) {
            const auto at = static_cast<std::size_t>(sector * kSector);
            if (at >= bytes.size()) continue;
            const std::size_t length = std::min<std::size_t>(kSector, bytes.size() - at);
            const auto version = [&](std::size_t number) {
                if (number == versions.size()) return bytes.substr(at, length);
                std::string content = versions[number];
                content.resize(length);
                return content;
            };
            const auto any = [&] { return version(chance() % (versions.size() + 1)); };
            std::string left = damage == Damage::dropped ? version(0) : any();
            if (damage == Damage::torn && chance() % 2 == 0) {
                const std::size_t cut = chance() % length;
                left.replace(cut, std::string::npos, any(), cut, std::string::npos);
            }
            bytes.replace(at, length, left);
        }
        bytes.resize(size);
        return bytes;
    }

    void leave_damaged() {
        Chance chance(seed);
        const auto lost = [&] {
            return damage == Damage::dropped || (damage != Damage::kept && chance() % 2 == 0);
        };
        for (auto& [path, entry] : entries) {
            std::optional<std::string> left;
            if (entry.exists) left = image(path, entry, damage, chance);
            if ((entry.exists != entry.named || entry.former) && lost()) left = entry.former;
            if (left)
                write_file(path, *left);
            else
                std::filesystem::remove(path);
            std::filesystem::remove(path + "-shm");
        }
    }
};

namespace {

// ---- the shim

thread_local int calls_into_shim = 0;
struct InShim {
    InShim() { ++calls_into_shim; }
    InShim(const InShim&) = delete;
    InShim& operator=(const InShim&) = delete;
    ~InShim() { --calls_into_shim; }
};

sqlite3_vfs* under = nullptr;  // the default VFS before the first Disk

std::mutex disks_mutex;
std::vector<std::shared_ptr<Disk::State>> disks;

std::shared_ptr<Disk::State> disk_of(const char* name) {
    if (name == nullptr) return nullptr;
    const std::lock_guard lock(disks_mutex);
    for (const auto& disk : disks)
        if (std::string_view(name).substr(0, disk->prefix.size()) == disk->prefix) return disk;
    return nullptr;
}

struct File {
    sqlite3_file base;
    std::shared_ptr<Disk::State> disk;  // null: none of ours
    std::string path;
    bool names_with_sync = false;  // SQLite syncs the folder with the first sync of a log it opened
};
constexpr std::size_t kFileBytes = (sizeof(File) + alignof(std::max_align_t) - 1) /
                                   alignof(std::max_align_t) * alignof(std::max_align_t);

File& ours(sqlite3_file* file) { return *reinterpret_cast<File*>(file); }
sqlite3_file* theirs(sqlite3_file* file) {
    return reinterpret_cast<sqlite3_file*>(reinterpret_cast<char*>(file) + kFileBytes);
}

// Remembers what stands in these bytes before they change.
int note_before(sqlite3_file* file, Entry& entry, std::int64_t from, std::int64_t to) {
    for (std::int64_t sector = from / kSector; sector * kSector < to; ++sector) {
        auto& versions = entry.unsynced[sector];
        if (versions.size() == kVersionsMax) continue;
        const std::int64_t at = sector * kSector,
                           length = std::clamp<std::int64_t>(entry.size - at, 0, kSector);
        std::string content(static_cast<std::size_t>(length), '\0');
        if (length > 0)
            if (const int rc = theirs(file)->pMethods->xRead(theirs(file), content.data(),
                                                             static_cast<int>(length), at))
                return rc;
        versions.push_back(std::move(content));
    }
    return SQLITE_OK;
}

int close_file(sqlite3_file* file) {
    const InShim in_shim;
    File& f = ours(file);
    const int rc = theirs(file)->pMethods->xClose(theirs(file));
    if (f.disk) {
        const std::lock_guard lock(f.disk->mutex);
        --f.disk->open;
    }
    f.~File();
    return rc;
}

int read_bytes(sqlite3_file* file, void* into, int count, sqlite3_int64 at) {
    const InShim in_shim;
    File& f = ours(file);
    if (f.disk) {
        const std::lock_guard lock(f.disk->mutex);
        if (f.disk->crashed || f.disk->struck(false)) return SQLITE_IOERR_READ;
    }
    return theirs(file)->pMethods->xRead(theirs(file), into, count, at);
}

int write_bytes(sqlite3_file* file, const void* from, int count, sqlite3_int64 at) {
    const InShim in_shim;
    File& f = ours(file);
    sqlite3_file* t = theirs(file);
    if (!f.disk) return t->pMethods->xWrite(t, from, count, at);
    const std::lock_guard lock(f.disk->mutex);
    if (f.disk->crashed) return SQLITE_IOERR_WRITE;
    Entry& entry = f.disk->entries[f.path];
    const auto fault = f.disk->struck(true);
    if (fault) count /= 2;
    const bool dies = f.disk->dies();
    if (f.disk->may_crash)
        if (const int rc = note_before(file, entry, at, at + count)) return rc;
    if (count > 0)
        if (const int rc = t->pMethods->xWrite(t, from, count, at)) return rc;
    entry.size = std::max<std::int64_t>(entry.size, at + count);
    if (fault) return *fault == Fault::full ? SQLITE_FULL : SQLITE_IOERR_WRITE;
    return dies ? SQLITE_IOERR_WRITE : SQLITE_OK;
}

int truncate_file(sqlite3_file* file, sqlite3_int64 size) {
    const InShim in_shim;
    File& f = ours(file);
    sqlite3_file* t = theirs(file);
    if (!f.disk) return t->pMethods->xTruncate(t, size);
    const std::lock_guard lock(f.disk->mutex);
    if (f.disk->crashed || f.disk->struck(false)) return SQLITE_IOERR_TRUNCATE;
    Entry& entry = f.disk->entries[f.path];
    const bool dies = f.disk->dies();
    if (f.disk->may_crash)
        if (const int rc = note_before(file, entry, size, entry.size)) return rc;
    if (const int rc = t->pMethods->xTruncate(t, size)) return rc;
    entry.size = size;
    return dies ? SQLITE_IOERR_TRUNCATE : SQLITE_OK;
}

int sync_file(sqlite3_file* file, int flags) {
    const InShim in_shim;
    File& f = ours(file);
    if (!f.disk) return theirs(file)->pMethods->xSync(theirs(file), flags);
    const std::lock_guard lock(f.disk->mutex);
    if (f.disk->crashed) return SQLITE_IOERR_FSYNC;
    Entry& entry = f.disk->entries[f.path];
    if (f.disk->struck(false)) {
        Disk::State::sync_failed(entry);
        return SQLITE_IOERR_FSYNC;
    }
    if (f.disk->dies()) return SQLITE_IOERR_FSYNC;
    if (f.disk->ignores_syncs) return SQLITE_OK;
    Disk::State::synced(entry);
    if (std::exchange(f.names_with_sync, false)) f.disk->sync_names();
    return SQLITE_OK;
}

int file_size(sqlite3_file* file, sqlite3_int64* size) {
    File& f = ours(file);
    if (f.disk) {
        const std::lock_guard lock(f.disk->mutex);
        if (f.disk->crashed || f.disk->struck(false)) return SQLITE_IOERR_FSTAT;
    }
    return theirs(file)->pMethods->xFileSize(theirs(file), size);
}

int lock_file(sqlite3_file* file, int level) {
    File& f = ours(file);
    if (f.disk) {
        const std::lock_guard lock(f.disk->mutex);
        if (f.disk->crashed) return SQLITE_IOERR_LOCK;
    }
    return theirs(file)->pMethods->xLock(theirs(file), level);
}
int unlock_file(sqlite3_file* file, int level) {
    return theirs(file)->pMethods->xUnlock(theirs(file), level);
}
int check_reserved_lock(sqlite3_file* file, int* result) {
    return theirs(file)->pMethods->xCheckReservedLock(theirs(file), result);
}
int file_control(sqlite3_file* file, int what, void* argument) {
    return theirs(file)->pMethods->xFileControl(theirs(file), what, argument);
}
int sector_size(sqlite3_file* file) { return theirs(file)->pMethods->xSectorSize(theirs(file)); }
int device_characteristics(sqlite3_file* file) {
    return theirs(file)->pMethods->xDeviceCharacteristics(theirs(file));
}

int shm_map(sqlite3_file* file, int region, int size, int extend, void volatile** memory) {
    File& f = ours(file);
    if (f.disk) {
        const std::lock_guard lock(f.disk->mutex);
        if (f.disk->crashed || f.disk->struck(extend != 0)) return SQLITE_IOERR_SHMMAP;
    }
    return theirs(file)->pMethods->xShmMap(theirs(file), region, size, extend, memory);
}
int shm_lock(sqlite3_file* file, int offset, int count, int flags) {
    File& f = ours(file);
    if (f.disk && (flags & SQLITE_SHM_LOCK)) {
        const std::lock_guard lock(f.disk->mutex);
        if (f.disk->crashed) return SQLITE_IOERR_SHMLOCK;
    }
    return theirs(file)->pMethods->xShmLock(theirs(file), offset, count, flags);
}
void shm_barrier(sqlite3_file* file) { theirs(file)->pMethods->xShmBarrier(theirs(file)); }
int shm_unmap(sqlite3_file* file, int remove) {
    return theirs(file)->pMethods->xShmUnmap(theirs(file), remove);
}

constexpr sqlite3_io_methods kMethods{2,
                                      close_file,
                                      read_bytes,
                                      write_bytes,
                                      truncate_file,
                                      sync_file,
                                      file_size,
                                      lock_file,
                                      unlock_file,
                                      check_reserved_lock,
                                      file_control,
                                      sector_size,
                                      device_characteristics,
                                      shm_map,
                                      shm_lock,
                                      shm_barrier,
                                      shm_unmap,
                                      nullptr,
                                      nullptr};

int open_file(sqlite3_vfs*, const char* name, sqlite3_file* file, int flags, int* out_flags) {
    const InShim in_shim;
    file->pMethods = nullptr;
    const auto disk = disk_of(name);
    std::unique_lock<std::mutex> lock;
    bool creates = false, dies = false;
    if (disk) {
        lock = std::unique_lock(disk->mutex);
        if (disk->crashed) return SQLITE_CANTOPEN;
        std::error_code error;
        const auto size = std::filesystem::file_size(name, error);
        creates = (flags & SQLITE_OPEN_CREATE) != 0 && error;
        if (disk->struck(creates)) return SQLITE_CANTOPEN;
        if (creates) dies = disk->dies();
        if (Entry& entry = disk->entries[name]; !error && !entry.exists) {
            entry.exists = entry.named = true;
            entry.size = entry.synced_size = static_cast<std::int64_t>(size);
        }
    }
    // The file under ours must know where it is: SQLite reads parameters behind the name.
    theirs(file)->pMethods = nullptr;
    const int rc = under->xOpen(under, name, theirs(file), flags, out_flags);
    if (rc != SQLITE_OK) {
        if (theirs(file)->pMethods) theirs(file)->pMethods->xClose(theirs(file));
        return rc;
    }
    if (creates) {
        Entry& entry = disk->entries[name];
        entry.exists = true;
        entry.named = false;
        entry.size = entry.synced_size = 0;
    }
    if (dies) {
        theirs(file)->pMethods->xClose(theirs(file));
        return SQLITE_CANTOPEN;
    }
    File* f = new (file) File{{&kMethods}, disk, name ? name : "", false};
    f->names_with_sync =
        (flags & SQLITE_OPEN_CREATE) && (flags & (SQLITE_OPEN_WAL | SQLITE_OPEN_MAIN_JOURNAL));
    if (disk) ++disk->open;
    return SQLITE_OK;
}

int delete_file(sqlite3_vfs*, const char* name, int sync_folder) {
    const InShim in_shim;
    const auto disk = disk_of(name);
    if (!disk) return under->xDelete(under, name, sync_folder);
    const std::lock_guard lock(disk->mutex);
    if (disk->crashed || disk->struck(false)) return SQLITE_IOERR_DELETE;
    const bool dies = disk->dies();
    const auto it = disk->entries.find(name);
    if (it != disk->entries.end() && it->second.exists) {
        Entry& entry = it->second;
        Chance none(0);
        if (entry.named && disk->may_crash)
            entry.former = Disk::State::image(name, entry, Damage::dropped, none);
        entry.exists = false;
        entry.size = entry.synced_size = 0;
        entry.unsynced.clear();
        entry.doubtful.clear();
    }
    if (const int rc = under->xDelete(under, name, 0)) return rc;
    if (dies) return SQLITE_IOERR_DELETE;
    if (sync_folder != 0 && !disk->ignores_syncs) disk->sync_names();
    return SQLITE_OK;
}

int access_file(sqlite3_vfs*, const char* name, int flags, int* result) {
    const InShim in_shim;
    if (const auto disk = disk_of(name)) {
        const std::lock_guard lock(disk->mutex);
        if (disk->crashed || disk->struck(false)) return SQLITE_IOERR_ACCESS;
    }
    return under->xAccess(under, name, flags, result);
}

// SQLite draws the salts of its logs: from the same beginning, for the same bytes.
int same_randomness(sqlite3_vfs*, int count, char* into) {
    std::fill_n(into, count, '\x5a');
    return count;
}

void register_shim() {
    static const bool once = [] {
        under = sqlite3_vfs_find(nullptr);
        static sqlite3_vfs shim = *under;  // what is not told otherwise is not about files
        shim.zName = "fault";
        shim.szOsFile = static_cast<int>(kFileBytes) + under->szOsFile;
        shim.pNext = nullptr;
        shim.xOpen = open_file;
        shim.xDelete = delete_file;
        shim.xAccess = access_file;
        shim.xRandomness = same_randomness;
        if (sqlite3_vfs_register(&shim, 1) != SQLITE_OK)
            throw std::runtime_error("SQLite takes no VFS");
        return true;
    }();
    static_cast<void>(once);
}

}  // namespace

bool shim_at_work() { return calls_into_shim > 0; }

// ---- Disk

Disk::Disk(const std::string& path) : state_(std::make_shared<State>()) {
    state_->prefix = real_name(path);
    register_shim();
    const std::lock_guard lock(disks_mutex);
    disks.push_back(state_);
}

Disk::~Disk() {
    {
        const std::lock_guard lock(disks_mutex);
        disks.erase(std::find(disks.begin(), disks.end(), state_));
    }
    heal();
    const std::lock_guard lock(state_->mutex);
    state_->crashed = false;
}

std::uint64_t Disk::changes() const {
    const std::lock_guard lock(state_->mutex);
    return state_->changes;
}
std::uint64_t Disk::points(Fault fault) const {
    const std::lock_guard lock(state_->mutex);
    return state_->points[static_cast<std::size_t>(fault)];
}

void Disk::never_crashes() {
    const std::lock_guard lock(state_->mutex);
    state_->may_crash = false;
}

void Disk::crash_at(std::uint64_t nth, Damage damage, std::uint64_t seed) {
    const std::lock_guard lock(state_->mutex);
    if (!state_->may_crash) throw std::logic_error("a disk that never crashes is to crash");
    state_->crash_at = state_->changes + nth;
    state_->damage = damage;
    state_->seed = seed;
}
void Disk::crash_now(Damage damage, std::uint64_t seed) {
    const std::lock_guard lock(state_->mutex);
    if (!state_->may_crash) throw std::logic_error("a disk that never crashes is to crash");
    state_->crashed = true;
    state_->damage = damage;
    state_->seed = seed;
}
bool Disk::crashed() const {
    const std::lock_guard lock(state_->mutex);
    return state_->crashed;
}

void Disk::fail_at(Fault fault, std::uint64_t nth, bool lasting) {
    const std::lock_guard lock(state_->mutex);
    const auto i = static_cast<std::size_t>(fault);
    state_->fail_at[i] = state_->points[i] + nth;
    state_->lasting[i] = lasting;
}
std::uint64_t Disk::failed() const {
    const std::lock_guard lock(state_->mutex);
    return state_->failed;
}
void Disk::heal() {
    const std::lock_guard lock(state_->mutex);
    state_->crash_at = state_->fail_at[0] = state_->fail_at[1] = 0;
}
void Disk::spare(bool on) {
    const std::lock_guard lock(state_->mutex);
    state_->spares = on;
}
void Disk::ignore_syncs(bool on) {
    const std::lock_guard lock(state_->mutex);
    state_->ignores_syncs = on;
}

void Disk::reboot() {
    const std::lock_guard lock(state_->mutex);
    if (state_->open != 0) throw std::logic_error("files of the crashed disk are still open");
    if (!state_->crashed) state_->damage = Damage::kept;
    state_->leave_damaged();
    state_->entries.clear();
    state_->crashed = false;
    state_->crash_at = state_->fail_at[0] = state_->fail_at[1] = 0;
}
void Disk::begin_anew() { sqlite3_randomness(0, nullptr); }

void Disk::adopt() {
    const std::lock_guard lock(state_->mutex);
    if (state_->open != 0) throw std::logic_error("files of the disk are still open");
    state_->entries.clear();
}

}  // namespace rapport::test
