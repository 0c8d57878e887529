"""Load by processes: each opens its own, nothing is lost, and nothing stays behind."""

import sqlite3
import threading
from contextlib import closing

import psutil
import pytest

from helpers import workloads
from helpers.load import comparison, processes
from helpers.strategies import PerThread


class NoTransaction:
    """A lock that is in one process only, round a unit of work that is no transaction."""

    def __init__(self, path, connect=sqlite3.connect):
        self.path, self.connect, self.lock = path, connect, threading.Lock()

    def write(self, unit):
        with self.lock, closing(self.connect(self.path, isolation_level=None)) as connection:
            return unit(connection)

    def close(self):
        pass


class Refuses(NoTransaction):
    def write(self, unit):
        raise ValueError("not today")


class Unmakeable(NoTransaction):
    def __init__(self, path, connect=sqlite3.connect):
        raise NotADirectoryError(path)


def test_begin_immediate_holds_across_processes_and_nothing_is_left():
    runs = [
        processes.run(workloads.Increment(20), PerThread, processes=3, journal_mode=mode)
        for mode in ("wal", "delete")
    ]
    assert not any(comparison.is_broken(run) for run in runs)
    assert [run.audit.acknowledged for run in runs] == [60, 60]
    children = [child.cmdline() for child in psutil.Process().children()]
    assert not [line for line in children if "spawn_main" in " ".join(line)]


def test_a_lock_of_one_process_does_not_keep_out_another():
    run = processes.run(workloads.Increment(100), NoTransaction, processes=3, journal_mode="wal")
    assert run.audit.lost > 0


def test_errors_come_back():
    run = processes.run(workloads.Increment(3), Refuses, processes=2, stop_on_error=False)
    assert [failure.error.message for failure in run.failures] == ["not today"] * 6
    first = processes.run(workloads.Increment(3), Refuses, processes=2)
    assert {failure.thread for failure in first.failures} == {"P1", "P2"}
    assert len(first.failures) == 2


def test_a_strategy_that_cannot_be_made_ends_the_run_at_once():
    with pytest.raises((threading.BrokenBarrierError, NotADirectoryError)):
        processes.run(workloads.Increment(3), Unmakeable, processes=2)


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match="processes must be at least 1"):
        processes.run(workloads.Increment(3), PerThread, processes=0)
