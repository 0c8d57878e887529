"""Unlabelled cases for exercises: what was seen, and the cause to be found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from helpers import failures
from helpers.exercises import progress
from helpers.exercises.verdict import Verdict

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Case:
    """One case.

    Attributes:
        failure: the recipe that makes it happen.
        cause: the label that is right.
    """

    failure: str
    cause: str


@dataclass(frozen=True)
class CaseSet:
    """An exercise: labels with their meaning, and cases that each deserve one of them.

    Attributes:
        labels: label -> what it means.
        cases: the cases, numbered from 1. All happen every time, on every Python.
        clues: which of a report's answers are shown beside what was seen.
    """

    labels: Mapping[str, str]
    cases: tuple[Case, ...]
    clues: tuple[str, ...] = ()

    def causes(self) -> pd.DataFrame:
        """The labels, as a table with the columns ``label`` and ``meaning``."""
        import pandas as pd

        return pd.DataFrame(self.labels.items(), columns=["label", "meaning"])

    def unlabelled(self) -> pd.DataFrame:
        """Make every case happen, and say only what was seen: one row a case."""
        import pandas as pd

        reports = [failures.here(case.failure) for case in self.cases]
        rows = [
            (number, report.text, *(report.answers.get(clue, "") for clue in self.clues))
            for number, report in enumerate(reports, 1)
        ]
        shown = [_CLUES[clue] for clue in self.clues]
        return pd.DataFrame(rows, columns=["case", "what was seen", *shown])

    @progress.records
    def check(self, labels: Mapping[int, str]) -> Verdict:
        """How many cases have the right label; which ones is left to be found out.

        Args:
            labels: number of the case -> one of the labels.

        Raises:
            ValueError: for a case that does not exist.
        """
        unknown = sorted(set(labels) - set(range(1, len(self.cases) + 1)))
        if unknown:
            count = len(self.cases)
            raise ValueError(f"there is no case {unknown[0]}: they go from 1 to {count}")
        for number, label in labels.items():
            if label and label not in self.labels:
                return Verdict(
                    False, f"case {number}: {label!r} is none of {', '.join(self.labels)}"
                )
        right = sum(labels.get(n) == case.cause for n, case in enumerate(self.cases, 1))
        if right == len(self.cases):
            return Verdict(True, f"all {right} cases have their cause")
        return Verdict(False, f"{right} of {len(self.cases)} labels are right")


#: Answer of a report -> the title of its column.
_CLUES = {
    "waited": "it waited",
    "at": "at",
    "journal_mode": "journal",
    "holder": "the other thread",
}

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
    Case("a-fetch", "wrong thread"),
    Case("c-foreign-rollback", "shared transaction"),
    Case("g-memory", "own database"),
    Case("b-rollback-explicit", "shared transaction"),
    Case("c-cursor-stolen-rows", "shared cursor"),
    Case("e-lost-update", "lost update"),
)

#: The labels of notebook 05, and what each means.
LOCKED_CAUSES = {
    "long transaction": "another connection is at work for longer than the timeout",
    "left open": "another connection has a transaction that nobody will end",
    "read, then write": "a transaction that has read wants to write while another writes",
    "stale snapshot": "WAL: another has committed since this transaction read",
    "reader at COMMIT": "a reader, or a half-read cursor, keeps COMMIT from the file",
    "shared cache": "connections share a cache, and SQLite locks tables between them",
}

#: The cases of notebook 05.
LOCKED_CASES = (
    Case("f-upgrade", "read, then write"),
    Case("f-open-cursor", "reader at COMMIT"),
    Case("f-failed-insert", "left open"),
    Case("f-busy-snapshot", "stale snapshot"),
    Case("f-timeout", "long transaction"),
    Case("f-dead-thread", "left open"),
    Case("f-shared-cache", "shared cache"),
    Case("f-wal-upgrade", "read, then write"),
)

#: The exercise of notebook 02.
ERRORS = CaseSet(CAUSES, CASES)

#: The exercise of notebook 05.
LOCKED = CaseSet(LOCKED_CAUSES, LOCKED_CASES, ("waited", "at", "journal_mode", "holder"))

causes, unlabelled, check = ERRORS.causes, ERRORS.unlabelled, ERRORS.check
