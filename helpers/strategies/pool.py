"""A pool: one connection that writes, several that can only read."""

from __future__ import annotations

import linecache
import queue
import sqlite3
import sys
import threading
import warnings
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

from helpers.strategies import Connect, UnitOfWork, transactions
from helpers.strategies.errors import ClosedError, NestedError, Process, WaitTimeout
from helpers.strategies.fairness import FairLock
from helpers.strategies.guarded import Guarded
from helpers.strategies.settings import AS_IT_IS, Path_, Settings, check_file, check_seconds

Idle = queue.SimpleQueue["_Ticket | None"]


@dataclass(frozen=True, eq=False)
class Holder:
    """Who has a connection checked out: the thread, the line that took it, and since when."""

    thread: threading.Thread
    line: str
    write: bool
    #: Whether the pool runs a unit of work on it, by `Pool.write` or `Pool.read`.
    unit: bool = False
    since: float = field(default_factory=monotonic)

    def __str__(self) -> str:
        seconds = monotonic() - self.since
        return f"{self.thread.name} for {seconds:.1f} s, taken by `{self.line}`"


class _Place:
    """One connection of a pool, and the number of the only ticket that is good for it."""

    def __init__(self, connection: Guarded, idle: Idle) -> None:
        self.connection = connection
        self.valid = 0
        # Not the queue itself: its tickets lead here, and the circle would keep the pool alive.
        self._idle = weakref.ref(idle)

    def put_back(self) -> None:
        """A new ticket for whoever asks next; all older ones become worthless."""
        idle = self._idle()
        if idle is not None:
            idle.put(_Ticket(self))

    def close(self) -> None:
        """Close the connection; no ticket is good for it any more."""
        self.connection.close()
        self.valid = -1


class _Ticket:
    """The right to use one connection, once: in the queue, or with whoever took it out.

    If it gets lost, because Ctrl-C arrives between the queue and the thread that asked, the
    connection is put back. An exception that somebody keeps also keeps the tickets in its
    traceback: that is why a ticket is good for one use only.
    """

    _number = 0  # good for nothing, until it is made out

    def __init__(self, place: _Place) -> None:
        self._place = place
        self._number = place.valid + 1
        place.valid = self._number

    @property
    def connection(self) -> Guarded:
        return self._place.connection

    def use_up(self) -> None:
        """Put the connection back, unless that was done already."""
        if self._number and self._place.valid == self._number:
            self._place.put_back()

    __del__ = use_up

    def close(self) -> Guarded:
        """Close the connection for good and return it."""
        self._place.close()
        return self.connection


class Pool:
    """One writing connection and `readers` read-only ones, lent to one thread at a time.

    The number of connections is fixed, however many threads there are. Readers are opened
    with ``mode=ro``: no mistake in a unit of work can write through them. In WAL mode readers
    and the writer do not wait for each other; in a rollback journal SQLite makes them. Threads
    get a connection in the order in which they asked.

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
        path = check_file(path, self)
        if readers < 1:
            raise ValueError(f"readers must be at least 1, not {readers!r}")
        self.begin = transactions.check_begin(begin)
        self.timeout = check_seconds("timeout", timeout)
        self._process = Process()
        self._closed = False
        self._holders: set[Holder] = set()
        # Key: does the connection write? A SimpleQueue may be put to from a finalizer, which
        # can run at any moment.
        self._idle: dict[bool, Idle] = {True: queue.SimpleQueue(), False: queue.SimpleQueue()}
        # A queue serves those who wait in no promised order, so one at a time waits for it.
        self._turn = {True: FairLock(), False: FairLock()}
        self._open: dict[bool, set[Guarded]] = {True: set(), False: set()}
        try:
            writer = self._add(True, Guarded(settings, path, connect))
            # A writer can roll back what a crash left behind, a read-only connection cannot.
            writer.connection.execute("PRAGMA schema_version").fetchone()
            for _ in range(readers):
                self._add(False, Guarded(settings, path, connect, read_only=True))
        except BaseException:
            self.close()
            raise

    def _add(self, write: bool, connection: Guarded) -> Guarded:
        self._open[write].add(connection)
        _Place(connection, self._idle[write]).put_back()
        return connection

    def write(self, unit_of_work: UnitOfWork, /) -> Any:
        """Run it inside one write transaction and return its result once that is committed.

        Raises:
            WaitTimeout: if no connection came free in time; names those who hold them.
            NestedError, ClosedError, ForkedError, UnitError: if the unit is refused.
            sqlite3.Error, Exception: what SQLite or the unit raise.
        """
        return self._run(True, lambda connection: connection.write(unit_of_work, self.begin))

    def read(self, unit_of_work: UnitOfWork, /) -> Any:
        """Run it against one snapshot and return its result; raises what `write` raises."""
        return self._run(False, lambda connection: connection.write(unit_of_work, "DEFERRED"))

    def _run(self, write: bool, use: Callable[[Guarded], Any]) -> Any:
        self._check(lambda holder: holder.unit)
        holder = Holder(threading.current_thread(), _caller(), write, unit=True)
        ticket = self._get(write)
        try:
            self._holders.add(holder)
            return use(ticket.connection)
        finally:
            self._back(ticket, holder)

    def checkout(self, *, write: bool = False) -> Checkout:
        """Borrow a connection, to be given back by ``with`` or `Checkout.release`.

        It is in autocommit: begin and end transactions on it yourself. One that is dropped
        without being given back goes back when it is collected, with a `ResourceWarning` that
        names the line which took it.

        Raises:
            WaitTimeout, NestedError, ClosedError, ForkedError: as for `write`; a thread may
                borrow several connections that read, and one that writes.
        """
        self._check(lambda holder: holder.write and write)
        holder = Holder(threading.current_thread(), _caller(), write)
        ticket = self._get(write)
        try:
            self._holders.add(holder)
            return Checkout(self, ticket, holder)
        except BaseException:
            self._back(ticket, holder)
            raise

    def _check(self, is_too_much: Callable[[Holder], bool]) -> None:
        self._process.check(self)
        me = threading.current_thread()
        if any(holder.thread is me and is_too_much(holder) for holder in self._holders.copy()):
            raise NestedError(self)

    def holders(self) -> list[Holder]:
        """Who has a connection now, the longest holder first."""
        return sorted(self._holders.copy(), key=lambda holder: holder.since)

    def _get(self, write: bool) -> _Ticket:
        idle, turn = self._idle[write], self._turn[write]
        deadline = monotonic() + self.timeout
        if not turn.acquire(self.timeout):
            raise WaitTimeout(self._full(write))
        ticket = None
        try:
            try:
                ticket = idle.get(timeout=max(0.0, deadline - monotonic()))
            finally:
                turn.release()
            if ticket is None:
                idle.put(None)  # for whoever waits next
            if ticket is None or self._closed:
                raise ClosedError(self)
            return ticket
        except queue.Empty:
            raise WaitTimeout(self._full(write)) from None
        except BaseException:
            if ticket is not None:
                ticket.use_up()
            raise

    def _full(self, write: bool) -> str:
        who = "; ".join(str(holder) for holder in self.holders() if holder.write == write)
        kind = "writing" if write else "reading"
        return (
            f"no {kind} connection came free within {self.timeout} s; held by {who or 'nobody'}. "
            "Give connections back sooner, or raise " + ("timeout=" if write else "readers=")
        )

    def _back(self, ticket: _Ticket, holder: Holder) -> None:
        try:
            # In a forked child the connection and its transaction belong to the parent.
            if self._process.is_this:
                ticket.connection.mend()
        finally:
            try:
                ticket.use_up()
            finally:
                self._holders.discard(holder)

    def close(self) -> None:
        """Refuse new units, wait for connections that are lent, close all. Again: nothing.

        Raises:
            WaitTimeout: if connections do not come back in time; names who holds them. The
                others are closed, and `close` may be called again for the rest.
            NestedError, ForkedError: if a unit of work calls it, or a forked process.
        """
        self._check(lambda holder: holder.unit)
        self._closed = True
        deadline = monotonic() + self.timeout
        # Readers first: the last connection to a WAL database tidies up, but must be able to write.
        late = [write for write in (False, True) if not self._close_all(write, deadline)]
        if late:
            raise WaitTimeout("cannot close: " + "; ".join(map(self._full, late)))

    def _close_all(self, write: bool, deadline: float) -> bool:
        """Close the connections that write, or those that read; False if some are still lent."""
        idle, still_open = self._idle[write], self._open[write]
        while still_open:
            try:
                ticket = idle.get(timeout=max(0.0, deadline - monotonic()))
            except queue.Empty:
                return False
            if ticket is not None:
                still_open.discard(ticket.close())
        # Whoever waits for a connection gets this, and passes it on.
        idle.put(None)
        return True


class Checkout:
    """A borrowed connection: use it in ``with``, which gives it back, or call `release`."""

    def __init__(self, pool: Pool, ticket: _Ticket, holder: Holder) -> None:
        self.connection = ticket.connection.lend()
        self._leak = weakref.finalize(self, _leaked, pool, ticket, holder)
        self._return = pool, ticket, holder

    def release(self) -> None:
        """Give the connection back; an open transaction is rolled back. Again: nothing."""
        if self._leak.detach() is not None:
            pool, ticket, holder = self._return
            pool._back(ticket, holder)

    def __enter__(self) -> sqlite3.Connection:
        return self.connection

    def __exit__(self, *_: object) -> None:
        self.release()


def _leaked(pool: Pool, ticket: _Ticket, holder: Holder) -> None:
    warnings.warn(
        f"a connection was never given back by {holder}: use `with pool.checkout() as connection`",
        ResourceWarning,
        stacklevel=2,
    )
    pool._back(ticket, holder)


def _caller() -> str:
    """The source line that asked the pool for a connection."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__") == __name__:
        frame = frame.f_back
    return linecache.getline(frame.f_code.co_filename, frame.f_lineno).strip() or "?"
