"""Is the explorer right? Completeness, waiting and determinism, measured.

*Completeness*: `free_runs` lets a program run freely, with real threads, real timeouts and
nothing replaced; no outcome may occur that exploration did not list. *Waiting*: `by_apsw`
repeats every step of every schedule on APSW, whose busy handler SQLite calls itself; the
decision "would wait" or "busy at once" must be the same. *Determinism*: exploring twice,
under load, must find the same.

The first two run in child processes: a free run may hang or crash, and two SQLite
libraries must never open one file in the same process.
"""

from __future__ import annotations

import contextlib
import functools
import queue
import random
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from helpers.explorer import DepthFirst, Exploration, Outcome, Program, Runner, Step, explore
from helpers.history import CallError
from helpers.load import sandbox

#: Longest busy timeout of a free run, in seconds: short enough to wait out a real deadlock.
TIMEOUT = 2.0

#: Seconds after which threads that stand still outside of SQLite count as deadlocked. On a
#: machine with much else to do, a thread that could run has been seen to wait for one second.
STANDSTILL = 5.0

#: Free runs side by side in one child: they disturb each other, which is what is wanted.
SIDE_BY_SIDE = 32

_connect = sqlite3.connect


# -- completeness ------------------------------------------------------------------------


def same_kind(outcome: Outcome) -> Outcome:
    """What a free run can tell: it cannot name the locks of a deadlock."""
    if outcome.ended != "finished":
        return Outcome(outcome.kind, True, False, "", ())
    return replace(outcome, cycle="")


@dataclass(frozen=True)
class Completeness:
    """What free runs showed: how many, how many outcomes, which that exploration did not list."""

    runs: int
    seen: int
    listed: int
    unlisted: tuple[tuple[str, int], ...]


def completeness(program: Program, exploration: Exploration, runs: int) -> Completeness:
    """Run `program` freely `runs` times in child processes and compare outcomes."""
    listed = {same_kind(outcome) for outcome, _, _ in exploration.outcomes}
    free: Counter[Outcome] = Counter()
    crashes = 0
    chunk = 250
    for start in range(0, runs, chunk):
        size = min(chunk, runs - start)
        result = sandbox.call(free_runs, program, size, start, seconds=300.0)
        if result.kind == "returned":
            free.update(result.value)
        else:
            crashes += 1
    unlisted = [(o.text or o.ended, n) for o, n in free.items() if o not in listed]
    if crashes:
        unlisted.append(("the process crashed or hung", crashes))
    return Completeness(sum(free.values()), len(free), len(listed), tuple(sorted(unlisted)))


def free_runs(program: Program, number: int, seed: int) -> Counter[Outcome]:
    """Run `program` freely: to be called in a process of its own."""
    random.seed(seed)
    sys.setswitchinterval(1e-5)
    sqlite3.connect = _jittery  # type: ignore[assignment]
    template = program.template()
    # Windows: a run that ends in a deadlock leaves its file open.
    temporary = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
    with temporary as folder, ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        paths = [Path(folder) / f"{run}.db" for run in range(number)]
        for path in paths:
            path.write_bytes(template)
        return Counter(pool.map(functools.partial(_free_run, program), map(str, paths)))


class _Jittery(sqlite3.Connection):
    """A connection that pauses now and then before a call, and says when it is inside one."""

    def _jitter(self, call: Callable[..., Any], *arguments: Any) -> Any:
        if random.random() < 0.5:
            time.sleep(random.random() / 1000)
        ident = threading.get_ident()
        _calls[ident] = _calls.get(ident, 0) + 1
        _inside.add(ident)
        try:
            return call(*arguments)
        finally:
            _inside.discard(ident)

    def execute(self, *arguments: Any) -> Any:
        return self._jitter(super().execute, *arguments)

    def commit(self) -> None:
        self._jitter(super().commit)

    def rollback(self) -> None:
        self._jitter(super().rollback)


_inside: set[int] = set()  # threads inside SQLite
_calls: dict[int, int] = {}  # thread -> calls so far


def _jittery(path: str, timeout: float = TIMEOUT, **options: Any) -> sqlite3.Connection:
    return _connect(path, timeout=min(timeout, TIMEOUT), factory=_Jittery, **options)


def _free_run(program: Program, path: str) -> Outcome:
    before = set(threading.enumerate())
    shared: Any = program.share(path) if program.share else path
    helpers = [t for t in set(threading.enumerate()) - before if t.name == "writer"]
    ends: dict[str, Any] = {}
    barrier = threading.Barrier(len(program.threads))

    def play(name: str, job: Callable[[Any], Any]) -> None:
        barrier.wait()
        try:
            ends[name] = job(shared)
        except Exception as error:
            ends[name] = CallError.of(error)

    threads = [
        threading.Thread(target=play, args=item, name=item[0], daemon=True)
        for item in program.threads.items()
    ]
    for thread in threads:
        thread.start()
    finished = _ended(threads)
    if finished and getattr(shared, "close", None) is not None:
        shared.close()
    finished = finished and _ended([getattr(shared, "thread", None) or t for t in helpers[:1]])
    ordered = {name: ends.get(name) for name in program.threads}
    return same_kind(program.judge(path, "finished" if finished else "deadlock", ordered))


def _ended(threads: list[threading.Thread]) -> bool:
    """Wait for the threads; False once all that are left stand still outside of SQLite."""
    still_since, calls = time.monotonic(), -1
    while alive := [thread for thread in threads if thread.is_alive()]:
        alive[0].join(0.005)
        # No look at the threads' frames: a frame that is kept keeps a failed call's locks.
        made = sum(_calls.get(thread.ident or 0, 0) for thread in alive)
        if made != calls or any(thread.ident in _inside for thread in alive):
            still_since, calls = time.monotonic(), made
        elif time.monotonic() - still_since > STANDSTILL:
            return False
    return True


# -- waiting -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Agreement:
    """Steps compared with APSW's busy handler, and the differences, in words."""

    steps: int
    waits: int
    at_once: int
    differences: tuple[str, ...]


def waiting(program: Program, way: str = "auto") -> Agreement:
    """Compare every SQL step of every schedule of `program` with SQLite's own decision.

    Raises:
        sandbox.SandboxError: if APSW is not installed, or its process failed.
    """
    schedules = list(_all_steps(program, way))
    sql = [step for steps in schedules for step in steps if step.sql]
    result = sandbox.call(by_apsw, program.template(), schedules, seconds=300.0)
    at_once = [s for s in sql if s.error and s.error.sqlite_errorname.startswith("SQLITE_BUSY")]
    return Agreement(
        len(sql),
        sum(step.outcome == "waits" for step in sql),
        sum(step.outcome == "error" for step in at_once),
        tuple(result.get()),
    )


def _all_steps(program: Program, way: str) -> Iterator[list[Step]]:
    policy = DepthFirst()
    with Runner(program, way) as runner:
        while True:
            scheduler, outcome = runner.run(policy)
            if outcome is not None:
                yield scheduler.steps
            if not policy.advance():
                return


def by_apsw(template: bytes, schedules: list[list[Step]]) -> list[str]:
    """Repeat schedules on APSW; the differences. To be called in a process of its own."""
    differences = []
    with tempfile.TemporaryDirectory() as folder:
        for number, steps in enumerate(schedules):
            path = Path(folder) / f"{number}.db"
            path.write_bytes(template)
            players: dict[int, _Player] = {}
            for position, step in enumerate(steps):
                if step.connection and (step.sql or step.label == "close"):
                    if step.connection not in players:
                        players[step.connection] = _Player(str(path))
                    said = players[step.connection].play(step, step.began < position)
                    if said != _expected(step):
                        differences.append(
                            f"schedule {number}, step {position + 1}, {step.thread} {step.label}: "
                            f"{_expected(step)} here, {said} by APSW"
                        )
            for player in players.values():
                player.end()
    return differences


def _expected(step: Step) -> str:
    if step.outcome == "waits":
        return "waits"
    return step.error.sqlite_errorname if step.error is not None else "ok"


class _Player:
    """One APSW connection in a thread of its own, whose busy handler asks what to do."""

    def __init__(self, path: str) -> None:
        self.orders: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.answers: queue.SimpleQueue[str] = queue.SimpleQueue()
        self.waits = False
        self.thread = threading.Thread(target=self._run, args=(path,), daemon=True)
        self.thread.start()

    def play(self, step: Step, again: bool) -> str:
        """Order one step, or tell a waiting one to go on; how it went."""
        self.orders.put(step.outcome != "timeout" if again and self.waits else step)
        answer = self.answers.get(timeout=20)
        self.waits = answer == "waits"
        return answer

    def end(self) -> None:
        """Close the connection."""
        self.orders.put(None)
        self.thread.join(20)

    def _run(self, path: str) -> None:
        import apsw

        connection = apsw.Connection(path)
        connection.set_busy_handler(self._on_busy)
        while (step := self.orders.get()) is not None:
            if step.label == "close":
                connection.close()
                self.answers.put("ok")
                continue
            try:
                if step.before:
                    connection.execute(step.before)
                connection.execute(step.sql, step.parameters or ()).fetchall()
                self.answers.put("ok")
            except apsw.Error as error:
                code = error.extendedresult  # type: ignore[attr-defined]
                names = {**apsw.mapping_result_codes, **apsw.mapping_extended_result_codes}
                self.answers.put(str(names.get(code, type(error).__name__)))
        connection.close(True)

    def _on_busy(self, _count: int) -> bool:
        self.answers.put("waits")
        return bool(self.orders.get())


# -- determinism ---------------------------------------------------------------------------


@contextlib.contextmanager
def load(processes: int) -> Iterator[None]:
    """Keep the processors busy with something else meanwhile."""
    burners = [
        subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(processes)
    ]
    try:
        yield
    finally:
        for burner in burners:
            burner.kill()
            burner.wait()


def is_repeatable(program: Program, times: int) -> bool:
    """Whether `times` explorations find the same schedules, outcomes and examples."""
    first = explore(program, show=False)
    return all(explore(program, show=False) == first for _ in range(times - 1))
