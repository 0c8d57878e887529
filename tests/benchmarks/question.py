"""How often the question's program breaks on this Python: rows for data/question_by_python.csv.

    python tests/benchmarks/question.py [--trials N] [--header]

Every trial is a process of its own: one connection shared without a lock, each thread
appending a letter to a hundred rows of its own, ending at its first error.
"""

import argparse
import csv
import platform
import sqlite3
import sys
from collections import Counter

from helpers import workloads
from helpers.commands import versions
from helpers.load import sandbox
from helpers.strategies import SharedConnection

COLUMNS = [
    "python",
    "sqlite",
    "gil",
    "threads",
    "trials",
    "broken",
    "error_raised",
    "acknowledged_lost",
    "stored_unacknowledged",
    "rows_damaged",
    "process_crashed_or_hung",
]


def trial(threads):
    """The columns that one run adds one to."""
    result = sandbox.run_load(
        workloads.AppendLetter(100), SharedConnection, threads=threads, seconds=20
    )
    if result.kind != "returned" or result.value.hung:
        return {"broken", "process_crashed_or_hung"}
    run = result.value
    seen = {
        "error_raised": bool(run.failures),
        "acknowledged_lost": run.audit.lost > 0,
        "stored_unacknowledged": run.audit.unacknowledged > 0,
        "rows_damaged": run.audit.damaged > 0,
        "broken": not run.ok,
    }
    return {column for column, happened in seen.items() if happened}


def measure(threads, trials):
    """One row of the table."""
    counts = Counter()
    for _ in range(trials):
        counts.update(trial(threads))
    row = {
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "gil": "yes" if versions.gil_enabled() else "no",
        "threads": threads,
        "trials": trials,
    }
    return row | {column: counts[column] for column in COLUMNS[5:]}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--header", action="store_true", help="write the column names first")
    arguments = parser.parse_args()
    writer = csv.DictWriter(sys.stdout, COLUMNS, lineterminator="\n")
    if arguments.header:
        writer.writeheader()
    for threads in (1, 2, 5, 10):
        writer.writerow(measure(threads, arguments.trials))
