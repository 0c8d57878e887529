"""What the scheduler and a way of waiting know of a connection, and what they note there."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Any, Protocol

from helpers.explorer.engine.scheduler import Scheduler
from helpers.explorer.engine.threads import ControlledThread

#: Transaction states of a connection, as `sqlite3_txn_state` numbers them.
TRANSACTION = ("none", "read", "write")

#: Lock levels of a connection on its file, as SQLITE_FCNTL_LOCKSTATE numbers them.
LOCKS = ("UNLOCKED", "SHARED", "RESERVED", "PENDING", "EXCLUSIVE")

_in_transaction = sqlite3.Connection.in_transaction.__get__


class Waiting(Protocol):
    """A way to find out whether SQLite would wait."""

    name: str

    def adopt(self, connection: WatchedConnection) -> None:
        """Prepare a connection that was just opened, or whose busy timeout was just set."""

    def perform(
        self, connection: WatchedConnection, kind: str, call: Callable[..., Any], *arguments: Any
    ) -> Any:
        """Make `call`, parking the thread wherever SQLite would wait; returns its result.

        `kind` is the kind of statement, as `statements.kind_of` names it.
        """

    def transaction(self, connection: WatchedConnection) -> int:
        """The connection's transaction state, an index into `TRANSACTION`."""

    def lock(self, connection: WatchedConnection) -> int:
        """The connection's lock on its file, an index into `LOCKS`."""


class WatchedConnection(sqlite3.Connection):
    """A connection that says whether it waits for a lock, and can be told to wait."""

    owner: ControlledThread | None
    occupant: ControlledThread | None = None  # the thread that is inside SQLite
    phase = (0, 0)  # transaction and lock with which it waits there
    handle = 0  # address of SQLite's own object, where it can be reached
    failure: BaseException | None = None  # of the busy handler: it cannot cross C code
    closed = False  # by the program
    unfinished = False  # a change with RETURNING is not read to its end
    # As the rule of waiting follows them: transaction, lock, transaction of a statement that is
    # not read to its end, statements that it could not follow; the open BEGIN is its own.
    rule_state = rule_lock = rule_unfinished = rule_unknown = 0
    rule_splits = False

    def __init__(
        self,
        scheduler: Scheduler,
        waiting: Waiting,
        patience: float,
        database: Any,
        **options: Any,
    ) -> None:
        options |= {"timeout": 0, "isolation_level": None, "check_same_thread": False}
        scheduler.may_connect = True
        try:
            super().__init__(database, **options)
        except sqlite3.Error:  # another thread may have made the file, or make it yet
            scheduler.share("a file that cannot be opened")
            raise
        finally:
            scheduler.may_connect = False
        self.scheduler = scheduler
        self._waiting = waiting
        self.decides_by_rule = waiting.name == "rule"
        self.patience = patience  # its busy timeout, in seconds
        self.is_wal = scheduler.is_wal
        self.owner = scheduler.me()
        waiting.adopt(self)

    def raw(self, sql: str) -> None:
        """Run a statement that is no step."""
        sqlite3.Cursor(self).execute(sql).close()

    @property
    def open_transaction(self) -> bool:
        """`in_transaction` without a look at who may ask."""
        return bool(_in_transaction(self))

    def state(self) -> tuple[int, int]:
        """Transaction state and lock level; as noted last while a thread waits inside."""
        if self.closed:
            return (0, 0)
        if self.occupant is not None and self.occupant is not self.scheduler.running:
            return self.phase
        return (self._waiting.transaction(self), self._waiting.lock(self))

    def seen_by_others(self) -> tuple[object, ...]:
        """What may keep others waiting: while it stays the same, they wait in vain.

        The rule of waiting cannot follow every statement, but knows when it could not.
        """
        if self.closed or not self.decides_by_rule:
            return self.state()
        known = not self.rule_unknown
        return (*self.state(), self.rule_unknown, known or self.open_transaction)

    @property
    def has_begun(self) -> bool:
        """Whether a transaction is open, as far as can be told while a thread waits inside."""
        if self.occupant is not None and self.occupant is not self.scheduler.running:
            return False
        if self.rule_splits:  # this BEGIN is the rule's, not the program's
            return False
        return self.open_transaction

    def commits_later(self) -> bool:
        """Whether a change with RETURNING commits when its last row is read, in no step."""
        if self.unfinished and self.occupant is None:
            open_ = not self.closed and not self.open_transaction
            self.unfinished = open_ and self.state()[0] == 2
        return self.unfinished

    def wait(self, phase: tuple[int, int]) -> bool:
        """SQLite would wait in this connection: see `Scheduler.wait_for_file`."""
        self.phase = phase
        self._touch_file("w" if phase[1] >= 2 else "r", "w")
        return self.scheduler.wait_for_file(self, phase)

    def holders(self) -> list[tuple[ControlledThread | None, str]]:
        """Who holds locks on the file that this connection waits for, writers first."""
        others = [
            (other.state()[0], other.owner)
            for other in self.scheduler.connections
            if other is not self
        ]
        held = [(state, owner) for state, owner in others if state]
        # Not in the order in which they were opened: that is no part of a state.
        held.sort(key=lambda pair: (-pair[0], pair[1].name if pair[1] else ""))
        return [(owner, f"a {TRANSACTION[state]} transaction") for state, owner in held]

    @property
    def waits(self) -> bool:
        """Whether it waits for a lock on the file at all."""
        return bool(self.patience) and not self.scheduler.expire

    def _touch_file(self, file: str, write_lock: str) -> None:
        self.scheduler.touch("file", file)
        if write_lock:
            self.scheduler.touch("write lock", write_lock)


def lock_text(connection: WatchedConnection) -> tuple[str, str]:
    """Transaction state and lock of a connection in words."""
    state, lock = connection.state()
    return TRANSACTION[state], LOCKS[lock]
