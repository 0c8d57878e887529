"""The exercise of notebook 18: a unit of work whose answer gets lost, asked for again."""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import cloudpickle

from helpers import databases
from helpers.exercises import lessons, progress
from helpers.exercises.verdict import Verdict
from helpers.explorer import Ending, Exploration, Program, explore
from helpers.strategies import OutcomeUnknown

#: Takes a `Server`, the name of a request, and an amount; returns the balance after it.
Withdraw = Callable[[Any, str, int], Any]

#: The account, which cannot pay more than it holds, and what has been answered to whom.
SCHEMA = """
    CREATE TABLE account (id INTEGER PRIMARY KEY, balance INTEGER NOT NULL CHECK (balance >= 0));
    INSERT INTO account VALUES (1, 1000);
    CREATE TABLE answer (request TEXT PRIMARY KEY, balance INTEGER);"""
BEFORE, AFTER = "before the COMMIT", "after the COMMIT"
#: What is asked for, and what another client takes each time that an answer is lost.
AMOUNT, OTHER = 100, 7
#: Lost answers in a row that an attempt has to bear, and calls after which it is called endless.
LOST, ENDLESS = 3, 20
#: All ways to lose one answer or more of the first `LOST`, single losses first.
_PLANS = sorted(
    itertools.product(("", AFTER, BEFORE), repeat=LOST), key=lambda p: LOST - p.count("")
)[1:]
_LOOK = "SELECT balance FROM account WHERE id = 1"


class Server:
    """A database behind a connection that breaks.

    Args:
        path: the database.
        lost: for each call of `write`, `BEFORE`, `AFTER`, or "" where the answer arrives; calls
            after the last entry are answered.
        other: what another client takes from the account each time that an answer is lost.
    """

    def __init__(self, path: str, lost: Iterable[str] = (), other: int = OTHER) -> None:
        self.path, self.calls, self.other = path, 0, other
        self.answers: list[int] = []
        self._lost = iter(lost)

    def write(self, unit_of_work: Callable[[sqlite3.Connection], Any]) -> Any:
        """Run it in one write transaction (BEGIN IMMEDIATE) and return its result.

        Raises:
            OutcomeUnknown: if the connection broke. Before the COMMIT nothing is stored, after
                it everything is: the caller sees no difference.
            Exception: what the unit of work raises; then nothing is stored.
        """
        self.calls += 1
        if self.calls > ENDLESS:
            raise _Endless
        lost = next(self._lost, "")
        with closing(sqlite3.connect(self.path, isolation_level=None, timeout=60)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                before = _balance(connection)
                result = unit_of_work(connection)
                after = _balance(connection)
                connection.execute("ROLLBACK" if lost == BEFORE else "COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
            if lost != BEFORE and after != before:
                self.answers.append(after)
            if lost:
                connection.execute("UPDATE account SET balance = balance - ?", [self.other])
                raise OutcomeUnknown("the connection broke: the unit may be stored")
            return result


class _Endless(BaseException):
    """The attempt does not give up."""


@progress.records
def check(withdraw: Withdraw) -> Verdict:
    """Judge a learner's withdrawal, for every way in which up to three answers get lost.

    Args:
        withdraw: takes the amount once for each request, however often and from how many
            threads it is called with it, and returns the balance after it, each time the same;
            an account that cannot pay raises, and nothing is stored; after some lost answers
            in a row it lets `OutcomeUnknown` out.
    """
    for problem in _problems(withdraw):
        return Verdict(False, problem)
    program = Program(
        SCHEMA, {"A": _job(withdraw), "B": _job(withdraw)}, _once, "the request is done once",
        look=_LOOK, journal_mode="wal", name="the exercise",
    )  # fmt: skip
    found = explore(program, merge=True, show=False)
    if found.failing or found.example("error"):
        return Verdict(False, _lesson(found), found)
    if not found.complete:
        return Verdict(False, f"too many orders to try them all. {found.verdict}", found)
    said = f"once in all {len(_PLANS)} ways to lose up to {LOST} answers"
    return Verdict(True, f"{said}, and in all {found.schedules} orders", found)


def trial(withdraw: Withdraw, lost: str) -> tuple[Any, int]:
    """What `withdraw` returns whose first answer is lost, and what the account holds then."""
    with _database() as path:
        return withdraw(Server(path, [lost], other=0), "r1", AMOUNT), _held(path)


def _problems(withdraw: Withdraw) -> Iterator[str]:
    """What is wrong with one thread, from the plain to the rare."""
    yield from _alone(withdraw)
    for plan in _PLANS:
        yield from _after(withdraw, plan)
    yield from _refused(withdraw)
    yield from _asked_again(withdraw)
    for lost in (AFTER, BEFORE):
        yield from _never_answered(withdraw, lost)


def _alone(withdraw: Withdraw) -> Iterator[str]:
    with _database() as path:
        server = Server(path)
        told, error = _called(withdraw, server, "r1", AMOUNT)
        if error is not None:
            yield f"already when every answer arrives, it raises {_named(error)}"
        elif (told, _held(path)) != (900, 900):
            yield (
                f"already when every answer arrives, it returns {told!r} and the account holds "
                f"{_held(path)}, not 900"
            )
        told, error = _called(withdraw, server, "r2", AMOUNT)
        if error is not None or (told, _held(path)) != (800, 800):
            yield (
                f"two requests, r1 and r2, take {AMOUNT} each, and the account holds "
                f"{_held(path)}, not 800; r2 is told {_named(error) if error else told}. "
                "What tells one request from another?"
            )


def _after(withdraw: Withdraw, plan: tuple[str, ...]) -> Iterator[str]:
    """What is wrong when these answers are lost."""
    lost = [f"answer {number} is lost {how}" for number, how in enumerate(plan, 1) if how]
    when = f"when {' and '.join(lost)},"
    with _database() as path:
        server = Server(path, plan)
        told, error = _called(withdraw, server, "r1", AMOUNT)
        taken = len(server.answers)
        if taken > 1:
            yield f"{when} {AMOUNT} is taken {taken} times. {_WHAT_TELLS}"
        elif isinstance(error, OutcomeUnknown):
            yield f"{when} it gives up: OutcomeUnknown gets out. Ask again, {LOST} times at least."
        elif error is not None:
            yield f"{when} it raises {_named(error)}. {_WHAT_TELLS}"
        elif not taken:
            yield (
                f"{when} it returns {told!r}, and nothing is taken: it believes that it is done. "
                "The note that it is done must be stored with the money, or not at all."
            )
        elif told != server.answers[0]:
            yield (
                f"{when} {AMOUNT} is taken once, but it returns {told!r}. The balance after it was "
                f"{server.answers[0]}; then others went on. Which answer must be kept, and where?"
            )


_WHAT_TELLS = "What, in the database, tells the next attempt that the one before is stored?"


def _refused(withdraw: Withdraw) -> Iterator[str]:
    with _database() as path:
        server = Server(path)
        told, error = _called(withdraw, server, "r1", 5000)
        if error is None:
            yield (
                f"when the account cannot pay, it returns {told!r}: the IntegrityError of CHECK "
                "is swallowed. Which of your errors means that the request is known?"
            )
        elif not isinstance(error, sqlite3.IntegrityError):
            yield (
                f"when the account cannot pay, it raises {_named(error)}, which its caller does "
                "not expect: let the IntegrityError of CHECK out"
            )
        told, error = _called(withdraw, server, "r1", AMOUNT)
        if error is not None or (told, _held(path)) != (900, 900):
            yield (
                f"after a refusal, because 5000 is too much, the same request for {AMOUNT} "
                f"is told {_named(error) if error else told}, and the account holds "
                f"{_held(path)}, not 900. What has the refused attempt left behind?"
            )


def _asked_again(withdraw: Withdraw) -> Iterator[str]:
    """The client is started anew, with no memory, and asks what it had asked."""
    with _database() as path:
        server = Server(path)
        first, _ = _called(withdraw, server, "r1", AMOUNT)
        _called(withdraw, server, "r2", 900)
        try:
            anew = cloudpickle.loads(cloudpickle.dumps(withdraw))
        except TypeError as problem:
            yield (
                f"it needs what only this process has ({problem}). A client that is started anew, "
                "or another one, does not have it; the database does."
            )
            return
        told, error = _called(anew, server, "r1", AMOUNT)
        if error is not None or (told, _held(path)) != (first, 0):
            yield (
                f"r1 is told {first}, r2 takes 900, and the client, started anew, asks for r1 "
                f"again: it is told {_named(error) if error else told}, and the account holds "
                f"{_held(path)}, not 0"
            )


def _never_answered(withdraw: Withdraw, lost: str) -> Iterator[str]:
    with _database() as path:
        # Rich enough for all that the other client takes.
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute("UPDATE account SET balance = 100000")
        server = Server(path, itertools.repeat(lost))
        told, error = _called(withdraw, server, "r1", AMOUNT)
        if isinstance(error, _Endless):
            yield (
                f"when every answer is lost, it asks {ENDLESS} times and does not end. After five "
                "let OutcomeUnknown out: its caller has to know."
            )
        elif not isinstance(error, OutcomeUnknown):
            said = f"it raises {_named(error)}" if error else f"it returns {told!r}"
            yield f"when every answer is lost, {said}. Nobody knows: let OutcomeUnknown out."


def _job(withdraw: Withdraw) -> Callable[[str], Any]:
    def run(path: str) -> Any:
        return withdraw(Server(path), "r1", AMOUNT)

    # The explorer looks for locks in the modules of its threads: the learner's is one of them.
    run.__module__ = getattr(withdraw, "__module__", __name__)
    return run


def _once(end: Ending) -> bool:
    return end.rows == [(900,)] and all(told == 900 for told in end.results.values())


def _lesson(found: Exploration) -> str:
    schedule = lessons.example(found) or ()
    outcome = found.replay(schedule).outcome
    number = found.counts.get(outcome.kind, 0) if outcome else 0
    told = "; ".join(f"{name} {said}" for name, said in (outcome.threads if outcome else ()))
    rows = outcome.rows if outcome else ""
    return (
        f"a client asks again while its first attempt still runs: in {number} of "
        f"{found.schedules} orders, for example {' '.join(schedule)}. Then the account holds "
        f"{rows}; {told}. To look and to take must be one unit of work."
    )


class _database:
    """The path of a fresh database, for a `with` block."""

    def __enter__(self) -> str:
        self._database = databases.Database()
        Path(self._database.path).write_bytes(databases.template_of(SCHEMA, "wal"))
        return str(self._database.path)

    def __exit__(self, *_: object) -> None:
        self._database.close()


def _called(
    withdraw: Withdraw, server: Server, request: str, amount: int
) -> tuple[Any, BaseException | None]:
    try:
        return withdraw(server, request, amount), None
    except (Exception, _Endless) as error:
        return None, error


def _balance(connection: sqlite3.Connection) -> int:
    return int(connection.execute(_LOOK).fetchone()[0])


def _held(path: str) -> int:
    with closing(sqlite3.connect(path)) as connection:
        return _balance(connection)


def _named(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"
