"""`sqlite3` cursors whose calls are steps."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from helpers.explorer.statements import classify, statements

if TYPE_CHECKING:
    from helpers.explorer.connections import SteppingConnection


class SteppingCursor(sqlite3.Cursor):
    """A cursor whose calls are steps."""

    __slots__ = ("_step",)

    connection: SteppingConnection

    def __init__(self, connection: sqlite3.Connection) -> None:
        super().__init__(connection)
        self._step: object = None  # the step that executed it, until the first fetch

    def execute(self, sql: str, parameters: Any = (), /) -> SteppingCursor:
        """As `sqlite3.Cursor.execute`."""
        actor = self.connection.statement(self, sql, parameters, sqlite3.Cursor.execute)
        self._step = actor and actor.step
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
        if self.connection.open_transaction:
            self.connection.commit()
        connection = self.connection
        for statement in statements(sql_script):
            what = classify(statement)
            actor = connection._enter(what.label, statement)
            connection._call(actor, what.kind, self._run, statement)
        return self

    def _run(self, statement: str) -> None:
        """One statement of a script, its rows thrown away."""
        sqlite3.Cursor.execute(self, statement)
        sqlite3.Cursor.fetchall(self)

    def _fetch(self, operation: str, fetch: Callable[..., Any], *arguments: Any) -> Any:
        """The first fetch belongs to the step of its SELECT; a later one is a step."""
        connection = self.connection
        actor = connection._scheduler.me()
        if actor is None:
            return fetch(self, *arguments)
        if self._step is not actor.step:
            connection._enter(operation)
        self._step = None
        result = actor.step.result = fetch(self, *arguments)
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
