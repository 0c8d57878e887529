"""The explorer over programs that share a strategy: futures, thread-locals, clocks, own locks."""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures
import copy
import functools
import gc
import random
import sqlite3
import threading
import time
import weakref
from concurrent.futures import Future
from contextlib import closing
from pathlib import Path

import pytest

from helpers.explorer import Program, Runner, explore, replay
from helpers.explorer.engine.confinement import sharing_of
from helpers.explorer.scenarios import autocommit, no_increment_lost
from helpers.explorer.search import depth_first
from helpers.explorer.steps.primitives import Unseen
from helpers.explorer.steps.statements import kind_of
from helpers.explorer.tally import Tally
from helpers.strategies import PerThread, Pool, Retry, TransactionLock, Writer, per_thread, writer


def unit(connection):
    (value,) = connection.execute("SELECT value FROM counter").fetchone()
    connection.execute("UPDATE counter SET value = ?", (value + 1,))


def failing(connection):
    unit(connection)
    raise ValueError("changed its mind")


def write(strategy):
    strategy.write(unit)


def write_and_fail(strategy):
    strategy.write(failing)


def read(strategy):
    return strategy.read(lambda c: c.execute("SELECT value FROM counter").fetchone()[0])


def counter(*threads, invariant=no_increment_lost, **options):
    return Program("counter", threads, invariant, **options)


def connect(path, **options):
    return sqlite3.connect(path, isolation_level=None, **options)


# -- every strategy, to the end and soon -------------------------------------------------------


@pytest.mark.parametrize("mode", ["wal", pytest.param("delete", marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("share", "at_most"),
    [
        # As the scenario "read-modify-write, BEGIN IMMEDIATE".
        (PerThread, 8),
        # The one connection that writes is lent to one thread at a time, in turn.
        (Pool, 50),
        (TransactionLock, 50),
        pytest.param(Writer, 1300, marks=pytest.mark.slow),  # notebook 10 shows the same
        pytest.param(lambda path: writer.Writer(path, backlog=1), 1300, marks=pytest.mark.slow),
        pytest.param(lambda path: writer.Writer(path, group=1), 2600, marks=pytest.mark.slow),
    ],
    ids=["PerThread", "Pool", "TransactionLock", "Writer", "backlog 1", "group 1"],
)
def test_two_writes_through_a_strategy(share, at_most, mode):
    exploration = explore(counter(write, write, share=share, journal_mode=mode))
    assert exploration.proved, exploration
    assert exploration.schedules <= at_most


@pytest.mark.parametrize(
    "share", [PerThread, Pool, TransactionLock, pytest.param(Writer, marks=pytest.mark.slow)]
)
def test_a_read_beside_a_write_through_a_strategy(share):
    job = counter(write, read, invariant=lambda end: end.value == 1, share=share)
    found = explore(job)
    assert found.proved
    assert {o.text for o, _, _ in found.outcomes} == {"1; B returned 0", "1; B returned 1"}
    assert found.schedules < 10_000
    assert explore(job, merge=True) == found


def test_a_strategy_named_through_its_module_is_explored_all_the_same():
    share = lambda path: per_thread.PerThread(path, begin="DEFERRED")  # noqa: E731
    # As the scenario "read-modify-write, BEGIN DEFERRED".
    assert explore(counter(write, write, share=share)).counts == {"error": 60, "right": 10}


@pytest.mark.slow
def test_the_other_units_of_a_group_are_kept_when_one_fails():
    job = counter(write, write_and_fail, invariant=lambda end: end.value == 1, share=Writer)
    exploration = explore(job)
    assert exploration.counts == {"error": exploration.schedules}
    assert [o.text for o, _, _ in exploration.outcomes] == ["1; B ValueError: changed its mind"]


def test_a_unit_that_was_cancelled_in_time_is_not_written():
    def cancel(strategy):
        return strategy.submit(unit).cancel()

    def as_told(end):
        return end.value == (1 if end.results["B"] else 2)

    exploration = explore(counter(write, cancel, invariant=as_told, share=Writer), preemptions=1)
    assert exploration.proved
    assert len(exploration.outcomes) == 2


def test_a_retry_with_a_pause_drawn_at_random_comes_to_its_end():
    share = lambda path: per_thread.PerThread(path, begin="DEFERRED", retry=Retry())  # noqa: E731
    assert explore(counter(write, write, share=share)).proved


# -- futures -----------------------------------------------------------------------------------


class Answer:
    def __init__(self, path):
        self.future = Future()


def everything(end):
    return True


def test_a_result_waits_for_its_answer_and_is_one_step():
    def answer(shared):
        shared.future.set_result(7)

    job = counter(answer, lambda shared: shared.future.result(), invariant=everything, share=Answer)
    (outcome, count, schedule), *others = explore(job).outcomes
    assert (outcome.text, count, schedule, others) == ("0; B returned 7", 1, ("A", "B"), [])
    labels = [step.label for step in replay(job, schedule).steps]
    assert labels == ["answer future 1", "wait for future 1"]


def test_a_result_that_nobody_sets_is_a_deadlock_or_a_timeout():
    patient = counter(lambda s: s.future.result(), invariant=everything, share=Answer)
    assert explore(patient).outcomes[0][0].ended == "deadlock: A waits for future 1"
    hasty = counter(lambda s: s.future.result(1), invariant=everything, share=Answer)
    assert "A TimeoutError" in explore(hasty).outcomes[0][0].text


def test_cancelling_races_with_beginning():
    def begin_and_answer(shared):
        if shared.future.set_running_or_notify_cancel():
            shared.future.set_exception(ValueError("no"))

    def cancel(shared):
        return shared.future.cancel(), shared.future.done()

    job = counter(begin_and_answer, cancel, invariant=everything, share=Answer)
    # Cancelled first: begin before or after the look: 2. Begun first: the answer comes before
    # both, between, or after: 3.
    exploration = explore(job)
    assert exploration.schedules == 5
    found = {o.text: count for o, count, _ in exploration.outcomes}
    assert found == {
        "0; B returned (True, True)": 2, "0; B returned (False, True)": 2,
        "0; B returned (False, False)": 1,
    }  # fmt: skip


def test_futures_of_others_are_left_alone():
    methods = dict(vars(Future))
    with concurrent.futures.ThreadPoolExecutor(1) as pool:

        def job(path):
            return pool.submit(abs, -1) and None

        outside = pool.submit(abs, -2)
        explore(counter(autocommit, autocommit))
        assert outside.result(5) == 2
    assert dict(vars(Future)) == methods


# -- what belongs to one thread ----------------------------------------------------------------


def own_lock(shared):
    with threading.Lock():
        autocommit(shared)


def own_connection(shared):
    with closing(connect(shared, check_same_thread=False)) as connection:
        connection.execute("PRAGMA query_only = 0")
        unit(connection)


@pytest.mark.parametrize("job", [own_lock, own_connection])
def test_what_a_thread_makes_for_itself_is_no_step(job):
    # As without: C(4,2) = 6.
    assert explore(counter(job, job)).counts == {"wrong": 4, "right": 2}


class Shelf:
    def __init__(self, path):
        self.path = path
        self.thing = None


def make_lock(shelf):
    shelf.thing = threading.Lock()
    use_lock(shelf)


def use_lock(shelf):
    with shelf.thing:
        autocommit(shelf.path)


def test_a_lock_that_is_handed_on_counts_as_shared():
    job = counter(make_lock, use_lock, share=Shelf)
    exploration = explore(job)
    assert sharing_of(job).found == {"lock 1 of A"}
    # One block each, as with a lock that was shared from the start; or B finds none yet.
    assert exploration.counts == {"error": 1, "right": 2}
    labels = [step.label for step in replay(job, exploration.example("right")).steps]
    assert labels.count("acquire lock 1") == 2


def test_exploring_and_replaying_leave_the_program_as_it_was():
    job = counter(make_lock, use_lock, share=Shelf)
    before = {name: copy.copy(value) for name, value in vars(job).items()}
    replay(job, explore(job).outcomes[0][2])
    assert vars(job) == before


def test_a_connection_that_is_handed_on_counts_as_shared():
    def make(shelf):
        shelf.thing = sqlite3.connect(shelf.path, check_same_thread=False)
        shelf.thing.execute("UPDATE counter SET value = value + 1")
        shelf.thing.commit()

    def use(shelf):
        time.sleep(0)
        shelf.thing.rollback()

    job = counter(make, use, invariant=everything, share=Shelf)
    exploration = explore(job)
    assert sharing_of(job).found == {"connection 1 of A"}
    assert {o.rows for o, _, _ in exploration.outcomes} == {"0", "1"}


def test_pragmas_that_are_no_steps_touch_no_file(tmp_path):
    path = tmp_path / "held.db"
    names = (
        "query_only", "foreign_keys", "recursive_triggers", "trusted_schema",
        "ignore_check_constraints", "reverse_unordered_selects", "automatic_index",
        "defer_foreign_keys",
    )  # fmt: skip
    with closing(connect(path)) as holder, closing(connect(path, timeout=0)) as other:
        holder.execute("CREATE TABLE t (i)")
        holder.execute("BEGIN EXCLUSIVE")
        for name in names:
            assert kind_of(f"PRAGMA {name} = 1") == "flag"
            assert kind_of(f"PRAGMA {name}") == "look"
            other.execute(f"PRAGMA {name} = 1")
        other.execute("PRAGMA query_only = 0")
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            other.execute("PRAGMA user_version = 1")


def test_a_connection_that_would_go_unseen_is_refused():
    kept = functools.partial(sqlite3.connect, isolation_level=None)

    def job(path):
        kept(path).close()

    with pytest.raises(Unseen, match=r"sqlite3\.connect that was kept"):
        explore(counter(job, job))


# -- the end of a thread, of a run, of the process ---------------------------------------------


class Local:
    """A connection for each thread, closed when its thread ends."""

    def __init__(self, path):
        self.path = path
        self.local = threading.local()
        self.closed = []

    def close_one(self, name, connection):
        connection.close()
        self.closed.append(name)


class Mark:
    pass


def leave_open(shared):
    connection = connect(shared.path, check_same_thread=False)
    shared.local.mark = Mark()
    weakref.finalize(
        shared.local.mark, shared.close_one, threading.current_thread().name, connection
    )
    connection.execute("BEGIN")
    connection.execute("SELECT value FROM counter").fetchall()


def test_thread_locals_end_with_their_thread():
    def look(shared):
        autocommit(shared.path)
        return len(shared.closed)

    exploration = explore(counter(leave_open, look, invariant=everything, share=Local))
    # A's read lock goes with A: B's UPDATE waits for it at most, and then A's end is to be seen.
    assert set(exploration.counts) == {"right"}
    ends = {dict(o.threads)["B"] for o, _, _ in exploration.outcomes}
    assert ends == {"returned 0", "returned 1"}
    first = replay(exploration.program, ("A", "A", "B", "B"))
    assert first.outcome.text == "1; B returned 1"


def test_a_finalizer_that_comes_late_finds_the_connection_closed():
    late = []

    def job(path):
        connection = connect(path)
        connection.execute("SELECT 1 FROM counter").fetchall()
        late.append(connection)

    explore(counter(job, job, invariant=everything))
    for connection in late:
        connection.close()
        assert connection.state() == (0, 0)


def test_a_cursor_that_outlives_its_run_disturbs_no_other_run():
    half_read = []

    def leave_a_cursor(path):
        with closing(connect(path)) as connection:
            half_read.append(connection.execute("SELECT 1 UNION ALL SELECT value FROM counter"))

    # The cursor keeps the read lock of its closed connection: the UPDATE that comes after it
    # waits in vain, in this run and in no later one.
    exploration = explore(counter(leave_a_cursor, autocommit, invariant=everything))
    assert exploration.counts == {"error": 2, "right": 1}
    assert exploration == explore(counter(leave_a_cursor, autocommit, invariant=everything))


def test_what_a_program_would_do_at_exit_goes_with_its_run():
    class Registered:
        def __init__(self, path):
            self.path = path
            atexit.register(self.close)

        def close(self):
            atexit.unregister(self.close)

    before = atexit._ncallbacks()
    job = counter(lambda s: autocommit(s.path), share=Registered)
    assert explore(job, max_schedules=1).schedules == 1
    assert atexit._ncallbacks() == before


def test_a_run_leaves_nothing_to_the_garbage_collector():
    with Runner(counter(autocommit, autocommit)) as runner:
        search = depth_first(runner, Tally())
        next(search)
        gc.collect()
        gc.disable()
        try:
            for _ in search:
                pass
            gc.set_debug(gc.DEBUG_SAVEALL)
            gc.collect()
            # Threads that other tests have left may drop things of their own meanwhile.
            left = [type(thing) for thing in gc.garbage]
            assert [
                kind for kind in left if kind.__module__.startswith(("helpers", "sqlite3"))
            ] == []
        finally:
            gc.set_debug(0)
            gc.garbage.clear()
            gc.enable()


# -- clocks and chance -------------------------------------------------------------------------


def until_a_deadline(path):
    deadline, tries = time.monotonic() + 1, 0
    with closing(connect(path, timeout=0)) as connection:
        while time.monotonic() < deadline:
            tries += 1
            try:
                connection.execute("UPDATE counter SET value = value + 1")
                return "written"
            except sqlite3.OperationalError:
                time.sleep(random.uniform(0.2, 0.6))
        return f"gave up after {tries} tries"


def hold(path):
    with closing(connect(path)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        threading.Event().wait(60)
        connection.execute("COMMIT")


def test_a_loop_with_a_deadline_comes_to_its_end():
    before = random.getstate()
    exploration = explore(counter(until_a_deadline, hold, invariant=everything))
    ends = {dict(o.threads)["A"] for o, _, _ in exploration.outcomes}
    assert "returned 'written'" in ends
    assert any("gave up after" in end for end in ends)
    assert set(exploration.counts) == {"right"}
    assert exploration == explore(counter(until_a_deadline, hold, invariant=everything))
    assert random.getstate() == before


def test_the_clock_goes_on_with_what_the_program_waits_for():
    def job(path):
        began = time.monotonic(), time.time(), time.perf_counter()
        time.sleep(2.5)
        return [round(now() - then, 3) for now, then in zip(
            (time.monotonic, time.time, time.perf_counter), began, strict=True)]  # fmt: skip

    (outcome, *_), *others = explore(counter(job, invariant=everything)).outcomes
    assert (outcome.text, others) == ("0; A returned (2.5, 2.5, 2.5)", [])


# -- connections by URI, authorizers -----------------------------------------------------------


def read_only(path):
    with closing(connect(f"{Path(path).absolute().as_uri()}?mode=ro", uri=True)) as connection:
        (value,) = connection.execute("SELECT value FROM counter").fetchone()
        try:
            connection.execute("UPDATE counter SET value = 9")
        except sqlite3.OperationalError as error:
            return value, str(error)


@pytest.mark.parametrize("mode", ["delete", "wal"])
def test_a_connection_opened_by_uri(mode):
    job = counter(read_only, autocommit, invariant=lambda e: e.value == 1, journal_mode=mode)
    found = explore(job)
    # s, a refused u, and s u: C(4,2) = 6.
    assert (found.proved, found.schedules) == (True, 6)
    refused = "'attempt to write a readonly database')"
    assert {o.text for o, _, _ in found.outcomes} == {
        f"1; A returned (0, {refused}", f"1; A returned (1, {refused}"
    }  # fmt: skip


def test_an_authorizer_is_asked():
    def job(path):
        with closing(connect(path)) as connection:
            connection.set_authorizer(lambda action, *_: action == sqlite3.SQLITE_UPDATE)
            connection.execute("UPDATE counter SET value = 9")

    exploration = explore(counter(job, autocommit, invariant=lambda end: end.value == 1))
    assert exploration.counts == {"error": 3}
    assert "A DatabaseError: not authorized" in exploration.outcomes[0][0].text


def test_an_event_loop_in_a_thread_has_the_real_time():
    async def pause():
        await asyncio.sleep(0.001)
        return "slept"

    exploration = explore(counter(lambda path: asyncio.run(pause()), invariant=everything))
    assert [o.text for o, _, _ in exploration.outcomes] == ["0; A returned 'slept'"]


@pytest.mark.parametrize("share", [PerThread, Pool, TransactionLock, Writer])
def test_a_write_beside_close_is_stored_or_refused(share):
    """What `close` does before its first step may come after the whole write."""
    job = counter(write, lambda strategy: strategy.close(), invariant=as_acknowledged, share=share)
    found = explore(job, preemptions=1)
    assert found.complete
    assert found.counts.keys() == {"error", "right"}
    assert all(replay(job, schedule).outcome == outcome for outcome, _, schedule in found.outcomes)


def as_acknowledged(end):
    return end.value == ("A" in end.succeeded)


def test_a_thread_that_starts_late_counts_only_where_it_makes_a_difference():
    class Door:
        open = True

    def close(door):
        door.open = False
        time.sleep(0)

    def enter(door):
        was_open = door.open
        time.sleep(0)
        return was_open

    # Late, before and after the other's step; for two that only look, there is nothing to tell.
    apart = explore(counter(enter, close, invariant=everything, share=lambda path: Door()))
    assert apart.counts == {"right": 3}
    said = {outcome.threads[0][1] for outcome, _, _ in apart.outcomes}
    assert said == {"returned False", "returned True"}
    alike = explore(counter(enter, enter, invariant=everything, share=lambda path: Door()))
    assert (alike.counts, alike.runs) == ({"right": 2}, 4)
