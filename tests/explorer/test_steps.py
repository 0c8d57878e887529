"""Single steps: what they return, what they leave when a run is cut, what SQLite was told."""

import contextlib
import dataclasses
import datetime
import functools
import json
import math
import os
import queue
import random
import re
import sqlite3
import sys
import threading
import time
import types
from contextlib import closing
from queue import Queue
from traceback import print_exc

import pytest
from ways import needs_handler

from helpers.explorer import Program, explore, replay
from helpers.explorer.scenarios import autocommit, begin
from helpers.explorer.steps import statements as statements_module
from helpers.explorer.steps import waiting
from helpers.explorer.steps.connections import SteppingConnection
from helpers.explorer.steps.discovery import may_share


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


@needs_handler
def test_the_handle_is_compared_with_sqlites_own(monkeypatch):
    monkeypatch.setattr(waiting.Library, "handle", lambda self, connection: 1)
    with pytest.raises(RuntimeError, match="not where it is expected"):
        waiting.Library()


@needs_handler
@pytest.mark.parametrize("calls", [0, 1])
def test_a_handler_that_is_called_at_other_times_is_not_trusted(calls, monkeypatch):
    class Other:
        """Calls the handler so often when it is installed, and never again."""

        def handle(self, connection):
            return 0

        def busy_handler(self, handle, handler, context):
            for _ in range(calls):
                handler(None, 0)

    hasty = functools.partial(sqlite3.connect, timeout=0)
    monkeypatch.setattr(waiting.sqlite3, "connect", hasty)
    with pytest.raises(RuntimeError, match="does not call the busy handler as expected"):
        waiting._self_test(Other())


def test_a_handler_called_as_expected_is_trusted():
    by_name = {"busy handler": waiting.HandlerWaiting, "rule": waiting.RuleWaiting}
    visible = hasattr(waiting._load(), "sqlite3_busy_handler")
    hidden = os.environ.get(waiting.SWITCH) == "rule"
    name = "busy handler" if visible and not hidden else "rule"
    assert type(waiting.choose()) is by_name[name]
    assert type(waiting._made.__wrapped__("auto", hidden=True)) is waiting.RuleWaiting
    assert type(waiting._made.__wrapped__("rule", hidden=False)) is waiting.RuleWaiting
    with pytest.raises(ValueError, match="unknown way to wait 'never': use 'auto'"):
        waiting.choose("never")


@pytest.mark.parametrize("error", [OSError, AttributeError, RuntimeError])
def test_only_auto_falls_back_to_the_rule(error, monkeypatch):
    def hidden():
        raise error("hidden")

    monkeypatch.setattr(waiting, "_load", hidden)
    assert waiting._made.__wrapped__("auto", hidden=False).name == "rule"
    with pytest.raises(error, match="hidden"):
        waiting._made.__wrapped__("busy handler", hidden=False)


@pytest.mark.parametrize("platform", ["win32", "linux"])
def test_which_library_is_asked(platform, monkeypatch):
    monkeypatch.setattr(waiting.sys, "platform", platform)
    monkeypatch.setattr(waiting.ctypes, "CDLL", lambda name: name)
    assert (waiting._load() == "sqlite3.dll") is (platform == "win32")


@needs_handler
@pytest.mark.parametrize("mode", ["delete", "wal"])
@pytest.mark.parametrize(
    "statements",
    [
        "BEGIN; SELECT value FROM counter; UPDATE counter SET value = 1; COMMIT",
        "BEGIN IMMEDIATE; SELECT value FROM counter; ROLLBACK; SELECT value FROM counter",
        "BEGIN EXCLUSIVE; SELECT value FROM counter; UPDATE counter SET value = 1; COMMIT",
        "UPDATE counter SET value = 1; BEGIN; CREATE TABLE t (i); ROLLBACK; SELECT 1",
        "BEGIN; DELETE FROM counter RETURNING value; SELECT value FROM counter; END",
        "BEGIN; SELECT value FROM nowhere; SELECT value FROM counter; COMMIT",
    ],
)
def test_the_rule_follows_transactions_and_locks(statements, mode):
    def states(way):
        found = []

        def job(path):
            with closing(connect(path)) as connection:
                found.clear()
                for sql in statements.split("; "):
                    with contextlib.suppress(sqlite3.OperationalError):
                        connection.execute(sql).fetchall()
                    state, lock = connection.state()
                    # In WAL mode SHARED on the file itself says no more than that it is open.
                    locks = lock <= 1 if mode == "wal" else lock
                    found.append((sql, state, locks, connection.in_transaction))

        explore(Program("counter", [job], lambda end: True, journal_mode=mode), waiting=way)
        return found

    assert states("rule") == states("busy handler")


# -- statements ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sql", "label", "implicit", "seconds", "unclear"),
    [
        (" insert  into t\n values (1) ; ", "insert into t values (1)", True, None, False),
        ("-- x\nREPLACE INTO t VALUES (1)", "-- x REPLACE INTO t VALUES (1)", True, None, False),
        ("PRAGMA busy_timeout(250)", "PRAGMA busy_timeout(250)", False, 0.25, False),
        ("PRAGMA busy_timeout", "PRAGMA busy_timeout", False, None, False),
        ("SELECT 'pragma busy_timeout = 5' FROM t", None, False, None, False),
        ("/* x */ ATTACH ':memory:' AS o", None, False, None, True),
        ("CREATE TEMP TABLE t (i)", None, False, None, True),
        ("CREATE TABLE temp.t (i)", None, False, None, True),
        ("SELECT changes()", None, False, None, True),
        ("SELECT last_insert_rowid()", None, False, None, True),
        ("PRAGMA main.wal_checkpoint", None, False, None, True),
        ("PRAGMA locking_mode = EXCLUSIVE", None, False, None, True),
        ("PRAGMA data_version", None, False, None, True),
        ("CREATE TABLE t (attach)", None, False, None, False),
        ("", "", False, None, False),
    ],
)
def test_what_is_known_of_a_statement(sql, label, implicit, seconds, unclear):
    found = statements_module.classify(sql)
    assert found.label == (sql if label is None else label)
    assert (found.implicit, found.busy_timeout, found.unclear) == (implicit, seconds, unclear)


def test_more_kinds_of_statements():
    kinds = {
        "with x as (select 1) select * from x": "read", "VALUES (1)": "look", "begin": "begin",
        "BEGIN DEFERRED TRANSACTION": "begin", "begin exclusive": "begin exclusive",
        "RELEASE s": "commit", "END TRANSACTION": "commit", "ALTER TABLE t ADD i": "change",
        "DROP TABLE t": "change", "SAVEPOINT s": "other", "VACUUM": "other",
        "PRAGMA optimize": "other", "PRAGMA incremental_vacuum": "other",
        "PRAGMA foreign_keys": "look", "PRAGMA query_only(1)": "flag", "ROLLBACK": "end",
        "PRAGMA main.table_info(t)": "look", "PRAGMA synchronous = 0": "look",
        "UPDATE t SET i = 1 RETURNING i": "returning", "REPLACE INTO t VALUES (1)": "insert",
        "; ;/* a */ -- b\nDELETE FROM t": "insert",
    }  # fmt: skip
    assert {sql: statements_module.kind_of(sql) for sql in kinds} == kinds
    script = (
        "SELECT ';'; ;\n-- done\nCREATE TRIGGER x AFTER INSERT ON t BEGIN SELECT 1; END; SELECT"
    )
    parts = [statements_module.one_line(part) for part in statements_module.statements(script)]
    assert parts == [
        "SELECT ';'",
        "-- done CREATE TRIGGER x AFTER INSERT ON t BEGIN SELECT 1; END",
        "SELECT",
    ]


# -- where a lock is kept ------------------------------------------------------------------------


class Base:
    in_a_base_class = threading.Lock()


class Keeps(Base):
    in_the_class = threading.Lock()

    def __init__(self):
        self.in_an_attribute = threading.Lock()
        self.deeper = ([{"lock": self.in_an_attribute}], types.SimpleNamespace)

    def method(self, path):
        with self.in_an_attribute:
            autocommit(path)

    @staticmethod
    def static(path):
        with Keeps.in_the_class:
            autocommit(path)

    @classmethod
    def of_the_class(cls, path):
        with cls.in_a_base_class:
            autocommit(path)


def takes(lock, path):
    with lock:
        autocommit(path)


def in_a_default(path, lock=threading.Lock()):  # noqa: B008
    takes(lock, path)


def in_a_named_default(path, *, lock=threading.Lock()):  # noqa: B008
    takes(lock, path)


def in_the_functions_own_attribute(path):
    takes(in_the_functions_own_attribute.lock, path)


def in_a_tuple_of_lists(path, kept=([threading.Lock()], {})):  # noqa: B008
    takes(kept[0][0], path)


def in_an_inner_function(path):
    return (lambda: takes(Keeps.in_the_class, path))()


def through_a_module(path):
    takes(sys.modules[__name__].Keeps.in_the_class, path)
    return Keeps


class Named(Base):
    pass


def in_the_class_of_an_instance(path):
    takes(NAMED.in_a_base_class, path)


NAMED = Named()
in_the_functions_own_attribute.lock = threading.RLock()
KEPT = Keeps()


@pytest.mark.parametrize(
    "job",
    [
        KEPT.method,
        Keeps.static,
        Keeps.of_the_class,
        functools.partial(takes, threading.Lock()),
        functools.partial(lambda path, lock: takes(lock, path), lock=threading.RLock()),
        in_a_default,
        in_a_named_default,
        in_the_functions_own_attribute,
        in_a_tuple_of_lists,
        in_an_inner_function,
        through_a_module,
        in_the_class_of_an_instance,
    ],
    ids=lambda job: getattr(job, "__name__", "partial"),
)
def test_wherever_a_lock_is_kept_it_protects(job):
    program = Program("counter", [job, job], lambda end: end.value == 2)
    assert explore(program).counts == {"right": 2}
    kept = [KEPT.in_an_attribute, Keeps.in_the_class, Base.in_a_base_class]
    assert [type(lock) for lock in kept] == [type(threading.Lock())] * 3


def test_a_lock_that_was_held_before_is_held():
    lock = threading.Lock()
    lock.acquire()
    program = Program("counter", [functools.partial(takes, lock)], lambda end: True)
    (outcome, *_), *_ = explore(program).outcomes
    assert outcome.text == "deadlock: A waits for argument 0"
    assert lock.locked()


# -- what threads may share ----------------------------------------------------------------------


def uses(value):
    return lambda path: value


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ([1], "value: a list"),
        ({1: 2}, "value: a dict"),
        (bytearray(), "value: a bytearray"),
        (types.SimpleNamespace(), "value: a SimpleNamespace"),
        (os, "value: a module"),
        (os.getcwd, "value: a builtin_function_or_method"),
        (random.Random, "value: part of random"),
        (print_exc, "value: part of traceback"),
        (property(len), "value: a property"),
        (iter([]), "value: a list_iterator"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_what_may_be_shared_is_named(value, reason):
    assert re.match(reason, may_share([uses(value)]))


@pytest.mark.parametrize(
    "value",
    [
        None, 1, 1.5, 2j, "text", b"bytes", True, (1, ("a",)), frozenset([1]), range(3),
        re.compile("x"), math, math.sqrt, len, json.loads, datetime.date, list[int],
        functools.partial(len, "a"), threading.Lock(), queue.Queue(), sqlite3.Row,
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_what_cannot_change_is_not_shared(value):
    assert may_share([uses(value)]) == ""


def reads_a_file(path):
    with open(path) as file:
        return file


def imports_more(path):
    import os

    return os


def imports_little(path):
    import json

    return json.loads("1")


def names_a_queue(path, items=queue.Queue()):  # noqa: B008
    return items.queue


def deletes_an_attribute(path, thing=threading.Lock()):  # noqa: B008
    del thing.name


def binds_a_global(path):
    global bound
    bound = path


def unbinds_an_outer(path, outer=None):
    def inner():
        nonlocal outer
        del outer

    return inner


def changes_the_level(path):
    sqlite3.connect(path).isolation_level = None


@pytest.mark.parametrize(
    ("job", "reason"),
    [
        (reads_a_file, "a thread: the name open"),
        (imports_more, "a thread: imports os"),
        (imports_little, ""),
        (names_a_queue, "a thread: the attribute queue"),
        (deletes_an_attribute, "a thread: sets the attribute name"),
        (binds_a_global, "a thread: binds the name bound"),
        (unbinds_an_outer, ""),
        (unbinds_an_outer(""), "a thread: binds the name outer"),
        (changes_the_level, ""),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_a_function_does_that_no_step_shows(job, reason):
    assert may_share([job]) == reason


# -- connections of others -----------------------------------------------------------------------


def test_a_flag_is_refused_on_a_connection_of_another_thread():
    def share(path):
        return {"path": path}

    def opens(shared):
        shared["mine"] = connect(shared["path"])
        shared["mine"].execute("SELECT value FROM counter")
        shared["mine"].execute("PRAGMA query_only = 0")

    def sets_a_flag(shared):
        autocommit(shared["path"])
        if "mine" in shared:
            shared["mine"].execute("PRAGMA query_only = 0")

    program = Program("counter", [opens, sets_a_flag], lambda end: True, share=share)
    ends = {dict(outcome.threads)["B"] for outcome, _, _ in explore(program).outcomes}
    assert any("created in thread A and this is thread B" in end for end in ends)
    assert {dict(outcome.threads)["A"] for outcome, _, _ in explore(program).outcomes} == {"ok"}


def test_what_is_done_while_threads_are_made_is_no_step():
    def share(path):
        connection = connect(path, check_same_thread=False)
        connection.execute("UPDATE counter SET value = 5")
        connection.execute("PRAGMA query_only = 0")
        connection.execute("BEGIN").execute("UPDATE counter SET value = 6")
        connection.commit()
        time.sleep(60)
        with threading.Lock(), threading.RLock():
            queue.Queue().put(1)
        return connection

    def job(connection):
        return connection.execute("SELECT value FROM counter").fetchone()

    found = explore(Program("counter", [job], lambda end: True, share=share))
    assert [o.threads for o, _, _ in found.outcomes] == [(("A", "returned (6)"),)]
    assert found.schedules == 1


def test_what_is_busy():
    with closing(connect(":memory:")) as connection:
        assert waiting._is_busy(connection, "SELECT 1") is False
        assert waiting._is_busy(connection, "SELECT 1 FROM nowhere") is False


# -- time and what was there before --------------------------------------------------------------


def acquires(semaphore):
    return semaphore.acquire(timeout=1)


def waits_for(condition):
    with condition:
        return condition.wait_for(lambda: False, timeout=1)


def passes(barrier):
    try:
        barrier.wait(timeout=1)
    except threading.BrokenBarrierError:
        return "broken"


@pytest.mark.parametrize(
    ("wait", "make", "returned"),
    [
        (acquires, lambda: threading.Semaphore(0), "returned False"),
        (waits_for, threading.Condition, "returned False"),
        (passes, lambda: threading.Barrier(2), "returned 'broken'"),
    ],
    ids=["semaphore", "condition", "barrier"],
)
def test_a_wait_in_threading_ends_when_its_timeout_has_passed(wait, make, returned):
    thing = make()
    program = Program("counter", [lambda path: wait(thing), autocommit], lambda end: True)
    for outcome, _, _ in explore(program).outcomes:
        assert outcome.threads[0] == ("A", returned)


@pytest.mark.parametrize("kind", [queue.Queue, queue.SimpleQueue])
def test_a_queue_that_was_filled_before_is_full_in_every_schedule(kind):
    jobs = kind()
    for number in (1, 2):
        jobs.put(number)
    program = Program("counter", [lambda path: jobs.get()] * 2, lambda end: True)
    taken = {tuple(text for _, text in o.threads) for o, _, _ in explore(program).outcomes}
    assert taken == {("returned 1", "returned 2"), ("returned 2", "returned 1")}
    assert [jobs.get(), jobs.get()] == [1, 2]


# -- scripts -------------------------------------------------------------------------------------


def test_a_script_that_ends_in_the_middle_of_a_statement_raises_what_sqlite_says():
    def job(path):
        with closing(connect(path)) as connection:
            connection.executescript("UPDATE counter SET value = 1; SELECT 'abc")

    with closing(sqlite3.connect(":memory:")) as plain, pytest.raises(sqlite3.Error) as real:
        plain.executescript("SELECT 'abc")
    assert ends(job) == {(("A", f"{type(real.value).__name__}: {real.value}"),)}


@pytest.mark.parametrize("script", ["SELECT 1;-- done\n", "SELECT 1; /* done", "-- x\n;SELECT 1"])
def test_a_comment_in_a_script_is_no_step(script):
    def job(path):
        with closing(connect(path)) as connection:
            connection.executescript(script)

    run = replay(Program("counter", [job], bool), "A")
    assert [step.label.removeprefix("-- x ;") for step in run.steps] == ["SELECT 1"]


@pytest.mark.skipif(not hasattr(sqlite3, "LEGACY_TRANSACTION_CONTROL"), reason="Python 3.12")
def test_a_script_commits_nothing_where_sqlite3_begins_nothing_by_itself():
    def job(path):
        with closing(sqlite3.connect(path, autocommit=False)) as connection:
            connection.execute("UPDATE counter SET value = 5")
            connection.executescript("SELECT 1")
            connection.rollback()

    found = explore(Program("counter", [job], lambda end: end.value == 0))
    assert found.proved


@needs_handler
def test_a_busy_timeout_in_a_script_waits_as_one_in_a_statement_does():
    statements = ["PRAGMA busy_timeout = 1000", "BEGIN IMMEDIATE", "COMMIT"]

    def in_a_script(path):
        with closing(connect(path)) as connection:
            connection.executescript("; ".join(statements))

    def one_by_one(path):
        with closing(connect(path)) as connection:
            for sql in statements:
                connection.execute(sql)

    found = [
        explore(Program("counter", [job, job], lambda end: not end.errors))
        for job in (in_a_script, one_by_one)
    ]
    assert found[0].counts == found[1].counts
    assert found[0].proved


# -- fresh ones for each run ---------------------------------------------------------------------


@dataclasses.dataclass(slots=True)
class Slotted:
    lock: threading.Lock


@dataclasses.dataclass(frozen=True)
class Frozen:
    lock: threading.Lock


@pytest.mark.parametrize("kind", [Slotted, Frozen])
def test_a_lock_in_slots_or_a_frozen_object_is_followed(kind):
    keeper = kind(threading.Lock())
    lock = keeper.lock

    def job(path):
        with keeper.lock:
            autocommit(path)

    found = explore(Program("counter", [job, job], lambda end: not end.errors))
    assert found.proved
    assert found.schedules > 1
    assert keeper.lock is lock


def test_what_a_queue_a_barrier_and_a_semaphore_know_is_kept():
    filled, told = Queue(), []
    filled.put(1)
    barrier = threading.Barrier(1, lambda: told.append(1))
    semaphore = threading.BoundedSemaphore(2)
    semaphore.acquire()

    def job(path):
        filled.get()
        filled.task_done()
        filled.join()
        barrier.wait()
        semaphore.release()
        autocommit(path)

    assert ends(job) == {(("A", "ok"),)}
    assert told


def test_everything_is_put_back_even_if_one_thing_cannot_be():
    locks, lock = [threading.Lock()], threading.Lock()
    others = {"lock": lock}

    def job(path):
        with others["lock"]:
            locks.pop()
            autocommit(path)

    with pytest.raises(IndexError):
        explore(Program("counter", [job], bool))
    assert others["lock"] is lock
    assert threading.Lock is not None
    with others["lock"]:
        pass


def test_every_draw_and_every_clock_is_the_programs_own():
    def job(path):
        autocommit(path)
        began = time.monotonic_ns()
        time.sleep(2)
        return time.monotonic_ns() - began, random.normalvariate(0, 1), random.betavariate(1, 2)

    once, again = ends(job), ends(job)
    assert once == again
    assert "returned (2000000000, " in str(once)


# -- what a failed run leaves --------------------------------------------------------------------


def test_no_thread_stays_if_share_raises(no_thread_left):
    def share(path):
        raise OSError("no")

    for _ in range(3):
        with pytest.raises(OSError, match="no"):
            explore(Program("counter", [autocommit, autocommit], bool, share=share))


def test_a_folder_beside_the_database_goes_with_its_run():
    folders = set()

    def job(path):
        folder = os.path.dirname(path)
        folders.add(folder)
        os.mkdir(os.path.join(folder, "uploads"))
        autocommit(path)
        return [os.path.exists(folder) for folder in folders].count(True)

    assert {dict(threads)["A"] for threads in ends(job, autocommit)} == {"returned 1"}
    assert len(folders) > 1
