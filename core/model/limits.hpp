// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace rapport {

/// Limits the server publishes and the device applies at capture, so that what was captured can be
/// sent. `version` rises with each change, and with each kind or field that is added: it is what
/// devices with a newer app wait for.
struct Limits {
    std::uint32_t version = 1;
    std::uint32_t bundle_bytes_max =
        256 * 1024;                          ///< one bundle: a visit with many long texts is 20 KiB
    std::uint32_t bundle_changes_max = 500;  ///< records in one bundle
    std::uint32_t request_bytes_max =
        1024 * 1024;  ///< one request before compression; a larger bundle travels alone
    std::uint32_t request_bundles_max = 2000;     ///< bundles in one request
    std::uint32_t reply_bytes_max = 1024 * 1024;  ///< one page before compression
    std::uint32_t reply_records_max = 5000;       ///< records in one page
    std::uint32_t set_elements_max = 200;         ///< elements of a set, keys of a map

    template <class Archive>
    void serialize(Archive& a) {
        a(version, bundle_bytes_max, bundle_changes_max, request_bytes_max, request_bundles_max,
          reply_bytes_max, reply_records_max, set_elements_max);
    }
    friend bool operator==(const Limits&, const Limits&) = default;
};

}  // namespace rapport
