"""The exercise of notebook 09: a report beside a clerk who must not be kept waiting."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from typing import Any

from helpers.exercises import progress
from helpers.exercises.verdict import Verdict
from helpers.explorer import Ending, Exploration, Program, Run, Step, explore

#: Takes an open connection (``isolation_level=None``) and stores the total.
Report = Callable[[sqlite3.Connection], Any]

#: Three accounts and a table for reports.
SCHEMA = """
    CREATE TABLE account (id INTEGER PRIMARY KEY, balance INTEGER NOT NULL);
    INSERT INTO account VALUES (1, 1000), (2, 1000), (3, {third});
    CREATE TABLE report (total INTEGER NOT NULL);"""
#: What the accounts hold together, at any time, if the third holds 1000.
TOTAL = 3000
#: What the report's thread returns when it has not ended its transaction.
_OPEN = "left a transaction open"
_LOOK = "SELECT total FROM report"


def total(connection: sqlite3.Connection) -> int:
    """Add up the balances, account by account: three SELECTs."""
    select = "SELECT balance FROM account WHERE id = ?"
    balances = [connection.execute(select, (number,)).fetchone()[0] for number in (1, 2, 3)]
    return int(sum(balances))


@progress.records
def check(report: Report) -> Verdict:
    """Run a learner's report beside a clerk's transfer, in WAL mode, in every order.

    Args:
        report: calls `total` and stores what it returns, one row in ``report (total)``.

    The clerk's connection never waits (``timeout=0``), the report's does. It is solved when
    in every schedule the stored total is that of the accounts, neither of the two sees an
    error, and the report has ended its transaction. A step is a whole statement: how long one
    statement keeps the clerk out is not tried.
    """
    alone = _alone(report, 1000) or _alone(report, 1500)
    if alone:
        return Verdict(False, f"already alone, without the clerk, {alone}")
    found = explore(_program(report), merge=True, show=False)
    # Two readings may agree, and both be wrong, if the clerk comes in between each time.
    refused = _refuted(found) or _refuted(
        explore(_program(report, transfers=2), merge=True, show=False)
    )
    if refused is not None:
        return refused
    said = "one state, and the write lock is never held from step to step"
    return Verdict(True, f"all {found.schedules} orders keep to {said}", found)


def _refuted(found: Exploration) -> Verdict | None:
    """The verdict on a report that failed in some order, or was not tried to the end."""
    if (schedule := _example(found)) is not None:
        return Verdict(False, _lesson(found, schedule), found, schedule)
    if not found.complete:
        return Verdict(False, f"too many orders to try them all. {found.verdict}", found)
    return None


def _alone(report: Report, third: int) -> str:
    """What is wrong with `report` when nothing else runs; empty if nothing is."""
    found = explore(_program(report, third, transfers=0), show=False)
    ((outcome, _, _), *_) = found.outcomes
    if outcome.kind == "right":
        return ""
    if outcome.raised:
        return outcome.threads[0][1]
    if _OPEN in outcome.threads[0][1]:
        return "its transaction is still open when it returns. What ends it?"
    holds = f"table report holds {outcome.rows}"
    return f"{holds}, and the accounts {TOTAL - 1000 + third} together" if third != 1000 else holds


def _program(report: Report, third: int = 1000, *, transfers: int = 1) -> Program:
    def reporting(path: str) -> str | None:
        with closing(sqlite3.connect(path, isolation_level=None, timeout=60)) as connection:
            report(connection)
            return _OPEN if connection.in_transaction else None

    def clerk(path: str) -> None:
        with closing(sqlite3.connect(path, isolation_level=None, timeout=0)) as connection:
            for _ in range(transfers):
                connection.execute("BEGIN IMMEDIATE")
                connection.execute("UPDATE account SET balance = balance - 100 WHERE id = 1")
                connection.execute("UPDATE account SET balance = balance + 100 WHERE id = 3")
                connection.execute("COMMIT")

    return Program(
        SCHEMA.format(third=third),
        {"report": reporting, "clerk": clerk} if transfers else {"report": reporting},
        _kept(TOTAL - 1000 + third),
        "the report shows one state",
        look=_LOOK,
        journal_mode="wal",
        name="the exercise",
    )


def _kept(total: int) -> Callable[[Ending], bool]:
    """One row with the right total, or none if the report was told that it failed."""

    def kept(end: Ending) -> bool:
        if "report" not in end.results:
            return end.rows in ([], [(total,)])
        return end.rows == [(total,)] and end.results["report"] != _OPEN

    return kept


def _example(found: Exploration) -> tuple[str, ...] | None:
    """A schedule that breaks the attempt: rather one in which the report fails than the clerk."""
    errors = [(o, schedule) for o, _, schedule in found.outcomes if o.kind == "error"]
    errors.sort(key=lambda pair: "report " not in pair[0].text)
    return found.failing or (errors[0][1] if errors else None)


def _lesson(found: Exploration, schedule: tuple[str, ...]) -> str:
    """Which schedule breaks the attempt, what happens in it, and what to think about."""
    run = found.replay(schedule)
    counts, shown = found.counts, f"for example {' '.join(schedule)}."
    if "deadlock" in counts or "endless" in counts:
        return f"in the order {' '.join(schedule)}: {run.outcome and run.outcome.text}"
    if "wrong" in counts and run.outcome and _OPEN in str(run.outcome.threads):
        of = f"{counts['wrong']} of {found.schedules} orders"
        return f"in {of} the report leaves its transaction open, {shown} What ends it?"
    if "wrong" in counts:
        rows = run.outcome.rows if run.outcome else ""
        part = f"in {counts['wrong']} of {found.schedules} orders the report holds {rows}"
        return f"{part}, {shown} {_two_states(run)}"
    number, step = next((n, step) for n, step in enumerate(run.steps, 1) if step.error)
    message = step.error.message if step.error else ""
    part = f'in {counts["error"]} of {found.schedules} orders somebody is told "{message}"'
    return f"{part}, {shown} {_refused(step, number)}"


def _two_states(run: Run) -> str:
    """Between which reads the clerk committed, or which error the report kept for itself."""
    for number, step in enumerate(run.steps, 1):
        if step.thread == "report" and step.error is not None:
            return (
                f'In step {number} the report is told "{step.error.message}", and it returns as if '
                "it had stored a total. Let the error out, or better: give no cause for it."
            )
    commit = _first(run, "clerk", "COMMIT")
    if not commit:
        return "What was stored is not what total() returned."
    reads = [n for n, s in enumerate(run.steps, 1) if s.thread == "report" and _word(s) == "SELECT"]
    before, after = [n for n in reads if n < commit], [n for n in reads if n > commit]
    if not before or not after:
        return "What was stored is not what total() returned."
    return (
        f"The report reads in step {before[-1]}, the clerk commits in step {commit}, and it "
        f"reads on in step {after[0]}: two states. In WAL, too, every SELECT has a snapshot of its "
        "own, unless something holds several together."
    )


def _refused(step: Step, number: int) -> str:
    """Why the clerk or the report saw this error."""
    message, name = (step.error.message, step.error.sqlite_errorname) if step.error else ("", "")
    if "within a transaction" in message:
        return f"In step {number} a transaction is still open. What ends it?"
    if step.thread == "clerk":
        return (
            f"In step {number} the clerk would have to wait: the report holds the write lock for "
            "several steps. For which statement does it need it, and for how long?"
        )
    if name == "SQLITE_BUSY_SNAPSHOT":
        return (
            f"In step {number} the report writes on top of a snapshot that is out of date by then. "
            "Has the total to be stored in the transaction in which it was read?"
        )
    return (
        f"In step {number} the report has read and wants to write while the clerk does. Has the "
        "total to be stored in the transaction in which it was read?"
    )


def _first(run: Run, thread: str, word: str) -> int:
    """Number of the first step of `thread` that begins with `word`, 0 if there is none."""
    steps = enumerate(run.steps, 1)
    return next((n for n, s in steps if s.thread == thread and _word(s) == word), 0)


def _word(step: Step) -> str:
    """The first word of a step's SQL."""
    return step.sql.split(None, 1)[0].upper() if step.sql.strip() else ""
