#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Simulates histories from seeds and prints how often each class of faults really struck. A seed that fails is reduced to a
# plan, which is written beside and named at the end; put it into tests/sim/plans and it is replayed with every ctest.
#   tests/sim/run.sh --seeds N [--seed FIRST] [--minutes M] [--jobs J] [--plain] [--build FOLDER]
set -euo pipefail
cd "$(dirname "$0")/../.."
seeds= first=1 minutes=0 jobs=$(nproc) plain= build=build-release
while [ $# -gt 0 ]; do
    case $1 in
        --seeds) seeds=$2 ;;
        --seed) first=$2 ;;
        --minutes) minutes=$2 ;;
        --jobs) jobs=$2 ;;
        --build) build=$2 ;;
        --plain) plain=--plain; shift; continue ;;  # nothing that somebody has to recover from
        *) sed -n '3,5s/^# *//p' "$0"; exit 2 ;;
    esac
    shift 2
done
[ -n "$seeds" ] || { sed -n '5s/^# *//p' "$0"; exit 2; }
if [ "$build" = build-release ]; then
    cmake --preset release -DRAPPORT_SIM=ON >/dev/null
    cmake --build build-release -j "$jobs" --target simulate | tail -n 1
fi
[ -d /dev/shm ] && [ -w /dev/shm ] && export TMPDIR=/dev/shm  # the files are real; memory is faster than a disk
out=$build/sim; mkdir -p "$out"; rm -f "$out"/*.plan "$out"/*.log

# One process per core, each with every J-th seed.
pids=()
for ((j = 0; j < jobs; ++j)); do
    "$build/bin/simulate" --seeds $(((seeds + jobs - 1 - j) / jobs)) --seed $((first + j)) --step "$jobs" --minutes "$minutes" \
        ${plain:+$plain} --reduce --keep-going --out "$out" >"$out/$j.log" &
    pids+=($!)
done
failed=0
for pid in "${pids[@]}"; do wait "$pid" || failed=1; done

grep -hE '^(seed|  reduced)' "$out"/*.log || true
printf '%-48s %9s %7s\n' fault struck seeds
awk -F '  +' '/^[^ ].*  +[0-9]+ +[0-9]+$/ { split($0, w, /  +/); n = w[1]; sub(/ +$/, "", n); t[n] += w[2]; s[n] += w[3]; if (!(n in o)) { o[n] = ++k; name[k] = n } }
    END { for (i = 1; i <= k; ++i) printf "%-48s %9d %7d\n", name[i], t[name[i]], s[name[i]] }' "$out"/*.log
awk '/ seeds, .* failed$/ { seeds += $1; events += $3; if ($5 > s) s = $5; failed += $7 }
    END { printf "%d seeds, %d events, %d s, %d failed\n", seeds, events, s, failed }' "$out"/*.log
exit "$failed"
