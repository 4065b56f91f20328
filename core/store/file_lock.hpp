// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "rapport/instant.hpp"

namespace rapport {

/// Keeps other processes from writing to the same device file: flock on `<path>-lock`, which holds
/// the owner's pid as text. The lock goes with the process, however it ends.  Move-only.
class FileLock {
public:
    /// Waits up to `wait`. Errors: storage_busy, whose sentence names the pid that holds it.
    FileLock(const std::string& path, Milliseconds wait);
    FileLock(FileLock&& other) noexcept;
    FileLock& operator=(FileLock&&) = delete;
    ~FileLock();

private:
    int fd_ = -1;
};

}  // namespace rapport
