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
    units = threading.local()  # path -> a lock, held while this thread is in a unit of work for it
    OutcomeUnknown = type("OutcomeUnknown", (RuntimeError,), {})  # type: ignore[misc, assignment]

Unit = Callable[[sqlite3.Connection], Any]


class TransactionLock:
    """One connection, and a lock held from BEGIN to COMMIT or ROLLBACK, for reads too.

    Right, simple, and enough for many programs. Threads get the lock in the order of asking.
    `write` and `read` take a function of the connection and return its result once its
    transaction is committed. If they raise, nothing is stored, but for `OutcomeUnknown` and Ctrl-C.

    Args:
        path: the database; ``":memory:"`` too (two in memory count as one).
        connect: opens the connection as `sqlite3.connect` does; `Settings.open` is one.
        timeout: seconds that a thread waits for its turn, and `close` for the unit that runs.

    Limits: `OutcomeUnknown` is also for a unit that ends its transaction (COMMIT, ROLLBACK,
    ``executescript``, OR ROLLBACK); if it begins another, nobody notices. What it sets on the
    connection (``row_factory``, PRAGMAs, TEMP tables) stays: do that for all, in `connect`. Give
    SQLite no function in Python to call: a daemon thread may, when Python is gone. A cursor left
    half read keeps its snapshot. A unit that closes the connection closes it for all. ``backup``
    in a `write` never ends: use `read`.
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
        self._connection = connect(self._path, isolation_level=None, check_same_thread=False)
        self._connection.isolation_level = None  # whatever `connect` made of it
        # The first in the line holds the lock; each waits for a lock of its own.
        self._guard, self._line = threading.Lock(), deque[tuple[threading.Lock, str]]()
        self.timeout, self._pid, self._reads = timeout, os.getpid(), 0

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
            if reads != self._reads:  # a PRAGMA has all cached statements compiled again
                self._reads, pragma = -1, f"PRAGMA query_only = {int(reads)}"
                self._connection.execute(pragma)  # Ctrl-C may come before or after it
                self._reads = reads
            return _transact(self._path, self._connection, begin, unit)

    @contextmanager
    def _turn(self) -> Iterator[None]:
        if os.getpid() != self._pid:
            raise RuntimeError("made before a fork: make a strategy in each process")
        if (mark := units.__dict__.get(self._path)) and mark.locked():
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


def _transact(path: str, connection: sqlite3.Connection, begin: str, unit: Unit) -> Any:
    """Run `unit` between BEGIN and COMMIT; after any exception ROLLBACK."""
    begun = False
    try:
        connection.execute(begin)
        begun = True
        with units.__dict__.setdefault(path, threading.Lock()):  # Ctrl-C cannot come in between
            result = unit(connection)
        if isinstance(result, (AsyncIterator, Awaitable, Iterator)):
            kind, result = type(result).__name__, None  # a cursor would keep its lock
            raise TypeError(f"fetch the rows inside the unit of work: it returned a {kind}")
        connection.execute("COMMIT")
        return result
    except BaseException as error:
        try:
            connection.execute("ROLLBACK")
        except sqlite3.Error:  # it had ended, by COMMIT or without
            if begun and isinstance(error, Exception):
                raise OutcomeUnknown(f"its transaction ended, maybe stored: {error}") from error
        raise
