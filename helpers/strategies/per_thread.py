"""A connection for each thread: opened when the thread first needs it, closed when it ends."""

from __future__ import annotations

import sqlite3
import threading
import weakref
from collections.abc import Callable
from time import monotonic
from typing import Any

from helpers.strategies import Connect, UnitOfWork, transactions
from helpers.strategies.errors import ClosedError, NestedError, Process, WaitTimeout
from helpers.strategies.guarded import Guarded
from helpers.strategies.retry import Retry
from helpers.strategies.settings import AS_IT_IS, Path_, Settings, check_file, check_seconds


class PerThread:
    """A connection for each thread, and IMMEDIATE write transactions.

    Nothing is shared, so readers need no lock, and in WAL mode they work beside the writer.
    Writers wait for each other in BEGIN IMMEDIATE, inside SQLite, whose busy handler is not
    a queue: under heavy writing some threads wait long.

    A connection is closed when its thread ends or when the strategy is closed, whichever
    comes first; so it may be used from thread pools, and threads may die.

    Args:
        path: the database file.
        connect: opens a connection; pass `History.connect` to record the calls.
        settings: of each connection.
        begin: how write transactions begin. With ``"DEFERRED"`` a unit that reads before it
            writes can be refused at once; then give `retry` too.
        retry: runs refused units of work again; None for never.
        timeout: seconds that `close` waits for units that still run.

    Raises:
        ValueError: for a database in memory, or an unknown `begin`.
    """

    def __init__(
        self,
        path: Path_,
        connect: Connect = sqlite3.connect,
        *,
        settings: Settings = AS_IT_IS,
        begin: str = "IMMEDIATE",
        retry: Retry | None = None,
        timeout: float = 30.0,
    ) -> None:
        self._path = check_file(path, self)
        self._connect = connect
        self._settings = settings
        self.begin = transactions.check_begin(begin)
        self.retry = retry
        self.timeout = check_seconds("timeout", timeout)
        self._local = threading.local()
        self._owned: dict[int, _Owned] = {}
        self._process = Process()
        self._closed = False

    def write(self, unit_of_work: UnitOfWork, /) -> Any:
        """Run it inside one write transaction and return its result once that is committed.

        Raises:
            NestedError, ClosedError, ForkedError, UnitError, MovedError: if the unit is refused.
            sqlite3.Error, Exception: what SQLite or the unit raise.
        """
        if self.retry is not None:
            return self.retry.call(self._write, unit_of_work)
        return self._write(unit_of_work)

    def _write(self, unit_of_work: UnitOfWork) -> Any:
        return self._run(lambda connection: connection.write(unit_of_work, self.begin))

    def read(self, unit_of_work: UnitOfWork, /) -> Any:
        """Run it against one snapshot and return its result; raises what `write` raises."""
        return self._run(lambda connection: connection.read(unit_of_work))

    @property
    def open_connections(self) -> list[str]:
        """Names of the threads that have an open connection, in the order of opening."""
        return [owned.thread for owned in list(self._owned.values())]

    def _run(self, use: Callable[[Guarded], Any]) -> Any:
        self._process.check(self)
        owned: _Owned = getattr(self._local, "owned", None) or self._open()
        if owned.busy:
            raise NestedError(self)
        with owned.in_use:
            if self._closed:
                # `close` may have looked before this connection was there.
                _close(self._owned, owned, self._process)
                raise ClosedError(self)
            owned.busy = True
            try:
                return use(owned.connection)
            finally:
                owned.busy = False

    def _open(self) -> _Owned:
        if self._closed:
            raise ClosedError(self)
        owned = _Owned(Guarded(self._settings, self._path, self._connect))
        try:
            # The thread-local dies with its thread; nobody else refers to the mark.
            mark = self._local.mark = _Mark()
            weakref.finalize(mark, _close, self._owned, owned, self._process)
            self._owned[id(owned)] = owned
            self._local.owned = owned
        except BaseException:
            owned.connection.close()
            raise
        return owned

    def check_outside(self) -> None:
        """Do nothing where the strategy may be closed.

        Raises:
            NestedError, ForkedError: inside a unit of work, or in a forked process.
        """
        self._process.check(self)
        mine: _Owned | None = getattr(self._local, "owned", None)
        if mine is not None and mine.busy:
            raise NestedError(self)

    def close(self) -> None:
        """Refuse new units, wait for those that run, close all connections. Again: nothing.

        Raises:
            WaitTimeout: if units run on for longer than `timeout`; their connections stay open,
                and are closed when their threads end, or by another `close`.
            NestedError, ForkedError: if a unit of work calls it, or a forked process.
        """
        self.check_outside()
        self._closed = True
        deadline = monotonic() + self.timeout
        late = []
        for owned in list(self._owned.values()):
            if not owned.in_use.acquire(timeout=max(0.0, deadline - monotonic())):
                late.append(owned.thread)
                continue
            try:
                _close(self._owned, owned, self._process)
            finally:
                owned.in_use.release()
        if late:
            raise WaitTimeout(
                f"cannot close: still in a unit of work after {self.timeout} s: {', '.join(late)}; "
                "close again when they have ended"
            )


class _Owned:
    """One thread's connection; `in_use` is held while a unit of work runs on it.

    `busy` says the same to the thread itself, which must not wait for its own lock.
    """

    def __init__(self, connection: Guarded) -> None:
        self.connection = connection
        self.thread = threading.current_thread().name
        self.in_use = threading.Lock()
        self.busy = False


class _Mark:
    """Lives as long as the thread that made it."""


def _close(all_owned: dict[int, _Owned], owned: _Owned, process: Process) -> None:
    """Close one connection, once: `pop` gives it to whoever asks first."""
    # In a forked child the file's locks belong to the parent.
    if process.is_this and all_owned.pop(id(owned), None) is not None:
        owned.connection.close()
