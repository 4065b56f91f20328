// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>

#include "bench/floor.h"

/// A sync as one writes it by hand in an afternoon: batches of JSON lines under gzip -6 over one
/// kept-alive connection, a row stored by INSERT OR REPLACE, one durable commit per batch on either
/// side. No verdicts, no conflicts, no resume.
namespace rapport::bench {

std::string gzipped(const std::string& plain);
std::string json_line(const floor_rows* shape, const floor_row& row);

class FloorServer {
public:
    FloorServer(const std::string& path, const floor_rows* shape);
    ~FloorServer();
    std::uint16_t port() const;

private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

/// Sends the outbox of `store`; returns the number of rows.
std::size_t floor_upload(floor_store* store, const floor_rows* shape, std::uint16_t port,
                         int batch);
/// Fetches all rows of the server into `store`, a page at a time.
std::size_t floor_download(floor_store* store, const floor_rows* shape, std::uint16_t port,
                           int batch);

/// Stands between a client and a server and counts what passes, heads and bodies.
class CountingProxy {
public:
    explicit CountingProxy(std::uint16_t to_port);
    ~CountingProxy();
    std::uint16_t port() const;
    void reset();
    std::uint64_t bytes_up() const;
    std::uint64_t bytes_down() const;

private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

}  // namespace rapport::bench
