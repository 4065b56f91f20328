#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Keeps a table of complaints and wishes in step with the centre: reader.py URL KEY FILE [QUERY] [--once]

The cursor is stored in the transaction of the rows that came with it, so the reader may be killed anywhere and goes on."""
import json, sqlite3, sys, time, urllib.error, urllib.request

once = "--once" in sys.argv
url, key, path, query = ([word for word in sys.argv[1:] if word != "--once"] + ["kind=complaint,product_wish&limit=1000"])[:4]
db = sqlite3.connect(path, timeout=30, isolation_level=None)
db.executescript("""CREATE TABLE IF NOT EXISTS record (id TEXT PRIMARY KEY, kind TEXT NOT NULL, scope TEXT NOT NULL, state TEXT,
                        received_at TEXT NOT NULL, fields TEXT NOT NULL, conflicts TEXT);
                    CREATE TABLE IF NOT EXISTS place (one INTEGER PRIMARY KEY CHECK (one = 1), cursor TEXT NOT NULL);
                    INSERT OR IGNORE INTO place VALUES (1, '');""")

def page(cursor):
    request = urllib.request.Request(f"{url}/v1/feed?{query}&after={cursor}", headers={"Authorization": f"Bearer {key}"})
    with urllib.request.urlopen(request, timeout=60) as reply:
        *lines, last = map(json.loads, reply.read().splitlines())
    return lines, last["cursor"]  # a page that was cut has none, and is asked for again

def take(line):
    state = line.get("fields", {}).get("state")
    if line["event"] == "erased":  # its own line, without the person, follows; a reader that keeps history must take it out there
        return
    if line["event"] == "departed":  # where it went, its own line says, which follows
        db.execute("DELETE FROM record WHERE id = ? AND scope = ?", (line["id"], line["from"]))
    elif state in ("withdrawn", "merged"):
        db.execute("DELETE FROM record WHERE id = ?", (line["id"],))
    else:
        db.execute("REPLACE INTO record VALUES (?, ?, ?, ?, ?, ?, ?)", (line["id"], line["kind"], line["scope"], state,
                   line["received_at"], json.dumps(line["fields"]), json.dumps(line.get("conflicts"))))

while True:
    (cursor,) = db.execute("SELECT cursor FROM place").fetchone()
    try:
        lines, after = page(cursor)
    except urllib.error.HTTPError as error:
        if error.code != 409:  # 409: the centre was restored from a backup
            raise
        db.executescript("BEGIN; DELETE FROM record; UPDATE place SET cursor = ''; COMMIT;")
        continue
    db.execute("BEGIN")
    for line in lines:
        take(line)
    db.execute("UPDATE place SET cursor = ?", (after,))
    db.execute("COMMIT")
    print(len(lines), "lines", flush=True)
    if after == cursor:  # the end for now
        if once:
            break
        time.sleep(2)
