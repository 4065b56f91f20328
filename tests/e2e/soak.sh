#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Kills the real programs at random moments, over a network that delays, narrows, cuts and loses, and looks whether everything
# whose capture returned is there at the end exactly once, on the devices and at the server. Prints what was hit and how.
#
#   tests/e2e/soak.sh [--kills N] [--seed S] [--build FOLDER]     1,000 kills, in a build of its own, if nothing is said
set -euo pipefail
cd "$(dirname "$0")/../.."

kills=1000 seed= build=
while [ $# -gt 0 ]; do
    case $1 in
        --kills) kills=${2:?a number}; shift 2 ;;
        --seed) seed=${2:?a number}; shift 2 ;;
        --build) build=${2:?a folder}; shift 2 ;;
        -h | --help) sed -n '3,6s/^# \{0,1\}//p' "$0"; exit 0 ;;
        *) echo "unknown option $1" >&2; exit 2 ;;
    esac
done
if [ -z "$build" ]; then
    build=build-soak
    cmake -G Ninja -B "$build" -DCMAKE_BUILD_TYPE=RelWithDebInfo > /dev/null
    cmake --build "$build" --target kill_test > /dev/null
fi
started=$SECONDS
RAPPORT_KILLS=$kills RAPPORT_SEED=$seed "$build/bin/kill_test"
echo "$kills kills in $((SECONDS - started)) s: nothing lost, nothing twice, every file sound"
