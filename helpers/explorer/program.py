"""What is explored: a program, what one schedule of it did, and how that ended.

A `Program` is a fresh database, one or more thread functions written with plain
`sqlite3` and `threading`, and an invariant. One schedule of it is a `Run`: a list of
`Step` records. How the run ended is an `Outcome`, a value that can be counted.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, Literal

from helpers import databases
from helpers.history import Call, CallError, History, shorten

#: What a schedule is: thread names in the order in which they take their steps.
#: ``"A:timeout"`` is the moment at which A has waited too long and no other thread can move,
#: ``"B:start"`` that at which B starts, if that is not before the first step (at the end of a
#: schedule that was cut: it did not).
Schedule = tuple[str, ...]

#: How a schedule names the expiry of a thread's timeout, and a start after the first step.
TIMEOUT = ":timeout"
START = ":start"

#: Kinds of outcome, the worst first; `Outcome.kind` explains them.
KINDS = ("wrong", "deadlock", "endless", "error", "right")

#: Those that refute a program's claim.
FAILURES = KINDS[:3]

#: Steps that are shown at each end of a schedule of very many.
_SHOWN = 30

#: One logical step lasts one millisecond in a history, so that pictures never change.
STEP_NS = 1_000_000


class ScheduleError(RuntimeError):
    """A schedule names a thread that cannot take a step now; the message says why."""


class Diverged(RuntimeError):
    """The same schedule led to another step: the program depends on something else too."""


def names_in(schedule: str | Iterable[str]) -> list[str]:
    """The items of a schedule: a list of names, or names with blanks between them."""
    return schedule.split() if isinstance(schedule, str) else list(schedule)


def check_kind(kind: str) -> str:
    """Returns `kind`, which is one of `KINDS`.

    Raises:
        ValueError: if it is not.
    """
    if kind not in KINDS:
        raise ValueError(f"no kind of outcome is called {kind!r}: give one of {', '.join(KINDS)}")
    return kind


def thread_of(choice: str) -> str:
    """The name of the thread that an item of a schedule is about."""
    return choice.partition(":")[0]


@dataclass(frozen=True)
class Ending:
    """What an invariant looks at, after all threads have ended.

    `rows` is the result of the program's `look` query; `results` and `errors` map a
    thread's name to what it returned or raised (a thread is in one of the two).
    """

    rows: list[tuple[Any, ...]]
    results: Mapping[str, Any]
    errors: Mapping[str, CallError]

    @property
    def value(self) -> Any:
        """The first column of the first row, None if there is no row."""
        return self.rows[0][0] if self.rows else None

    @property
    def succeeded(self) -> list[str]:
        """Names of the threads that were told that all went well."""
        return list(self.results)


class Program:
    """A database, its threads, and what must be true at the end.

    Args:
        database: a sample of `helpers.databases` (``"counter"``, ``"accounts"``, …) or a
            script of SQL that makes the tables.
        threads: the thread functions, named A, B, C… in order, or a mapping from name to
            function. Each takes one argument: the path of the database, or what `share`
            returned.
        invariant: takes an `Ending`, returns whether the promise was kept.
        claim: the promise in words, as in "no increment is lost".
        look: the query whose rows are shown on the stage and given to the invariant.
        journal_mode: ``"delete"`` or ``"wal"``.
        share: called once before the threads start, with the path; what it returns is
            given to every thread instead of the path. If that has a method ``close``, it is
            called after the threads have ended. An engine of SQLAlchemy is made here, and is
            disposed of at the end.
        name: what tables call the program.
        expire: whether waits are too short, as under load with a small timeout. True: every
            busy timeout counts as 0. ``"any"``: a wait that has a timeout, for the file or for a
            lock of Python's, may also end at any step that another takes.

    Raises:
        ValueError: for fewer than one thread, a thread name with a colon, an unknown sample,
            journal mode or `expire`.
        TypeError: if a thread's function, the invariant or `share` cannot be called, or `database`
            is no text.
    """

    def __init__(
        self,
        database: str,
        threads: Sequence[Callable[[Any], Any]] | Mapping[str, Callable[[Any], Any]],
        invariant: Callable[[Ending], bool],
        claim: str = "the invariant holds",
        look: str = "SELECT value FROM counter",
        journal_mode: str = "delete",
        share: Callable[[str], Any] | None = None,
        name: str = "program",
        expire: bool | Literal["any"] = False,
    ) -> None:
        if callable(threads):
            raise TypeError(f"threads is {threads!r}: give a list of functions")
        if not isinstance(threads, Mapping):
            threads = {chr(ord("A") + number): job for number, job in enumerate(threads)}
        if not threads:
            raise ValueError("a program needs at least one thread function")
        for thread in threads:
            if not isinstance(thread, str) or ":" in thread or not thread:
                raise ValueError(f"{thread!r} names no thread: give a text, not empty, without ':'")
        others = {"invariant": invariant} | ({} if share is None else {"share": share})
        for thing, job in [*threads.items(), *others.items()]:
            if not callable(job):
                raise TypeError(f"{thing} is {job!r}, which cannot be called: give a function")
        if not isinstance(database, str):
            raise TypeError(f"database is {database!r}: give the name of a sample, or SQL")
        if database.isidentifier() and database not in databases.SAMPLES:
            known = ", ".join(databases.SAMPLES)
            raise ValueError(f"no sample is called {database!r}: give one of {known}, or SQL")
        if not (isinstance(expire, bool) or expire == "any"):
            raise ValueError(f'expire is False, True or "any", not {expire!r}')
        self.database = database
        self.threads = dict(threads)
        self.invariant = invariant
        self.claim = claim
        self.look = look
        self.journal_mode = databases.check_journal_mode(journal_mode)
        self.share = share
        self.name = name
        self.expire = expire

    def __repr__(self) -> str:
        return f"<Program {self.name}, {len(self.threads)} threads, {self.journal_mode}>"

    def template(self) -> bytes:
        """The bytes of the database file with which every schedule begins."""
        if self.database in databases.SAMPLES:
            return databases.template(self.database, self.journal_mode)
        return databases.template_of(self.database, self.journal_mode)

    def judge(self, path: str, ended: str, threads: Mapping[str, Any], cycle: str = "") -> Outcome:
        """Look at the database at `path` and at what each thread returned or raised."""
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            rows = connection.execute(self.look).fetchall()
        errors = {name: end for name, end in threads.items() if isinstance(end, CallError)}
        results = {name: end for name, end in threads.items() if name not in errors}
        kept = ended != "finished" or self._keeps(Ending(rows, results, errors))
        ends = tuple((name, _end_text(end)) for name, end in threads.items())
        return Outcome(ended, kept, bool(errors), rows_text(rows), ends, cycle)

    def _keeps(self, ending: Ending) -> bool:
        try:
            return bool(self.invariant(ending))
        except Exception as error:
            error.add_note(f"raised by the invariant, which returns True or False, for {ending}")
            raise


@dataclass(frozen=True, order=True)
class Outcome:
    """How one schedule ended. Equal outcomes are counted together.

    `ended` is ``"finished"``, or a text that says why not: a deadlock with who holds
    what, or which thread never came to an end. `kept`: the invariant holds. `raised`: a
    thread ended with an error. `rows` shows the rows of interest, `threads` what each
    thread returned or raised. `cycle` says which locks went round in a circle until a
    timeout broke it.
    """

    ended: str
    kept: bool
    raised: bool
    rows: str
    threads: tuple[tuple[str, str], ...]
    cycle: str = ""

    @property
    def kind(self) -> Literal["wrong", "deadlock", "endless", "error", "right"]:
        """One word for the outcome.

        ``wrong``: the invariant is broken. ``deadlock``: threads wait for each other, for
        ever or until a timeout.
        ``endless``: a thread did not come to an end. ``error``: the invariant holds and
        at least one thread raised. ``right``: it holds and no thread raised.
        """
        if self.ended != "finished":
            return "deadlock" if self.ended.startswith("deadlock") else "endless"
        if not self.kept:
            return "wrong"
        if self.cycle:
            return "deadlock"
        return "error" if self.raised else "right"

    @property
    def is_failure(self) -> bool:
        """Whether it refutes the program's claim."""
        return self.kind in FAILURES

    @property
    def text(self) -> str:
        """The outcome on one line."""
        if self.ended != "finished":
            return self.ended
        ends = [f"{name} {text}" for name, text in self.threads if text != "ok"]
        cycle = [f"after a deadlock until a timeout: {self.cycle}"] if self.cycle else []
        return "; ".join([self.rows, *ends, *cycle])


@dataclass(slots=True)
class Step:
    """One step of one thread: a call of `sqlite3`, or of a Python lock, queue or sleep.

    `outcome` is ``ok``, ``error``, ``waits`` (SQLite's busy handler was called and the
    thread is parked) or ``timeout``. `began` is the number of the step in which the call
    was first tried. `before` is the BEGIN that `sqlite3` sent within the same step.
    `touched` maps a shared resource to ``r`` or ``w``; `counted` holds the cursor's ``lastrowid``
    and ``rowcount`` afterwards.
    """

    thread: str
    label: str
    sql: str = ""
    connection: int = 0
    parameters: object = None
    began: int = 0
    outcome: str = "ok"
    result: object = None
    error: CallError | None = None
    before: str = ""
    touched: dict[str, str] = field(default_factory=dict)
    counted: tuple[int | None, int] | None = None


@dataclass
class Run:
    """One schedule as it was run: its steps, and where every thread stands at the end.

    `pending` maps a thread that has not ended to its next step; `blocked` maps a thread
    that cannot go on to what it waits for; `lines` maps a thread to the line of its
    function, in its source file, at which it is parked. `outcome` is None while threads remain.
    `notes` are remarks: a thread ended with an open transaction; locks form a cycle.
    """

    schedule: Schedule
    steps: list[Step]
    outcome: Outcome | None
    pending: dict[str, str]
    blocked: dict[str, str]
    choices: list[str]
    notes: list[str]
    lines: dict[str, int] = field(default_factory=dict)

    def history(self) -> History:
        """The steps as a `History`, one millisecond each, for timelines and tables."""
        history = History()
        for number, step in enumerate(self.steps):
            if step.outcome == "waits" and self._is_retried(number):
                continue
            ended = (number + 1) * STEP_NS
            call = Call(
                step.thread,
                step.connection,
                "execute" if step.sql else step.label,
                step.sql,
                step.parameters,
                step.began * STEP_NS,
                ended,
                step.result,
                step.error,
            )
            history.add(call)
        return history

    def __str__(self) -> str:
        """The steps, one on each line, and how it ended; of very many, the first and last."""
        lines = [f"{number:>3}  {text}" for number, text in enumerate(self.texts(), start=1)]
        ended = self.outcome.text if self.outcome else "not at its end"
        return "\n".join([*both_ends(lines), ended])

    def texts(self) -> list[str]:
        """Each step on one line: thread, call, and what it came to."""
        return [
            f"{step.thread}  {step.label}  {step.error.message if step.error else step.outcome}"
            for step in self.steps
        ]

    def _is_retried(self, number: int) -> bool:
        """Whether a later step goes on with the call that waits in step `number`."""
        step = self.steps[number]
        return any(
            later.thread == step.thread and later.began == step.began
            for later in self.steps[number + 1 :]
        )


def both_ends(texts: Sequence[str]) -> list[str]:
    """All of them, or the first and the last if there are more than a reader would read."""
    return list(texts) if len(texts) <= 3 * _SHOWN else [*texts[:_SHOWN], "…", *texts[-_SHOWN:]]


def rows_text(rows: list[tuple[Any, ...]]) -> str:
    """Rows on one line: ``2`` for a single value, else ``(1, 900), (2, 1100)``."""
    if len(rows) == 1 and len(rows[0]) == 1:
        return str(rows[0][0])
    return ", ".join(shorten(row) for row in rows) or "no rows"


def _end_text(end: Any) -> str:
    """What became of a thread: ``ok``, ``returned …``, or its error."""
    if isinstance(end, CallError):
        return f"{end.kind}: {end.message}"
    return "ok" if end is None else f"returned {shorten(end)}"
