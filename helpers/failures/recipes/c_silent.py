"""C. One connection shared by threads, and no exception: transactions mix, rows move."""

import sqlite3
import sys
from typing import Any, Callable, List

from .b_errors import OWN, second
from .common import (
    ALWAYS,
    CHILD,
    NEVER,
    OFTEN,
    Build,
    Outcome,
    Workspace,
    before,
    failure,
    integer,
    outcome,
)
from .ordering import NO_DISK, Gate, frozen_while

ACCOUNTS = """
    CREATE TABLE account (id INTEGER PRIMARY KEY, balance INTEGER NOT NULL);
    INSERT INTO account VALUES (1, 1000), (2, 1000);
    CREATE TABLE log (id INTEGER PRIMARY KEY, entry TEXT);
"""
ROWS = """
    CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT NOT NULL);
    INSERT INTO t VALUES (1, 'one'), (2, 'two'), (3, 'three'), (4, 'four'), (5, 'five');
"""


def _publishes(
    workspace: Workspace, fixed: bool, others_work: Callable[[Any], Any], **options: Any
) -> Outcome:
    """A takes money and rolls back; in between B does its own work on the connection."""
    first = workspace.shared(ACCOUNTS, **options)
    other = second(workspace, first, fixed, timeout=20.0, **options)
    workspace.run(lambda: first.execute("UPDATE account SET balance = balance - 100 WHERE id = 1"))
    work = workspace.start(lambda: others_work(other))
    if not fixed:
        work.join()
    workspace.run(first.rollback)
    error = work.join().error
    lost = 2000 - integer(workspace.connect(), "SELECT sum(balance) FROM account")
    return outcome(lost == 100, error, "half a transfer is stored, although it was rolled back")


def _log_and_commit(connection: sqlite3.Connection) -> None:
    connection.execute("INSERT INTO log (entry) VALUES ('from B')")
    connection.commit()


@failure(
    "c-foreign-commit",
    "One thread's commit publishes another's half-done work",
    "A rolls back, yet its first UPDATE is stored.",
    OWN,
)
def foreign_commit(workspace: Workspace, fixed: bool) -> Outcome:
    """B commits while A is in the middle of a transfer."""
    return _publishes(workspace, fixed, _log_and_commit)


@failure(
    "c-cache-off",
    "cached_statements=0 does not separate transactions",
    "A rolls back, yet its first UPDATE is stored.",
    OWN,
)
def cache_off(workspace: Workspace, fixed: bool) -> Outcome:
    """The same with the statement cache switched off."""
    return _publishes(workspace, fixed, _log_and_commit, cached_statements=0)


@failure(
    "c-executescript",
    "executescript() commits another thread's work",
    "A rolls back, yet its first UPDATE is stored.",
    OWN,
)
def script_commits(workspace: Workspace, fixed: bool) -> Outcome:
    """executescript() commits before it begins."""
    return _publishes(workspace, fixed, lambda c: c.executescript("SELECT 1;"))


def _set_isolation_level(connection: sqlite3.Connection) -> None:
    connection.isolation_level = None


@failure(
    "c-isolation-level",
    "isolation_level = None commits another thread's work",
    "A rolls back, yet its first UPDATE is stored.",
    OWN,
)
def isolation_level_commits(workspace: Workspace, fixed: bool) -> Outcome:
    """Setting the attribute to None commits."""
    return _publishes(workspace, fixed, _set_isolation_level)


@failure(
    "c-foreign-rollback",
    "One thread's rollback discards another's work",
    "A's commit succeeds, and one of its rows is missing.",
    OWN,
)
def foreign_rollback(workspace: Workspace, fixed: bool) -> Outcome:
    """B fails inside 'with connection:', which rolls back."""
    first = workspace.shared(ACCOUNTS)
    other = second(workspace, first, fixed)

    def fail() -> None:
        with other:
            raise LookupError("B's own problem")

    insert = "INSERT INTO log (entry) VALUES ('from A')"
    workspace.run(lambda: first.execute(insert))
    workspace.run(fail)
    workspace.run(lambda: first.execute(insert))
    error = workspace.run(first.commit).error
    stored = integer(workspace.connect(), "SELECT count(*) FROM log")
    return outcome(stored == 1, error, "one of two acknowledged rows is stored")


@failure(
    "c-uncommitted-read",
    "A thread reads what another has not committed",
    "B reads a balance that never becomes true.",
    OWN,
)
def uncommitted_read(workspace: Workspace, fixed: bool) -> Outcome:
    """A changes a balance, B reads it, A rolls back."""
    first = workspace.shared(ACCOUNTS)
    other = second(workspace, first, fixed)
    workspace.run(lambda: first.execute("UPDATE account SET balance = 0 WHERE id = 1"))
    read = workspace.run(lambda: integer(other, "SELECT balance FROM account WHERE id = 1"))
    workspace.run(first.rollback)
    return outcome(read.value == 0, read.error, "B read a value that was rolled back")


@failure(
    "c-last-insert-rowid",
    "last_insert_rowid() of somebody else",
    "A is told the id of B's row.",
    OWN,
)
def last_insert_rowid(workspace: Workspace, fixed: bool) -> Outcome:
    """A inserts, B inserts, A asks for its id: the connection has only one."""
    first = workspace.shared(ACCOUNTS, isolation_level=None)
    other = second(workspace, first, fixed, isolation_level=None)
    workspace.run(lambda: first.execute("INSERT INTO log VALUES (1, 'from A')"))
    workspace.run(lambda: other.execute("INSERT INTO log VALUES (2, 'from B')"))
    asked = workspace.run(lambda: integer(first, "SELECT last_insert_rowid()"))
    return outcome(asked.value == 2, asked.error, "A was told B's id")


def _queued_write(build: Build) -> str:
    # From SQLite 3.53.3 on, executescript() asks for the mutex before it comes to its work.
    if build.sqlite >= (3, 53, 3):
        return NEVER
    return ALWAYS if build.gil and build.python >= (3, 11) else OFTEN


def _write(connection: sqlite3.Connection, sql: str) -> Callable[[], Any]:
    """B's write, as one call into SQLite; which call that is depends on the Python."""
    if sys.version_info >= (3, 12):
        return lambda: connection.executescript(sql)
    connection.execute(sql)  # Now it is in the statement cache: the next call only steps it.
    return lambda: connection.execute(sql)


@failure(
    "c-lastrowid",
    "cursor.lastrowid of somebody else",
    "A's own cursor reports the id of B's row.",
    OWN,
    happens=_queued_write,
    where=CHILD,
)
def lastrowid(workspace: Workspace, fixed: bool) -> Outcome:
    """A inserts row 100; B's INSERT comes before A looks at its cursor."""
    first = workspace.shared(ACCOUNTS + NO_DISK, isolation_level=None, timeout=10.0)
    other = second(workspace, first, fixed, isolation_level=None, timeout=20.0)
    insert = "INSERT INTO log VALUES (100, 'from A')"
    write = _write(other, "INSERT INTO log (entry) VALUES ('from B')")
    held = workspace.path
    one = frozen_while(workspace, held, lambda: first.cursor().execute(insert).lastrowid, write)[0]
    return outcome(one.value not in (100, None), one.error, "A's cursor has B's id")


@failure(
    "c-rowcount",
    "cursor.rowcount of somebody else",
    "A changed one row; its cursor reports B's five.",
    OWN,
    happens=_queued_write,
    where=CHILD,
)
def rowcount(workspace: Workspace, fixed: bool) -> Outcome:
    """A updates one row; B's UPDATE of five comes before A looks at its cursor."""
    first = workspace.shared(ROWS + NO_DISK, isolation_level=None, timeout=10.0)
    other = second(workspace, first, fixed, isolation_level=None, timeout=20.0)
    update = "UPDATE t SET v = 'A' WHERE id = 1"
    write = _write(other, "UPDATE t SET v = 'B'")
    held = workspace.path
    one = frozen_while(workspace, held, lambda: first.cursor().execute(update).rowcount, write)[0]
    return outcome(one.value == 5, one.error, "A's cursor counts B's rows")


# -- another thread changes what is being read ---------------------------------------------


def _while_reading(
    workspace: Workspace, fixed: bool, others_work: Callable[[Any], Any]
) -> List[Any]:
    """A has read one row; B works; A reads on. With the fix, A has read everything before."""
    first = workspace.shared(ROWS)
    cursor = first.execute("SELECT id FROM t ORDER BY id")
    rows = cursor.fetchall() if fixed else [cursor.fetchone()]
    other = workspace.run(lambda: others_work(first))
    rest = workspace.attempt(lambda: rows + (cursor.fetchall() if not fixed else []))
    workspace.attempt(cursor.close)
    workspace.attempt(first.rollback)
    return [rest, other]


READ_FIRST = "Read all rows before another thread may use the connection."


@failure(
    "c-drop-while-reading",
    "DROP TABLE while another thread reads on the connection",
    "OperationalError: database table is locked, at once.",
    READ_FIRST,
)
def drop_while_reading(workspace: Workspace, fixed: bool) -> Outcome:
    """The reader and the DROP are one connection: no timeout applies."""
    error = _while_reading(workspace, fixed, lambda c: c.execute("DROP TABLE t"))[1].error
    locked = bool(error and "database table is locked" in error.message)
    return outcome(locked, error, waited="at once", shared_cache="no")


def _write_and_rollback(connection: sqlite3.Connection) -> None:
    connection.execute("INSERT INTO t VALUES (6, 'six')")
    connection.rollback()


@failure(
    "c-rollback-while-reading",
    "Another thread's rollback ends an iteration",
    "InterfaceError: Cursor needed to be reset because of commit/rollback.",
    READ_FIRST,
    happens=before(3, 11),
)
def rollback_while_reading(workspace: Workspace, fixed: bool) -> Outcome:
    """Up to Python 3.10, rollback() resets every cursor of the connection."""
    error = _while_reading(workspace, fixed, _write_and_rollback)[0].error
    return outcome(bool(error and "needed to be reset" in error.message), error)


@failure(
    "c-closed",
    "Another thread closes the connection",
    "ProgrammingError: Cannot operate on a closed database.",
    READ_FIRST,
)
def closed(workspace: Workspace, fixed: bool) -> Outcome:
    """B closes while A is between two rows."""
    error = _while_reading(workspace, fixed, lambda c: c.close())[0].error
    return outcome(bool(error and "closed database" in error.message), error)


@failure(
    "c-rows-twice",
    "Rows are read twice while another thread moves them",
    "One SELECT returns more rows than the table ever had.",
    READ_FIRST,
)
def rows_twice(workspace: Workspace, fixed: bool) -> Outcome:
    """B changes the key that A reads along."""
    move = "UPDATE t SET id = id + 100"
    rows = _while_reading(workspace, fixed, lambda c: c.execute(move))[0]
    return outcome(len(rows.value or []) > 5, rows.error, "more rows than the table ever had")


# -- one cursor ----------------------------------------------------------------------------

OWN_CURSOR = "Make a cursor for each use: connection.execute() does."


@failure(
    "c-cursor-stolen-rows",
    "A shared cursor returns another thread's rows",
    "A asked for ids and reads B's values.",
    OWN_CURSOR,
)
def stolen_rows(workspace: Workspace, fixed: bool) -> Outcome:
    """A executes, B executes on the same cursor, A fetches."""
    connection = workspace.shared(ROWS)
    cursor = connection.cursor()
    other = connection.cursor() if fixed else cursor
    workspace.run(lambda: cursor.execute("SELECT id FROM t ORDER BY id"))
    workspace.run(lambda: other.execute("SELECT v FROM t ORDER BY id"))
    rows = workspace.run(cursor.fetchall)
    return outcome(rows.value[0] == ("one",), rows.error, "A read B's rows")


@failure(
    "c-cursor-lastrowid",
    "A shared cursor reports another thread's id",
    "A is told the id of B's row.",
    OWN_CURSOR,
)
def cursor_lastrowid(workspace: Workspace, fixed: bool) -> Outcome:
    """A inserts, B inserts with the same cursor, A asks."""
    connection = workspace.shared(ROWS)
    cursor = connection.cursor()
    other = connection.cursor() if fixed else cursor
    workspace.run(lambda: cursor.execute("INSERT INTO t VALUES (6, 'six')"))
    workspace.run(lambda: other.execute("INSERT INTO t VALUES (7, 'seven')"))
    return outcome(cursor.lastrowid == 7, None, "A was told B's id")


@failure(
    "c-recursive",
    "A shared cursor is used while it is busy",
    "ProgrammingError: Recursive use of cursors not allowed.",
    OWN_CURSOR,
    where=CHILD,
)
def recursive(workspace: Workspace, fixed: bool) -> Outcome:
    """A is inside a fetch when B executes."""
    connection = workspace.shared(ROWS)
    gate, cursor = Gate(), connection.cursor()

    def slow_text(value: bytes) -> str:
        if value == b"one":
            gate.stop()
        return value.decode()

    connection.text_factory = slow_text
    one = workspace.start(lambda: cursor.execute("SELECT v FROM t").fetchall())
    gate.reached()
    other = connection.cursor() if fixed else cursor
    two = workspace.run(lambda: other.execute("SELECT id FROM t"))
    gate.open()
    one.join()
    return outcome(bool(two.error and "Recursive use" in two.error.message), two.error)
