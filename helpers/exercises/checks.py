"""Exercises: check what a learner wrote, and say what is still wrong with it.

`check` runs thread functions in every order and names a schedule that breaks them;
`check_strategy` does so with two threads that share a strategy; `check_under_load` runs a
strategy at full speed, several times, and `check_closing` counts its open connections.
"""

from __future__ import annotations

import contextlib
import gc
import sqlite3
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any

from helpers import databases, load
from helpers.databases import ConnectionCounter
from helpers.exercises import contract as rest
from helpers.exercises import increments, lessons, progress, served
from helpers.exercises.promises import INCREMENTS, Promise, StrategyClass, add_one, has_read, of
from helpers.exercises.promises import no_increment_lost as no_increment_lost
from helpers.exercises.verdict import Verdict
from helpers.explorer import Exploration, Program, explore
from helpers.load import sandbox
from helpers.workloads import Cancelled, Workload

#: How many runs a strategy must survive. A lucky run is common; five in a row are not.
RUNS = 5

#: Time limit of one run in seconds: a right strategy needs a tenth of it. Where work is left
#: undone, the machine may be slow: it is run again, and has more time.
SECONDS, PATIENCE = 4.0, 10

UNDONE = "in one of the runs work was left undone at the time limit"

#: Steps after which one order of an increment counts as endless: twice what a patient retry needs.
STEPS = 32


@progress.records
def check(
    *jobs: Callable[[Any], Any],
    journal_mode: str = "delete",
    share: Callable[[str], Any] | None = None,
) -> Verdict:
    """Run a learner's increment in two threads, in every order.

    Args:
        *jobs: one function that both threads run, or one for each thread. It takes the
            path of a database and adds 1 to the one row of ``counter (id, value)``.
        journal_mode: ``"delete"`` or ``"wal"``.
        share: takes the path; what it returns, an engine for instance, is given to both
            threads instead of the path.

    It is solved when in every schedule both increments are stored and no thread sees an
    error. A function must also count a third increment, give back what it holds and raise
    when a statement fails, wait long enough, and, if given the path, close its connections.

    Raises:
        ValueError: unless one or two functions are given.
    """
    if len(jobs) not in (1, 2):
        raise ValueError(f"give one function, or one for each of two threads, not {len(jobs)}")
    for job in jobs:
        alone = _alone(_increments((job,), journal_mode, share))
        if alone:
            return Verdict(False, alone)
    pair = jobs * 2 if len(jobs) == 1 else jobs
    program = _increments(pair, journal_mode, share)
    if share is not None:
        return _faultless(_verdict(explore(program, show=False)), pair, journal_mode, share)
    found = explore(program, show=False, step_limit=STEPS)
    waited = lessons.waits_and_overwrites(found)
    if waited is not None:
        return Verdict(False, lessons.lesson(found, INCREMENTS, waited), found, waited)
    return _faultless(_verdict(found), pair, journal_mode)


def _faultless(
    verdict: Verdict,
    jobs: tuple[Callable[[Any], Any], ...],
    journal_mode: str = "delete",
    share: Callable[[str], Any] | None = None,
) -> Verdict:
    """`verdict`, unless it is "solved" and the jobs have a fault that no order shows."""
    first, second = jobs
    fault = increments.fault((first, second), journal_mode, share) if verdict.solved else None
    return verdict if fault is None else Verdict(False, fault.reason, fault.found)


@progress.records
def check_requests(
    application: Callable[[str], contextlib.AbstractContextManager[Any]],
) -> Verdict:
    """Send a learner's Flask application two requests ``POST /increment``, in every order.

    Args:
        application: a context manager that takes the path of a database and yields the
            application; it adds 1 to the one row of ``counter (id, value)`` by plain `sqlite3`.

    It is solved when in every schedule both increments are stored, and both requests are
    answered with status 200 and the count that they made, 1 or 2; when a third is counted, too;
    and when a request whose statement fails, or waits in vain, is not answered with 200.
    """
    alone = served.alone(application)
    if alone:
        return Verdict(False, alone)
    lost = _judged(explore(served.program(application), show=False), INCREMENTS)
    if lost is not None:
        return lost
    told = explore(served.program(application, invariant=served.told_the_count), show=False)
    verdict = _judged(told, served.TOLD) or _verdict(told)
    return _faultless(verdict, served.JOBS, share=served.opener(application))


@progress.records
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

    It is solved when in every run each request is answered well and with the right count, each
    acknowledged sale is stored, and it is stored before it is acknowledged; and when, in two
    processes beside a program that holds the write lock, no sale is lost and no page waits. That
    is evidence, not proof.
    """
    from helpers.web import load as webload

    for _ in range(runs):
        reason = served.under_load(sandbox.call(webload.trial, application, serve, seconds=60))
        if reason:
            return Verdict(False, reason)
    reason = served.beside_a_lock(application, serve)
    kept = f"{runs} runs of sixteen clients, one of two processes: every promise was kept"
    return Verdict(not reason, reason or kept)


def _verdict(found: Exploration) -> Verdict:
    solved = Verdict(True, f"{found.schedules} orders, and no increment is lost in any", found)
    return _judged(found, INCREMENTS) or solved


def _increments(
    jobs: tuple[Callable[[Any], Any], ...],
    journal_mode: str,
    share: Callable[[str], Any] | None,
) -> Program:
    return Program(
        "counter",
        jobs,
        no_increment_lost,
        claim=INCREMENTS.kept,
        journal_mode=journal_mode,
        share=share,
        name="the exercise",
    )


def _alone(program: Program) -> str:
    """What is wrong with one job when nothing else runs; empty if nothing is."""
    ((outcome, _, _),) = explore(program, show=False).outcomes
    alone = "already alone, without a second thread"
    if outcome.ended != "finished":
        return f"{alone}, it does not come to an end: {outcome.ended}"
    if outcome.kind == "right":
        return ""
    if outcome.raised:
        return f"{alone}, {outcome.threads[0][1]}"
    return f"{alone}: {outcome.text} in the counter, not 1"


@progress.records
def check_strategy(
    strategy: StrategyClass,
    *,
    journal_mode: str = "delete",
    contract: bool = False,
    promises: Sequence[Promise] = (),
) -> Verdict:
    """Try a learner's strategy in every order of two threads that share it.

    Args:
        strategy: a class with ``write(unit_of_work)`` that is called with the path of a
            database, or a `functools.partial` of one. A method ``read`` is tried as well.
        journal_mode: ``"delete"`` or ``"wal"``.
        contract: whether to try the whole contract of `helpers.strategies`: a method ``read``,
            a unit of work that calls ``write`` again, any exception, a BEGIN or a COMMIT that
            fails, and another process.
        promises: other promises than those of `helpers.exercises.promises`.

    It is solved when each promise of `helpers.exercises.promises` is kept in every schedule and no
    thread sees an error; a unit inside a unit may be refused with one.

    Raises:
        TypeError: if it is a class without ``write``.
        Unseen: if the explorer cannot see its connections.
    """
    promises = promises or [*of(strategy, nested=contract), *(rest.PROMISES if contract else ())]
    alone = _alone(INCREMENTS.alone(strategy, journal_mode))
    if alone:
        return Verdict(False, alone)
    orders = 0
    for promise in promises:
        tried = [
            (explore(part.program(strategy, journal_mode), show=False), part)
            for part in (promise, *promise.also)
        ]
        verdict = next((told for found, part in tried if (told := _judged(found, part))), None)
        if verdict is not None:
            return verdict
        orders += tried[0][0].schedules
    if contract and not has_read(strategy):
        return Verdict(False, rest.NO_READ)
    kept = "; ".join(promise.kept for promise in promises)
    return Verdict(True, f"{orders} orders of {len(promises)} programs. In all of them: {kept}")


def _judged(found: Exploration, promise: Promise) -> Verdict | None:
    """The verdict on an attempt that failed, or was not tried to the end; else None."""
    if lessons.example(found) is not None:
        return Verdict(False, lessons.lesson(found, promise), found)
    if not found.complete:
        return Verdict(False, f"too many orders to try them all. {found.verdict}", found)
    return None


@progress.records
def check_closing(strategy: load.StrategyFactory, *, threads: int = 3) -> Verdict:
    """Count a learner's open connections while threads come and go, and after `close`.

    It is solved when each thread that lives has a connection of its own and keeps it for its
    next unit, when threads that have ended leave none behind, when `close`, called by another
    thread, closes those of threads that live on, and when each was closed by a call of its
    method ``close``.

    Raises:
        ValueError: if the strategy opens no connection by the `connect` that it is given.
    """
    opened = ConnectionCounter()
    with databases.fresh("counter") as database:
        chosen = strategy(database, opened.connect)
        reason = _left_open(chosen, opened, threads)
    if not opened.total:
        raise ValueError(
            "it opened no connection by the connect that it was given: call connect(path, ...), "
            "the second argument of __init__"
        )
    return Verdict(not reason, reason or "threads came, went and stayed: all connections closed")


def _left_open(strategy: Any, opened: ConnectionCounter, threads: int) -> str:
    """Which connections a strategy leaves open; empty if none."""
    counts = []
    for _ in range(threads):
        with ThreadPoolExecutor(1) as executor:
            executor.submit(strategy.write, add_one).result()
        # The executor refers to its thread, and the thread may keep the connection.
        del executor
        gc.collect()
        counts.append(len(opened.threads))
    if counts[-1] > counts[0]:
        return (
            f"{threads} threads have come and gone, and {counts[-1]} connections are still open: "
            "who closes a connection when its thread ends?"
        )
    if opened.dropped:
        return (
            f"{threads} threads have ended, and their connections were dropped without a call of "
            "close(): since Python 3.13 each is a ResourceWarning"
        )
    with ThreadPoolExecutor(threads) as executor:
        reason = _not_kept(strategy, opened, executor, threads)
        if reason:
            return reason
        reason = _closed_beside_a_unit(strategy, executor)
        if reason:
            return reason
        left = len(opened.threads)
    if left:
        return f"after close(), {left} connections are still open, those of threads that live on"
    return ""


def _not_kept(
    strategy: Any, opened: ConnectionCounter, executor: ThreadPoolExecutor, threads: int
) -> str:
    """Let each thread of `executor` run two units; whether each keeps a connection of its own."""
    barrier, before = threading.Barrier(threads), set(opened.threads)

    def round_of_units() -> None:
        list(executor.map(lambda _: (barrier.wait(), strategy.write(add_one)), range(threads)))

    round_of_units()
    kept, total = len(set(opened.threads) - before), opened.total
    if kept < threads:
        return (
            f"{threads} threads live on, and each has run a unit; connections that they keep: "
            f"{kept}. Either they share one, and its transaction, or each unit opens its own. "
            "Each thread has to keep one."
        )
    round_of_units()
    if opened.total > total:
        return f"{threads} threads ran a second unit, and opened {opened.total - total} more"
    return ""


def _closed_beside_a_unit(strategy: Any, executor: ThreadPoolExecutor) -> str:
    """Call ``close`` while a unit of work runs; what went wrong, empty if nothing did."""
    begun, go_on = threading.Event(), threading.Event()

    def unit(connection: Any) -> None:
        begun.set()
        go_on.wait(SECONDS)
        add_one(connection)

    running = executor.submit(strategy.write, unit)
    begun.wait(SECONDS)
    with ThreadPoolExecutor(1) as closer:
        closing = closer.submit(strategy.close)
        wait([closing], timeout=0.1)
        go_on.set()
        if isinstance(error := running.exception(), sqlite3.ProgrammingError):
            return f"close() closed a connection under a unit of work that used it: {error}"
        if error := closing.exception():
            return f"close(), called by another thread, raised {type(error).__name__}: {error}"
    return ""


@progress.records
def check_under_load(
    strategy: load.StrategyFactory, workload: Workload, *, threads: int = 5, runs: int = RUNS
) -> Verdict:
    """Run a learner's strategy in the sandbox until it breaks, `runs` times at most.

    It is solved when every unit of work was acknowledged and stored in every run, units
    that raised `Cancelled` excepted, of which nothing may be stored. That is evidence, not
    proof: for a proof, the explorer tries every order.
    """
    for _ in range(runs):
        for seconds in (SECONDS, PATIENCE * SECONDS):
            result = sandbox.run_load(
                workload, strategy, threads=threads, seconds=seconds, stop_on_error=False
            )
            reason = _what_broke(result, threads * workload.units)
            if reason != UNDONE:
                break
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
        return UNDONE
    return ""
