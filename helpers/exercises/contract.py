"""The rest of what `helpers.strategies` promises, as programs for the explorer.

`helpers.exercises.promises` tries a strategy with its own two threads. An application meets more:
unforeseen exceptions, a COMMIT that fails, and other processes, of which no lock
in Python knows anything. In these programs they are connections of their own.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing

from helpers.exercises import lessons
from helpers.exercises.promises import (
    GOES_ON,
    SUM,
    Promise,
    Shared,
    StrategyClass,
    WithPath,
    add_one,
    add_up,
    move,
)  # fmt: skip
from helpers.explorer import Ending, Program, Run
from helpers.strategies import OutcomeUnknown, Strategy

_REFUSED, _UNKNOWN = "refused", "perhaps stored"
#: What the two accounts hold together.
_BOTH = 2000

#: What a strategy without ``read`` is told.
NO_READ = (
    "there is no method read: whoever only reads has to use the connection beside the lock, and "
    "sees half a transfer"
)


class _Unforeseen(BaseException):
    """An exception that no strategy can name, as KeyboardInterrupt and SystemExit may be."""


def _interrupted(strategy: Strategy) -> str | None:
    def unit(connection: sqlite3.Connection) -> None:
        add_one(connection)
        raise _Unforeseen

    try:
        strategy.write(unit)
    except _Unforeseen:
        strategy.write(add_one)
        return None
    return lessons.NOT_TOLD


def _beside_a_reader(shared: Shared) -> str | None:
    """In a rollback journal the COMMIT cannot succeed while another connection reads."""
    told = None
    with closing(sqlite3.connect(shared.path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT value FROM counter").fetchone()
        try:
            shared.strategy.write(add_one)
        except OutcomeUnknown:
            told = _UNKNOWN
        except Exception:
            told = _REFUSED
        reader.execute("COMMIT")
    shared.strategy.write(add_one)
    return told


def _beside_a_writer(shared: Shared) -> str | None:
    """The first BEGIN, or the first write, cannot succeed while another connection writes."""
    told = None
    with closing(sqlite3.connect(shared.path, isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        try:
            shared.strategy.write(add_one)
        except Exception:
            told = _REFUSED
        writer.execute("ROLLBACK")
    shared.strategy.write(add_one)
    return told


def _writes(shared: Shared) -> None:
    shared.strategy.write(add_one)


def _or_is_told(strategy: Strategy) -> str | None:
    try:
        strategy.write(add_one)
    except Exception:
        return _REFUSED
    return None


def _reads(shared: Shared) -> int:
    read = getattr(shared.strategy, "read", None)
    return int(read(add_up)) if read else _BOTH  # that there is none is told elsewhere


def _moves_in_another_process(shared: Shared) -> None:
    with closing(sqlite3.connect(shared.path, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        move(connection)
        connection.execute("COMMIT")


def _another_process(shared: Shared) -> None:
    with closing(sqlite3.connect(shared.path, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        add_one(connection)
        connection.execute("COMMIT")


def _stored_as_told(end: Ending) -> bool:
    """Two units of A: the second is acknowledged, and the first unless it was refused."""
    stored = {_REFUSED: (1,), _UNKNOWN: (1, 2)}
    return "A" in end.errors or end.value in stored.get(end.results["A"], (2,))


# -- what is told about a run that broke a promise ---------------------------------------------


def _left_behind(run: Run) -> str:
    if any(lessons.NOT_TOLD in end for _, end in (run.outcome.threads if run.outcome else ())):
        return "The unit raised, and write returned as if it had not: raise the error again."
    return (
        "A's first unit ended with an exception that is no Exception, as Ctrl-C and sys.exit() "
        "are none, and its transaction stayed open for the next unit. Roll back after any."
    )


def _commit_failed(run: Run) -> str:
    return (
        "A reader made the COMMIT of A's first unit fail, and its transaction stayed open. A "
        "COMMIT may fail like any statement: what rolls back must surround it too."
    )


def _begin_failed(run: Run) -> str:
    return (
        "Another process held the write lock for too long, and A's first unit was refused. BEGIN "
        "may fail as any statement may: what gives back and answers must surround it too."
    )


def _not_kept_out(run: Run) -> str:
    return (
        "B is another process: your lock keeps out only threads of its own. Which BEGIN takes the "
        "write lock on the file before the SELECT?"
    )


def _waited_in_vain(run: Run) -> str:
    return (
        "A wait ended before its turn had come, for the lock or for the file, and write returned "
        "as if its unit were stored: raise an error."
    )


def _torn_beside(run: Run) -> str:
    return (
        "B is another process and moves money while A reads: your lock does not keep it out. All "
        "SELECTs of a read need one transaction."
    )


class _Hurried(Promise):
    """A promise that is tried with waits that may end at any step."""

    def program(self, strategy: StrategyClass, journal_mode: str = "delete") -> Program:
        program = super().program(strategy, journal_mode)
        program.expire = "any"
        return program


ANY_EXCEPTION = Promise(
    "whatever exception ends a unit, nothing of it is stored",
    "store half of a unit that ended with an exception",
    (_interrupted,),
    lambda end: bool("A" in end.errors or (end.value == 1 and end.results["A"] is None)),
    _left_behind,
    _left_behind,
    "A's unit raised, and what it held was not given back: what must happen on every way out?",
)
FAILED_BEGIN = WithPath(
    "a unit whose BEGIN fails harms no other",
    "store a unit whose BEGIN has failed, or lose another one",
    (_beside_a_writer,),
    _stored_as_told,
    _begin_failed,
    _begin_failed,
    "The BEGIN of A's first unit failed, and what it held was not given back.",
)
HURRIED = _Hurried(
    "whoever waited in vain is told",
    "acknowledge a unit that waited in vain",
    (_or_is_told, _or_is_told),
    lambda end: bool(end.value == [*end.results.values()].count(None)),
    _waited_in_vain,
)
FAILED_COMMIT = WithPath(
    "of a unit whose COMMIT fails nothing is stored",
    "store a unit whose COMMIT has failed, or lose another one",
    (_beside_a_reader,),
    _stored_as_told,
    _commit_failed,
    _commit_failed,
    "The COMMIT of A's first unit failed, and what it held was not given back.",
    also=(FAILED_BEGIN, HURRIED),
)
READS_BESIDE = WithPath(
    "no reader sees half of another process's transfer",
    "show a reader half of another process's transfer",
    (_reads, _moves_in_another_process),
    lambda end: bool(end.results.get("A", _BOTH) == _BOTH),
    _torn_beside,
    sample="accounts",
    look=SUM,
)
ANOTHER_PROCESS = WithPath(
    "beside another process nothing is lost or refused",
    "lose an increment, A's or that of another process",
    (_writes, _another_process),
    lambda end: bool(end.value == len(end.succeeded)),
    _not_kept_out,
    _not_kept_out,
    "B is another process, and one of the two never comes to its end.",
    also=(READS_BESIDE, GOES_ON),
)

#: What `exercises.check_strategy` tries a strategy with when it is asked for the whole contract.
PROMISES = (ANY_EXCEPTION, FAILED_COMMIT, ANOTHER_PROCESS)
