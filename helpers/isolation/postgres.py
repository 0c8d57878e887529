"""The same cases on PostgreSQL: at each isolation level, in every order.

    cells = matrix(anomalies(), sessions.here())
    cells["P4", "READ COMMITTED"].possible          # in how many of its orders

The statements are those that SQLite runs, and `Case.happened` judges what they end in.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass

from helpers.explorer import Ending
from helpers.history import CallError
from helpers.isolation.cases import Case, Values
from helpers.isolation.levels import ServerLevel
from helpers.isolation.matrix import Counted, Matrix
from helpers.load import sessions

#: What PostgreSQL has; its READ UNCOMMITTED is READ COMMITTED.
LEVELS = ("READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE")


@dataclass(frozen=True)
class Cell(Counted):
    """What all orders of one case at one level ended in."""

    found: sessions.Orders

    @property
    def runs(self) -> list[sessions.Run]:
        """The orders in which the anomaly happens."""
        return [run for run in self.found.runs if self.case.happened(ending(run))]

    @property
    def possible(self) -> int:
        """In how many orders the anomaly happens."""
        return len(self.runs)

    @property
    def schedules(self) -> int:
        """How many orders there are."""
        return len(self.found.runs)

    @property
    def refused(self) -> int:
        """In how many orders a session is refused; in none of them the anomaly counts."""
        return sum(bool(ending(run).errors) for run in self.found.runs)


def on_server(case: Case, level: str) -> sessions.Case:
    """A case as the server runs it: BEGIN and COMMIT round sessions of more than one statement.

    Raises:
        ValueError: for another level than those in `LEVELS`.
    """
    if level not in LEVELS:
        raise ValueError(f"{level!r} is none of {', '.join(LEVELS)}")
    scripts = case.transactions()
    alone = {name: given for name, given in case.sessions.items() if len(given) == 1}
    return sessions.Case({**scripts, **alone}, case.setup, case.look, level=level)


def ending(run: sessions.Run) -> Ending:
    """What the sessions of a run returned or were refused with, and what `look` found."""
    results: dict[str, list[Values]] = {name: [] for name in run.case.sessions}
    errors = {}
    for name, told in run.told:
        if told.startswith(sessions.REFUSED):
            errors[name] = CallError("refused", told.removeprefix(sessions.REFUSED), "")
        with suppress(json.JSONDecodeError):  # such as COMMIT, waits: nothing that was read
            results[name].append(_values(told))
    results = {name: read for name, read in results.items() if name not in errors}
    return Ending([(value,) for value in _values(run.end)], results, errors)


def _values(told: str) -> Values:
    found = json.loads(told)
    return found if isinstance(found, list) else [found]


def matrix(
    cases: Mapping[str, Case], server: sessions.Recorded, levels: Iterable[str] = LEVELS
) -> Matrix[Cell]:
    """Run every case at every level, or look it up.

    Args:
        cases: from `anomalies`.
        server: from `sessions.here`; where it has only the record, the columns say so.
        levels: of `LEVELS`.

    Raises:
        AssertionError: if the server does otherwise than the record.
        LookupError: if there is no server, and the record does not have a case.
        ValueError: for a level that is none.
    """
    recorded = server.source == sessions.RECORDED
    where = "PostgreSQL, recorded" if recorded else "PostgreSQL"
    cells: Matrix[Cell] = Matrix()
    for case in cases.values():
        for level in levels:
            found = server.every_order(on_server(case, level))
            cells[case.name, level] = Cell(case, ServerLevel(where, level), found)
    return cells
