"""What an increment must do besides losing none: trials that `check` adds to every order.

No order of two threads shows these faults: a third increment that is not counted, a lock that
stays taken when a statement fails, a connection that is never closed, a wait that is too short.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from helpers.exercises.promises import INCREMENTS, no_increment_lost
from helpers.explorer import Exploration, Outcome, Program, Scheduler, explore

Job = Callable[[Any], Any]

#: The shortest timeout that needs no questions, in seconds.
SHORTEST = 1.0

#: Orders in which a wait that is too short must have shown itself: a retry has many thousands.
ENOUGH = 500

#: A counter that cannot be changed: every UPDATE raises, as on a full disk.
FULL = """
CREATE TABLE counter (id INTEGER PRIMARY KEY, value INTEGER NOT NULL);
INSERT INTO counter VALUES (1, 0);
CREATE TRIGGER full BEFORE UPDATE ON counter BEGIN SELECT RAISE(ABORT, 'the disk is full'); END;
"""


@dataclass(frozen=True)
class Fault:
    """What is wrong with jobs that lose no increment; `found` has the schedule that shows it."""

    reason: str
    found: Exploration | None = None


@dataclass
class _Seen:
    """What the connections of some jobs were like when each job ended."""

    left_open: int = 0
    timeout: float = math.inf


def fault(jobs: tuple[Job, Job], journal_mode: str) -> Fault | None:
    """The first fault of two jobs that lose no increment in any order, None if there is none.

    Args:
        jobs: the thread functions; each takes the path of a database.
        journal_mode: ``"delete"`` or ``"wal"``.
    """
    trials = (_third, _failing, _unclosed, _impatient)
    return next((found for trial in trials if (found := trial(jobs, journal_mode))), None)


def _program(jobs: tuple[Job, ...], journal_mode: str, database: str = "counter") -> Program:
    return Program(
        database, jobs, no_increment_lost, INCREMENTS.kept, journal_mode=journal_mode,
        name="the exercise",
    )  # fmt: skip


def _first(program: Program) -> tuple[Exploration, Outcome]:
    """Run the first schedule only, in which each thread ends before the next one begins."""
    found = explore(program, max_schedules=1, show=False)
    return found, found.outcomes[0][0]


def _watched(job: Job, seen: _Seen) -> Job:
    """The same job, which notes in `seen` how it leaves its connections behind."""

    @functools.wraps(job)  # the explorer looks for locks in the module of the job
    def watched(path: Any) -> Any:
        try:
            return job(path)
        finally:
            run = Scheduler.here()
            for connection in run.connections if run is not None else ():
                if run is not None and connection.owner is run.me():
                    seen.left_open += not connection.closed
                    seen.timeout = min(seen.timeout, connection.patience)

    return watched


def _third(jobs: tuple[Job, Job], journal_mode: str) -> Fault | None:
    @functools.wraps(jobs[0])
    def three(path: Any) -> None:
        for job in (*jobs, jobs[0]):
            job(path)

    _, outcome = _first(_program((three,), journal_mode))
    if outcome.ended == "finished" and outcome.rows == "3":
        return None
    ended = f"leave {outcome.text} in the counter" if outcome.ended == "finished" else outcome.text
    return Fault(
        f"two increments are stored, but three, one after the other, {ended}. "
        "Add 1 to whatever the counter holds."
    )


def _failing(jobs: tuple[Job, Job], journal_mode: str) -> Fault | None:
    found, outcome = _first(_program(jobs, journal_mode, FULL))
    told = "no increment is lost, but when an UPDATE raises, on a full disk say,"
    if outcome.kind == "deadlock" or "is locked" in outcome.text:
        return Fault(
            f"{told} the next thread waits in vain: what the first one holds is not given back. "
            "Which lines must run on every way out? That is what `with` and `finally` are for.",
            found,
        )
    if outcome.kind == "wrong":
        return Fault(
            f"{told} your function returns as if all were well, and the increment is not stored. "
            "Raise the error again.",
            found,
        )
    return None


def _unclosed(jobs: tuple[Job, Job], journal_mode: str) -> Fault | None:
    for database, when in (("counter", ""), (FULL, "when an UPDATE raises, ")):
        seen = _Seen()
        watched = tuple(_watched(job, seen) for job in jobs)
        _first(_program(watched, journal_mode, database))
        if seen.left_open:
            return Fault(
                f"no increment is lost, but {when}a connection is never closed: it keeps its "
                "file open, and its locks, until Python happens to collect it. Close it on every "
                "way out, for example with contextlib.closing."
            )
    return None


def _impatient(jobs: tuple[Job, Job], journal_mode: str) -> Fault | None:
    seen = _Seen()
    _first(_program(tuple(_watched(job, seen) for job in jobs), journal_mode))
    if seen.timeout >= SHORTEST:
        return None
    program = _program(jobs, journal_mode)
    program.expire = True
    found = explore(program, max_schedules=ENOUGH, show=False)
    errors = found.counts.get("error", 0)
    if not errors:
        return None
    return Fault(
        f"no increment is lost, but under load a wait of {seen.timeout:g} s is too short: then in "
        f"{errors} of {found.schedules} orders a thread is told that the database is locked. "
        "Choose a timeout that is longer than all the work that can be ahead of you; "
        "the default is 5 s.",
        found,
    )
