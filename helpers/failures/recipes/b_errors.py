"""B. One connection shared by threads: the errors of the question, and their younger forms."""

import os
import sqlite3
import sys
import threading
from typing import Any, Callable, Dict, List, Optional

from .common import (
    ALWAYS,
    CHILD,
    NEVER,
    OFTEN,
    TIMEOUT,
    Build,
    Outcome,
    Seen,
    Work,
    Workspace,
    failure,
    outcome,
    since,
)
from .ordering import NO_DISK, Gate, Slow, frozen_while, pause_on, settle

TABLE = """
    CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT NOT NULL);
    WITH RECURSIVE k(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM k WHERE x < 50)
    INSERT INTO t SELECT x, 'v' || x FROM k;
"""
OWN = "Give each thread a connection of its own."
#: Two texts: two threads must not share a prepared statement here.
UPDATES = ["UPDATE t SET v = v || 'X' WHERE id = %d" % number for number in (1, 2)]
MANY = "SELECT v FROM t WHERE id >= ? ORDER BY id"


def second(workspace: Workspace, first: sqlite3.Connection, fixed: bool, **options: Any) -> Any:
    """The connection of thread B: the shared one, or with the fix one of its own."""
    return workspace.shared(**options) if fixed else first


def side(workspace: Workspace, connection: sqlite3.Connection) -> str:
    """Attach a second file, and return its path: writing to it can wait while the first is free."""
    path = os.path.join(workspace.folder, "side.db")
    connection.execute("ATTACH ? AS side", (path,))
    connection.execute("CREATE TABLE side.sink (n)")
    connection.commit()
    connection.executescript("PRAGMA side.synchronous = OFF; PRAGMA side.journal_mode = MEMORY;")
    return path


#: Waits for the second file. Python begins no transaction for it: its first word is WITH.
WAIT = "WITH x AS (SELECT 1) INSERT INTO side.sink SELECT * FROM x"


def _frozen(build: Build) -> bool:
    # From SQLite 3.53.3 on, threads wait for the mutex with the GIL held: they cannot be frozen
    # in the middle of a call.
    return build.gil and build.sqlite < (3, 53, 3)


def _begin_race(build: Build) -> str:
    return ALWAYS if _frozen(build) else OFTEN


@failure(
    "b-begin-explicit",
    "BEGIN while another thread's transaction is open",
    "OperationalError: cannot start a transaction within a transaction.",
    OWN,
)
def begin_explicit(workspace: Workspace, fixed: bool) -> Outcome:
    """Both threads say BEGIN; no race is needed."""
    first = workspace.shared(TABLE, isolation_level=None)
    other = second(workspace, first, fixed, isolation_level=None)
    workspace.run(lambda: first.execute("BEGIN"))
    work = workspace.run(lambda: other.execute("BEGIN"))
    return _matches(work, "cannot start a transaction within a transaction")


@failure(
    "b-begin-race",
    "Two implicit BEGINs at the same time",
    "OperationalError: cannot start a transaction within a transaction.",
    OWN,
    happens=_begin_race,
    where=CHILD,
    seconds=60.0,
    tries=3,
)
def begin_race(workspace: Workspace, fixed: bool) -> Outcome:
    """Both threads see that no transaction is open, and both begin one."""
    if sys.version_info < (3, 12):
        errors = _begin_while_paused(workspace, fixed)
    else:
        errors = _begin_while_frozen(workspace, fixed)
    return _seen_in(errors, "cannot start a transaction within a transaction")


def _begin_while_paused(workspace: Workspace, fixed: bool) -> List[Optional[Seen]]:
    """A stops inside its BEGIN; B, whose UPDATE is in the statement cache, comes to its own."""
    first = workspace.shared(TABLE)
    other = second(workspace, first, fixed, timeout=20.0)
    other.execute(UPDATES[1])
    other.rollback()
    gate, updates = pause_on(first, "BEGIN"), _updates(first, other, fixed)
    one = workspace.start(updates[0])
    gate.reached()
    two = workspace.start(updates[1])
    settle()
    gate.open()
    errors = [one.join().error, two.join().error]
    first.set_trace_callback(None)
    return errors


def _begin_while_frozen(workspace: Workspace, fixed: bool) -> List[Optional[Seen]]:
    """A and B queue at SQLite's mutex; then one waits for the file in its BEGIN, without the GIL.

    The statement that holds the mutex returns no columns: reading them would take the mutex
    with the GIL held.
    """
    wait = {"isolation_level": "IMMEDIATE", "timeout": 5.0}  # type: Dict[str, Any]
    first = workspace.shared(TABLE + NO_DISK, **wait)
    other = second(workspace, first, fixed, **wait)
    path = side(workspace, first)
    for connection, update in zip((first, other), UPDATES):
        connection.execute(update)
        connection.rollback()
    holder = workspace.connect(isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    begins = _updates(first, other, fixed)
    works = frozen_while(
        workspace,
        path,
        lambda: first.execute(WAIT),
        *begins,
        then=lambda: holder.execute("ROLLBACK"),
    )
    return [work.join().error for work in works]


def _updates(first: Any, other: Any, fixed: bool) -> List[Callable[[], None]]:
    """What A and B do: neither commits before both have tried, unless they are to take turns."""
    tried = [threading.Event(), threading.Event()]

    def update(connection: sqlite3.Connection, number: int) -> None:
        try:
            connection.execute(UPDATES[number])
        finally:
            tried[number].set()
        if not fixed:
            tried[1 - number].wait(TIMEOUT)
        connection.commit()

    return [lambda: update(first, 0), lambda: update(other, 1)]


def _matches(work: Work, text: str) -> Outcome:
    return _seen_in([work.error], text)


def _seen_in(errors: List[Optional[Seen]], text: str) -> Outcome:
    found = [error for error in errors if error and text in error.message]
    error = found[0] if found else next((error for error in errors if error), None)
    return outcome(bool(found), error)


def _race_at(workspace: Workspace, fixed: bool, word: str) -> Outcome:
    first = workspace.shared(TABLE)
    other = second(workspace, first, fixed, timeout=20.0)
    first.execute("UPDATE t SET v = 'A' WHERE id = 1")
    gate = pause_on(first, word)
    one = workspace.start(getattr(first, word.lower()))
    gate.reached()
    two = workspace.start(getattr(other, word.lower()))
    settle()
    gate.open()
    errors = [one.join().error, two.join().error]
    first.set_trace_callback(None)
    return _seen_in(errors, "cannot {} - no transaction is active".format(word.lower()))


def _race_at_end(build: Build) -> str:
    return ALWAYS if build.sqlite < (3, 53, 3) else NEVER


@failure(
    "b-commit-race",
    "Two commits at the same time",
    "OperationalError: cannot commit - no transaction is active.",
    OWN,
    happens=_race_at_end,
    where=CHILD,
    seconds=8.0,
)
def commit_race(workspace: Workspace, fixed: bool) -> Outcome:
    """Both threads see an open transaction; one commits it, the other finds none."""
    return _race_at(workspace, fixed, "COMMIT")


@failure(
    "b-rollback-race",
    "Two rollbacks at the same time",
    "OperationalError: cannot rollback - no transaction is active.",
    OWN,
    happens=_race_at_end,
    where=CHILD,
    seconds=8.0,
)
def rollback_race(workspace: Workspace, fixed: bool) -> Outcome:
    """Both threads see an open transaction; one rolls it back, the other finds none."""
    return _race_at(workspace, fixed, "ROLLBACK")


def _explicit_end(workspace: Workspace, fixed: bool, word: str) -> Outcome:
    first = workspace.shared(TABLE, isolation_level=None)
    other = second(workspace, first, fixed, isolation_level=None)
    for connection in {id(c): c for c in (first, other)}.values():
        connection.execute("BEGIN")
    workspace.run(lambda: first.execute(word))
    work = workspace.run(lambda: other.execute(word))
    return _matches(work, "cannot {} - no transaction is active".format(word.lower()))


@failure(
    "b-commit-explicit",
    "COMMIT after another thread's COMMIT",
    "OperationalError: cannot commit - no transaction is active.",
    OWN,
)
def commit_explicit(workspace: Workspace, fixed: bool) -> Outcome:
    """A and B both believe that the open transaction is theirs; no race is needed."""
    return _explicit_end(workspace, fixed, "COMMIT")


@failure(
    "b-rollback-explicit",
    "ROLLBACK after another thread's ROLLBACK",
    "OperationalError: cannot rollback - no transaction is active.",
    OWN,
)
def rollback_explicit(workspace: Workspace, fixed: bool) -> Outcome:
    """The same with ROLLBACK."""
    return _explicit_end(workspace, fixed, "ROLLBACK")


def _two_on_one_statement(workspace: Workspace, fixed: bool) -> List[Work]:
    """A stops while it binds; B runs the same SQL and keeps a row pending; A, then B, goes on."""
    first = workspace.shared(TABLE)
    other = second(workspace, first, fixed)
    gate = Gate()
    one = workspace.start(lambda: first.execute(MANY, (Slow(40, gate),)).fetchall())
    gate.reached()
    pending = other.execute(MANY, (2,))
    gate.open()
    one.join()
    two = workspace.attempt(lambda: [row[0] for row in pending])
    pending.close()
    return [one, two]


@failure(
    "b-misuse",
    "Two threads bind one prepared statement",
    "InterfaceError: bad parameter or other API misuse.",
    OWN,
    happens=since(3, 12),
    where=CHILD,
)
def misuse(workspace: Workspace, fixed: bool) -> Outcome:
    """A's parameters meet a statement that B has already started."""
    return _matches(_two_on_one_statement(workspace, fixed)[0], "bad parameter or other API misuse")


@failure(
    "b-index-error",
    "An empty row where a row exists",
    "IndexError: tuple index out of range.",
    OWN,
    happens=since(3, 12),
    where=CHILD,
)
def index_error(workspace: Workspace, fixed: bool) -> Outcome:
    """The statement that B reads from was reset by A: B's first row has no columns."""
    work = _two_on_one_statement(workspace, fixed)[1]
    return outcome(bool(work.error and work.error.kind == "IndexError"), work.error)


@failure(
    "b-swapped-error",
    "A thread gets the other thread's error",
    "The error belongs to another thread's statement.",
    OWN,
    happens=lambda build: ALWAYS if build.python >= (3, 12) and _frozen(build) else OFTEN,
    where=CHILD,
    seconds=60.0,
    tries=3,
)
def swapped_error(workspace: Workspace, fixed: bool) -> Outcome:
    """A violates UNIQUE, B asks for a missing table; the message lives in the connection."""
    first = workspace.shared(TABLE + NO_DISK, isolation_level=None, timeout=8.0)
    other = second(workspace, first, fixed, isolation_level=None, timeout=8.0)
    missing = "SELECT * FROM missing"
    again = "INSERT INTO t VALUES (1, 'again')"
    one, two = frozen_while(
        workspace,
        workspace.path,
        lambda: first.execute(again),
        lambda: other.execute(missing),
    )
    own = (
        one.error is not None and "UNIQUE" in one.error.message
        and two.error is not None and "no such table" in two.error.message
    )  # fmt: skip
    waited_in_vain = "database is locked" in str(one.error)
    wrong = one.error if one.error and "UNIQUE" not in one.error.message else two.error
    return outcome(not own and not waited_in_vain, wrong)


def _systemerror(build: Build) -> str:
    if build.python < (3, 11) or not build.gil:
        return NEVER
    return ALWAYS if _frozen(build) else OFTEN


@failure(
    "b-system-error",
    "A failed commit without an exception",
    "SystemError: ... returned NULL without setting an exception.",
    OWN,
    happens=_systemerror,
    where=CHILD,
    seconds=60.0,
    tries=3,
)
def system_error(workspace: Workspace, fixed: bool) -> Outcome:
    """commit() fails, but another thread's success has replaced the error code."""
    script = """
        CREATE TABLE p (id INTEGER PRIMARY KEY);
        CREATE TABLE c (p INTEGER REFERENCES p(id) DEFERRABLE INITIALLY DEFERRED);"""
    first = workspace.shared(script + NO_DISK, timeout=8.0)
    waiting = second(workspace, first, fixed, timeout=8.0)
    path = side(workspace, waiting)
    other = second(workspace, first, fixed)
    first.execute("PRAGMA foreign_keys = ON")
    first.execute("INSERT INTO c VALUES (7)")
    works = frozen_while(
        workspace, path, lambda: waiting.execute(WAIT), first.commit, *successes(other, 12)
    )
    error = works[1].error
    first.rollback()
    return outcome(bool(error and error.kind == "SystemError"), error)


def successes(connection: sqlite3.Connection, count: int) -> List[Callable[[], Any]]:
    """Calls that go into SQLite once, succeed, and so set the connection's error code to OK."""
    cursors = [
        connection.execute("SELECT %d UNION ALL SELECT 0" % number) for number in range(count)
    ]
    return [cursor.close for cursor in cursors]
