#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Measures every figure beside the same work by hand and compares with the stored baseline; one JSON line per figure.
#   tests/bench/run.sh [--quick] [--only GROUP] [--store-baseline]
# --quick: fewer and smaller, some minutes instead of a quarter of an hour; comparable with the baseline only where a figure is a
# ratio that does not hang on the size. GROUP: capture, import, reading, upload, small, growth, offline or memory. A figure that misses its target fails nothing: what was measured is printed, and read.
set -euo pipefail
cd "$(dirname "$0")/../.."

measure=() store=no
while [ $# -gt 0 ]; do
    case $1 in
        --quick) measure+=(--quick); shift ;;
        --only) measure+=(--only "${2:?a group of figures}"); shift 2 ;;
        --store-baseline) store=yes; shift ;;
        -h | --help) sed -n '3,7s/^# \{0,1\}//p' "$0"; exit 0 ;;
        *) echo "unknown option $1" >&2; exit 2 ;;
    esac
done

build=build-bench
launcher=()
! command -v ccache >/dev/null || launcher=(-DCMAKE_CXX_COMPILER_LAUNCHER=ccache -DCMAKE_C_COMPILER_LAUNCHER=ccache)
# A section per function, so that the linker of the measured libraries can leave out what nobody calls.
cmake -G Ninja -B "$build" -DCMAKE_BUILD_TYPE=Release -DRAPPORT_TESTS=OFF -DRAPPORT_BENCH=ON \
    -DCMAKE_CXX_FLAGS='-ffunction-sections -fdata-sections' "${launcher[@]}" >/dev/null
cmake --build "$build" --target rapport_bench rapport_probe_own rapport_probe_linked >"$build/build.log" || { tail -n 40 "$build/build.log" >&2; exit 2; }

figures=$build/figures.jsonl
"$build/bin/rapport_bench" "${measure[@]}" --libraries "$build"/tests/bench/librapport_probe_{own,linked}.so | tee "$figures"
baseline=tests/bench/baseline.jsonl
if [ "$store" = yes ]; then
    cp "$figures" "$baseline"
elif [ -e "$baseline" ]; then
    "$build/bin/rapport_bench" compare "$baseline" "$figures"
fi
