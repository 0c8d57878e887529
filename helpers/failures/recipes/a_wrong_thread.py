"""A. A connection used in another thread: what Python checks, and what it does not."""

import os
import pickle
import sqlite3
import threading
from typing import Any, Callable, Dict, List

from .common import ALWAYS, CHILD, NEVER, Build, Outcome, Work, Workspace, failure, outcome

TABLE = "CREATE TABLE t (v INTEGER); INSERT INTO t VALUES (1), (2), (3);"
WRONG_THREAD = "ProgrammingError"


def elsewhere(workspace: Workspace, fixed: bool, use: Callable[[Any], Any]) -> Outcome:
    """Make a connection here and use it in another thread; fixed: in the same thread."""
    connection = workspace.connect(TABLE)
    work = (
        workspace.attempt(lambda: use(connection))
        if fixed
        else workspace.run(lambda: use(connection))
    )
    raised = bool(work.error and work.error.kind == WRONG_THREAD)
    return outcome(raised, work.error, "" if raised else "no error")


@failure(
    "a-execute",
    "execute() in another thread",
    "ProgrammingError at once.",
    "Use the connection in the thread that made it.",
)
def execute(workspace: Workspace, fixed: bool) -> Outcome:
    """Run SQL."""
    return elsewhere(workspace, fixed, lambda c: c.execute("SELECT * FROM t").fetchall())


@failure(
    "a-cursor",
    "cursor() in another thread",
    "ProgrammingError at once.",
    "Use the connection in the thread that made it.",
)
def cursor(workspace: Workspace, fixed: bool) -> Outcome:
    """Make a cursor."""
    return elsewhere(workspace, fixed, lambda c: c.cursor())


@failure(
    "a-commit",
    "commit() in another thread",
    "ProgrammingError at once.",
    "Use the connection in the thread that made it.",
)
def commit(workspace: Workspace, fixed: bool) -> Outcome:
    """Commit."""
    return elsewhere(workspace, fixed, lambda c: c.commit())


@failure(
    "a-close",
    "close() in another thread",
    "ProgrammingError: the connection stays open.",
    "Close the connection in the thread that made it.",
)
def close(workspace: Workspace, fixed: bool) -> Outcome:
    """Close."""
    return elsewhere(workspace, fixed, lambda c: c.close())


@failure(
    "a-fetch",
    "reading a cursor in another thread",
    "ProgrammingError at the first row.",
    "Read all rows, and pass the list to the other thread.",
)
def fetch(workspace: Workspace, fixed: bool) -> Outcome:
    """Make a cursor here and read it there."""
    found = workspace.connect(TABLE).execute("SELECT v FROM t")
    rows = found.fetchall() if fixed else found
    work = workspace.run(lambda: list(rows))
    found.close()
    raised = bool(work.error and work.error.kind == WRONG_THREAD)
    return outcome(raised, work.error, "" if raised else "no error")


@failure(
    "a-with",
    "'with connection:' in another thread",
    "The block is entered; ProgrammingError is raised when it ends.",
    "Use the connection in the thread that made it.",
)
def with_block(workspace: Workspace, fixed: bool) -> Outcome:
    """Enter and leave the context manager."""
    entered = []  # type: List[bool]

    def use(connection: sqlite3.Connection) -> None:
        with connection:
            entered.append(True)

    result = elsewhere(workspace, fixed, use)
    result["happened"] = result["happened"] and entered == [True]
    return result


@failure(
    "a-unchecked",
    "What the thread check does not cover",
    "interrupt(), in_transaction, total_changes and isolation_level answer in any thread.",
    "Ask for something that is checked, such as cursor().",
)
def unchecked(workspace: Workspace, fixed: bool) -> Outcome:
    """Use only what is not checked."""

    def use(connection: sqlite3.Connection) -> None:
        connection.interrupt()
        str((connection.in_transaction, connection.total_changes, connection.isolation_level))
        connection.row_factory = sqlite3.Row
        if fixed:
            connection.cursor()

    connection = workspace.connect(TABLE)
    work = workspace.run(lambda: use(connection))
    return outcome(work.error is None, work.error, "the other thread saw no error")


@failure(
    "a-ident-reused",
    "A finished thread's connection works in a later thread",
    "The later thread got the same thread id, and no error is raised.",
    "Keep the first thread alive: its id cannot be given away, and the check works.",
    where=CHILD,
)
def ident_reused(workspace: Workspace, fixed: bool) -> Outcome:
    """Start threads until one has the id of the thread that made the connection."""
    made, done = threading.Event(), threading.Event()
    found = {}  # type: Dict[str, Any]

    def make() -> None:
        found["ident"] = threading.get_ident()
        found["connection"] = sqlite3.connect(workspace.path)
        made.set()
        if fixed:
            done.wait()

    maker = workspace.start(make)
    made.wait()
    if not fixed:
        maker.join()
    works = []  # type: List[Work]
    for _ in range(200):
        works.append(workspace.run(lambda: found["connection"].execute("SELECT 1").fetchall()))
        if works[-1].error is None:
            break
    done.set()
    error = works[-1].error
    return outcome(error is None, error, "a later thread used the connection")


def _forks(_build: Build) -> str:
    return ALWAYS if os.name == "posix" else NEVER


@failure(
    "a-fork",
    "A child process uses its parent's connection",
    "No error is raised: the child's thread has the parent's id.",
    "Close the connection before the fork, and open another in the child.",
    happens=_forks,
    where=CHILD,
)
def fork(workspace: Workspace, fixed: bool) -> Outcome:
    """Fork with an idle connection; the child reads through it."""
    connection = workspace.connect(TABLE)
    if fixed:
        connection.close()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            status = 0 if len(connection.execute("SELECT v FROM t").fetchall()) == 3 else 1
        finally:
            os._exit(status)
    _, status = os.waitpid(child, 0)
    return outcome(status == 0, None, "the child read through its parent's connection")


@failure(
    "a-pickle",
    "A connection passed to another process",
    "TypeError: it cannot be pickled.",
    "Pass the path, and connect in the process.",
)
def pickled(workspace: Workspace, fixed: bool) -> Outcome:
    """Pickle a connection, as multiprocessing does with arguments."""
    connection = workspace.connect(TABLE)
    work = workspace.attempt(lambda: pickle.dumps(workspace.path if fixed else connection))
    return outcome(bool(work.error and work.error.kind == "TypeError"), work.error)
