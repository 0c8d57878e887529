"""What a strategy promises, as programs for the explorer: two threads that share one strategy.

Each promise is one small program. A strategy that keeps all of them, in every order of the
steps, can be trusted with units of work that read and write, that give up halfway, and that
only read.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from helpers.exercises import lessons
from helpers.explorer import Ending, Program, Run
from helpers.strategies import Strategy
from helpers.workloads import Cancelled

if TYPE_CHECKING:
    import pandas as pd

#: Makes a strategy from the path of a database: a strategy class, or a partial of one.
StrategyClass = Callable[[str], Any]

#: What `READS` shows on the stage.
SUM = "SELECT sum(balance) FROM account WHERE id IN (1, 2)"
_CALLED_OFF = "called off"
#: What a thread reports whose inner unit was not refused.
_LET_IN = (_CALLED_OFF, lessons.NOT_TOLD)


@dataclass(frozen=True)
class Promise:
    """One promise: the threads that put it to the test, and what is to be seen when it breaks.

    Attributes:
        kept: the promise, as in "no increment is lost".
        broken: what an order does that breaks it, as in "lose an increment".
        threads: functions that take the strategy.
        invariant: whether the promise was kept.
        story: tells how one run broke it.
        refused: tells why a thread saw an error in one run.
        stuck: what to think of when a run does not come to an end.
        sample: the database.
        look: the query that is shown on the stage.
        also: programs that belong to the same promise, and are tried after its own.
    """

    kept: str
    broken: str
    threads: tuple[Callable[[Any], Any], ...]
    invariant: Callable[[Ending], bool]
    story: lessons.Story
    refused: lessons.Story = lessons.refused
    stuck: str = "Who holds what the others wait for, and when is it given back?"
    sample: str = "counter"
    look: str = "SELECT value FROM counter"
    also: tuple[Promise, ...] = ()

    def program(self, strategy: StrategyClass, journal_mode: str = "delete") -> Program:
        """The program that tries `strategy`."""
        return Program(
            self.sample,
            self.threads,
            self.invariant,
            claim=self.kept,
            look=self.look,
            journal_mode=journal_mode,
            share=strategy,
            name=self.kept,
        )

    def alone(self, strategy: StrategyClass, journal_mode: str = "delete") -> Program:
        """The same for the first thread only."""
        program = self.program(strategy, journal_mode)
        program.threads = {"A": self.threads[0]}
        return program


@dataclass(frozen=True)
class Shared:
    """A strategy and the path of its database, which the strategy itself need not keep."""

    strategy: Any
    path: str

    def close(self) -> None:
        """Close the strategy."""
        self.strategy.close()


class WithPath(Promise):
    """A promise whose threads get a `Shared`."""

    def program(self, strategy: StrategyClass, journal_mode: str = "delete") -> Program:
        """The program that tries `strategy`."""

        def share(path: str) -> Shared:
            return Shared(strategy(path), path)

        # The explorer looks for locks and connections where what is shared is defined.
        share.__module__ = getattr(strategy, "func", strategy).__module__
        program = super().program(strategy, journal_mode)
        program.share = share
        return program


def add_one(connection: sqlite3.Connection) -> None:
    """A unit of work that reads the counter and writes it back one higher."""
    (value,) = connection.execute("SELECT value FROM counter").fetchone()
    connection.execute("UPDATE counter SET value = ?", (value + 1,))


def give_up(connection: sqlite3.Connection) -> None:
    """The same, called off after it has written."""
    add_one(connection)
    raise Cancelled(_CALLED_OFF)


def move(connection: sqlite3.Connection) -> None:
    """Move 100 from the first account to the second."""
    connection.execute("UPDATE account SET balance = balance - 100 WHERE id = 1")
    connection.execute("UPDATE account SET balance = balance + 100 WHERE id = 2")


def add_up(connection: sqlite3.Connection) -> int:
    """Read both accounts, one after the other, and return their sum."""
    select = "SELECT balance FROM account WHERE id = ?"
    return sum(connection.execute(select, [number]).fetchone()[0] for number in (1, 2))


def _increments(strategy: Strategy) -> None:
    strategy.write(add_one)


def _gives_up(strategy: Strategy) -> str:
    try:
        strategy.write(give_up)
    except Cancelled:
        # A thread goes on after an exception, with whatever its first unit left behind.
        strategy.write(add_one)
        return _CALLED_OFF
    return lessons.NOT_TOLD


def _moves(strategy: Strategy) -> None:
    strategy.write(move)


def _adds_up(strategy: Strategy) -> Any:
    return strategy.read(add_up)


def _nests(strategy: Strategy) -> str:
    def outer(connection: sqlite3.Connection) -> None:
        add_one(connection)
        strategy.write(add_one)
        raise Cancelled(_CALLED_OFF)

    try:
        strategy.write(outer)
    except Exception as error:
        return _CALLED_OFF if isinstance(error, Cancelled) else type(error).__name__
    return lessons.NOT_TOLD


def _nests_and_goes_on(strategy: Strategy) -> None:
    def outer(connection: sqlite3.Connection) -> None:
        add_one(connection)
        with contextlib.suppress(Exception):
            strategy.write(add_one)

    strategy.write(outer)


def _taken_along(run: Run) -> str:
    return (
        "The inner unit was refused, the outer one went on, and what it had done before is gone: "
        "the refusal has ended a transaction that is not its own. Refuse before anything is begun."
    )


def no_increment_lost(end: Ending) -> bool:
    """The counter equals the number of threads that were told that all went well."""
    return bool(end.value == len(end.succeeded))


def _half_is_not_stored(end: Ending) -> bool:
    told = end.results.get("B", _CALLED_OFF) == _CALLED_OFF
    return told and bool(end.value == len(end.succeeded))


INCREMENTS = Promise(
    "no increment is lost",
    "lose an increment",
    (_increments, _increments),
    no_increment_lost,
    lessons.lost_update,
)
CANCELLED = Promise(
    "of a unit that raises nothing is stored, and of the others everything",
    "store half of a unit that raised, or lose another one",
    (_increments, _gives_up),
    _half_is_not_stored,
    lessons.half_kept,
    lessons.left_open,
    "B's unit raised, and what it held was not given back: what must happen on every way out?",
)
READS = Promise(
    "no reader sees half a transfer",
    "show a reader half a transfer",
    (_moves, _adds_up),
    lambda end: bool(end.results.get("B", 2000) == 2000),
    lessons.torn_read,
    sample="accounts",
    look=SUM,
)
GOES_ON = Promise(
    "a unit that goes on after another was refused inside it is stored as it is told",
    "store something else than was acknowledged",
    (_nests_and_goes_on,),
    no_increment_lost,
    _taken_along,
    _taken_along,
)
NESTED = Promise(
    "a unit inside a unit is refused, and stores nothing",
    "let a unit into a unit",
    (_nests,),
    lambda end: bool(end.value == 0 and end.results.get("A") not in _LET_IN),
    lessons.let_in,
    stuck=(
        "The unit of work called the strategy again, and now its thread waits for what it holds "
        "itself. Refuse that with an error before anybody waits."
    ),
)


def of(strategy: StrategyClass, nested: bool = False) -> list[Promise]:
    """The promises to be tried: `READS` only if the strategy has a method ``read``.

    Raises:
        TypeError: if it has no method ``write``.
    """
    cls = getattr(strategy, "func", strategy)
    if isinstance(cls, type) and not callable(getattr(cls, "write", None)):
        raise TypeError(
            f"{cls.__name__} has no method 'write': give a strategy, a class whose "
            "write(unit_of_work) runs a function of the connection"
        )
    reads = [READS] if has_read(strategy) else []
    return [INCREMENTS, CANCELLED, *reads, *([NESTED] if nested else [])]


def has_read(strategy: StrategyClass) -> bool:
    """Whether it has a method ``read``, as far as can be told without making one."""
    cls = getattr(strategy, "func", strategy)
    return not isinstance(cls, type) or callable(getattr(cls, "read", None))


def table(
    strategies: Mapping[str, StrategyClass], journal_mode: str = "delete", nested: bool = False
) -> pd.DataFrame:
    """One row per strategy and promise: orders tried, and how many break it or show an error."""
    import pandas as pd

    from helpers.explorer import explore

    rows = []
    for name, strategy in strategies.items():
        for promise in of(strategy, nested):
            found = explore(promise.program(strategy, journal_mode), show=False)
            errors = found.counts.get("error", 0)
            rows.append((name, promise.kept, found.schedules, found.failures, errors))
    columns = ["strategy", "promise", "orders", "of which break it", "of which show an error"]
    return pd.DataFrame(rows, columns=columns)
