"""Reads the spec files of PostgreSQL's isolation tester, as far as their SQL is SQLite's.

    spec = read("write-skew", text)
    spec.explore("wal")          # every schedule, judged by what the serial orders give
    spec.run("wal")              # the permutations that the file lists

The format: https://github.com/postgres/postgres/tree/master/src/test/isolation#readme. Each run has
a fresh database, so the file's `teardown` is passed over. A session ends at its first error and is
rolled back; PostgreSQL ignores the rest of a failed transaction, too.
"""

from __future__ import annotations

import itertools
import re
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import NamedTuple

from helpers.explorer import Exploration, Program, Run, Runner, Scheduler, explore
from helpers.isolation.cases import CaseError, Values, serial_ending

_TOKEN = re.compile(
    r'\s+|#[^\n]*|\{(?P<sql>[^}]*)\}|"(?P<quoted>[^"\n]*)"|(?P<word>[A-Za-z_][\w$]*)|(?P<other>.)',
    re.DOTALL,
)
_COMMENT = re.compile(r"--[^\n]*|/\*.*?\*/", re.DOTALL)
_KEYWORDS = ("setup", "teardown", "session", "step", "permutation")


class SpecError(CaseError):
    """A spec file that cannot be run here; the message begins with the line."""


class Statement(NamedTuple):
    """One statement, and the line of the file on which it begins."""

    sql: str
    line: int


@dataclass
class Session:
    """One session of a spec: its own setup and teardown, and its steps, name -> statements."""

    setup: list[Statement] = field(default_factory=list)
    teardown: list[Statement] = field(default_factory=list)
    steps: dict[str, list[Statement]] = field(default_factory=dict)

    def script(self, steps: Sequence[str] | None = None) -> list[str]:
        """The SQL of the session, with all its steps, or those named in that order."""
        chosen = [self.steps[step] for step in (self.steps if steps is None else steps)]
        parts = itertools.chain(self.setup, *chosen, self.teardown)
        return [statement.sql for statement in parts]


@dataclass
class Spec:
    """A spec file.

    Attributes:
        name: what tables call it.
        setup: statements of the whole file.
        sessions: name -> session.
        permutations: names of steps, in order; empty for all of them.
        look: a query for all that is in the tables.
    """

    name: str
    setup: list[Statement] = field(default_factory=list)
    sessions: dict[str, Session] = field(default_factory=dict)
    permutations: list[tuple[str, ...]] = field(default_factory=list)
    look: str = "SELECT 'no table'"

    def program(
        self, journal_mode: str = "delete", permutation: Sequence[str] | None = None
    ) -> Program:
        """What the explorer takes; it keeps its promise if a serial order ends in the same way.

        Args:
            journal_mode: ``"delete"`` or ``"wal"``.
            permutation: which steps each session takes, and in which order; by default all.
        """
        scripts = self._scripts(permutation)
        serial = [
            serial_ending(self._setup, self.look, {name: scripts[name] for name in order})
            for count in range(len(scripts) + 1)
            for order in itertools.permutations(scripts, count)
        ]
        return Program(
            self._setup,
            {name: _thread(script) for name, script in scripts.items()},
            lambda end: any((end.rows, end.results) == (one.rows, one.results) for one in serial),
            "every schedule ends as a serial order of those who succeed",
            self.look,
            journal_mode,
            name=self.name,
        )

    @property
    def _setup(self) -> str:
        return "".join(f"{statement.sql};\n" for statement in self.setup)

    def _scripts(self, permutation: Sequence[str] | None) -> dict[str, list[str]]:
        return {
            name: session.script(permutation and [s for s in permutation if s in session.steps])
            for name, session in self.sessions.items()
        }

    def explore(self, journal_mode: str = "delete") -> Exploration:
        """Run all steps in every order, also where the file lists permutations."""
        return explore(self.program(journal_mode), show=False)

    def run(self, journal_mode: str = "delete") -> list[tuple[tuple[str, ...], Run]]:
        """Run the permutations that the file lists: (its steps, what happened).

        A run stops, with no outcome, where a step would have to be taken by a session that waits.
        """
        found = []
        for permutation in self.permutations:
            with Runner(self.program(journal_mode, permutation)) as runner:
                found.append((permutation, runner.trace(_Order(self._order(permutation)))))
        return found

    def _order(self, permutation: Sequence[str]) -> list[str]:
        """The session of each statement: setups first, then the steps, then the teardowns."""
        owner = {step: name for name, one in self.sessions.items() for step in one.steps}
        order = [name for name, one in self.sessions.items() for _ in one.setup]
        for step in permutation:
            order += [owner[step]] * len(self.sessions[owner[step]].steps[step])
        return order + [name for name, one in self.sessions.items() for _ in one.teardown]


class _Order:
    """A policy that takes steps in a given order; who waits goes on as soon as that is possible."""

    def __init__(self, order: list[str]) -> None:
        self.order = order

    def pick(self, scheduler: Scheduler, offers: list[str]) -> str | None:
        """Who waits, else whose turn it is; at the end, who is left."""
        threads = scheduler.threads
        for name in offers:
            if name in threads and threads[name].waiting is not None:
                return name
        while self.order and threads[self.order[0]].done:
            self.order.pop(0)
        if not self.order:
            return offers[0]
        return self.order.pop(0) if self.order[0] in offers else None

    def erased(self, name: str) -> None:
        """The chosen thread still waits; it is offered again when another has moved."""


def _thread(script: list[str]) -> Callable[[str], list[Values]]:
    def run(path: str) -> list[Values]:
        found = []
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            for sql in script:
                cursor = connection.execute(sql)
                if cursor.description:
                    found.append([value for row in cursor.fetchall() for value in row])
        return found

    return run


# -- reading ---------------------------------------------------------------------------------


def read(name: str, text: str) -> Spec:
    """Read a spec file from its text.

    Raises:
        SpecError: naming the line and what is not supported there.
    """
    spec = _Reader(text).spec(name)
    if not spec.sessions:
        raise SpecError("line 1: the file has no session")
    _compile(spec)
    return spec


class _Reader:
    """Recursive descent over the tokens of a file."""

    def __init__(self, text: str) -> None:
        self.tokens = [
            (
                str(match.lastgroup),
                match[str(match.lastgroup)],
                text.count("\n", 0, match.start()) + 1,
            )
            for match in _TOKEN.finditer(text)
            if match.lastgroup
        ]
        self.tokens.append(("end", "the end of the file", text.count("\n") + 1))

    def next_is(self, *words: str) -> bool:
        kind, text, _ = self.tokens[0]
        return kind == "word" and text in words

    def take(self, *kinds: str) -> tuple[str, int]:
        """The text and line of the next token, which must be of one of `kinds`."""
        kind, text, line = self.tokens[0]
        if kind not in kinds or (kind == "word" and text in _KEYWORDS):
            wanted = "{ SQL }" if kinds == ("sql",) else "a name"
            raise SpecError(f"line {line}: here must stand {wanted}, not {text!r}")
        self.tokens.pop(0)
        return text, line

    def block(self) -> list[Statement]:
        """``setup { … }``, ``teardown { … }`` and what follows ``step name``."""
        _, text, line = self.tokens[0]
        if "{" in text:
            raise SpecError(f"line {line}: the block that begins here has no }}, or a {{ before it")
        self.take("sql")
        return list(_statements(text, line))

    def spec(self, name: str) -> Spec:
        spec = Spec(name)
        while self.next_is("setup"):
            self.tokens.pop(0)
            spec.setup += self.block()
        if self.next_is("teardown"):
            self.tokens.pop(0)
            self.take("sql")
        while self.next_is("session"):
            self.tokens.pop(0)
            self.session(spec)
        while self.next_is("permutation"):
            self.tokens.pop(0)
            self.permutation(spec)
        kind, text, line = self.tokens[0]
        if kind != "end":
            raise SpecError(f"line {line}: {text!r} is not supported, or not here")
        return spec

    def session(self, spec: Spec) -> None:
        name, line = self.take("quoted", "word")
        if not name or ":" in name:
            raise SpecError(f"line {line}: no session can be called {name!r} here")
        if name in spec.sessions:
            raise SpecError(f"line {line}: there is another session {name!r}")
        session = spec.sessions[name] = Session()
        if self.next_is("setup"):
            self.tokens.pop(0)
            session.setup = self.block()
        while self.next_is("step"):
            self.tokens.pop(0)
            step, line = self.take("quoted", "word")
            if any(step in other.steps for other in spec.sessions.values()):
                raise SpecError(f"line {line}: there is another step {step!r}")
            session.steps[step] = self.block()
        if self.next_is("teardown"):
            self.tokens.pop(0)
            session.teardown = self.block()
        if not session.steps:
            raise SpecError(f"line {line}: session {name!r} has no step")

    def permutation(self, spec: Spec) -> None:
        known = {step for session in spec.sessions.values() for step in session.steps}
        steps = []
        while self.tokens[0][0] != "end" and not self.next_is("permutation"):
            kind, step, line = self.tokens[0]
            if kind == "other":
                raise SpecError(f"line {line}: marks of blocking, {step!r}, are not supported")
            self.take("quoted", "word")
            if step not in known:
                raise SpecError(f"line {line}: no session has a step {step!r}")
            steps.append(step)
        if not steps:
            raise SpecError(f"line {self.tokens[0][2]}: the permutation before has no step")
        spec.permutations.append(tuple(steps))


def _statements(text: str, line: int) -> Iterator[Statement]:
    """The statements of a block that begins on `line`."""
    sql = ""
    for part in re.split(r"(?<=;)", text + ";"):
        sql += part
        if sqlite3.complete_statement(sql):
            start = len(sql) - len(sql.lstrip())
            if _COMMENT.sub("", sql).strip("; \t\r\n"):
                yield Statement(sql.strip().rstrip("; "), line + sql.count("\n", 0, start))
            line += sql.count("\n")
            sql = ""
    if sql.strip("; \t\r\n"):
        raise SpecError(f"line {line}: this statement does not end: {sql.strip()[:40]!r}")


def _compile(spec: Spec) -> None:
    """Let SQLite compile every statement; note a query for all that the tables hold."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        for statement in spec.setup:
            _try(connection, statement, "")
        for session in spec.sessions.values():
            blocks = (session.setup, *session.steps.values(), session.teardown)
            for statement in itertools.chain(*blocks):
                _try(connection, statement, "EXPLAIN ")
        spec.look = _look(connection) or spec.look


def _try(connection: sqlite3.Connection, statement: Statement, prefix: str) -> None:
    try:
        connection.execute(prefix + statement.sql)
    except (sqlite3.Error, sqlite3.Warning) as error:
        hint = ""
        if re.match(r"(BEGIN|START|SET)\b", statement.sql, re.IGNORECASE):
            hint = ". SQLite's are BEGIN DEFERRED, IMMEDIATE and EXCLUSIVE"
        shown = " ".join(statement.sql.split())[:60]
        raise SpecError(
            f"line {statement.line}: SQLite does not take {shown!r}: {error}{hint}"
        ) from None


def _look(connection: sqlite3.Connection) -> str:
    """One row for each table: its name and its rows, as text."""
    tables = connection.execute(
        "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite%' ORDER BY 1"
    ).fetchall()
    parts = []
    for (table,) in tables:
        columns = connection.execute("SELECT name FROM pragma_table_info(?)", (table,)).fetchall()
        row = " || ' ' || ".join(f'quote("{column}")' for (column,) in columns)
        rows = f'(SELECT {row} AS line FROM "{table}" ORDER BY 1)'
        parts.append(f"SELECT '{table}: ' || coalesce(group_concat(line, ', '), '') FROM {rows}")
    return " UNION ALL ".join(parts)
