"""Exercises: check what a learner wrote, and say what is still wrong with it.

`check` runs thread functions in every order and names a schedule that breaks them;
`check_under_load` runs a whole strategy at full speed, several times.
"""

from __future__ import annotations

import contextlib
import html
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from helpers import load, sandbox
from helpers.explorer import Ending, Exploration, Program, explore
from helpers.explorer.program import Run, Step
from helpers.stage import Stage
from helpers.workloads import Cancelled, Workload

#: How many runs a strategy must survive. A lucky run is common; five in a row are not.
RUNS = 5

#: Time limit of one run in seconds: a right strategy needs a tenth of it.
SECONDS = 4.0


@dataclass(frozen=True)
class Verdict:
    """Whether an exercise is solved, and why (not); its text is shown in a notebook.

    `exploration` is what `check` found; `stage()` replays the schedule that the reason names.
    """

    solved: bool
    reason: str
    exploration: Exploration | None = field(default=None, repr=False, compare=False)

    def stage(self) -> Stage:
        """The stage after the schedule that broke the attempt.

        Raises:
            ValueError: if no schedule did.
        """
        schedule = _example(self.exploration) if self.exploration else None
        if self.exploration is None or schedule is None:
            raise ValueError("no schedule broke this attempt: there is nothing to replay")
        return Stage(self.exploration.program).run(schedule)

    def __str__(self) -> str:
        return f"{'Solved' if self.solved else 'Not yet'}: {self.reason}"

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        word, _, reason = str(self).partition(": ")
        return f"<p><b>{word}:</b> {html.escape(reason)}</p>"


def no_increment_lost(end: Ending) -> bool:
    """The counter equals the number of threads that were told that all went well."""
    return bool(end.value == len(end.succeeded))


def check(*jobs: Callable[[str], Any], journal_mode: str = "delete") -> Verdict:
    """Run a learner's increment in two threads, in every order.

    Args:
        *jobs: one function that both threads run, or one for each thread. It takes the
            path of a database and adds 1 to the one row of ``counter (id, value)``.
        journal_mode: ``"delete"`` or ``"wal"``.

    It is solved when in every schedule both increments are stored and no thread sees an
    error.

    Raises:
        ValueError: unless one or two functions are given.
    """
    if len(jobs) not in (1, 2):
        raise ValueError(f"give one function, or one for each of two threads, not {len(jobs)}")
    for job in jobs:
        alone = _alone(job, journal_mode)
        if alone:
            return Verdict(False, alone)
    pair = jobs * 2 if len(jobs) == 1 else jobs
    found = explore(_increments(pair, journal_mode), seconds=20, show=False)
    return _verdict(found, "no increment is lost in any")


def check_requests(
    application: Callable[[str], contextlib.AbstractContextManager[Any]],
) -> Verdict:
    """Send a learner's Flask application two requests ``POST /increment``, in every order.

    Args:
        application: a context manager that takes the path of a database and yields the
            application; it adds 1 to the one row of ``counter (id, value)`` by plain `sqlite3`.

    It is solved when in every schedule both requests are answered with status 200 and both
    increments are stored.
    """
    pair = [_requests(application, number) for number in (1, 2)]
    ((outcome, _, _),) = explore(pair[0], show=False).outcomes
    if outcome.kind != "right":
        return Verdict(False, f"already one request alone goes wrong: {outcome.text}")
    return _verdict(explore(pair[1], seconds=20, show=False), "no increment is lost in any")


def _requests(
    application: Callable[[str], contextlib.AbstractContextManager[Any]], number: int
) -> Program:
    """A program of `number` threads, each with one request to the same application."""
    return Program(
        "counter",
        [_post_increment] * number,
        no_increment_lost,
        claim="no increment is lost",
        share=lambda path: _Opened(application(path)),
        name="the exercise",
    )


class _Opened:
    """An application, and what closes it after the run."""

    def __init__(self, context: contextlib.AbstractContextManager[Any]) -> None:
        self.app = context.__enter__()
        # Exceptions reach whoever sent the request, as Flask's documentation on testing has it.
        self.app.testing = True
        self.context = context

    def close(self) -> None:
        self.context.__exit__(None, None, None)


def _post_increment(opened: _Opened) -> None:
    answer = opened.app.test_client().post("/increment")
    if answer.status_code != 200:
        raise RuntimeError(f"the request was answered with status {answer.status_code}")


def check_server(
    application: Callable[[str], contextlib.AbstractContextManager[Any]],
    serve: Callable[..., Any],
    *,
    runs: int = 2,
) -> Verdict:
    """Serve a learner's application to sixteen clients until a promise breaks, `runs` times.

    Args:
        application: as for `webload.run`.
        serve: the server: `servers.wsgi`, `servers.asgi` or `servers.cherrypy`.
        runs: how many runs it must survive.

    It is solved when in every run each request is answered well, each acknowledged sale is
    stored, and it is stored before it is acknowledged. That is evidence, not proof.
    """
    from helpers import webload

    for _ in range(runs):
        result = sandbox.call(webload.trial, application, serve)
        reason = _what_broke_served(result)
        if reason:
            return Verdict(False, reason)
    return Verdict(True, f"{runs} runs of sixteen clients, and every promise was kept")


def _what_broke_served(result: sandbox.SandboxResult) -> str:
    """The first thing that is wrong, worded without numbers that differ from run to run."""
    if result.error is not None and result.error.kind == "ServerError":
        return (
            "in one of the runs the server's threads did not come to an end: they wait for each "
            "other. Who holds the write lock, and what does it need to go on?"
        )
    if result.kind != "returned":
        return f"in one of the runs {result}"
    early, served = result.value
    if served.report.failed:
        (error, message), _ = Counter(
            (answer.error or f"status {answer.status}", answer.message)
            for answer in served.report.failed
        ).most_common(1)[0]
        return f"visitors are told {error}: {message}".rstrip(": ")
    if served.errors:
        return f"after the answer was sent, {served.errors[0].kind}: {served.errors[0].message}"
    if served.audit.lost:
        return "no visitor saw an error, and acknowledged sales are not in the database"
    if served.report.stale_reads:
        return "a visitor was shown less than had been acknowledged to the same visitor before"
    return "a sale was acknowledged before it was stored" if early else ""


def _verdict(found: Exploration, kept: str) -> Verdict:
    if _example(found) is not None:
        return Verdict(False, _lesson(found), found)
    if not found.complete:
        return Verdict(False, f"too many orders to try them all. {found.verdict}", found)
    return Verdict(True, f"{found.schedules} orders, and {kept}", found)


def _increments(jobs: tuple[Callable[[str], Any], ...], journal_mode: str) -> Program:
    return Program(
        "counter",
        jobs,
        no_increment_lost,
        claim="no increment is lost",
        journal_mode=journal_mode,
        name="the exercise",
    )


def _alone(job: Callable[[str], Any], journal_mode: str) -> str:
    """What is wrong with `job` when nothing else runs; empty if nothing is."""
    ((outcome, _, _),) = explore(_increments((job,), journal_mode), show=False).outcomes
    if outcome.kind == "right":
        return ""
    if outcome.raised:
        return f"already alone, without a second thread, {outcome.threads[0][1]}"
    return f"already alone, without a second thread: {outcome.text} in the counter, not 1"


def _example(found: Exploration) -> tuple[str, ...] | None:
    return found.failing or found.example("error")


def _lesson(found: Exploration) -> str:
    """Which schedule breaks the attempt, what happens in it, and what to think about."""
    schedule = _example(found)
    run = found.replay(schedule)
    counts = found.counts
    shown = " ".join(schedule or ())
    if "deadlock" in counts or "endless" in counts:
        return (
            f"in the order {shown} it does not come to an end: {run.outcome and run.outcome.text}"
        )
    if "wrong" in counts:
        part = f"{counts['wrong']} of {found.schedules} orders lose an increment"
        return f"{part}, for example {shown}. {_overtaken(run)} {_unprotected(run)}"
    part = f"no increment is lost, but in {counts['error']} of {found.schedules} orders"
    error = next(step.error for step in run.steps if step.error)
    return f'{part} a thread is told "{error.message}", for example {shown}. {_refused(run)}'


#: By which statements a thread's write reaches the others, and how to say so.
_PUBLISHES = {"UPDATE": "writes", "COMMIT": "commits"}


def _overtaken(run: Run) -> str:
    """Who wrote between another's read and write, in the words of the schedule."""
    for name in run.schedule:
        mine = [n for n, step in enumerate(run.steps) if step.thread == name]
        read = next((n for n in mine if _word(run.steps[n]) == "SELECT"), None)
        write = next((n for n in mine if _word(run.steps[n]) == "UPDATE"), None)
        if read is None or write is None:
            continue
        for between in range(read + 1, write):
            other = run.steps[between]
            if other.thread != name and _word(other) in _PUBLISHES:
                return (
                    f"{name} reads in step {read + 1}, {other.thread} "
                    f"{_PUBLISHES[_word(other)]} in step {between + 1}, and {name} overwrites "
                    f"that in step {write + 1}."
                )
    return ""


def _unprotected(run: Run) -> str:
    """Why nothing kept the other thread out."""
    lockers = {step.thread for step in run.steps if step.label.startswith("acquire")}
    everybody = {step.thread for step in run.steps}
    if lockers and lockers != everybody:
        return (
            f"Only {', '.join(sorted(lockers))} takes the lock: a lock keeps out only those who "
            "ask for it."
        )
    if lockers:
        return (
            "Each thread holds the lock, but gives it back between its SELECT and its UPDATE. "
            "Which lines have to happen as a whole?"
        )
    if any(_word(step) == "BEGIN" for step in run.steps):
        return (
            "The transaction does not span both statements: it must begin before the SELECT and "
            "end after the UPDATE."
        )
    return (
        "No transaction spans the SELECT and the UPDATE, and nobody waits for a lock, so that a "
        "longer timeout changes nothing."
    )


def _refused(run: Run) -> str:
    """Why a thread was told that the database is locked."""
    begins = [step.sql.upper().split() for step in run.steps if _word(step) == "BEGIN"]
    if begins and not any({"IMMEDIATE", "EXCLUSIVE"} & set(words) for words in begins):
        return (
            "BEGIN takes no lock. Both threads read, and then neither may write while the other "
            "still reads: one is refused at once, whatever its timeout. Which BEGIN takes the "
            "write lock before the SELECT?"
        )
    return "What does that thread do with the error? An increment that was refused must be redone."


def _word(step: Step) -> str:
    """The first word of a step's SQL."""
    return step.sql.split(None, 1)[0].upper() if step.sql.strip() else ""


def check_under_load(
    strategy: load.StrategyFactory, workload: Workload, *, threads: int = 5, runs: int = RUNS
) -> Verdict:
    """Run a learner's strategy in the sandbox until it breaks, `runs` times at most.

    It is solved when every unit of work was acknowledged and stored in every run, units
    that raised `Cancelled` excepted, of which nothing may be stored. That is evidence, not
    proof: for a proof, the explorer tries every order.
    """
    for _ in range(runs):
        result = sandbox.run_load(
            workload, strategy, threads=threads, seconds=SECONDS, stop_on_error=False
        )
        reason = _what_broke(result, threads * workload.units)
        if reason:
            return Verdict(False, reason)
    return Verdict(True, f"{runs} runs of {threads} threads kept every promise")


def _what_broke(result: sandbox.SandboxResult, units: int) -> str:
    """The first thing that is wrong, worded without numbers that differ from run to run."""
    if result.kind != "returned":
        return f"in one of the runs {result}"
    run: load.LoadResult = result.value
    if run.hung:
        return "in one of the runs a thread never came back: is a lock taken and not released?"
    if run.audit is None or not run.audit.holds:
        return "in one of the runs the database does not hold what the threads were told"
    cancelled = [f for f in run.failures if f.error.kind == Cancelled.__name__]
    if len(cancelled) < len(run.failures):
        return "in one of the runs a thread saw an error"
    if run.audit.acknowledged + len(cancelled) < units:
        return "in one of the runs work was left undone at the time limit"
    return ""
