#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Installs what is missing, builds, and runs every test: all of them with AddressSanitizer and UndefinedBehaviorSanitizer, the
# concurrent parts with ThreadSanitizer, each fuzzer briefly, the quickstart, the simulator over many seeds, the packages, and what
# fails without memory. Ends with the summary of ctest for the whole.
#   tests/run.sh [CTEST ARGUMENTS]      for example: tests/run.sh -R world
set -euo pipefail
cd "$(dirname "$0")/.."
. .ci/packages.sh
install_packages "${rapport_build_packages[@]}" "${rapport_test_packages[@]}"

export CCACHE_DIR=${CCACHE_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/rapport-ccache} CCACHE_BASEDIR=$PWD
export ASAN_OPTIONS=detect_stack_use_after_return=1 UBSAN_OPTIONS=print_stacktrace=1
jobs=$(nproc); [ "$jobs" -le 2 ] || jobs=$((jobs - 1))
tsan_tests='capture_test|store_open_test|syncer_test|http_test'

step() { printf '\n== %s (%s)\n' "$*" "$(date +%H:%M:%S)"; }

step "build with AddressSanitizer and UndefinedBehaviorSanitizer"
cmake --preset asan >/dev/null
cmake --build build-asan -j "$jobs"

if [ $# -gt 0 ]; then
    exec ctest --test-dir build-asan --output-on-failure -j "$jobs" "$@"
fi

step "build the concurrent parts with ThreadSanitizer"
cmake --preset tsan >/dev/null
cmake --build build-tsan -j "$jobs" --target ${tsan_tests//|/ }
step "concurrent parts with ThreadSanitizer"
ctest --test-dir build-tsan --output-on-failure -R "^($tsan_tests)\$"

step "each fuzzer for a moment"
tests/fuzz/run.sh --seconds "${RAPPORT_FUZZ_SECONDS:-10}" --seed 1

step "the quickstart, from a clean start"
rm -rf build-release/week
./examples/quickstart.sh >build-asan/quickstart.log 2>&1 || { cat build-asan/quickstart.log; exit 1; }
tail -n 8 build-asan/quickstart.log | head -n 1

step "the simulator: whole histories from seeds, under every fault and then at rest"
tests/sim/run.sh --plain --seeds "${RAPPORT_SIM_SEEDS:-2000}" --jobs "$jobs"
step "the simulator: with restores, copies, other users, revocations and erasures as well"
tests/sim/run.sh --seeds "${RAPPORT_RECOVERY_SEEDS:-500}" --jobs "$jobs"

step "what is shipped: installed, in packages, and used as README.md says"
cmake --build build-release -j "$jobs" | tail -n 1
tests/package/run.sh build-release | tail -n 1
tests/package/debs.sh build-release | tail -n 1

step "no memory: what breaks operations off again, without sanitizers, because only so the language's own allocations fail"
cmake --build build-release -j "$jobs" --target crash_test server_crash_test | tail -n 1
ctest --test-dir build-release --output-on-failure -j "$jobs" -R '^(crash_test|server_crash_test)$'

step "all tests with AddressSanitizer and UndefinedBehaviorSanitizer"
ctest --test-dir build-asan --output-on-failure -j "$jobs"
