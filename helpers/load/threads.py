"""Run it at full speed: named threads, started together, every error kept, then an audit.

A load run shows what a user of the program meets: errors that come and go, work that is
lost in silence, unfair waiting. It is not deterministic, and does not pretend to be; the
stage and the explorer are for that.
"""

from __future__ import annotations

import linecache
import sys
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from time import perf_counter
from typing import TYPE_CHECKING, NamedTuple

from helpers import databases
from helpers.display.progress import Progress, bar
from helpers.explorer import gc_paused
from helpers.history import CallError, History
from helpers.strategies import Connect, Strategy
from helpers.workloads import Acknowledged, Audit, Workload, check_positive

if TYPE_CHECKING:
    import pandas as pd

#: Makes a strategy for a database: a strategy class, or a `functools.partial` of one.
StrategyFactory = Callable[[databases.Database, Connect], Strategy]

#: How long threads that are past the time limit may take to finish their unit, in seconds.
GRACE = 2.0


class UnitError(NamedTuple):
    """A unit of work that raised: which, what, and the source line that raised it."""

    thread: str
    number: int
    error: CallError
    line: str


@dataclass(frozen=True)
class LoadResult:
    """What a load run showed.

    Attributes:
        workload, strategy: their names.
        threads: names of the threads, in order.
        audit: acknowledged against stored; None if a thread hung, so that it cannot be told.
        failures: every unit of work that raised.
        acknowledged: thread name -> units it was told had succeeded.
        longest_wait: thread name -> seconds that its slowest unit took.
        hung: thread name -> the source line it was at, for threads past the time limit.
        seconds: wall time from the start of the threads to the end of the last.
        history: every SQL call.
    """

    workload: str
    strategy: str
    threads: tuple[str, ...]
    audit: Audit | None
    failures: tuple[UnitError, ...]
    acknowledged: dict[str, int]
    longest_wait: dict[str, float]
    hung: dict[str, str]
    seconds: float
    history: History = field(repr=False)

    @property
    def ok(self) -> bool:
        """True when no unit raised, no thread hung and the audit holds."""
        return not (self.failures or self.hung) and self.audit is not None and self.audit.holds

    def errors(self) -> pd.DataFrame:
        """One row per kind of error: ``error``, ``message``, ``raised by``, ``count``."""
        return failure_table(self.failures)

    def per_thread(self) -> pd.DataFrame:
        """One row per thread: units acknowledged, errors seen, longest wait in milliseconds."""
        import pandas as pd

        failed = [failure.thread for failure in self.failures]
        rows = [
            (name, self.acknowledged[name], failed.count(name), self.longest_wait[name] * 1e3)
            for name in self.threads
        ]
        columns = ["thread", "acknowledged", "errors", "longest_wait_ms"]
        return pd.DataFrame(rows, columns=columns).set_index("thread")


def failure_table(failures: Iterable[UnitError]) -> pd.DataFrame:
    """Count equal failures, the most frequent first, ties in alphabetical order."""
    import pandas as pd

    counts: dict[tuple[str, str, str], int] = {}
    for failure in failures:
        key = (failure.error.kind, failure.error.message, failure.line)
        counts[key] = counts.get(key, 0) + 1
    rows = sorted(((*key, count) for key, count in counts.items()), key=lambda r: (-r[3], r))
    return pd.DataFrame(rows, columns=["error", "message", "raised by", "count"])


def run(
    workload: Workload,
    strategy: StrategyFactory,
    *,
    threads: int = 5,
    seconds: float = 20.0,
    stop_on_error: bool = True,
    journal_mode: str = "delete",
    progress: bool | Progress = False,
    may_crash: bool = False,
) -> LoadResult:
    """Run `workload` with `strategy` in `threads` threads, on a fresh database of its own.

    Args:
        workload: what each thread does; see `helpers.workloads`.
        strategy: called with the database and a recording ``connect``.
        threads: how many; they are called T1, T2, … and start together.
        seconds: time limit. Threads stop before their next unit when it has passed; one
            that does not come back within `GRACE` more seconds counts as hung.
        stop_on_error: whether a thread ends at its first error, or goes on with its next unit.
        journal_mode: of the database, one of `databases.JOURNAL_MODES`.
        progress: True shows a bar; a function is called with the number of units done.
        may_crash: run in this process even what can crash the interpreter. Leave it to
            `sandbox.run_load`.

    Raises:
        ValueError, TypeError: for a bad argument, naming it.
        RuntimeError: if `strategy` may crash the interpreter and `may_crash` is not given.
    """
    check_positive("threads", threads)
    if not seconds > 0:
        raise ValueError(f"seconds must be more than 0, not {seconds!r}")
    history = History()
    with databases.fresh(workload.sample, journal_mode) as database:
        chosen = strategy(database, history.connect)
        workers = Workers(workload, chosen, threads, stop_on_error)
        try:
            if threads > 1 and not may_crash and getattr(chosen, "may_crash", False):
                raise RuntimeError(
                    f"{type(chosen).__name__} in {threads} threads can crash the interpreter: "
                    "run it with sandbox.run_load(...), which uses a child process"
                )
            # A collection would count as a wait of every thread.
            with gc_paused():
                wall = workers.run(seconds, progress)
        finally:
            # A connection that a hung thread is inside of must not be closed under it.
            if not workers.hung:
                chosen.close()
        return LoadResult(
            workload=type(workload).__name__,
            strategy=type(chosen).__name__,
            threads=tuple(workers.names),
            audit=None if workers.hung else workload.audit(database, workers.done),
            failures=tuple(workers.failures),
            acknowledged={
                name: sum(workers.names[unit.worker] == name for unit in workers.done)
                for name in workers.names
            },
            longest_wait=workers.longest_wait,
            hung=workers.hung,
            seconds=wall,
            history=history,
        )


class Workers:
    """The threads of one run, and what they report. Lists are only appended to: no lock needed.

    Args:
        workload, strategy, threads, stop_on_error: as for `run`.
        first: number of the first worker, where other processes have the ones before it.

    Attributes:
        done, failures: units acknowledged, and units that raised.
        waits: seconds that each unit took, a list for each thread.
        hung: as in `LoadResult`.
    """

    def __init__(
        self,
        workload: Workload,
        strategy: Strategy,
        threads: int,
        stop_on_error: bool,
        first: int = 0,
    ) -> None:
        self.workload = workload
        self.strategy = strategy
        self.stop_on_error = stop_on_error
        self.first = first
        self.names = [f"T{first + number}" for number in range(1, threads + 1)]
        self.done: list[Acknowledged] = []
        self.failures: list[UnitError] = []
        self.waits: list[list[float]] = [[] for _ in range(threads)]
        self.hung: dict[str, str] = {}
        self.stop = threading.Event()
        self.barrier = threading.Barrier(threads + 1)
        self.running = threads
        self.ended = threading.Condition()
        self.threads = [
            threading.Thread(target=self._work, args=(first + place,), name=name, daemon=True)
            for place, name in enumerate(self.names)
        ]

    @property
    def longest_wait(self) -> dict[str, float]:
        """Thread name -> seconds that its slowest unit took."""
        longest = [max(waits, default=0.0) for waits in self.waits]
        return dict(zip(self.names, longest, strict=True))

    def run(self, seconds: float, progress: bool | Progress) -> float:
        """Start all threads at once and wait for them; returns the wall time in seconds."""
        total = len(self.threads) * self.workload.units
        label = f"{type(self.strategy).__name__}, {len(self.threads)} threads"
        with bar(total, label, progress is True) as shown:
            update = progress if callable(progress) else shown
            for thread in self.threads:
                thread.start()
            self.barrier.wait()
            began = perf_counter()
            try:
                self._wait(began + seconds, update)
            finally:
                self.stop.set()
            self._wait(perf_counter() + GRACE, update)
            wall = perf_counter() - began
            self._collect()
        return wall

    def _wait(self, deadline: float, update: Progress) -> None:
        """Return when every thread has ended or the deadline has passed."""
        with self.ended:
            while self.running and (left := deadline - perf_counter()) > 0:
                self.ended.wait(min(left, 0.1))
                update(len(self.done) + len(self.failures))
        update(len(self.done) + len(self.failures))

    def _collect(self) -> None:
        frames = sys._current_frames()
        for thread in self.threads:
            if self.running == 0:
                thread.join()
            elif thread.is_alive():
                frame = frames.get(thread.ident or 0)
                where = linecache.getline(frame.f_code.co_filename, frame.f_lineno) if frame else ""
                self.hung[thread.name] = where.strip()

    def _work(self, worker: int) -> None:
        try:
            self.barrier.wait()
            place = worker - self.first
            for number in range(self.workload.units):
                if self.stop.is_set():
                    break
                reads = self.workload.reads(worker, number)
                began = perf_counter()
                try:
                    unit = self.workload.unit(worker, number)
                    began = perf_counter()  # to make the unit, or to wait for it, is no wait
                    result = self.strategy.read(unit) if reads else self.strategy.write(unit)
                except BaseException as error:
                    name = self.names[place]
                    self.failures.append(UnitError(name, number, CallError.of(error), _line(error)))
                    if self.stop_on_error:
                        break
                else:
                    self.done.append(Acknowledged(worker, number, result))
                finally:
                    self.waits[place].append(perf_counter() - began)
        finally:
            with self.ended:
                self.running -= 1
                self.ended.notify_all()


def _line(error: BaseException) -> str:
    """The source line that raised, in one line and without its file.

    Frames of `helpers.history` are passed over: they stand between the caller and SQLite.
    """
    line = ""
    traceback = error.__traceback__
    while traceback is not None:
        frame = traceback.tb_frame
        if frame.f_globals.get("__name__") != "helpers.history":
            line = linecache.getline(frame.f_code.co_filename, traceback.tb_lineno).strip()
        traceback = traceback.tb_next
    return line
