"""What a way of waiting knows of a connection, and what it notes there."""

from __future__ import annotations

import sqlite3

from helpers.explorer.engine.threads import ControlledThread

_in_transaction = sqlite3.Connection.in_transaction.__get__


class WatchedConnection(sqlite3.Connection):
    """A connection that says whether it waits for a lock, and can be told to wait.

    Attributes:
        closed: whether the program has closed it.
        failure: what the busy handler raised: it cannot cross C code.
        handle: address of SQLite's own object, 0 where it cannot be reached.
        is_wal: whether its database is in WAL mode.
        occupant: the thread that is inside SQLite.
        patience: its busy timeout, in seconds.
        rule_state, rule_lock: transaction and lock as the rule of waiting follows them.
        rule_unfinished: the transaction of a statement that is not read to its end.
        rule_unknown: how many statements the rule could not follow.
        rule_splits: whether the open transaction is the rule's own.
    """

    __slots__ = (
        "closed", "failure", "handle", "is_wal", "occupant", "patience", "rule_lock", "rule_splits",
        "rule_state", "rule_unfinished", "rule_unknown",
    )  # fmt: skip

    closed: bool
    failure: BaseException | None
    handle: int
    is_wal: bool
    occupant: ControlledThread | None
    patience: float
    rule_state: int
    rule_lock: int
    rule_unfinished: int
    rule_unknown: int
    rule_splits: bool

    def raw(self, sql: str) -> None:
        """Run a statement that is no step."""
        sqlite3.Cursor(self).execute(sql).close()

    @property
    def open_transaction(self) -> bool:
        """`in_transaction` without a look at who may ask."""
        return bool(_in_transaction(self))

    @property
    def waits(self) -> bool:
        """Whether it waits for a lock on the file at all."""
        return bool(self.patience)

    def wait(self, phase: tuple[int, int]) -> bool:
        """SQLite would wait: True to try again, False when the timeout has expired."""
        raise NotImplementedError
