"""A load run whose history can be judged: threads append to lists, and read them."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Sequence
from contextlib import closing

from helpers import databases, load
from helpers.isolation.histories import Append, Judgement, Read, Transaction, judge
from helpers.strategies import UnitOfWork
from helpers.workloads import Acknowledged, Audit, Workload, check_positive

#: A list is what the ledger of the sample ``accounts`` holds for one account, by rowid.
_READ = "SELECT amount FROM transfer WHERE source = ? ORDER BY rowid"
_APPEND = "INSERT INTO transfer VALUES (?, ?, ?, 0, ?)"
#: After a unit has read, in seconds: others have time to come between.
_THINKS = 0.001


class Appends(Workload):
    """A unit reads two lists and appends a value to the second; every fourth thread reads all.

    Two units that do so crosswise at the same time make a cycle, unless they are kept apart.

    Args:
        units: units per thread.
        lists: how many lists there are; the fewer, the more conflicts.
    """

    sample = "accounts"

    def __init__(self, units: int = 50, lists: int = 3) -> None:
        self.units = check_positive("units", units)
        self.lists = check_positive("lists", lists)
        self.done: list[Acknowledged] = []
        self.end: dict[str, tuple[int, ...]] = {}

    def reads(self, worker: int, number: int = 0) -> bool:
        """Every fourth only reads."""
        return worker % 4 == 3

    def plan(self, worker: int, number: int) -> tuple[int, int, int]:
        """Which list a unit reads, which it reads and appends to, and the value."""
        first = (worker + number) % self.lists
        return first, (first + 1 + worker % 2) % self.lists, 1 + worker * self.units + number

    def unit(self, worker: int, number: int) -> UnitOfWork:
        """Read, read, append, or read each list; returns the operations."""
        first, second, value = self.plan(worker, number)

        def look(connection: sqlite3.Connection) -> tuple[Append | Read, ...]:
            return tuple(_list(connection, key, _THINKS) for key in range(self.lists))

        def work(connection: sqlite3.Connection) -> tuple[Append | Read, ...]:
            reads = [_list(connection, key) for key in (first, second)]
            time.sleep(_THINKS)
            connection.execute(_APPEND, [worker, number, second, value])
            return (*reads, Append(str(second), value))

        return look if self.reads(worker) else work

    def audit(self, database: databases.Database, done: Sequence[Acknowledged]) -> Audit:
        """Keep what was acknowledged, and the lists as they ended."""
        self.done = list(done)
        with closing(database.connect()) as connection:
            self.end = {str(key): _list(connection, key).values for key in range(self.lists)}
        return Audit(len(done), len(done))

    def transaction(self, worker: int, number: int) -> Transaction:
        """A unit that failed: what it would have appended."""
        _, second, value = self.plan(worker, number)
        appends = () if self.reads(worker) else (Append(str(second), value),)
        return Transaction(_name(worker, number), appends, False)


def _list(connection: sqlite3.Connection, key: int, then: float = 0) -> Read:
    """Read a list; then wait, in seconds."""
    rows = connection.execute(_READ, [key]).fetchall()
    time.sleep(then)
    return Read(str(key), tuple(value for (value,) in rows))


def _name(worker: int, number: int) -> str:
    return f"T{worker + 1}.{number + 1}"


def under_load(
    strategy: load.StrategyFactory,
    *,
    threads: int = 4,
    units: int = 50,
    journal_mode: str = "delete",
    may_crash: bool = False,
) -> Judgement:
    """Let threads append at full speed, and judge what they read and what is stored.

    Args:
        strategy: what `load.run` takes.
        threads: how many.
        units: of each thread.
        journal_mode: of the database.
        may_crash: as for `load.run`; leave it to ``sandbox.call(under_load, …)``.

    Raises:
        RuntimeError: if a thread hung, so that its history is not known.
    """
    work = Appends(units)
    options = {"threads": threads, "stop_on_error": False, "may_crash": may_crash}
    result = load.run(work, strategy, journal_mode=journal_mode, **options)  # type: ignore[arg-type]
    if result.audit is None:
        raise RuntimeError(f"threads hung: {', '.join(result.hung)}")
    failed = [work.transaction(int(one.thread[1:]) - 1, one.number) for one in result.failures]
    done = [Transaction(_name(one.worker, one.number), one.result) for one in work.done]
    return judge([*done, *failed], work.end)
