"""F. "database is locked": one text, many causes, told apart by time and error name."""

import sqlite3
import threading
import time
from functools import partial
from typing import Any, List

from .common import (
    CHILD,
    LONG,
    OFTEN,
    SHORT,
    Build,
    Outcome,
    Work,
    Workspace,
    failure,
    integer,
    outcome,
    since,
    waited,
)  # fmt: skip

TABLE = """
    CREATE TABLE t (id INTEGER PRIMARY KEY, v INTEGER NOT NULL);
    WITH RECURSIVE k(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM k WHERE x < 2000)
    INSERT INTO t SELECT x, x FROM k;
"""
LOCKED = "database is locked"
UPDATE = "UPDATE t SET v = v + 1 WHERE id = 1"
IMMEDIATE = "BEGIN IMMEDIATE: say at the start that the transaction will write."


def locked(
    work: Work, timeout: float, expected: str, journal: str, at: str, name: str, **more: str
) -> Outcome:
    """The outcome of a statement that should have met a lock.

    It happened if the text, the error name (where Python tells it) and the waiting agree.
    """
    error, time_taken = work.error, waited(work, timeout)
    happened = (
        error is not None
        and LOCKED in error.message
        and error.errorname in ("", name)
        and time_taken == expected
    )
    return outcome(happened, error, "", waited=time_taken, journal_mode=journal, at=at, **more)


def pair(
    workspace: Workspace, timeout: float, journal: str = "delete", **options: Any
) -> List[Any]:
    """Two connections to one table, in a journal mode."""
    workspace.connect(TABLE).execute("PRAGMA journal_mode = " + journal).fetchall()
    options.setdefault("isolation_level", None)
    return [workspace.shared(timeout=timeout, **options) for _ in range(2)]


@failure(
    "f-timeout",
    "Another connection writes for longer than the timeout",
    "OperationalError: database is locked, after the timeout.",
    "Keep transactions short: commit before the other's timeout ends.",
)
def timeout(workspace: Workspace, fixed: bool) -> Outcome:
    """A holds the write lock, B waits for it."""
    first, other = pair(workspace, SHORT)
    first.execute("BEGIN IMMEDIATE")
    if fixed:
        first.execute("COMMIT")
    work = workspace.run(lambda: other.execute(UPDATE))
    return locked(
        work, SHORT, "the timeout", "delete", "UPDATE", "SQLITE_BUSY", holder="is working"
    )


@failure(
    "f-timeout-zero",
    "A connection that never waits",
    "OperationalError: database is locked, at once.",
    "Give connect() a timeout.",
)
def timeout_zero(workspace: Workspace, fixed: bool) -> Outcome:
    """timeout=0 means: do not wait at all."""
    workspace.connect(TABLE)
    first = workspace.shared(isolation_level=None)
    other = workspace.shared(isolation_level=None, timeout=LONG if fixed else 0)
    first.execute("BEGIN IMMEDIATE")
    work = workspace.start(lambda: other.execute(UPDATE))
    if not fixed:
        work.join()
    first.execute("ROLLBACK")
    result = locked(work.join(), LONG, "at once", "delete", "UPDATE", "SQLITE_BUSY")
    result["answers"]["timeout"] = "0"
    return result


@failure(
    "f-exclusive",
    "A reader meets an EXCLUSIVE transaction",
    "OperationalError: database is locked, at a SELECT, after the timeout.",
    "BEGIN IMMEDIATE lets readers in; or use WAL.",
)
def exclusive(workspace: Workspace, fixed: bool) -> Outcome:
    """BEGIN EXCLUSIVE keeps readers out in a rollback journal."""
    first, other = pair(workspace, SHORT)
    first.execute("BEGIN IMMEDIATE" if fixed else "BEGIN EXCLUSIVE")
    work = workspace.run(lambda: integer(other, "SELECT v FROM t WHERE id = 1"))
    return locked(work, SHORT, "the timeout", "delete", "SELECT", "SQLITE_BUSY")


@failure(
    "f-upgrade",
    "Two readers want to write",
    "OperationalError: database is locked, at once: waiting would be a deadlock.",
    IMMEDIATE,
)
def upgrade(workspace: Workspace, fixed: bool) -> Outcome:
    """Both read in a transaction; A writes; B wants to."""
    first, other = pair(workspace, LONG)
    _begin_and_read(first, "BEGIN IMMEDIATE" if fixed else "BEGIN")
    if fixed:
        work = workspace.start(lambda: _begin_and_read(other, "BEGIN IMMEDIATE", UPDATE))
    else:
        _begin_and_read(other, "BEGIN")
        first.execute(UPDATE)
        work = workspace.run(lambda: other.execute(UPDATE))
    first.execute("ROLLBACK")
    return locked(work.join(), LONG, "at once", "delete", "UPDATE", "SQLITE_BUSY")


def _begin_and_read(connection: sqlite3.Connection, begin: str, then: str = "") -> None:
    connection.execute(begin)
    integer(connection, "SELECT v FROM t WHERE id = 1")
    if then:
        connection.execute(then)


@failure(
    "f-upgrade-commit",
    "The other side of that deadlock",
    "OperationalError: database is locked, at COMMIT, after the timeout.",
    "B rolls back as soon as it sees its error.",
)
def upgrade_commit(workspace: Workspace, fixed: bool) -> Outcome:
    """B was refused and kept its read transaction open: A cannot commit."""
    first, other = pair(workspace, SHORT)
    _begin_and_read(first, "BEGIN", UPDATE)
    _begin_and_read(other, "BEGIN")
    workspace.attempt(lambda: other.execute(UPDATE))
    if fixed:
        other.execute("ROLLBACK")
    work = workspace.run(lambda: first.execute("COMMIT"))
    return locked(work, SHORT, "the timeout", "delete", "COMMIT", "SQLITE_BUSY")


@failure(
    "f-busy-snapshot",
    "A stale snapshot wants to write",
    "OperationalError: database is locked [SQLITE_BUSY_SNAPSHOT], at once.",
    IMMEDIATE,
)
def busy_snapshot(workspace: Workspace, fixed: bool) -> Outcome:
    """B reads, A commits a change, B wants to write what it can no longer see."""
    first, other = pair(workspace, LONG, "wal")
    if fixed:
        first.execute(UPDATE)
        _begin_and_read(other, "BEGIN IMMEDIATE")
    else:
        _begin_and_read(other, "BEGIN")
        first.execute(UPDATE)
    work = workspace.run(lambda: other.execute(UPDATE))
    return locked(
        work, LONG, "at once", "wal", "UPDATE", "SQLITE_BUSY_SNAPSHOT", holder="has committed"
    )


@failure(
    "f-wal-upgrade",
    "A reader wants to write while another writes, in WAL",
    "OperationalError: database is locked [SQLITE_BUSY], at once.",
    IMMEDIATE,
)
def wal_upgrade(workspace: Workspace, fixed: bool) -> Outcome:
    """B reads in a transaction, A holds the write lock, B wants it."""
    first, other = pair(workspace, LONG, "wal")
    first.execute("BEGIN IMMEDIATE")
    if not fixed:
        _begin_and_read(other, "BEGIN")
        work = workspace.run(lambda: other.execute(UPDATE))
    else:
        work = workspace.start(lambda: _begin_and_read(other, "BEGIN IMMEDIATE", UPDATE))
    workspace.run(lambda: first.execute("ROLLBACK"))
    return locked(work.join(), LONG, "at once", "wal", "UPDATE", "SQLITE_BUSY", holder="is working")


@failure(
    "f-commit-reader",
    "A reader's transaction blocks COMMIT",
    "OperationalError: database is locked, at COMMIT, after the timeout; the work is kept.",
    "End the read transaction; then COMMIT again.",
)
def commit_reader(workspace: Workspace, fixed: bool) -> Outcome:
    """In a rollback journal, COMMIT needs the file for itself."""
    first, other = pair(workspace, SHORT)
    _begin_and_read(first, "BEGIN")
    other.execute("BEGIN")
    other.execute(UPDATE)
    if fixed:
        first.execute("COMMIT")
    work = workspace.run(lambda: other.execute("COMMIT"))
    result = locked(work, SHORT, "the timeout", "delete", "COMMIT", "SQLITE_BUSY")
    result["happened"] = result["happened"] and other.in_transaction
    return result


def _half_read(workspace: Workspace, fixed: bool, finish: Any) -> List[Any]:
    """A has fetched one row of many; B inserts, and ends its transaction with `finish`.

    Returns B's work, B's connection, and whether somebody who wants to read is locked out then.
    """
    first, other = pair(workspace, SHORT, isolation_level="")
    cursor = first.execute("SELECT v FROM t")
    cursor.fetchone()
    if fixed:
        cursor.close()
    work = workspace.run(lambda: finish(other))
    newcomer = workspace.connect(timeout=0)
    reading = workspace.attempt(lambda: integer(newcomer, "SELECT v FROM t WHERE id = 1"))
    cursor.close()
    return [work, other, reading.error is not None]


def _insert_and_commit(connection: sqlite3.Connection) -> None:
    connection.execute("INSERT INTO t (v) VALUES (0)")
    connection.commit()


@failure(
    "f-open-cursor",
    "A half-read cursor blocks COMMIT",
    "OperationalError: database is locked, at COMMIT, after the timeout.",
    "Read all rows, or close the cursor.",
)
def open_cursor(workspace: Workspace, fixed: bool) -> Outcome:
    """No transaction was begun by the reader: its cursor alone holds the lock."""
    work, other, locked_out = _half_read(workspace, fixed, _insert_and_commit)
    result = locked(work, SHORT, "the timeout", "delete", "COMMIT", "SQLITE_BUSY")
    seen = ["the transaction is still open"] * other.in_transaction
    seen += ["new readers are locked out"] * locked_out
    result["detail"] = "; ".join(seen)
    return result


def _insert_in_with(connection: sqlite3.Connection) -> None:
    with connection:
        connection.execute("INSERT INTO t (v) VALUES (0)")


@failure(
    "f-with-loses-work",
    "'with connection:' throws the work away when COMMIT is blocked",
    "OperationalError: database is locked, and the transaction is gone.",
    "Read all rows, or close the cursor; commit yourself where a retry is wanted.",
    happens=since(3, 9),
)
def with_loses_work(workspace: Workspace, fixed: bool) -> Outcome:
    """COMMIT could be tried again, but leaving the block has rolled back."""
    work, other, _ = _half_read(workspace, fixed, _insert_in_with)
    result = locked(work, SHORT, "the timeout", "delete", "COMMIT", "SQLITE_BUSY")
    gone = not other.in_transaction and integer(other, "SELECT count(*) FROM t") == 2000
    result["happened"] = result["happened"] and gone
    result["detail"] = "the work was rolled back" if gone else ""
    result["answers"]["at"] = "WITH"
    return result


@failure(
    "f-wal-switch",
    "Switching to WAL while another connection reads",
    "OperationalError: database is locked, at PRAGMA journal_mode, after the timeout.",
    "Switch once, at the start, before anyone reads.",
)
def wal_switch(workspace: Workspace, fixed: bool) -> Outcome:
    """The switch needs the file for itself."""
    first, other = pair(workspace, SHORT)
    _begin_and_read(first, "BEGIN")
    if fixed:
        first.execute("COMMIT")
    work = workspace.run(lambda: other.execute("PRAGMA journal_mode = wal").fetchall())
    return locked(work, SHORT, "the timeout", "delete", "PRAGMA", "SQLITE_BUSY")


@failure(
    "f-wal-switch-at-once",
    "Switching to WAL while another connection is about to write",
    "OperationalError: database is locked, at PRAGMA journal_mode, at once.",
    "Switch once, before the other threads start; or run the PRAGMA again a moment later.",
)
def wal_switch_at_once(workspace: Workspace, fixed: bool) -> Outcome:
    """The switch reads the mode, then wants to write: of two that do so, one is refused.

    So it happens too when two threads open a new file and both switch it.
    """
    first, other = pair(workspace, LONG)
    first.execute("BEGIN IMMEDIATE")
    if fixed:
        first.execute("COMMIT")
    work = workspace.run(lambda: other.execute("PRAGMA journal_mode = wal").fetchall())
    return locked(work, LONG, "at once", "delete", "PRAGMA", "SQLITE_BUSY")


@failure(
    "f-shared-cache",
    "Shared cache: a lock on a table, and no waiting",
    "OperationalError: database table is locked: t, at once, whatever the timeout.",
    "Do not use cache=shared: give each thread a plain connection, and WAL.",
)
def shared_cache(workspace: Workspace, fixed: bool) -> Outcome:
    """Two connections in one process share a cache; SQLite locks tables between them."""
    workspace.connect(TABLE)
    uri = "file:" + workspace.path + ("" if fixed else "?cache=shared")
    options = {"uri": True, "timeout": LONG, "isolation_level": None}  # type: Any
    first = workspace.connect(path=uri, check_same_thread=False, **options)
    other = workspace.connect(path=uri, check_same_thread=False, **options)
    first.execute("BEGIN IMMEDIATE")
    first.execute(UPDATE)
    work = workspace.run(lambda: integer(other, "SELECT v FROM t WHERE id = 1"))
    first.execute("ROLLBACK")
    at_once = waited(work, LONG) == "at once"
    table = bool(work.error and "table is locked" in work.error.message)
    answers = {"waited": waited(work, LONG), "at": "SELECT", "shared_cache": "yes"}
    return outcome(table and at_once, work.error, **answers)


def _often(_build: Build) -> str:
    return OFTEN


@failure(
    "f-starvation",
    "The busy timeout is not a queue",
    "One thread commits more than five times as often as another, or times out.",
    "A threading.Lock in front of the database.",
    happens=_often,
    where=CHILD,
)
def starvation(workspace: Workspace, fixed: bool) -> Outcome:
    """Eight writers hold the lock for ten milliseconds at a time, for three seconds."""
    workspace.connect(TABLE + "PRAGMA journal_mode = wal;")
    lock, counts, errors = threading.Lock(), {}, []  # type: ignore[var-annotated]
    deadline = time.time() + 3

    def write(name: int) -> None:
        connection = sqlite3.connect(workspace.path, timeout=2, isolation_level=None)
        while time.time() < deadline:
            try:
                if fixed:
                    with lock:
                        _hold(connection)
                else:
                    _hold(connection)
                counts[name] = counts.get(name, 0) + 1
            except sqlite3.OperationalError as error:
                errors.append(str(error))
        connection.close()

    works = [workspace.start(partial(write, n)) for n in range(8)]
    for work in works:
        work.join()
    numbers = [counts.get(name, 0) for name in range(8)]
    unfair = bool(errors) or max(numbers) > 5 * min(numbers)
    return outcome(unfair, None, "some threads hardly ever got the lock")


def _hold(connection: sqlite3.Connection) -> None:
    connection.execute("BEGIN IMMEDIATE")
    connection.execute(UPDATE)
    time.sleep(0.01)
    connection.execute("COMMIT")
