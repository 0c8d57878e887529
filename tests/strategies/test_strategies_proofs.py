"""The explorer's verdict on each strategy, with the number of schedules derived by hand.

Letters stand for the steps of one thread: g the guard of the line, p PRAGMA, b BEGIN, s t SELECT,
u v UPDATE, c COMMIT, f an UPDATE that is refused, x ROLLBACK.
"""

import functools
import itertools
from math import comb

import pytest
from units import increment

from helpers.exercises import no_increment_lost
from helpers.explorer import Program, explore
from helpers.strategies import PerThread, Pool, Retry, StatementLock, TransactionLock, Writer

Deferred = functools.partial(PerThread, begin="DEFERRED")
Retried = functools.partial(PerThread, begin="DEFERRED", retry=Retry())

both_modes = pytest.mark.parametrize("journal_mode", ["delete", "wal"])


def increments(strategy, journal_mode, threads=2):
    return Program(
        "counter",
        [lambda strategy: strategy.write(increment) and None] * threads,
        no_increment_lost,
        claim="no increment is lost",
        journal_mode=journal_mode,
        share=strategy,
    )


def transfer(amount):
    """Read both balances, write both."""
    select, update = "SELECT balance FROM account WHERE id = ?", "UPDATE account SET balance = ? "

    def unit(connection):
        (source,) = connection.execute(select, [1]).fetchone()
        (target,) = connection.execute(select, [2]).fetchone()
        connection.execute(update + "WHERE id = ?", [source - amount, 1])
        connection.execute(update + "WHERE id = ?", [target + amount, 2])

    return lambda strategy: strategy.write(unit) and None


def money_is_kept(end):
    """What was acknowledged has moved, and nothing else."""
    moved = sum({"A": 100, "B": 10}[name] for name in end.succeeded)
    return end.rows == [(1000 - moved,), (1000 + moved,)]


def transfers(strategy, journal_mode):
    return Program(
        "accounts",
        [transfer(100), transfer(10)],
        money_is_kept,
        claim="no money is made or lost",
        look="SELECT balance FROM account WHERE id < 3 ORDER BY id",
        journal_mode=journal_mode,
        share=strategy,
    )


def merges(a, b):
    """Every way to shuffle two threads' steps together: lists of (thread, step)."""
    for places in itertools.combinations(range(len(a) + len(b)), len(a)):
        one, other = iter(a), iter(b)
        yield [
            ("A", next(one)) if place in places else ("B", next(other))
            for place in range(len(a) + len(b))
        ]


# -- right in every order ----------------------------------------------------------------


@both_modes
@pytest.mark.parametrize(("program", "inside"), [(increments, 4), (transfers, 6)])
def test_transaction_lock(program, inside, journal_mode):
    """A is first (x 2). Its steps: g, those inside, g. B's g, with which it takes its place in
    the line, comes in a gap between two of them, and its turn after the last; or after that."""
    found = explore(program(TransactionLock, journal_mode), show=False)
    gaps = inside + 1
    assert found.proved
    assert found.counts == {"right": 2 * (gaps + 1)}


@both_modes
@pytest.mark.parametrize(("program", "steps"), [(increments, "bsuc"), (transfers, "bstuvc")])
def test_per_thread(program, steps, journal_mode):
    """A is first (x 2). B tries b in a gap between A's steps, and waits, or after A's end."""
    found = explore(program(PerThread, journal_mode), show=False)
    assert found.proved
    assert found.counts == {"right": 2 * len(steps)}


@both_modes
@pytest.mark.parametrize(("program", "inside"), [(increments, 4), (transfers, 6)])
def test_pool(program, inside, journal_mode):
    """As `test_transaction_lock`, and the connection knows whether it can write: no p."""
    found = explore(program(Pool, journal_mode), show=False)
    gaps = inside + 1
    assert found.proved
    assert found.counts == {"right": 2 * (gaps + 1)}


@both_modes
def test_deferred_with_retry(journal_mode):
    found = explore(increments(Retried, journal_mode), show=False)
    assert found.proved
    assert set(found.counts) == {"right"}


@both_modes
@pytest.mark.parametrize("strategy", [TransactionLock, Pool])
def test_three_threads(strategy, journal_mode):
    found = explore(increments(strategy, journal_mode, threads=3), merge=True, show=False)
    assert found.proved
    assert set(found.counts) == {"right"}


# -- the flawed twins --------------------------------------------------------------------


@both_modes
def test_statement_lock_loses_increments(journal_mode):
    """s u and s u, each a block: C(4,2) orders, of which the 2 serial ones are right."""
    found = explore(increments(StatementLock, journal_mode), show=False)
    assert found.counts == {"wrong": comb(4, 2) - 2, "right": 2}
    assert found.verdict.startswith("Refuted: no increment is lost.")


@both_modes
def test_statement_lock_makes_money(journal_mode):
    """s t u v twice: C(8,4) orders. Right if one's u comes before the other's s and its v
    before the other's t: s t u, then v and the other's s in 2 orders: x 2."""
    found = explore(transfers(StatementLock, journal_mode), show=False)
    assert found.counts == {"wrong": comb(8, 4) - 4, "right": 4}


@both_modes
@pytest.mark.parametrize(
    ("program", "steps", "expected"),
    [
        (increments, "bsuc", (60, 10)),
        pytest.param(transfers, "bstuvc", None, marks=pytest.mark.slow),
    ],
)
def test_deferred_is_refused(program, steps, expected, journal_mode):
    """A updates first (x 2). Right if B reads after A's c: its b is anywhere before.
    Else B's first update is refused, wherever A's c is (in a rollback journal, a c before x
    is an attempt that waits for it)."""
    found = explore(program(Deferred, journal_mode), show=False)
    refused = steps[: steps.index("u")] + "fx"
    right = len(steps) + 1
    errors = sum(
        order.index(("A", "u")) < order.index(("B", "f"))
        and order.index(("B", "s")) < order.index(("A", "c"))
        for order in merges(steps, refused)
    )
    assert found.counts == {"error": 2 * errors, "right": 2 * right}
    assert expected in (None, (2 * errors, 2 * right))
    assert found.proved  # of what was acknowledged, nothing is lost


# -- the writer --------------------------------------------------------------------------


@pytest.mark.slow  # notebook 10 says the same, in every run
@pytest.mark.parametrize("journal_mode", ["wal", "delete"])
def test_writer(journal_mode):
    found = explore(increments(Writer, journal_mode), show=False)
    assert found.proved
    assert set(found.counts) == {"right"}
