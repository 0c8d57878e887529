"""Strategies that lose work or crash, kept to show why: the fixes' counterparts. Copy none."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Callable, Sequence
from typing import Any

Connect = Callable[..., sqlite3.Connection]
Unit = Callable[[sqlite3.Connection], Any]


class SharedConnection:
    """All threads use one connection, without a lock. Wrong, and kept to show why.

    What most programs do first. A connection has one current transaction, so one thread's commit
    ends another thread's work; and from Python 3.12 two threads that run the same SQL text share
    one prepared statement (https://github.com/python/cpython/issues/118172), which can return
    wrong rows or read freed memory.

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

    def write(self, unit_of_work: Unit, /) -> Any:
        """Run it on the shared connection, commit, and return its result."""
        result = unit_of_work(self.connection)
        self.connection.commit()
        return result

    def read(self, unit_of_work: Unit, /) -> Any:
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


class LockableCursor:
    """A cursor with a lock round each statement, as many programs have copied it. Flawed.

    ``execute(sql)`` returns nothing, ``execute("all", sql)`` all rows, with "one" the first. But:

    1. The lock is held for one statement, not for a unit of work: between a SELECT and the
       UPDATE that depends on it, anybody may write.
    2. It takes no parameters, so its callers put SQL together as text. A value with a quote in
       it breaks the statement, and a value made for the purpose rewrites it (SQL injection).
    3. ``return`` in ``finally`` replaces every exception of a statement whose rows are asked for,
       Ctrl-C included: nothing is bound to ``result`` yet, so callers get an UnboundLocalError.
    4. ``"one"`` leaves the other rows unread. Until somebody executes the next statement, this
       one keeps its lock: other connections cannot commit, or, in WAL mode, empty the WAL.
    5. All threads share its connection: ``last_insert_rowid()`` is anybody's, so is a COMMIT.
    """

    def __init__(self, cursor: sqlite3.Cursor) -> None:
        self.cursor = cursor
        self.lock = threading.Lock()

    def execute(self, arg0: str, arg1: str | None = None) -> Any:
        """Run `arg1`, or `arg0` if that is all; `arg0` then says which rows are returned."""
        self.lock.acquire()
        try:
            self.cursor.execute(arg1 if arg1 else arg0)
            if arg1:
                if arg0 == "all":
                    result = self.cursor.fetchall()
                elif arg0 == "one":
                    result = self.cursor.fetchone()
        except Exception as error:
            raise error
        finally:
            self.lock.release()
            if arg1:
                return result


class StatementLock:
    """One `LockableCursor` for all units of work: each statement commits itself. Wrong.

    Made as `SharedConnection` is.
    """

    def __init__(self, path: str | os.PathLike[str], connect: Connect = sqlite3.connect) -> None:
        self.connection = connect(path, isolation_level=None, check_same_thread=False)
        self.cursor = LockableCursor(self.connection.cursor())

    def write(self, unit_of_work: Unit, /) -> Any:
        """Run it with this object, which locks each statement, in place of a connection."""
        return unit_of_work(self)  # type: ignore[arg-type]

    read = write

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> Rows:
        """Run one statement, its parameters written into the text, and fetch all its rows."""
        for value in parameters:
            sql = sql.replace("?", f"'{value}'" if isinstance(value, str) else str(value), 1)
        return Rows(self.cursor.execute("all", sql))

    def close(self) -> None:
        """Close the shared connection."""
        self.connection.close()


class Rows(list[Any]):
    """Rows already fetched, with the two methods of a cursor that units of work use."""

    def fetchone(self) -> Any:
        """The next row, None at the end."""
        return self.pop(0) if self else None

    fetchall = list.copy
