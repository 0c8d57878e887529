"""Single steps: what they return, what they leave when a run is cut, what SQLite was told."""

import sqlite3
import threading
from contextlib import closing
from queue import Queue

import pytest
from ways import needs_handler

from helpers.explorer import Program, explore, replay
from helpers.explorer.scenarios import autocommit, begin
from helpers.explorer.steps import waiting
from helpers.explorer.steps.connections import SteppingConnection


def connect(path, **options):
    return sqlite3.connect(path, isolation_level=None, **options)


def ends(*jobs, **options):
    """What the threads ended with, over all schedules."""
    found = explore(Program("counter", jobs, lambda end: True, **options))
    return {outcome.threads for outcome, _, _ in found.outcomes}


# -- locks ---------------------------------------------------------------------------------------


def test_an_rlock_says_that_it_was_acquired():
    lock = threading.RLock()

    def job(path):
        taken = lock.acquire(), lock.acquire(blocking=False)
        autocommit(path)
        lock.release()
        lock.release()
        return taken

    assert ends(job, job) == {tuple((name, "returned (True, True)") for name in "AB")}


# -- waiting -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("milliseconds", "refused"), [(1500, True), (2500, False)])
def test_the_pragma_sets_the_timeout_in_milliseconds(milliseconds, refused):
    told = Queue()

    def holds(path):
        with closing(connect(path)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                return told.get(timeout=2)
            except Exception as error:
                return type(error).__name__

    def waits(path):
        with closing(connect(path)) as connection:
            connection.execute(f"PRAGMA busy_timeout = {milliseconds}")
            connection.execute("BEGIN IMMEDIATE")

    outcomes = {dict(threads)["B"] for threads in ends(holds, waits)}
    locked = "OperationalError: database is locked"
    assert (locked in outcomes) is refused


@needs_handler
def test_the_check_of_the_handle_leaves_no_extension_behind(monkeypatch):
    library, noted = waiting._load(), []
    register, cancel = library.sqlite3_auto_extension, library.sqlite3_cancel_auto_extension

    def note(extension):
        noted.append(extension)
        return register(extension)

    monkeypatch.setattr(library, "sqlite3_auto_extension", note)
    monkeypatch.setattr(waiting, "_load", lambda: library)
    waiting.Library()
    assert [cancel(extension) for extension in noted] == [0]  # 1: it was still there


@needs_handler
def test_an_error_inside_the_busy_handler_comes_out_of_the_call(monkeypatch):
    def fail(connection, phase):
        raise RuntimeError("inside the handler")

    monkeypatch.setattr(SteppingConnection, "wait", fail)
    job = begin("IMMEDIATE")
    assert "RuntimeError: inside the handler" in str(ends(job, job))


# -- a run that is cut ---------------------------------------------------------------------------


@pytest.mark.parametrize("closed", [False, True])
def test_a_rollback_in_a_run_that_is_over_is_done_at_once(closed):
    left = []

    def job(connection):
        try:
            connection.execute("UPDATE counter SET value = 7")
            connection.commit()
        finally:
            if closed:
                connection.close()
            connection.rollback()
            left.append("closed" if closed else connection.in_transaction)

    def share(path):
        return sqlite3.connect(path, check_same_thread=False)

    run = replay(Program("counter", [job], lambda end: True, share=share), ("A", "A", "A"))
    assert run.pending == {"A": "COMMIT"}
    assert left[-1:] == ["closed" if closed else False]
