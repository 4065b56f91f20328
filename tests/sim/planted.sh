#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Bugs planted in the library, and the seed by which the simulator finds each: the proof that its oracle sees. Builds with
# RAPPORT_PLANTED_BUGS, which no build for use has.
#   tests/sim/planted.sh [--build FOLDER] [--seeds N] [NAME...]   looks for all, or those named, in the seeds 1, 2, ... N (5000)
#   tests/sim/planted.sh --sample [--build FOLDER]                repeats the five that planted.txt marks: for CI
set -euo pipefail
cd "$(dirname "$0")/../.."
build=build-planted seeds=5000 sample= names=()
while [ $# -gt 0 ]; do
    case $1 in
        --build) build=$2; shift 2 ;;
        --seeds) seeds=$2; shift 2 ;;
        --sample) sample=1; shift ;;
        -*) sed -n '5,6s/^# *//p' "$0"; exit 2 ;;
        *) names+=("$1"); shift ;;
    esac
done
if [ "$build" = build-planted ]; then
    cmake --preset release -B build-planted -DRAPPORT_SIM=ON -DRAPPORT_PLANTED_BUGS=ON >/dev/null
    cmake --build build-planted -j "$(nproc)" --target simulate | tail -n 1
fi
[ -d /dev/shm ] && [ -w /dev/shm ] && export TMPDIR=/dev/shm
log=$build/planted.log
planted=$(grep -rhoE --include='*.cpp' 'RAPPORT_PLANTED\("[a-z_]+"\)' core sync | sed 's/.*"\(.*\)".*/\1/' | sort -u)
found_by='s/^seed \([0-9]*\): `\(.*\)` does not hold .*/\1 \2/p'

# NAME FIRST-SEED SEEDS: prints seed and promise, or nothing. Whatever else ends the simulator is no find.
look() {
    local rc=0
    "$build/bin/simulate" --planted "$1" --seed "$2" --seeds "$3" >"$log" 2>&1 || rc=$?
    [ "$rc" -le 1 ] || { echo "$1: the simulator ended with $rc" >&2; tail -n 3 "$log" >&2; }
    sed -n "$found_by" "$log" | head -n 1
}

if [ -n "$sample" ]; then
    listed=$(sed -n 's/^\([a-z_][a-z_]*\) .*/\1/p' tests/sim/planted.txt | sort)
    failed=0
    diff <(echo "$planted") <(echo "$listed") || { echo "planted.txt and the bugs planted differ"; failed=1; }
    while read -r name seed promise; do
        by=$(look "$name" "$seed" 5)  # one of its neighbours may find it first after a change
        if [ "${by#* }" = "$promise" ]; then
            printf '%-36s %5s %s\n' "$name" "${by%% *}" "$promise"
        else
            echo "$name: from seed $seed on nobody finds that \`$promise\` is broken, but: ${by:-nothing}"; failed=1
        fi
    done < <(sed -n 's/ sample$//p' tests/sim/planted.txt)
    exit "$failed"
fi

[ ${#names[@]} -gt 0 ] || mapfile -t names <<<"$planted"
found=0
echo "# planted bug, seed that finds it, promise that breaks"
for name in "${names[@]}"; do
    by=$(look "$name" 1 "$seeds")
    if [ -n "$by" ] && ! "$build/bin/simulate" --seed "${by%% *}" --seeds 1 >"$log" 2>&1; then
        echo "seed ${by%% *} fails without $name as well" >&2; by=
    fi
    [ -z "$by" ] || found=$((found + 1))
    echo "$name ${by:-not found}"
done
echo "# $found of ${#names[@]} found"
[ "$found" -eq "${#names[@]}" ]
