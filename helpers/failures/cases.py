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

    def check(self, labels: Mapping[int, str]) -> Verdict:
        """Whether every case has the right label; names the first that has not.

        Args:
            labels: number of the case -> one of the labels.

        Raises:
            ValueError: for a case that does not exist.
        """
        unknown = sorted(set(labels) - set(range(1, len(self.cases) + 1)))
        if unknown:
            count = len(self.cases)
            raise ValueError(f"there is no case {unknown[0]}: they go from 1 to {count}")
        for number, case in enumerate(self.cases, 1):
            label = labels.get(number, "")
            if label and label not in self.labels:
                return Verdict(
                    False, f"case {number}: {label!r} is none of {', '.join(self.labels)}"
                )
            if label != case.cause:
                return Verdict(False, f"case {number}: {case.think if label else 'no label yet'}")
        return Verdict(True, f"all {len(self.cases)} cases have their cause")


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

#: The labels of notebook 05, and what each means.
LOCKED_CAUSES = {
    "long transaction": "another connection is at work for longer than the timeout",
    "left open": "another connection has a transaction that nobody will end",
    "read, then write": "two transactions have read, and both want to write",
    "stale snapshot": "WAL: another has committed since this transaction read",
    "reader at COMMIT": "a reader, or a half-read cursor, keeps COMMIT from the file",
    "shared cache": "connections share a cache, and SQLite locks tables between them",
}

#: The cases of notebook 05.
LOCKED_CASES = (
    Case("f-upgrade", "read, then write", "it did not wait, whatever its timeout: why is that?"),
    Case("f-open-cursor", "reader at COMMIT", "everything went well up to the last statement"),
    Case("f-failed-insert", "left open", "the other thread is not at work: what did it leave?"),
    Case("f-busy-snapshot", "stale snapshot", "read the name in brackets"),
    Case("f-timeout", "long transaction", "the other thread is still at work: who gave up?"),
    Case("f-dead-thread", "left open", "nobody is at work here: who could end that transaction?"),
    Case("f-shared-cache", "shared cache", "it is a table that is locked, not the database"),
    Case("f-wal-upgrade", "read, then write", "WAL, at once, and nobody has committed yet"),
)

#: The exercise of notebook 02.
ERRORS = CaseSet(CAUSES, CASES)

#: The exercise of notebook 05.
LOCKED = CaseSet(LOCKED_CAUSES, LOCKED_CASES, ("waited", "at", "journal_mode", "holder"))

causes, unlabelled, check = ERRORS.causes, ERRORS.unlabelled, ERRORS.check
