"""One connection for all threads, and a lock that is held for a whole unit of work."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

try:
    from .settings import OutcomeUnknown, units
except ImportError:  # this file alone
    units = threading.local()

    class OutcomeUnknown(RuntimeError):  # type: ignore[no-redef]
        """Whether the unit of work is stored is not known: look before you run it again."""


Unit = Callable[[sqlite3.Connection], Any]


class TransactionLock:
    """One connection, and a lock held from BEGIN to COMMIT or ROLLBACK, for reads too.

    Right, simple, and enough for many programs. Threads get the lock in the order of asking.
    `write` and `read` take a function of the connection and return its result once its
    transaction is committed. If they raise, nothing is stored, but for `OutcomeUnknown` and Ctrl-C.

    Args:
        path: the database; ``":memory:"`` too.
        connect: opens the connection as `sqlite3.connect` does; `Settings.open` is one.
        timeout: seconds that a thread waits for its turn, and `close` for the unit that runs.

    Limits: a unit that ends its transaction (COMMIT, ROLLBACK, ``executescript``, OR ROLLBACK
    that it catches) is told so, and what was committed is stored; if it begins another, nobody
    notices. What it sets on the connection (``row_factory``, PRAGMAs, TEMP tables, attached
    files) stays: do that for all, in `connect`, but give SQLite no function in Python to call: a
    daemon thread may, when Python is gone. A cursor left half read keeps its snapshot. A unit
    that closes the connection closes it for all. ``backup`` in a `write` never ends: use `read`.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        connect: Callable[..., sqlite3.Connection] = sqlite3.connect,
        timeout: float = 30.0,
    ) -> None:
        if not 0 <= timeout <= threading.TIMEOUT_MAX:
            raise ValueError(f"timeout counts seconds, from 0 on, not {timeout!r}")
        name = os.fsdecode(path)
        self._path = name if name.startswith((":memory:", "file:")) else os.path.realpath(name)
        self._connection, self._reads = _open(self._path, connect), False
        # The first in the line holds the lock; each waits for a lock of its own.
        self._guard, self._line = threading.Lock(), deque[tuple[threading.Lock, str]]()
        self.timeout, self._pid = timeout, os.getpid()

    def write(self, unit_of_work: Unit, /) -> Any:
        """Run it inside one write transaction."""
        return self._run(unit_of_work, "BEGIN IMMEDIATE", reads=False)

    def read(self, unit_of_work: Unit, /) -> Any:
        """Run it against one snapshot; it cannot write."""
        return self._run(unit_of_work, "BEGIN", reads=True)

    def close(self) -> None:
        """Close the connection, when the unit that runs has ended; later units raise."""
        with self._turn():
            self._connection.close()

    def _run(self, unit: Unit, begin: str, reads: bool) -> Any:
        with self._turn():
            if reads is not self._reads:  # a PRAGMA has all cached statements compiled again
                self._reads = reads
                self._connection.execute(f"PRAGMA query_only = {int(reads)}")
            return _transact(self._path, self._connection, begin, unit)

    @contextmanager
    def _turn(self) -> Iterator[None]:
        if os.getpid() != self._pid:
            raise RuntimeError("made before a fork: make a strategy in each process")
        if _mark(self._path).locked():
            raise RuntimeError("a unit of work within another: pass on the outer one's connection")
        turn = threading.Lock(), threading.current_thread().name
        turn[0].acquire()
        try:
            with self._guard:
                self._line.append(turn)
                mine = self._line[0] is turn
            if not mine and not turn[0].acquire(timeout=self.timeout):
                holder = self._line[0][1]
                raise TimeoutError(f"thread {holder} has had its turn for over {self.timeout} s")
            yield
        finally:
            with self._guard:
                mine = self._line[0] is turn
                self._line.remove(turn)
                if mine and self._line:
                    self._line[0][0].release()


def _open(path: str, connect: Callable[..., sqlite3.Connection]) -> sqlite3.Connection:
    connection = connect(path, isolation_level=None, check_same_thread=False)
    connection.isolation_level = None  # whatever `connect` made of it: Python begins nothing
    if getattr(connection, "autocommit", -1) != -1:
        connection.close()
        raise ValueError("open it without autocommit, with which commit() may do nothing")
    return connection


def _mark(path: str) -> threading.Lock:
    """Locked while this thread is in a unit of work for `path`, by whichever strategy."""
    marks = units.__dict__
    mark: threading.Lock = marks.get(path) or marks.setdefault(path, threading.Lock())
    return mark


def _transact(path: str, connection: sqlite3.Connection, begin: str, unit: Unit) -> Any:
    """Run `unit` between BEGIN and COMMIT; after any exception ROLLBACK."""
    at = begin
    try:
        connection.execute(begin)
        at = "unit"
        with _mark(path):  # Ctrl-C cannot come in between
            result = unit(connection)
        if not _in_transaction(connection):
            raise OutcomeUnknown("transaction ended: leave COMMIT and ROLLBACK to the strategy")
        if result is not None and isinstance(result, (AsyncIterator, Awaitable, Iterator)):
            kind, result = type(result).__name__, None  # a cursor would keep its lock
            raise TypeError(f"fetch the rows inside the unit of work: it returned a {kind}")
        at = "COMMIT"
        connection.execute("COMMIT")
        return result
    except BaseException as error:
        if _in_transaction(connection):
            connection.execute("ROLLBACK")
        elif at == "unit" and getattr(error, "sqlite_errorcode", 0) & 0xFF != sqlite3.SQLITE_BUSY:
            error.add_note("its transaction ended before it did: what was committed is stored")
        elif at != begin and isinstance(error, sqlite3.Error):  # Retry must not run it again
            raise OutcomeUnknown(f"the transaction ended, and may be stored: {error}") from error
        raise


def _in_transaction(connection: sqlite3.Connection) -> bool | None:
    try:
        return connection.in_transaction
    except sqlite3.ProgrammingError:  # the unit has closed it
        return None
