"""What recording costs: microseconds a SQL call, and percent of a 16-thread write run.

    python tests/benchmarks/recording.py [--repeats N]

prints one JSON object. The bare and the recorded runs alternate, and the best of each
counts: other work on the machine can only make a run slower.
"""

import argparse
import json
import sqlite3
import sys
import threading
from time import perf_counter

from helpers import databases, load, workloads
from helpers.history import History
from helpers.strategies import Connect


class OneLock:
    """One connection and one lock round each unit of work.

    The lock makes the run repeatable: SQLite's own busy handler sleeps for times that
    would hide a few microseconds a call.
    """

    def __init__(self, path, connect: Connect):
        self.lock = threading.Lock()
        self.connection = connect(path, check_same_thread=False)

    def write(self, unit_of_work, /):
        with self.lock, self.connection:
            return unit_of_work(self.connection)

    read = write

    def close(self):
        """Close the one connection."""
        self.connection.close()


class Bare(OneLock):
    """The same over an unrecorded connection."""

    def __init__(self, path, connect: Connect):
        super().__init__(path, sqlite3.connect)


def microseconds_a_call(connect, calls=20_000):
    """Time of one call when half are `execute` and half `fetchone`, in a counter table."""
    with databases.fresh("counter") as database:
        connection = connect(database, isolation_level=None)
        began = perf_counter()
        for _ in range(calls // 2):
            connection.execute("SELECT value FROM counter WHERE id = ?", (1,)).fetchone()
        seconds = perf_counter() - began
        connection.close()
    return seconds / calls * 1e6


def seconds_of_a_run(strategy, threads=16, units=100):
    """Wall time of a 16-thread increment run in WAL."""
    result = load.run(
        workloads.Increment(units), strategy, threads=threads, seconds=120, journal_mode="wal"
    )
    if not result.ok:
        raise RuntimeError(f"the run is not right: {result.audit}, {result.failures[:1]}")
    return result.seconds


def measure(repeats):
    """Best of `repeats` for each of the four figures, and the two overheads."""
    bare, recorded, bare_run, recorded_run = [], [], [], []
    for _ in range(repeats):
        bare.append(microseconds_a_call(sqlite3.connect))
        recorded.append(microseconds_a_call(History().connect))
        bare_run.append(seconds_of_a_run(Bare))
        recorded_run.append(seconds_of_a_run(OneLock))
    return {
        "python": sys.version.split()[0],
        "sqlite": sqlite3.sqlite_version,
        "bare_us_per_call": round(min(bare), 2),
        "recorded_us_per_call": round(min(recorded), 2),
        "overhead_us_per_call": round(min(recorded) - min(bare), 2),
        "bare_run_s": round(min(bare_run), 3),
        "recorded_run_s": round(min(recorded_run), 3),
        "overhead_of_run_percent": round((min(recorded_run) / min(bare_run) - 1) * 100, 1),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=7)
    print(json.dumps(measure(parser.parse_args().repeats), indent=2))
