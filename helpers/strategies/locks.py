"""One connection and a lock: round each statement (flawed), or round each unit of work (right)."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Sequence
from typing import Any

from helpers.strategies import Connect, UnitOfWork, transactions
from helpers.strategies.errors import ClosedError, NestedError, Process, WaitTimeout
from helpers.strategies.fairness import FairLock
from helpers.strategies.guarded import Guarded
from helpers.strategies.settings import AS_IT_IS, Path_, Settings, check_seconds


class LockableCursor:
    """A cursor with a lock round each statement, as many programs have copied it. Flawed.

    What is wrong with it, point by point:

    1. The lock is held for one statement, not for a unit of work: between a SELECT and the
       UPDATE that depends on it, anybody may write.
    2. SQL is put together as text. A value with a quote in it breaks the statement, and a
       value made for the purpose rewrites it (SQL injection).
    3. All threads share one cursor; it works only because the rows are fetched under the
       lock, so every SELECT holds up everybody until its last row.
    4. The connection is in autocommit: there is no transaction that could be rolled back.
    5. The lock is not released when a statement raises, and the next thread waits for ever.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.cursor = connection.cursor()
        self.lock = threading.Lock()

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> Rows:
        """Run one statement and fetch all its rows."""
        self.lock.acquire()
        self.cursor.execute(self.filled_in(sql, parameters))
        rows = Rows(self.cursor.fetchall())
        self.lock.release()
        return rows

    def filled_in(self, sql: str, parameters: Sequence[Any]) -> str:
        """The statement with each parameter written into the text, between quotes."""
        for value in parameters:
            sql = sql.replace("?", f"'{value}'" if isinstance(value, str) else str(value), 1)
        return sql


class Rows(list[Any]):
    """Rows already fetched, with the two methods of a cursor that units of work use."""

    def fetchone(self) -> Any:
        """The next row, None at the end."""
        return self.pop(0) if self else None

    def fetchall(self) -> list[Any]:
        """The rows that are left."""
        return list(self)


class StatementLock:
    """One connection for all threads, a lock round each statement. Wrong: see `LockableCursor`.

    Args:
        path: the database file.
        connect: opens the connection; pass `History.connect` to record the calls.
    """

    cursor_class = LockableCursor

    def __init__(self, path: Path_, connect: Connect = sqlite3.connect) -> None:
        self.connection = AS_IT_IS.open(path, connect)
        self.cursor = self.cursor_class(self.connection)

    def write(self, unit_of_work: UnitOfWork, /) -> Any:
        """Run it with the shared cursor in place of a connection; each statement commits itself."""
        return unit_of_work(self.cursor)  # type: ignore[arg-type]

    read = write

    def close(self) -> None:
        """Close the shared connection."""
        self.connection.close()


class TransactionLock:
    """One connection for all threads, and a lock held for a whole unit of work.

    Right, simple, and enough for many programs: one unit runs at a time, reads included.
    The lock is taken before BEGIN and released after COMMIT or ROLLBACK, whatever the unit
    raises. It is fair: threads get it in the order in which they asked. A unit that calls the
    same strategy again is refused, because its inner unit would have to be part of the outer
    transaction, and a rollback of one would be a rollback of both.

    Args:
        path: the database file, or ``":memory:"``.
        connect: opens the connection; pass `History.connect` to record the calls.
        settings: of the connection.
        begin: how write transactions begin. Other connections, and other processes, may be
            writing as well, so even here it is IMMEDIATE.
        timeout: seconds that a thread waits for its turn.
    """

    def __init__(
        self,
        path: Path_,
        connect: Connect = sqlite3.connect,
        *,
        settings: Settings = AS_IT_IS,
        begin: str = "IMMEDIATE",
        timeout: float = 30.0,
    ) -> None:
        self.begin = transactions.check_begin(begin)
        self.timeout = check_seconds("timeout", timeout)
        self._lock = FairLock()
        self._process = Process()
        self._connection: Guarded | None = Guarded(settings, path, connect)

    def write(self, unit_of_work: UnitOfWork, /) -> Any:
        """Run it inside one write transaction and return its result once that is committed.

        Raises:
            WaitTimeout: if the lock did not become free in time; names its holder.
            NestedError, ClosedError, ForkedError, UnitError, MovedError: if the unit is refused.
            sqlite3.Error, Exception: what SQLite or the unit raise.
        """
        connection = self._take()
        try:
            return connection.write(unit_of_work, self.begin)
        finally:
            self._lock.release()

    def read(self, unit_of_work: UnitOfWork, /) -> Any:
        """Run it against one snapshot and return its result; raises what `write` raises."""
        connection = self._take()
        try:
            return connection.read(unit_of_work)
        finally:
            self._lock.release()

    def _take(self) -> Guarded:
        """The connection, with the lock held."""
        self._lock_or_say_why("no turn", "make units of work shorter, or raise timeout=")
        if self._connection is None:
            self._lock.release()
            raise ClosedError(self)
        return self._connection

    def _lock_or_say_why(self, failed: str, advice: str) -> None:
        self._process.check(self)
        if self._lock.mine:
            raise NestedError(self)
        if not self._lock.acquire(self.timeout):
            raise WaitTimeout(
                f"{failed} within {self.timeout} s: the lock is {self._lock}; {advice}"
            )

    def close(self) -> None:
        """Close the connection once the unit that runs has ended. Again: nothing happens.

        Raises:
            WaitTimeout: if a unit runs on for longer than `timeout`; the connection stays open.
            NestedError, ForkedError: if a unit of work calls it, or a forked process.
        """
        self._lock_or_say_why("cannot close", "close again when that unit has ended")
        try:
            if self._connection is not None:
                self._connection.close()
            self._connection = None
        finally:
            self._lock.release()
