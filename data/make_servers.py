"""Make `servers.json`: what a PostgreSQL server and three nodes of dqlite have shown.

    python data/make_servers.py

Needs the packages of the group ``server``, and Debian's package ``go-dqlite``. Notebook 18 shows
the record where these are missing, and is compared with it where they are not.
"""

import json
from dataclasses import asdict

from helpers.isolation import anomalies, postgres
from helpers.load import many_writers, replicas, sessions

READ = "SELECT value FROM counter"
WRITE = "UPDATE counter SET value = %(seen)s + 1"


def both(*statements, **options):
    """Both connections run the same."""
    return sessions.Case({"A": statements, "B": statements}, **options)


CASES = [
    both("BEGIN", READ, WRITE, "COMMIT"),
    both("BEGIN", f"{READ} FOR UPDATE", WRITE, "COMMIT"),
    both("BEGIN", "UPDATE counter SET value = value + 1", "COMMIT"),
    both("BEGIN ISOLATION LEVEL SERIALIZABLE", READ, WRITE, "COMMIT", again=True),
    *(
        postgres.on_server(case, level)
        for level in postgres.LEVELS
        for case in anomalies().values()
    ),
]


def record():
    """All of it, from this machine."""
    live = sessions.Live(record=None)
    try:
        orders = {case.key: sessions.lines(live.every_order(case)) for case in CASES}
        increments = {case.key: live.increments(case) for case in CASES[:2]}
        rates = many_writers.rates(live.server)
        with live.server.connect() as connection:
            (version,) = connection.execute("SHOW server_version").fetchone()
    finally:
        live.close()
    return {
        "postgresql": version,
        "increments": increments,
        "rates": rates,
        "failover": asdict(replicas.kill_the_leader()),
        "orders": orders,
    }


def text(record):
    """JSON with a line for each order."""
    lines = json.dumps(record, indent=1, ensure_ascii=False).splitlines()
    whole = "\n".join(lines)
    for case, runs in record["orders"].items():
        inner = ",\n   ".join(json.dumps(run) for run in runs)
        begin = whole.rindex(f"{json.dumps(case)}: [") + len(f"{json.dumps(case)}: [")
        end = whole.index("\n  ]", begin)
        whole = f"{whole[:begin]}\n   {inner}{whole[end:]}"
    return f"{whole}\n"


if __name__ == "__main__":
    sessions.RECORD.write_text(text(record()), encoding="utf-8", newline="\n")
