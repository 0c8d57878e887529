"""The garbage collector is held back in a run, and is as it was afterwards."""

import gc

import pytest

from helpers import load, workloads
from helpers.explorer import gc_paused
from helpers.strategies import TransactionLock


@pytest.fixture
def collections():
    """What was collected while the collector looked for itself: one entry for each start."""
    seen = []

    def note(phase, information):
        if phase == "start":
            seen.append(information["generation"])

    gc.callbacks.append(note)
    yield seen
    gc.callbacks.remove(note)


def make_circles(number=2000):
    for _ in range(number):
        circle = []
        circle.append(circle)


def test_nothing_is_collected_inside_and_all_of_it_afterwards(collections):
    make_circles()
    assert collections
    with gc_paused():
        collections.clear()
        make_circles()
        assert not collections
        assert not gc.isenabled()
    assert gc.isenabled()
    make_circles()
    assert collections


def test_a_collector_that_is_off_stays_off():
    gc.disable()
    try:
        with gc_paused():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_an_error_inside_switches_it_on_again():
    with pytest.raises(KeyError), gc_paused():
        raise KeyError("x")
    assert gc.isenabled()


def test_no_unit_of_a_load_run_waits_for_the_collector(collections):
    class Circles(workloads.Increment):
        def unit(self, worker, number):
            unit = super().unit(worker, number)

            def work(connection):
                collections.append("unit")
                make_circles()
                return unit(connection)

            return work

    collections.clear()
    result = load.run(Circles(5), TransactionLock, threads=2)
    assert result.ok
    first, last = collections.index("unit"), len(collections) - collections[::-1].index("unit")
    assert collections[first:last] == ["unit"] * 10
