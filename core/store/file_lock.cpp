// SPDX-License-Identifier: Apache-2.0
#include "store/file_lock.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <thread>
#include <utility>

#include "rapport/error.hpp"

namespace rapport {
namespace {

constexpr auto kRetryEvery = std::chrono::milliseconds(20);

bool try_lock(int fd) {
    int rc = 0;
    do {
        rc = ::flock(fd, LOCK_EX | LOCK_NB);
    } while (rc != 0 && errno == EINTR);
    if (rc != 0 && errno != EWOULDBLOCK)
        throw Error(ErrorCode::storage_failed,
                    std::string("cannot lock the file: ") + std::strerror(errno), errno);
    return rc == 0;
}

std::string holder(int fd) {
    char text[24];
    const ssize_t n = ::pread(fd, text, sizeof text, 0);
    return n > 0 ? "process " + std::string(text, static_cast<std::size_t>(n)) : "another process";
}

class Descriptor {
public:
    explicit Descriptor(int fd) : fd_(fd) {}
    Descriptor(const Descriptor&) = delete;
    Descriptor& operator=(const Descriptor&) = delete;
    ~Descriptor() {
        if (fd_ >= 0) ::close(fd_);
    }
    int release() { return std::exchange(fd_, -1); }
    int get() const { return fd_; }

private:
    int fd_;
};

}  // namespace

FileLock::FileLock(const std::string& path, Milliseconds wait) {
    Descriptor fd(::open((path + "-lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666));
    if (fd.get() < 0)
        throw Error(errno == ENOENT ? ErrorCode::not_found : ErrorCode::storage_failed,
                    "cannot create " + path + "-lock: " + std::strerror(errno), errno);
    const auto deadline = std::chrono::steady_clock::now() + wait;
    while (!try_lock(fd.get())) {
        const auto left = deadline - std::chrono::steady_clock::now();
        if (left <= left.zero())
            throw Error(ErrorCode::storage_busy, holder(fd.get()) + " is writing to " + path);
        std::this_thread::sleep_for(
            std::min<std::chrono::steady_clock::duration>(left, kRetryEvery));
    }
    // The pid is for people; what keeps others out is the lock. So a full disk is no reason to
    // stop.
    const std::string pid = std::to_string(::getpid());
    if (::ftruncate(fd.get(), 0) != 0 || ::pwrite(fd.get(), pid.data(), pid.size(), 0) < 0)
        errno = 0;
    fd_ = fd.release();
}

FileLock::FileLock(FileLock&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}

FileLock::~FileLock() {
    if (fd_ < 0) return;
    // The file stays: to remove it would let two processes lock two files of one name.
    if (::ftruncate(fd_, 0) != 0) errno = 0;
    ::close(fd_);
}

}  // namespace rapport
