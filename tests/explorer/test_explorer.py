"""The explorer: what is a step, how learners may write, and that it leaves nothing behind."""

from __future__ import annotations

import _thread
import functools
import itertools
import os
import queue
import random
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from queue import Queue
from threading import Lock

import pytest
from units import ctrl_c
from ways import WAYS

from helpers.explorer import Diverged, Program, ScheduleError, explore, replay, runner, saved
from helpers.explorer.engine import run_state, scheduler
from helpers.explorer.program import thread_of
from helpers.explorer.scenarios import autocommit, begin, no_increment_lost
from helpers.explorer.steps.locks import StepLock
from helpers.explorer.steps.statements import kind_of

REAL = (
    sqlite3.connect, sqlite3.dbapi2.connect, threading.Lock, threading.RLock, time.sleep,
    threading.Thread.start, threading.Thread.join, queue.Queue, queue.SimpleQueue,
)  # fmt: skip


def patched_names():
    return (
        sqlite3.connect, sqlite3.dbapi2.connect, threading.Lock, threading.RLock, time.sleep,
        threading.Thread.start, threading.Thread.join, queue.Queue, queue.SimpleQueue,
    )  # fmt: skip


@pytest.fixture(autouse=True)
def nothing_is_left_behind(no_thread_left, monkeypatch):
    # A folder of this test's own: other processes may be exploring too.
    with tempfile.TemporaryDirectory(dir=runner._memory_folder()) as folder:
        monkeypatch.setattr(runner, "_memory_folder", lambda: folder)
        yield
        assert os.listdir(folder) == []
    assert patched_names() == REAL
    assert scheduler.set_active(None) is None


def program(*threads, **options):
    return Program("counter", threads, no_increment_lost, **options)


def connect(path, **options):
    return sqlite3.connect(path, isolation_level=None, **options)


def increment(path):
    autocommit(path)


# -- twelve ways in which learners protect an increment ----------------------------------------

global_lock = threading.Lock()
imported_lock = Lock()
reentrant = threading.RLock()
locks = {"counter": threading.Lock()}
lock_list = [threading.Lock()]
semaphore = threading.Semaphore(1)
condition = threading.Condition()
local = threading.local()
tokens: Queue[str] = Queue()
tokens.put("the only one")
turn = threading.Event()


def with_global_lock(path):
    with global_lock:
        increment(path)


def with_imported_lock(path):
    imported_lock.acquire()
    try:
        increment(path)
    finally:
        imported_lock.release()


def _again(path):
    with reentrant:
        increment(path)


def with_reentrant_lock_through_a_helper(path):
    with reentrant:
        _again(path)


def with_lock_in_a_dict(path):
    with locks["counter"]:
        increment(path)


def with_lock_in_a_list(path):
    with lock_list[0]:
        increment(path)


def with_semaphore(path):
    with semaphore:
        increment(path)


def with_condition(path):
    with condition:
        increment(path)


def with_a_token_from_a_queue(path):
    token = tokens.get()
    increment(path)
    tokens.put(token)


class Account:
    def __init__(self):
        self.lock = threading.Lock()

    def add(self, path):
        with self.lock:
            increment(path)


def make_closure():
    mutex = threading.Lock()

    def job(path):
        with mutex:
            increment(path)

    return job


def locked(function):
    mutex = threading.Lock()

    @functools.wraps(function)
    def wrapper(path):
        with mutex:
            return function(path)

    return wrapper


@locked
def with_decorator(path):
    increment(path)


def with_thread_local_connection(path):
    if not hasattr(local, "connection"):
        local.connection = connect(path)
    with global_lock:
        (value,) = local.connection.execute("SELECT value FROM counter").fetchone()
        local.connection.execute("UPDATE counter SET value = ?", (value + 1,))
    local.connection.close()


@pytest.mark.parametrize(
    "job",
    [
        with_global_lock, with_imported_lock, with_reentrant_lock_through_a_helper,
        with_lock_in_a_dict, with_lock_in_a_list, with_semaphore, with_condition,
        with_a_token_from_a_queue, Account().add, make_closure(), with_decorator,
        with_thread_local_connection, functools.partial(with_global_lock),
    ],
)  # fmt: skip
def test_a_lock_made_earlier_protects_however_it_is_written(job):
    exploration = explore(program(job, job))
    assert exploration.proved, exploration
    assert exploration.counts == {"right": exploration.schedules}
    # One block each. Only a semaphore takes a lock of its own to give up its place: the other
    # may come to wait in one of 3 gaps between 4 steps, or after them.
    assert exploration.schedules == (8 if job is with_semaphore else 2)


def test_the_locks_of_earlier_cells_are_themselves_again():
    lock = locks["counter"]
    explore(program(with_lock_in_a_dict, with_lock_in_a_dict))
    assert locks["counter"] is lock
    assert not isinstance(global_lock, StepLock)
    assert tokens.qsize() == 1


def test_two_locks_for_one_counter_protect_nothing():
    # Each takes its lock, reads and writes: C(6,3) = 20. Right if one's read comes after the
    # other's write: its acquire then stands in one of 4 places before; 2 x 4 = 8.
    exploration = explore(program(make_closure(), make_closure()))
    assert exploration.counts == {"wrong": 12, "right": 8}


# -- Python's primitives -----------------------------------------------------------------------


def test_an_event_lets_one_thread_wait_for_the_other():
    def first(path):
        increment(path)
        turn.set()

    def second(path):
        turn.wait()
        increment(path)

    assert explore(program(first, second)).proved


def test_an_event_that_nobody_sets_is_a_deadlock():
    exploration = explore(program(lambda path: turn.wait(), increment))
    assert set(exploration.counts) == {"deadlock"}
    assert "A waits for" in exploration.outcomes[0][0].text


def test_a_wait_with_a_timeout_goes_on_when_nobody_else_can():
    def patient(path):
        return turn.wait(timeout=1)

    exploration = explore(program(patient, increment, share=None))
    assert exploration.counts == {"wrong": exploration.schedules}
    assert "A returned False" in exploration.outcomes[0][0].text


def test_a_condition_wakes_who_waits_on_it():
    ready = []

    def waiter(path):
        with condition:
            while not ready:
                condition.wait()
        increment(path)
        ready.clear()

    def notifier(path):
        with condition:
            ready.append(1)
            condition.notify()
        increment(path)

    assert "deadlock" not in explore(program(waiter, notifier)).counts


def test_a_full_queue_and_a_lifo_queue_make_their_users_wait():
    def shelf(path):
        return queue.LifoQueue(maxsize=1)

    def fill(jobs):
        jobs.put(1)
        jobs.put(2)

    def empty(jobs):
        return [jobs.get(), jobs.get()]

    # put get put get is the only order that a queue of one place allows.
    exploration = explore(Program("counter", [fill, empty], lambda end: True, share=shelf))
    assert (exploration.schedules, exploration.proved) == (1, True)


def test_a_program_may_start_and_join_threads_of_its_own():
    def boss(path):
        workers = [threading.Thread(target=increment, args=(path,)) for _ in range(2)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()

    exploration = explore(Program("counter", [boss], lambda end: end.value == 2))
    # The workers interleave in C(4,2) = 6 ways. The first join is a step once the first worker
    # has ended: at the very end, or earlier where that worker ends before the other's last step.
    assert exploration.counts["wrong"] > 0
    assert exploration.counts["right"] > 0
    assert {s for _, _, e in exploration.outcomes for s in e} == {"A", "thread 1", "thread 2"}


def test_a_sleeper_lets_somebody_else_go_first():
    def sleepy(path):
        while True:
            with closing(connect(path)) as connection:
                (value,) = connection.execute("SELECT value FROM counter").fetchone()
            if value:
                return
            time.sleep(0.01)

    exploration = explore(Program("counter", [sleepy, increment], lambda end: end.value == 1))
    assert exploration.proved, exploration


# -- sqlite3's ways ----------------------------------------------------------------------------


def test_kinds_of_statements():
    kinds = {
        "SELECT * FROM t": "read", "-- note\n select 1": "look", "/* x */ INSERT INTO t": "insert",
        "WITH x AS (SELECT 1) UPDATE t": "change", "begin immediate": "begin immediate",
        "BEGIN": "begin", "END": "commit", "rollback;": "end", "ROLLBACK TO s": "other",
        "PRAGMA busy_timeout": "look", "CREATE TABLE t (i)": "change", "": "other",
        "DELETE FROM t RETURNING i": "returning", "COMMIT;": "commit",
        "PRAGMA journal_mode": "look", "pragma main.user_version ;": "look",
        "PRAGMA user_version = 3": "other", "PRAGMA journal_mode(wal)": "other",
        "PRAGMA wal_checkpoint": "other", "PRAGMA cache_size=8": "look",
        "PRAGMA table_info(t)": "look", "PRAGMA foreign_keys=1": "flag",
    }  # fmt: skip
    assert {sql: kind_of(sql) for sql in kinds} == kinds


def test_a_connection_of_another_thread_is_refused():
    def share(path):
        return {"path": path}

    def first(shared):
        shared["connection"] = sqlite3.connect(shared["path"])
        shared["connection"].execute("SELECT 1")

    def second(shared):
        shared["connection"].execute("SELECT 1")

    exploration = explore(Program("counter", [first, second], lambda end: True, share=share))
    starts_first, starts_last, between = (o.text for o, _, _ in exploration.outcomes)
    assert "KeyError: 'connection'" in starts_first
    assert "Cannot operate on a closed database" in starts_last
    assert "ProgrammingError: SQLite objects created in a thread" in between
    assert "created in thread A and this is thread B" in between


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("how", ["argument", "pragma", "expire"])
def test_without_a_timeout_a_lock_is_an_error_at_once(how, way):
    def hasty(path):
        with closing(connect(path, timeout=0 if how == "argument" else 5)) as connection:
            if how == "pragma":
                connection.execute("PRAGMA busy_timeout = 0")
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("COMMIT")

    expire = how == "expire"
    tried = Program("counter", [hasty, hasty], lambda end: True, expire=expire)
    exploration = explore(tried, waiting=way)
    assert exploration.counts["error"] > 0
    assert not any("timeout" in name for _, _, s in exploration.outcomes for name in s)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("mode", ["delete", "wal"])
def test_waits_that_may_end_at_any_step(mode, way):
    jobs = [begin("IMMEDIATE")] * 2
    any_time = program(*jobs, journal_mode=mode, expire="any")
    found = explore(any_time, waiting=way)
    # As with long waits, 8; and a wait that begins after the other's BEGIN, SELECT or UPDATE may
    # end at any step before its COMMIT: 3 + 2 + 1, for each of the two.
    assert found.counts == {"error": 12, "right": explore(program(*jobs), waiting=way).schedules}
    assert found == explore(any_time, waiting=way, merge=False)
    run = found.replay(found.example("error"))
    ended = next(number for number, name in enumerate(run.schedule) if ":timeout" in name)
    assert ended < len(run.steps) - 1
    assert "database is locked" in run.outcome.text
    assert found.verdict.endswith(" Waits with a timeout may end at any step.")


def test_waits_for_a_lock_of_pythons_may_end_at_any_step_too():
    lock = Lock()

    def job(path):
        if lock.acquire(timeout=1):
            increment(path)
            lock.release()

    def program_that(expire):
        return Program("counter", [job, job], lambda end: end.value == 2, expire=expire)

    assert explore(program_that(False)).proved
    assert {o.rows for o, _, _ in explore(program_that("any")).outcomes} == {"1", "2"}


def test_a_transaction_left_open_is_rolled_back_and_noted():
    def forgetful(path):
        sqlite3.connect(path).execute("UPDATE counter SET value = 7")

    exploration = explore(Program("counter", [forgetful], lambda end: end.value == 7))
    assert exploration.counts == {"wrong": 1}
    assert exploration.replay().notes == ["A ended with an open transaction: rolled back"]


def test_a_failed_commit_inside_with_is_a_rollback():
    def writer(path):
        with closing(sqlite3.connect(path, timeout=0)) as connection, connection:
            connection.execute("UPDATE counter SET value = 1")

    def reader(path):
        with closing(connect(path)) as connection:
            connection.execute("BEGIN")
            connection.execute("SELECT value FROM counter").fetchone()
            connection.execute("COMMIT")

    exploration = explore(Program("counter", [writer, reader], lambda end: end.value == 1))
    schedule = exploration.example("wrong")
    assert schedule is not None
    steps = replay(exploration.program, schedule).steps
    labels = [step.label for step in steps if step.thread == "A"]
    assert labels[-2:] == ["COMMIT", "ROLLBACK"]


def test_a_script_is_a_step_for_each_statement():
    def script(path):
        with closing(connect(path)) as connection:
            connection.executescript("UPDATE counter SET value = 1; UPDATE counter SET value = 2;")

    # C(4,2) = 6 orders of two statements each; the last one always writes 2.
    exploration = explore(Program("counter", [script, script], lambda end: end.value == 2))
    assert exploration.counts == {"right": 6}


@pytest.mark.parametrize("way", WAYS)
def test_executemany_in_autocommit_commits_row_by_row(way):
    def many(path):
        with closing(connect(path)) as connection:
            connection.executemany("UPDATE counter SET value = value + ?", [(1,), (2,)])

    exploration = explore(Program("counter", [many, many], lambda e: e.value == 6), waiting=way)
    assert exploration.counts == {"right": 2}


def test_later_fetches_are_steps_and_the_first_is_not():
    def read(path):
        with closing(connect(path)) as connection:
            cursor = connection.execute("SELECT 1 FROM counter UNION ALL SELECT 2")
            return [cursor.fetchone(), cursor.fetchone(), *cursor]

    run = replay(Program("counter", [read], lambda end: True), ("A", "A", "A"))
    assert [step.label for step in run.steps][1:] == ["fetchone", "next row"]
    assert run.outcome is not None


def test_the_autocommit_attribute_of_newer_pythons():
    def job(path):
        with closing(sqlite3.connect(path, autocommit=False)) as connection:
            (value,) = connection.execute("SELECT value FROM counter").fetchone()
            connection.execute("UPDATE counter SET value = ?", (value + 1,))
            connection.commit()

    exploration = explore(program(job, job))
    if sys.version_info < (3, 12):
        assert "TypeError: 'autocommit'" in exploration.outcomes[0][0].text
    else:
        # s u c each, always in a transaction: s s u u' first or after, as in BEGIN DEFERRED.
        assert set(exploration.counts) == {"error", "right"}


def test_a_connection_factory_is_refused_in_words():
    def job(path):
        sqlite3.connect(path, factory=type("Mine", (sqlite3.Connection,), {}))

    (outcome,) = (o for o, _, _ in explore(program(job)).outcomes)
    assert "factory" in outcome.text


# -- what ends badly ---------------------------------------------------------------------------


def test_an_error_is_an_outcome():
    def wrong(path):
        with closing(connect(path)) as connection:
            connection.execute("SELECT value FROM nowhere")

    exploration = explore(program(wrong, increment))
    # One step beside two: 3 orders.
    assert exploration.counts == {"error": 3}
    assert "A OperationalError: no such table: nowhere" in exploration.outcomes[0][0].text


def test_a_thread_that_never_ends_is_cut_and_named():
    def spin(path):
        with closing(connect(path)) as connection:
            while True:
                connection.execute("SELECT value FROM counter").fetchone()

    exploration = explore(program(spin), step_limit=50)
    assert exploration.counts == {"endless": 1}
    assert str(exploration).splitlines()[1].split()[0] == "never"
    assert exploration.outcomes[0][0].text == "endless: cut after 50 steps, A was last"
    assert exploration.replay().outcome == exploration.outcomes[0][0]
    with pytest.raises(AssertionError) as caught:
        explore(program(spin)).assert_proved()
    assert len(str(caught.value).splitlines()) < 80
    assert f"{'A ' * 30}… {'A ' * 30}".strip() in str(caught.value)


@pytest.mark.parametrize("limit", [50, 250])
def test_an_endless_schedule_is_replayed_from_a_file(limit, tmp_path):
    def spin(path):
        with closing(connect(path)) as connection:
            while connection.execute("SELECT value FROM counter").fetchone() < (9,):
                pass

    endless = program(spin, autocommit)
    run = explore(endless, step_limit=limit, max_schedules=3).replay()
    saved.save(run, tmp_path / "run.json")
    assert saved.replay_saved(endless, tmp_path / "run.json").outcome == run.outcome


@pytest.mark.parametrize("content", ["[]", '{"schedule": ["A"], "steps": ["A: SELECT 1"]}'])
def test_a_file_that_was_not_saved_here_is_refused(content, tmp_path):
    path = tmp_path / "run.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match=r"run\.json holds no schedule that was saved here"):
        saved.replay_saved(program(autocommit), path)


def test_a_schedule_in_which_a_thread_never_started_is_replayed():
    def until_told(shared):
        path, told = shared
        with closing(connect(path)) as connection:
            while not told:
                connection.execute("SELECT value FROM counter").fetchone()

    def tell(shared):
        path, told = shared
        told.append(1)
        with closing(connect(path)) as connection:
            connection.execute("SELECT value FROM counter").fetchone()

    beside = program(until_told, tell, share=lambda path: (path, []))
    exploration = explore(beside, step_limit=20)
    assert exploration.failing == ("A",) * 20 + ("B:start",)
    assert exploration.replay().outcome.kind == "endless"
    for outcome, _, example in exploration.outcomes:
        assert exploration.replay(example).outcome == outcome


def test_a_lock_that_is_given_back_unseen_is_found_free_before_any_timeout(monkeypatch):
    monkeypatch.setattr(scheduler.Scheduler, "_locks", lambda *_: "as before")
    assert explore(program(*[begin("IMMEDIATE")] * 2)).counts == {"right": 8}


def test_a_thread_that_takes_no_step_is_stopped_and_its_line_named(monkeypatch):
    monkeypatch.setattr(run_state, "STUCK_AFTER", 0.2)

    def spin(path):
        while True:
            pass

    exploration = explore(program(spin))
    assert exploration.counts == {"endless": 1}
    assert "A takes no further step (line" in exploration.outcomes[0][0].text
    assert "of spin" in exploration.outcomes[0][0].text


@ctrl_c()
def test_an_interrupt_ends_it_and_everything_is_put_back():
    def interrupting(path):
        increment(path)
        _thread.interrupt_main()
        increment(path)

    with pytest.raises(KeyboardInterrupt):
        explore(program(interrupting, begin("IMMEDIATE"), begin("IMMEDIATE")), seconds=30)


def test_a_program_that_is_not_deterministic_is_reported():
    choose = random.Random(1)

    def whim(path):
        with closing(connect(path)) as connection:
            for _ in range(2):
                connection.execute(f"SELECT {choose.random()} FROM counter").fetchone()

    with pytest.raises(Diverged, match="random number"):
        explore(program(whim, whim))


def test_one_exploration_at_a_time():
    def nested(path):
        explore(program(increment))

    (outcome,) = (o for o, _, _ in explore(program(nested)).outcomes)
    assert "another exploration is running" in outcome.text


def test_a_run_that_is_cut_half_way_leaves_no_lock_to_the_next_one():
    # With three threads some retries fail where nothing else is left to try: the run is cut
    # with two threads waiting inside SQLite, one of them holding PENDING.
    job = begin("DEFERRED")
    exploration = explore(program(job, job, job), max_schedules=400, merge=False)
    assert exploration.schedules == 400
    assert exploration.pruned > 0
    assert not exploration.failures


def test_a_thread_that_waits_when_the_run_ends_is_told_nothing():
    told = []

    def job(path):
        with closing(connect(path)) as connection:
            try:
                connection.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as error:
                told.append(str(error))

    run = replay(program(job, job), ("A", "B"))
    assert list(run.blocked) == ["B"]
    assert told == []


def test_a_lock_among_the_arguments_is_made_anew_for_each_schedule():
    def job(lock, path, *, items):
        with lock, closing(sqlite3.connect(path, isolation_level=None)) as connection:
            (value,) = connection.execute("SELECT value FROM counter").fetchone()
            connection.execute("UPDATE counter SET value = ?", (value + 1,))
        items.put(1)

    job = functools.partial(job, Lock(), items=Queue())
    exploration = explore(program(job, job))
    assert exploration.proved
    assert exploration.schedules > 2
    assert job.keywords["items"].empty()


def test_a_lock_in_a_tuple_is_refused():
    locks = (Lock(),)

    def job(path):
        with locks[0]:
            increment(path)

    with pytest.raises(ValueError, match="a lock stands in a tuple or a set"):
        explore(program(job, job))


@pytest.mark.parametrize(
    ("schedule", "message"),
    [
        (("A", "B", "B"), "step 3: B waits for the lock on the database file .A holds a write"),
        (("A", "C"), "step 2: there is no thread 'C'; can go on: A, B"),
        (("A",) * 5, "step 5: A has ended; can go on: B"),
        (("A:timeout",), "step 1: the timeout of A expires only when nobody else"),
    ],
)
def test_a_schedule_that_cannot_be_run_says_why(schedule, message):
    job = begin("IMMEDIATE")
    with pytest.raises(ScheduleError, match=message):
        replay(program(job, job), schedule)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"threads": []}, "at least one"),
        ({"threads": {"a:b": increment}}, "':'"),
        ({"threads": [increment], "journal_mode": "fast"}, "journal mode"),
        ({"threads": [increment], "expire": "now"}, "expire is False, True or"),
    ],
)
def test_a_program_that_cannot_be(arguments, message):
    with pytest.raises(ValueError, match=message):
        Program("counter", invariant=lambda end: True, **arguments)


@pytest.mark.parametrize("limits", [{"max_schedules": 0}, {"seconds": 0}])
def test_limits_must_be_positive(limits):
    with pytest.raises(ValueError, match="must be"):
        explore(program(increment), **limits)


# -- few preemptions ---------------------------------------------------------------------------


def preemptions(schedule, steps):
    """Switches away from a thread of `schedule` that has not taken all its `steps`."""
    left, last, switches = dict.fromkeys(schedule, steps), "", 0
    for name in schedule:
        switches += bool(last) and name != last and left[last] > 0
        left[name] -= 1
        last = name
    return switches


@pytest.mark.parametrize("merge", [False, True])
@pytest.mark.parametrize("threads", [2, 3])
def test_a_limit_of_preemptions_leaves_out_exactly_what_has_more(threads, merge):
    names = "ABC"[:threads] * 2
    needed = Counter(preemptions(order, 2) for order in set(itertools.permutations(names)))
    what = program(*[autocommit] * threads)
    for limit in range(4):
        found = explore(what, preemptions=limit, merge=merge)
        assert found.schedules == sum(needed[n] for n in range(limit + 1))
    assert explore(what, preemptions=limit + 1, merge=merge) == explore(what, merge=merge)


@pytest.mark.parametrize("job", [begin("IMMEDIATE"), begin("DEFERRED")])
def test_a_thread_that_waits_is_not_preempted(job):
    found = explore(program(job, job), preemptions=0)
    assert found.schedules >= 2
    assert found.counts.keys() == {"right"}
    for limit in (1, 2):
        one, other = (explore(program(job, job), preemptions=limit, merge=m) for m in (True, False))
        assert one == other


@pytest.mark.parametrize("merge", [True, False])
def test_the_examples_have_the_fewest_switches_between_threads(merge):
    steps = [lambda path, place=place: order(path, place) for place in range(2)]

    def order(path, place):
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            for _ in range(3):
                connection.execute("SELECT value FROM counter").fetchone()
            connection.execute("UPDATE counter SET value = value * 2 + ?", (place,))

    found = explore(program(autocommit, autocommit), merge=merge)
    assert found.failing == found.example("wrong") == ("A", "B", "B", "A")
    assert str(found.replay().outcome) in [str(outcome) for outcome, *_ in found.outcomes]
    found = explore(Program("counter", steps, lambda end: end.value == 1), merge=merge)
    assert found.failing == tuple("BBBBAAAA")
    assert found.example("right") == tuple("AAAABBBB")
    with pytest.raises(ValueError, match="no schedule failed"):
        explore(program(begin("IMMEDIATE"), begin("IMMEDIATE")), merge=merge).replay()


@pytest.mark.parametrize("merge", [True, False])
def test_a_timeout_is_no_switch_to_another_thread(merge):
    lock = threading.Lock()

    def holds(path):
        with lock:
            autocommit(path)

    def gives_up(path):
        got = lock.acquire(timeout=1)
        autocommit(path)
        if got:
            lock.release()
        return got

    both = Program("counter", [holds, gives_up], lambda end: end.results["B"], expire="any")
    found = explore(both, merge=merge)
    threads = [thread_of(choice) for choice in found.failing]
    assert "B:timeout" in found.failing
    assert [thread for thread, _ in itertools.groupby(threads)] == ["A", "B", "A"]


def test_the_verdict_names_the_limit_of_preemptions():
    found = explore(program(begin("IMMEDIATE"), begin("IMMEDIATE")), preemptions=1)
    assert "in every order of the steps with at most 1 preemption (" in found.verdict


@pytest.mark.parametrize("other", [{"seed": 1}, {"preemptions": -1}])
def test_a_limit_of_preemptions_that_makes_no_sense_is_refused(other):
    with pytest.raises(ValueError, match="preemptions"):
        explore(program(increment), **{"preemptions": 1, **other})


# -- what is reported --------------------------------------------------------------------------


def test_a_limit_leaves_it_not_proved_and_says_how_much_was_covered():
    exploration = explore(program(*[begin("IMMEDIATE")] * 3), max_schedules=31, merge=False)
    assert (exploration.schedules, exploration.proved) == (31, False)
    assert 0 < exploration.covered < 0.5
    assert "Not proved" in exploration.verdict
    assert "% of the tree" in exploration.verdict


def test_a_test_fails_with_the_schedule_that_breaks_the_claim():
    explore(program(begin("IMMEDIATE"), begin("IMMEDIATE"))).assert_proved()
    steps = r"\n\n  1  A  SELECT value FROM counter"
    with pytest.raises(AssertionError, match=f"(?s)^Refuted: .*{steps}"):
        explore(program(autocommit, autocommit)).assert_proved()
    with pytest.raises(AssertionError, match="Not proved"):
        explore(program(begin("IMMEDIATE"), autocommit), max_schedules=1).assert_proved()


def test_verdicts_name_the_claim_the_count_and_the_granularity():
    proved = explore(program(*[begin("IMMEDIATE")] * 2, claim="nothing is lost"))
    assert proved.verdict == (
        "Proved: nothing is lost, in every order of the steps (8 schedules). "
        "Steps are SQL calls and Python's locks, queues and sleeps. "
        "Waits are taken to be long enough."
    )
    hurried = program(*[begin("IMMEDIATE")] * 2, claim="nothing is lost", expire=True)
    assert explore(hurried).verdict.endswith(" Waits for the file are taken to be too short.")
    refuted = explore(program(increment, increment, claim="nothing is lost"))
    assert refuted.verdict == "Refuted: nothing is lost. Of 6 schedules, 4 break it."
    assert refuted.failing == ("A", "B", "B", "A")
    assert "67%" in str(refuted)
    assert "<table" in refuted._repr_html_()


def test_a_replay_becomes_a_history_for_the_timeline():
    exploration = explore(program(increment, increment))
    calls = list(exploration.replay().history())
    assert [call.thread for call in calls] == list("ABBA")
    assert [call.started for call in calls] == [0, 1_000_000, 2_000_000, 3_000_000]


def test_a_wait_is_one_long_bar_in_the_history():
    job = begin("IMMEDIATE")
    run = replay(program(job, job), tuple("ABAAABBBB"))
    waited = next(call for call in run.history() if call.thread == "B")
    assert (waited.started, waited.ended) == (1_000_000, 6_000_000)


def test_random_schedules_find_what_the_seed_finds_again():
    job = program(increment, increment)
    first, second = (explore(job, seed=7, max_schedules=40) for _ in range(2))
    assert first == second
    assert first.counts.keys() == {"wrong", "right"}
    assert not first.complete
    assert (
        "Not proved" in explore(program(*[begin("IMMEDIATE")] * 2), seed=1, max_schedules=9).verdict
    )


def final_values(increments):
    """Final values over all interleavings of two threads, by simulation on paper."""
    found = Counter()
    steps = 2 * increments
    for places in itertools.combinations(range(2 * steps), steps):
        value, seen, done = 0, [0, 0], [0, 0]
        for position in range(2 * steps):
            thread = position in places
            if done[thread] % 2:
                value = seen[thread] + 1
            else:
                seen[thread] = value
            done[thread] += 1
        found[str(value)] += 1
    return found


@pytest.mark.parametrize("merge", [False, True])
def test_three_increments_each_end_as_a_simulation_on_paper_says(merge):
    def three(path):
        with closing(connect(path)) as connection:
            for _ in range(3):
                (value,) = connection.execute("SELECT value FROM counter").fetchone()
                connection.execute("UPDATE counter SET value = ?", (value + 1,))

    job = Program("counter", [three, three], lambda end: end.value == 6)
    exploration = explore(job, merge=merge)
    expected = final_values(3)
    assert sum(expected.values()) == 924  # C(12,6)
    found = {outcome.rows: count for outcome, count, _ in exploration.outcomes}
    assert found == expected


# -- what no step shows --------------------------------------------------------------------


def add_in_another_process(path):
    add = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); "
    add += "c.execute('UPDATE counter SET value = value + 1'); c.commit(); c.close()"
    subprocess.run([sys.executable, "-c", add, path], check=True)


def test_a_thread_that_took_no_step_is_not_proved():
    found = explore(program(add_in_another_process, increment))
    # It may run between the other's SELECT and UPDATE.
    assert found.counts == {"wrong": 1, "right": 1}
    found = explore(program(add_in_another_process, increment), merge=False)
    assert (found.counts, found.proved) == ({"right": 1}, False)
    assert "Not proved" in found.verdict
    assert "thread A took no step" in found.verdict


@pytest.mark.parametrize("journal_mode", ["delete", "wal"])
def test_a_file_that_changes_in_no_step_is_not_proved(journal_mode):
    def look_and_add(path):
        with closing(connect(path)) as connection:
            connection.execute("SELECT value FROM counter").fetchone()
        add_in_another_process(path)

    jobs = [look_and_add, look_and_add]
    found = explore(Program("counter", jobs, no_increment_lost, journal_mode=journal_mode))
    assert (found.counts, found.proved) == ({"right": 2}, False)
    assert "the file changed after A: " in found.verdict


def test_workers_say_what_no_step_shows():
    job = Program("counter", [lambda path: None, increment], lambda end: True)
    with ThreadPoolExecutor(1) as executor:
        found = explore(job, executor=executor)
    assert "thread A took no step" in found.verdict


def test_the_failing_schedule_counts_more_than_what_no_step_shows():
    found = explore(program(lambda path: None, increment, increment))
    assert found.verdict.startswith("Refuted")


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        (("countr", [increment], bool), ValueError, "called 'countr': give one of .*counter"),
        (("counter", [increment, 3], bool), TypeError, "B is 3, which cannot be called"),
        (("counter", [increment], None), TypeError, "invariant is None, which cannot be called"),
    ],
)
def test_what_cannot_be_a_program_is_refused_at_once(arguments, error, text):
    with pytest.raises(error, match=text):
        Program(*arguments)


def test_a_look_and_an_invariant_that_raise_are_named():
    with pytest.raises(sqlite3.OperationalError) as found:
        explore(program(increment, look="SELECT nothing"))
    assert found.value.__notes__ == ["raised by look='SELECT nothing' on the fresh database"]
    with pytest.raises(IndexError) as found:
        explore(Program("counter", [increment], lambda end: end.rows[7]))
    assert "raised by the invariant" in found.value.__notes__[0]
    assert "rows=[(1,)]" in found.value.__notes__[0]


def test_a_folder_beside_the_database_is_left_behind_by_no_run():
    def share(path):
        Path(path).with_name("folder").mkdir()
        return path

    found = explore(program(increment, increment, share=share), merge=True)
    assert found.counts.keys() == {"wrong", "right"}


def test_of_two_waits_the_shorter_ends_first_whoever_began():
    def holds(shared):
        with closing(connect(shared[0])) as connection:
            connection.execute("BEGIN IMMEDIATE")
            told = shared[1].get(timeout=60)
            connection.execute("COMMIT")
            return told

    def is_refused(shared):
        with closing(connect(shared[0], timeout=5)) as connection:
            try:
                connection.execute("BEGIN IMMEDIATE")
                connection.execute("COMMIT")
            except sqlite3.OperationalError:
                shared[1].put("refused")
            else:
                shared[1].put("not refused")

    found = explore(
        Program(
            "counter",
            [holds, is_refused],
            lambda end: end.results.get("A") in ("refused", "not refused"),
            share=lambda path: (path, Queue()),
        )
    )
    assert found.proved
    assert {o.threads[0][1] for o, _, _ in found.outcomes} == {
        "returned 'refused'",
        "returned 'not refused'",
    }


def test_the_last_connection_to_close_may_empty_the_wal_after_a_read():
    def adds_and_looks(path):
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute("UPDATE counter SET value = value + 1")
            connection.execute("SELECT value FROM counter").fetchone()

    program = Program(
        "CREATE TABLE counter (value INTEGER); INSERT INTO counter VALUES (0)",
        [adds_and_looks],
        lambda end: end.value == 1,
        journal_mode="wal",
    )
    assert explore(program).proved
