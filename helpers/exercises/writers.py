"""What a thread that writes for others promises, as programs for the explorer.

`helpers.exercises.promises` asks whether a strategy keeps units of work whole. A writer answers
from another thread, so more can go wrong: it may answer before the COMMIT, or not at all, let
one unit harm its neighbour, or never end. The small programs in `PROMISES` find that out.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from typing import Any

from helpers.exercises import contract, lessons, promises
from helpers.exercises.promises import Promise, Shared, StrategyClass, WithPath
from helpers.explorer import Ending, Program, Run
from helpers.workloads import Cancelled

_SEES, _CALLED_OFF, _REFUSED = "sees its increment", "called off", "refused"
_STUCK = (
    "Whoever waits must be woken: each unit is answered, also when it raises, and close tells "
    "the writer's thread that no more will come."
)


def _looks(shared: Shared) -> str:
    shared.strategy.write(promises.add_one)
    with closing(sqlite3.connect(shared.path, isolation_level=None)) as connection:
        (value,) = connection.execute("SELECT value FROM counter").fetchone()
    return _SEES if value else "does not see its increment"


def _writes(strategy: Any) -> None:
    strategy.write(promises.add_one)


def _submits(strategy: Any) -> None:
    """Ask, and do not wait: `close` comes while the unit is in the queue."""
    getattr(strategy, "submit", strategy.write)(promises.add_one)


def _gives_up(strategy: Any) -> str:
    try:
        strategy.write(promises.give_up)
    except Cancelled:
        return _CALLED_OFF
    return lessons.NOT_TOLD


def _or_is_told(unit_of_work: Callable[[sqlite3.Connection], None]) -> Callable[[Any], str | None]:
    def thread(strategy: Any) -> str | None:
        try:
            strategy.write(unit_of_work)
        except Exception:
            return _REFUSED
        return None

    return thread


def _ends_the_transaction(connection: sqlite3.Connection) -> None:
    """SQLite rolls back the whole transaction, not this statement or a savepoint alone."""
    promises.add_one(connection)
    connection.execute("UPDATE OR ROLLBACK counter SET value = NULL")


def _unharmed(end: Ending) -> bool:
    told = end.results.get("B", _CALLED_OFF) == _CALLED_OFF
    return told and bool(end.value == ("A" in end.results))


def _stored_as_told(end: Ending) -> bool:
    stored = end.results.get("A") is None
    return not end.errors and end.results["B"] == _REFUSED and bool(end.value == stored)


# -- what is told about a run that broke a promise ---------------------------------------------


def _too_early(run: Run) -> str:
    looks = [n for n, step in enumerate(run.steps) if _is(step, "SELECT", "A")]
    commits = [n for n, step in enumerate(run.steps) if _is(step, "COMMIT")]
    if not looks or not commits or commits[-1] < looks[-1]:
        return "A's unit was acknowledged and never committed."
    return (
        f"A was told that its unit is stored, looks in step {looks[-1] + 1} with a connection of "
        f"its own, and it is not there: the COMMIT comes in step {commits[-1] + 1}. Answer after "
        "the COMMIT."
    )


def _harmed(run: Run) -> str:
    ends = dict(run.outcome.threads) if run.outcome else {}
    if lessons.NOT_TOLD in ends.get("B", ""):
        return (
            "B's unit raised, and write returned as if it had not: the exception has to travel "
            "to the thread that waits, and be raised there."
        )
    undone = next((n for n, step in enumerate(run.steps) if step.sql == "ROLLBACK"), None)
    writes = sum(_is(step, "UPDATE") for step in run.steps[:undone])
    if undone is not None and writes > 1:
        return (
            f"Step {undone + 1} rolls back B's unit, and A's with it, which was in the same "
            "transaction; yet A is told that all is well. A savepoint takes back one unit only."
        )
    return "B's unit wrote before it raised, and that write was committed: take it back."


def _alarmed(run: Run) -> str:
    return "A's unit did nothing wrong: the exception belongs to B."


def _rolled_back(run: Run) -> str:
    return (
        "A statement of B's unit, UPDATE OR ROLLBACK, failed, and SQLite ended the transaction "
        "with all that was in it. What ROLLBACK or a savepoint is left then, and who else has to "
        "be told? Ask in_transaction."
    )


def _not_kept_out(run: Run) -> str:
    return (
        "B is another process: your queue orders only threads of its own. Which BEGIN takes the "
        "write lock on the file before the SELECT?"
    )


def _left_behind(run: Run) -> str:
    return "A's unit was in the queue before close and is not stored: finish what waits."


def _is(step: Any, word: str, thread: str = "") -> bool:
    return lessons.word(step) == word and thread in ("", step.thread)


ACKNOWLEDGED = WithPath(
    "what is acknowledged is committed",
    "acknowledge what is not committed",
    (_looks,),
    lambda end: bool(end.results.get("A", _SEES) == _SEES),
    _too_early,
    stuck=_STUCK,
)
INCREMENTS = replace(promises.INCREMENTS, stuck=_STUCK)
_ENDED = Promise(
    "a unit whose statement ends the transaction harms no other",
    "lose what was acknowledged, or hide an exception",
    (_or_is_told(promises.add_one), _or_is_told(_ends_the_transaction)),
    _stored_as_told,
    _rolled_back,
    _rolled_back,
    stuck=_STUCK,
)
UNHARMED = Promise(
    "a unit that raises harms no other, and whoever submitted it is told",
    "harm a unit that did nothing wrong, or hide an exception",
    (_writes, _gives_up),
    _unharmed,
    _harmed,
    _alarmed,
    stuck=_STUCK,
    also=(_ENDED,),
)


class _InRollbackJournal(WithPath):
    """A promise that is tried in a rollback journal, where a reader can make a COMMIT fail."""

    def program(self, strategy: StrategyClass, journal_mode: str = "delete") -> Program:
        return super().program(strategy, "delete")


_FAILED_BEGIN = replace(contract.FAILED_BEGIN, stuck=_STUCK)
FAILED_COMMIT = _InRollbackJournal(
    **{**vars(contract.FAILED_COMMIT), "stuck": _STUCK, "also": (_FAILED_BEGIN,)}
)
ANOTHER_PROCESS = replace(
    contract.ANOTHER_PROCESS,
    story=_not_kept_out,
    refused=_not_kept_out,
    stuck=_STUCK,
    also=(),
)
ANY_EXCEPTION = replace(contract.ANY_EXCEPTION, stuck=_STUCK)
CLOSED = Promise(
    "close finishes what waits",
    "lose a unit that was submitted before close",
    (_submits,),
    lambda end: bool(end.value == 1),
    _left_behind,
    _left_behind,
    stuck=_STUCK,
)

#: What `exercises.check_strategy` tries a writer with, the smallest program first.
PROMISES = (
    ACKNOWLEDGED, INCREMENTS, UNHARMED, ANY_EXCEPTION, FAILED_COMMIT, CLOSED, ANOTHER_PROCESS,
)  # fmt: skip
