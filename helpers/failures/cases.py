"""Unlabelled cases for exercises: what was seen, and the cause to be found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from helpers import failures
from helpers.exercises import Verdict

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Case:
    """One case.

    Attributes:
        failure: the recipe that makes it happen.
        cause: the label that is right.
        think: what to think about when another label was given.
    """

    failure: str
    cause: str
    think: str


#: The labels of notebook 02, and what each means.
CAUSES = {
    "wrong thread": "a connection or cursor is used in a thread that did not make it",
    "shared transaction": "threads share one connection, and so one transaction",
    "shared cursor": "threads share one cursor, and so one result",
    "own database": "each connection has a database of its own",
    "lost update": "each thread has its own connection; another wrote between read and write",
}

#: The cases of notebook 02, from 1. All happen every time, on every Python.
CASES = (
    Case("a-fetch", "wrong thread", "one message alone speaks of the thread that made an object"),
    Case(
        "c-foreign-rollback",
        "shared transaction",
        "a commit that succeeded stored only half: who else could end that transaction?",
    ),
    Case("g-memory", "own database", "the table was made a line before: by which connection?"),
    Case(
        "b-rollback-explicit",
        "shared transaction",
        "this thread did begin a transaction: who else could end it?",
    ),
    Case(
        "c-cursor-stolen-rows",
        "shared cursor",
        "the rows are right, for another thread's question: which object holds a result?",
    ),
    Case(
        "e-lost-update",
        "lost update",
        "no transaction was shared here, and nobody rolled back: when was the value read?",
    ),
)


def causes() -> pd.DataFrame:
    """The labels, as a table with the columns ``label`` and ``meaning``."""
    import pandas as pd

    return pd.DataFrame(CAUSES.items(), columns=["label", "meaning"])


def unlabelled() -> pd.DataFrame:
    """Make every case happen, and say only what was seen: columns ``case``, ``what was seen``."""
    import pandas as pd

    reports = [failures.here(case.failure) for case in CASES]
    return pd.DataFrame(
        [(number, report.text) for number, report in enumerate(reports, 1)],
        columns=["case", "what was seen"],
    )


def check(labels: Mapping[int, str]) -> Verdict:
    """Whether every case has the right label; names the first that has not.

    Args:
        labels: number of the case -> one of the labels of `CAUSES`.

    Raises:
        ValueError: for a case that does not exist.
    """
    unknown = sorted(set(labels) - set(range(1, len(CASES) + 1)))
    if unknown:
        raise ValueError(f"there is no case {unknown[0]}: they go from 1 to {len(CASES)}")
    for number, case in enumerate(CASES, 1):
        label = labels.get(number, "")
        if label and label not in CAUSES:
            return Verdict(False, f"case {number}: {label!r} is none of {', '.join(CAUSES)}")
        if label != case.cause:
            return Verdict(False, f"case {number}: {case.think if label else 'no label yet'}")
    return Verdict(True, f"all {len(CASES)} cases have their cause")
