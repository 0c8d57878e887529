"""`sqlite3` cursors whose calls are steps."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from helpers.explorer.engine.scheduler import Scheduler
from helpers.explorer.engine.threads import ControlledThread
from helpers.explorer.steps.statements import Statement, statements
from helpers.history import CallError


class Steps(Protocol):
    """A connection whose calls are steps, as a cursor sees it."""

    isolation_level: str | None
    decides_by_rule: bool
    scheduler: Scheduler

    @property
    def open_transaction(self) -> bool:
        """Whether a transaction is open."""

    @property
    def autocommit(self) -> Any:
        """True, False, or a number where `sqlite3` begins transactions by itself."""

    def enter(
        self, label: str, sql: str = "", parameters: object = None
    ) -> ControlledThread | None:
        """Park before a call; the thread that makes it."""

    def classified(self, sql: str) -> Statement:
        """What kind of statement it is."""

    def heed(self, what: Statement) -> None:
        """Take over what a statement has changed in the connection."""

    def call(
        self, thread: ControlledThread | None, kind: str, call: Callable[..., Any], *arguments: Any
    ) -> Any:
        """Make one call of SQLite inside the step that was just entered."""

    def statement(
        self,
        cursor: sqlite3.Cursor,
        sql: str,
        parameters: Any,
        call: Any,
        parts: Iterable[Any] = (),
    ) -> Any:
        """One statement of a cursor: its steps, its implicit BEGIN, its calls."""

    def commit(self) -> None:
        """A step, where a transaction is open."""


class SteppingCursor(sqlite3.Cursor):
    """A cursor whose calls are steps."""

    connection: Steps  # type: ignore[assignment]
    _step: object = None  # the step that executed it, until the first fetch

    def execute(self, sql: str, parameters: Any = (), /) -> SteppingCursor:
        """As `sqlite3.Cursor.execute`."""
        thread = self.connection.statement(self, sql, parameters, sqlite3.Cursor.execute)
        self._step = thread and thread.step
        return self

    def executemany(self, sql: str, parameters: Iterable[Any], /) -> SteppingCursor:
        """As `sqlite3.Cursor.executemany`."""
        connection, rows, many = self.connection, list(parameters), sqlite3.Cursor.executemany
        # In autocommit each row is a transaction; the rule has to see them one by one.
        alone = connection.decides_by_rule and not connection.open_transaction
        parts = [[row] for row in rows] if alone and connection.isolation_level is None else []
        connection.statement(self, sql, rows, many, parts)
        return self

    def executescript(self, sql_script: str, /) -> SteppingCursor:
        """As `sqlite3.Cursor.executescript`: commits first, then a step per statement."""
        connection = self.connection
        if connection.open_transaction and connection.autocommit not in (True, False):
            connection.commit()
        for statement in statements(sql_script):
            what = connection.classified(statement)
            thread = connection.enter(what.label, statement)
            connection.call(thread, what.kind, self._run, statement)
            connection.heed(what)
        return self

    def _run(self, statement: str) -> None:
        """One statement of a script, its rows thrown away."""
        sqlite3.Cursor.execute(self, statement)
        sqlite3.Cursor.fetchall(self)

    def _fetch(self, operation: str, fetch: Callable[..., Any], *arguments: Any) -> Any:
        """The first fetch belongs to the step of its SELECT; a later one is a step."""
        connection = self.connection
        thread = connection.scheduler.me()
        if thread is None:
            return fetch(self, *arguments)
        if self._step is not thread.step:
            connection.enter(operation)
        self._step = None
        try:
            result = thread.step.result = fetch(self, *arguments)
        except sqlite3.Error as error:
            thread.step.error, thread.step.outcome = CallError.of(error), "error"
            raise
        return result

    def fetchone(self) -> Any:
        """As `sqlite3.Cursor.fetchone`."""
        return self._fetch("fetchone", sqlite3.Cursor.fetchone)

    def fetchmany(self, size: int | None = None) -> list[Any]:
        """As `sqlite3.Cursor.fetchmany`."""
        count = self.arraysize if size is None else size
        rows: list[Any] = self._fetch("fetchmany", sqlite3.Cursor.fetchmany, count)
        return rows

    def fetchall(self) -> list[Any]:
        """As `sqlite3.Cursor.fetchall`."""
        rows: list[Any] = self._fetch("fetchall", sqlite3.Cursor.fetchall)
        return rows

    def __next__(self) -> Any:
        return self._fetch("next row", sqlite3.Cursor.__next__)
