#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The shared library shows exactly what its export list names, and the header declares the same.
#   tests/bindings/exports.sh LIBRARY LIST HEADER
set -euo pipefail
export LC_ALL=C
shown=$(nm -D --defined-only "$1" | awk '$2 ~ /[TDBRVW]/ { sub(/@.*/, "", $3); print $3 }' | sort)
listed=$(grep -oE '^ +rapport_[a-z_]+;' "$2" | tr -d ' ;' | sort)
declared=$(grep -oE '\brapport_[a-z_]+\(' "$3" | tr -d '(' | sort -u)
diff <(echo "$listed") <(echo "$shown") || { echo 'FAILED: < listed, > shown by the library' >&2; exit 1; }
diff <(echo "$listed") <(echo "$declared") || { echo 'FAILED: < listed, > declared in the header' >&2; exit 1; }
