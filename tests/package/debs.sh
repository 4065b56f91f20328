#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Builds the Debian packages of a finished build, looks into them, and uses what they hold from a scratch root.
#   tests/package/debs.sh BUILD_DIR
set -euo pipefail
build=$(cd "$1" && pwd)
temp=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server" 2>/dev/null || true; rm -rf "$temp"' EXIT
fail() { echo "FAILED: $*" >&2; exit 1; }

echo "-- the packages"
(cd "$build" && cpack -G DEB -B "$temp/made") >"$temp/cpack" 2>&1 || { cat "$temp/cpack"; fail "cpack"; }
root=$temp/root
for package in rapport rapportd librapport-dev; do
    deb=$(echo "$temp"/made/${package}_*.deb)
    [ -f "$deb" ] || fail "there is no package $package"
    dpkg-deb -f "$deb" Depends >"$temp/$package.depends"
    dpkg-deb -c "$deb" | awk '$1 !~ /^d/ { print $2, $6 }' | sed 's/\.\///' >"$temp/$package.files"
    ! grep -v '^root/root usr/' "$temp/$package.files" || fail "$package holds files outside /usr, or not of root"
    mkdir -p "$temp/$package.control"
    dpkg-deb -e "$deb" "$temp/$package.control"
    dpkg-deb -x "$deb" "$root"
done
cat "$temp"/*.files | sort | uniq -d | { ! grep .; } || fail "two packages hold one file"

holds() { grep -q " usr/$2\$" "$temp/$1.files" || { cat "$temp/$1.files"; fail "$1 has no /usr/$2"; }; }
needs() { grep -q "$2" "$temp/$1.depends" || { cat "$temp/$1.depends"; fail "$1 does not depend on $2"; }; }
holds rapport bin/rapport
[ "$(grep -vc share/doc/ "$temp/rapport.files")" -eq 1 ] || fail "rapport is more than its program"
holds rapportd bin/rapportd
holds rapportd lib/systemd/system/rapportd.service
holds rapportd lib/sysusers.d/rapportd.conf
holds rapportd share/doc/rapportd/VIEWS.md
holds rapportd share/doc/rapportd/examples/reader.py
for file in include/rapport/store.hpp include/rapport/sync/syncer.hpp lib/librapport_core.a lib/librapport_sync.a \
    lib/cmake/rapport/rapport-config.cmake lib/pkgconfig/rapport.pc include/rapport.h lib/librapport.so lib/pkgconfig/rapport-c.pc; do
    holds librapport-dev "$file"
done
needs rapport 'libsqlite3-0 (>= .*libzstd1 (>= '
needs rapport libcurl4
needs rapportd libsodium23
needs librapport-dev 'libsqlite3-dev, .*libzstd-dev'
! grep -q libsodium "$temp/rapport.depends" || fail "the command line needs what only the server uses"

echo "-- the development files find each other"
PKG_CONFIG_PATH=$root/usr/lib/pkgconfig pkg-config --cflags --libs rapport >"$temp/flags"
for flag in -I -L; do
    folder=$(grep -o -- "$flag$temp[^ ]*" "$temp/flags" | head -n 1)
    [ -d "${folder#"$flag"}" ] || { cat "$temp/flags"; fail "pkg-config names no folder of the package"; }
done

echo "-- the server's user, and its unit"
mkdir -p "$root/etc"
systemd-sysusers --root="$root" "$root/usr/lib/sysusers.d/rapportd.conf" >/dev/null 2>&1
grep -q '^rapportd:x:[0-9]*:[0-9]*:Rapport centre:/var/lib/rapportd:' "$root/etc/passwd" || fail "there is no user rapportd"
unit=$root/usr/lib/systemd/system/rapportd.service
sed "s#^ExecStart=#&$root/usr/bin/#" "$unit" >"$temp/rapportd.service"
systemd-analyze verify --man=no "$temp/rapportd.service" >"$temp/verify" 2>&1 || true
! grep rapportd.service "$temp/verify" || fail "systemd does not understand the unit"
systemd-analyze security --offline=true --threshold=20 "$unit" >"$temp/security" ||
    { tail -n 3 "$temp/security"; fail "the unit leaves the server more rights than it needs"; }

echo "-- installing starts it, updating restarts it, removing keeps the records"
mkdir -p "$temp/stubs" "$temp/run/systemd/system"
for stub in systemctl systemd-sysusers; do
    printf '#!/bin/sh\necho "%s $*" >>"%s/called"\n' "$stub" "$temp" >"$temp/stubs/$stub"
    chmod +x "$temp/stubs/$stub"
done
called() {  # SCRIPT ARGUMENTS: what it runs, in one line
    : >"$temp/called"
    PATH=$temp/stubs:$PATH RAPPORT_RUN=$temp/run "$temp/rapportd.control/$1" "${@:2}"
    tr '\n' ',' <"$temp/called" | sed 's/systemctl //g; s/rapportd\.service/it/g'
}
same() { [ "$1" = "$2" ] || fail "expected: $2, found: $1"; }
same "$(called postinst configure '')" 'systemd-sysusers rapportd.conf,enable it,daemon-reload,start it,'
same "$(called postinst configure 0.0.9)" 'systemd-sysusers rapportd.conf,daemon-reload,try-restart it,'
same "$(called postinst abort-upgrade)" ''
same "$(called prerm remove)" 'disable it,stop it,'
same "$(called prerm upgrade 0.1.0)" ''

echo "-- the programs run as the unit runs them"
export STATE_DIRECTORY=$temp/state RAPPORTD_LISTEN=127.0.0.1:0 RAPPORTD_OPTIONS="--port-file $temp/port"
mkdir -p "$STATE_DIRECTORY"
export PATH=$root/usr/bin:$PATH
eval "exec_line=($(sed -n 's/^ExecStart=//p' "$unit"))"
"${exec_line[@]}" 2>"$temp/server.log" &
server=$!
for _ in $(seq 300); do [ -s "$temp/port" ] && break; sleep 0.1; done
[ -s "$temp/port" ] || { cat "$temp/server.log"; fail "the server does not start"; }
store=sqlite:$STATE_DIRECTORY/centre.db
cd "$temp"
rapport init r17.rapport --rep R17 >/dev/null
rapport add r17.rapport customer name='Molkerei Morkenhoven' >/dev/null
code=$(rapportd invite --store "$store" --rep R17 --role rep --scope territory/DE-50 | awk '{ print $NF }')
rapport enrol r17.rapport --server "http://127.0.0.1:$(cat port)" --code "$code" >/dev/null
rapport sync r17.rapport >synced || { cat synced; fail "the sync"; }
rapportd views --store "$store" --update >/dev/null
same "$(sqlite3 -readonly "$STATE_DIRECTORY/centre.db.views/default.db" 'SELECT name FROM customer')" 'Molkerei Morkenhoven'
kill "$server" && wait "$server"
server=
echo "ok"
