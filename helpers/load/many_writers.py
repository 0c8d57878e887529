"""How many units of work a second a database takes from several threads at once.

A unit reads a row, works for a while, and writes the row back, in one transaction: with SQLite
through `PerThread`, with PostgreSQL on a connection for each thread. Both wait for the disk at
each commit.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

from helpers import databases
from helpers.load.postgres import Server
from helpers.strategies import DURABLE, PerThread

#: Labels of the curves.
SQLITE = "SQLite"
OWN_ROWS, ONE_ROW = "PostgreSQL, a row for each thread", "PostgreSQL, one row for all"
THREADS = (1, 2, 4, 8)
#: Seconds of each measurement, and of the work inside a transaction.
SECONDS, WORK = 0.3, 0.005
_READ = "SELECT value FROM counter WHERE id = {}"
_WRITE = "UPDATE counter SET value = {} WHERE id = {}"
_TABLE = (
    "CREATE TABLE counter (id integer PRIMARY KEY, value integer); "
    f"INSERT INTO counter VALUES {', '.join(f'({row}, 0)' for row in range(max(THREADS)))}"
)

#: Runs one unit of work of a thread, by its number.
Unit = Callable[[int], Any]
#: Label -> threads -> units of work a second.
Rates = dict[str, dict[int, float]]


def rates(server: Server, threads: Sequence[int] = THREADS, seconds: float = SECONDS) -> Rates:
    """Measure SQLite and a PostgreSQL server.

    Args:
        server: the server.
        threads: how many at once, one measurement each; at most eight.
        seconds: how long each measurement takes.
    """
    if not 1 <= min(threads) <= max(threads) <= max(THREADS):
        raise ValueError(f"threads must be 1 to {max(THREADS)}, not {list(threads)}")
    return {
        SQLITE: {count: _sqlite(count, seconds) for count in threads},
        OWN_ROWS: {count: _postgresql(server, count, seconds, lambda n: n) for count in threads},
        ONE_ROW: {count: _postgresql(server, count, seconds, lambda n: 0) for count in threads},
    }


def read_rates(record: Mapping[str, Mapping[str, float]]) -> Rates:
    """What `rates` has returned, as JSON keeps it."""
    return {
        label: {int(threads): rate for threads, rate in points.items()}
        for label, points in record.items()
    }


def _sqlite(threads: int, seconds: float) -> float:
    with databases.Database() as database, ExitStack() as stack:
        database.path.write_bytes(databases.template_of(_TABLE, "wal"))
        strategy = DURABLE.applied_to(PerThread)(database.path)
        stack.callback(strategy.close)

        def unit(thread: int) -> None:
            strategy.write(lambda connection: _work(connection, "?", "", thread))

        return _rate(unit, threads, seconds)


def _postgresql(
    server: Server, threads: int, seconds: float, row_of: Callable[[int], int]
) -> float:
    with ExitStack() as stack:
        own = [stack.enter_context(server.connect(autocommit=True)) for _ in range(threads)]
        own[0].execute(f"DROP TABLE IF EXISTS counter; {_TABLE}")

        def unit(thread: int) -> None:
            with own[thread].transaction():
                _work(own[thread], "%s", " FOR UPDATE", row_of(thread))

        return _rate(unit, threads, seconds)


def _work(connection: Any, mark: str, lock: str, row: int) -> None:
    (value,) = connection.execute(_READ.format(mark) + lock, [row]).fetchone()
    time.sleep(WORK)
    connection.execute(_WRITE.format(mark, mark), [value + 1, row])


def _rate(unit: Unit, threads: int, seconds: float) -> float:
    """Units a second that `threads` threads run at once; the first unit of each is not counted."""
    together = threading.Barrier(threads)

    def repeat(thread: int) -> tuple[int, float]:
        unit(thread)
        together.wait(60)
        began, done = time.perf_counter(), 0
        while time.perf_counter() - began < seconds:
            unit(thread)
            done += 1
        return done, time.perf_counter() - began

    with ThreadPoolExecutor(threads, thread_name_prefix="writer") as pool:
        counted = list(pool.map(repeat, range(threads)))
    return sum(done for done, _ in counted) / max(took for _, took in counted)
