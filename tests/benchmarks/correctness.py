"""Acknowledged is stored: every right strategy under load, in both journal modes.

    python tests/benchmarks/correctness.py [--runs N] [--units N] [--synchronous OFF] > it.json

In each run 16 threads do `units` units of work, half of them increments of one counter, half
transfers with a ledger; some of the transfers give up halfway.
"""

import argparse
import functools
import json
import os
import platform
import sqlite3
import sys

from helpers import load
from helpers.strategies import PerThread, Pool, Retry, Settings, TransactionLock, Writer
from helpers.workloads import Cancelled, Increment, Transfer

THREADS = 16
#: No unit may wait for longer, in seconds. SQLite's busy handler is no queue: some wait long.
LONGEST = 600.0


def strategies(synchronous):
    """Name -> how to make one, patient enough that no unit is refused."""
    settings = Settings(busy_timeout=LONGEST, synchronous=synchronous)
    ways = {
        "TransactionLock": functools.partial(TransactionLock, timeout=LONGEST),
        "PerThread": PerThread,
        "PerThread, DEFERRED and Retry": functools.partial(
            PerThread, begin="DEFERRED", retry=Retry(seconds=LONGEST)
        ),
        "Pool": functools.partial(Pool, timeout=LONGEST),
        "Writer": functools.partial(Writer, timeout=LONGEST),
    }
    # Without the recording that `load.run` offers: it would take most of the time.
    return {
        name: lambda path, _connect, way=way: way(path, settings.open) for name, way in ways.items()
    }


def run(make, journal_mode, units):
    """One run of both workloads: the sums of both."""
    each = -(-units // (2 * THREADS))
    totals = {"acknowledged": 0, "stored": 0, "wrong": 0, "cancelled": 0, "errors": 0}
    seconds = longest = 0.0
    for workload in (Increment(each), Transfer(each, cancel_every=10)):
        result = load.run(
            workload,
            make,
            threads=THREADS,
            seconds=LONGEST,
            stop_on_error=False,
            journal_mode=journal_mode,
        )
        audit, failures = result.audit, result.failures
        cancelled = sum(failure.error.kind == Cancelled.__name__ for failure in failures)
        totals["acknowledged"] += audit.acknowledged
        totals["stored"] += audit.stored
        totals["wrong"] += audit.unacknowledged + audit.damaged
        totals["cancelled"] += cancelled
        totals["errors"] += len(failures) - cancelled
        totals["wrong"] += THREADS * each - audit.acknowledged - len(failures)
        seconds += result.seconds
        longest = max(longest, *result.longest_wait.values())
    return totals, seconds, longest


def measure(name, make, journal_mode, runs, units):
    """The sums over all runs, with the time of the slowest run and the longest wait."""
    row = {"strategy": name, "journal_mode": journal_mode, "runs": runs}
    slowest = longest = 0.0
    for _ in range(runs):
        totals, seconds, wait = run(make, journal_mode, units)
        for key, value in totals.items():
            row[key] = row.get(key, 0) + value
        slowest, longest = max(slowest, seconds), max(longest, wait)
    kept = row["acknowledged"] == row["stored"] and not row["wrong"] and not row["errors"]
    return {
        **row,
        "kept": kept,
        "slowest_run_s": round(slowest, 2),
        "longest_wait_ms": round(longest * 1e3, 1),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--units", type=int, default=10_000)
    parser.add_argument("--synchronous", default="OFF", help="OFF, NORMAL, FULL: no matter here")
    arguments = parser.parse_args()
    results = []
    for journal_mode in ("wal", "delete"):
        for name, make in strategies(arguments.synchronous).items():
            results.append(measure(name, make, journal_mode, arguments.runs, arguments.units))
            print(f"{name}, {journal_mode}: kept={results[-1]['kept']}", file=sys.stderr)
    about = {
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "cores": os.cpu_count(),
        "threads": THREADS,
        "units_a_run": arguments.units,
        "synchronous": arguments.synchronous,
    }
    json.dump({**about, "results": results}, sys.stdout, indent=1)
    print()
