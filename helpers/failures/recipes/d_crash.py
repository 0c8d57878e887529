"""D. Crash and hang: the process itself is what breaks."""

import sqlite3
import threading
import time
from typing import Any

from .b_errors import OWN, TABLE, second
from .b_load import Hammer
from .c_silent import OWN_CURSOR, ROWS
from .common import ALWAYS, CHILD, NEVER, OFTEN, Build, Outcome, Workspace, failure, outcome, since
from .ordering import SLOW, Gate, Slow

HANG_SECONDS = 4.0
#: Whether memory that was freed can still be read is up to the system's allocator.
TRIES = 5


@failure(
    "d-crash-cursor",
    "A shared cursor crashes the process",
    "Segmentation fault.",
    OWN_CURSOR,
    happens=since(3, 12),
    where=CHILD,
    tries=TRIES,
)
def crash_cursor(workspace: Workspace, fixed: bool) -> Outcome:
    """A is adapting a parameter when B executes on the same cursor."""
    connection = workspace.shared(ROWS)
    gate, cursor = Gate(), connection.cursor()
    sql = "SELECT v FROM t WHERE id = ?"
    one = workspace.start(lambda: cursor.execute(sql, (Slow(1, gate),)).fetchall())
    gate.reached()
    other = connection.cursor() if fixed else cursor
    two = workspace.run(lambda: other.execute("SELECT id FROM t").fetchall())
    gate.open()
    one.join()
    return outcome(False, two.error, "the process survived")


def _often(_build: Build) -> str:
    return OFTEN


@failure(
    "d-crash-cursor-load",
    "A shared cursor at full speed crashes the process",
    "Segmentation fault within four seconds.",
    OWN,
    happens=_often,
    where=CHILD,
    seconds=40.0,
)
def crash_cursor_load(workspace: Workspace, fixed: bool) -> Outcome:
    """Threads execute and fetch on one cursor without a lock."""
    Hammer(workspace, fixed, "nothing that is raised", True, True).run()
    return outcome(False, None, "the process survived")


@failure(
    "d-crash-close",
    "Closing a connection that is in use crashes the process",
    "Segmentation fault.",
    "Close it when the other threads have ended.",
    happens=lambda build: ALWAYS if build.python >= (3, 11) else OFTEN,
    where=CHILD,
    tries=TRIES,
)
def crash_close(workspace: Workspace, fixed: bool) -> Outcome:
    """A is inside a long statement when B closes."""
    connection = workspace.shared(TABLE, cached_statements=0)
    one = workspace.start(lambda: connection.execute(SLOW).fetchall())
    # The statement computes for more than a second: this is long enough to be inside it.
    time.sleep(0.3)
    if fixed:
        one.join()
    two = workspace.run(connection.close)
    one.join()
    return outcome(False, one.error or two.error, "the process survived")


def _with_gil(build: Build) -> str:
    return ALWAYS if build.gil else NEVER


def _while_in_function(workspace: Workspace, fixed: bool, use: Any) -> Outcome:
    """A is inside a Python function that SQL called; B uses the connection; A wants to go on."""
    first = workspace.shared(ROWS)
    other = second(workspace, first, fixed)
    gate = Gate()
    for connection in (first, other):
        connection.execute("SELECT v FROM t WHERE id = ?", (1,)).fetchall()

    def pause(value: Any) -> Any:
        gate.stop()
        return value

    first.create_function("pause", 1, pause)
    one = workspace.start(lambda: first.execute("SELECT pause(1)").fetchall())
    gate.reached()
    # B must be inside SQLite before the gate opens; if it holds the GIL there, nothing does.
    threading.Timer(0.3, gate.open).start()
    two = workspace.run(lambda: use(other))
    one.join()
    return outcome(False, two.error or one.error, "both threads came back")


@failure(
    "d-hang-create-function",
    "create_function() while another thread is inside one",
    "Every thread stands still forever: A waits for the GIL, B for SQLite's mutex.",
    OWN,
    happens=_with_gil,
    where=CHILD,
    seconds=HANG_SECONDS,
)
def hang_create_function(workspace: Workspace, fixed: bool) -> Outcome:
    """B registers a function, holding the GIL while it waits for the mutex that A holds."""
    return _while_in_function(workspace, fixed, lambda c: c.create_function("f", 0, lambda: 1))


@failure(
    "d-hang-parameter",
    "A bound parameter while another thread is inside a function",
    "Every thread stands still forever: A waits for the GIL, B for SQLite's mutex.",
    OWN,
    happens=lambda build: ALWAYS if build.python < (3, 12) else NEVER,
    where=CHILD,
    seconds=HANG_SECONDS,
)
def hang_parameter(workspace: Workspace, fixed: bool) -> Outcome:
    """B runs a cached SELECT with a parameter: up to 3.11, binding waits with the GIL held."""
    return _while_in_function(
        workspace, fixed, lambda c: c.execute("SELECT v FROM t WHERE id = ?", (1,)).fetchall()
    )


def _asks_under_mutex(build: Build) -> str:
    return ALWAYS if build.gil and build.sqlite >= (3, 53, 3) else NEVER


@failure(
    "d-hang-in-transaction",
    "in_transaction while another thread is inside a function",
    "Every thread stands still forever: A waits for the GIL, B for SQLite's mutex.",
    OWN,
    happens=_asks_under_mutex,
    where=CHILD,
    seconds=HANG_SECONDS,
)
def hang_in_transaction(workspace: Workspace, fixed: bool) -> Outcome:
    """From SQLite 3.53.3 on, even this question takes the mutex."""
    return _while_in_function(workspace, fixed, lambda c: c.in_transaction)


@failure(
    "d-hang-load",
    "A Python function in SQL, and a second thread, at full speed",
    "Every thread stands still forever within a few seconds.",
    OWN,
    happens=_with_gil,
    where=CHILD,
    seconds=2 * HANG_SECONDS,
)
def hang_load(workspace: Workspace, fixed: bool) -> Outcome:
    """A loops over SELECT sum(f(id)), B over a plain SELECT."""
    first = workspace.shared(TABLE)
    other = second(workspace, first, fixed)
    first.create_function("f", 1, lambda value: value)
    deadline = time.time() + HANG_SECONDS

    def loop(connection: sqlite3.Connection, sql: str) -> None:
        while time.time() < deadline:
            connection.execute(sql, (0,)).fetchall()

    works = [
        workspace.start(lambda: loop(first, "SELECT sum(f(id)) FROM t WHERE id > ?")),
        workspace.start(lambda: loop(other, "SELECT v FROM t WHERE id > ?")),
    ]
    errors = [work.join().error for work in works]
    return outcome(False, errors[0] or errors[1], "both threads came back")
