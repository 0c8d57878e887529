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
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from helpers.explorer.engine.scheduler import ScheduleError
from helpers.explorer.program import Outcome, Program, rows_text
from helpers.explorer.report import Exploration, report
from helpers.explorer.search import Tally
from helpers.explorer.steps.statements import one_line
from helpers.history import CallError

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
        RuntimeError: if the same order of calls led to another one than before.
    """
    began, tally = time.perf_counter(), Tally()
    in_own_loop(lambda: _explore(program, tally, max_schedules))
    return report(program, tally, False, None, "await", time.perf_counter() - began)


def replay(program: Program, schedule: str | Sequence[str]) -> pd.DataFrame:
    """Run one order: a row per call, with ``task``, ``call``, ``result`` and ``in the file``.

    Raises:
        ScheduleError: if it names a task that has ended, or that waits for another.
    """
    import pandas as pd

    names = schedule.split() if isinstance(schedule, str) else list(schedule)
    run = _Run(program, names, strictly=True)
    in_own_loop(run.run)
    table = pd.DataFrame(run.rows, columns=["task", "call", "result", "in the file"])
    table.index = pd.RangeIndex(1, len(table) + 1, name="call no.")
    return table


def in_own_loop(main: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    """Run a coroutine in an event loop of its own, in a thread of its own; returns its result.

    For use where a loop is running already, as in a notebook. Whatever the loop started,
    its pool of threads included, has ended when this returns.
    """
    ended: list[Any] = []

    def run() -> None:
        try:
            ended.append((asyncio.run(main()), None))
        except BaseException as error:
            ended.append((None, error))

    thread = threading.Thread(target=run, name="event loop")
    thread.start()
    thread.join()
    result, error = ended[0]
    if error is not None:
        raise error
    return result


async def _explore(program: Program, tally: Tally, max_schedules: int) -> None:
    """Depth-first: replay the choices so far, take the first one that was not tried."""
    prefix: list[str] = []
    while tally.schedules < max_schedules:
        run = _Run(program, prefix)
        await run.run()
        assert run.outcome is not None
        tally.add(run.outcome, tuple(run.schedule))
        nodes = [(options, options.index(chosen)) for options, chosen in run.choices]
        while nodes and nodes[-1][1] + 1 == len(nodes[-1][0]):
            nodes.pop()
        if not nodes:
            tally.complete, tally.covered = True, 1.0
            return
        options, position = nodes.pop()
        prefix = [opts[at] for opts, at in nodes] + [options[position + 1]]


class _Run:
    """One order of the calls: that of `prefix`, then always the first task that can go on."""

    def __init__(self, program: Program, prefix: Sequence[str], strictly: bool = False) -> None:
        self.program = program
        self.prefix = list(prefix)
        self.strictly = strictly  # stop at the end of the prefix
        self.schedule: list[str] = []
        self.choices: list[tuple[list[str], str]] = []
        self.rows: list[list[str]] = []
        self.parked: dict[str, tuple[asyncio.Future[None], Callable[[], bool]]] = {}
        self.tasks: dict[str, asyncio.Task[Any]] = {}
        self.in_flight = 0
        self.outcome: Outcome | None = None

    async def run(self) -> None:
        """Run it to its end and judge it.

        Raises:
            ScheduleError: if the prefix names a task that cannot go on.
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
            if self.rows:
                self.rows[-1][-1] = self._look()
            if self._over():
                return "finished"
            if not self._ready():
                waiting = [name for name, task in self.tasks.items() if not task.done()]
                return f"deadlock: nobody can go on; waiting: {', '.join(waiting)}"
            if self.strictly and len(self.schedule) == len(self.prefix):
                return ""
            self._go_on(self._choose())

    def _choose(self) -> str:
        options = self._ready()
        position = len(self.schedule)
        chosen = self.prefix[position] if position < len(self.prefix) else options[0]
        if chosen not in options:
            can = f"can go on: {', '.join(options)}"
            raise ScheduleError(f"call {position + 1}: task {chosen} cannot be chosen now; {can}")
        self.choices.append((options, chosen))
        return chosen

    def _go_on(self, name: str) -> None:
        self.schedule.append(name)
        turn, _ = self.parked.pop(name)
        turn.set_result(None)

    def _ready(self) -> list[str]:
        """The parked tasks that can go on, in the order of the program."""
        names = [name for name in self.program.threads if name in self.parked]
        return [name for name in names if self.parked[name][1]()]

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
        self.parked[task.get_name()] = turn, ready
        await turn
        self.rows.append([task.get_name(), label, "ok", ""])

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
            row = self.rows[-1] if label else None
            self.in_flight += 1
            try:
                return await real(connection, function, *args, **keywords)
            except sqlite3.Error as error:
                if row is not None:
                    row[2] = f"{type(error).__name__}: {error}"
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
                return self.rows[-2][-1] if len(self.rows) > 1 else ""

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
