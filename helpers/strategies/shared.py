"""One connection shared by all threads: the flawed strategy, and the default that refuses it.

`SharedConnection` is what most programs do first: open one connection with
``check_same_thread=False`` and let every thread use it. A connection has one current
transaction, so one thread's commit ends another thread's work; and from Python 3.12
two threads that run the same SQL text share one prepared statement
(https://github.com/python/cpython/issues/118172), which can return wrong rows or read
freed memory. Never copy this one.
"""

from __future__ import annotations

import os
import sqlite3
from typing import Any

from helpers.strategies import Connect, UnitOfWork


class SharedConnection:
    """All threads use one connection, without a lock. Wrong, and kept to show why.

    `write` runs the unit of work and commits, as the question's program does; after an
    exception it leaves the open transaction to whoever comes next. `read` has no snapshot
    of its own: it sees what other threads have not committed yet.

    Args:
        path: the database file.
        connect: opens the connection; pass `History.connect` to record the calls.
        options: passed on to `connect`.
    """

    #: With several threads the interpreter itself may crash, so `load.run` refuses it
    #: outside the sandbox.
    may_crash = True

    def __init__(
        self,
        path: str | os.PathLike[str],
        connect: Connect = sqlite3.connect,
        **options: Any,
    ) -> None:
        self.connection = connect(path, **{"check_same_thread": False, **options})

    def write(self, unit_of_work: UnitOfWork, /) -> Any:
        """Run it on the shared connection, commit, and return its result."""
        result = unit_of_work(self.connection)
        self.connection.commit()
        return result

    def read(self, unit_of_work: UnitOfWork, /) -> Any:
        """Run it on the shared connection and return its result."""
        return unit_of_work(self.connection)

    def close(self) -> None:
        """Close the shared connection; an open transaction is rolled back."""
        self.connection.close()


class CheckedConnection(SharedConnection):
    """The same with ``check_same_thread`` left on, its default: other threads are refused.

    Every call from a thread other than the one that made the strategy raises
    `sqlite3.ProgrammingError` before SQLite sees anything, so nothing can be lost.
    """

    may_crash = False

    def __init__(
        self,
        path: str | os.PathLike[str],
        connect: Connect = sqlite3.connect,
        **options: Any,
    ) -> None:
        super().__init__(path, connect, **{**options, "check_same_thread": True})
