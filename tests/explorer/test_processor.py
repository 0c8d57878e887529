"""The explorer's threads stay on one processor while there is room, and are free again after it."""

from __future__ import annotations

import itertools
import os
import signal
import sys
import threading

import pytest
from units import ctrl_c

from helpers.explorer import Program, explore
from helpers.explorer.engine import processor
from helpers.explorer.scenarios import autocommit

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or len(getattr(os, "sched_getaffinity", lambda _: "")(0)) < 2,
    reason="only Linux lets a thread choose, and only among several processors",
)


def seen_by_threads(monkeypatch, load):
    """How many processors each run's first thread may use, with so much load on the machine."""
    seen = []

    def note(path):
        seen.append((len(os.sched_getaffinity(0)), os.sched_getscheduler(0)))
        autocommit(path)

    monkeypatch.setattr(os, "getloadavg", lambda: (load, load, load))
    explore(Program("counter", [note, autocommit], lambda end: True))
    return seen


def test_one_processor_for_all_threads_and_as_before_at_the_end(monkeypatch):
    allowed, policy = os.sched_getaffinity(0), os.sched_getscheduler(0)
    seen = seen_by_threads(monkeypatch, load=0.0)
    assert (1, os.SCHED_BATCH) in seen
    assert (os.sched_getaffinity(0), os.sched_getscheduler(0)) == (allowed, policy)


def test_the_callers_thread_goes_where_it_likes(monkeypatch):
    caller, before = threading.get_native_id(), os.sched_getaffinity(0)
    seen = set()

    def note(path):
        seen.add((len(os.sched_getaffinity(caller)), os.sched_getscheduler(caller)))
        autocommit(path)

    monkeypatch.setattr(os, "getloadavg", lambda: (0.0, 0.0, 0.0))
    found = explore(Program("counter", [note, autocommit], lambda end: True))
    found.replay(found.outcomes[0][2])
    assert seen == {(len(before), os.SCHED_OTHER)}


def test_an_interrupted_search_ends_with_its_run_and_leaves_no_thread():
    threads, runs = threading.active_count(), []

    def searching():
        try:
            for number in itertools.count():
                runs[:] = [number]
                yield number
        finally:
            runs.append("closed")

    going = processor.apart(searching())
    next(going)
    with pytest.raises(KeyboardInterrupt):
        going.throw(KeyboardInterrupt)
    assert runs[-1] == "closed"
    assert threading.active_count() == threads


@ctrl_c()
def test_a_second_ctrl_c_does_not_leave_the_search_running():
    ended = []

    def searching():
        try:
            while True:
                yield
        finally:
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
            threading.Event().wait(0.2)  # still at its end when the interrupt arrives
            ended.append("put back")

    going = processor.apart(searching())
    next(going)
    with pytest.raises(KeyboardInterrupt):
        going.throw(KeyboardInterrupt)
    assert ended == ["put back"]


def test_what_a_search_raises_comes_to_the_caller():
    def searching():
        yield 1
        raise LookupError("no such table")

    with pytest.raises(LookupError, match="no such table"):
        list(processor.apart(searching()))


def test_on_a_crowded_machine_they_go_where_there_is_room(monkeypatch):
    allowed = os.sched_getaffinity(0)
    assert set(seen_by_threads(monkeypatch, load=1e3)) == {(len(allowed), os.SCHED_OTHER)}


def test_the_system_may_choose_again_after_a_spell(monkeypatch):
    monkeypatch.setattr(processor, "SPELL", 0.0)
    seen = seen_by_threads(monkeypatch, load=0.0)
    assert {processors for processors, _ in seen} == {1, len(os.sched_getaffinity(0))}


def test_where_the_system_refuses_nothing_is_done(monkeypatch):
    def refuse(*_):
        raise PermissionError("not here")

    monkeypatch.setattr(os, "sched_setaffinity", refuse)
    allowed = os.sched_getaffinity(0)
    assert set(seen_by_threads(monkeypatch, load=0.0)) == {(len(allowed), os.SCHED_OTHER)}
