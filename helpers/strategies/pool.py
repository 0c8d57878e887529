"""A pool: one connection that writes, several that can only read."""

from __future__ import annotations

import linecache
import queue
import sqlite3
import sys
import threading
import warnings
import weakref
from dataclasses import dataclass, field
from time import monotonic
from types import TracebackType
from typing import Any

from helpers.strategies import Connect, UnitOfWork, transactions
from helpers.strategies.errors import ClosedError, NestedError, Process, WaitTimeout
from helpers.strategies.settings import AS_IT_IS, Path_, Settings, check_file

Idle = queue.SimpleQueue[sqlite3.Connection | None]


@dataclass(frozen=True)
class Holder:
    """Who has a connection checked out: the thread, the line that took it, and since when."""

    thread: threading.Thread
    line: str
    write: bool
    since: float = field(default_factory=monotonic)

    def __str__(self) -> str:
        seconds = monotonic() - self.since
        return f"{self.thread.name} for {seconds:.1f} s, taken by `{self.line}`"


class Pool:
    """One writing connection and `readers` read-only ones, lent to one thread at a time.

    The number of connections is fixed, however many threads there are. Readers are opened
    with ``mode=ro``: no mistake in a unit of work can write through them. In WAL mode readers
    and the writer do not wait for each other; in a rollback journal SQLite makes them.

    Args:
        path: the database file.
        connect: opens a connection; pass `History.connect` to record the calls.
        readers: how many read-only connections.
        settings: of each connection.
        begin: how write transactions begin.
        timeout: seconds that a thread waits for a connection.

    Raises:
        ValueError: for a database in memory, no readers, or an unknown `begin`.
    """

    def __init__(
        self,
        path: Path_,
        connect: Connect = sqlite3.connect,
        *,
        readers: int = 4,
        settings: Settings = AS_IT_IS,
        begin: str = "IMMEDIATE",
        timeout: float = 5.0,
    ) -> None:
        check_file(path, self)
        if readers < 1:
            raise ValueError(f"readers must be at least 1, not {readers!r}")
        self.begin = transactions.check_begin(begin)
        self.timeout = timeout
        self._process = Process()
        self._closed = False
        self._holders: dict[int, Holder] = {}
        # Key: does the connection write? A SimpleQueue may be put to from a finalizer, which
        # can run at any moment.
        self._idle: dict[bool, Idle] = {True: queue.SimpleQueue(), False: queue.SimpleQueue()}
        self._left = {True: 0, False: 0}
        try:
            writer = self._add(True, settings.open(path, connect))
            # A writer can roll back what a crash left behind, a read-only connection cannot.
            writer.execute("PRAGMA schema_version").fetchone()
            for _ in range(readers):
                self._add(False, settings.open(path, connect, read_only=True))
        except BaseException:
            self.close()
            raise

    def _add(self, write: bool, connection: sqlite3.Connection) -> sqlite3.Connection:
        self._left[write] += 1
        self._idle[write].put(connection)
        return connection

    def write(self, unit_of_work: UnitOfWork, /) -> Any:
        """Run it inside one write transaction and return its result once that is committed.

        Raises:
            WaitTimeout: if no connection came free in time; names those who hold them.
            NestedError, ClosedError, ForkedError, UnitError: if the unit is refused.
            sqlite3.Error, Exception: what SQLite or the unit raise.
        """
        with self.checkout(write=True) as connection:
            return transactions.write(connection, unit_of_work, self.begin)

    def read(self, unit_of_work: UnitOfWork, /) -> Any:
        """Run it against one snapshot and return its result; raises what `write` raises."""
        with self.checkout() as connection:
            return transactions.write(connection, unit_of_work, "DEFERRED")

    def checkout(self, *, write: bool = False) -> Checkout:
        """Borrow a connection, to be given back by ``with`` or `Checkout.release`.

        One that is dropped without being given back goes back when it is collected, with a
        `ResourceWarning` that names the line which took it.

        Raises:
            WaitTimeout, NestedError, ClosedError, ForkedError: as for `write`.
        """
        self._process.check(self)
        me = threading.current_thread()
        if write and any(holder.write and holder.thread is me for holder in self.holders()):
            raise NestedError(self)
        connection = self._get(write)
        holder = self._holders[id(connection)] = Holder(me, _caller(), write)
        return Checkout(self, connection, holder)

    def holders(self) -> list[Holder]:
        """Who has a connection now, the longest holder first."""
        return sorted(self._holders.copy().values(), key=lambda holder: holder.since)

    def _get(self, write: bool) -> sqlite3.Connection:
        idle = self._idle[write]
        try:
            connection = idle.get(timeout=self.timeout)
        except queue.Empty:
            raise WaitTimeout(self._full(write)) from None
        if connection is None or self._closed:
            idle.put(connection)
            raise ClosedError(self)
        return connection

    def _full(self, write: bool) -> str:
        who = "; ".join(str(holder) for holder in self.holders() if holder.write == write)
        kind = "writing" if write else "reading"
        return (
            f"no {kind} connection came free within {self.timeout} s; held by {who or 'nobody'}. "
            "Give connections back sooner, or raise " + ("timeout=" if write else "readers=")
        )

    def _back(self, connection: sqlite3.Connection, holder: Holder) -> None:
        if self._holders.pop(id(connection), None) is None:
            return
        if connection.in_transaction:
            connection.rollback()
        self._idle[holder.write].put(connection)

    def close(self) -> None:
        """Refuse new units, wait for connections that are lent, close all. Again: nothing.

        Raises:
            WaitTimeout: if a connection does not come back in time; names who holds it. What
                came back is closed, and `close` may be called again for the rest.
        """
        self._process.check(self)
        self._closed = True
        for write, idle in self._idle.items():
            while self._left[write]:
                try:
                    connection = idle.get(timeout=self.timeout)
                except queue.Empty:
                    raise WaitTimeout("cannot close: " + self._full(write)) from None
                if connection is not None:
                    connection.close()
                    self._left[write] -= 1
            # Whoever waits for a connection gets this, and passes it on.
            idle.put(None)


class Checkout:
    """A borrowed connection: use it in ``with``, which gives it back, or call `release`."""

    def __init__(self, pool: Pool, connection: sqlite3.Connection, holder: Holder) -> None:
        self.connection = connection
        self._give_back = weakref.finalize(self, _leaked, pool, connection, holder)
        self._return = pool, connection, holder

    def release(self) -> None:
        """Give the connection back; an open transaction is rolled back. Again: nothing."""
        if self._give_back.detach() is not None:
            pool, connection, holder = self._return
            pool._back(connection, holder)

    def __enter__(self) -> sqlite3.Connection:
        return self.connection

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.release()


def _leaked(pool: Pool, connection: sqlite3.Connection, holder: Holder) -> None:
    warnings.warn(
        f"a connection was never given back by {holder}: use `with pool.checkout() as connection`",
        ResourceWarning,
        stacklevel=2,
    )
    pool._back(connection, holder)


def _caller() -> str:
    """The source line that asked the pool for a connection."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__") == __name__:
        frame = frame.f_back
    return linecache.getline(frame.f_code.co_filename, frame.f_lineno).strip() or "?"
