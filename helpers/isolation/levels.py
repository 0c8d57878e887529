"""What stands for an isolation level in SQLite: journal, BEGIN, and who has a connection."""

from __future__ import annotations

import contextlib
import itertools
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

#: Name -> journal mode, and whether connections share a cache and read what is not committed.
JOURNALS = {
    "rollback journal": ("delete", False),
    "WAL": ("wal", False),
    "read_uncommitted": ("delete", True),
}
#: `autocommit`: no transaction but that of each statement.
BEGINS = ("autocommit", "DEFERRED", "IMMEDIATE")

#: Statements that only read.
_READS = ("SELECT", "VALUES")


@dataclass(frozen=True)
class Level:
    """One column of the matrix.

    Attributes:
        journal: one of `JOURNALS`.
        begin: one of `BEGINS`. With IMMEDIATE, sessions that only read begin DEFERRED.
        shared: whether all sessions use one connection.

    Raises:
        ValueError: for another journal or BEGIN.
    """

    journal: str
    begin: str
    shared: bool = False

    def __post_init__(self) -> None:
        for value, known in ((self.journal, tuple(JOURNALS)), (self.begin, BEGINS)):
            if value not in known:
                raise ValueError(f"{value!r} is none of {', '.join(known)}")

    @property
    def name(self) -> str:
        """As in ``WAL, DEFERRED``."""
        return f"{self.journal}, {self.begin}" + (", one connection" if self.shared else "")

    @property
    def journal_mode(self) -> str:
        """``delete`` or ``wal``."""
        return JOURNALS[self.journal][0]

    def begin_of(self, statements: Sequence[str]) -> str:
        """The BEGIN of a session with these statements; empty if it has none.

        One statement alone is a transaction as it is.
        """
        if self.begin == "autocommit" or len(statements) < 2:
            return ""
        reads = all(sql.split(None, 1)[0].upper() in _READS for sql in statements)
        return "BEGIN DEFERRED" if reads else f"BEGIN {self.begin}"

    def connect(self, path: str) -> sqlite3.Connection:
        """Open a connection as this level has it; threads may share it only if they all do."""
        options: dict[str, Any] = {"isolation_level": None, "check_same_thread": not self.shared}
        reads_uncommitted = JOURNALS[self.journal][1]
        name = f"file:{path}?cache=shared" if reads_uncommitted else path
        connection: sqlite3.Connection = sqlite3.connect(name, uri=reads_uncommitted, **options)
        if reads_uncommitted:
            # Through the base class it is no step: it sets a flag and touches no file.
            sqlite3.Cursor.execute(sqlite3.Cursor(connection), "PRAGMA read_uncommitted = 1")
        return connection

    def start(self, connection: sqlite3.Connection, begin: str) -> None:
        """Begin; on a shared connection, where that is refused, join what another has begun."""
        joins = contextlib.suppress(sqlite3.OperationalError)
        with joins if self.shared else contextlib.nullcontext():
            connection.execute(begin)


class ServerLevel(NamedTuple):
    """One column of the matrix: a server, and one of its isolation levels."""

    journal: str
    begin: str

    @property
    def name(self) -> str:
        """As in ``READ COMMITTED``."""
        return self.begin


def levels(shared: bool | None = None) -> list[Level]:
    """All levels: with one connection for all sessions, with one each, or (None) both."""
    ways = (False, True) if shared is None else (shared,)
    return [Level(*pair, way) for way in ways for pair in itertools.product(JOURNALS, BEGINS)]
