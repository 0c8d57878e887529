"""A pool: one connection that writes, several that can only read."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

try:
    from .settings import OutcomeUnknown, units
except ImportError:  # this file alone
    units = threading.local()  # path -> a lock, held while this thread is in a unit of work for it
    OutcomeUnknown = type("OutcomeUnknown", (RuntimeError,), {})  # type: ignore[misc, assignment]

Unit = Callable[[sqlite3.Connection], Any]


class Pool:
    """One connection that writes and `readers` that cannot, lent for one unit of work each.

    However many threads there are, the number of connections is fixed. In WAL mode the readers
    work beside the writer. `write` and `read` take a function of the connection and return its
    result once its transaction is committed. If they raise, nothing is stored, but for
    `OutcomeUnknown` and Ctrl-C.

    Args:
        path: the database file.
        connect: opens a connection as `sqlite3.connect` does; `Settings.open` is one.
        readers: how many connections that read.
        timeout: seconds that a thread waits for a connection, and `close` for the units that run.

    Limits: `OutcomeUnknown` is also for a unit that ends its transaction (COMMIT, ROLLBACK,
    ``executescript``, OR ROLLBACK); if it begins another, nobody notices. What it sets on its
    connection (``row_factory``, PRAGMAs, TEMP tables) stays, until a unit raises: do that for all,
    in `connect`. Give SQLite no function in Python to call: a daemon thread may, when Python is
    gone. ``backup`` in a `write` never ends: use `read`. A replaced file goes unnoticed.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        connect: Callable[..., sqlite3.Connection] = sqlite3.connect,
        readers: int = 4,
        timeout: float = 5.0,
    ) -> None:
        if os.fsdecode(path).startswith((":memory:", "file:")) or readers < 1:
            raise ValueError(f"give a file and at least one reader, not {path!r} and {readers!r}")
        if not 0 <= timeout <= threading.TIMEOUT_MAX:
            raise ValueError(f"timeout counts seconds, from 0 on, not {timeout!r}")
        self._path, self.timeout = os.path.realpath(path), timeout
        self._open = partial(connect, self._path, isolation_level=None, check_same_thread=False)
        self._pid, self._closed, self._guard = os.getpid(), False, threading.Lock()
        self._read, self._write = _Kind("BEGIN", readers), _Kind("BEGIN IMMEDIATE", 1)
        self._closing = _Kind("", 1)

    def write(self, unit_of_work: Unit, /) -> Any:
        """Run it inside one write transaction."""
        return self._run(unit_of_work, self._write)

    def read(self, unit_of_work: Unit, /) -> Any:
        """Run it against one snapshot; it cannot write."""
        return self._run(unit_of_work, self._read)

    def close(self) -> None:
        """Wait for the units that run, and close all connections; later units raise."""
        with self._turn(self._closing):  # or two that close would wait for each other
            self._closed = True
            for kind in (self._read, self._write):  # last the one that can tidy up a WAL
                with ExitStack() as all_turns:
                    for _ in range(kind.size):
                        all_turns.enter_context(self._turn(kind))
                    while kind.idle:
                        kind.idle.pop().close()

    def _run(self, unit: Unit, kind: _Kind) -> Any:
        with self._turn(kind):
            if self._closed:
                raise RuntimeError("this Pool is closed: make a new one")
            try:
                connection = kind.idle.pop()
            except IndexError:  # opened when it is needed
                connection = self._open()
                connection.isolation_level = None  # Python begins nothing, whatever `connect` says
                connection.execute(f"PRAGMA query_only = {int(kind is self._read)}")
            try:
                result = _transact(self._path, connection, kind.begin, unit)
            except BaseException:  # a cursor left half read would keep an old snapshot
                connection.close()
                raise
            kind.idle.append(connection)
            return result

    @contextmanager
    def _turn(self, kind: _Kind) -> Iterator[None]:
        if os.getpid() != self._pid:
            raise RuntimeError("made before a fork: make a strategy in each process")
        if (mark := units.__dict__.get(self._path)) and mark.locked():
            raise RuntimeError("a unit of work within another: pass on the outer one's connection")
        turn = threading.Lock(), threading.current_thread().name
        turn[0].acquire()
        try:
            with self._guard:
                kind.line.append(turn)
                mine = len(kind.line) <= kind.size
            if not mine and not turn[0].acquire(timeout=self.timeout):
                names = ", ".join(name for _, name in kind.line[: kind.size])
                raise TimeoutError(f"after {self.timeout} s no connection came free: {names}")
            yield
        finally:
            with self._guard:
                mine = turn in kind.line[: kind.size]
                kind.line.remove(turn)
                if mine and len(kind.line) >= kind.size:
                    kind.line[kind.size - 1][0].release()


class _Kind:
    """Connections that do the same. The first `size` threads in the line have one each."""

    def __init__(self, begin: str, size: int) -> None:
        self.begin, self.size = begin, size
        self.idle, self.line = list[sqlite3.Connection](), list[tuple[threading.Lock, str]]()


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
