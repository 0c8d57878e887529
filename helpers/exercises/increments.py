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

#: Orders in which a refusal that is swallowed must have shown itself.
FEW = 50

_BROKEN = """
CREATE TABLE counter (id INTEGER PRIMARY KEY, value INTEGER NOT NULL);
INSERT INTO counter VALUES (1, 0);
CREATE TRIGGER full BEFORE UPDATE ON counter BEGIN SELECT {}; END;
"""
#: A counter that cannot be changed: every UPDATE raises, as on a full disk.
FULL = _BROKEN.format("RAISE(ABORT, 'the disk is full')")
#: The same with an `OperationalError`, which is what a disk that is full raises. Who tries again
#: after any of these never ends here, and would not there.
FULL_AGAIN = _BROKEN.format("abs(-9223372036854775807 - 1)")


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


@dataclass(frozen=True)
class _Attempt:
    """Two jobs, and how to try them: `share` makes what they get instead of the path."""

    jobs: tuple[Job, Job]
    journal_mode: str
    share: Job | None

    def program(self, *jobs: Job, database: str = "counter") -> Program:
        return Program(
            database, jobs or self.jobs, no_increment_lost, INCREMENTS.kept,
            journal_mode=self.journal_mode, share=self.share, name="the exercise",
        )  # fmt: skip


def fault(jobs: tuple[Job, Job], journal_mode: str, share: Job | None = None) -> Fault | None:
    """The first fault of two jobs that lose no increment in any order, None if there is none.

    Args:
        jobs: the thread functions; each takes the path of a database.
        journal_mode: ``"delete"`` or ``"wal"``.
        share: makes from the path what both jobs get instead. It may keep connections open.
    """
    trials = [_third, _failing, _impatient] if share else [_third, _failing, _unclosed, _impatient]
    attempt = _Attempt(jobs, journal_mode, share)
    return next((found for trial in trials if (found := trial(attempt))), None)


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
                seen.timeout = min(seen.timeout, connection.patience)
                if run is not None and connection.owner is run.me():
                    seen.left_open += not connection.closed

    return watched


def _third(attempt: _Attempt) -> Fault | None:
    @functools.wraps(attempt.jobs[0])
    def three(path: Any) -> None:
        for job in (*attempt.jobs, attempt.jobs[0]):
            job(path)

    _, outcome = _first(attempt.program(three))
    if outcome.ended == "finished" and outcome.rows == "3":
        return None
    ended = f"leave {outcome.text} in the counter" if outcome.ended == "finished" else outcome.text
    return Fault(
        f"two increments are stored, but three, one after the other, {ended}. "
        "Add 1 to whatever the counter holds."
    )


def _failing(attempt: _Attempt) -> Fault | None:
    trials = (_failing_with(database, attempt) for database in (FULL, FULL_AGAIN))
    return next((found for found in trials if found), None)


def _failing_with(database: str, attempt: _Attempt) -> Fault | None:
    found, outcome = _first(attempt.program(database=database))
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


def _unclosed(attempt: _Attempt) -> Fault | None:
    for database, when in (("counter", ""), (FULL, "when an UPDATE raises, ")):
        seen = _Seen()
        watched = (_watched(job, seen) for job in attempt.jobs)
        _first(attempt.program(*watched, database=database))
        if seen.left_open:
            return Fault(
                f"no increment is lost, but {when}a connection is never closed: it keeps its "
                "file open, and its locks, until Python happens to collect it. Close it on every "
                "way out, for example with contextlib.closing."
            )
    return None


def _impatient(attempt: _Attempt) -> Fault | None:
    seen = _Seen()
    _first(attempt.program(*(_watched(job, seen) for job in attempt.jobs)))
    hasty = seen.timeout < SHORTEST
    program, any_wait = attempt.program(), attempt.program()
    program.expire, any_wait.expire = True, "any"
    found = explore(program, max_schedules=ENOUGH if hasty else FEW, show=False)
    for tried in (found, explore(any_wait, max_schedules=FEW, show=False)):
        if "wrong" in tried.counts:
            return Fault(
                f"no increment is lost, but when a wait for the lock was too short, for example "
                f"{' '.join(tried.example('wrong') or ())}, your function returns as if all were "
                "well, and the increment is not stored. Raise an error.",
                tried,
            )
    errors = found.counts.get("error", 0)
    if not errors or not hasty:
        return None
    return Fault(
        f"no increment is lost, but under load a wait of {seen.timeout:g} s is too short: then in "
        f"{errors} of {found.schedules} orders a thread is told that the database is locked. "
        "Choose a timeout that is longer than all the work that can be ahead of you; "
        "the default is 5 s.",
        found,
    )
