"""The explorer's verdict on each strategy, with the number of schedules derived by hand.

Letters stand for the steps of one thread: i (its connection's own lock), g (the fair lock's
guard), b BEGIN, s t SELECT, u v UPDATE, c COMMIT, f an UPDATE that is refused, x ROLLBACK.
"""

import functools
import itertools
import sqlite3
import threading
from math import comb

import pytest
from units import increment

from helpers.exercises import no_increment_lost
from helpers.explorer import Program, explore
from helpers.strategies.fairness import FairLock
from helpers.strategies.locks import StatementLock, TransactionLock
from helpers.strategies.per_thread import PerThread
from helpers.strategies.pool import Pool
from helpers.strategies.retry import Retry
from helpers.strategies.writer import Writer

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
    """A is first (x 2). B's g and its place in the queue come between A's steps inside the
    lock, in any way, for A's release waits for the guard; or B asks after A's release."""
    found = explore(program(TransactionLock, journal_mode), show=False)
    assert found.proved
    assert found.counts == {"right": 2 * (comb(inside + 2, 2) + 1)}


@both_modes
@pytest.mark.parametrize(("program", "steps"), [(increments, "ibsuc"), (transfers, "ibstuvc")])
def test_per_thread(program, steps, journal_mode):
    """A is first (x 2). B tries b in a gap after A's b, and waits, or after A's end; its i is
    in any gap before that, A's i and b included."""
    found = explore(program(PerThread, journal_mode), show=False)
    gaps = len(steps) - 2
    assert found.proved
    assert found.counts == {"right": 2 * sum(gap + 2 for gap in range(1, gaps + 2))}
    assert found.schedules in (36, 66)


@both_modes
@pytest.mark.parametrize("program", [increments, transfers])
def test_pool(program, journal_mode):
    """The one connection that writes is in one thread's hands until its last step."""
    found = explore(program(Pool, journal_mode), show=False)
    assert found.proved
    assert found.counts == {"right": 2}


@both_modes
def test_deferred_with_retry(journal_mode):
    found = explore(increments(Retried, journal_mode), show=False)
    assert found.proved
    assert set(found.counts) == {"right"}


@both_modes
@pytest.mark.parametrize("strategy", [TransactionLock, Pool])
def test_three_threads(strategy, journal_mode):
    found = explore(increments(strategy, journal_mode, threads=3), reduce=True, show=False)
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
        (increments, "ibsuc", (210, 42)),
        pytest.param(transfers, "ibstuvc", None, marks=pytest.mark.slow),
    ],
)
def test_deferred_is_refused(program, steps, expected, journal_mode):
    """A updates first (x 2). Right if B reads after A's c: its i and b are anywhere before.
    Else B's first update is refused, wherever A's c is (in a rollback journal, a c before x
    is an attempt that waits for it)."""
    found = explore(program(Deferred, journal_mode), show=False)
    refused = steps[: steps.index("u")] + "fx"
    right = comb(len(steps) + 2, 2)
    errors = sum(
        order.index(("A", "u")) < order.index(("B", "f"))
        and order.index(("B", "s")) < order.index(("A", "c"))
        for order in merges(steps, refused)
    )
    assert found.counts == {"error": 2 * errors, "right": 2 * right}
    assert expected in (None, (2 * errors, 2 * right))
    assert found.proved  # of what was acknowledged, nothing is lost


# -- the fair lock itself ----------------------------------------------------------------


class Shared:
    """A fair lock, and a counter that is right only if the lock excludes."""

    def __init__(self, path):
        self.lock = FairLock()
        self.connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self.order = []
        self.timed_out = threading.Event()

    def close(self):
        # Free again, whatever happened: asking without patience succeeds.
        assert self.lock.acquire(timeout=0)
        self.lock.release()
        self.connection.close()


def locked(shared):
    assert shared.lock.acquire()
    increment(shared.connection)
    shared.lock.release()


def fair(*threads, invariant=no_increment_lost, claim="the lock excludes"):
    return Program("counter", threads, invariant, claim=claim, share=Shared)


def test_fair_lock_excludes():
    """As in TransactionLock, with s u inside: 2 x (C(4,2) + 1)."""
    found = explore(fair(locked, locked), show=False)
    assert found.proved
    assert found.counts == {"right": 14}


def test_fair_lock_with_three_threads():
    found = explore(fair(locked, locked, locked), show=False)
    assert found.proved
    assert set(found.counts) == {"right"}


def test_fair_lock_asked_twice_by_each_loses_no_hand_over():
    def twice(shared):
        locked(shared)
        locked(shared)

    found = explore(
        fair(twice, twice, invariant=lambda end: end.value == 4, claim="nobody waits for ever"),
        show=False,
    )
    assert found.proved
    assert set(found.counts) == {"right"}


def test_fair_lock_a_wait_that_times_out_leaves_the_queue():
    """A holds it until B has waited in vain; C, behind B, gets it all the same."""

    def hold(shared):
        shared.lock.acquire()
        shared.timed_out.wait()
        shared.lock.release()

    def wait_in_vain(shared):
        got = shared.lock.acquire(timeout=1)
        if got:
            shared.lock.release()
        shared.timed_out.set()
        return got

    found = explore(
        fair(
            hold,
            wait_in_vain,
            locked,
            invariant=lambda end: end.value == 1 and not end.errors,
            claim="the others get it",
        ),
        show=False,
    )
    assert found.complete
    assert not found.counts.get("wrong", 0) + found.counts.get("endless", 0)
    assert all("until a timeout" in outcome.text for outcome, *_ in found.outcomes if outcome.cycle)
    assert not any(outcome.ended != "finished" for outcome, *_ in found.outcomes)
    assert {dict(outcome.threads)["B"] for outcome, *_ in found.outcomes} == {
        "returned True", "returned False",
    }  # fmt: skip


def test_fair_lock_is_not_proved_by_an_explorer_that_cannot_refute():
    """The same program with a lock that hands over to nobody, and with none at all."""

    class Forgetful(FairLock):
        def _pass_on(self, turn):
            with self._guard:
                self._holder = None

    class Open(FairLock):
        def acquire(self, timeout=-1):
            return True

        def release(self):
            pass

    def share(kind, path):
        shared = Shared(path)
        shared.lock = kind()
        return shared

    for kind, expected in ((Forgetful, "deadlock"), (Open, "wrong")):
        program = fair(locked, locked)
        program.share = functools.partial(share, kind)
        found = explore(program, show=False)
        assert not found.proved
        assert expected in found.counts


# -- the writer --------------------------------------------------------------------------


@both_modes
def test_writer(journal_mode):
    found = explore(increments(Writer, journal_mode), reduce=True, show=False)
    assert found.proved
    assert set(found.counts) == {"right"}
