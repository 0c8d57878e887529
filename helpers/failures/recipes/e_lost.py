"""E. Lost updates: a connection per thread, no error, and still a wrong result."""

import sqlite3
import threading
from functools import partial
from typing import Any, Callable, List

from .common import TIMEOUT, Outcome, Workspace, exists_since, failure, integer, outcome

COUNTER = """
    CREATE TABLE counter (id INTEGER PRIMARY KEY, value INTEGER);
    INSERT INTO counter VALUES (1, 0);
"""
SEEN = "two increments were acknowledged, one is stored"
READ = "SELECT value FROM counter WHERE id = 1"
WRITE = "UPDATE counter SET value = ? WHERE id = 1"
IMMEDIATE = "BEGIN IMMEDIATE before the SELECT."


def _meet(barrier: threading.Barrier) -> None:
    barrier.wait(TIMEOUT)


def _increment(
    connection: sqlite3.Connection, after_read: Callable[[], None], turn: List[Any], first: bool
) -> None:
    """Read, meet the other thread, write; `turn` lets the first thread write first."""
    value = integer(connection, READ)
    after_read()
    if not first:
        turn[0].wait(TIMEOUT)
    connection.execute(WRITE, (value + 1,))
    connection.commit()
    turn[0].set()


def lost_update(
    workspace: Workspace, fixed: bool, journal_mode: str = "delete", **options: Any
) -> Outcome:
    """Two threads, each with its own connection, read the same value and write it back plus one."""
    setup = workspace.connect(COUNTER)
    setup.execute("PRAGMA journal_mode = " + journal_mode)
    barrier, turn = threading.Barrier(2), [threading.Event()]

    def work(first: bool) -> None:
        connection = sqlite3.connect(workspace.path, timeout=TIMEOUT, **options)
        try:
            if fixed:
                connection.isolation_level = None
                connection.execute("BEGIN IMMEDIATE")
                _increment(connection, lambda: None, turn, True)
            else:
                _increment(connection, lambda: _meet(barrier), turn, first)
        finally:
            connection.close()

    works = [workspace.start(lambda: work(True)), workspace.start(lambda: work(False))]
    errors = [error for error in (w.join().error for w in works) if error]
    value = integer(setup, READ)
    lost = value == 1 and not errors
    return outcome(lost, errors[0] if errors else None, SEEN)


@failure(
    "e-lost-update",
    "An update is lost with a connection per thread",
    "Both commits succeed; the counter is 1, not 2.",
    IMMEDIATE,
)
def default_isolation(workspace: Workspace, fixed: bool) -> Outcome:
    """Python begins a transaction before the UPDATE only: the SELECT stands outside."""
    return lost_update(workspace, fixed)


@failure(
    "e-lost-update-wal",
    "An update is lost in WAL mode, too",
    "Both commits succeed; the counter is 1, not 2.",
    IMMEDIATE,
)
def in_wal(workspace: Workspace, fixed: bool) -> Outcome:
    """WAL changes who waits for whom, not what a transaction is."""
    return lost_update(workspace, fixed, journal_mode="wal")


@failure(
    "e-lost-update-isolation-none",
    "An update is lost with isolation_level=None",
    "Both UPDATEs succeed; the counter is 1, not 2.",
    IMMEDIATE,
)
def isolation_none(workspace: Workspace, fixed: bool) -> Outcome:
    """Every statement is a transaction of its own."""
    return lost_update(workspace, fixed, isolation_level=None)


@failure(
    "e-lost-update-autocommit",
    "An update is lost with autocommit=True",
    "Both UPDATEs succeed; the counter is 1, not 2.",
    "One statement: UPDATE counter SET value = value + 1.",
    happens=exists_since(3, 12),
)
def autocommit(workspace: Workspace, fixed: bool) -> Outcome:
    """The same by the attribute of Python 3.12; the fix needs no transaction."""
    setup = workspace.connect(COUNTER)
    connections = [workspace.shared(autocommit=True, timeout=TIMEOUT) for _ in range(2)]
    if fixed:
        add = "UPDATE counter SET value = value + 1 WHERE id = 1"
        works = [workspace.run(partial(c.execute, add)) for c in connections]
    else:
        values = [workspace.run(partial(integer, c, READ)).value for c in connections]
        works = [
            workspace.run(partial(c.execute, WRITE, (v + 1,))) for c, v in zip(connections, values)
        ]
    error = works[0].error or works[1].error
    return outcome(integer(setup, READ) == 1, error, SEEN)


@failure(
    "e-lost-update-lock",
    "An update is lost with a lock round every statement",
    "Both threads held the lock at every statement; the counter is 1, not 2.",
    "Hold the lock for the whole unit of work.",
)
def lock_per_statement(workspace: Workspace, fixed: bool) -> Outcome:
    """The lock is free between the SELECT and the UPDATE."""
    connection, lock = workspace.shared(COUNTER, isolation_level=None), threading.RLock()
    barrier = threading.Barrier(2)

    def locked(sql: str, parameters: Any = ()) -> List[Any]:
        with lock:
            return connection.execute(sql, parameters).fetchall()

    def unit() -> None:
        value = locked(READ)[0][0]
        if not fixed:
            _meet(barrier)
        locked(WRITE, (value + 1,))

    def whole() -> None:
        with lock:
            unit()

    works = [workspace.start(whole if fixed else unit) for _ in range(2)]
    errors = [work.join().error for work in works]
    value = integer(connection, READ)
    return outcome(value == 1, errors[0] or errors[1], SEEN)
