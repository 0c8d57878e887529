"""The settings of a connection, in one place: journal mode, durability, patience, foreign keys."""

from __future__ import annotations

import os
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from helpers.strategies import Connect
from helpers.strategies.retry import Retry

Path_ = str | os.PathLike[str]

#: The longest wait in seconds: SQLite counts milliseconds in 32 bits, more would be no wait at all.
LONGEST = 2_000_000


def check_seconds(name: str, value: float) -> float:
    """Return `value` if a thread can wait for so many seconds.

    Raises:
        ValueError: otherwise; names the argument `name` and the value.
    """
    if not 0 <= value <= LONGEST:
        raise ValueError(f"{name} must be 0 to {LONGEST} seconds, not {value!r}")
    return value


@dataclass(frozen=True)
class Settings:
    """How a strategy opens its connections. None leaves a setting as SQLite has it.

    Attributes:
        journal_mode: ``"wal"`` lets readers work beside a writer; it costs two more files, a
            checkpoint now and then, and does not work on network file systems. Stored in the
            database, so every program that opens it gets it (https://www.sqlite.org/wal.html).
        synchronous: when SQLite waits for the disk. ``"FULL"`` (SQLite's own default): a
            commit survives a power failure. ``"NORMAL"`` in WAL: the last commits may be
            rolled back after one, but the database stays sound; several times faster.
            ``"OFF"``: a power failure can destroy the database. None of them matters when only
            the *process* dies (https://www.sqlite.org/pragma.html#pragma_synchronous).
        busy_timeout: seconds that a statement waits for another connection's lock before
            "database is locked". It cures waiting, not refusal: a read transaction that
            cannot become a write transaction is refused at once. So is a change of the
            journal mode while another connection changes it; `open` tries that again.
        foreign_keys: whether REFERENCES is enforced. Off unless each connection asks for it.
    """

    journal_mode: str | None = None
    synchronous: str | None = None
    busy_timeout: float = 5.0
    foreign_keys: bool | None = None

    _CHOICES: ClassVar[dict[str, tuple[str, ...]]] = {
        "journal_mode": ("delete", "wal", "truncate", "persist", "memory", "off"),
        "synchronous": ("off", "normal", "full", "extra"),
    }

    def __post_init__(self) -> None:
        for name, choices in self._CHOICES.items():
            value = getattr(self, name)
            if value is not None and str(value).lower() not in choices:
                raise ValueError(f"{name} must be one of {', '.join(choices)}, not {value!r}")
        check_seconds("busy_timeout", self.busy_timeout)

    def open(
        self,
        path: Path_,
        connect: Connect = sqlite3.connect,
        *,
        read_only: bool = False,
        **options: Any,
    ) -> sqlite3.Connection:
        """Open a connection that any thread may use and that begins no transaction by itself.

        Args:
            path: the database file.
            connect: opens it; pass `History.connect` to record the calls.
            read_only: open the file with ``mode=ro``, so that every write is refused.
            options: passed on to `connect`.

        Raises:
            sqlite3.Error: if the file cannot be opened.
            RuntimeError: if the database refuses the journal mode.
        """
        target: Path_ = path
        if read_only:
            target = f"{Path(path).absolute().as_uri()}?mode=ro"
            options["uri"] = True
        # The strategies see to it that one thread at a time uses a connection, and close
        # connections of threads that have ended.
        usual = {
            "timeout": self.busy_timeout,
            "isolation_level": None,
            "check_same_thread": False,
        }
        connection = connect(target, **{**usual, **options})
        try:
            self._apply(connection, read_only)
        except BaseException:
            connection.close()
            raise
        return connection

    def _apply(self, connection: sqlite3.Connection, read_only: bool) -> None:
        if self.journal_mode is not None and not read_only:
            asked = self.journal_mode.lower()
            # Where two connections switch together one is refused at once, whatever the timeout.
            patience = Retry(max(self.busy_timeout, 0.001))
            (mode,) = patience.call(connection.execute, f"PRAGMA journal_mode = {asked}").fetchone()
            if mode != asked:
                raise RuntimeError(
                    f"asked for journal mode {asked!r}, the database stays in {mode!r}: it may be "
                    "in memory, or on a network file system"
                )
        if self.synchronous is not None:
            connection.execute(f"PRAGMA synchronous = {self.synchronous}")
        if self.foreign_keys is not None:
            connection.execute(f"PRAGMA foreign_keys = {int(self.foreign_keys)}")


#: SQLite's own settings, whatever the database file says.
AS_IT_IS = Settings()
#: WAL, and every acknowledged unit of work survives a power failure.
DURABLE = Settings("wal", "FULL", foreign_keys=True)
#: WAL, and the last units may be lost in a power failure, though not in a crash of the program.
FAST = Settings("wal", "NORMAL", foreign_keys=True)


def check_file(path: Path_, strategy: object) -> str:
    """Return the absolute `path` if all connections to it see the same database.

    Raises:
        ValueError: for a database in memory or a temporary one, which each connection has for
            itself.
    """
    if in_memory(path):
        raise ValueError(
            f"{type(strategy).__name__} opens several connections, and with {os.fspath(path)!r} "
            "each would have an empty database of its own: use a file, or TransactionLock"
        )
    return absolute(path)


def in_memory(path: Path_) -> bool:
    """Whether `path` names a database that vanishes with its connection."""
    name = os.fsdecode(path)
    return name in ("", ":memory:") or "mode=memory" in name or name.startswith("file::memory:")


def absolute(path: Path_) -> str:
    """`path` as it is seen from everywhere: connections are opened later, too, after a chdir."""
    name = os.fsdecode(path)
    return name if in_memory(name) or name.startswith("file:") else os.path.abspath(name)
