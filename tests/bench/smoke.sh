#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Shows that the harness works: every figure is printed, and a comparison names the one that got worse. What they come to is not looked at.
set -euo pipefail
bench=$1
temp=$(mktemp -d)
trap 'rm -rf "$temp"' EXIT
"$bench" --tiny >"$temp/figures"

figures='capture capture_fsyncs capture_at_normal import open newest_50_visits search
first_upload first_upload_requests first_download first_download_requests first_upload_bytes file_bytes search_index_bytes empty_file
ten_edits_requests ten_edits_bytes ten_visits_bytes idle_requests idle_bytes_out idle_bytes_back idle_body_out idle_body_back
ten_edits_at_40 sync_after_upload_at_40 ten_edits_at_80 sync_after_upload_at_80
other_fields_kept other_fields_time other_fields_bytes same_field_losers_readable same_field_time same_field_bytes
sync_memory library_own_code library_with_sqlite_and_zstd'
missing=0
for figure in $figures; do
    [ "$(grep -c "^{\"figure\":\"$figure\",\"value\":" "$temp/figures")" = 1 ] || { echo "$figure is not printed once"; missing=1; }
done
[ "$(wc -l <"$temp/figures")" = "$(wc -w <<<"$figures")" ] || { echo "other figures are printed as well"; missing=1; }

sed 's/^\({"figure":"ten_edits_bytes","value":\)[0-9.]*/\199999/' "$temp/figures" >"$temp/worse"
"$bench" compare "$temp/figures" "$temp/figures" | grep -q ', 0 of them' || { echo 'equal figures are called worse'; missing=1; }
"$bench" compare "$temp/figures" "$temp/worse" | grep -q '^ten_edits_bytes got worse' || { echo 'a worse figure is not named'; missing=1; }
exit "$missing"
