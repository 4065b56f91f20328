#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Measures every figure beside the same work by hand and compares with the stored baseline; one JSON line per figure.
#   tests/bench/run.sh [--quick] [--only GROUP] [--store-baseline]
# --quick: fewer and smaller, some minutes instead of half an hour, with a baseline of its own. GROUP: capture, import, reading,
# upload, small, growth, offline or memory. A figure that misses its target fails nothing: what was measured is printed, and read.
set -euo pipefail
cd "$(dirname "$0")/../.."

measure=() store=no baseline=tests/bench/baseline.jsonl
while [ $# -gt 0 ]; do
    case $1 in
        --quick) measure+=(--quick) baseline=tests/bench/baseline-quick.jsonl; shift ;;
        --only) measure+=(--only "${2:?a group of figures}"); shift 2 ;;
        --store-baseline) store=yes; shift ;;
        -h | --help) sed -n '3,6s/^# \{0,1\}//p' "$0"; exit 0 ;;
        *) echo "unknown option $1" >&2; exit 2 ;;
    esac
done

build=build-bench
launcher=()
! command -v ccache >/dev/null || launcher=(-DCMAKE_CXX_COMPILER_LAUNCHER=ccache -DCMAKE_C_COMPILER_LAUNCHER=ccache)
cmake -G Ninja -B "$build" -DCMAKE_BUILD_TYPE=Release -DRAPPORT_TESTS=OFF -DRAPPORT_BENCH=ON "${launcher[@]}" >/dev/null
cmake --build "$build" --target rapport_bench >"$build/build.log" || { tail -n 40 "$build/build.log" >&2; exit 2; }
# What an app embeds is built for size, a section per function so that the linker can leave out what nobody calls.
cmake -G Ninja -B "$build/small" -DCMAKE_BUILD_TYPE=MinSizeRel -DRAPPORT_TESTS=OFF -DRAPPORT_BENCH=ON \
    -DCMAKE_CXX_FLAGS='-ffunction-sections -fdata-sections' "${launcher[@]}" >/dev/null
cmake --build "$build/small" --target rapport_probe_own rapport_probe_linked >"$build/build.log" || { tail -n 40 "$build/build.log" >&2; exit 2; }

figures=$build/figures.jsonl
"$build/bin/rapport_bench" "${measure[@]}" --libraries "$build"/small/tests/bench/librapport_probe_{own,linked}.so | tee "$figures"
if [ "$store" = yes ]; then
    cp "$figures" "$baseline"
elif [ -e "$baseline" ]; then
    "$build/bin/rapport_bench" compare "$baseline" "$figures"
fi
