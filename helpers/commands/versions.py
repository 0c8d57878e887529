"""What do your versions imply? Which behaviours of this course apply to this Python and SQLite.

Sources: https://docs.python.org/3/library/sqlite3.html (changes by version),
https://github.com/python/cpython/issues/118172 (shared statements),
https://www.sqlite.org/wal.html#walresetbug, https://www.sqlite.org/threadsafe.html.
"""

from __future__ import annotations

import sqlite3
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from helpers.commands import doctor

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Implication:
    """One behaviour: since when there is such a thing, whether it is so here, what follows."""

    behaviour: str
    versions: str
    here: bool
    follows: str


def gil_enabled() -> bool:
    """Whether this interpreter runs Python code in one thread at a time."""
    ask = getattr(sys, "_is_gil_enabled", None)
    return True if ask is None else bool(ask())


def implications(
    python: tuple[int, ...] = tuple(sys.version_info[:3]),
    sqlite: tuple[int, ...] = sqlite3.sqlite_version_info,
) -> list[Implication]:
    """What holds for these versions, by default those of this process."""
    return [
        Implication(
            "Threads share a prepared statement when they share a connection",
            "Python 3.12 and newer",
            python >= (3, 12),
            "a SELECT can return another thread's row without any error (notebook 02)",
        ),
        Implication(
            "Connections have the autocommit attribute",
            "Python 3.12 and newer",
            python >= (3, 12),
            "there are three ways to control transactions, not two (notebook 08)",
        ),
        Implication(
            "An unclosed connection warns",
            "Python 3.13 and newer",
            python >= (3, 13),
            "ResourceWarning: unclosed database (notebook 07)",
        ),
        Implication(
            "Threads run Python code at the same time",
            "free-threaded builds",
            not gil_enabled(),
            "a shared connection loses the last protection it had (notebook 02)",
        ),
        Implication(
            "SQLite is compiled as serialized",
            "THREADSAFE=1, the default",
            doctor.compiled_threading_mode() == 1,
            "sharing does not corrupt the file, only the data (notebook 03)",
        ),
        Implication(
            "The WAL-reset bug",
            "SQLite 3.7.0 to 3.51.2, without a backport",
            doctor.has_wal_reset_bug(sqlite),
            "very rarely, a checkpoint racing with a commit damages the database (notebook 09)",
        ),
    ]


def table() -> pd.DataFrame:
    """`implications` of this process as a data frame."""
    import pandas as pd

    rows = [
        (item.behaviour, item.versions, "yes" if item.here else "no", item.follows)
        for item in implications()
    ]
    return pd.DataFrame(rows, columns=["behaviour", "which versions", "here", "what follows"])
