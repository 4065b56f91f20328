#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# One working week of two reps and their office, played for real: a server, six device files, data in examples/week.
# Installs what is missing, builds, plays, prints. Leaves its files in build-release/week; a second run starts clean.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
data=$root/examples/week

# ---- build -----------------------------------------------------------------------------------------------------------
. .ci/packages.sh
install_packages "${rapport_build_packages[@]}" sqlite3 curl
jobs=$(nproc); [ "$jobs" -le 2 ] || jobs=$((jobs - 1))
cmake --preset release >/dev/null
echo "building rapport and rapportd ..."
cmake --build build-release -j "$jobs" --target rapport rapportd | tail -n 1
PATH=$root/build-release/bin:$PATH

# ---- helpers ---------------------------------------------------------------------------------------------------------
started=$(date +%s)
week=$root/build-release/week
[ ! -f "$week/server.pid" ] || kill "$(cat "$week/server.pid")" 2>/dev/null || true
rm -rf "$week" && mkdir -p "$week" && cd "$week"
store=sqlite:$week/server.db
address=

title() { printf '\n\033[1m== %s\033[0m\n' "$*"; }
say() { printf '   %s\n' "$*"; }
last_word() { awk '{ word = $NF } END { print word }'; }
ids() { grep -o '"id":"[0-9a-f-]*"' | cut -d'"' -f4; }                       # first id of each NDJSON line
first_id() { rapport list "$1" "$2" --where "$3" --format ndjson | sed 's/^.*"id":"\([0-9a-f-]\{36\}\)","scope".*$/\1/' | head -n 1; }
table() { sqlite3 -readonly -box "$@"; }

serve() {
    rm -f port
    rapportd serve --store "$store" --listen "${address:-127.0.0.1:0}" --port-file port 2>>server.log &
    echo $! >server.pid
    for _ in $(seq 100); do [ -s port ] && break; sleep 0.1; done
    [ -s port ] || { echo "the server did not start; see $week/server.log" >&2; exit 1; }
    address=127.0.0.1:$(cat port)
}
stop_server() {
    kill "$(cat server.pid)" 2>/dev/null || true
    wait "$(cat server.pid)" 2>/dev/null || true
    rm -f server.pid
}
trap '[ ! -f "$week/server.pid" ] || kill "$(cat "$week/server.pid")" 2>/dev/null || true' EXIT

enrol() {  # FILE REP ROLE SCOPE
    local code
    code=$(rapportd invite --store "$store" --rep "$2" --role "$3" --scope "$4" | last_word)
    [ -f "$1" ] || rapport init "$1" --rep "$2" >/dev/null
    rapport enrol "$1" --server "http://$address" --code "$code"
}
sync_all() { for file in "$@"; do printf '   %-18s' "$file"; rapport sync "$file" --for 60s || true; done; }

# ---- the week --------------------------------------------------------------------------------------------------------
title "Before the week: customers are captured before anything is enrolled"
rapport init r17-phone.rapport --rep R17
rapport import r17-phone.rapport "$data/rep-r17-customers.ndjson"
rapport init r23-phone.rapport --rep R23
rapport import r23-phone.rapport "$data/rep-r23-customers.ndjson"

title "The centre starts, takes its reference data and invites"
serve
say "rapportd serves on http://$address"
rapportd import --store "$store" "$data/central.ndjson"
enrol r17-phone.rapport R17 rep territory/DE-50
enrol r17-tablet.rapport R17 rep territory/DE-50
enrol r23-phone.rapport R23 rep territory/DE-40
enrol quality.rapport Q1 qm 'territory/*'
enrol product.rapport P1 pm 'territory/*'
sync_all r17-phone.rapport r17-tablet.rapport r23-phone.rapport

title "The server is stopped: the reps go on in cellars and cold stores"
stop_server
rapport import r17-phone.rapport "$data/rep-r17-phone.ndjson"
rapport import r17-tablet.rapport "$data/rep-r17-tablet.ndjson"
rapport import r23-phone.rapport "$data/rep-r23-phone.ndjson"
say "R23 meets a new customer and types a customer number that belongs to somebody else:"
rapport add r23-phone.rapport customer name='Feinkost Abendroth' external_ids=erp:10023 \
    + product_wish customer_id=@1 need='Becher mit Sichtfenster für die Theke' importance=important >mistaken.ids
mistaken=$(head -n 1 mistaken.ids)
rapport sync r17-phone.rapport --for 2s || say "exit code $? - nothing is lost, it goes out later"

title "Captured per device, not yet sent"
{
    echo "device,visits,complaints,wishes,bundles waiting"
    for file in r17-phone r17-tablet r23-phone; do
        sqlite3 -readonly -csv $file.rapport "SELECT '$file', (SELECT count(*) FROM visit WHERE status & 2),
            (SELECT count(*) FROM complaint WHERE status & 2), (SELECT count(*) FROM product_wish WHERE status & 2),
            (SELECT count(*) FROM bundle)"
    done
} >captured.csv
sqlite3 -box :memory: -cmd ".import --csv captured.csv captured" "SELECT * FROM captured"

title "The server is back: everybody syncs"
serve
sync_all r17-phone.rapport r17-tablet.rapport r23-phone.rapport r17-phone.rapport quality.rapport product.rapport

title "R23's bundle was refused, for a reason, and blocked nobody"
rapport status r23-phone.rapport || true
say "the number is corrected; the edit sends the bundle again"
rapport set r23-phone.rapport "$mistaken" external_ids-=erp:10023 external_ids+=erp:24205
sync_all r23-phone.rapport

title "Phone and tablet of R17 edit one complaint, both offline"
leak=$(first_id r17-phone.rapport complaint lot=L4630-A)
rapport set r17-phone.rapport "$leak" qty_affected.value_milli=5600000 remedy_wanted=credit \
    description='Rand zu weit. Nachgemessen: 95,4 statt 95,0 mm. Fünf Muster liegen im Labor.'
sleep 1
rapport set r17-tablet.rapport "$leak" severity=critical remedy_wanted=refund \
    description='Kunde hat Linie 3 gestoppt und sortiert von Hand. Jede Stunde kostet ihn 1.200 Euro.'
sync_all r17-phone.rapport r17-tablet.rapport r17-phone.rapport
say "different fields met without a word; severity: the graver holds; two values and two texts wait for a person:"
rapport conflicts r17-phone.rapport || true
say "the rep keeps both texts and takes the later remedy"
rapport resolve r17-phone.rapport "$leak:description" --keep both
rapport resolve r17-phone.rapport "$leak:remedy_wanted" --keep theirs
sync_all r17-phone.rapport r17-tablet.rapport quality.rapport
rapport conflicts r17-tablet.rapport || true

title "Quality acknowledges, assesses and answers; product management joins wishes to themes and decides one"
rapport request quality.rapport "$leak" acknowledged
rapport set quality.rapport "$leak" defect_code=dimension
rapport request quality.rapport "$leak" assessed
rapport request quality.rapport "$leak" answered decision=justified \
    reply_text='Werkzeug 7 war verschlissen und ist getauscht. Ersatz für 5.600 Deckel geht am Montag raus.'
sqlite3 -readonly -separator ' ' product.rapport "SELECT lower(hex(w.id)), lower(hex(t.id)) FROM product_wish w, json_each(w.theme_hint) h
    JOIN theme t ON json_extract(t.labels, '\$.de') = h.value" |
    sed -E 's/([0-9a-f]{8})([0-9a-f]{4})([0-9a-f]{4})([0-9a-f]{4})([0-9a-f]{12})/\1-\2-\3-\4-\5/g' >links
while read -r wish theme; do
    rapport set product.rapport "$wish" "theme_ids+=$theme"
done <links >/dev/null
say "$(wc -l <links) links from wishes to themes"
theme=$(first_id product.rapport theme 'title~Nachfüllbeutel')
rapport request product.rapport "$theme" under_review
rapport request product.rapport "$theme" planned \
    decision_text_for_customer='Der Nachfüllbeutel 500 ml mit Schraubausgießer kommt im Herbst.' \
    decision_text_internal='Werkzeug bei T. bestellt, 84.000 Euro.'
sync_all quality.rapport product.rapport r17-phone.rapport r17-tablet.rapport r23-phone.rapport
say "what the reps now see without asking:"
rapport list r17-tablet.rapport complaint --where lot=L4630-A --columns number,state,severity,decision,reply_text
rapport list r23-phone.rapport theme --where 'title~Nachfüllbeutel' --columns title,state,decision_text_for_customer

# ---- the picture -----------------------------------------------------------------------------------------------------
title "The picture at the centre: wishes by theme"
table product.rapport "SELECT t.title AS theme, t.state, count(*) AS wishes, count(DISTINCT w.customer_id) AS customers,
    sum(w.importance = 'dealbreaker') AS dealbreakers
    FROM product_wish w, json_each(w.theme_ids) l JOIN theme t
      ON lower(hex(t.id)) = replace(l.value, '-', '') GROUP BY t.id ORDER BY customers DESC, wishes DESC"
title "Complaints by product"
table quality.rapport "SELECT coalesce(p.name, c.product_text) AS product, count(*) AS complaints,
    count(DISTINCT c.customer_id) AS customers, sum(c.severity IN ('critical', 'safety')) AS grave, sum(c.state = 'answered') AS answered
    FROM complaint c LEFT JOIN product p ON p.id = c.product_id GROUP BY 1 ORDER BY complaints DESC, grave DESC LIMIT 10"
title "Received at the centre, and the feed the backend teams read"
rapportd stats --store "$store"
key=$(rapportd key add --store "$store" --role feed | last_word)
curl -sf -H "Authorization: Bearer $key" "http://$address/v1/feed?kind=complaint&limit=2" | cut -c 1-400

stop_server
title "Done in $(($(date +%s) - started)) s after the build. The files are in build-release/week. Look further:"
cat <<END
   export PATH=$root/build-release/bin:\$PATH; cd $week
   rapport list r17-phone.rapport complaint --where 'severity>=critical' --since 2026-03-01
   rapport show r17-tablet.rapport $leak
   rapport list product.rapport product_wish --where theme_hint~Nachfüllbeutel --columns customer_id,need,importance
   rapport status r23-phone.rapport; rapport doctor r17-phone.rapport
   rapportd serve --store $store --listen $address &     # then: rapport sync r17-phone.rapport
   curl -H 'Authorization: Bearer $key' http://$address/v1/feed
END
