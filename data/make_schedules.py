"""Make `schedules.csv`: how many schedules there are, in full and reduced, as programs grow.

    python data/make_schedules.py

Every program is explored, so it takes some minutes. Two threads that increment k times in
autocommit have C(4k, 2k) schedules in full; those with more threads grow faster still.
"""

import csv
import sqlite3
from contextlib import closing
from pathlib import Path

from helpers.explorer import Program, explore
from helpers.explorer.scenarios import autocommit, begin, no_increment_lost

COLUMNS = ["program", "threads", "increments", "full", "reduced"]
TABLE = Path(__file__).resolve().parent / "schedules.csv"


def repeated(times):
    """Increment so many times, each read and each write a transaction of its own."""

    def job(path):
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            for _ in range(times):
                (value,) = connection.execute("SELECT value FROM counter").fetchone()
                connection.execute("UPDATE counter SET value = ?", (value + 1,))

    return job


def programs():
    """(name, threads, increments of each, what each runs)."""
    yield from (("autocommit", 2, times, repeated(times)) for times in range(1, 5))
    yield ("autocommit", 3, 1, autocommit)
    for kind in ("DEFERRED", "IMMEDIATE"):
        yield from ((f"BEGIN {kind}", threads, 1, begin(kind)) for threads in (2, 3))


def row(name, threads, increments, job):
    """One row of the table, by exploring."""
    program = Program("counter", [job] * threads, no_increment_lost)
    full, reduced = (
        explore(program, reduce=reduce, seconds=1200, max_schedules=10**6)
        for reduce in (False, True)
    )
    assert full.complete
    assert reduced.complete
    return [name, threads, increments, full.schedules, reduced.schedules]


if __name__ == "__main__":
    with open(TABLE, "w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([COLUMNS, *(row(*p) for p in programs())])
