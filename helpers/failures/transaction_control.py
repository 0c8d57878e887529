"""What does `autocommit` change? The ways in which `sqlite3` begins and ends transactions, probed.

A `Regime` is a way to open a connection. Each of `PROBES` is a small experiment on a database
of its own that answers one question about it. `measure` makes them all on this Python;
`table` reads the answers from ``data/autocommit.csv``, so that a Python without the attribute
(before 3.12) shows the same table, and `differences` says where this Python disagrees.

Source of the regimes: https://docs.python.org/3/library/sqlite3.html#transaction-control.
"""

from __future__ import annotations

import csv
import sqlite3
import sys
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from helpers import databases

if TYPE_CHECKING:
    import pandas as pd

FILE = databases.DATA / "autocommit.csv"

SELECT = "SELECT value FROM counter"
UPDATE = "UPDATE counter SET value = value + 1"


@dataclass(frozen=True)
class Regime:
    """A way to open a connection: its name, and what `sqlite3.connect` is given."""

    name: str
    options: Mapping[str, Any]

    @property
    def exists(self) -> bool:
        """Whether this Python has it."""
        return "autocommit" not in self.options or sys.version_info >= (3, 12)


REGIMES = (
    Regime("default", {}),
    Regime("isolation_level=None", {"isolation_level": None}),
    Regime("autocommit=True", {"autocommit": True}),
    Regime("autocommit=False", {"autocommit": False}),
)

Open = Callable[..., sqlite3.Connection]


def _after(sql: str) -> Callable[[Open], str]:
    """Whether a transaction is open after one statement."""

    def probe(connect: Open) -> str:
        with closing(connect()) as connection:
            connection.execute(sql).fetchall()
            return _yes(connection.in_transaction)

    return probe


def _at_connect(connect: Open) -> str:
    with closing(connect()) as connection:
        return _yes(connection.in_transaction)


def _two_selects(connect: Open) -> str:
    """Two SELECTs in a row, between which another connection commits."""
    with closing(connect()) as connection:
        (first,) = connection.execute(SELECT).fetchone()
        _elsewhere(connection)
        (second,) = connection.execute(SELECT).fetchone()
        return _yes(first == second)


def _read_then_write(connect: Open) -> str:
    """SELECT, another's commit, then an UPDATE with the value that was read."""
    with closing(connect()) as connection:
        (value,) = connection.execute(SELECT).fetchone()
        _elsewhere(connection)
        try:
            connection.execute("UPDATE counter SET value = ?", (value + 1,))
        except sqlite3.OperationalError as error:
            return "refused" if error.sqlite_errorname == "SQLITE_BUSY_SNAPSHOT" else str(error)
        connection.commit()
    return "lost"


def _rollback(connect: Open) -> str:
    with closing(connect()) as connection:
        connection.execute(UPDATE)
        connection.rollback()
        return _yes(connection.execute(SELECT).fetchone() == (0,))


def _with_block(connect: Open) -> str:
    with closing(connect()) as connection:
        try:
            with connection:
                connection.execute(UPDATE)
                raise LookupError
        except LookupError:
            return _yes(connection.execute(SELECT).fetchone() == (0,))


def _commit_ends_own_begin(connect: Open) -> str:
    with closing(connect()) as connection:
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            return "BEGIN is refused"
        connection.execute(UPDATE)
        connection.commit()
        return _yes(not connection.in_transaction)


def _kind_of_begin(connect: Open) -> str:
    """The BEGIN that Python sends if it is asked for IMMEDIATE ones, where it can be asked."""
    begins: list[str] = []
    with closing(connect(isolation_level="IMMEDIATE")) as connection:
        connection.set_trace_callback(begins.append)
        connection.execute(UPDATE)
        connection.commit()
        connection.set_trace_callback(None)
    return next((sql.strip() for sql in begins if sql.startswith("BEGIN")), "none")


def _pragma(sql: str, ask: str, expected: object) -> Callable[[Open], str]:
    """Whether a PRAGMA takes effect."""

    def probe(connect: Open) -> str:
        with closing(connect()) as connection:
            try:
                connection.execute(sql)
            except sqlite3.OperationalError:
                return "an error"
            return _yes(connection.execute(ask).fetchone() == (expected,))

    return probe


def _close(connect: Open) -> str:
    with closing(connect()) as connection:
        connection.execute(UPDATE)
    with closing(connect()) as connection:
        return _yes(connection.execute(SELECT).fetchone() == (1,))


#: Question -> the experiment that answers it: takes a function that opens a connection.
PROBES: dict[str, Callable[[Open], str]] = {
    "a transaction is open after connect()": _at_connect,
    "... after a SELECT": _after(SELECT),
    "... after an UPDATE": _after(UPDATE),
    "... after CREATE TABLE": _after("CREATE TABLE other (id)"),
    "the BEGIN sent with isolation_level='IMMEDIATE'": _kind_of_begin,
    "two SELECTs see one state": _two_selects,
    "SELECT, another's commit, UPDATE: that commit is": _read_then_write,
    "commit() ends a BEGIN IMMEDIATE of one's own": _commit_ends_own_begin,
    "rollback() takes an UPDATE back": _rollback,
    "'with connection' takes it back after an exception": _with_block,
    "close() without commit() keeps an UPDATE": _close,
    "PRAGMA foreign_keys = 1 takes effect": _pragma(
        "PRAGMA foreign_keys = 1", "PRAGMA foreign_keys", 1
    ),
    "PRAGMA synchronous = NORMAL takes effect": _pragma(
        "PRAGMA synchronous = NORMAL", "PRAGMA synchronous", 1
    ),
}


def measure() -> dict[str, dict[str, str]]:
    """Regime -> question -> answer, for the regimes that this Python has."""
    return {
        regime.name: {question: _answer(probe, regime) for question, probe in PROBES.items()}
        for regime in REGIMES
        if regime.exists
    }


def differences() -> list[str]:
    """Where this Python answers otherwise than ``data/autocommit.csv``; empty if nowhere."""
    stored = table()
    return [
        f"{question}, {name}: {answer}, not {stored[name][question]}"
        for name, answers in measure().items()
        for question, answer in answers.items()
        if answer != stored[name][question]
    ]


def table() -> pd.DataFrame:
    """The stored answers: one row a question, one column a regime.

    Raises:
        FileNotFoundError: if ``data/autocommit.csv`` is missing.
    """
    import pandas as pd

    return pd.read_csv(FILE, index_col=0, dtype=str, keep_default_na=False)


def write() -> None:
    """Measure again and store the answers; ``data/make_autocommit.py`` calls it.

    Raises:
        RuntimeError: before Python 3.12, which has not all the regimes.
    """
    missing = [regime.name for regime in REGIMES if not regime.exists]
    if missing:
        raise RuntimeError(f"this Python has no {', '.join(missing)}: use 3.12 or newer")
    answers = measure()
    with open(FILE, "w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["", *answers])
        rows.writerows([question, *(answers[name][question] for name in answers)]
                       for question in PROBES)  # fmt: skip


def _answer(probe: Callable[[Open], str], regime: Regime) -> str:
    with databases.fresh("counter", "wal") as database:
        return probe(lambda **more: database.connect(**{"timeout": 1, **more, **regime.options}))


def _elsewhere(connection: sqlite3.Connection) -> None:
    """Another connection to the same file adds 1 and commits."""
    (_, _, path), *_ = connection.execute("PRAGMA database_list")
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute(UPDATE)


def _yes(value: bool) -> str:
    return "yes" if value else "no"
