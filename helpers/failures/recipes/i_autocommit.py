"""I. The traps of the ``autocommit`` attribute (Python 3.12 and newer)."""

from typing import Any

from .common import LONG, Outcome, Workspace, exists_since, failure, integer, outcome
from .f_locked import TABLE, UPDATE, locked

SEPARATE = "Do it on a connection with autocommit=True."


def _refused(workspace: Workspace, fixed: bool, sql: str, text: str) -> Outcome:
    connection = workspace.connect(autocommit=fixed)
    work = workspace.attempt(lambda: connection.execute(sql).fetchall())
    return outcome(bool(work.error and text in work.error.message), work.error, autocommit="False")


@failure(
    "i-wal-refused",
    "autocommit=False: WAL is refused",
    "OperationalError: cannot change into wal mode from within a transaction.",
    SEPARATE,
    happens=exists_since(3, 12),
)
def wal_refused(workspace: Workspace, fixed: bool) -> Outcome:
    """A transaction is open from the start."""
    text = "cannot change into wal mode from within a transaction"
    return _refused(workspace, fixed, "PRAGMA journal_mode = wal", text)


@failure(
    "i-synchronous-refused",
    "autocommit=False: synchronous is refused",
    "OperationalError: Safety level may not be changed inside a transaction.",
    SEPARATE,
    happens=exists_since(3, 12),
)
def synchronous_refused(workspace: Workspace, fixed: bool) -> Outcome:
    """The same for the safety level."""
    text = "Safety level may not be changed inside a transaction"
    return _refused(workspace, fixed, "PRAGMA synchronous = normal", text)


@failure(
    "i-begin-refused",
    "autocommit=False: BEGIN IMMEDIATE is refused",
    "OperationalError: cannot start a transaction within a transaction.",
    "autocommit=True (or isolation_level=None) where you begin yourself.",
    happens=exists_since(3, 12),
)
def begin_refused(workspace: Workspace, fixed: bool) -> Outcome:
    """Python has begun already, and not IMMEDIATE."""
    text = "cannot start a transaction within a transaction"
    return _refused(workspace, fixed, "BEGIN IMMEDIATE", text)


@failure(
    "i-foreign-keys-ignored",
    "autocommit=False: foreign_keys stays off",
    "No error; PRAGMA foreign_keys answers 0.",
    SEPARATE,
    happens=exists_since(3, 12),
)
def foreign_keys_ignored(workspace: Workspace, fixed: bool) -> Outcome:
    """SQLite ignores the PRAGMA inside a transaction."""
    connection = workspace.connect(autocommit=fixed)
    connection.execute("PRAGMA foreign_keys = on")
    off = integer(connection, "PRAGMA foreign_keys") == 0
    return outcome(off, None, "foreign keys are still not enforced")


@failure(
    "i-pinned-snapshot",
    "autocommit=False: a SELECT pins a snapshot",
    "OperationalError: database is locked [SQLITE_BUSY_SNAPSHOT], at once.",
    "commit() or rollback() after reading.",
    happens=exists_since(3, 12),
)
def pinned_snapshot(workspace: Workspace, fixed: bool) -> Outcome:
    """B only read, but its transaction is still open when A commits."""
    workspace.connect(TABLE).execute("PRAGMA journal_mode = wal").fetchall()
    options = {"autocommit": False, "timeout": LONG}  # type: Any
    first, other = workspace.shared(**options), workspace.shared(**options)
    integer(other, "SELECT v FROM t WHERE id = 1")
    if fixed:
        other.rollback()
    first.execute(UPDATE)
    first.commit()
    work = workspace.run(lambda: other.execute(UPDATE))
    return locked(
        work, LONG, "at once", "wal", "UPDATE", "SQLITE_BUSY_SNAPSHOT", holder="has committed"
    )


@failure(
    "i-rollback-ignored",
    "autocommit=True: rollback() does nothing",
    "No error; what was to be rolled back is stored.",
    "execute('ROLLBACK') where you began with execute('BEGIN').",
    happens=exists_since(3, 12),
)
def rollback_ignored(workspace: Workspace, fixed: bool) -> Outcome:
    """Even after one's own BEGIN, commit() and rollback() are no-ops."""
    connection = workspace.connect(TABLE, autocommit=True)
    connection.execute("BEGIN")
    connection.execute("DELETE FROM t")
    if fixed:
        connection.execute("ROLLBACK")
    else:
        connection.rollback()
    left = integer(connection, "SELECT count(*) FROM t")
    return outcome(left == 0, None, "the rows are gone in spite of rollback()")


@failure(
    "i-with-ignored",
    "autocommit=True: 'with connection:' does nothing",
    "No error but the block's own; its work is stored although it failed.",
    "autocommit=False, or BEGIN and ROLLBACK yourself.",
    happens=exists_since(3, 12),
)
def with_ignored(workspace: Workspace, fixed: bool) -> Outcome:
    """An exception in the block does not roll back."""
    workspace.connect(TABLE)
    connection = workspace.connect(autocommit=not fixed)

    def fail() -> None:
        with connection:
            connection.execute("DELETE FROM t")
            raise LookupError("the block's own problem")

    workspace.attempt(fail)
    left = integer(connection, "SELECT count(*) FROM t")
    return outcome(left == 0, None, "the failed block's work is stored")
