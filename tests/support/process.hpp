// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

extern char** environ;

/// Real programs as tests run them: no shell, and no wait without an end.
namespace rapport::test {

/// How a program ended. `exit` is -1 when a signal ended it.
struct Outcome {
    int exit = -1;
    int signal = 0;
    std::string out, err;
};

struct ProcessOptions {
    std::string input;  ///< what it reads on standard input
    std::vector<std::pair<std::string, std::string>> environment;  ///< set over the test's own
};

/// A program that runs beside the test; killed and reaped with its object.  Thread-safety:
/// confined.
class Process {
public:
    using Time = std::chrono::milliseconds;

    explicit Process(const std::vector<std::string>& argv, const ProcessOptions& options = {})
        : input_(options.input) {
        const auto in = make_pipe(), out = make_pipe(), err = make_pipe();
        posix_spawn_file_actions_t actions;
        posix_spawn_file_actions_init(&actions);
        posix_spawn_file_actions_adddup2(&actions, in[0], STDIN_FILENO);
        posix_spawn_file_actions_adddup2(&actions, out[1], STDOUT_FILENO);
        posix_spawn_file_actions_adddup2(&actions, err[1], STDERR_FILENO);
        std::vector<std::string> words = argv;
        std::vector<std::string> variables = merged(options.environment);
        std::vector<char*> arguments = pointers(words), environment = pointers(variables);
        const int failure = posix_spawnp(&pid_, arguments[0], &actions, nullptr, arguments.data(),
                                         environment.data());
        posix_spawn_file_actions_destroy(&actions);
        for (const int fd : {in[0], out[1], err[1]}) close(fd);
        if (failure != 0) {
            for (const int fd : {in[1], out[0], err[0]}) close(fd);
            throw std::runtime_error("cannot run " + argv.at(0));
        }
        threads_[0] = std::thread([this, fd = in[1]] { feed(fd); });
        threads_[1] = std::thread([this, fd = out[0]] { drain(fd, outcome_.out); });
        threads_[2] = std::thread([this, fd = err[0]] { drain(fd, outcome_.err); });
        threads_[3] = std::thread([this] { reap(); });
    }
    ~Process() {
        signal(SIGKILL);
        for (std::thread& thread : threads_) thread.join();
    }
    Process(const Process&) = delete;
    Process& operator=(const Process&) = delete;

    pid_t pid() const { return pid_; }
    bool running() const {
        const std::lock_guard<std::mutex> lock(mutex_);
        return !ended_;
    }
    /// What it printed so far.
    std::string out() const {
        const std::lock_guard<std::mutex> lock(mutex_);
        return outcome_.out;
    }
    std::string err() const {
        const std::lock_guard<std::mutex> lock(mutex_);
        return outcome_.err;
    }
    /// Waits until it printed `text` on either stream; false when it ended without or the time was
    /// up.
    bool printed(const std::string& text, Time limit = Time{30'000}) {
        std::unique_lock<std::mutex> lock(mutex_);
        const auto there = [&] {
            return outcome_.out.find(text) != std::string::npos ||
                   outcome_.err.find(text) != std::string::npos;
        };
        changed_.wait_for(lock, limit, [&] { return there() || finished(); });
        return there();
    }
    /// Does nothing once it ended.
    void signal(int number) {
        const std::lock_guard<std::mutex> lock(mutex_);
        if (!ended_) ::kill(pid_, number);
    }
    void kill() { signal(SIGKILL); }
    /// Waits for its end. Errors: runtime_error, after killing it, when the time is up.
    Outcome wait(Time limit = Time{120'000}) {
        std::unique_lock<std::mutex> lock(mutex_);
        if (!changed_.wait_for(lock, limit, [&] { return finished(); })) {
            lock.unlock();
            kill();
            throw std::runtime_error("the program did not end in time; it printed: " + out() +
                                     err());
        }
        return outcome_;
    }
    /// SIGTERM, then wait.
    Outcome stop(Time limit = Time{30'000}) {
        signal(SIGTERM);
        return wait(limit);
    }

private:
    static std::array<int, 2> make_pipe() {
        std::array<int, 2> ends{};
        if (pipe2(ends.data(), O_CLOEXEC) != 0) throw std::runtime_error("no pipe");
        return ends;
    }
    static std::vector<char*> pointers(std::vector<std::string>& words) {
        std::vector<char*> out;
        for (std::string& word : words) out.push_back(word.data());
        out.push_back(nullptr);
        return out;
    }
    static std::vector<std::string> merged(
        const std::vector<std::pair<std::string, std::string>>& over) {
        std::vector<std::string> variables;
        for (char** variable = environ; *variable != nullptr; ++variable) {
            const std::string text = *variable;
            bool replaced = false;
            for (const auto& [name, value] : over) replaced |= text.rfind(name + "=", 0) == 0;
            if (!replaced) variables.push_back(text);
        }
        for (const auto& [name, value] : over) variables.push_back(name + "=" + value);
        return variables;
    }
    bool finished() const { return ended_ && open_streams_ == 0; }

    void feed(int fd) {
        // A program that ends before it has read everything is no reason for the test to end.
        sigset_t pipe_signal;
        sigemptyset(&pipe_signal);
        sigaddset(&pipe_signal, SIGPIPE);
        pthread_sigmask(SIG_BLOCK, &pipe_signal, nullptr);
        std::size_t done = 0;
        while (done < input_.size()) {
            const ssize_t n = write(fd, input_.data() + done, input_.size() - done);
            if (n < 0 && errno == EINTR) continue;
            if (n <= 0) break;
            done += static_cast<std::size_t>(n);
        }
        close(fd);
    }
    void drain(int fd, std::string& into) {
        std::array<char, 65536> buffer;
        for (;;) {
            const ssize_t n = read(fd, buffer.data(), buffer.size());
            if (n < 0 && errno == EINTR) continue;
            const std::lock_guard<std::mutex> lock(mutex_);
            if (n > 0)
                into.append(buffer.data(), static_cast<std::size_t>(n));
            else
                --open_streams_;
            changed_.notify_all();
            if (n <= 0) break;
        }
        close(fd);
    }
    void reap() {
        // Seen first and reaped under the lock, so that no signal goes to a number that is somebody
        // else's by now.
        siginfo_t info{};
        while (waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WNOWAIT) != 0 &&
               errno == EINTR) {
        }
        const std::lock_guard<std::mutex> lock(mutex_);
        int status = 0;
        waitpid(pid_, &status, 0);
        if (WIFEXITED(status)) outcome_.exit = WEXITSTATUS(status);
        if (WIFSIGNALED(status)) outcome_.signal = WTERMSIG(status);
        ended_ = true;
        changed_.notify_all();
    }

    pid_t pid_ = 0;
    std::string input_;
    mutable std::mutex mutex_;
    std::condition_variable changed_;
    Outcome outcome_;
    bool ended_ = false;
    int open_streams_ = 2;
    std::array<std::thread, 4> threads_;
};

/// Runs a program to its end.
inline Outcome run(const std::vector<std::string>& argv, const std::string& input = {}) {
    return Process(argv, {input, {}}).wait();
}

}  // namespace rapport::test
