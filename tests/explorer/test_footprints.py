"""What each step is called, and which shared resources it reads or changes.

The reduction leaves out orders of steps that have nothing in common, and states are merged by the
order in which something was used: a use that is not noted makes both of them wrong.
"""

import contextlib
import queue
import sqlite3
import threading
import time
from concurrent.futures import Future
from contextlib import closing

import pytest
from ways import WAYS

from helpers.explorer import Program, explore
from helpers.explorer.engine.policies import Replay, RoundRobin
from helpers.explorer.runner import Runner

SELECT, UPDATE = "SELECT value FROM counter", "UPDATE counter SET value = value + 1"
CHANGES = "file w, write lock w"
LOCKS = "file r, write lock w"  # as long as nothing is committed, others may read


def name(value):
    return getattr(value, "__name__", "")


def traced(*jobs, schedule="", waiting="auto", **options):
    program = Program("counter", jobs, lambda end: True, **options)
    with Runner(program, waiting, track=True) as runner:
        runner.trace(RoundRobin())  # what is found to be shared in the first run
        return runner.trace(Replay(schedule) if schedule else RoundRobin()).steps


def used(step):
    return ", ".join(f"{resource} {mode}" for resource, mode in sorted(step.touched.items()))


def runs(*statements, isolation_level=None, **options):
    def job(path):
        with closing(sqlite3.connect(path, isolation_level=isolation_level, **options)) as one:
            for sql in statements:
                one.execute(sql).fetchall()

    job.__name__ = "; ".join(statements)
    return job


@pytest.mark.parametrize("waiting", WAYS)
@pytest.mark.parametrize(
    ("job", "uses"),
    [
        (runs("BEGIN", SELECT, SELECT, "COMMIT"), ["", "file r", "", "file r"]),
        (runs("BEGIN", SELECT, UPDATE, UPDATE, "END"), ["", "file r", LOCKS, "", CHANGES]),
        (runs("BEGIN IMMEDIATE", UPDATE, "ROLLBACK"), [LOCKS, "", CHANGES]),
        (runs("BEGIN EXCLUSIVE", SELECT, "COMMIT"), [CHANGES, "", CHANGES]),
        (runs("BEGIN", "SELECT 1", "ROLLBACK"), ["", "file r", ""]),
        (runs(SELECT, UPDATE, f"{UPDATE} RETURNING value"), ["file r", CHANGES, CHANGES]),
        (runs("PRAGMA user_version", "PRAGMA user_version = 2"), ["file r", CHANGES]),
        (runs("PRAGMA busy_timeout = 9", "PRAGMA busy_timeout"), ["file r", "file r"]),
        (runs("CREATE TABLE t (i)", "DROP TABLE t"), [CHANGES, CHANGES]),
        (runs(UPDATE, SELECT, isolation_level=""), [LOCKS, "", CHANGES]),
        (
            runs("ATTACH ':memory:' AS other", "SELECT 1"),
            [f"everything w, {CHANGES}", "everything w, file r"],
        ),
    ],
    ids=name,
)
def test_statements(job, uses, waiting):
    assert [used(step) for step in traced(job, waiting=waiting)] == uses


@pytest.mark.parametrize("waiting", WAYS)
@pytest.mark.parametrize(
    ("one", "other", "schedule", "uses"),
    [
        # A change waits for RESERVED.
        (
            runs("BEGIN IMMEDIATE", UPDATE, "COMMIT"),
            runs("BEGIN IMMEDIATE", "COMMIT"),
            "ABAABB",
            [LOCKS, f"file r, waiters w, {LOCKS[8:]}", "", CHANGES, LOCKS, CHANGES],
        ),
        # A commit waits for the reader, and keeps others from reading.
        (
            runs("BEGIN", SELECT, "COMMIT"),
            runs("BEGIN", UPDATE, "COMMIT"),
            "AABBBAB",
            ["", "file r", "", LOCKS, "file w, waiters w, write lock w", "file r", CHANGES],
        ),
        # A refusal has looked at the locks.
        (
            runs("BEGIN IMMEDIATE", "COMMIT"),
            runs("BEGIN", SELECT, UPDATE),
            "ABBBA",
            [LOCKS, "", "file r", "file r, write lock r", "file w, waiters w, write lock w"],
        ),
    ],
    ids=["begin", "commit", "refused"],
)
def test_waits(one, other, schedule, uses, waiting):
    steps = traced(one, other, schedule=tuple(schedule), waiting=waiting)
    assert [used(step) for step in steps] == uses


def uses_locks(shared):
    lock, again = shared
    lock.acquire(False)
    lock.acquire(False)
    lock.acquire(timeout=1)
    lock.release()
    with again, again:
        pass


def uses_a_queue(items):
    items.put(1)
    items.put_nowait(2)
    items.get()
    items.get(timeout=1)
    with contextlib.suppress(queue.Empty):
        items.get(timeout=1)
    items.task_done()
    items.task_done()
    items.join()
    with contextlib.suppress(queue.Empty):
        items.get_nowait()


def uses_a_future(future):
    future.done()
    future.running()
    future.cancelled()
    future.set_running_or_notify_cancel()
    future.add_done_callback(id)
    future.set_result(1)
    future.result()
    future.exception()
    future.cancel()


def uses_threads(path):
    for name in (None, "named"):
        thread = threading.Thread(target=time.sleep, args=(0,), name=name)
        thread.start()
        thread.join()
    time.sleep(1)


def uses_a_connection(connection):
    connection.execute(UPDATE)
    connection.commit()
    connection.rollback()
    connection.execute("PRAGMA foreign_keys = 1")
    connection.close()


def looks(connection):
    """Looks and takes no step of its own, so it belongs to the step before."""
    time.sleep(0)
    return connection.in_transaction


def looks_at_a_lock(lock):
    time.sleep(0)
    lock.locked()


def looks_at_a_queue(items):
    time.sleep(0)
    items.qsize()


@pytest.mark.parametrize(
    ("job", "share", "steps"),
    [
        (
            uses_locks,
            lambda path: (threading.Lock(), threading.RLock()),
            [
                "try lock 1: lock 1 w",
                "try lock 1: lock 1 r",
                "acquire lock 1: everything w, lock 1 w",
                "acquire lock 2: lock 2 w",
            ],
        ),
        (
            uses_a_queue,
            lambda path: queue.Queue(),
            [
                *["put into queue 1: queue 1 w"] * 2,
                *["get from queue 1: queue 1 w"] * 2,
                "get from queue 1: everything w, queue 1 w",
                "join queue 1: queue 1 w",
                "get from queue 1: queue 1 w",
            ],
        ),
        (
            uses_a_future,
            lambda path: Future(),
            [
                "future 1: is it done?: future 1 r",
                "future 1: is it running?: future 1 r",
                "future 1: is it cancelled?: future 1 r",
                "begin to work on future 1: future 1 w",
                "add a callback to future 1: future 1 w",
                "answer future 1: future 1 w",
                *["wait for future 1: future 1 r"] * 2,
                "cancel future 1: future 1 w",
            ],
        ),
        (
            uses_threads,
            None,
            [
                "sleep: everything w",
                "join thread 1: everything w, named w",
                "sleep: everything w",
                "join named: everything w",
                "sleep: everything w",
            ],
        ),
        (
            uses_a_connection,
            lambda path: sqlite3.connect(path, check_same_thread=False),
            [
                f"is a transaction open? no ({UPDATE}): connection 1 w",
                "BEGIN (implicit): connection 1 w",
                f"{UPDATE}: connection 1 w, {LOCKS}",
                f"COMMIT: connection 1 w, {CHANGES}",
                "ROLLBACK: connection 1 w",
                f"PRAGMA foreign_keys = 1: connection 1 w, {CHANGES}",
                "close: connection 1 w",
            ],
        ),
        (
            looks,
            lambda path: sqlite3.connect(path, check_same_thread=False),
            ["sleep: connection 1 r, everything w"],
        ),
        (looks_at_a_lock, lambda path: threading.Lock(), ["sleep: everything w, lock 1 r"]),
        (looks_at_a_queue, lambda path: queue.Queue(), ["sleep: everything w, queue 1 r"]),
    ],
    ids=name,
)
def test_primitives(job, share, steps):
    assert [f"{step.label}: {used(step)}" for step in traced(job, share=share)] == steps


def test_what_a_step_says():
    def job(path):
        with closing(sqlite3.connect(path)) as connection:
            cursor = connection.execute("  UPDATE counter\n SET value = ?;", (7,))
            cursor.execute(SELECT)
            cursor.fetchone()
            cursor.fetchall()
            with contextlib.suppress(sqlite3.OperationalError):
                cursor.execute("SELECT 1 FROM nowhere")
            connection.commit()
            connection.execute("INSERT INTO counter (value) VALUES (1)")
            connection.commit()

    change, read, rest, error, _, insert, _ = traced(job)
    assert (change.label, change.before) == ("UPDATE counter SET value = ?", "BEGIN")
    assert (change.sql, change.parameters) == ("  UPDATE counter\n SET value = ?;", (7,))
    assert (change.connection, change.counted) == (1, (0, 1))
    assert (read.result, rest.result, rest.label, rest.sql) == ((7,), [], "fetchall", "")
    assert (error.outcome, error.error.message) == ("error", "no such table: nowhere")
    assert (insert.before, insert.counted[1], insert.outcome) == ("BEGIN", 1, "ok")


def test_what_a_step_on_a_shared_connection_says():
    steps = traced(uses_a_connection, share=lambda p: sqlite3.connect(p, check_same_thread=False))
    assert [step.sql for step in steps][:5] == ["", "BEGIN", UPDATE, "COMMIT", ""]
    assert str(steps[4].result) == "no transaction is open: nothing to do"


def test_a_change_with_returning_that_is_read_to_its_end_is_merged():
    job = runs(f"{UPDATE} RETURNING value", SELECT, UPDATE)
    found = explore(Program("counter", [job, job], lambda end: True), merge=True)
    assert found.runs < found.schedules


def test_the_first_use_of_a_lock_that_was_given_away_is_a_step():
    def makes(items):
        lock = threading.Lock()
        with lock:
            pass
        items.put(lock)

    def takes(items):
        with items.get():
            pass

    steps = traced(makes, takes, share=lambda path: queue.Queue())
    assert [f"{step.thread}: {step.label}" for step in steps] == [
        "A: put into queue 1",
        "B: get from queue 1",
        "B: acquire lock 1",
    ]
