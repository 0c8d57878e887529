"""The programs that the explorer must get right, each with the counts that follow by reasoning.

``python -m helpers scenarios`` explores them all, in both journal modes, and
compares with what was derived by hand. The derivations are in each scenario's `why`: letters
stand for the steps of one thread (b BEGIN, s SELECT, u UPDATE, c COMMIT, x close with rollback).
"""

from __future__ import annotations

import queue
import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

from helpers.explorer import Ending, Program

SELECT = "SELECT value FROM counter"
UPDATE = "UPDATE counter SET value = ?"
CLAIM = "no increment is lost"


def _connect(path: str, **options: Any) -> sqlite3.Connection:
    connection: sqlite3.Connection = sqlite3.connect(path, isolation_level=None, **options)
    return connection


@contextmanager
def _transaction(connection: sqlite3.Connection, wanted: bool) -> Iterator[None]:
    if wanted:
        connection.execute("BEGIN")
    yield
    if wanted:
        connection.execute("COMMIT")


def _read_and_write(connection: sqlite3.Connection) -> None:
    (value,) = connection.execute(SELECT).fetchone()
    connection.execute(UPDATE, (value + 1,))


def autocommit(path: str) -> None:
    """Read, then write, each a transaction of its own."""
    with closing(_connect(path)) as connection:
        _read_and_write(connection)


def begin(kind: str) -> Callable[[str], None]:
    """Read and write between BEGIN `kind` and COMMIT."""

    def job(path: str) -> None:
        with closing(_connect(path)) as connection:
            connection.execute(f"BEGIN {kind}".strip())
            _read_and_write(connection)
            connection.execute("COMMIT")

    return job


def implicit(path: str) -> None:
    """As `sqlite3` does it by default: a transaction begins with the UPDATE."""
    with closing(sqlite3.connect(path)) as connection, connection:
        _read_and_write(connection)


def atomic(path: str) -> None:
    """One statement that reads and writes."""
    with closing(_connect(path)) as connection:
        connection.execute("UPDATE counter SET value = value + 1")


def compare_and_swap(path: str) -> None:
    """Write only if no other has written since; else start over."""
    with closing(_connect(path)) as connection:
        changed = 0
        while not changed:
            (value,) = connection.execute(SELECT).fetchone()
            sql = f"{UPDATE} WHERE value = ?"
            changed = connection.execute(sql, (value + 1, value)).rowcount


def no_increment_lost(end: Ending) -> bool:
    """The counter equals the number of threads that were told that all went well."""
    return bool(end.value == len(end.succeeded))


class Shared:
    """One connection for all threads, and a lock that they may or may not use."""

    def __init__(self, path: str) -> None:
        self.connection = sqlite3.connect(path, check_same_thread=False)
        self.lock = threading.Lock()


def without_lock(shared: Shared) -> None:
    """Read, write and commit on the shared connection."""
    _read_and_write(shared.connection)
    shared.connection.commit()


def lock_per_statement(shared: Shared) -> None:
    """The same, each call under the lock."""
    with shared.lock:
        (value,) = shared.connection.execute(SELECT).fetchone()
    with shared.lock:
        shared.connection.execute(UPDATE, (value + 1,))
    with shared.lock:
        shared.connection.commit()


def lock_per_transaction(shared: Shared) -> None:
    """The same, the lock held from the read to the commit."""
    with shared.lock:
        without_lock(shared)


def add_then_commit(shared: Shared) -> None:
    """Add 1 and commit, each call under the lock."""
    with shared.lock:
        shared.connection.execute("UPDATE counter SET value = value + 1")
    with shared.lock:
        shared.connection.commit()


def add_then_roll_back(shared: Shared) -> None:
    """Add 100 and change one's mind, each call under the lock."""
    with shared.lock:
        shared.connection.execute("UPDATE counter SET value = value + 100")
    with shared.lock:
        shared.connection.rollback()


DOCTORS = """
    CREATE TABLE doctor (name TEXT PRIMARY KEY, on_call INTEGER NOT NULL);
    INSERT INTO doctor VALUES ('A', 1), ('B', 1)"""


def go_off_call(name: str, in_transaction: bool) -> Callable[[str], None]:
    """Go off call if another doctor is on call."""

    def job(path: str) -> None:
        with closing(_connect(path)) as connection, _transaction(connection, in_transaction):
            (count,) = connection.execute("SELECT sum(on_call) FROM doctor").fetchone()
            if count > 1:
                connection.execute("UPDATE doctor SET on_call = 0 WHERE name = ?", (name,))

    return job


def transfer(amount: int) -> Callable[[str], None]:
    """Move `amount` from account 1 to account 2 in a deferred transaction."""

    def job(path: str) -> None:
        with closing(_connect(path)) as connection, _transaction(connection, True):
            sql = "SELECT balance FROM account WHERE id = 1"
            (balance,) = connection.execute(sql).fetchone()
            sql = "UPDATE account SET balance = ? WHERE id = 1"
            connection.execute(sql, (balance - amount,))
            sql = "UPDATE account SET balance = balance + ? WHERE id = 2"
            connection.execute(sql, (amount,))

    return job


def money_is_kept(end: Ending) -> bool:
    """The two accounts hold 2000 together, and what was acknowledged has moved."""
    moved = sum({"A": 100, "B": 10}[name] for name in end.succeeded)
    return end.rows == [(1000 - moved,), (1000 + moved,)]


def read_twice(in_transaction: bool) -> Callable[[str], tuple[int, int]]:
    """Read the counter twice; returns both values."""

    def job(path: str) -> tuple[int, int]:
        with closing(_connect(path)) as connection, _transaction(connection, in_transaction):
            (first,) = connection.execute(SELECT).fetchone()
            (second,) = connection.execute(SELECT).fetchone()
        return first, second

    return job


def reads_agree(end: Ending) -> bool:
    """The reader saw the same value twice."""
    first, second = end.results["reader"]
    return bool(first == second)


class Writer:
    """A thread that writes for all others, fed by a queue."""

    def __init__(self, path: str) -> None:
        self.jobs: queue.Queue[str | None] = queue.Queue()
        self.path = path
        self.thread = threading.Thread(target=self._write, name="writer")
        self.thread.start()

    def _write(self) -> None:
        with closing(_connect(self.path)) as connection:
            while (sql := self.jobs.get()) is not None:
                connection.execute(sql)

    def close(self) -> None:
        """Send the end marker."""
        self.jobs.put(None)


class WriterWithoutEnd(Writer):
    """The same, but the thread never learns that there is no more to come."""

    close = None  # type: ignore[assignment]


def put(writer: Writer) -> None:
    """Ask the writer to add 1."""
    writer.jobs.put("UPDATE counter SET value = value + 1")


class TwoLocks:
    """Two locks, for two threads that take them in opposite orders."""

    def __init__(self, path: str) -> None:
        self.path, self.left, self.right = path, threading.Lock(), threading.Lock()


def left_then_right(shared: TwoLocks) -> None:
    """Take the left lock, then the right one."""
    with shared.left, shared.right:
        pass


def right_then_left(shared: TwoLocks) -> None:
    """Take the right lock, then the left one."""
    with shared.right, shared.left:
        pass


def lock_then_begin(shared: TwoLocks) -> None:
    """Take a Python lock, then SQLite's write lock."""
    with shared.left:
        begin("IMMEDIATE")(shared.path)


def begin_then_lock(shared: TwoLocks) -> None:
    """Take SQLite's write lock, then a Python lock."""
    with closing(_connect(shared.path)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        with shared.left:
            _read_and_write(connection)
            connection.execute("COMMIT")


@dataclass(frozen=True)
class Scenario:
    """A program and what exploration must find, derived without running it.

    `counts` maps a kind of outcome to the number of schedules that end so; `why` derives it.
    """

    name: str
    threads: Sequence[Callable[[Any], Any]] | Mapping[str, Callable[[Any], Any]]
    counts: Mapping[str, int]
    why: str
    claim: str = CLAIM
    invariant: Callable[[Ending], bool] = no_increment_lost
    share: Callable[[str], Any] | None = None
    database: str = "counter"
    look: str = SELECT
    #: An unlocked shared connection also races inside one SQL call, where no step is.
    races_inside: bool = False

    def program(self, journal_mode: str) -> Program:
        """The program to explore."""
        what = (self.database, self.threads, self.invariant, self.claim, self.look)
        return Program(*what, journal_mode, self.share, self.name)


_DEFERRED = (
    "Right: the other's s comes after c, its b in one of 5 places before: 5 x 2 = 10. Else A "
    "updates first (x 2): A's b s u and B's b s in C(5,2) = 10 orders, then B's u fails at once; "
    "c comes before that u, between it and x, or after x (in a rollback journal the first two "
    "are attempts that wait for x): 3 x 10 x 2 = 60 errors."
)
_IMMEDIATE = (
    "One thread goes first (x 2); the other's b is tried in one of the 3 gaps between its 4 "
    "steps, and waits, or after its end: 2 x 4 = 8."
)
_ATTEMPTS_3 = (
    "3 for who goes first. Both others try b in the 3 gaps: same gap 3 x 2, different 6, then 2 "
    "for who is next: 24; one tries (6 ways): it is next, the other has 4 ways, or the other is "
    "next: 6 x 5 = 30; none tries: 2 x 4 = 8. 3 x 62 = 186."
)

_SHARED = (
    "u is l (is a transaction open?), b, u if none is, else one step. Let A look first (x 2). "
    "B looks before A's b, its s in 3 places before: two of the three places of the later b "
    "fail, the third loses an update: 2 x (6 errors + 3 wrong). B looks between b and u: s in 4 "
    "places, c in 3: 12 wrong. Between u and c: s in 5 places, c in 2: 8 wrong, 2 right (B reads "
    "A's uncommitted value). After c: s in 6 places: 4 wrong, 2 right."
)

_ON_CALL: dict[str, Any] = {
    "invariant": lambda end: end.value >= 1, "claim": "a doctor is on call",
    "database": DOCTORS, "look": "SELECT sum(on_call) FROM doctor",
}  # fmt: skip

SCENARIOS: tuple[Scenario, ...] = (
    Scenario("read-modify-write, autocommit", [autocommit] * 2, {"wrong": 4, "right": 2},
        "s u and s u interleave in C(4,2) = 6 ways; only the 2 serial ones are right."),
    Scenario("read-modify-write, BEGIN DEFERRED", [begin("DEFERRED")] * 2,
        {"error": 60, "right": 10}, _DEFERRED),
    Scenario("read-modify-write, BEGIN IMMEDIATE", [begin("IMMEDIATE")] * 2, {"right": 8},
        _IMMEDIATE),
    Scenario("read-modify-write, BEGIN EXCLUSIVE", [begin("EXCLUSIVE")] * 2, {"right": 8},
        _IMMEDIATE),
    Scenario(
        "read-modify-write, sqlite3's default", [implicit] * 2, {"wrong": 12, "right": 2},
        "u begins, c commits. A updates first (x 2). B's s before A's u (2 places) or between u "
        "and c: then B's u is tried between A's u and c, and waits, or later: 3 x 2 = 6 wrong. "
        "B's s after A's c: 1 right.",
    ),
    Scenario("one atomic UPDATE", [atomic] * 2, {"right": 2}, "One step each: 2 orders."),
    Scenario("compare-and-swap with retry", [compare_and_swap] * 2, {"right": 6},
        "C(4,2) = 6 as in autocommit; whoever comes second fails, and tries again alone."),
    Scenario("shared connection, no lock", [without_lock] * 2,
        {"wrong": 60, "error": 24, "right": 8}, _SHARED, share=Shared, races_inside=True),
    Scenario("shared connection, lock per statement", [lock_per_statement] * 2,
        {"wrong": 12, "right": 8},
        "Each call is a block that nobody can enter: C(6,3) = 20. Right if one's s comes after "
        "the other's u: then c has 4 places among the other's s u c: 4 x 2 = 8.", share=Shared),
    Scenario("shared connection, lock per transaction", [lock_per_transaction] * 2, {"right": 2},
        "One block each: 2 orders.", share=Shared),
    Scenario(
        "shared connection, another's rollback", [add_then_commit, add_then_roll_back],
        {"wrong": 4, "right": 2},
        "Two blocks each: C(4,2) = 6. Right are the 2 serial ones; else the first of commit and "
        "rollback takes both changes with it.",
        invariant=lambda end: bool(end.value == 1), share=Shared,
        claim="what was committed is stored, what was rolled back is not",
    ),
    Scenario(
        "write skew, autocommit", [go_off_call(name, False) for name in "AB"],
        {"wrong": 4, "right": 2},
        "As read-modify-write: C(4,2) = 6, but the second of a serial order reads 1 and does "
        "not update: still one schedule each.",
        **_ON_CALL,
    ),
    Scenario("write skew, BEGIN DEFERRED", [go_off_call(name, True) for name in "AB"],
        {"error": 60, "right": 10}, _DEFERRED, **_ON_CALL),
    Scenario(
        "bank transfer, BEGIN DEFERRED", [transfer(100), transfer(10)],
        {"error": 150, "right": 12},
        "As read-modify-write with a second update v. Right: 6 places for b, x 2 = 12. Else A "
        "updates first (x 2); B's failing u comes after A's u (10 orders of b s u, b s) or after "
        "v (C(6,2) = 15). After u: v and x in 2 orders, and c between them or last: 30; after v: "
        "c before x or last: 30; c before B's u: 15. (30 + 30 + 15) x 2 = 150.",
        invariant=money_is_kept, claim="no money is made or lost",
        database="accounts", look="SELECT balance FROM account WHERE id < 3 ORDER BY id",
    ),
    Scenario("long reader beside a writer, no transaction",
        {"reader": read_twice(False), "writer": atomic}, {"wrong": 1, "right": 2},
        "s s and u: 3 places for u; wrong in the middle.",
        invariant=reads_agree, claim="the reader sees one state"),
    Scenario("long reader beside a writer, BEGIN",
        {"reader": read_twice(True), "writer": atomic}, {"right": 5},
        "b s s c and u: 5 places for u. In a rollback journal it waits for c in 2 of them.",
        invariant=reads_agree, claim="the reader sees one state"),
    Scenario(
        "writer thread fed by a queue", [put] * 2, {"right": 24},
        "The writer: get u get u get. The second put is in one of 3 places (before the first "
        "get, u, or second get), the end marker after it and before the last get: 5 + 4 + 3 = "
        "12; 2 orders of the puts.",
        invariant=lambda end: bool(end.value == 2), share=Writer, claim="every job is done",
    ),
    Scenario("writer thread without an end marker", [put] * 2, {"deadlock": 6},
        "The second put in one of 3 places, 2 orders; the last get waits forever.",
        invariant=lambda end: bool(end.value == 2), share=WriterWithoutEnd,
        claim="every job is done"),
    Scenario(
        "a Python lock and BEGIN IMMEDIATE, opposite orders", [lock_then_begin, begin_then_lock],
        {"deadlock": 2, "right": 5},
        "A takes both: B's BEGIN is tried in 3 gaps or after: 4. B takes both: A waits for the "
        "Python lock: 1. One each, 2 orders: A's BEGIN waits for B, B for A's lock, until A's "
        "timeout.",
        share=TwoLocks,
    ),
    Scenario("two Python locks, opposite orders", [left_then_right, right_then_left],
        {"deadlock": 2, "right": 2}, "Both by one, then the other: 2. One each: 2 deadlocks.",
        invariant=lambda end: True, share=TwoLocks, claim="both threads come to an end"),
    Scenario("three threads, autocommit", [autocommit] * 3, {"wrong": 84, "right": 6},
        "6! / (2! 2! 2!) = 90, of which the 3! serial ones are right."),
    Scenario("three threads, BEGIN IMMEDIATE", [begin("IMMEDIATE")] * 3, {"right": 186},
        _ATTEMPTS_3),
)  # fmt: skip
