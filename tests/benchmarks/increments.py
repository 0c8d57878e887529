"""Two threads add 1 to a counter under one library that explores schedules; one JSON line.

    python tests/benchmarks/increments.py LIBRARY PATH BEGIN MODE TIMEOUT SECONDS

is what `libraries.py` runs in a child process. PATH is that of the database; beside it grows
PATH.ends: how each schedule ended, a line for each. All libraries run the same function and check
the same promise.
"""

from __future__ import annotations

import importlib
import json
import os
import sqlite3
import sys
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

SCHEMA = "CREATE TABLE counter (id INTEGER PRIMARY KEY, value INTEGER NOT NULL)"
THREADS = ("A", "B")


def increment(path, begin, **options):
    """Read and write, in a transaction if `begin` is not empty; `options` go to `connect`."""
    with closing(sqlite3.connect(path, isolation_level=None, **options)) as connection:
        if begin:
            connection.execute(begin)
        (value,) = connection.execute("SELECT value FROM counter").fetchone()
        connection.execute("UPDATE counter SET value = ?", (value + 1,))
        if begin:
            connection.execute("COMMIT")


@dataclass(frozen=True)
class Case:
    """The program on one database; it travels by pickle where a library runs processes."""

    path: str
    begin: str
    mode: str
    timeout: float
    seconds: float

    def fresh(self):
        """A counter at 0; the path stays the same, for frontrun tells databases apart by it."""
        for end in ("", "-wal", "-shm", "-journal", *THREADS):
            Path(self.path + end).unlink(missing_ok=True)
        with closing(sqlite3.connect(self.path, isolation_level=None)) as connection:
            connection.execute(f"PRAGMA journal_mode={self.mode}")
            connection.execute(SCHEMA)
            connection.execute("INSERT INTO counter VALUES (1, 0)")
        return self.path

    def attempt(self, name, **options):
        """One thread. An error of SQLite's is an answer: the promise counts who had none."""
        try:
            increment(self.path, self.begin, timeout=self.timeout, **options)
        except sqlite3.OperationalError:
            Path(self.path + name).touch()  # seen across processes too

    def holds(self):
        """The explorer's promise: the counter is the number of threads that had no error."""
        with closing(sqlite3.connect(self.path)) as connection:
            (value,) = connection.execute("SELECT value FROM counter").fetchone()
        succeeded = sum(not os.path.exists(self.path + name) for name in THREADS)
        with open(self.path + ".ends", "a", encoding="utf-8") as file:
            file.write(f"{value} {succeeded}\n")
        return value == succeeded


def worker(case, name):
    return lambda state: case.attempt(name)


def frontrun(case, execution="thread"):
    import frontrun

    # Without a bound, so that a pass covers every order; not replayed, for the search is measured.
    options = {"preemption_bound": None, "reproduce_on_failure": 0, "total_timeout": case.seconds}
    # Its advice where a run times out, as one that waits for a lock does: a longer limit.
    patience = case.seconds / 2
    if execution == "thread":
        options["timeout_per_run"] = patience
    else:
        del options["reproduce_on_failure"]  # refused there
    found = frontrun.explore(
        case.fresh,
        [worker(case, name) for name in THREADS],
        lambda path: case.holds(),
        execution=execution,
        deadlock_timeout=patience,
        **options,
    )
    holds, terms = found.property_holds, f"property_holds={found.property_holds}"
    if found.exhausted is not None:
        terms += f", exhausted={found.exhausted}"
    if found.failure_kind is not None:
        terms += f", failure_kind={found.failure_kind}"
        # Its other kinds say that a run could not be followed.
        if found.failure_kind not in ("invariant", "worker_error", "deadlock"):
            holds = None
    if found.inconclusive_reason:
        terms += f": {found.inconclusive_reason.split('. ')[0]}"
    return {
        "holds": holds,
        "complete": found.exhausted is not False,
        "schedules": found.num_explored,
        "verdict": terms,
    }


def interleave_test(case):
    import interleave_test as library

    def model():
        with library.no_interleave():  # for set-up, as its documentation says
            case.fresh()
        tasks = [library.spawn(case.attempt, name) for name in THREADS]
        for task in tasks:
            task.join()
        with library.no_interleave():
            assert case.holds()

    # "dfs" is the strategy that can prove, with its bound of 2 preemptions. By lines, since the
    # threads share nothing but the database, and each call of SQLite has a line of its own.
    found = library.explore(
        model, strategy="dfs", granularity="line", iterations=10**6, raise_on_failure=False
    )
    terms = f"ok={found.ok}, exhausted={found.exhausted} (at most 2 preemptions)"
    if found.failure is not None:
        terms = f"ok=False: {found.failure.kind}: {type(found.failure.exception).__name__}"
    return {
        # A run that takes too long says nothing of the promise.
        "holds": None if found.failure is not None and found.failure.kind == "hang" else found.ok,
        "complete": found.exhausted,
        "schedules": found.schedules_run,
        "verdict": terms,
    }


def ploom(case):
    import ploom as library

    class Yielding(sqlite3.Connection):
        """Ploom sees its own operations only: one stands before each statement."""

        def execute(self, *arguments):
            library.yield_now()
            return super().execute(*arguments)

    def scenario():
        case.fresh()
        threads = [
            library.Thread(target=case.attempt, args=(name,), kwargs={"factory": Yielding})
            for name in THREADS
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert case.holds()

    # Its 200 schedules are for its 30 seconds; nothing is minimized, for the search is measured.
    limits = library.Config(max_executions=10**6, timeout=case.seconds, minimize_executions=0)
    traces = Path(case.path + ".traces")
    holds, terms = True, "passed"
    try:
        statistics = library.check(scenario, config=limits, trace_dir=traces)
    except library.ModelCheckError as error:
        holds, statistics = False, error.statistics
        terms = f"{type(error).__name__}: {error.failure.exception_type}"
    except library.IncompleteExplorationError as error:
        holds, statistics, terms = None, error.statistics, f"incomplete: {error.limit} limit"
    return {"holds": holds, "complete": True, "schedules": statistics.executions, "verdict": terms}


RUN = {
    "frontrun": frontrun,
    "frontrun, processes": lambda case: frontrun(case, "process"),
    "interleave-test": interleave_test,
    "ploom": ploom,
}


def main():
    library, path, begin, mode, timeout, seconds = sys.argv[1:]
    case = Case(path, begin, mode, float(timeout), float(seconds))
    importlib.import_module(
        library.partition(",")[0].replace("-", "_")
    )  # takes no part in the time
    began = time.perf_counter()
    found = RUN[library](case)
    print(json.dumps({**found, "seconds": time.perf_counter() - began}))


if __name__ == "__main__":
    main()
