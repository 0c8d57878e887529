"""The writer's queue, and whether it waits for the threads of its last group."""

import contextlib
import queue
import threading
import time

import pytest
from units import PATIENCE, Thread, until

from helpers import databases
from helpers.strategies.backlog import Backlog
from helpers.strategies.regulars import Regulars
from helpers.strategies.settings import Settings
from helpers.strategies.writer import Writer

QUICK = Settings(synchronous="OFF")


@pytest.fixture
def backlog():
    return Backlog(2)


def test_first_in_first_out(backlog):
    backlog.put("a", PATIENCE)
    backlog.put("b", PATIENCE)
    assert len(backlog) == 2
    assert [backlog.get(block=True), backlog.get(block=False)] == ["a", "b"]
    with pytest.raises(queue.Empty):
        backlog.get(block=False)


def test_a_full_one_says_so_after_the_timeout(backlog):
    backlog.put(1, 0)
    backlog.put(2, 0)
    with pytest.raises(queue.Full):
        backlog.put(3, 0.01)
    assert [backlog.get(block=False) for _ in range(2)] == [1, 2]
    backlog.put(4, 0)
    assert backlog.get(block=False) == 4


def test_those_who_wait_for_room_all_get_it(backlog):
    backlog.put(0, PATIENCE)
    backlog.put(1, PATIENCE)
    threads = []
    for number in range(2, 6):
        threads.append(Thread(backlog.put, number, PATIENCE))
        until(lambda number=number: backlog._outside == number - 1)
    assert len(backlog) == 2
    got = [backlog.get(block=True) for _ in range(6)]
    assert got[:2] == [0, 1]
    assert sorted(got[2:]) == [2, 3, 4, 5]
    for thread in threads:
        thread.get()
    assert not backlog._outside


def test_nobody_gets_ahead_of_those_who_wait_for_room(backlog, monkeypatch):
    later = []
    monkeypatch.setattr(backlog, "_put_later", lambda *arguments: later.append(arguments))
    backlog._outside = 1
    backlog.put("a", PATIENCE)
    assert later == [("a", PATIENCE)]


def test_a_call_wakes_the_one_who_gets_and_is_no_item(backlog):
    getter = Thread(backlog.get, True)
    backlog.call()
    assert getter.get() is None
    backlog.put("a", PATIENCE)
    backlog.call()  # nobody waits: it has something to get
    assert len(backlog) == 1
    assert backlog.get(block=False) == "a"
    backlog.call()
    assert len(backlog) == 0
    assert backlog.get(block=False) is None


def test_gathering_ends_with_the_last_of_so_many():
    backlog = Backlog(100)
    putters = [threading.Thread(target=backlog.put, args=(n, PATIENCE)) for n in range(5)]
    gatherer = Thread(backlog.gather, 5, PATIENCE)
    until(lambda: backlog._wanted == 5)
    for putter in putters[:4]:
        putter.start()
        putter.join()
    assert gatherer.is_alive()
    putters[4].start()
    putters[4].join()
    assert gatherer.get()
    assert not backlog.gather(6, 0.01)
    assert backlog.gather(5, 0)


def test_gathering_under_a_storm_of_putters_never_hangs():
    backlog, stop = Backlog(100), threading.Event()

    def put():
        while not stop.is_set():
            with contextlib.suppress(queue.Full):
                backlog.put(0, 0.01)

    putters = [Thread(put) for _ in range(4)]
    began = time.monotonic()
    for _ in range(500):
        assert backlog.gather(3, PATIENCE)
        while len(backlog):
            backlog.get(block=False)
    assert time.monotonic() - began < PATIENCE
    stop.set()
    for putter in putters:
        putter.get()


def test_regulars_are_asked_for_after_a_while_and_left_alone_when_they_do_not_come():
    regulars = Regulars()
    assert [regulars.at_once() for _ in range(Regulars.FIRST)].count(True) == Regulars.FIRST
    assert regulars.missing([1, 2]) == 0  # nobody is known yet
    regulars.remember([1, 2, 0])
    assert regulars.missing([2, 3]) == 1
    pauses = []
    for _ in range(12):
        regulars.note(False)
        pauses.append(next(n for n in range(1000) if not regulars.at_once()))
    assert pauses == [1, 2, 4, 8, 16, 32, 64, 128, 256, 256, 256, 256]
    regulars.note(True)
    assert not regulars.at_once()
    regulars.note(False)
    assert [regulars.at_once(), regulars.at_once()] == [True, False]


def test_threads_that_come_back_at_once_are_committed_together():
    with databases.fresh("counter", "wal") as database:
        writer, stop = Writer(database, settings=QUICK), threading.Event()

        def work():
            while not stop.is_set():
                writer.write(lambda connection: None)

        def mostly_all_six():
            before = writer.group_sizes.copy()
            until(lambda: (writer.group_sizes - before).total() >= 200)
            groups = writer.group_sizes - before
            return groups[6] > groups.total() / 2

        threads = [Thread(work) for _ in range(6)]
        until(mostly_all_six)
        stop.set()
        for thread in threads:
            thread.get()
        writer.close()


def test_a_group_that_is_full_waits_for_nobody(monkeypatch):
    asked = []
    monkeypatch.setattr(Backlog, "gather", lambda *_: asked.append(1))
    with databases.fresh("counter", "wal") as database:
        writer = Writer(database, settings=QUICK, group=1)

        def work():
            for _ in range(5 * Regulars.FIRST):
                writer.write(lambda connection: None)

        for thread in [Thread(work) for _ in range(3)]:
            thread.get()
        assert writer.group_sizes == {1: 15 * Regulars.FIRST}
        writer.close()
    assert asked == []
