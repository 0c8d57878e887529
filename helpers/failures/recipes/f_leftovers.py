"""F and H. Locks that somebody left behind: a failed INSERT, a dead thread, an open connection."""

import gc
import sqlite3
import warnings
from typing import Any, List

from .common import (
    CHILD,
    SHORT,
    Outcome,
    Workspace,
    failure,
    integer,
    outcome,
    since,
)  # fmt: skip
from .f_locked import UPDATE, locked, pair


def _blocked_by(workspace: Workspace, leave: Any, repair: Any, holder: str) -> Outcome:
    """A does something and goes away; B wants to write."""
    first, other = pair(workspace, SHORT, isolation_level="")
    workspace.attempt(lambda: leave(first))
    if repair:
        repair(first)
    work = workspace.run(lambda: other.execute(UPDATE))
    return locked(work, SHORT, "the timeout", "delete", "UPDATE", "SQLITE_BUSY", holder=holder)


@failure(
    "f-failed-insert",
    "A failed INSERT keeps the write lock",
    "OperationalError: database is locked in another thread, after the timeout.",
    "Roll back after every exception.",
)
def failed_insert(workspace: Workspace, fixed: bool) -> Outcome:
    """The INSERT began a transaction; its failure did not end it."""
    insert = "INSERT INTO t VALUES (1, 0)"
    repair = (lambda c: c.rollback()) if fixed else None
    return _blocked_by(workspace, lambda c: c.execute(insert), repair, "failed")


@failure(
    "f-empty-update",
    "An UPDATE of no rows keeps the write lock",
    "OperationalError: database is locked in another thread, after the timeout.",
    "Commit (or roll back) even if nothing was changed.",
)
def empty_update(workspace: Workspace, fixed: bool) -> Outcome:
    """The UPDATE began a transaction before it knew that it had nothing to do."""
    update = "UPDATE t SET v = 0 WHERE id = -1"
    repair = (lambda c: c.commit()) if fixed else None
    return _blocked_by(workspace, lambda c: c.execute(update), repair, "changed nothing")


@failure(
    "f-dead-thread",
    "A thread died in its transaction",
    "OperationalError: database is locked in another thread, after the timeout.",
    "Close the connection in a finally block.",
)
def dead_thread(workspace: Workspace, fixed: bool) -> Outcome:
    """A list (a pool, a traceback) still refers to the dead thread's connection."""
    other = pair(workspace, SHORT)[1]
    pool = []  # type: List[sqlite3.Connection]

    def die() -> None:
        pool.append(sqlite3.connect(workspace.path, check_same_thread=False))
        try:
            pool[0].execute(UPDATE)
            raise LookupError("the thread's own problem")
        finally:
            if fixed:
                pool[0].close()

    workspace.run(die)
    work = workspace.run(lambda: other.execute(UPDATE))
    pool[0].close()
    return locked(work, SHORT, "the timeout", "delete", "UPDATE", "SQLITE_BUSY", holder="ended")


@failure(
    "h-dropped",
    "A dropped connection keeps its lock until the garbage collector runs",
    "OperationalError: database is locked, although no name refers to the other connection.",
    "Close connections yourself: contextlib.closing.",
    happens=since(3, 11),
    where=CHILD,
)
def dropped(workspace: Workspace, fixed: bool) -> Outcome:
    """From Python 3.11 on, a connection that ran SQL is part of a reference cycle."""
    warnings.simplefilter("ignore")
    other = pair(workspace, SHORT)[1]

    def forget() -> None:
        connection = sqlite3.connect(workspace.path)
        connection.execute(UPDATE)
        if fixed:
            connection.close()

    gc.disable()
    workspace.run(forget)
    work = workspace.run(lambda: other.execute(UPDATE))
    gc.enable()
    gc.collect()
    return locked(work, SHORT, "the timeout", "delete", "UPDATE", "SQLITE_BUSY", holder="ended")


@failure(
    "h-with-stays-open",
    "'with connect(...)' does not close",
    "After the block the connection still answers.",
    "contextlib.closing(connect(...)).",
)
def with_stays_open(workspace: Workspace, fixed: bool) -> Outcome:
    """The block ends a transaction, not the connection."""
    connection = workspace.connect()
    with connection:
        connection.execute("CREATE TABLE t (v)")
    if fixed:
        connection.close()
    work = workspace.attempt(lambda: integer(connection, "SELECT count(*) FROM t"))
    return outcome(work.error is None, work.error, "the connection is still open")


@failure(
    "h-resource-warning",
    "A connection that nobody closed",
    "ResourceWarning: unclosed database.",
    "Close it: contextlib.closing.",
    happens=since(3, 13),
    where=CHILD,
)
def resource_warning(workspace: Workspace, fixed: bool) -> Outcome:
    """Python 3.13 says so when the connection is collected."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        connection = sqlite3.connect(workspace.path)
        with connection:
            connection.execute("CREATE TABLE t (v)")
        if fixed:
            connection.close()
        del connection
        gc.collect()
    found = [str(warning.message) for warning in caught]
    seen = workspace.attempt(lambda: _raise(ResourceWarning(found[0]))).error if found else None
    return outcome(any("unclosed database" in text for text in found), seen)


def _raise(error: Exception) -> None:
    raise error
