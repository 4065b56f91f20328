// SPDX-License-Identifier: Apache-2.0
#pragma once

/// Bugs on purpose, to see that the simulator finds them (tests/sim/planted.sh). Each is one line
/// that asks RAPPORT_PLANTED("name"), which is the constant `false` in every build but one for
/// tests with the CMake option RAPPORT_PLANTED_BUGS.
#ifdef RAPPORT_PLANTED_BUGS

#include <string>

namespace rapport {

inline std::string planted_bug;  ///< the one that is on; empty: none

}  // namespace rapport

#define RAPPORT_PLANTED(name) (::rapport::planted_bug == name)
#else
#define RAPPORT_PLANTED(name) false
#endif
