#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Builds the fuzzers with clang and runs each for a while, one per core, from the golden files, the inputs under corpus/ and what
# earlier runs found worth keeping. No input of up to 1 MiB may take more than 16 MiB of memory or recurse deeply (fuzz.hpp). Ends
# with 1 when one of them found something; the input that did it stays in build-fuzz/findings.
#
#   tests/fuzz/run.sh [--minutes M | --seconds S] [--seed N] [NAME...]     10 seconds each if nothing is said
#
# With a seed every run tries the same inputs, as far as it gets; without one each tries others.
set -euo pipefail
cd "$(dirname "$0")/../.."

seconds=10 seed=0 jobs=$(nproc)
names=()
while [ $# -gt 0 ]; do
    case $1 in
        --minutes) seconds=$((${2:?minutes} * 60)); shift 2 ;;
        --seconds) seconds=${2:?seconds}; shift 2 ;;
        --seed) seed=${2:?a number}; shift 2 ;;
        -h | --help) sed -n '3,9s/^# \{0,1\}//p' "$0"; exit 0 ;;
        -*) echo "unknown option $1" >&2; exit 2 ;;
        *) names+=("$1"); shift ;;
    esac
done
[ ${#names[@]} -gt 0 ] || names=(unpack columns request reply bundle record import search ask token http stored)

clang=$(command -v clang++-14 || command -v clang++) || { echo "clang++ is not installed" >&2; exit 2; }
clangc=$(command -v clang-14 || command -v clang)
build=build-fuzz
launcher=()
command -v ccache > /dev/null && launcher=(-DCMAKE_CXX_COMPILER_LAUNCHER=ccache)
cmake -G Ninja -B "$build" -DCMAKE_BUILD_TYPE=RelWithDebInfo -DCMAKE_CXX_FLAGS_RELWITHDEBINFO="-O1 -g1" \
    -DCMAKE_C_COMPILER="$clangc" -DCMAKE_CXX_COMPILER="$clang" \
    -DRAPPORT_FUZZ=ON -DRAPPORT_PROGRAMS=OFF -DRAPPORT_TESTS=OFF \
    -DRAPPORT_SANITIZE=fuzzer-no-link,address,undefined "${launcher[@]}" > /dev/null
cmake --build "$build" --target $(printf '%s_fuzz ' "${names[@]}")

# Seeds: the golden bytes, and the lines of the golden JSON.
bytes_of() { printf "$(tr -d '\n' < "$1" | sed 's/../\\x&/g')"; }
seeds=$build/seeds
rm -rf "$seeds"
mkdir -p "$seeds"/{unpack,columns,request,reply,bundle,record,import} "$build/findings"
for name in bundle record request reply; do bytes_of "tests/golden/$name.hex" > "$seeds/$name/golden"; done
bytes_of tests/golden/packed.hex > "$seeds/unpack/golden"
for name in columns columns_archive; do bytes_of "tests/golden/$name.hex" > "$seeds/columns/$name"; done
split -l 1 -a 4 tests/golden/record_json.ndjson "$seeds/import/golden-"
for name in tests/fuzz/corpus/*; do mkdir -p "$seeds/${name##*/}"; cp "$name"/* "$seeds/${name##*/}/"; done

fuzz() {
    local name=$1 corpus=$build/corpus/$1
    [ "$seed" = 0 ] || { corpus=$build/corpus-$seed/$name; rm -rf "$corpus"; }  # nothing from earlier runs
    mkdir -p "$corpus"
    if "$build/bin/${name}_fuzz" -seed="$seed" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -max_len=1048576 \
        -print_final_stats=1 -artifact_prefix="$build/findings/$name-" "$corpus" "$seeds/$name" > "$build/$name.log" 2>&1; then
        sed -n "s/^stat::number_of_executed_units: */$name: inputs tried: /p" "$build/$name.log"
        return 0
    fi
    echo "$name found something; see $build/$name.log:" >&2
    grep -m 20 -E 'ERROR|SUMMARY|runtime error|Test unit written|Base64|#[0-9]+ 0x' "$build/$name.log" >&2 || tail -20 "$build/$name.log" >&2
    return 1
}

found=0 pids=()
echo "fuzzing ${names[*]}, each for $seconds s"
for name in "${names[@]}"; do
    [ ${#pids[@]} -lt "$jobs" ] || { wait "${pids[0]}" || found=1; pids=("${pids[@]:1}"); }
    fuzz "$name" & pids+=($!)
done
for pid in "${pids[@]}"; do wait "$pid" || found=1; done
exit $found
