"""The exercise of notebook 17: write down a write skew, as a case without code."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

from helpers.exercises import progress
from helpers.exercises.verdict import Verdict
from helpers.explorer import Ending, Exploration, explore
from helpers.isolation import Case, CaseError, Level, read_case

#: Two accounts that may not be overdrawn together.
SETUP = """
    CREATE TABLE account (name TEXT PRIMARY KEY, balance INTEGER NOT NULL);
    INSERT INTO account VALUES ('current', 50), ('savings', 50);"""
LOOK = "SELECT name, balance FROM account ORDER BY name"

#: Statements of a session; with more, trying every order takes minutes.
MOST = 4

_LOOSE, _HELD = Level("WAL", "autocommit"), Level("WAL", "DEFERRED")

#: What the accounts hold, by name.
_Balances = Mapping[str, Any]


@progress.records
def check(text: str) -> Verdict:
    """Judge a case that a learner has written.

    Args:
        text: TOML for `isolation.read_case`, without `setup` and `look`: its sessions find the
            table ``account (name, balance)`` with 50 in ``current`` and 50 in ``savings``.

    It is solved when both sessions read and write, not the same row; when each alone leaves the
    accounts with 0 or more together, and both with less; when its anomaly is the one ending in
    which neither has read what the other writes; when no serial order has that ending; and when it
    is possible if each statement is a transaction of its own, and in no order with BEGIN.
    """
    try:
        case = read_case(text, SETUP, LOOK)
    except CaseError as error:
        return Verdict(False, str(error))
    wrong = _form(case) or _alone(case)
    if wrong:
        return Verdict(False, wrong)
    loose = explore(case.program(_LOOSE), show=False)
    schedule = loose.example("wrong")
    if schedule is None:
        reason = f"already without transactions it happens in none of {loose.schedules} orders"
        return Verdict(False, f"{reason}: what do the SELECTs return in the one that you mean?")
    wrong = _not_skew(case)
    if wrong:
        return Verdict(False, f"{_happens(loose, schedule)}. {wrong}", loose, schedule)
    held = explore(case.program(_HELD), show=False)
    if held.example("wrong"):
        return Verdict(False, f"with BEGIN, too, {_happens(held, held.failing or ())}.", held)
    said = f"with BEGIN in none of {held.schedules}"
    return Verdict(True, f"{_happens(loose, schedule)}, and {said}", loose, schedule)


def _happens(found: Exploration, schedule: tuple[str, ...]) -> str:
    """In how many orders, and in which."""
    count = found.counts.get("wrong", 0)
    return f"it happens in {count} of {found.schedules} orders, for example {' '.join(schedule)}"


def _form(case: Case) -> str:
    """What is wrong before anything is run; empty if nothing is."""
    if (case.setup, case.look) != (SETUP, LOOK):
        return f"{case.name}: leave out setup and look, they are given"
    if len(case.sessions) != 2:
        return f"{case.name}: {len(case.sessions)} sessions, and a write skew needs two"
    if len(case.anomaly) > 1:
        return f"{case.name}: {len(case.anomaly)} endings, and one is asked for"
    if any(len(statements) > MOST for statements in case.sessions.values()):
        return f"{case.name}: leave out what it does not need, {MOST} statements a session are many"
    if any("random" in sql.lower() for given in case.sessions.values() for sql in given):
        return f"{case.name}: a case must end alike in each run, and random() does not"
    return ""


def _alone(case: Case) -> str:
    """What is wrong with a session, or with both one after the other; empty if nothing is."""
    for name in case.sessions:
        end = case.serial(name)
        if name in end.errors:
            return f"already alone, session {name} fails: {end.errors[name].message}"
        if not end.results[name]:
            return f"already alone, session {name} reads nothing: on what does its write depend?"
        if not _written(case, name):
            return f"already alone, session {name} changes nothing: a skew has two writes"
        if (left := _sum(_balances(end))) < 0:
            return f"already alone, session {name} leaves {left} together, which is forbidden"
    order = case.serial_anomaly()
    if order is not None:
        seen = "; ".join(f"{name} reads {case.serial(*order).results[name]}" for name in order)
        return (
            f"already one after the other, first {order[0]}, then {order[1]}, it happens ({seen}): "
            "a serial order that ends so makes it no anomaly. Which values does each read only "
            "if neither has seen the other?"
        )
    return ""


def _not_skew(case: Case) -> str:
    """Why the anomaly is another one than a write skew; empty if it is one."""
    first, second = case.sessions
    both = sorted(set(_written(case, first)) & set(_written(case, second)))
    if both:
        return f"Both write {both[0]!r}, so one write is lost. In a write skew the rows differ."
    balances = {**_balances(case.serial()), **_written(case, first), **_written(case, second)}
    if (left := _sum(balances)) >= 0:
        return f"There the accounts end with {left} together: nothing is overdrawn."
    rows = sorted((name, one) for name, one in balances.items() if one is not None)
    results = {name: case.serial(name).results[name] for name in case.sessions}
    if not case.happened(Ending(rows, results, {})):
        alone = "; ".join(f"{name} reads {values}" for name, values in results.items())
        return (
            "There a session reads what the other has written. In a write skew both read what they "
            f"would read alone ({alone})."
        )
    return ""


def _sum(balances: _Balances) -> Any:
    return sum(one for one in balances.values() if one is not None)


def _balances(end: Ending) -> _Balances:
    return dict(end.rows)


def _written(case: Case, name: str) -> _Balances:
    """What session `name` changes if it runs alone: account -> its new balance, None if gone."""
    before, after = _balances(case.serial()), _balances(case.serial(name))
    return {
        account: after.get(account)
        for account in dict.fromkeys(itertools.chain(before, after))
        if before.get(account) != after.get(account)
    }
