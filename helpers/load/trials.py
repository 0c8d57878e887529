"""One strategy, one mix of work, measured here and now: in a child process, for a given time.

    Trial("Writer", workloads.Mix(), DURABLE, threads=8).run(0.5).units_per_second
    matrix(seconds=0.3)     # every strategy with every workload of `WORKLOADS`

Each run has a fresh database. All that is compared gets the same settings; no call is recorded,
which would slow some down more than others.
"""

from __future__ import annotations

import multiprocessing
import statistics
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor, wait
from dataclasses import dataclass, field
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple

from helpers import databases
from helpers.display.progress import Progress, bar
from helpers.explorer import gc_paused
from helpers.load import child, peers, sandbox
from helpers.load.processes import READY
from helpers.load.threads import GRACE, UnitError, Workers
from helpers.strategies import (
    DURABLE,
    FAST,
    PerThread,
    Pool,
    Settings,
    SharedConnection,
    StatementLock,
    Strategy,
    TransactionLock,
    Writer,
)
from helpers.workloads import Acknowledged, Audit, Mix, Workload, check_positive

if TYPE_CHECKING:
    import pandas as pd


def _ours(strategy: Callable[..., Any], **options: Any) -> Callable[..., Strategy]:
    def opened(path: str, settings: Settings) -> Strategy:
        made: Strategy = settings.applied_to(strategy, **options)(path)
        return made

    return opened


#: Names of the strategies of the course, each made of a path and `Settings`.
RIGHT = {cls.__name__: _ours(cls) for cls in (TransactionLock, PerThread, Pool, Writer)}
#: Their flawed counterparts; the shared connection begins transactions as `sqlite3` does.
FLAWED = {
    "StatementLock": _ours(StatementLock),
    "SharedConnection": _ours(partial(SharedConnection, isolation_level="DEFERRED")),
}

#: Name -> (the work, the settings). One that waits for the disk at each commit says so.
WORKLOADS: dict[str, tuple[Mix, Settings]] = {
    "read-heavy": (Mix(19, 1), FAST),
    "write-heavy, durable": (Mix(insert=True), DURABLE),
    "read-modify-write": (Mix(inside=0.002), FAST),
    "long reader": (Mix(insert=True, long_read=0.1), FAST),
    "bursts, durable": (Mix(insert=True, burst=20), DURABLE),
}


def strategies() -> dict[str, Callable[..., Any]]:
    """Name -> what makes it: those of the course, flawed ones, and the peers that are installed."""
    return {**RIGHT, **FLAWED, **peers.installed()}


@dataclass(frozen=True)
class Measured:
    """What a run showed.

    Attributes:
        ended: ``"to the end"``, or what became of the process or of a thread.
        threads: names of the threads, those of all processes.
        acknowledged: thread name -> units it was told had succeeded.
        longest_wait: thread name -> seconds that its slowest unit took.
        errors: error -> how often it was raised, by whichever thread.
        audit: acknowledged against stored; None if the run did not come to its end.
        seconds: wall time of the work.
        median, high: half, and 99 of 100, of the units took at most so many seconds.
        smallest_share: units of the thread that has the fewest, and one, against the mean; of
            the threads that do the same work.
    """

    ended: str
    threads: tuple[str, ...] = ()
    acknowledged: Mapping[str, int] = field(default_factory=dict)
    longest_wait: Mapping[str, float] = field(default_factory=dict)
    errors: Mapping[str, int] = field(default_factory=dict)
    audit: Audit | None = None
    seconds: float = 0.0
    median: float = 0.0
    high: float = 0.0
    smallest_share: float = 0.0

    @property
    def units_per_second(self) -> float:
        """Acknowledged units a second."""
        return sum(self.acknowledged.values()) / self.seconds if self.seconds else 0.0

    @property
    def longest(self) -> float:
        """Seconds of the slowest unit of all."""
        return max(self.longest_wait.values(), default=0.0)

    @property
    def refused(self) -> bool:
        """Whether a library said that it does not take such units."""
        return any(error.startswith(peers.Refused.__name__) for error in self.errors)

    @property
    def verdict(self) -> str:
        """``"kept"``, ``"refused"`` or ``"broken"``: lost, raised, hung or crashed."""
        if self.refused:
            return "refused"
        kept = self.audit is not None and self.audit.holds and not self.errors
        return "kept" if kept else "broken"

    def numbers(self) -> dict[str, Any]:
        """What a table of runs shows; times in milliseconds."""
        audit = self.audit or Audit(0, 0)
        return {
            "ended": self.ended,
            "units/s": round(self.units_per_second),
            "lost": audit.lost,
            "damaged": audit.damaged,
            "errors": sum(self.errors.values()),
            "median ms": round(self.median * 1e3, 2),
            "99% ms": round(self.high * 1e3, 2),
            "longest ms": round(self.longest * 1e3, 1),
            "smallest share": round(self.smallest_share, 2),
        }


@dataclass(frozen=True)
class Trial:
    """What to measure.

    Args:
        strategy: one of `strategies()`.
        workload: what each thread does until the time is over.
        settings: of all connections.
        threads: in each process.
        processes: how many; each makes a strategy of its own.

    Raises:
        ValueError, TypeError: for an unknown strategy or a number below 1.
    """

    strategy: str
    workload: Workload
    settings: Settings = FAST
    threads: int = 8
    processes: int = 1

    def __post_init__(self) -> None:
        check_positive("threads", self.threads)
        check_positive("processes", self.processes)
        if self.strategy not in strategies():
            known = ", ".join(strategies())
            raise ValueError(f"there is no strategy {self.strategy!r} here: use one of {known}")

    def run(
        self,
        seconds: float = 0.5,
        progress: Progress | None = None,
        stop: threading.Event | None = None,
    ) -> Measured:
        """Run it in a child process; one that crashes, hangs or is stopped is told as ``ended``.

        Args:
            seconds: how long the threads work.
            progress: called with the milliseconds that they have worked.
            stop: ends the run when it is set.
        """
        limit = seconds + GRACE + READY * (self.processes > 1) + 10
        result = sandbox.call(_measure, self, seconds, seconds=limit, progress=progress, stop=stop)
        if result.kind == "returned":
            measured: Measured = result.value
            return measured
        said = f"{result.error.kind}: {result.error.message}" if result.error else ""
        return Measured(result.signal or result.kind, errors={said: 1} if said else {})


def matrix(
    names: Iterable[str] | None = None, seconds: float = 0.3, *, progress: bool = False
) -> dict[str, dict[str, Measured]]:
    """Every strategy with every workload: name of the workload -> strategy -> what was measured.

    Args:
        names: strategies; by default all that are here.
        seconds: of each run.
        progress: whether to show a bar.
    """
    chosen = list(names or strategies())
    found: dict[str, dict[str, Measured]] = {name: {} for name in WORKLOADS}
    with bar(len(chosen) * len(WORKLOADS), "runs", progress) as update:
        for strategy in chosen:
            for name, (workload, settings) in WORKLOADS.items():
                found[name][strategy] = Trial(strategy, workload, settings).run(seconds)
                update(sum(map(len, found.values())))
    return found


def verdicts(found: Mapping[str, Mapping[str, Measured]], names: Iterable[str]) -> pd.DataFrame:
    """``kept``, ``broken`` or ``refused``: a row for each of `names`, a column a workload."""
    import pandas as pd

    rows = [[found[workload][name].verdict for workload in found] for name in names]
    return pd.DataFrame(rows, columns=list(found), index=list(names)).rename_axis("strategy")


# -- in the child ----------------------------------------------------------------------------


class _Report(NamedTuple):
    """What the threads of one process report."""

    names: list[str]
    done: list[Acknowledged]
    failures: list[UnitError]
    waits: list[list[float]]
    hung: bool
    seconds: float


def _measure(trial: Trial, seconds: float) -> Measured:
    began = perf_counter()

    def tell(_: int) -> None:
        child.report(round(min(seconds, perf_counter() - began) * 1e3))

    workload = trial.workload
    mode = "wal" if trial.settings.journal_mode == "wal" else "delete"
    with databases.fresh(workload.sample, mode) as database:
        path = str(database.path)
        if trial.processes == 1:
            reports = [_work(trial, path, 0, seconds, tell)]
        else:
            reports = _in_processes(trial, path, seconds, tell)
        done = [unit for report in reports for unit in report.done]
        hung = any(report.hung for report in reports)
        audit = None if hung else workload.audit(database, done)
    return _summary(trial, reports, audit, "a thread hung" if hung else "to the end")


def _work(
    trial: Trial,
    path: str,
    process: int,
    seconds: float,
    progress: Progress | bool = False,
    ready: Callable[[], Any] = bool,
) -> _Report:
    """The threads of one process; `ready` waits for the other processes."""
    strategy = strategies()[trial.strategy](path, trial.settings)
    # What refuses such units would refuse them all.
    refuses = getattr(strategy, "statements_only", False)
    workers = Workers(trial.workload, strategy, trial.threads, refuses, process * trial.threads)
    ready()
    try:
        with gc_paused():
            wall = workers.run(seconds, progress)
    finally:
        if not workers.hung:
            strategy.close()
    return _Report(
        workers.names, workers.done, workers.failures, workers.waits, bool(workers.hung), wall
    )


def _in_processes(trial: Trial, path: str, seconds: float, tell: Progress) -> list[_Report]:
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(trial.processes)
    with ProcessPoolExecutor(
        trial.processes, mp_context=context, initializer=_prepare, initargs=(barrier,)
    ) as pool:
        futures = [
            pool.submit(_work_together, trial, path, process, seconds)
            for process in range(trial.processes)
        ]
        while wait(futures, timeout=0.1).not_done:
            tell(0)
        return [future.result() for future in futures]


#: In a process of several: where they wait for each other.
_barrier: list[Any] = []


def _prepare(barrier: Any) -> None:
    _barrier[:] = [barrier]


def _work_together(trial: Trial, path: str, process: int, seconds: float) -> _Report:
    try:
        return _work(trial, path, process, seconds, ready=partial(_barrier[0].wait, READY))
    except BaseException:
        _barrier[0].abort()  # the others must not wait for this one
        raise


def _summary(trial: Trial, reports: list[_Report], audit: Audit | None, ended: str) -> Measured:
    names = [name for report in reports for name in report.names]
    waits = dict(zip(names, (w for report in reports for w in report.waits), strict=True))
    every = sorted(wait for each in waits.values() for wait in each)
    counts = Counter(unit.worker for report in reports for unit in report.done)
    acknowledged = {name: counts[worker] for worker, name in enumerate(names)}
    errors = Counter(
        f"{failure.error.kind}: {failure.error.message}"
        for report in reports
        for failure in report.failures
    )
    return Measured(
        ended=ended,
        threads=tuple(names),
        acknowledged=acknowledged,
        longest_wait={name: max(each, default=0.0) for name, each in waits.items()},
        errors=dict(errors),
        audit=audit,
        seconds=max(report.seconds for report in reports),
        median=statistics.median(every) if every else 0.0,
        high=every[int(len(every) * 0.99)] if every else 0.0,
        smallest_share=_smallest_share(trial.workload, list(acknowledged.values())),
    )


def _smallest_share(workload: Workload, counts: list[int]) -> float:
    """Of the threads that do not only read, if there are both."""
    if isinstance(workload, Mix) and workload.long_read is not None:
        counts = counts[1:] or counts
    return min(1.0, (min(counts) + 1) * len(counts) / max(1, sum(counts)))
