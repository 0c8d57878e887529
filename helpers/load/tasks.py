"""Run it at full speed, with tasks of asyncio instead of threads: as `helpers.load.threads`.

A strategy here has coroutine methods ``write(unit_of_work)`` and ``close()``, and is made by
a coroutine function that takes the database; what it hands to its units of work, an aiosqlite
connection or a plain one in another thread, is its own affair.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from time import perf_counter
from typing import Any, Protocol

from helpers import databases
from helpers.explorer import gc_paused
from helpers.explorer.tasks import in_own_loop
from helpers.history import CallError, History
from helpers.load.threads import LoadResult, UnitError
from helpers.workloads import Acknowledged, Workload, check_positive


class TaskStrategy(Protocol):
    """One way for many tasks to use one database."""

    async def write(self, unit_of_work: Any, /) -> Any:
        """Run it inside one write transaction and return its result once that is committed."""

    async def close(self) -> None:
        """Close every connection the strategy opened."""


def run(
    workload: Workload,
    strategy: Callable[[databases.Database], Awaitable[TaskStrategy]],
    *,
    tasks: int = 8,
    seconds: float = 20.0,
    stop_on_error: bool = True,
    journal_mode: str = "delete",
) -> LoadResult:
    """Run `workload` in `tasks` tasks of one event loop, on a fresh database of its own.

    The loop is a new one, in a thread of its own; both have ended when this returns. The
    ``threads`` of the result are the tasks, T1, T2, …; its history is empty.

    Args:
        workload: its units of work are what `strategy` takes, coroutine functions mostly.
        strategy: makes the strategy for a database.
        tasks: how many; they start together.
        seconds: time limit; a task that has not ended by then counts as hung.
        stop_on_error: whether a task ends at its first error, or goes on with its next unit.
        journal_mode: of the database, one of `databases.JOURNAL_MODES`.

    Raises:
        ValueError, TypeError: for a bad argument, naming it.
    """
    check_positive("tasks", tasks)
    if not seconds > 0:
        raise ValueError(f"seconds must be more than 0, not {seconds!r}")
    with databases.fresh(workload.sample, journal_mode) as database:
        workers = _Workers(workload, tasks, stop_on_error)
        # As in `helpers.load.threads`: a collection would count as a wait of every task.
        with gc_paused():
            name = in_own_loop(lambda: workers.run(strategy, database, seconds))
        return LoadResult(
            workload=type(workload).__name__,
            strategy=name,
            threads=tuple(workers.names),
            audit=None if workers.hung else workload.audit(database, workers.done),
            failures=tuple(workers.failures),
            acknowledged={
                name: sum(unit.worker == worker for unit in workers.done)
                for worker, name in enumerate(workers.names)
            },
            longest_wait=dict(zip(workers.names, workers.longest, strict=True)),
            hung=workers.hung,
            seconds=workers.seconds,
            history=History(),
        )


class _Workers:
    """The tasks of one run, and what they report."""

    def __init__(self, workload: Workload, tasks: int, stop_on_error: bool) -> None:
        self.workload = workload
        self.stop_on_error = stop_on_error
        self.names = [f"T{number}" for number in range(1, tasks + 1)]
        self.done: list[Acknowledged] = []
        self.failures: list[UnitError] = []
        self.longest = [0.0] * tasks
        self.hung: dict[str, str] = {}
        self.seconds = 0.0

    async def run(
        self,
        strategy: Callable[[databases.Database], Awaitable[TaskStrategy]],
        database: databases.Database,
        seconds: float,
    ) -> str:
        """Run all tasks and close the strategy; returns the strategy's name."""
        chosen = await strategy(database)
        try:
            began = perf_counter()
            working = [
                asyncio.create_task(self._work(chosen, worker), name=name)
                for worker, name in enumerate(self.names)
            ]
            _, late = await asyncio.wait(working, timeout=seconds)
            self.seconds = perf_counter() - began
            self.hung = {task.get_name(): _line(task) for task in late}
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        finally:
            await chosen.close()
        return type(chosen).__name__

    async def _work(self, strategy: TaskStrategy, worker: int) -> None:
        for number in range(self.workload.units):
            began = perf_counter()
            try:
                result = await strategy.write(self.workload.unit(worker, number))
            except Exception as error:
                self.failures.append(UnitError(self.names[worker], number, CallError.of(error), ""))
                if self.stop_on_error:
                    return
            else:
                self.done.append(Acknowledged(worker, number, result))
            finally:
                self.longest[worker] = max(self.longest[worker], perf_counter() - began)


def _line(task: asyncio.Task[Any]) -> str:
    """Where a task is: the innermost function and line of its coroutines."""
    frames = task.get_stack()
    return f"line {frames[-1].f_lineno} of {frames[-1].f_code.co_name}" if frames else ""
