"""The engine by itself: policies, threads, the baton."""

import sqlite3
import threading
import weakref
from contextlib import closing
from queue import Queue
from types import SimpleNamespace

import pytest

from helpers.explorer import Program, explore, parallel, replay
from helpers.explorer.engine import run_state, threads
from helpers.explorer.program import Ending, Outcome, rows_text
from helpers.explorer.search import RandomPriorities

# -- random schedules ----------------------------------------------------------------------------


@pytest.mark.parametrize("changes", [0, 3])
def test_priorities_change_at_so_many_steps(changes):
    policy, run = RandomPriorities(seed=5, length=30, changes=changes), SimpleNamespace(schedule=[])
    policy.priority.update(A=1.1, B=1.2, C=1.3)
    changed = 0
    for _ in range(30):
        before = dict(policy.priority)
        run.schedule.append(policy.pick(run, ["A", "B", "C"]))
        changed += policy.priority != before
    assert changed == changes


# -- the baton -----------------------------------------------------------------------------------


class Control:
    """In the place of the lock on which the controller waits."""

    def __init__(self, *moves):
        self.moves = list(moves)

    def acquire(self, timeout=-1):
        """True when the moves are used up; each of them happens while the controller waits."""
        if self.moves:
            self.moves.pop(0)()
            return False
        return True


@pytest.fixture
def one_wait(monkeypatch):
    monkeypatch.setattr(run_state, "WAITS", 1)


def test_a_thread_that_takes_steps_is_slow_and_not_stuck(one_wait):
    run = run_state.Baton()
    run.running, run._unstick = "A", None  # calling it would raise
    run.control = Control(*[lambda: run.schedule.append("A")] * 3)
    run.baton_out = True
    run._wait_for_control()
    assert not run.baton_out


def test_a_thread_that_cannot_be_stopped_is_left_behind(one_wait):
    run, asked = run_state.Baton(), []
    run.running, run.ended = threads.ControlledThread("A", None), "endless: A"
    run._unstick = lambda: asked.append(1) or len(asked) < 2
    run.control = Control(*[lambda: None] * 9)
    with pytest.raises(RuntimeError, match="endless: A; nor can it be stopped"):
        run._wait_for_control()
    assert (run.running.done, run.baton_out, len(asked)) == (True, False, 2)


def test_nobody_is_asked_to_end_where_nobody_runs():
    assert run_state.Baton()._unstick() is False


@pytest.mark.parametrize("running", [True, False])
def test_an_interrupted_run_waits_for_the_thread_that_runs(running):
    run, waited = run_state.Baton(), []
    thread = SimpleNamespace(cancelled=False, done=False)
    run.threads, run.baton_out, run.running = {"A": thread}, True, thread if running else None
    run.control = SimpleNamespace(acquire=lambda timeout: waited.append("a moment"))
    run._wait_for_control = lambda: waited.append("for it")
    run.lend_baton = lambda thread: waited.append("its end")
    run.cancel()
    assert thread.cancelled
    assert run.cancelling
    assert run.running is None
    assert waited == ["for it" if running else "a moment", "its end"]


# -- threads -------------------------------------------------------------------------------------


def test_workers_are_used_again_and_end_with_their_pool():
    pool, finished = threads.WorkerPool(), Queue()
    run = SimpleNamespace(finish=finished.put)
    ended = []
    for name in "AB":
        thread = threads.ControlledThread(name, lambda: threading.current_thread().name)
        pool.give(thread, run)
        worker = thread.worker
        worker.go.release()
        ended.append(finished.get(timeout=10).end)
        assert thread.ident == worker.ident
        pool.idle.append(worker)
        assert pool.native_ids() == [worker.native_id]
    assert ended == ["A", "B"]
    assert len(pool.all) == 1
    pool.close()
    assert not worker.is_alive()
    assert (pool.all, pool.idle) == ([], [])


def test_a_thread_that_was_cancelled_before_it_began_does_nothing():
    played = []
    thread = threads.ControlledThread("A", lambda: played.append(1))
    thread.cancelled = True
    thread.play()
    assert (played, thread.end) == ([], None)
    thread.cancelled, thread.job = False, None
    thread.play()
    assert thread.end is None


def test_what_a_thread_raises_is_kept_as_text_only():
    class Local:
        pass

    kept = []

    def inner():
        local = Local()
        kept.append(weakref.ref(local))
        raise KeyError("inner")

    def job():
        try:
            inner()
        except KeyError as error:
            raise ValueError("outer") from error

    thread = threads.ControlledThread("A", job)
    thread.play()
    assert (thread.end.kind, thread.end.message) == ("ValueError", "outer")
    assert kept[0]() is None

    def cut():
        raise threads.Cancelled

    thread.job = cut
    thread.play()
    assert str(thread.end) == "cut short"


def test_while_it_is_unwound_it_gives_back_a_hundred_things():
    thread = threads.ControlledThread("A", None)
    assert [thread.gives_back() for _ in range(101)] == [*[True] * 100, False]


def test_after_the_run_it_refers_to_nothing():
    thread = threads.ControlledThread("A", print)
    assert (thread.next, thread.slept) == (threads.PendingStep("start"), -1)
    thread.next.ready = thread.next.holders = thread.waiting = print
    thread.connections, thread.locals = [1], [{}]
    thread.let_go()
    left = (thread.job, thread.next.ready, thread.next.holders, thread.waiting)
    assert left == (None, None, None, None)
    assert (thread.connections, thread.locals) == ([], [])


# -- who waits for whom --------------------------------------------------------------------------


def waits(name, *holders, wants="", done=False, for_file=False, free=False):
    """A thread that waits for `wants`, which `holders` have: pairs of a thread and a text."""
    thread = threads.ControlledThread(name, None)
    thread.next.wants = wants
    if for_file:
        thread.state = threads.ThreadState.WAITING
        thread.waiting = SimpleNamespace(holders=lambda: list(holders))
    else:
        thread.next.ready, thread.next.holders = (lambda: free), (lambda: list(holders))
    if done:
        thread.state = threads.ThreadState.DONE
    return thread


def circle(*names):
    """Threads each of which waits for a lock of the next one."""
    found = [threads.ControlledThread(name, None) for name in names]
    for thread, after in zip(found, found[1:] + found[:1], strict=True):
        thread.next.wants, thread.next.ready = f"lock of {after.name}", lambda: False
        thread.next.holders = lambda after=after: [(after, "it")]
    return found


def test_a_circle_begins_with_the_first_name():
    c, a, b = circle("C", "A", "B")
    text = (
        "A waits for lock of B, which B holds, B waits for lock of C, which C holds, "
        "C waits for lock of A, which A holds"
    )
    assert [threads.cycle(thread) for thread in (a, b, c)] == [text] * 3
    before = waits("D", (c, "it"), wants="lock of C")
    assert threads.cycle(before) == text
    assert threads.why_over([before, a]) == f"deadlock: {text}"


def test_what_is_no_circle():
    done = waits("A", done=True)
    assert threads.cycle(waits("B", (done, "it"))) == ""
    assert threads.cycle(waits("B", (None, "it"))) == ""
    assert threads.cycle(waits("B", (waits("A", free=True), "it"))) == ""
    itself = waits("B")
    itself.next.holders = lambda: [(itself, "it")]
    assert threads.cycle(itself) == ""
    assert threads.why_over([done]) == "finished"


def test_those_who_wait_themselves_are_looked_at_first():
    a, b = circle("A", "B")
    done = waits("C", done=True)
    a.next.holders = lambda: [(done, "it"), (b, "it")]
    assert "B waits for lock of A" in threads.cycle(a)


def test_why_a_thread_cannot_go_on():
    holder = waits("B")
    why = threads.why_blocked
    assert why(waits("A", (holder, "a lock"), (None, "x"), wants="lock 1")) == (
        "A waits for lock 1 (B holds a lock)"
    )
    assert why(waits("A", (holder, "a read transaction"), for_file=True)) == (
        "A waits for the lock on the database file (B holds a read transaction)"
    )
    assert why(waits("A", free=True)) == ""
    nobody = waits("A")
    nobody.next.holders, nobody.next.label = None, "join x"
    assert why(nobody) == "A waits for join x"
    nobody.state = threads.ThreadState.SLEEPING
    assert why(nobody) == ""
    assert why(threads.ControlledThread("A", None)) == ""
    assert threads.why_over([nobody]) == "deadlock: nobody can go on"
    two = [waits("A", wants="lock 1"), waits("B", wants="lock 2")]
    assert threads.why_over(two) == "deadlock: A waits for lock 1; B waits for lock 2"


# -- programs and their runs ---------------------------------------------------------------------


def test_kinds_and_texts_of_outcomes():
    ends = (("A", "ok"), ("B", "returned 2"))
    for arguments, kind, text in [
        (("finished", True, False, "1", ends), "right", "1; B returned 2"),
        (("finished", True, True, "1", ends), "error", "1; B returned 2"),
        (("finished", False, True, "1", ends), "wrong", "1; B returned 2"),
        (("finished", False, True, "1", ends, "A, B"), "wrong", None),
        (
            ("finished", True, True, "1", ends, "A, B"),
            "deadlock",
            "1; B returned 2; after a deadlock until a timeout: A, B",
        ),
        (("deadlock: A", False, True, "1", ends), "deadlock", "deadlock: A"),
        (("endless: A", True, False, "1", ends), "endless", "endless: A"),
    ]:
        outcome = Outcome(*arguments)
        assert outcome.kind == kind
        assert outcome.is_failure is (kind not in ("right", "error"))
        assert text is None or outcome.text == text


def test_a_run_in_words_and_as_a_history():
    def job(path):
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("SELECT value FROM counter").fetchone()
            threading.Event().wait(1)
            connection.execute("SELECT value FROM nowhere")

    program = Program("counter", [job], lambda end: True, name="one")
    assert repr(program) == "<Program one, 1 threads, delete>"
    run = replay(program, ("A",))
    assert str(run) == "  1  A  SELECT value FROM counter  ok\nnot at its end"
    run = replay(program, explore(program).outcomes[0][2])
    assert str(run).splitlines()[-2:] == [
        "  3  A  SELECT value FROM nowhere  no such table: nowhere",
        run.outcome.text,
    ]
    calls = [(c.operation, c.sql, c.started, c.ended) for c in run.history()]
    select = "SELECT value FROM "
    assert calls == [
        ("execute", f"{select}counter", 0, 1_000_000),
        ("acquire lock 1", "", 1_000_000, 2_000_000),
        ("execute", f"{select}nowhere", 2_000_000, 3_000_000),
    ]


def test_rows_on_one_line():
    for rows, text in [
        ([(2,)], "2"), ([], "no rows"), ([(1, 2)], "(1, 2)"), ([(1,), (2,)], "(1), (2)"),
    ]:  # fmt: skip
        assert rows_text(rows) == text
    ending = Ending([(3, 4), (5, 6)], {"B": 1}, {})
    assert (ending.value, ending.succeeded) == (3, ["B"])
    assert Ending([], {}, {}).value is None


def test_parts_of_a_tree():
    roots = [[number] for number in range(7)]
    assert parallel._batches(roots, 3) == [roots[:2], roots[2:4], roots[4:6], roots[6:]]
    assert parallel._batches(roots, 9) == [[root] for root in roots]
