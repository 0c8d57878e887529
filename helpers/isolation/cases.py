"""Two or three sessions of SQL, and what counts as an anomaly: data, and the program it becomes."""

from __future__ import annotations

import itertools
import sqlite3
import tomllib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass
from functools import cache
from typing import Any

from helpers import databases
from helpers.explorer import Ending, Program
from helpers.history import CallError
from helpers.isolation.levels import Level

SETUP = (
    "CREATE TABLE t (id INTEGER PRIMARY KEY, value INTEGER); INSERT INTO t VALUES (1, 10), (2, 20)"
)
LOOK = "SELECT value FROM t ORDER BY id LIMIT 2"
ANOMALIES = databases.DATA / "anomalies.toml"

#: What the statements of a session begin with. Transactions are the level's business, tables that
#: of `setup`; but a session may take back what it did.
_WORDS = ("SELECT", "VALUES", "WITH", "INSERT", "REPLACE", "UPDATE", "DELETE", "ROLLBACK")
_KEYS = {"name", "title", "setup", "look", "sessions", "anomaly"}

#: What SELECTs returned, one list of values each, or what `look` did.
Values = list[Any]


class CaseError(ValueError):
    """A case that cannot be run; the message says why, and where."""


@dataclass(frozen=True)
class Case:
    """Sessions that run at the same time, and the endings that no serial order may have.

    Attributes:
        name, title: as in ``G2-item`` and ``write skew``.
        sessions: name -> its statements, without BEGIN and COMMIT; the last may be ROLLBACK.
        anomaly: endings that count: session -> the values of its SELECTs, one list each, and
            ``end`` -> the values that `look` returns.
        setup: SQL that makes the tables.
        look: the query for ``end``.
    """

    name: str
    title: str
    sessions: Mapping[str, tuple[str, ...]]
    anomaly: tuple[Mapping[str, Values], ...]
    setup: str = SETUP
    look: str = LOOK

    def program(self, level: Level) -> Program:
        """What the explorer and the stage take. Its invariant: the anomaly does not happen."""
        return Program(
            self.setup,
            {name: _session(statements, level) for name, statements in self.sessions.items()},
            lambda end: not self.happened(end),
            f"no {self.title}",
            self.look,
            level.journal_mode,
            share=level.connect if level.shared else None,
            name=f"{self.name}, {level.name}",
        )

    def happened(self, end: Ending) -> bool:
        """Whether this is the anomaly, and all sessions were told that they succeeded."""
        seen = {**end.results, "end": [value for row in end.rows for value in row]}
        return not end.errors and any(
            all(seen[key] == values for key, values in ending.items()) for ending in self.anomaly
        )

    def transactions(self) -> dict[str, tuple[str, ...]]:
        """The sessions, each with BEGIN, and COMMIT unless it ends in ROLLBACK."""
        return {
            name: ("BEGIN", *given, *([] if _takes_back(given) else ["COMMIT"]))
            for name, given in self.sessions.items()
        }

    def serial(self, *order: str) -> Ending:
        """What the sessions see, and leave behind, if they run one after the other.

        Args:
            order: of the sessions; those that it leaves out do not run.
        """
        sessions = self.transactions()
        return serial_ending(self.setup, self.look, {name: sessions[name] for name in order})

    def serial_anomaly(self) -> tuple[str, ...] | None:
        """A serial order that has the "anomaly", which then is none; None if there is none."""
        orders = itertools.permutations(self.sessions)
        return next((order for order in orders if self.happened(self.serial(*order))), None)


def serial_ending(setup: str, look: str, sessions: Mapping[str, Sequence[str]]) -> Ending:
    """Run sessions one after the other, in their order, on a fresh database in memory.

    A session ends at its first error. What it leaves open is rolled back.
    """
    results, errors = {}, {}
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        connection.executescript(setup)
        for name, statements in sessions.items():
            try:
                found = [_statement(connection, sql) for sql in statements]
                results[name] = [values for values in found if values is not None]
            except sqlite3.Error as error:
                errors[name] = CallError.of(error)
            connection.rollback()
        return Ending(connection.execute(look).fetchall(), results, errors)


def _takes_back(statements: Sequence[str]) -> bool:
    return statements[-1].upper() == "ROLLBACK"


def _session(statements: tuple[str, ...], level: Level) -> Callable[[Any], list[Values]]:
    """A thread that runs a session and returns the values of its SELECTs.

    At its first error it ends, and a connection of its own is rolled back.
    """
    begin = level.begin_of(statements)

    def run(given: Any) -> list[Values]:
        own = nullcontext(given) if level.shared else closing(level.connect(given))
        with own as connection:
            if begin:
                level.start(connection, begin)
            found = [_statement(connection, sql) for sql in statements]
            if begin and not _takes_back(statements):
                connection.commit()
        return [values for values in found if values is not None]

    return run


def _statement(connection: sqlite3.Connection, sql: str) -> Values | None:
    """Run one statement; the values of its rows, None if it is no query."""
    if sql.upper() == "ROLLBACK":
        connection.rollback()  # where nothing is open, there is nothing to take back
        return None
    cursor = connection.execute(sql)
    return [value for row in cursor.fetchall() for value in row] if cursor.description else None


@cache
def _stored() -> tuple[Case, ...]:
    return read_cases(ANOMALIES.read_text(encoding="utf-8"))


def anomalies() -> dict[str, Case]:
    """The anomalies of `data/anomalies.toml`: name -> case."""
    return {case.name: case for case in _stored()}


def read_cases(text: str) -> tuple[Case, ...]:
    """Cases from TOML, each under ``[[case]]``; the file of the anomalies says how.

    Raises:
        CaseError: naming the case and what is wrong with it.
    """
    found = _toml(text)
    if set(found) != {"case"} or not isinstance(found["case"], list):
        raise CaseError("each case stands under [[case]], and nothing before the first")
    cases = tuple(_case(entry) for entry in found["case"])
    twice = [name for name, number in Counter(case.name for case in cases).items() if number > 1]
    if twice:
        raise CaseError(f"{len(cases)} cases, and more than one is called {twice[0]!r}")
    return cases


def read_case(text: str, setup: str = SETUP, look: str = LOOK) -> Case:
    """One case from TOML, without ``[[case]]``.

    Args:
        text: the file of the anomalies says how.
        setup: SQL that makes the tables, where `text` does not say.
        look: the query for the end, where `text` does not say.

    Raises:
        CaseError: saying what is wrong with it.
    """
    return _case({"setup": setup, "look": look, **_toml(text)})


def _toml(text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise CaseError(f"this is not TOML: {error}") from None


def _case(entry: dict[str, Any]) -> Case:
    """Check and make one case."""
    name = entry.get("name", "the case")
    try:
        _check_form(entry)
        _check_endings(entry["anomaly"], entry["sessions"])
        case = Case(
            name,
            entry.get("title", name),
            {
                session: tuple(sql.strip().rstrip("; ") for sql in given)
                for session, given in entry["sessions"].items()
            },
            tuple(entry["anomaly"]),
            entry.get("setup", SETUP),
            entry.get("look", LOOK),
        )
        _prepare(case)
        _count(case)
    except CaseError as error:
        raise CaseError(f"{name}: {error}") from None
    return case


def _need(right: object, reason: str) -> None:
    if not right:
        raise CaseError(reason)


def _check_form(entry: dict[str, Any]) -> None:
    unknown = sorted(set(entry) - _KEYS)
    _need(not unknown, f"{unknown[0] if unknown else ''!r} is none of {', '.join(sorted(_KEYS))}")
    texts = (entry.get(key, "") for key in ("name", "title", "setup", "look"))
    _need(all(isinstance(text, str) for text in texts), "name, title, setup and look are texts")
    sessions, anomaly = entry.get("sessions"), entry.get("anomaly")
    _need(isinstance(sessions, dict) and 1 < len(sessions) < 4, "give two or three sessions")
    _need(isinstance(anomaly, list) and anomaly, "say in 'anomaly' which endings count")
    for session, statements in entry["sessions"].items():
        said = f"no session can be called {session!r}"
        _need(session and session != "end" and ":" not in session, said)
        _need(_texts(statements), f"session {session} must be a list of SQL statements")
        for number, sql in enumerate(statements, 1):
            where = f"session {session}, statement {number}"
            word = sql.split(None, 1)[0].upper().rstrip(";")
            said = f"{where}: {word} cannot stand here"
            _need(word in _WORDS, f"{said}; the level begins and commits, `setup` makes the tables")
            last = number == len(statements)
            _need(word != "ROLLBACK" or last, f"{where}: only the last can be ROLLBACK")


def _check_endings(anomaly: Sequence[Any], sessions: Mapping[str, Any]) -> None:
    for ending in anomaly:
        _need(isinstance(ending, dict) and ending, "an ending is { session = [[values]], … }")
        strange = [key for key in ending if key != "end" and key not in sessions]
        _need(not strange, f"an ending names {strange}, and no session is called so")
        for key, values in ending.items():
            inner = [isinstance(one, list) for one in values] if isinstance(values, list) else None
            if key == "end":
                right, like = inner is not None and not any(inner), "one list of values, [10, 20]"
            else:
                right, like = inner is not None and all(inner), "a list for each SELECT, [[10], []]"
            _need(right, f"what an ending says of {key} must be {like}, not {values}")


def _count(case: Case) -> None:
    """An ending has as many lists for a session as statements of it read."""
    for session in case.sessions:
        read = case.serial(session).results.get(session)  # None if it fails alone
        for values in (ending[session] for ending in case.anomaly if session in ending):
            right = read is None or len(values) == len(read)
            count = f"statements that read {len(read or ())}, lists in an ending {len(values)}"
            _need(right, f"session {session}: {count}")


def _texts(values: object) -> bool:
    return (
        isinstance(values, list)
        and bool(values)
        and all(isinstance(text, str) and text.strip(" ;\n") for text in values)
    )


def _prepare(case: Case) -> None:
    """Let SQLite compile every statement."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        where = "setup"
        try:
            connection.executescript(case.setup)
            where = "look"
            connection.execute(case.look)
            for session, statements in case.sessions.items():
                for number, sql in enumerate(statements, 1):
                    where = f"session {session}, statement {number}"
                    connection.execute(f"EXPLAIN {sql}")
        except (sqlite3.Error, sqlite3.Warning) as error:
            raise CaseError(f"{where}: {error}") from None
