"""Tasks of asyncio in every order: the explorer of `helpers.explorer`, for coroutines.

    program = Program("accounts", {"A": pay, "B": call_off}, invariant, share=open_connection)
    tasks.explore(program)

`share` and the jobs are coroutine functions that use aiosqlite. A task parks before each of
its calls of aiosqlite (execute, commit, rollback) and before it acquires an `asyncio.Lock` or
`Semaphore`; one that is chosen goes on until it parks again, ends, or waits for something
else. So the order is forced, not hoped for; between two such points no task can interleave.

Meant for tasks that share a connection: a call that waits inside SQLite for another
connection's lock waits for real, up to its timeout. So does a task that sleeps or waits for
a thread, and only while no other task can go on.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import tempfile
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from helpers.explorer.program import Outcome, Program, ScheduleError, Step, names_in, rows_text
from helpers.explorer.report import Exploration, report
from helpers.explorer.search import IN_FULL, DepthFirst
from helpers.explorer.stage import NamedThread
from helpers.explorer.steps.statements import one_line
from helpers.explorer.tally import Tally
from helpers.history import CallError
from helpers.workloads import check_positive

if TYPE_CHECKING:
    import pandas as pd

#: Whose `acquire` is a step.
LOCKS = (asyncio.Lock, asyncio.Semaphore)

#: Rounds of the event loop without a call under way, after which every task stands still.
ROUNDS = 10

#: Seconds to wait for a sleeping task when no other can go on; then it is a deadlock.
TIMEOUT = 1.0


def explore(program: Program, max_schedules: int = 10_000) -> Exploration:
    """Run `program` in every order of its tasks' calls, each time from a fresh database.

    Args:
        program: its jobs and its `share` are coroutine functions; see above.
        max_schedules: stop after so many, "not proved".

    Raises:
        Diverged: if the same order of calls led to another one than before.
        ValueError: if `max_schedules` is less than 1.
    """
    check_positive("max_schedules", max_schedules)
    began, tally = time.perf_counter(), Tally()
    in_own_loop(lambda: _explore(program, tally, max_schedules))
    return report(program, tally, IN_FULL, None, "await", time.perf_counter() - began)


def replay(program: Program, schedule: str | Sequence[str]) -> pd.DataFrame:
    """Run one order: a row per call, with ``task``, ``call``, ``result`` and ``in the file``.

    Raises:
        ScheduleError: if it names a task that has ended, or that waits for another.
    """
    import pandas as pd

    names = names_in(schedule)
    run = _Run(program, _Given(names))
    in_own_loop(run.run)
    rest = names[len(run.schedule) :]
    if rest:
        number = len(run.schedule) + 1
        raise ScheduleError(f"call {number}: {rest[0]} cannot go on, for the run is over")
    rows = [
        [step.thread, step.label, str(step.error or "ok"), seen]
        for step, seen in zip(run.steps, run.seen, strict=True)
    ]
    table = pd.DataFrame(rows, columns=["task", "call", "result", "in the file"])
    table.index = pd.RangeIndex(1, len(table) + 1, name="call no.")
    return table


def in_own_loop(main: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    """Run a coroutine in an event loop of its own, in a thread of its own; returns its result.

    For use where a loop is running already, as in a notebook. Whatever the loop started,
    its pool of threads included, has ended when this returns.
    """
    with NamedThread("event loop") as thread:
        return thread.does(lambda: asyncio.run(main()))


async def _explore(program: Program, tally: Tally, max_schedules: int) -> None:
    policy = DepthFirst()
    while tally.schedules < max_schedules and not tally.complete:
        run = _Run(program, policy)
        await run.run()
        assert run.outcome is not None
        tally.add(run.outcome, tuple(run.schedule))
        idle = [name for name in program.threads if name not in run.schedule]
        if idle and run.outcome.ended == "finished":
            tally.unseen = f"task {idle[0]} took no step"
        tally.complete = not policy.advance()
        tally.covered = 1.0 if tally.complete else policy.covered()


class _Given:
    """The policy of a replay: the names of a schedule, then the run stops."""

    def __init__(self, schedule: list[str]) -> None:
        self.schedule = schedule

    def pick(self, run: _Run, offers: list[str]) -> str | None:
        position = len(run.schedule)
        if position == len(self.schedule):
            return None
        name = self.schedule[position]
        if name not in offers:
            can = f"can go on: {', '.join(offers)}"
            raise ScheduleError(f"call {position + 1}: task {name} cannot be chosen now; {can}")
        return name


@dataclass
class _Parked:
    """A task before its next call, which it can make when `ready`."""

    label: str
    ready: Callable[[], bool]
    turn: asyncio.Future[None]


class _Run:
    """One order of the calls, as `policy` picks them."""

    def __init__(self, program: Program, policy: DepthFirst | _Given) -> None:
        self.program = program
        self.policy = policy
        self.schedule: list[str] = []
        self.steps: list[Step] = []
        self.threads: dict[str, _Parked] = {}
        self.seen: list[str] = []  # what was in the file after each step
        self.tasks: dict[str, asyncio.Task[Any]] = {}
        self.in_flight = 0
        self.outcome: Outcome | None = None

    async def run(self) -> None:
        """Run it to its end, unless the policy stops it, and judge it.

        Raises:
            Diverged, ScheduleError: from the policy.
        """
        self.moved = asyncio.Event()
        # Windows: a connection that a task has left open keeps its file.
        temporary = tempfile.TemporaryDirectory(prefix="sqlite-tasks-", ignore_cleanup_errors=True)
        with temporary as folder, self._stepping():
            self.path = str(Path(folder) / "database.db")
            Path(self.path).write_bytes(self.program.template())
            shared = await self.program.share(self.path) if self.program.share else self.path
            try:
                ended = await self._play(shared)
            finally:
                await self._cancel()
                if hasattr(shared, "close"):
                    await shared.close()
            if ended:
                self.outcome = self.program.judge(self.path, ended, self._ends())

    async def _play(self, shared: Any) -> str:
        """Let the tasks take turns; how it ended, empty if it was stopped before."""
        for name, job in self.program.threads.items():
            self.tasks[name] = asyncio.create_task(job(shared), name=name)
        while True:
            await self._settle()
            if self.steps:
                self.seen.append(self._look())
            if self._over():
                return "finished"
            offers = self._ready()
            if not offers:
                waiting = [name for name, task in self.tasks.items() if not task.done()]
                return f"deadlock: nobody can go on; waiting: {', '.join(waiting)}"
            chosen = self.policy.pick(self, offers)
            if chosen is None:
                return ""
            self.schedule.append(chosen)
            self.threads.pop(chosen).turn.set_result(None)

    def _ready(self) -> list[str]:
        """The parked tasks that can go on, in the order of the program."""
        names = [name for name in self.program.threads if name in self.threads]
        return [name for name in names if self.threads[name].ready()]

    def _over(self) -> bool:
        return all(task.done() for task in self.tasks.values())

    async def _settle(self) -> None:
        """Wait until every task has parked, has ended, or waits for another task."""
        quiet, deadline = 0, time.monotonic() + TIMEOUT
        while quiet < ROUNDS:
            await asyncio.sleep(0)
            quiet += 1
            if self.in_flight:
                self.moved.clear()
                await self.moved.wait()
                quiet = 0
            elif quiet == ROUNDS and not self._ready() and not self._over():
                if time.monotonic() > deadline:
                    return
                await asyncio.sleep(0.005)  # none can go on: a task may be asleep
                quiet = 0

    async def step(self, label: str, ready: Callable[[], bool] = lambda: True) -> None:
        """Park the calling task until it is chosen, which it can be when `ready`."""
        task = asyncio.current_task()
        assert task is not None
        turn = asyncio.get_running_loop().create_future()
        self.threads[task.get_name()] = _Parked(label, ready, turn)
        await turn
        self.steps.append(Step(task.get_name(), label))

    @contextlib.contextmanager
    def _stepping(self) -> Iterator[None]:
        """For this run, what its tasks ask of aiosqlite and of locks are steps."""
        from aiosqlite import Connection

        real: Any = Connection._execute
        places = [(Connection, "_execute", real), *((k, "acquire", k.acquire) for k in LOCKS)]

        async def execute(connection: Any, function: Any, *args: Any, **keywords: Any) -> Any:
            if asyncio.current_task() not in self.tasks.values():
                return await real(connection, function, *args, **keywords)
            label = _label(function, args)
            if label:
                await self.step(label)
            step = self.steps[-1] if label else None
            self.in_flight += 1
            try:
                return await real(connection, function, *args, **keywords)
            except sqlite3.Error as error:
                if step is not None:
                    step.error = CallError.of(error)
                raise
            finally:
                self.in_flight -= 1
                self.moved.set()

        for place, name, original in places:
            setattr(place, name, execute if original is real else self._acquiring(original))
        try:
            yield
        finally:
            for place, name, original in places:
                setattr(place, name, original)

    def _acquiring(self, real: Any) -> Any:
        async def acquire(lock: Any) -> Any:
            if asyncio.current_task() in self.tasks.values():
                await self.step("acquire the lock", ready=lambda: not lock.locked())
            return await real(lock)

        return acquire

    def _look(self) -> str:
        with contextlib.closing(sqlite3.connect(self.path, timeout=0)) as connection:
            try:
                return rows_text(connection.execute(self.program.look).fetchall())
            except sqlite3.OperationalError:  # a lock keeps this reader out
                return self.seen[-1] if self.seen else ""

    async def _cancel(self) -> None:
        for task in self.tasks.values():
            task.cancel()
        await asyncio.gather(*self.tasks.values(), return_exceptions=True)

    def _ends(self) -> dict[str, Any]:
        """What each task returned, or its error."""
        ends: dict[str, Any] = {}
        for name, task in self.tasks.items():
            error = None if task.cancelled() else task.exception()
            if task.cancelled() or error is not None:
                ends[name] = CallError.of(error or asyncio.CancelledError("waits forever"))
            else:
                ends[name] = task.result()
        return ends


def _label(function: Any, args: tuple[Any, ...]) -> str:
    """What a call of aiosqlite is called as a step; empty if it is none."""
    name = getattr(function, "__name__", "")
    if "execute" in name:
        return one_line(str(args[0]))
    return name.upper() if name in ("commit", "rollback") else ""
