# SPDX-License-Identifier: Apache-2.0
# Installs the Debian packages that are missing; sourced by tests/run.sh and examples/quickstart.sh.
#   install_packages NAME...

rapport_build_packages=(
    g++ cmake ninja-build pkg-config ccache
    libsqlite3-dev libcereal-dev libcurl4-openssl-dev libzstd-dev libutf8proc-dev nlohmann-json3-dev
    libboost1.81-dev libcli11-dev libspdlog-dev libfmt-dev libsodium-dev)
rapport_test_packages=(doctest-dev zlib1g-dev clang-14 libclang-rt-14-dev clang-format-14 sqlite3 curl python3 python3-jsonschema dpkg-dev file systemd)

install_packages() {
    local missing=() package
    for package in "$@"; do
        dpkg-query -W -f='${db:Status-Status}\n' "$package" 2>/dev/null | grep -qx installed || missing+=("$package")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    local as_root=()
    [ "$(id -u)" -eq 0 ] || as_root=(sudo)
    echo "installing: ${missing[*]}"
    "${as_root[@]}" apt-get -qq update
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends "${missing[@]}" >/dev/null
}
