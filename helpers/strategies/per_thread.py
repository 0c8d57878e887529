"""A connection for each thread: opened when the thread first needs it, closed when it ends."""

from __future__ import annotations

import os
import sqlite3
import threading
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from time import monotonic
from typing import Any

try:
    from .settings import OutcomeUnknown, units
except ImportError:  # this file alone
    units = threading.local()  # path -> a lock, held while this thread is in a unit of work for it
    OutcomeUnknown = type("OutcomeUnknown", (RuntimeError,), {})  # type: ignore[misc, assignment]

Unit = Callable[[sqlite3.Connection], Any]


class PerThread:
    """A connection for each thread, and write transactions that begin IMMEDIATE.

    Readers need no lock, and in WAL mode work beside the writer. Writers wait for each other
    inside SQLite, whose busy handler is no queue. `write` and `read` take a function of the
    connection and return its result once its transaction is committed. If they raise, nothing
    is stored, but for `OutcomeUnknown` and Ctrl-C.

    Args:
        path: the database file.
        connect: opens a connection as `sqlite3.connect` does; `Settings.open` is one.
        begin: how write transactions begin; with ``"DEFERRED"`` give `retry` too.
        retry: a decorator that runs a unit again when SQLite was busy, such as ``Retry()``.
        timeout: seconds that `close` waits for units that run.

    Limits: `OutcomeUnknown` is also for a unit that ends its transaction (COMMIT, ROLLBACK,
    ``executescript``, OR ROLLBACK); another that it begins goes unnoticed, as a replaced file does.
    What it sets on its connection (``row_factory``, PRAGMAs, TEMP tables) stays: set it in
    `connect`. Give SQLite no Python function: a daemon thread may call it at exit. A half-read
    cursor in a kept exception keeps its snapshot. ``backup`` in a `write` never ends: use `read`.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        connect: Callable[..., sqlite3.Connection] = sqlite3.connect,
        begin: str = "IMMEDIATE",
        retry: Callable[[Any], Any] = lambda function: function,
        timeout: float = 30.0,
    ) -> None:
        if os.fsdecode(path).startswith((":memory:", "file:")):
            raise ValueError(f"give a file, not {path!r}: in memory each connection has its own")
        if not 0 <= timeout <= threading.TIMEOUT_MAX:
            raise ValueError(f"timeout counts seconds, from 0 on, not {timeout!r}")
        self._path, self._connect, self.timeout = os.path.realpath(path), connect, timeout
        self.begin, self.retry, self._pid, self._closed = begin, retry, os.getpid(), False
        self._local, self._all = threading.local(), dict[sqlite3.Connection, Any]()

    def write(self, unit_of_work: Unit, /) -> Any:
        """Run it inside one write transaction."""
        return self.retry(self._run)(unit_of_work, f"BEGIN {self.begin}", reads=False)

    def read(self, unit_of_work: Unit, /) -> Any:
        """Run it against one snapshot; it cannot write."""
        return self.retry(self._run)(unit_of_work, "BEGIN", reads=True)

    def close(self) -> None:
        """Wait for the units that run, and close all connections; later units raise."""
        self._check()
        self._closed, deadline, late = True, monotonic() + self.timeout, []
        for connection, (in_use, thread) in list(self._all.items()):
            if in_use.acquire(timeout=max(0.0, deadline - monotonic())):
                _close(self._all, connection, self._pid)
                in_use.release()
            else:
                late.append(thread)
        if late:
            raise TimeoutError(f"still in a unit after {self.timeout} s: {', '.join(late)}")

    @property
    def open_connections(self) -> list[str]:
        """Names of the threads that have one, in the order of opening."""
        return [thread for _, thread in list(self._all.values())]

    def _run(self, unit: Unit, begin: str, reads: bool) -> Any:
        self._check()
        mine: _Mine = getattr(self._local, "mine", None) or self._new()
        with mine.in_use:
            if self._closed:
                _close(self._all, mine.connection, self._pid)
                raise RuntimeError("this PerThread is closed: make a new one")
            try:
                if reads != mine.reads:  # a PRAGMA has all cached statements compiled again
                    mine.reads, pragma = -1, f"PRAGMA query_only = {int(reads)}"
                    mine.connection.execute(pragma)  # Ctrl-C may come before or after it
                    mine.reads = reads
                return _transact(self._path, mine.connection, begin, unit)
            except OutcomeUnknown:  # the unit may have closed it
                del self._local.mine
                raise

    def _new(self) -> _Mine:
        one = self._connect(self._path, isolation_level=None, check_same_thread=False)
        one.isolation_level = None  # whatever `connect` made of it: Python begins nothing
        mine = self._local.mine = _Mine(one)
        self._all[one] = mine.in_use, threading.current_thread().name
        # Not when the interpreter ends: a daemon thread may be using it.
        weakref.finalize(mine, _close, self._all, one, self._pid).atexit = False
        return mine

    def _check(self) -> None:
        if os.getpid() != self._pid:
            raise RuntimeError("made before a fork: make a strategy in each process")
        if (mark := units.__dict__.get(self._path)) and mark.locked():
            raise RuntimeError("a unit of work within another: pass on the outer one's connection")


class _Mine:
    """A connection and its use: lives as long as its thread, which alone refers to it."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection, self.in_use, self.reads = connection, threading.Lock(), 0


def _close(connections: dict[sqlite3.Connection, Any], one: sqlite3.Connection, pid: int) -> None:
    if os.getpid() == pid and connections.pop(one, None):  # in a forked child it is the parent's
        one.close()


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
