"""Explore a program and report: what can happen, how often, and what was proved."""

from __future__ import annotations

import contextlib
import html
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from helpers.display import Table, progress
from helpers.explorer import parallel
from helpers.explorer.engine.confinement import FoundShared, LentToAnother, sharing_of
from helpers.explorer.engine.processor import apart
from helpers.explorer.engine.states import CannotMerge
from helpers.explorer.program import (
    FAILURES,
    KINDS,
    Outcome,
    Program,
    Run,
    Schedule,
    both_ends,
    check_kind,
    names_in,
)  # fmt: skip
from helpers.explorer.runner import STEP_LIMIT, Runner
from helpers.explorer.search import Search, every_start, sample
from helpers.explorer.steps.discovery import may_share
from helpers.explorer.steps.waiting import choose
from helpers.explorer.tally import Tally, simplicity
from helpers.workloads import check_positive

if TYPE_CHECKING:
    import pandas as pd

#: Limits of one exploration, unless told otherwise.
MAX_SCHEDULES = 100_000
#: Time for a crowded machine: a right answer to an exercise may have 12,000 orders.
MAX_SECONDS = 120.0

#: From so many schedules on, a verdict says how many were run; fewer take no time either way.
_MANY = 1_000

#: Seconds after which progress is shown: a machine under load must not show what another does not.
SHOW_AFTER = 3.0

_MEANING = {
    "wrong": "breaks the promise",
    "deadlock": "deadlock",
    "endless": "never ends",
    "error": "a thread sees an error",
    "right": "keeps the promise",
}


@dataclass(frozen=True)
class Exploration:
    """What was found. Shown as a table and a verdict; compare two with ``==``.

    Attributes:
        program: what was explored.
        schedules: how many schedules were run to their end, or counted where one of them
            came to a state from which another had been run, see `engine.states`.
        outcomes: (outcome, count, example), the worst kind first; the example is that schedule
            which switches least often between threads, the first by name if several do.
        proved: every schedule was run, and none refutes the claim.
        complete: every schedule was run.
        covered: the share of the tree that was run, 0..1, branches weighed equally.
        preemptions: the most switches away from a thread that could go on in a schedule that is
            run, None for any number; `proved` and `complete` are for those schedules.
        seed: of a random exploration, else None.
        waiting: how waiting was decided, ``"busy handler"`` or ``"rule"``; for tasks ``"await"``.
        seconds: how long it took.
        runs: how many were needed for that: fewer than `schedules` where states were merged.
        pruned: runs that were stopped half-way, for nothing new could follow.
        steps: steps taken in all runs together.
        unseen: what happened that no step shows, so that nothing is proved; empty if nothing.
        step_limit: steps after which a schedule was cut.
    """

    program: Program
    schedules: int
    outcomes: tuple[tuple[Outcome, int, Schedule], ...]
    complete: bool
    covered: float
    seed: int | None
    waiting: str
    seconds: float
    runs: int
    pruned: int
    steps: int
    unseen: str = ""
    preemptions: int | None = None
    step_limit: int = STEP_LIMIT

    def __eq__(self, other: object) -> bool:
        """Whether both found the same; how long that took does not count."""
        if not isinstance(other, Exploration):
            return NotImplemented
        return self._found() == other._found()

    def __hash__(self) -> int:
        return hash(self._found())

    def _found(self) -> tuple[object, ...]:
        return (self.schedules, self.outcomes, self.complete, self.steps)

    @property
    def counts(self) -> dict[str, int]:
        """Schedules by kind of outcome, the kinds that occurred only, the worst first."""
        totals = {
            kind: sum(count for outcome, count, _ in self.outcomes if outcome.kind == kind)
            for kind in KINDS
        }
        return {kind: total for kind, total in totals.items() if total}

    @property
    def failures(self) -> int:
        """How many schedules refute the claim: wrong, deadlocked or endless."""
        return sum(self.counts.get(kind, 0) for kind in FAILURES)

    @property
    def proved(self) -> bool:
        """Every schedule was run and none refutes the claim, for waits that are long enough.

        Time is left out: a wait for a lock ends when no other can go on, however short its
        timeout. `Program.expire` makes every wait too short instead.
        """
        return self.complete and not self.failures and not self.unseen

    @property
    def failing(self) -> Schedule | None:
        """The simplest schedule that refutes the claim, None if none was found."""
        return self._simplest(FAILURES)

    def example(self, kind: str) -> Schedule | None:
        """The simplest with that kind of outcome (see `Outcome.kind`), None if none was found."""
        return self._simplest([check_kind(kind)])

    def _simplest(self, kinds: Collection[str]) -> Schedule | None:
        found = (example for outcome, _, example in self.outcomes if outcome.kind in kinds)
        return min(found, key=simplicity, default=None)

    def replay(self, schedule: str | Iterable[str] | None = None) -> Run:
        """Run one schedule again, by default the failing one; for its steps and its history.

        Raises:
            ValueError: if no schedule is given and none failed, or for tasks.
        """
        if self.waiting == _TASKS:
            raise ValueError("a schedule of tasks is run by tasks.replay(program, schedule)")
        schedule = self.failing if schedule is None else schedule
        if schedule is None:
            raise ValueError("no schedule failed: name the one to replay")
        return replay(self.program, schedule, self.waiting, self.step_limit)

    def assert_proved(self) -> None:
        """For a test: pass if the claim was proved.

        Raises:
            AssertionError: if not, with the verdict, how the schedules end, and a failing one.
        """
        if not self.proved:
            parts = [self.verdict, self.table().to_string(index=False)]
            if self.failing and self.waiting != _TASKS:
                parts.append(str(self.replay()))
            raise AssertionError("\n\n".join(parts))

    @property
    def verdict(self) -> str:
        """What was shown, in words, and at which granularity."""
        claim = self.program.claim
        of = f"{self.schedules} schedule{'s' if self.schedules != 1 else ''}"
        if self.runs < self.schedules and self.schedules >= _MANY:
            of += f", of which {self.runs} were run: the others lead to states that these reach"
        if self.failures:
            found = [(self.counts[k], _FAILED[k]) for k in FAILURES if k in self.counts]
            broken = [f"{count} {many if count > 1 else one}" for count, (one, many) in found]
            return f"Refuted: {claim}. Of {of}, {'; '.join(broken)}."
        errors = self.counts.get("error", 0)
        seen = f" In {errors} of them a thread sees an error." if errors else ""
        if not self.complete:
            part = "drawn at random" if self.seed is not None else f"{self.covered:.0%} of the tree"
            return f"Not proved: {claim}. Not all were run; none of {of} ({part}) refutes it.{seen}"
        if self.unseen:
            return (
                f"Not proved: {claim}. None of {of} refutes it, but {self.unseen}: what is no "
                f"call of sqlite3 in a thread of the program is not tried in every order.{seen}"
            )
        limit, bound = self.preemptions, ""
        if limit is not None:
            bound = f" with at most {limit} preemption{'s' if limit != 1 else ''}"
        return (
            f"Proved: {claim}, in every order of the steps{bound} ({of}).{seen} "
            f"Steps are {_STEPS_OF_TASKS if self.waiting == _TASKS else _STEPS}. "
            f"{_WAITS[self.program.expire]}."
        )

    def table(self) -> pd.DataFrame:
        """One row per outcome: what it means, how it ended, how often, its share, an example."""
        import pandas as pd

        rows = [
            (
                _MEANING[outcome.kind],
                outcome.text,
                count,
                f"{count / self.schedules:.0%}",
                " ".join(both_ends(example)),
            )
            for outcome, count, example in self.outcomes
        ]
        columns = ["result", "at the end", "schedules", "share", "for example"]
        return pd.DataFrame(rows, columns=columns)

    def __str__(self) -> str:
        import pandas as pd

        with pd.option_context("display.max_colwidth", None, "display.width", 200):
            return f"{self.table().to_string(index=False)}\n\n{self.verdict}"

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        return f"{Table(self.table())._repr_html_()}\n<p>{html.escape(self.verdict)}</p>"


_WAITS: dict[object, str] = {
    False: "Waits are taken to be long enough",
    True: "Waits for the file are taken to be too short",
    "any": "Waits with a timeout may end at any step",
}

_FAILED = {
    "wrong": ("breaks it", "break it"),
    "deadlock": ("ends in a deadlock", "end in a deadlock"),
    "endless": ("does not come to an end", "do not come to an end"),
}

#: `Exploration.waiting` where tasks of asyncio were explored.
_TASKS = "await"
_STEPS = "SQL calls and Python's locks, queues and sleeps"
_STEPS_OF_TASKS = "calls of aiosqlite and waits for asyncio's locks and semaphores"


def explore(
    program: Program,
    *,
    seed: int | None = None,
    max_schedules: int = MAX_SCHEDULES,
    seconds: float = MAX_SECONDS,
    executor: Executor | None = None,
    waiting: str = "auto",
    step_limit: int = STEP_LIMIT,
    show: bool = True,
    merge: bool | None = None,
    preemptions: int | None = None,
) -> Exploration:
    """Run `program` in every order of its steps, each time from a fresh database.

    Args:
        program: what to run. Its threads must be deterministic but for their order.
        seed: draw schedules at random instead, the same ones for the same seed, until a
            limit is reached.
        max_schedules: stop after so many runs, "not proved".
        seconds: stop after so many seconds, "not proved".
        executor: spread the search over this executor's workers; the result is the same.
            Functions travel by cloudpickle, so those of a notebook can too.
        waiting: ``"auto"``, ``"busy handler"`` or ``"rule"``; see `steps.waiting`.
        step_limit: steps after which a schedule counts as endless.
        show: show progress when it takes longer than a few seconds.
        merge: from a state to which several schedules lead, go on only once; the counts are the
            same. By default where the threads are seen to share nothing but the database, locks
            and queues of plain values; where they are not, all schedules are run, and a thread may
            start late: what it does before its first step comes before all steps, or just before
            that one. True says that they share nothing else; where one starts a thread, makes a
            future or shares SQLite's cache, states are never merged. False runs all schedules.
        preemptions: only schedules with at most so many preemptions: switches away from a
            thread that could go on. Most bugs need one or two (CHESS: Musuvathi and Qadeer,
            PLDI 2007). Not with `seed`.

    Raises:
        Diverged: if the same schedule led to another step than before.
        ValueError: if a limit is not positive, `preemptions` negative, or one excludes the
            other: `seed` and `executor`, `seed` and `preemptions`.
    """
    check_positive("max_schedules", max_schedules)
    if not seconds > 0 or (preemptions or 0) < 0:
        raise ValueError(f"{seconds=} must be more than 0, {preemptions=} None, 0 or more")
    if seed is not None and executor is not None:
        raise ValueError("a random exploration is not spread: leave out seed= or executor=")
    if preemptions is not None and seed is not None:
        raise ValueError("a random exploration has no limit: leave out seed= or preemptions=")
    began, limits = time.perf_counter(), (max_schedules, seconds)
    name = choose(waiting).name
    sharing = sharing_of(program)
    beside = merge is None and bool(_beside(program))
    merges = not (beside or sharing.unclear) if merge is None else merge
    how = Search(merges, preemptions, starts=beside) if seed is None else Search()
    while True:
        tally = Tally()
        going: Iterator[object]
        try:
            if executor is not None:
                until = time.time() + seconds - (time.perf_counter() - began)
                job = parallel.Job(program, name, step_limit, how, sharing, until)
                going = _until(parallel.spread(tally, job, executor), began, limits)
            else:
                runner = Runner(program, name, step_limit, track=how.merge, pinned=True)
                going = apart(_until(_search(runner, tally, how, seed), began, limits))
            _show(going, tally, began, limits, show)
        except FoundShared as found:  # what was run does not count: begin anew
            sharing.found.add(found.thing)
        except LentToAnother:  # another process may have found it
            sharing.lends = False
            raise
        except CannotMerge as found:
            sharing.unclear, how = str(found), replace(how, merge=False)
        else:
            # How many steps a schedule may still take is no part of a state.
            if how.merge and any(outcome.kind == "endless" for outcome in tally.outcomes):
                how = replace(how, merge=False)
                continue
            spent = time.perf_counter() - began
            return replace(report(program, tally, how, seed, name, spent), step_limit=step_limit)


def _beside(program: Program) -> str:
    """What the threads may share that no step shows; empty if nothing."""
    sharing = sharing_of(program)
    if sharing.beside is None:
        made = "what share= returns" if program.share is not None else ""
        sharing.beside = made or may_share(program.threads.values())
    return sharing.beside


def replay(
    program: Program,
    schedule: str | Iterable[str],
    waiting: str = "auto",
    step_limit: int = STEP_LIMIT,
) -> Run:
    """Run one schedule and keep all that it did; the arguments are those of `explore`.

    Raises:
        ScheduleError: if it names a thread that cannot take a step then.
    """
    with Runner(program, waiting, step_limit, track=True) as runner:
        return runner.replay(names_in(schedule))


def _search(runner: Runner, tally: Tally, how: Search, seed: int | None) -> Iterator[Tally]:
    with runner:
        yield from every_start(runner, tally, how) if seed is None else sample(runner, tally, seed)


def _until(
    progressing: Iterator[Tally], began: float, limits: tuple[int, float]
) -> Iterator[Tally]:
    """Go on until the search ends or a limit is reached."""
    schedules, seconds = limits
    with contextlib.closing(progressing):  # type: ignore[type-var]
        for tally in progressing:
            yield tally
            spent = time.perf_counter() - began
            if tally.complete or tally.runs >= schedules or spent > seconds:
                return


def _show(
    going: Iterator[object], tally: Tally, began: float, limits: tuple[int, float], show: bool
) -> None:
    """Go through it all; show progress if that takes long."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(contextlib.closing(going))  # type: ignore[type-var]
        update: Callable[[int], None] | None = None
        for _ in going:
            spent = time.perf_counter() - began
            if update is None and show and spent > SHOW_AFTER:
                update = stack.enter_context(progress.bar(100, "explored, in percent"))
            if update is not None:
                part = max(tally.covered, tally.runs / limits[0], spent / limits[1])
                update(min(99, int(100 * part)))


def report(
    program: Program, tally: Tally, how: Search, seed: int | None, waiting: str, seconds: float
) -> Exploration:
    """What the search counted, as an `Exploration`; the arguments are its fields."""
    rows = [(outcome, count, example) for outcome, (count, example) in tally.outcomes.items()]
    rows.sort(key=lambda row: (KINDS.index(row[0].kind), row[0]))
    return Exploration(
        program=program, schedules=tally.schedules, outcomes=tuple(rows), complete=tally.complete,
        covered=tally.covered, seed=seed, waiting=waiting, seconds=seconds, runs=tally.runs,
        pruned=tally.pruned, steps=tally.steps, unseen=tally.unseen, preemptions=how.preemptions,
    )  # fmt: skip
