#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Installs a finished build into a temporary folder and uses it as an app developer would: with find_package, with pkg-config,
# and with the two programs. README.md must show the example that is compiled here.
#   tests/package/run.sh BUILD_DIR
set -euo pipefail
build=$(cd "$1" && pwd)
here=$(cd "$(dirname "$0")" && pwd)
temp=$(mktemp -d)
readme=$here/../../README.md
server=
trap '[ -z "$server" ] || kill "$server" 2>/dev/null || true; rm -rf "$temp"' EXIT

fail() { echo "FAILED: $*" >&2; exit 1; }
holds() { grep -qxE "$2" "$1" || { cat "$1" >&2; fail "the output has no line like: $2"; }; }
cached() { sed -n "s/^$1:[A-Z]*=//p" "$build/CMakeCache.txt"; }

echo "-- README.md shows the example"
diff <(tail -n +2 "$here/readme_example.cpp") <(sed -n '/^```cpp$/,/^```$/{/^```/d;p}' "$readme") ||
    fail "README.md and tests/package/readme_example.cpp differ"

echo "-- install, and move what was installed"
cmake --install "$build" --prefix "$temp/first" >/dev/null
mv "$temp/first" "$temp/moved"
prefix=$temp/moved
for program in rapport rapportd; do
    "$prefix/bin/$program" --version >"$temp/version" || fail "$program --version"
    holds "$temp/version" ".*[0-9]+\.[0-9]+\.[0-9]+"
done

echo "-- the installed headers stand on their own"
cxx=$(cached CMAKE_CXX_COMPILER)
(cd "$prefix/include" && find rapport -name '*.hpp' -printf '#include <%p>\n') >"$temp/all.hpp"
"$cxx" -std=c++20 -x c++ -M -I "$prefix/include" "$temp/all.hpp" >"$temp/dependencies"
! grep -E 'sqlite3|boost|cereal|nlohmann|curl/|/core/|/sync/(protocol|client|server)' "$temp/dependencies" ||
    fail "a public header needs one that apps do not have"

echo "-- find_package"
cmake -G Ninja -S "$here" -B "$temp/consumer" -DCMAKE_CXX_COMPILER="$cxx" -DCMAKE_BUILD_TYPE=Debug \
    -DCMAKE_PREFIX_PATH="$prefix" >"$temp/configure" || { cat "$temp/configure"; fail "find_package"; }
cmake --build "$temp/consumer" -j 1 >"$temp/make" || { cat "$temp/make"; fail "the consumer does not build"; }
mkdir "$temp/run" && cd "$temp/run"
"$temp/consumer/capture"

serve() {  # starts rapportd here on a free port; sets `port`
    [ -z "$server" ] || { kill "$server" && wait "$server" || true; }
    "$prefix/bin/rapportd" serve --store sqlite:centre.db --listen 127.0.0.1:0 --port-file port 2>centre.log &
    server=$!
    for _ in $(seq 300); do [ -s port ] && break; sleep 0.1; done
    [ -s port ] || { cat centre.log >&2; fail "rapportd does not start"; }
    port=$(cat port)
}

echo "-- the example, without a server and with one"
uuid='[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}'
"$temp/consumer/readme_example" >alone
holds alone "$uuid"
holds alone "not_enrolled: 0 applied"
serve
code=$("$prefix/bin/rapportd" invite --store sqlite:centre.db --rep R17 --role rep --scope territory/DE-50 | awk '{ print $NF }')
"$temp/consumer/readme_example" "http://127.0.0.1:$port" "$code" >enrolled
holds enrolled "complete: 2 applied"   # this run's bundle and that of the run before

echo "-- pkg-config"
export PKG_CONFIG_PATH=$(dirname "$(find "$prefix" -name rapport.pc)")
read -ra flags < <(pkg-config --cflags --libs rapport)
"$cxx" -std=c++20 "$here/readme_example.cpp" "${flags[@]}" -o with_pkg_config
./with_pkg_config >again
holds again "complete: 1 applied"
read -ra flags < <(pkg-config --cflags --libs rapport-c)
cc=$(cached CMAKE_C_COMPILER)
"$cc" -std=c11 -Wall -Wextra -Wpedantic -Werror "$here/capture.c" "${flags[@]}" -Wl,-rpath,"$(pkg-config --variable=libdir rapport-c)" -o in_c
./in_c >captured_in_c
holds captured_in_c '[0-9.]+ \{"ids":\["[0-9a-f-]{36}"\],"refusals":\[\]\}'
echo "-- the commands README.md shows for the rep's IT and the backend team"
mkdir "$temp/walk" && cd "$temp/walk"
serve
shown() { sed -n "/^## $1/,/^## /p" "$readme" | sed -n '/^```sh$/,/^```$/{/^```/d;p}' | sed -e '/^rapportd serve /d' -e "s/:8470/:$port/"; }
{ shown "For the rep's IT"; shown "For the backend team"; } >walk.sh
PATH=$prefix/bin:$PATH bash -euo pipefail walk.sh >walk.out 2>walk.err || { cat walk.out walk.err >&2; fail "the commands in README.md"; }
holds walk.out "sent 2, applied 2, .*"
holds walk.out "sound"
[ "$(wc -l <records.ndjson)" -eq 8 ] && [ "$(grep -c '"event":"departed"' records.ndjson)" -eq 4 ] && [ -s cursor ] && [ -s backup.db ] || { cat walk.out >&2; fail "the feed or the backup of README.md"; }
echo "ok"
