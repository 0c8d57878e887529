"""The ways in which threads can share one database, behind one protocol.

The unit that must be protected is a *unit of work*, never a statement: what has to
happen as a whole, reading included. So a strategy takes functions, not SQL.

Each strategy is one file, to be copied into an application: it needs the standard library only.
`flawed` holds their counterparts, which lose work.
"""

from __future__ import annotations

import sqlite3
import warnings
from collections.abc import Callable
from typing import Any, Protocol

from helpers.strategies.per_thread import PerThread
from helpers.strategies.pool import Pool
from helpers.strategies.retry import Retry, is_busy
from helpers.strategies.settings import DEFAULTS, DURABLE, FAST, OutcomeUnknown, Settings
from helpers.strategies.transaction_lock import TransactionLock
from helpers.strategies.writer import Writer

with warnings.catch_warnings():
    # From Python 3.14 the compiler warns of LockableCursor's `return` in `finally`.
    warnings.simplefilter("ignore", SyntaxWarning)
    from helpers.strategies.flawed import (
        CheckedConnection,
        LockableCursor,
        SharedConnection,
        StatementLock,
    )

__all__ = [
    "DEFAULTS",
    "DURABLE",
    "FAST",
    "CheckedConnection",
    "Connect",
    "LockableCursor",
    "OutcomeUnknown",
    "PerThread",
    "Pool",
    "Retry",
    "Settings",
    "SharedConnection",
    "StatementLock",
    "Strategy",
    "TransactionLock",
    "UnitOfWork",
    "Writer",
    "is_busy",
]

#: What a strategy runs: takes an open connection, returns a result, commits nothing itself.
UnitOfWork = Callable[[sqlite3.Connection], Any]

#: Opens a connection; takes what `sqlite3.connect` takes. `History.connect` is one.
Connect = Callable[..., sqlite3.Connection]


class Strategy(Protocol):
    """One way for many threads to use one database. Every method may be called from any thread.

    But not from a finalizer or a signal handler: these interrupt a thread wherever it is, also
    where it holds a lock of the strategy's own.
    """

    def write(self, unit_of_work: UnitOfWork, /) -> Any:
        """Run it inside one write transaction and return its result once that is committed."""

    def read(self, unit_of_work: UnitOfWork, /) -> Any:
        """Run it against one consistent snapshot and return its result."""

    def close(self) -> None:
        """Wait for the units that run, and close every connection; a second call does nothing."""
