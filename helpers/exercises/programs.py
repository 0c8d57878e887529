"""The exercise of notebook 16: a strategy and its settings for each of five programs.

Each program is run in a child process, and arranged so that what breaks its requirement does so
in every run: threads wait for each other by events, not by luck.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from helpers import databases
from helpers.databases import ConnectionCounter
from helpers.exercises import progress
from helpers.exercises.verdict import Verdict
from helpers.load import sandbox
from helpers.workloads import Mix

if TYPE_CHECKING:
    import pandas as pd

#: Called with a path and a ``connect``, as the strategies are.
Factory = Callable[..., Any]

#: Seconds after which what should have happened meanwhile has not.
MEANWHILE = 2.0
#: Seconds that another program holds the write lock.
IMPORT = 1.0
#: Connections that program 2 may have open.
CONNECTIONS = 5
#: Seconds of a commit on program 3's disk.
SLOW = 0.002

_PAST = "it opened no connection by the connect that it was given"
_ADD = Mix(inside=0.01).unit(1, 0)
_LOOK = "SELECT balance FROM account WHERE id = 1"


def _look(connection: Any) -> int:
    return int(connection.execute(_LOOK).fetchall()[0][0])


class Broken(Exception):
    """A requirement is not met; the text says which."""


@contextlib.contextmanager
def _made(factory: Factory, path: Any, connect: Callable[..., Any]) -> Iterator[Any]:
    try:
        strategy = factory(path, connect)
    except Exception as error:
        raise Broken(f"it cannot be made: {error}") from None
    try:
        yield strategy
    finally:
        strategy.close()


def _stored(database: databases.Database, futures: list[Future[Any]]) -> None:
    """Raise unless every write was acknowledged and is stored."""
    for future in futures:
        if error := future.exception():
            raise Broken(f"a unit was refused: {type(error).__name__}: {error}") from None
    ((added,),) = database.query("SELECT balance - 1000 FROM account WHERE id = 1")
    if added != len(futures):
        raise Broken("a unit was acknowledged, and is not stored")


def _report(factory: Factory) -> None:
    reading, ordered = threading.Event(), threading.Event()

    def report(connection: Any) -> tuple[bool, bool]:
        before = _look(connection)
        reading.set()
        waited = not ordered.wait(MEANWHILE)
        return waited, before == _look(connection)

    with databases.fresh("accounts") as database, ThreadPoolExecutor(4) as pool:
        with _made(factory, database.path, sqlite3.connect) as strategy:
            reported = pool.submit(strategy.read, report)
            reading.wait(MEANWHILE)
            orders = [pool.submit(strategy.write, _ADD) for _ in range(3)]
            for order in orders:
                order.exception()
            ordered.set()
            waited, one_state = reported.result()
        _stored(database, orders)
    if waited:
        raise Broken("an order had to wait for the end of the report")
    if not one_state:
        raise Broken("the report saw two states of the shop")


def _crowd(factory: Factory) -> None:
    counter, opened = ConnectionCounter(), [0]
    together = threading.Barrier(30)

    def connect(*args: Any, **options: Any) -> sqlite3.Connection:
        connection = counter.connect(*args, **options)
        opened.append(len(counter.threads))
        return connection

    def page(connection: Any) -> int:
        # As many as the strategy lets in are inside at the same time.
        with contextlib.suppress(threading.BrokenBarrierError):
            together.wait(0.3)
        return _look(connection)

    with databases.fresh("accounts") as database, ThreadPoolExecutor(34) as pool:
        with _made(factory, database.path, connect) as strategy:
            pages = [pool.submit(strategy.read, page) for _ in range(30)]
            writes = [pool.submit(strategy.write, _ADD) for _ in range(4)]
            told = [future.exception() for future in pages]
            for write in writes:
                write.exception()
        _stored(database, writes)
    if not counter.total:
        raise Broken(_PAST)
    if max(opened) > CONNECTIONS:
        raise Broken(f"more than {CONNECTIONS} connections were open at the same time")
    if any(told):
        raise Broken(f"a page was refused: {next(filter(None, told))}")


#: What the sensors of program 3 send.
_VALUES = 320


class _SlowDisk(sqlite3.Connection):
    """Each commit takes a while, and is counted."""

    commits: list[None]

    def _commit(self) -> None:
        time.sleep(SLOW)
        self.commits.append(None)

    def execute(self, sql: str, *parameters: Any) -> sqlite3.Cursor:
        cursor = super().execute(sql, *parameters)
        # A statement outside a transaction commits itself.
        if sql.split(None, 1)[0].upper() in ("COMMIT", "END", "UPDATE") and not self.in_transaction:
            self._commit()
        return cursor

    def commit(self) -> None:
        super().commit()
        self._commit()

    def __exit__(self, *raised: Any) -> Any:
        ended = super().__exit__(*raised)  # does not call `commit`
        if raised[0] is None:
            self._commit()
        return ended

    def cursor(self, *_: Any, **__: Any) -> Any:
        """No cursor of `sqlite3`, whose calls would go past `execute`."""
        return _Cursor(self)


class _Cursor:
    """What `StatementLock` needs of a cursor."""

    def __init__(self, connection: _SlowDisk) -> None:
        self.connection, self.rows = connection, iter(())

    def execute(self, sql: str, *parameters: Any) -> _Cursor:
        self.rows = iter(self.connection.execute(sql, *parameters).fetchall())
        return self

    def fetchall(self) -> list[Any]:
        return list(self.rows)

    def close(self) -> None:
        """Nothing stays open."""


def _sensors(factory: Factory) -> None:
    # On a machine that stands still the threads come one by one, and there is nothing to group.
    if all(2 * _commits(factory) > _VALUES for _ in range(3)):
        raise Broken("the disk had to wait for more than one commit for every two values")


def _commits(factory: Factory) -> int:
    """How many commits it takes to store `_VALUES` from sixteen threads."""
    commits: list[None] = []

    def connect(path: Any, **options: Any) -> sqlite3.Connection:
        connection = sqlite3.connect(path, factory=_SlowDisk, **options)
        connection.commits = commits
        return connection

    def sense(_: int) -> None:
        for _ in range(_VALUES // 16):
            strategy.write(Mix().unit(1, 0))

    with databases.fresh("accounts") as database, ThreadPoolExecutor(16) as pool:
        with _made(factory, database.path, connect) as strategy:
            futures = [pool.submit(sense, number) for number in range(16)]
            refused = next(filter(None, [future.exception() for future in futures]), None)
        ((stored,),) = database.query("SELECT balance - 1000 FROM account WHERE id = 1")
    if refused is not None:
        raise Broken(f"a unit was refused: {type(refused).__name__}: {refused}")
    if stored != _VALUES:
        raise Broken("a unit was acknowledged, and is not stored")
    if not commits:
        raise Broken(_PAST)
    return len(commits)


_user = threading.local()


def _import(factory: Factory) -> None:
    def sale(connection: Any) -> None:
        _ADD(connection)
        name = getattr(_user, "name", "nobody")
        connection.execute("UPDATE account SET owner = ? WHERE id = 1", (name,))

    def sell(strategy: Any) -> None:
        _user.name = "Ada"
        strategy.write(sale)

    with (
        databases.fresh("accounts") as database,
        ThreadPoolExecutor(2) as pool,
        _made(factory, database.path, sqlite3.connect) as strategy,
        contextlib.closing(database.connect(isolation_level=None)) as other,
    ):
        strategy.read(_look)  # changes the journal mode, if it is to be changed
        other.execute("BEGIN IMMEDIATE")
        began = time.monotonic()
        sold = pool.submit(sell, strategy)
        time.sleep(IMPORT / 5)  # the sale waits by now
        page = pool.submit(strategy.read, _look)
        with contextlib.suppress(TimeoutError):
            page.exception(IMPORT / 2)
        waited = not page.done()
        time.sleep(max(0.0, began + IMPORT - time.monotonic()))
        other.execute("COMMIT")
        if error := page.exception():
            raise Broken(f"a page was refused: {error}")
        _stored(database, [sold])
        ((name,),) = database.query("SELECT owner FROM account WHERE id = 1")
    if waited:
        raise Broken("a page had to wait for the import")
    if name != "Ada":
        raise Broken("the sale was stored without the name of the thread's user")


def _in_memory(factory: Factory) -> None:
    schema = "CREATE TABLE account (id INTEGER PRIMARY KEY, balance INTEGER NOT NULL)"

    def make(connection: Any) -> None:
        connection.execute(schema)
        connection.execute("INSERT INTO account VALUES (1, 1000)")

    with _made(factory, ":memory:", sqlite3.connect) as strategy, ThreadPoolExecutor(3) as pool:
        strategy.write(make)
        futures = [pool.submit(strategy.write, _ADD) for _ in range(6)]
        for future in futures:
            if error := future.exception():
                raise Broken(f"a thread was told: {error}") from None
        if strategy.read(_look) != 1006:
            raise Broken("a unit was acknowledged, and is not stored")


class Case(NamedTuple):
    """A program: what it is, what it requires, and the run that tries it."""

    program: str
    requirement: str
    run: Callable[[Factory], None]


#: The five programs, from 1.
CASES = {
    1: Case(
        "A shop: three threads take orders, and a report reads",
        "no order waits for the report, which sees one state",
        _report,
    ),
    2: Case(
        "A server: thirty threads read together, four write",
        f"at most {CONNECTIONS} connections are open at a time",
        _crowd,
    ),
    3: Case(
        "Sixteen sensors write; a commit takes the disk 2 ms",
        "at most one commit for every two values",
        _sensors,
    ),
    4: Case(
        "A till; another program holds the write lock for 1 s",
        "no page waits, no sale is refused or without its user",
        _import,
    ),
    5: Case(
        "A test suite: three threads, and the path :memory:",
        "all threads use one database",
        _in_memory,
    ),
}


def table() -> pd.DataFrame:
    """The programs and their requirements, numbered."""
    import pandas as pd

    rows = [(number, case.program, case.requirement) for number, case in CASES.items()]
    return pd.DataFrame(rows, columns=["no.", "program", "requirement"])


@progress.records
def check(answers: Mapping[int, Factory]) -> Verdict:
    """Run each program with the strategy chosen for it, until a requirement breaks.

    Args:
        answers: number of the program -> a strategy, or what `Settings.applied_to` makes of one.
            In all of them every unit that is acknowledged must be stored, and none refused.

    Raises:
        ValueError: for a program that does not exist.
    """
    for number in sorted(answers):
        _known(number)
    for number in CASES:
        if number not in answers:
            return Verdict(False, f"program {number} has no strategy yet")
        verdict = check_one(number, answers[number])
        if not verdict.solved:
            return verdict
    return Verdict(True, f"each of the {len(CASES)} programs was run, and has what it requires")


def check_one(number: int, strategy: Factory) -> Verdict:
    """Run one program, in a child process, with a strategy, as `check` does.

    Raises:
        ValueError: for a program that does not exist.
    """
    case = _known(number)
    result = sandbox.call(partial(_told, case.run), strategy, seconds=30)
    reason = str(result.value if result.kind == "returned" else result)
    if reason:
        return Verdict(False, f"program {number}: {reason}. It requires: {case.requirement}")
    return Verdict(True, f"program {number}: {case.requirement}")


def _known(number: int) -> Case:
    if number not in CASES:
        raise ValueError(f"there is no program {number!r}: they go from 1 to {len(CASES)}")
    return CASES[number]


def _told(run: Callable[[Factory], None], factory: Factory) -> str:
    try:
        run(factory)
    except Broken as broken:
        return str(broken)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""
