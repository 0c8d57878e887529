"""Load by tasks of asyncio: what is counted, and that nothing stays behind."""

import asyncio
import threading

import pytest

pytest.importorskip("aiosqlite")
import aiosqlite

from helpers import workloads
from helpers.load import comparison
from helpers.load import tasks as taskload
from helpers.strategies import PerThread
from helpers.workloads import Audit, Cancelled


class Rows(workloads.Workload):
    """Insert a row; every second unit gives up after that, and not all tasks at once."""

    sample = "accounts"
    units = 6

    def unit(self, worker, number):
        async def insert(connection):
            await connection.execute(
                "INSERT INTO transfer VALUES (?, ?, 1, 2, 3)", (worker, number)
            )
            if (worker + number) % 2:
                raise Cancelled

        return insert

    def audit(self, database, done):
        stored = set(database.query("SELECT worker, number FROM transfer"))
        promised = {(unit.worker, unit.number) for unit in done}
        return Audit(len(done), len(promised & stored), len(stored - promised))


class InThreads(Rows):
    def unit(self, worker, number):
        def insert(connection):
            connection.execute("INSERT INTO transfer VALUES (?, ?, 1, 2, 3)", (worker, number))
            if (worker + number) % 2:
                raise Cancelled

        return insert


class One:
    """One connection for all tasks."""

    @classmethod
    async def open(cls, database):
        self = cls()
        self.connection = await aiosqlite.connect(database.path)
        self.lock = asyncio.Lock()
        return self

    async def write(self, unit):
        try:
            result = await unit(self.connection)
            await self.connection.commit()
            return result
        except BaseException:
            await self.connection.rollback()
            raise

    async def close(self):
        await self.connection.close()


class Locked(One):
    async def write(self, unit):
        async with self.lock:
            return await super().write(unit)


class OneEach(One):
    @classmethod
    async def open(cls, database):
        self = cls()
        self.path = database.path
        return self

    async def write(self, unit):
        async with aiosqlite.connect(self.path, isolation_level=None, timeout=30) as connection:
            await connection.execute("BEGIN IMMEDIATE")
            try:
                result = await unit(connection)
                await connection.commit()
                return result
            except BaseException:
                await connection.rollback()
                raise

    async def close(self):
        pass


class Threads(OneEach):
    @classmethod
    async def open(cls, database):
        self = cls()
        self.strategy = PerThread(database.path)
        return self

    async def write(self, unit):
        return await asyncio.to_thread(self.strategy.write, unit)

    async def close(self):
        self.strategy.close()


def test_one_connection_leaks_in_every_run():
    for _ in range(5):
        run = taskload.run(Rows(), One.open, journal_mode="wal", stop_on_error=False)
        assert run.audit.unacknowledged or run.audit.lost
        assert comparison.is_broken(run)


@pytest.mark.parametrize("strategy", [Locked, OneEach, Threads])
def test_twenty_runs_of_a_right_strategy_keep_every_promise(strategy):
    before = threading.active_count()
    work = InThreads() if strategy is Threads else Rows()
    for _ in range(20):
        run = taskload.run(work, strategy.open, tasks=4, journal_mode="wal", stop_on_error=False)
        assert not comparison.is_broken(run)
        assert run.audit.acknowledged == 12
    assert threading.active_count() == before


def test_a_task_past_the_limit_is_hung_and_says_where():
    class Stuck(Locked):
        async def write(self, unit):
            await self.lock.acquire()
            return await super().write(unit)

    run = taskload.run(Rows(), Stuck.open, tasks=2, seconds=0.3)
    assert set(run.hung) == {"T1", "T2"}
    assert run.audit is None


def test_a_task_ends_at_its_first_error_or_goes_on():
    first = taskload.run(Rows(), Locked.open, tasks=2)
    assert len(first.failures) == 2
    every = taskload.run(Rows(), Locked.open, tasks=2, stop_on_error=False)
    assert len(every.failures) == 6
    assert {failure.error.kind for failure in every.failures} == {"Cancelled"}


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match="tasks must be at least 1"):
        taskload.run(Rows(), One.open, tasks=0)
    with pytest.raises(ValueError, match="seconds must be more than 0"):
        taskload.run(Rows(), One.open, seconds=0)
