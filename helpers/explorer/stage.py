"""You are the scheduler: run a program's threads in the order that you choose.

    stage = Stage(program)
    stage.step("A")         # A takes one step: a table of all steps so far
    stage.run("B B A")      # three more
    stage.undo()            # back to before the last one

A stage keeps nothing but the schedule: every step runs the program again, from a fresh
database, up to where you are. So nothing stays parked, open or locked between two cells,
and undoing a step costs as little as taking one.

It parks a thread before its next call of `sqlite3`. Between two calls of a library that is all
Python, a `Session` of SQLAlchemy for instance, `NamedThread` lets you say who makes the next one.
"""

from __future__ import annotations

import contextlib
import html
import sqlite3
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from helpers.display import Table
from helpers.explorer.engine.scheduler import Scheduler
from helpers.explorer.program import Outcome, Program, Step, names_in, rows_text
from helpers.explorer.runner import Runner
from helpers.explorer.steps.connections import SteppingConnection
from helpers.explorer.steps.watched import lock_text
from helpers.history import CallError, History, shorten

if TYPE_CHECKING:
    import pandas as pd

#: Longest text in a column of the table of steps, in characters.
WIDTH = 60


class Stage:
    """Runs one schedule of a program, step by step.

    Args:
        program: what to run.
        waiting: ``"auto"``, ``"busy handler"`` or ``"rule"``; see `steps.waiting`.

    Every method that changes the schedule returns the stage, which a notebook shows as a
    table: one row per step, what it returned or raised, the transaction and lock of every
    connection after it, and the committed rows of interest.
    """

    def __init__(self, program: Program, waiting: str = "auto") -> None:
        self.program = program
        self._waiting = waiting
        self._schedule: list[str] = []
        self._trace([])

    def _trace(self, schedule: list[str]) -> None:
        """Run `schedule` from the start; keep it only if it can be run."""
        observed: list[_Scene] = []
        with Runner(self.program, self._waiting, track=True) as runner:
            see = _Observer(runner)
            run = runner.replay(schedule, lambda scheduler: see(scheduler, observed))
        self._run, self._scenes, self._schedule = run, observed, schedule

    def step(self, thread: str) -> Stage:
        """Let `thread` take one step (``"A:timeout"``: let its timeout expire).

        Raises:
            ScheduleError: if it cannot; the message says what it waits for.
        """
        self._trace([*self._schedule, thread])
        return self

    def run(self, schedule: str | Iterable[str]) -> Stage:
        """Take several steps: a list of names, or names with blanks between them."""
        self._trace([*self._schedule, *names_in(schedule)])
        return self

    def undo(self, steps: int = 1) -> Stage:
        """Go back by `steps` steps; at the start it stays there."""
        self._trace(self._schedule[: max(0, len(self._schedule) - steps)])
        return self

    def reset(self) -> Stage:
        """Go back to the start."""
        return self.undo(len(self._schedule))

    @property
    def schedule(self) -> tuple[str, ...]:
        """The steps taken so far, as thread names."""
        return tuple(self._schedule)

    @property
    def choices(self) -> list[str]:
        """Who can take the next step; empty when the program has ended."""
        return list(self._run.choices)

    @property
    def pending(self) -> dict[str, str]:
        """The next step of every thread that has not ended."""
        return dict(self._run.pending)

    @property
    def blocked(self) -> dict[str, str]:
        """For every thread that cannot go on: what it waits for, and who has it."""
        return dict(self._run.blocked)

    @property
    def lines(self) -> dict[str, int]:
        """For every thread that has not ended: the line of its source file at which it is."""
        return dict(self._run.lines)

    @property
    def steps(self) -> list[Step]:
        """The steps taken so far."""
        return list(self._run.steps)

    @property
    def notes(self) -> list[str]:
        """Remarks, for example that a thread ended with an open transaction."""
        return list(self._run.notes)

    @property
    def outcome(self) -> Outcome | None:
        """How it ended; None while a thread can still take a step."""
        return self._run.outcome

    def history(self) -> History:
        """The steps as a `History`, one millisecond each: for `figures.timeline`."""
        return self._run.history()

    def table(self) -> pd.DataFrame:
        """One row per step: ``thread``, ``step``, ``result``, each connection, ``in the file``."""
        import pandas as pd

        connections = self._scenes[-1].names if self._scenes else []
        rows = [
            {
                "thread": step.thread,
                "step": shorten_text(step.label),
                "result": _result(step),
                **dict.fromkeys(connections, ""),
                **dict(zip(connections, scene.states, strict=False)),
                "in the file": scene.rows,
            }
            for step, scene in zip(self._run.steps, self._scenes[1:], strict=False)
        ]
        columns = ["thread", "step", "result", *connections, "in the file"]
        table = pd.DataFrame(rows, columns=columns)
        table.index = pd.RangeIndex(1, len(rows) + 1)
        return table

    @property
    def status(self) -> str:
        """Where the program stands, in a sentence or two."""
        if self.outcome is not None:
            return f"The end: {self.outcome.text} ({self.outcome.kind})."
        nexts = [f"{name} is at {label}" for name, label in self.pending.items()]
        waits = list(self.blocked.values())
        return "; ".join([*nexts, *waits]) + f". Can go on: {', '.join(self.choices)}."

    def __str__(self) -> str:
        import pandas as pd

        with pd.option_context("display.max_colwidth", None, "display.width", 250):
            return f"{self.table().to_string()}\n\n{self.status}"

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        return f"{self.table_html()}\n<p>{html.escape(self.status)}</p>"

    def table_html(self) -> str:
        """`table` as HTML for reading."""
        return Table(self.table().rename_axis("step no."), index=True)._repr_html_()


class _Scene:
    """What is to be seen after one step: connections with their states, and the committed rows."""

    def __init__(self, names: list[str], states: list[str], rows: str) -> None:
        self.names = names
        self.states = states
        self.rows = rows


class _Observer:
    """Looks at the database over a connection of its own, between two steps."""

    def __init__(self, runner: Runner) -> None:
        self.runner = runner
        self.names: list[str] = []
        self.rows = ""

    def __call__(self, scheduler: Scheduler, scenes: list[_Scene]) -> None:
        """Note the scene after the last step; a retry that failed is noted over."""
        del scenes[len(scheduler.steps) :]
        # A connection keeps its first name, also if another thread uses it later.
        names = _connection_names(scheduler.connections)
        known = self.names if scheduler.steps else []
        self.names = [*known, *names[len(known) :]]
        states = [_state(connection) for connection in scheduler.connections]
        # No thread can commit while a lock keeps this reader out: then the last rows still stand.
        with contextlib.suppress(sqlite3.OperationalError):
            self.rows = self._read()
        scenes.append(_Scene(self.names, states, self.rows))

    def _read(self) -> str:
        # The class itself: `sqlite3.connect` would make this connection a part of the program.
        connection = sqlite3.Connection(self.runner.path, timeout=0, isolation_level=None)
        try:
            return rows_text(connection.execute(self.runner.program.look).fetchall())
        finally:
            connection.close()


def _connection_names(connections: list[SteppingConnection]) -> list[str]:
    """Column titles: the thread whose connection it is, or that it is shared or pooled."""
    names: list[str] = []
    for connection in connections:
        if connection.pooled:
            names.append(f"pooled connection {connection.number}")
            continue
        name = "shared" if connection.shared or connection.owner is None else connection.owner.name
        count = sum(1 for other in names if other.partition(" (")[0] == f"{name}'s connection")
        names.append(f"{name}'s connection" + (f" ({count + 1})" if count else ""))
    return [name.replace("shared's", "shared") for name in names]


def _state(connection: SteppingConnection) -> str:
    """A connection's transaction and lock, as in ``write · RESERVED``."""
    if connection.closed:
        return "closed"
    if connection.pooled and not connection.lent:
        return "idle"
    borrower = f"{connection.owner.name}: " if connection.pooled and connection.owner else ""
    return borrower + _transaction_and_lock(connection)


def _transaction_and_lock(connection: SteppingConnection) -> str:
    transaction, lock = lock_text(connection)
    if transaction == "none":
        return "BEGIN, no lock yet" if connection.has_begun else "–"
    if connection.is_wal:
        return f"{transaction} · snapshot {connection.snapshot}"
    return f"{transaction} · {lock}"


def _result(step: Step) -> str:
    if step.error is not None:
        return f"{step.error.kind}: {step.error.message}"
    if step.outcome == "waits":
        return "waits"
    return shorten(step.result) or "ok"


def shorten_text(text: str) -> str:
    """At most `WIDTH` characters of `text`."""
    return text if len(text) <= WIDTH else text[: WIDTH - 1] + "…"


class NamedThread:
    """One thread with a name, which waits for something to do. Close it at the end.

    with NamedThread("A") as a, NamedThread("B") as b:
        a.does(session.add, thing)
        b.does(session.commit)
    """

    def __init__(self, name: str) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=name)

    def starts(self, function: Callable[..., Any], /, *arguments: Any) -> Future[Any]:
        """Let the thread make a call, and do not wait for it."""
        return self._thread.submit(function, *arguments)

    def does(self, function: Callable[..., Any], /, *arguments: Any) -> Any:
        """Let the thread make a call; returns its result, raises what it raises."""
        return self.starts(function, *arguments).result()

    def told(self, function: Callable[..., Any], /, *arguments: Any) -> str:
        """What the thread was told when it made a call; see `told`."""
        return told(self.starts(function, *arguments))

    def close(self) -> None:
        """End the thread, once it has done what it was told."""
        self._thread.shutdown()

    def __enter__(self) -> NamedThread:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def told(call: Future[Any]) -> str:
    """``"all is well"``, or the error in one line: its type and its first sentence.

    Waits for the end of the call.
    """
    error = call.exception()
    return "all is well" if error is None else in_one_line(error)


def in_one_line(error: BaseException) -> str:
    """An error's type and the first clause of its message, as in a list of errors."""
    described = CallError.of(error)
    message = next(iter(described.message.splitlines()), "")
    return f"{described.kind}: {message.split(';')[0].split('. ')[0]}".rstrip(": .")
