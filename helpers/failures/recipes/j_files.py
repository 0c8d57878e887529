"""J. Files: what closing, copying, deleting and forking does to locks."""

import importlib
import os
import subprocess
import sys
from typing import Any

from .common import (
    ALWAYS,
    CHILD,
    NEVER,
    OFTEN,
    SHORT,
    Build,
    Outcome,
    Workspace,
    failure,
    integer,
    outcome,
)  # fmt: skip
from .f_locked import TABLE, UPDATE

INSERT_ELSEWHERE = (
    "import sqlite3, sys; c = sqlite3.connect(sys.argv[1], timeout=0.2);"
    "c.execute('INSERT INTO t (v) VALUES (0)'); c.commit(); c.close()"
)


def _posix(_build: Build) -> str:
    return ALWAYS if os.name == "posix" else NEVER


def _writes_elsewhere(workspace: Workspace) -> bool:
    """Whether another process gets the write lock."""
    command = [sys.executable, "-c", INSERT_ELSEWHERE, workspace.path]
    return subprocess.run(command, stderr=subprocess.DEVNULL).returncode == 0


@failure(
    "j-open-close",
    "Opening and closing the database file drops its locks",
    "Another process writes during our transaction; our commit: disk I/O error.",
    "Never open the file beside SQLite; copy it with Connection.backup().",
    happens=_posix,
    where=CHILD,
)
def open_close(workspace: Workspace, fixed: bool) -> Outcome:
    """POSIX gives up all locks of a process on a file when it closes any handle of it."""
    connection = workspace.connect(TABLE, isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    connection.execute(UPDATE)
    if not fixed:
        open(workspace.path, "rb").close()
    intruded = _writes_elsewhere(workspace)
    work = workspace.attempt(lambda: connection.execute("COMMIT"))
    return outcome(intruded, work.error, "another process wrote during our transaction")


def _apsw() -> Any:
    try:
        return importlib.import_module("apsw")
    except ImportError:
        return None


def _where_installed(_build: Build) -> str:
    # It happens always where apsw is installed, which no build tells.
    return OFTEN if os.name == "posix" else NEVER


@failure(
    "j-two-libraries",
    "Two SQLite libraries in one process",
    "Both hold a write transaction on one file at the same time.",
    "One library per process and file.",
    happens=_where_installed,
    where=CHILD,
)
def two_libraries(workspace: Workspace, fixed: bool) -> Outcome:
    """Each library keeps its own list of locks, and the system knows only the process."""
    apsw = _apsw()
    if apsw is None:
        return outcome(False, None, "apsw is not installed")
    first = workspace.connect(TABLE, isolation_level=None)
    first.execute("BEGIN IMMEDIATE")
    if fixed:
        other = workspace.connect(isolation_level=None, timeout=SHORT)
    else:
        other = apsw.Connection(workspace.path)
    work = workspace.attempt(lambda: other.execute("BEGIN IMMEDIATE"))
    return outcome(work.error is None, work.error, "two writers hold one lock")


@failure(
    "j-deleted",
    "The database file is deleted while it is open",
    "OperationalError: attempt to write a readonly database.",
    "Close every connection first.",
    happens=_posix,
)
def deleted(workspace: Workspace, fixed: bool) -> Outcome:
    """What a notebook cell with os.remove does when it is run again."""
    connection = workspace.connect(TABLE)
    if fixed:
        connection.close()
    os.remove(workspace.path)
    if fixed:
        connection = workspace.connect(TABLE)
    work = workspace.attempt(lambda: connection.execute(UPDATE))
    readonly = bool(work.error and "readonly" in work.error.message)
    return outcome(readonly, work.error, file_replaced="yes")


@failure(
    "j-fork-close",
    "A child process closes its parent's connection",
    "OperationalError: disk I/O error, at the parent's COMMIT.",
    "Open connections after the fork.",
    happens=_posix,
    where=CHILD,
)
def fork_close(workspace: Workspace, fixed: bool) -> Outcome:
    """The child's close() rolls back its copy of the transaction, and deletes the journal."""
    connection = workspace.connect(TABLE, isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    connection.execute(UPDATE)
    child = os.fork()
    if child == 0:
        try:
            if not fixed:
                connection.close()
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    work = workspace.attempt(lambda: connection.execute("COMMIT"))
    return outcome(bool(work.error and "disk I/O error" in work.error.message), work.error)


@failure(
    "j-fork-wal",
    "A child process commits its parent's WAL transaction",
    "OperationalError: locking protocol, at the parent's COMMIT, after ten seconds.",
    "Open connections after the fork.",
    happens=_posix,
    where=CHILD,
    seconds=40.0,
)
def fork_wal(workspace: Workspace, fixed: bool) -> Outcome:
    """Parent and child share a transaction, not the memory that says how far it got."""
    connection = workspace.connect(TABLE, isolation_level=None)
    connection.execute("PRAGMA journal_mode = wal").fetchall()
    connection.execute("BEGIN IMMEDIATE")
    connection.execute(UPDATE)
    child = os.fork()
    if child == 0:
        try:
            if not fixed:
                connection.execute("INSERT INTO t (v) VALUES (0)")
                connection.execute("COMMIT")
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    work = workspace.attempt(lambda: connection.execute("COMMIT"))
    return outcome(bool(work.error and "locking protocol" in work.error.message), work.error)
