#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What no compiler checks: which part may include which, licence lines, formatting, the top level, words that must not stay.
#   tests/tidy/run.sh TREE           prints what it finds, one line each; exit 1 if there is anything
#   tests/tidy/run.sh --self-test    shows that each check finds what it is for
set -euo pipefail
export LC_ALL=C.UTF-8

checks=(layers third_party refusals licence format top_level machine_paths left_over)
top_level_names='CMakeLists.txt CMakePresets.json core sync bindings examples tests README.md'

# Files below the tree, as paths relative to it; build folders and dotfolders of tools are not ours.
files() {  # PATTERN...
    local names=() pattern
    for pattern in "$@"; do names+=(-o -name "$pattern"); done
    find . -path './.git' -prune -o -path './.cache' -prune -o -path './build*' -prune -o \
        -type f \( "${names[@]:1}" \) -printf '%P\n' | sort
}
sources() { files '*.cpp' '*.hpp' '*.def' '*.h' '*.c'; }

# PATH:LINE:INCLUDED of every #include in the files named on stdin.
includes() {
    { xargs -r -d '\n' grep -HnE '^[[:space:]]*#[[:space:]]*include[[:space:]]*["<]' || true; } |
        sed -E 's/^([^:]+:[0-9]+):[[:space:]]*#[[:space:]]*include[[:space:]]*["<]([^">]*)[">].*$/\1:\2/'
}

# ---- the checks: each runs in the tree and prints its findings -------------------------------------------------------

# The part a file belongs to; empty where everything may be included.
part_of_file() {
    case $1 in
        core/include/rapport/store.hpp | core/include/rapport/query.hpp | core/include/rapport/json.hpp | core/store/*)
            echo store
            ;;
        core/include/* | core/model/*) echo model ;;
        core/sqlite/*) echo sqlite ;;
        sync/include/* | sync/client/*) echo client ;;
        sync/protocol/*) echo protocol ;;
        sync/server/main.cpp) echo rapportd ;;
        sync/server/*) echo server ;;
        bindings/c/*) echo c ;;
        core/* | sync/* | bindings/*) echo unknown ;;
    esac
}
# The part an included name belongs to; empty for what is not ours.
part_of_include() {
    case $1 in
        rapport/store.hpp | rapport/query.hpp | rapport/json.hpp | store/*) echo store ;;
        rapport/sync/* | client/*) echo client ;;
        rapport/* | model/*) echo model ;;
        sqlite/*) echo sqlite ;;
        protocol/*) echo protocol ;;
        server/*) echo server ;;
        output.hpp) echo output ;;
    esac
}
may_include() {
    case $1 in
        model) echo ' model ' ;;
        sqlite) echo ' sqlite model ' ;;
        store) echo ' store sqlite model ' ;;
        protocol) echo ' protocol model ' ;;
        client) echo ' client protocol store model ' ;;
        server) echo ' server protocol sqlite model ' ;;
        rapportd) echo ' server protocol model output ' ;;
        c) echo ' client store model ' ;;
    esac
}
check_layers() {
    local path line name part target
    while IFS=: read -r path line name; do
        part=$(part_of_file "$path") target=$(part_of_include "$name")
        [ -n "$part" ] || continue
        if [ "$part" = unknown ]; then
            echo "$path: belongs to no part of core or sync"
        elif [ -n "$target" ] && [[ $(may_include "$part") != *" $target "* ]]; then
            echo "$path:$line: $part includes $name of $target"
        fi
        [[ $path != */include/* || -z $target || $name == rapport/* ]] ||
            echo "$path:$line: a public header includes $name, which is not installed"
        [[ $part != c || -z $target || $name == rapport/* ]] ||
            echo "$path:$line: the C face includes $name, which is not public"
    done < <(sources | includes)
}

check_third_party() {
    local path line name
    while IFS=: read -r path line name; do
        case $name in
            sqlite3*) [[ $path == core/sqlite/* || $path == tests/bench/floor.c || $path == tests/support/fault_*.cpp ]] ||
                echo "$path:$line: only core/sqlite includes $name" ;;
            boost/*) [[ $path == sync/server/* ]] || echo "$path:$line: only sync/server includes $name" ;;
        esac
        [[ $path != */include/* || $name == rapport/* || $name =~ ^([a-z_]+|std(def|int)\.h)$ || -n $(part_of_include "$name") ]] ||
            echo "$path:$line: a public header includes $name, which is neither ours nor of the standard library"
    done < <(sources | includes)
}

# A refusal with words of its own would be told in one language only: refusal() takes them from refusal.def.
check_refusals() {
    local path
    sources | grep -E '^(core|sync|examples)/' | while read -r path; do
        ! tr -s ' \n' ' ' <"$path" |
            grep -qE '(push_back\( ?|Refusal ?)\{+}?[^;{}]*"[a-z_]+", ("[^"]* |"`")' ||
            echo "$path: a refusal with a sentence of its own"
    done
}

check_licence() {
    local path
    files '*.cpp' '*.hpp' '*.def' '*.h' '*.c' '*.sh' '*.md' '*.cmake' '*.in' CMakeLists.txt run | while read -r path; do
        head -n 3 "$path" | grep -q 'SPDX-License-Identifier: Apache-2\.0' || echo "$path: no SPDX line"
    done
}

check_format() {
    local tool output
    for tool in clang-format-14 clang-format ''; do
        [ -z "$tool" ] || { "$tool" --version 2>/dev/null | grep -q 'version 14\.'; } && break
    done
    [ -n "$tool" ] || { echo "clang-format 14 is not here, so nothing says that the sources are formatted"; return; }
    if ! output=$(files '*.cpp' '*.hpp' '*.h' '*.c' | xargs -r -d '\n' -n 20 "$tool" --dry-run -Werror 2>&1); then
        grep -E '^[^ :]+:[0-9]+:[0-9]+: error: ' <<<"$output" | sed 's/:.*/: not formatted/' | uniq | grep . || echo "$output"
    fi
}

check_top_level() {
    local name
    for name in $top_level_names; do [ -e "$name" ] || echo "$name: missing at the top level"; done
    for name in *; do
        [[ " $top_level_names " == *" $name "* || ($name == build* && -d $name) ]] || echo "$name: not for the top level"
    done
}

# Spelt so that these lines do not find themselves.
machine_paths='(^|[^A-Za-z0-9_.$}-])/(wo[r]k|ho[m]e|ro[o]t|Us[e]rs)/|sha[r]ed[ -]folder|/sha[r]ed/'
left_over='\b(TO[D]O|FIX[M]E)\b|\bX[X]X:'   # with a colon: without one it is ISO 4217's code for no currency
texts_with() { files '*' | xargs -r -d '\n' grep -HnIE "$1" | cut -c 1-160 || true; }
check_machine_paths() { texts_with "$machine_paths"; }
check_left_over() { texts_with "$left_over"; }

# ----------------------------------------------------------------------------------------------------------------------

run_checks() {  # TREE: findings, each after the name of its check
    local check
    for check in "${checks[@]}"; do
        (cd "$1" && "check_$check") | sed "s/^/$check: /"
    done
}

self_test() {
    local failed=0 tried=' '
    temp=$(mktemp -d)
    trap 'rm -rf "$temp"' EXIT
    local spdx='// SPDX-License-Identifier: Apache-2.0'

    fresh() {
        rm -rf "$temp/tree"
        mkdir -p "$temp/tree"/{core/{include/rapport,model,sqlite,store},sync/{client,protocol,server},bindings/c,examples,tests,build-x}
        cd "$temp/tree"
        echo 'BasedOnStyle: Google' >.clang-format
        echo '# SPDX-License-Identifier: Apache-2.0' | tee CMakeLists.txt README.md >/dev/null
        echo '{}' >CMakePresets.json
        printf '%s\n#include <sqlite3.h>\n\n#include "model/id.hpp"\n' "$spdx" >core/sqlite/database.cpp
        printf '%s\n#include <boost/asio.hpp>\n\n#include "protocol/messages.hpp"\n' "$spdx" >sync/server/engine.cpp
        printf '%s\n#include <vector>\n\n#include "rapport/id.hpp"\n' "$spdx" >core/include/rapport/store.hpp
        echo 'no licence needed: a built file' >build-x/made.cpp
    }
    finds() {  # CHECK PATH TEXT...: the file PATH with these lines makes CHECK, and no other, speak of PATH
        local check=$1 path=$2 found
        fresh
        printf '%s\n' "${@:3}" >"$path"
        found=$(run_checks .)
        tried+="$check "
        if ! grep -q "^$check: $path" <<<"$found" || grep -qv "^$check: " <<<"$found"; then
            printf 'FAILED: %s on %s says:\n%s\n' "$check" "$path" "$found"
            failed=1
        fi
    }

    fresh
    local found
    found=$(run_checks .)
    [ -z "$found" ] || { printf 'FAILED: a clean tree is called unclean:\n%s\n' "$found"; failed=1; }

    finds layers core/model/merge.cpp "$spdx" '#include "sqlite/database.hpp"'
    finds layers core/model/state.cpp "$spdx" '#include "rapport/store.hpp"'
    finds layers core/model/json.cpp "$spdx" '#include <protocol/messages.hpp>'
    finds layers core/sqlite/more.cpp "$spdx" '#include "store/rows.hpp"'
    finds layers core/store/apply.cpp "$spdx" '#include "protocol/messages.hpp"'
    finds layers core/store/store.cpp "$spdx" '#include "rapport/sync/syncer.hpp"'
    finds layers sync/protocol/pack.cpp "$spdx" '#include "store/replica.hpp"'
    finds layers sync/client/session.cpp "$spdx" '#include "server/engine.hpp"'
    finds layers sync/client/syncer.cpp "$spdx" '#include "sqlite/database.hpp"'
    finds layers sync/server/engine.cpp "$spdx" '#include "store/rows.hpp"'
    finds layers sync/server/feed.cpp "$spdx" '#include "client/session.hpp"'
    finds layers sync/server/main.cpp "$spdx" '#include "rapport/store.hpp"'
    finds layers core/include/rapport/kind.hpp "$spdx" '#include "model/state.hpp"'
    finds layers bindings/c/rapport.cpp "$spdx" '#include "model/state.hpp"'
    finds layers bindings/c/rapport.cpp "$spdx" '#include "server/engine.hpp"'
    finds layers core/stray.cpp "$spdx" '#include "model/state.hpp"'
    finds third_party core/store/rows.cpp "$spdx" '#include <sqlite3.h>'
    finds third_party tests/some_test.cpp "$spdx" '#include <sqlite3.h>'
    finds third_party sync/client/curl.cpp "$spdx" '#include <boost/asio.hpp>'
    finds third_party core/include/rapport/kind.hpp "$spdx" '#include <cereal/cereal.hpp>'
    finds third_party core/include/rapport/record.hpp "$spdx" '#include <nlohmann/json.hpp>'
    finds refusals core/model/id.cpp "$spdx" 'Refusal refused() { return Refusal{{}, "name", "rude", "Too rude."}; }'
    finds licence core/model/id.cpp 'int x;'
    finds licence tests/run.sh '#!/usr/bin/env bash'
    finds licence bindings/ABI.md '# Text'
    finds format core/model/id.cpp "$spdx" 'int   x ;'
    finds top_level notes.txt 'Anything.'
    finds top_level build.log 'A file is no build folder.'
    finds machine_paths README.md '<!-- SPDX-License-Identifier: Apache-2.0 -->' "See /ho""me/me/notes."
    finds machine_paths examples/start.sh '# SPDX-License-Identifier: Apache-2.0' "cd /wo""rk/main"
    finds machine_paths bindings/data.json "{\"from\": \"the sha""red folder\"}"
    finds left_over core/model/id.cpp "$spdx" "// TO""DO: later"
    finds left_over bindings/data.json "\"FIX""ME\""
    finds left_over README.md '<!-- SPDX-License-Identifier: Apache-2.0 -->' "X""XX: later"

    fresh
    rmdir bindings/c bindings
    grep -q '^top_level: bindings' <<<"$(run_checks .)" || { echo 'FAILED: a missing folder is not missed'; failed=1; }

    local check
    for check in "${checks[@]}"; do
        [[ $tried == *" $check "* ]] || { echo "FAILED: nothing shows that $check can fail"; failed=1; }
    done
    [ "$failed" -eq 0 ] && echo 'each check finds what it is for'
    return "$failed"
}

case ${1:-} in
    --self-test) self_test ;;
    '') echo "usage: $0 TREE | --self-test" >&2; exit 2 ;;
    *)
        found=$(run_checks "$1")
        [ -z "$found" ] && { echo 'tidy'; exit 0; }
        printf '%s\n' "$found"
        exit 1
        ;;
esac
