"""The jobs that threads do, each with its audit: what was acknowledged against what is stored.

A workload says which sample database it needs, what one unit of work is, and how to
count afterwards. A unit of work is *acknowledged* when the strategy's `write` returned
without an exception: that is the promise a caller relies on. The audit reads the
database over a connection of its own, after every thread has ended.
"""

from __future__ import annotations

import sqlite3
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from helpers import databases
from helpers.strategies import UnitOfWork


class Acknowledged(NamedTuple):
    """One unit of work that its thread was told had succeeded; both numbers count from 0."""

    worker: int
    number: int
    result: Any = None


@dataclass(frozen=True)
class Audit:
    """What the threads were told against what the database holds, in units of work.

    Attributes:
        acknowledged: units whose thread was told that they had succeeded.
        stored: acknowledged units that the database holds.
        unacknowledged: units that the database holds although their thread saw an error.
        damaged: rows that hold what no thread ever meant to write, or reads that saw
            a state which never existed between two transactions.
    """

    acknowledged: int
    stored: int
    unacknowledged: int = 0
    damaged: int = 0

    @property
    def lost(self) -> int:
        """Acknowledged units that the database does not hold."""
        return self.acknowledged - self.stored

    @property
    def holds(self) -> bool:
        """True when nothing is lost, nothing appeared unasked and nothing is damaged."""
        return not (self.lost or self.unacknowledged or self.damaged)

    def __str__(self) -> str:
        return (
            f"{self.acknowledged} acknowledged, {self.stored} of them stored, {self.lost} lost, "
            f"{self.unacknowledged} stored without acknowledgement, {self.damaged} damaged"
        )


class Workload(Protocol):
    """What the threads of a load run do. Workers and units are numbered from 0."""

    #: The sample database it starts from, one of `databases.SAMPLES`.
    sample: str
    #: Units of work per thread.
    units: int

    def unit(self, worker: int, number: int) -> UnitOfWork:
        """The `number`-th unit of work of `worker`."""

    def reads(self, worker: int, number: int = 0) -> bool:
        """Whether that unit only reads, so that it goes to `Strategy.read`; here none does."""
        return False

    def audit(self, database: databases.Database, done: Sequence[Acknowledged]) -> Audit:
        """Compare the acknowledged units `done` with what `database` holds."""


def check_positive(name: str, value: int) -> int:
    """Return `value` if it is a whole number of at least 1.

    Raises:
        TypeError, ValueError: otherwise; the message names `name` and the value.
    """
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be a whole number, not {value!r}")
    if value < 1:
        raise ValueError(f"{name} must be at least 1, not {value}")
    return value


class Cancelled(Exception):
    """Raised by a unit of work that gives up halfway, on purpose: what it wrote must not stay."""


class AppendLetter(Workload):
    """The question's job: read a row's ``SectorGroup`` and write it back with "X" appended.

    Each worker goes through `units` rows of its own, one transaction a row, so no two
    threads ever touch the same row.

    Args:
        units: rows per thread; the sample has 1000 rows, so ten threads have 100 each.
    """

    sample = "investments"
    letter = "X"

    def __init__(self, units: int = 100) -> None:
        self.units = check_positive("units", units)

    def row(self, worker: int, number: int) -> int:
        """The InvestmentID that a unit of work changes."""
        return 1 + worker * self.units + number

    def unit(self, worker: int, number: int) -> UnitOfWork:
        """Append the letter to one row; the row must exist."""
        row = self.row(worker, number)
        select = "SELECT SectorGroup FROM Investment WHERE InvestmentID = ?"
        update = "UPDATE Investment SET SectorGroup = ? WHERE InvestmentID = ?"

        def append_letter(connection: sqlite3.Connection) -> None:
            rows = connection.execute(select, [row]).fetchall()
            group = rows[0][0] or ""
            connection.execute(update, [group + self.letter, row])

        return append_letter

    def audit(self, database: databases.Database, done: Sequence[Acknowledged]) -> Audit:
        """Count the letters row by row; a row with another text is damaged."""
        select = "SELECT InvestmentID, SectorGroup FROM Investment"
        with databases.fresh(self.sample) as original:
            before = {row: group or "" for row, group in original.query(select)}
        after = {row: group or "" for row, group in database.query(select)}
        expected = Counter(self.row(worker, number) for worker, number, _ in done)
        stored = unacknowledged = damaged = 0
        for row, text in before.items():
            letters = len(after[row]) - len(text)
            if after[row] != text + self.letter * letters:
                damaged += 1
                continue
            stored += min(letters, expected[row])
            unacknowledged += max(0, letters - expected[row])
        return Audit(len(done), stored, unacknowledged, damaged)


class Increment(Workload):
    """Read one counter and write it back one higher: every thread works on the same row.

    Args:
        units: increments per thread.
    """

    sample = "counter"

    def __init__(self, units: int = 100) -> None:
        self.units = check_positive("units", units)

    def unit(self, worker: int, number: int) -> UnitOfWork:
        """Read the counter, write it back one higher, and return the value written."""

        def increment(connection: sqlite3.Connection) -> int:
            (value,) = connection.execute("SELECT value FROM counter WHERE id = 1").fetchone()
            connection.execute("UPDATE counter SET value = ? WHERE id = 1", [value + 1])
            return int(value) + 1

        return increment

    def audit(self, database: databases.Database, done: Sequence[Acknowledged]) -> Audit:
        """The counter's value is the number of increments that the database holds."""
        ((value,),) = database.query("SELECT value FROM counter WHERE id = 1")
        if not isinstance(value, int) or value < 0:
            return Audit(len(done), 0, damaged=1)
        return Audit(len(done), min(value, len(done)), max(0, value - len(done)))


class Transfer(Workload):
    """Move money between accounts, and note each transfer in a ledger in the same transaction.

    Money can neither appear nor vanish: the sum over all accounts stays 10 000, and each
    balance is its 1000 plus what the ledger says. The same worker and number always move
    the same amount between the same accounts.

    Args:
        units: transfers per thread.
        cancel_every: every so many transfers (of each thread) one gives up halfway, after the
            first of its three writes, by raising `Cancelled`; None for never.
    """

    sample = "accounts"
    accounts = 10

    def __init__(self, units: int = 100, cancel_every: int | None = None) -> None:
        self.units = check_positive("units", units)
        self.cancel_every = cancel_every and check_positive("cancel_every", cancel_every)

    def plan(self, worker: int, number: int) -> tuple[int, int, int]:
        """From which account to which (both from 1), and how much."""
        source = (worker * 7 + number * 3) % self.accounts
        target = (source + 1 + number % (self.accounts - 1)) % self.accounts
        return source + 1, target + 1, 1 + (worker + number) % 9

    def unit(self, worker: int, number: int) -> UnitOfWork:
        """Read both balances, write both, add a ledger row."""
        source, target, amount = self.plan(worker, number)
        cancelled = self.cancel_every is not None and (number + 1) % self.cancel_every == 0
        select = "SELECT balance FROM account WHERE id = ?"
        update = "UPDATE account SET balance = ? WHERE id = ?"

        def transfer(connection: sqlite3.Connection) -> None:
            (old_source,) = connection.execute(select, [source]).fetchone()
            (old_target,) = connection.execute(select, [target]).fetchone()
            connection.execute(update, [old_source - amount, source])
            if cancelled:
                raise Cancelled(f"transfer {number} of worker {worker} was called off")
            connection.execute(update, [old_target + amount, target])
            connection.execute(
                "INSERT INTO transfer VALUES (?, ?, ?, ?, ?)",
                [worker, number, source, target, amount],
            )

        return transfer

    def audit(self, database: databases.Database, done: Sequence[Acknowledged]) -> Audit:
        """Compare the ledger with the acknowledged units, and the balances with the ledger."""
        ledger = database.query("SELECT worker, number, source, target, amount FROM transfer")
        expected = dict.fromkeys(range(1, self.accounts + 1), 1000)
        for _, _, source, target, amount in ledger:
            expected[source] -= amount
            expected[target] += amount
        balances = dict(database.query("SELECT id, balance FROM account"))
        damaged = sum(balances[account] != expected[account] for account in expected)
        noted = {(worker, number) for worker, number, *_ in ledger}
        promised = {(worker, number) for worker, number, _ in done}
        return Audit(len(done), len(promised & noted), len(noted - promised), damaged)


class LongRead(Transfer):
    """A long read beside a writer: worker 0 transfers money, every other worker adds it all up.

    A reader sums the balances twice, account by account. Against one consistent snapshot
    both sums are 10 000; a reader that sees half a transfer counts as damaged.

    Args:
        units: transfers by the writer, and reads by each reader.
    """

    def reads(self, worker: int, number: int = 0) -> bool:
        """All workers but the first only read."""
        return worker > 0

    def unit(self, worker: int, number: int) -> UnitOfWork:
        """A transfer for worker 0; for the others the list of two sums."""
        return super().unit(worker, number) if worker == 0 else self._read_twice

    def _read_twice(self, connection: sqlite3.Connection) -> list[int]:
        return [self._sum(connection) for _ in range(2)]

    def _sum(self, connection: sqlite3.Connection) -> int:
        select = "SELECT balance FROM account WHERE id = ?"
        accounts = range(1, self.accounts + 1)
        return sum(connection.execute(select, [number]).fetchone()[0] for number in accounts)

    def audit(self, database: databases.Database, done: Sequence[Acknowledged]) -> Audit:
        """As for transfers; every read whose two sums are not both 10 000 is damaged."""
        reads = [unit for unit in done if self.reads(unit.worker)]
        writes = super().audit(database, [unit for unit in done if not self.reads(unit.worker)])
        torn = sum(unit.result != [1000 * self.accounts] * 2 for unit in reads)
        return Audit(
            writes.acknowledged + len(reads),
            writes.stored + len(reads),
            writes.unacknowledged,
            writes.damaged + torn,
        )


@dataclass(frozen=True)
class Statement:
    """A unit of work that is one statement: what takes no functions can run it, too."""

    sql: str
    parameters: tuple[Any, ...]

    def __call__(self, connection: sqlite3.Connection) -> None:
        """Execute it."""
        connection.execute(self.sql, self.parameters)


class Mix(Workload):
    """Reads and writes in turn, until the time is over.

    A write adds 1 to a balance that all share: read, work, write. With `insert` it is one INSERT
    instead, a `Statement`. A read reads that balance twice, with the work in between; two
    different values are damaged.

    Args:
        reads: reads that each worker does before its writes, again and again.
        writes: writes after them.
        inside: work between the two statements of a transaction, in seconds.
        insert: whether a write is an INSERT, without work.
        long_read: seconds that a read of worker 0 lasts, which then reads only; the others do
            only what `reads` and `writes` say. None for no such worker.
        burst: after so many units a worker waits for the next `TICK`, at which all begin again;
            None for never.
    """

    sample, units = "accounts", 1_000_000
    #: Seconds between two bursts.
    TICK = 0.1

    def __init__(
        self,
        reads: int = 0,
        writes: int = 1,
        *,
        inside: float = 0.0,
        insert: bool = False,
        long_read: float | None = None,
        burst: int | None = None,
    ) -> None:
        if reads < 0 or writes < 0 or not reads + writes:
            raise ValueError(f"give reads and writes, one of them at least 1, not {reads}:{writes}")
        if inside < 0:
            raise ValueError(f"inside counts seconds, from 0 on, not {inside}")
        self.mix, self.inside, self.insert = (reads, writes), inside, insert
        self.long_read = long_read
        self.burst = None if burst is None else check_positive("burst", burst)

    def reads(self, worker: int, number: int = 0) -> bool:
        """Whether that unit reads: all of worker 0's do if there are long reads."""
        if worker == 0 and self.long_read is not None:
            return True
        return number % sum(self.mix) < self.mix[0]

    def unit(self, worker: int, number: int) -> UnitOfWork:
        """That unit of work; with bursts it may wait here, before it begins."""
        if self.burst and number % self.burst == 0:
            time.sleep(self.TICK - time.time() % self.TICK)
        if self.reads(worker, number):
            long = self.long_read if worker == 0 else None
            return self._twice(self.inside if long is None else long)
        insert = "INSERT INTO transfer VALUES (?, ?, 1, 1, 0)"
        if self.insert:
            return Statement(insert, (worker, number))
        return self._add

    def _add(self, connection: sqlite3.Connection) -> None:
        (balance,) = connection.execute("SELECT balance FROM account WHERE id = 1").fetchone()
        if self.inside:
            time.sleep(self.inside)
        connection.execute("UPDATE account SET balance = ? WHERE id = 1", [balance + 1])

    def _twice(self, seconds: float) -> UnitOfWork:
        def look_twice(connection: sqlite3.Connection) -> bool:
            select = "SELECT balance FROM account WHERE id = 1"
            before = connection.execute(select).fetchall()
            if seconds:
                time.sleep(seconds)
            return before == connection.execute(select).fetchall()

        return look_twice

    def audit(self, database: databases.Database, done: Sequence[Acknowledged]) -> Audit:
        """The rows, or what was added, against the writes; a read of two states is damaged."""
        reads = [unit for unit in done if self.reads(unit.worker, unit.number)]
        writes = {unit[:2] for unit in done if not self.reads(unit.worker, unit.number)}
        rows = set(database.query("SELECT worker, number FROM transfer"))
        ((added,),) = database.query("SELECT balance - 1000 FROM account WHERE id = 1")
        stored = len(rows & writes) if self.insert else min(added, len(writes))
        unasked = len(rows - writes) if self.insert else max(0, added - len(writes))
        torn = sum(unit.result is not True for unit in reads)
        return Audit(len(done), len(reads) + stored, unasked, torn)


def total(audits: Iterable[Audit]) -> Audit:
    """The sum of several audits, for several runs of one workload."""
    audits = list(audits)
    return Audit(
        sum(audit.acknowledged for audit in audits),
        sum(audit.stored for audit in audits),
        sum(audit.unacknowledged for audit in audits),
        sum(audit.damaged for audit in audits),
    )
