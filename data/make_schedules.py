"""Make `schedules.csv`: how many schedules there are, and runs that count them, as programs grow.

    python data/make_schedules.py

Every program is explored. Two threads that increment k times in
autocommit have C(4k, 2k) schedules; those with more threads grow faster still.
"""

import csv
import sqlite3
from contextlib import closing
from pathlib import Path

from helpers.explorer import Program, explore
from helpers.explorer.scenarios import autocommit, begin, no_increment_lost

COLUMNS = ["program", "threads", "increments", "schedules", "runs"]
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
    found = explore(Program("counter", [job] * threads, no_increment_lost))
    assert found.complete
    return [name, threads, increments, found.schedules, found.runs]


if __name__ == "__main__":
    with open(TABLE, "w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([COLUMNS, *(row(*p) for p in programs())])
