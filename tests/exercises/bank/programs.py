"""Notebook 16: a strategy with its settings for each of five programs."""

import contextlib
import sqlite3
import threading
from functools import partial

from helpers.strategies import (
    DEFAULTS,
    FAST,
    PerThread,
    Pool,
    Settings,
    SharedConnection,
    StatementLock,
    TransactionLock,
    Writer,
)

WAL = Settings("wal")
SOLUTION = {
    1: WAL.applied_to(PerThread),
    2: WAL.applied_to(Pool, readers=4),
    3: WAL.applied_to(Writer),
    4: WAL.applied_to(Pool),
    5: TransactionLock,
}


class OneLock:
    """A learner's own: one connection, a lock, for memory and few connections."""

    def __init__(self, path, connect=sqlite3.connect):
        self.lock = threading.Lock()
        self.connection = connect(path, isolation_level=None, check_same_thread=False)

    def write(self, unit_of_work):
        with self.lock, self.connection:
            self.connection.execute("BEGIN IMMEDIATE")
            return unit_of_work(self.connection)

    def read(self, unit_of_work):
        with self.lock:
            return unit_of_work(self.connection)

    def close(self):
        self.connection.close()


class PerUnit:
    """A learner's own: a connection for each unit of work."""

    def __init__(self, path, connect=sqlite3.connect):
        self.path, self.connect = path, connect

    def _run(self, unit_of_work, begin):
        with (
            contextlib.closing(WAL.open(self.path, self.connect)) as connection,
            connection,
        ):
            connection.execute(begin)
            return unit_of_work(connection)

    def write(self, unit_of_work):
        return self._run(unit_of_work, "BEGIN IMMEDIATE")

    def read(self, unit_of_work):
        return self._run(unit_of_work, "BEGIN")

    def close(self):
        """Nothing stays open."""


class NoSnapshot(PerUnit):
    """Each SELECT of a read sees a state of its own."""

    def read(self, unit_of_work):
        with contextlib.closing(WAL.open(self.path, self.connect)) as connection:
            return unit_of_work(connection)


class PoolOfReaders(Pool):
    """Reads share four connections, each write opens one more."""

    def __init__(self, path, connect=sqlite3.connect):
        super().__init__(path, partial(WAL.open, connect=connect))
        self.units = PerUnit(path, connect)

    def write(self, unit_of_work):
        return self.units.write(unit_of_work)


class PastTheCounter(TransactionLock):
    """Opens its connection by `sqlite3.connect`, whatever it is given."""

    def __init__(self, path, connect=sqlite3.connect):
        super().__init__(path)


class Forgetful(Pool):
    """Acknowledges every second unit without running it."""

    def write(self, unit_of_work):
        self.count = getattr(self, "count", 0) + 1
        return super().write(unit_of_work) if self.count % 2 else None


def change(number, answer):
    return {**SOLUTION, number: answer}


def everywhere(answer):
    return dict.fromkeys(SOLUTION, answer)


RIGHT = {
    "the solution": SOLUTION,
    "as many Writers and locks as possible": {
        1: FAST.applied_to(Writer),
        2: TransactionLock,
        3: Writer,
        4: PerThread,
        5: DEFAULTS.applied_to(TransactionLock),
    },
    "written by hand": {**SOLUTION, 1: PerUnit, 2: OneLock, 4: PerUnit, 5: OneLock},
    "other limits": {
        **SOLUTION,
        2: WAL.applied_to(Pool, readers=1),
        3: Settings("wal", "OFF").applied_to(Writer, group=4),
        4: Settings(busy_timeout=30).applied_to(Pool),
    },
}

MORE_OPEN = "program 2: more than 5 connections were open"
COMMITS = "program 3: the disk had to wait for more than one commit"

#: Name -> the answers, and what the refusal says.
WRONG = {
    "Pool everywhere": (everywhere(WAL.applied_to(Pool)), COMMITS),
    "PerThread everywhere": (everywhere(WAL.applied_to(PerThread)), MORE_OPEN),
    "Writer everywhere": (everywhere(WAL.applied_to(Writer)), MORE_OPEN),
    "TransactionLock everywhere": (
        everywhere(TransactionLock),
        "program 1: an order had to wait for the end of the report",
    ),
    # Its orders may lose an increment, and always make the report see two states.
    "StatementLock everywhere": (everywhere(StatementLock), "program 1: "),
    "SharedConnection in memory": (change(5, SharedConnection), "program 5: "),
    "a report without a snapshot": (change(1, NoSnapshot), "program 1: the report saw two states"),
    "a rollback journal in program 1": (
        change(1, Settings("delete").applied_to(Pool)),
        "program 1: an order had to wait",
    ),
    "too many readers": (change(2, WAL.applied_to(Pool, readers=5)), MORE_OPEN),
    "a connection for each unit": (change(2, PerUnit), MORE_OPEN),
    "a pool for reads only": (change(2, PoolOfReaders), MORE_OPEN),
    "connections that nobody counts": (
        change(2, PastTheCounter),
        "program 2: it opened no connection by the connect",
    ),
    "half of the writes": (change(2, Forgetful), "program 2: a unit was acknowledged"),
    "groups of one": (change(3, WAL.applied_to(Writer, group=1)), COMMITS),
    "a lock without groups": (change(3, OneLock), COMMITS),
    "too little patience": (
        change(4, Settings("wal", busy_timeout=0.2).applied_to(PerThread)),
        "program 4: a unit was refused: OperationalError: database is locked",
    ),
    "a writer without the user": (
        change(4, WAL.applied_to(Writer)),
        "program 4: the sale was stored without the name",
    ),
    "a lock beside another program": (
        change(4, WAL.applied_to(TransactionLock)),
        "program 4: a page had to wait for the import",
    ),
    "WAL in memory": (change(5, WAL.applied_to(TransactionLock)), "program 5: it cannot be made"),
    "a connection each in memory": (change(5, PerUnit), "program 5: "),
    "a program forgotten": (
        {number: SOLUTION[number] for number in (1, 2, 3, 4)},
        "program 5 has no strategy yet",
    ),
}
