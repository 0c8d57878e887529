"""A pool: one connection that writes, several that can only read."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue
from time import monotonic
from typing import Any

try:
    from .settings import OutcomeUnknown
except ImportError:  # this file alone

    class OutcomeUnknown(RuntimeError):  # type: ignore[no-redef]
        """Whether the unit of work is stored is not known: look before you run it again."""


Unit = Callable[[sqlite3.Connection], Any]


class Pool:
    """One connection that writes and `readers` that cannot, lent for one unit of work each.

    However many threads there are, the number of connections is fixed. In WAL mode the readers
    work beside the writer. `write` and `read` take a function of the connection and return its
    result once its transaction is committed. If they raise, nothing is stored, but for
    `OutcomeUnknown`.

    Args:
        path: the database file.
        connect: opens a connection as `sqlite3.connect` does; `Settings.open` is one.
        readers: how many connections that read.
        timeout: seconds that a thread waits for a connection, and `close` for the units that run.

    Limits: what a unit sets on its connection (``row_factory``, PRAGMAs, TEMP tables, attached
    files) stays, until a unit raises: set it for all, in `connect`. That the file was replaced
    while it was open goes unnoticed.
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
        self._path, self._connect, self.timeout = os.path.realpath(path), connect, timeout
        self._pid, self._closed, self._held = os.getpid(), False, set[threading.Thread]()
        self._kinds = [*["read"] * readers, "write"]
        self._next = {kind: threading.Lock() for kind in self._kinds}
        # None stands for a connection that is opened when somebody needs it.
        self._idle: dict[str, SimpleQueue[sqlite3.Connection | None]] = {
            kind: SimpleQueue() for kind in self._kinds
        }
        for kind in self._kinds:
            self._idle[kind].put(None)

    def write(self, unit_of_work: Unit, /) -> Any:
        """Run it inside one write transaction."""
        return self._run(unit_of_work, "write", "BEGIN IMMEDIATE")

    def read(self, unit_of_work: Unit, /) -> Any:
        """Run it against one snapshot; it cannot write."""
        return self._run(unit_of_work, "read", "BEGIN")

    def close(self) -> None:
        """Wait for the units that run, and close all connections; later units raise."""
        self._check()
        self._closed, deadline, taken = True, monotonic() + self.timeout, []
        try:
            for kind in self._kinds:
                connection = self._idle[kind].get(timeout=max(0.0, deadline - monotonic()))
                taken.append(kind)
                if connection is not None:
                    connection.close()
        except Empty:
            raise TimeoutError(self._late()) from None
        finally:
            for kind in taken:
                self._idle[kind].put(None)

    def _run(self, unit: Unit, kind: str, begin: str) -> Any:
        self._check()
        connection = self._take(kind)
        try:
            self._held.add(threading.current_thread())
            if self._closed:
                raise RuntimeError("this Pool is closed: make a new one")
            if connection is None:
                connection = _open(self._path, self._connect)
                connection.execute(f"PRAGMA query_only = {int(kind == 'read')}")
            return _transact(self._path, connection, begin, unit)
        except BaseException:  # a cursor left half read would keep an old snapshot
            if connection is not None:
                connection.close()
            connection = None
            raise
        finally:
            self._held.discard(threading.current_thread())
            self._idle[kind].put(connection)

    def _take(self, kind: str) -> sqlite3.Connection | None:
        """Wait for a connection: who has just given one back stands behind those who wait."""
        if self._next[kind].acquire(timeout=self.timeout):
            try:
                return self._idle[kind].get(timeout=self.timeout)
            except Empty:
                pass
            finally:
                self._next[kind].release()
        raise TimeoutError(self._late())

    def _late(self) -> str:
        names = ", ".join(sorted(thread.name for thread in self._held.copy()))
        return f"after {self.timeout} s no connection came free: held by thread {names}"

    def _check(self) -> None:
        if os.getpid() != self._pid:
            raise RuntimeError("made before a fork: make a strategy in each process")
        if self._path in _units():
            raise RuntimeError("a unit of work within another: pass on the outer one's connection")


def _open(path: str, connect: Callable[..., sqlite3.Connection]) -> sqlite3.Connection:
    connection = connect(path, isolation_level="IMMEDIATE", check_same_thread=False)
    # Inside a unit of work BEGIN, COMMIT and ROLLBACK are refused.
    transaction = sqlite3.SQLITE_TRANSACTION
    connection.set_authorizer(lambda action, *_: action == transaction and path in _units())
    return connection


def _units() -> set[str]:
    """The databases in whose units of work this thread is, by whichever strategy."""
    units: set[str] = vars(threading.current_thread()).setdefault("sqlite_units", set())
    return units


def _transact(path: str, connection: sqlite3.Connection, begin: str, unit: Unit) -> Any:
    """Run `unit` between BEGIN and COMMIT; after any exception ROLLBACK."""
    commits = False
    try:
        connection.execute(begin)
        _units().add(path)
        result = unit(connection)
        _units().discard(path)
        if not connection.in_transaction:
            raise OutcomeUnknown("SQLite ended the transaction inside the unit: let its error out")
        if hasattr(result, "__next__") or hasattr(result, "__await__"):
            kind, result = type(result).__name__, None  # a cursor would keep its lock
            raise TypeError(f"fetch the rows inside the unit of work: it returned a {kind}")
        commits = True
        connection.commit()
        return result
    except BaseException as error:
        _units().discard(path)
        if connection.in_transaction:
            connection.rollback()
        elif commits and isinstance(error, sqlite3.Error):
            raise OutcomeUnknown(f"the COMMIT failed, and may be done: {error}") from error
        if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_AUTH:
            error.add_note("leave BEGIN, commit() and rollback() to the strategy")
        raise
