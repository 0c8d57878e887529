"""Run it at full speed, with processes instead of threads: as `helpers.load.threads`.

Every process is a new interpreter (start method *spawn*, the same on all systems), so that
it inherits no connection, and makes a strategy of its own from the path of the database.
"""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from time import perf_counter
from typing import Any, NamedTuple

import cloudpickle

from helpers import databases
from helpers.history import CallError, History
from helpers.load.threads import LoadResult, StrategyFactory, UnitError
from helpers.workloads import Acknowledged, Workload, check_positive

#: Seconds that a process waits for the others to be ready.
READY = 60.0


class Worked(NamedTuple):
    """What one process reports: units acknowledged, units that raised, seconds."""

    done: list[Acknowledged]
    failures: list[UnitError]
    longest: float
    seconds: float


def run(
    workload: Workload,
    strategy: StrategyFactory,
    *,
    processes: int = 4,
    stop_on_error: bool = True,
    journal_mode: str = "delete",
) -> LoadResult:
    """Run `workload` in `processes` processes, on a fresh database of its own.

    The ``threads`` of the result are the processes, P1, P2, …; its history is empty.

    Args:
        workload: its worker number is the number of the process.
        strategy: makes the strategy, in each process; called as by `load.run`. Workload and
            strategy travel by cloudpickle, so those of a notebook can too.
        processes: how many; they start their work together.
        stop_on_error: whether a process ends at its first error, or goes on with its next unit.
        journal_mode: of the database, one of `databases.JOURNAL_MODES`.

    Raises:
        ValueError, TypeError: for a bad argument, naming it.
        concurrent.futures.process.BrokenProcessPool: if a process dies.
    """
    check_positive("processes", processes)
    context = multiprocessing.get_context("spawn")
    names = [f"P{number}" for number in range(1, processes + 1)]
    with databases.fresh(workload.sample, journal_mode) as database:
        job = cloudpickle.dumps((workload, strategy, str(database.path), names, stop_on_error))
        barrier = context.Barrier(processes)
        with ProcessPoolExecutor(
            processes, mp_context=context, initializer=_prepare, initargs=(job, barrier)
        ) as pool:
            worked = list(pool.map(_work, range(processes)))
        done = [unit for report in worked for unit in report.done]
        return LoadResult(
            workload=type(workload).__name__,
            strategy=getattr(strategy, "__name__", type(strategy).__name__),
            threads=tuple(names),
            audit=workload.audit(database, done),
            failures=tuple(failure for report in worked for failure in report.failures),
            acknowledged={n: len(r.done) for n, r in zip(names, worked, strict=True)},
            longest_wait={n: r.longest for n, r in zip(names, worked, strict=True)},
            hung={},
            seconds=max(report.seconds for report in worked),
            history=History(),
        )


# -- in the worker processes ---------------------------------------------------------------

_prepared: list[Any] = []


def _prepare(job: bytes, barrier: Any) -> None:
    """Keep what every process is given when it starts."""
    _prepared[:] = [*cloudpickle.loads(job), barrier]


def _work(worker: int) -> Worked:
    """Do the units of one worker. None begins before all are here, so none gets two."""
    import sqlite3

    workload, strategy, path, names, stop_on_error, barrier = _prepared
    done: list[Acknowledged] = []
    failures: list[UnitError] = []
    longest = 0.0
    try:
        chosen = strategy(path, sqlite3.connect)
    except BaseException:
        barrier.abort()  # the others must not wait for this one
        raise
    try:
        barrier.wait(READY)
        start = perf_counter()
        for number in range(workload.units):
            began = perf_counter()
            try:
                done.append(
                    Acknowledged(worker, number, chosen.write(workload.unit(worker, number)))
                )
            except Exception as error:
                failures.append(UnitError(names[worker], number, CallError.of(error), ""))
                if stop_on_error:
                    break
            finally:
                longest = max(longest, perf_counter() - began)
        return Worked(done, failures, longest, perf_counter() - start)
    finally:
        chosen.close()
