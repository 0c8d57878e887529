"""`sqlite3` connections whose every call is a step.

While a program is explored, `sqlite3.connect` gives its threads a `SteppingConnection`: a
real connection, except that each call parks its thread first (`Scheduler.point`). A
step is the call and the Python code up to the next one.

A SELECT and the first fetch from it are one step, for SQLite reads the first row in
``execute``; later fetches are steps. ``close`` and ``commit`` without an open transaction
are steps only where other threads may use the connection (``check_same_thread=False``).
There, the implicit BEGIN is two steps of its own, "is a transaction open?" and "BEGIN",
because `sqlite3` looks first and begins later, and another thread may come in between.

The transaction control of `sqlite3` (``isolation_level``, ``autocommit``) is done here, in
Python, over a connection that leaves it alone, so that its steps can be told apart.
"""

from __future__ import annotations

import os
import sqlite3
import sys
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any, Literal

from helpers.explorer.engine.confinement import Confined, LentToAnother, confined
from helpers.explorer.engine.scheduler import Scheduler
from helpers.explorer.engine.threads import Cancelled, ControlledThread, ThreadState
from helpers.explorer.steps.cursors import SteppingCursor
from helpers.explorer.steps.statements import Statement, classify
from helpers.explorer.steps.watched import Waiting, WatchedConnection
from helpers.history import CallError, Text

_LEGACY = -1  # sqlite3.LEGACY_TRANSACTION_CONTROL, which Python 3.11 does not have


class SteppingConnection(WatchedConnection):
    """A connection of a program that is being explored; takes what `sqlite3.connect` takes."""

    shared = False  # between threads
    pooled = False  # it belongs to a pool
    lent = False  # that has lent it to its owner
    unclear = False  # its calls touch what cannot be told
    snapshot = 0  # the version of the database that it sees

    def __init__(
        self,
        scheduler: Scheduler,
        waiting: Waiting,
        database: Any,
        timeout: float = 5.0,
        detect_types: int = 0,
        isolation_level: str | None = "",
        check_same_thread: bool = True,
        factory: Any = None,
        cached_statements: int = 128,
        uri: bool = False,
        autocommit: int = _LEGACY,
    ) -> None:
        if factory is not None and factory is not sqlite3.Connection:
            raise TypeError("a connection factory cannot be explored: leave factory= out")
        if autocommit != _LEGACY and sys.version_info < (3, 12):
            raise TypeError("'autocommit' is an invalid keyword argument for Connection()")
        options = {"detect_types": detect_types, "cached_statements": cached_statements, "uri": uri}
        super().__init__(scheduler, waiting, timeout, database, **options)
        self._level = isolation_level
        self._regime = autocommit
        self.private: Confined | None = (
            None if check_same_thread else confined(scheduler, "connection")
        )
        self.shared = not check_same_thread and self.private is None
        if uri and "cache=shared" in os.fsdecode(database):
            self._blur("a cache of SQLite's")
        if database != scheduler.path and os.fsdecode(database) != scheduler.path:
            scheduler.elsewhere = True
        self.number = scheduler.number("connection", shared=not check_same_thread)
        scheduler.connections.append(self)
        if self.owner is not None and check_same_thread:
            self.owner.connections.append(self)
        if autocommit == 0:
            self.raw("BEGIN")

    # -- its end, and who may use it ---------------------------------------------------

    def leave(self) -> bool:
        """Close at the end of a thread; True if a transaction was open."""
        if self.closed:
            return False
        pending = self.open_transaction and self._regime == _LEGACY
        self._close()
        return pending

    def abandon(self) -> None:
        """Close after the run: who still refers to it finds it closed."""
        self.closed = True
        super().close()

    def lend(self, borrower: ControlledThread | None) -> None:
        """A pool lends it to one thread, or (None) has taken it back: no other uses it."""
        if self.scheduler.lends:
            self.shared, self.pooled, self.private = False, True, None
            self.owner = borrower
            self.lent = borrower is not None

    def _blur(self, what: str) -> None:
        """From now on its calls count as touching everything, because of `what`."""
        self.unclear = True
        self.scheduler.share(what)

    # -- one step ----------------------------------------------------------------------

    def enter(
        self, label: str, sql: str = "", parameters: object = None
    ) -> ControlledThread | None:
        """Park before a call; the thread that makes it, None outside of a program."""
        scheduler = self.scheduler
        thread = scheduler.me()
        if thread is None:
            return None
        if self.private is not None:
            self._use(is_step=True)
        if not self.shared:
            if thread is not self.owner:
                self._wrong_thread(thread)
            scheduler.point(label, sql, self.number, parameters)
        else:
            scheduler.point(
                label,
                sql,
                self.number,
                parameters,
                ready=self._is_free,
                holders=self._users,
                wants=f"connection {self.number}",
            )
            self.owner = thread
            scheduler.touch(f"connection {self.number}", "w")
        return thread

    def _is_free(self) -> bool:
        return self.occupant is None

    def _users(self) -> list[tuple[ControlledThread | None, str]]:
        return [(self.occupant, f"connection {self.number}")]

    def _wrong_thread(self, thread: ControlledThread) -> None:
        if self.lent and self.owner is not None:
            found = LentToAnother(self.number, self.owner.name, thread.name)
            raise self.scheduler.give_up(found)
        if self.owner is not None:
            raise sqlite3.ProgrammingError(
                "SQLite objects created in a thread can only be used in that same thread. The "
                f"object was created in thread {self.owner.name} and this is thread {thread.name}."
            )

    def _use(self, is_step: bool = False) -> None:
        """A private connection that another thread uses is shared from now on."""
        if self.private is None:
            return
        if self.private.ends(self.scheduler):
            self.private, self.shared = None, True
        elif not is_step:
            self.private.note()

    def call(
        self, thread: ControlledThread | None, kind: str, call: Callable[..., Any], *arguments: Any
    ) -> Any:
        """Make one call of SQLite inside the step that was just entered."""
        if thread is None:
            return call(*arguments)
        scheduler = self.scheduler
        before, alone = 0, True
        if scheduler.track:
            before, alone = self.state()[0], not self.open_transaction
        self.occupant = thread
        try:
            return self._waiting.perform(self, kind, call, *arguments)
        except sqlite3.Error as error:
            if not thread.cancelled:
                thread.step.error = CallError.of(error)
                if thread.step.outcome != "timeout":
                    thread.step.outcome = "error"
            raise
        finally:
            self.occupant = None
            if scheduler.track and arguments and isinstance(arguments[0], sqlite3.Cursor):
                thread.step.counted = (arguments[0].lastrowid, arguments[0].rowcount)
            scheduler.arrived(thread)
            if self.failure is not None:
                failure, self.failure = self.failure, None
                raise failure
            if scheduler.track:
                self._note_accesses(before, alone, thread, kind)

    def _note_accesses(self, before: int, alone: bool, thread: ControlledThread, kind: str) -> None:
        """What the call read or changed that other threads may notice.

        ``file`` stands for the committed rows and the readers' locks, ``write lock`` for
        RESERVED. Inside a transaction that has its lock already, no other can notice; a
        statement that is `alone` commits, though a cursor that is open holds a lock as well.
        """
        after, lock = self.state()
        if self.unclear:  # of a shared cache tables' locks and, if asked for, uncommitted rows
            self.scheduler.touch("everything", "w")
        written = before == 2 if kind == "commit" else kind in ("insert", "change") and not before
        if written and not after and thread.step.error is None:
            self.scheduler.commits += 1
        if thread.step.error is not None and thread.step.error.sqlite_errorname.startswith(
            "SQLITE_BUSY"
        ):
            self._touch_file("r", "r")
        if before == after:
            if (alone or before == 0) and kind not in ("begin", "commit", "end"):
                self._touch_file(*(("r", "") if kind in ("read", "look") else ("w", "w")))
        elif alone and after == 2 and not self.open_transaction:
            self.unfinished = True
            self._touch_file("w", "w")
        elif 2 in (before, after):
            self._touch_file("w" if before == 2 or lock == 4 else "r", "w")
        else:
            self._touch_file("r", "")
        if before == 0 and after:
            self.snapshot = self.scheduler.commits

    def classified(self, sql: str) -> Statement:
        """What kind of statement it is; from now on its calls may touch what cannot be told."""
        what = classify(sql)
        if what.unclear:
            self._blur(what.label)
        return what

    def statement(
        self,
        cursor: sqlite3.Cursor,
        sql: str,
        parameters: Any,
        call: Any,
        parts: Iterable[Any] = (),
    ) -> Any:
        """One statement of a cursor: its steps, its implicit BEGIN, its calls."""
        what = self.classified(sql)
        if what.kind == "flag":
            self._use()
            if not self.shared:
                return self._flag(cursor, sql)
        thread = self.enter(what.label, sql, parameters)
        legacy = what.implicit and self._level is not None and self._regime == _LEGACY
        if legacy and not self.open_transaction:
            thread = self._begin(thread, what, sql, parameters)
        for part in parts or (parameters,):
            self.call(thread, what.kind, call, cursor, sql, part)
        self.heed(what)
        return thread

    def heed(self, what: Statement) -> None:
        """After a PRAGMA busy_timeout, which has replaced the busy handler: put it back."""
        if what.busy_timeout is not None:
            self.patience = what.busy_timeout
            self._waiting.adopt(self)

    def _flag(self, cursor: sqlite3.Cursor, sql: str) -> None:
        """A PRAGMA that touches no file, on a connection of this thread alone: no step."""
        thread = self.scheduler.me()
        if thread is not None and thread is not self.owner:
            self._wrong_thread(thread)
        sqlite3.Cursor.execute(cursor, sql)

    def _begin(
        self, thread: ControlledThread | None, what: Statement, sql: str, parameters: Any
    ) -> ControlledThread | None:
        """The BEGIN that `sqlite3` sends before a change."""
        begin = f"BEGIN {self._level}".strip()
        if thread is None or not self.shared:
            if thread is not None:
                thread.step.before = begin
                self._use()
            self.call(thread, classify(begin).kind, self.raw, begin)
            return thread
        thread.step.label = f"is a transaction open? no ({what.label})"
        thread.step.sql = ""
        thread = self.enter(f"{begin} (implicit)", begin)
        self.call(thread, classify(begin).kind, self.raw, begin)
        return self.enter(what.label, sql, parameters)

    def _end(self, operation: str, call: Callable[[], Any]) -> None:
        """COMMIT or ROLLBACK through a method of the connection."""
        self._use()
        if self._regime == 1 or (not self.shared and not self.open_transaction):
            return
        thread = self.enter(operation, operation)
        if not self.open_transaction:
            if thread is not None:
                thread.step.sql = ""
                thread.step.result = Text("no transaction is open: nothing to do")
            return
        self.call(thread, classify(operation).kind, call)
        if self._regime == 0:
            self.raw("BEGIN")

    # -- the interface of sqlite3.Connection -------------------------------------------

    @property
    def in_transaction(self) -> bool:
        """As `sqlite3.Connection.in_transaction`; waits while another thread is inside."""
        self._use()
        if self.occupant is not None and self.scheduler.me() is not self.occupant:
            self.enter("in_transaction")
        if self.shared:
            self.scheduler.touch(f"connection {self.number}", "r")
        return self.open_transaction

    @property
    def isolation_level(self) -> Any:
        """As `sqlite3.Connection.isolation_level`."""
        return self._level

    @isolation_level.setter
    def isolation_level(self, level: Any) -> None:
        if level is None and self.has_begun:
            self.commit()
        self._level = level

    @property
    def autocommit(self) -> Any:
        """As `sqlite3.Connection.autocommit`; it cannot be set here."""
        return bool(self._regime) if self._regime in (0, 1) else self._regime

    def cursor(self, factory: Any = None) -> Any:
        """A cursor whose calls are steps."""
        self._use(is_step=True)
        thread = self.scheduler.me()
        if thread is not None and not self.shared and thread is not self.owner:
            self._wrong_thread(thread)
        return super().cursor(SteppingCursor if factory is None else factory)

    def execute(self, sql: str, parameters: Any = (), /) -> Any:
        """As `sqlite3.Connection.execute`."""
        return super().cursor(SteppingCursor).execute(sql, parameters)

    def executemany(self, sql: str, parameters: Iterable[Any], /) -> Any:
        """As `sqlite3.Connection.executemany`."""
        return self.cursor().executemany(sql, parameters)

    def executescript(self, sql_script: str, /) -> Any:
        """As `sqlite3.Connection.executescript`, a step for each statement."""
        return self.cursor().executescript(sql_script)

    def commit(self) -> None:
        """As `sqlite3.Connection.commit`."""
        self._end("COMMIT", lambda: sqlite3.Connection.commit(self))

    def rollback(self) -> None:
        """As `sqlite3.Connection.rollback`; done at once when the run is over.

        A library that cleans up with it would report a rollback that raises.
        """
        try:
            self._end("ROLLBACK", lambda: sqlite3.Connection.rollback(self))
        except Cancelled:
            self._roll_back_at_the_end()

    def _roll_back_at_the_end(self) -> None:
        if not self.closed:
            sqlite3.Connection.rollback(self)

    def close(self) -> None:
        """As `sqlite3.Connection.close`: what is not committed is rolled back."""
        thread = self.scheduler.me()
        if self.closed or thread is None or thread.cancelled or thread.state is ThreadState.ENDING:
            self._close()
            return
        self._use()
        if self.shared or self.open_transaction:
            self.enter("close")
        self._close()

    def _close(self) -> None:
        before = 0 if self.closed or not self.scheduler.track else self.state()[0]
        self.closed = True
        super().close()
        if before:
            self._touch_file("w" if before == 2 else "r", "w" if before == 2 else "")

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> Literal[False]:
        if kind is not None:
            self.rollback()
            return False
        try:
            self.commit()
        except sqlite3.Error:
            self.rollback()
            raise
        return False
