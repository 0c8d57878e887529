"""Where do sample databases come from, and who has a connection open?

Small ones, built from `data/`, a fresh copy each time; `ConnectionCounter` counts connections.

Three samples: ``investments`` (about a thousand rows, some with a NULL sector group: the
table of the question that this course begins with), ``accounts`` (ten accounts of 1000
each, and an empty ledger of transfers) and ``counter`` (one row, value 0). Each is built
once per process and then copied, so that an experiment gets a database of its own in well
under a millisecond.
"""

from __future__ import annotations

import contextlib
import csv
import functools
import gc
import os
import shutil
import sqlite3
import tempfile
import threading
import time
import weakref
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

#: Journal modes a sample can be made in; only ``wal`` is stored in the database file.
JOURNAL_MODES = ("delete", "wal", "truncate", "persist", "memory", "off")

DATA = Path(__file__).resolve().parent.parent / "data"

_SCHEMAS = {
    "investments": """
        CREATE TABLE Investment (
            InvestmentID INTEGER PRIMARY KEY,
            Name TEXT NOT NULL,
            SectorGroup TEXT
        )""",
    "accounts": """
        CREATE TABLE account (
            id INTEGER PRIMARY KEY,
            owner TEXT NOT NULL,
            balance INTEGER NOT NULL
        );
        CREATE TABLE transfer (
            worker INTEGER, number INTEGER, source INTEGER, target INTEGER, amount INTEGER,
            PRIMARY KEY (worker, number)
        )""",
    "counter": "CREATE TABLE counter (id INTEGER PRIMARY KEY, value INTEGER NOT NULL)",
}
_INSERTS = {
    "investments": "INSERT INTO Investment VALUES (?, ?, ?)",
    "accounts": "INSERT INTO account VALUES (?, ?, ?)",
    "counter": "INSERT INTO counter VALUES (?, ?)",
}

SAMPLES = tuple(_SCHEMAS)


class Database:
    """A database file in a temporary folder of its own, removed on `close`.

    A context manager, and a path: ``sqlite3.connect(database)`` works. `close` (or the
    end of the block, or of the process) removes the folder with the file, its journal and its WAL.

    Args:
        sample: which sample to copy, one of `SAMPLES`; None for an empty folder whose
            file SQLite creates at the first write.
        journal_mode: one of `JOURNAL_MODES`.
        folder: where to make the temporary folder; the system's place by default.

    Raises:
        ValueError: for an unknown sample or journal mode.
        OSError: if `folder` is missing, is a file, or cannot be written to.
    """

    def __init__(
        self,
        sample: str | None = None,
        journal_mode: str = "delete",
        folder: str | os.PathLike[str] | None = None,
    ) -> None:
        check_journal_mode(journal_mode)
        template = None if sample is None else _template(sample, journal_mode)
        self.sample = sample
        self.journal_mode = journal_mode
        self.folder = Path(tempfile.mkdtemp(prefix="sqlite-under-threads-", dir=folder))
        self._removal = weakref.finalize(self, shutil.rmtree, self.folder, ignore_errors=True)
        self.path = self.folder / f"{sample or 'database'}.db"
        if template is not None:
            self.path.write_bytes(template)

    def __fspath__(self) -> str:
        return str(self.path)

    def __repr__(self) -> str:
        return f"<Database {self.path.name}, journal_mode={self.journal_mode}>"

    def connect(self, **options: Any) -> sqlite3.Connection:
        """Open a connection; takes the options of `sqlite3.connect`. The caller closes it."""
        connection: sqlite3.Connection = sqlite3.connect(self.path, **options)
        if self.journal_mode not in ("delete", "wal"):
            connection.execute(f"PRAGMA journal_mode={self.journal_mode}")
        return connection

    def query(self, sql: str, parameters: Any = ()) -> list[Any]:
        """All rows of one SELECT, over a connection that is opened and closed for it."""
        with closing(sqlite3.connect(self.path)) as connection:
            return connection.execute(sql, parameters).fetchall()

    def close(self) -> None:
        """Remove the folder. Calling it again does nothing.

        Raises:
            PermissionError: on Windows, when a connection to the file is still open.
        """
        if self._removal.detach() is None:
            return
        try:
            _remove(self.folder)
        except PermissionError as error:
            self._removal = weakref.finalize(self, shutil.rmtree, self.folder, ignore_errors=True)
            raise PermissionError(
                f"{self.path.name} is still open in this process: close every connection to it, "
                "then close the database again"
            ) from error

    def __enter__(self) -> Database:
        return self

    def __exit__(self, *_: object) -> None:
        # Windows: with a connection still open, the folder goes when the process ends.
        with contextlib.suppress(PermissionError):
            self.close()


def fresh(
    sample: str, journal_mode: str = "delete", folder: str | os.PathLike[str] | None = None
) -> Database:
    """A new copy of one sample: ``"investments"``, ``"accounts"`` or ``"counter"``.

    See `Database` for the arguments and the errors.
    """
    return Database(sample, journal_mode, folder)


def check_journal_mode(journal_mode: str) -> str:
    """Return `journal_mode` if SQLite knows it.

    Raises:
        ValueError: otherwise, with the modes there are.
    """
    if journal_mode not in JOURNAL_MODES:
        raise ValueError(
            f"unknown journal mode {journal_mode!r}: use one of {', '.join(JOURNAL_MODES)}"
        )
    return journal_mode


def check_file(path: str | os.PathLike[str]) -> Path:
    """Return `path` if it is a SQLite database file that this process may write.

    Raises:
        IsADirectoryError, FileNotFoundError, PermissionError: what is wrong with the path.
        sqlite3.DatabaseError: if the file is not a database.
    """
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(
            f"{path.name!r} is a folder: give the path of a database file in it"
        )
    if not path.exists():
        raise FileNotFoundError(f"there is no file {path.name!r}: make one with databases.fresh()")
    with open(path, "rb") as file:
        head = file.read(16)
    if head and head != b"SQLite format 3\0":
        raise sqlite3.DatabaseError(
            f"{path.name!r} is not a SQLite database: its header is missing"
        )
    if not os.access(path.parent, os.W_OK) or not os.access(path, os.W_OK):
        raise PermissionError(
            f"{path.name!r} or its folder is read-only: SQLite writes a journal beside the database"
        )
    return path


def wal_supported(folder: str | os.PathLike[str]) -> bool:
    """Whether a database in `folder` can be switched to WAL (network file systems often refuse)."""
    with Database(folder=folder) as database, closing(database.connect()) as connection:
        try:
            (mode,) = connection.execute("PRAGMA journal_mode=WAL").fetchone()
            connection.execute("CREATE TABLE probe (id INTEGER)")
        except sqlite3.OperationalError:
            return False
        return bool(mode == "wal")


def _remove(folder: Path) -> None:
    try:
        shutil.rmtree(folder)
    except PermissionError:
        # From Python 3.11 a dropped connection waits for the cycle collector to close it.
        gc.collect()
        time.sleep(0.05)
        shutil.rmtree(folder)


def template(sample: str, journal_mode: str = "delete") -> bytes:
    """The bytes of a closed sample database, to be written to a file of your own.

    Raises:
        ValueError: for an unknown sample or journal mode.
    """
    return _template(sample, check_journal_mode(journal_mode))


@functools.cache
def template_of(script: str, journal_mode: str = "delete") -> bytes:
    """The bytes of a closed database that the SQL `script` made; see `template`.

    Raises:
        ValueError: for an unknown journal mode.
        sqlite3.Error: what the script raises.
    """
    mode = "wal" if check_journal_mode(journal_mode) == "wal" else "delete"
    with Database() as database:
        with closing(database.connect(isolation_level=None)) as connection:
            connection.execute(f"PRAGMA journal_mode={mode}")
            connection.executescript(script)
        return database.path.read_bytes()


@functools.cache
def _template(sample: str, journal_mode: str) -> bytes:
    """The bytes of a closed sample database; read before anything else has it open."""
    if sample not in _SCHEMAS:
        raise ValueError(f"unknown sample {sample!r}: use one of {', '.join(SAMPLES)}")
    with Database() as database:
        with closing(database.connect(isolation_level=None)) as connection:
            connection.execute(
                f"PRAGMA journal_mode={'wal' if journal_mode == 'wal' else 'delete'}"
            )
            connection.executescript(_SCHEMAS[sample])
            connection.execute("BEGIN")
            connection.executemany(_INSERTS[sample], _ROWS[sample]())
            connection.execute("COMMIT")
        return database.path.read_bytes()


def _read(name: str) -> list[dict[str, str]]:
    path = DATA / name
    if not path.is_file():
        raise FileNotFoundError(
            f"data/{name} is missing: install the kit from its own folder with 'pip install -e .'"
        )
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _investments() -> list[tuple[object, ...]]:
    return [
        (int(row["InvestmentID"]), row["Name"], row["SectorGroup"] or None)
        for row in _read("investments.csv")
    ]


def _accounts() -> list[tuple[object, ...]]:
    return [(int(row["id"]), row["owner"], int(row["balance"])) for row in _read("accounts.csv")]


_ROWS: dict[str, Callable[[], list[tuple[object, ...]]]] = {
    "investments": _investments,
    "accounts": _accounts,
    "counter": lambda: [(1, 0)],
}


class ConnectionCounter:
    """Counts connections: pass `connect` where `sqlite3.connect` would go.

    Attributes:
        total: how many were opened.
        dropped: how many ended as garbage, without a call of `close`; since Python 3.13 that
            is a `ResourceWarning` (https://docs.python.org/3/whatsnew/3.13.html#sqlite3).
    """

    def __init__(self) -> None:
        self.total = 0
        self.dropped = 0
        self._names: dict[int, str] = {}
        self._lock = threading.Lock()

    def connect(self, *args: Any, **options: Any) -> sqlite3.Connection:
        """Open a connection and count it; takes what `sqlite3.connect` takes."""
        connection = _Counted(*args, **options)
        with self._lock:
            self.total = number = self.total + 1
        self._names[number] = threading.current_thread().name
        connection.ended = functools.partial(self._ended, number)
        return connection

    @property
    def threads(self) -> list[str]:
        """Names of the threads that opened what is still open, in the order of opening."""
        return list(self._names.values())

    def _ended(self, number: int, dropped: bool) -> None:
        # One call of a dict each: this may run in a finalizer, where no lock may be waited for.
        if self._names.pop(number, None) is not None and dropped:
            self.dropped += 1


class _Counted(sqlite3.Connection):
    """A connection that says when it ends. The thread check of `close` is as in `sqlite3`."""

    def __init__(self, *args: Any, **options: Any) -> None:
        checked = options.get("check_same_thread", True)
        # Garbage may be collected in any thread, and must be closed there all the same.
        super().__init__(*args, **{**options, "check_same_thread": False})
        self.owner = threading.get_ident() if checked else None
        self.ended: Callable[[bool], None] = lambda dropped: None

    def close(self) -> None:
        if self.owner not in (None, threading.get_ident()):
            raise sqlite3.ProgrammingError(
                "SQLite objects created in a thread can only be used in that same thread"
            )
        super().close()
        self.ended(False)

    def __del__(self) -> None:
        with contextlib.suppress(sqlite3.ProgrammingError):  # it was never opened
            sqlite3.Connection.close(self)
            self.ended(True)
