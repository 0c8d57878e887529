"""The checker says what trying every serial order says, on random histories and explored ones."""

import itertools
import random
import sqlite3
from collections import Counter
from contextlib import closing

import pytest

from helpers import strategies
from helpers.explorer import Program, explore
from helpers.isolation import appends, histories
from helpers.isolation.histories import Append, Read, Transaction, judge
from helpers.load import sandbox


def explained(transactions, end):
    """Whether some serial order of those who were acknowledged gives these reads and this end."""
    done = [one for one in transactions if one.acknowledged]
    return any(_replays(order, end) for order in itertools.permutations(done))


def _replays(order, end):
    lists = {}
    for transaction in order:
        for one in transaction.operations:
            held = lists.setdefault(one.key, [])
            if isinstance(one, Append):
                held.append(one.value)
            elif tuple(held) != one.values:
                return False
    return _filled(lists) == _filled(end)


def _filled(lists):
    return {key: tuple(values) for key, values in lists.items() if values}


def random_history(seed):
    """Two to four transactions on lists without isolation; some fail, some reads are invented."""
    draw = random.Random(seed)
    values = itertools.count(1)
    plans = {
        f"T{number}": [
            (draw.choice("ar"), draw.choice("xy"), next(values)) for _ in range(draw.randint(1, 3))
        ]
        for number in range(draw.randint(2, 4))
    }
    failing = {name for name in plans if draw.random() < 0.1}
    burst = draw.choice([0.0, 0.5, 0.9])  # how likely a thread goes on: serial runs, too, occur
    lists, done, name = {"x": [], "y": []}, {name: [] for name in plans}, ""
    while any(plans.values()):
        if not plans.get(name) or draw.random() > burst:
            name = draw.choice([name for name, plan in plans.items() if plan])
        kind, key, value = plans[name].pop(0)
        if kind == "r":
            seen = lists[key][: len(lists[key]) - (draw.random() < 0.1)]
            done[name].append(Read(key, tuple(seen)))
        else:
            done[name].append(Append(key, value))
            if not (name in failing and draw.random() < 0.8) and draw.random() > 0.03:
                lists[key].append(value)
    transactions = [Transaction(n, tuple(ops), n not in failing) for n, ops in done.items()]
    return transactions, lists


def test_it_agrees_with_trying_every_serial_order():
    verdicts = Counter()
    for seed in range(6000):
        transactions, end = random_history(seed)
        found = judge(transactions, end)
        assert found.serializable == explained(transactions, end), (seed, transactions, end, found)
        kind = "fault" if found.fault else "cycle" if found.cycle else "serializable"
        verdicts[kind] += 1
        _check_cycle(found, transactions, end)
    assert all(verdicts[kind] > 500 for kind in ("serializable", "fault", "cycle")), verdicts


def _check_cycle(found, transactions, end):
    """Each edge is one, and each begins where the one before ended."""
    cycle = found.cycle
    for edge, after in zip(cycle, (*cycle[1:], *cycle[:1]), strict=True):
        assert edge.then == after.first
        first, then = (
            next(one.operations for one in transactions if one.name == name)
            for name in (edge.first, edge.then)
        )
        appended, later = ([o.value for o in ops if isinstance(o, Append)] for ops in (first, then))
        reads = [set(o.values) for o in then if isinstance(o, Read) and o.key == edge.key]
        before = [set(o.values) for o in first if isinstance(o, Read) and o.key == edge.key]
        values = end[edge.key]
        assert {
            "ww": any(values.index(a) < values.index(b) for a in appended for b in later
                      if a in values and b in values),
            "wr": any(read & set(appended) for read in reads),
            "rw": any(set(later) & set(values) - read for read in before),
        }[edge.kind]  # fmt: skip


X, Y = "x", "y"
AB = (Append(X, 1), Append(Y, 2))


@pytest.mark.parametrize(
    ("transactions", "end", "says"),
    [
        ([("A", AB)], {X: [1], Y: [2]}, "serializable"),
        (  # G0
            [("A", AB), ("B", (Append(X, 3), Append(Y, 4)))], {X: [1, 3], Y: [4, 2]},
            "not serializable: A –ww x→ B –ww y→ A",
        ),
        (  # G1c
            [("A", (Append(X, 1), Read(Y, (2,)))), ("B", (Append(Y, 2), Read(X, (1,))))],
            {X: [1], Y: [2]}, "not serializable: A –wr x→ B –wr y→ A",
        ),
        (  # read skew
            [("A", AB), ("B", (Read(X, ()), Read(Y, (2,))))], {X: [1], Y: [2]},
            "not serializable: A –wr y→ B –rw x→ A",
        ),
        (  # write skew
            [("A", (Read(Y, ()), Append(X, 1))), ("B", (Read(X, ()), Append(Y, 2)))],
            {X: [1], Y: [2]}, "not serializable: A –rw y→ B –rw x→ A",
        ),
        (  # the read-only anomaly, a cycle of three
            [
                ("W", (Read(X, ()), Read(Y, ()), Append(X, 1))), ("D", (Append(Y, 2),)),
                ("R", (Read(X, ()), Read(Y, (2,)))),
            ],
            {X: [1], Y: [2]}, "not serializable: D –wr y→ R –rw x→ W –rw y→ D",
        ),
        ([("A", AB)], {X: [1], Y: []}, "A appended 2 to y, and it is lost"),
        ([("A", AB)], {X: [1], Y: [2, 2]}, "y ends with 2, which nobody appended there, or only"),
        ([("A", AB)], {X: [1, 5], Y: [2]}, "x ends with 5, which nobody appended there"),
        ([("A", AB), ("B", (Read(X, (7,)),))], {X: [1], Y: [2]}, "and nobody appended 7"),
        ([("A", AB), ("B", (Read(Y, (1,)),))], {X: [1], Y: [2]}, "and it ends as [2]"),
        ([("A", (*AB, Read(X, ())))], {X: [1], Y: [2]}, "and had itself appended [1]"),
    ],
)  # fmt: skip
def test_what_is_found_is_named(transactions, end, says):
    found = judge([Transaction(*one) for one in transactions], end)
    assert says in str(found)
    assert found.serializable == (says == "serializable")


def test_what_failed_must_not_be_stored_or_read():
    failed = Transaction("A", (Append(X, 1),), acknowledged=False)
    found = judge([failed], {X: []})
    assert (found.serializable, found.acknowledged, found.failed) == (True, 0, 1)
    assert "A failed, and its 1 is stored in x" in str(judge([failed], {X: [1]}))
    reader = Transaction("B", (Read(X, (1,)),))
    assert "A, who appended 1, failed" in str(judge([failed, reader], {X: []}))


def test_a_history_that_tells_nothing_is_refused():
    one = Transaction("A", (Append(X, 1),))
    with pytest.raises(ValueError, match="the same name"):
        judge([one, one], {X: [1]})
    with pytest.raises(ValueError, match="1 is appended twice"):
        judge([one, Transaction("B", (Append(Y, 1),))], {X: [1]})


# -- against the explorer --------------------------------------------------------------------

LISTS = "CREATE TABLE list (key TEXT, value INTEGER)"


def _thread(plan, begin):
    def run(path):
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            if begin:
                connection.execute(begin)
            done = [_operation(connection, *one) for one in plan]
            connection.commit()
        return done

    return run


def _operation(connection, key, value=0):
    if value:
        connection.execute("INSERT INTO list VALUES (?, ?)", (key, value))
        return Append(key, value)
    sql = "SELECT value FROM list WHERE key = ? ORDER BY rowid"
    return Read(key, tuple(value for (value,) in connection.execute(sql, key).fetchall()))


def _history(end, plans):
    """What the explorer's ending tells the checker; who saw an error has failed."""
    lists = {key: [value for one, value in end.rows if one == key] for key in "xy"}
    planned = {
        name: tuple(Append(*one) for one in plan if len(one) == 2) for name, plan in plans.items()
    }
    return [
        Transaction(name, tuple(end.results.get(name, planned[name])), name in end.results)
        for name in plans
    ], lists


def _random_plans(seed):
    draw, values = random.Random(seed), itertools.count(1)
    return {
        name: [draw.choice([("x",), ("y",), ("x", next(values)), ("y", next(values))])
               for _ in range(draw.randint(2, 3))]
        for name in "AB"
    }  # fmt: skip


@pytest.mark.parametrize("journal_mode", [pytest.param("delete", marks=pytest.mark.slow), "wal"])
@pytest.mark.parametrize("seed", range(25))
def test_it_agrees_with_the_explorer(seed, journal_mode):
    """Every schedule of random programs; with BEGIN no history is refuted."""
    plans, judged = _random_plans(seed), Counter()

    def kept(end):
        history = _history(end, plans)
        found = judge(*history)
        assert found.serializable == explained(*history)
        judged[found.serializable] += 1
        return found.serializable

    for begin in ("", "BEGIN", "BEGIN IMMEDIATE"):
        program = Program(
            LISTS, {name: _thread(plan, begin) for name, plan in plans.items()}, kept,
            look="SELECT key, value FROM list ORDER BY rowid", journal_mode=journal_mode,
        )  # fmt: skip
        judged.clear()
        found = explore(program, merge=False)  # each schedule is judged
        assert found.complete
        assert judged.total() >= found.schedules  # and a trial run, where SQLAlchemy is loaded
        assert bool(judged[False]) == bool(found.failures)
        assert not begin or not found.failures


def test_random_programs_without_transactions_are_refuted():
    refuted = 0
    for seed in range(25):
        plans = _random_plans(seed)
        jobs = {name: _thread(plan, "") for name, plan in plans.items()}
        refuted += bool(
            explore(
                Program(
                    LISTS, jobs, lambda end, plans=plans: judge(*_history(end, plans)).serializable,
                    look="SELECT key, value FROM list ORDER BY rowid",
                )
            ).failures
        )  # fmt: skip
    assert refuted >= 5


# -- under load ------------------------------------------------------------------------------

RIGHT = [
    strategies.TransactionLock, strategies.PerThread, strategies.Pool, strategies.Writer,
]  # fmt: skip


class Autocommit:
    """A connection for each unit; each statement of a write is a transaction of its own."""

    begin = ""
    reads_in_one = True

    def __init__(self, path, connect=sqlite3.connect):
        self.path, self.connect = path, connect

    def write(self, unit):
        with closing(self.connect(self.path, isolation_level=None)) as connection, connection:
            if self.begin:
                connection.execute(self.begin)
            return unit(connection)

    def read(self, unit):
        with closing(self.connect(self.path, isolation_level=None)) as connection, connection:
            if self.reads_in_one:
                connection.execute("BEGIN")
            return unit(connection)

    def close(self):
        pass


class Deferred(Autocommit):
    """A plain BEGIN: many are refused, and nothing of them is stored."""

    begin = "BEGIN"


class ReadsLoosely(Autocommit):
    """Only what is read, in units that only read, is not in one transaction."""

    begin = "BEGIN IMMEDIATE"
    reads_in_one = False


class Retried(Deferred):
    def write(self, unit):
        return strategies.Retry(seconds=30)(super().write)(unit)


@pytest.mark.parametrize("journal_mode", ["delete", "wal"])
@pytest.mark.parametrize("strategy", [*RIGHT, Deferred, Retried, strategies.CheckedConnection])
def test_every_right_strategy_is_serializable_under_load(strategy, journal_mode):
    found = appends.under_load(strategy, journal_mode=journal_mode, units=25)
    assert found.serializable, found
    assert found.acknowledged + found.failed == 100
    if strategy in (*RIGHT, Retried):
        assert found.failed == 0


@pytest.mark.parametrize("strategy", [Autocommit, ReadsLoosely, strategies.StatementLock])
def test_flawed_strategies_are_not(strategy):
    found = next(one for _ in range(20) if (one := appends.under_load(strategy, units=50)).cycle)
    assert str(found).startswith("not serializable: T")
    if strategy is ReadsLoosely:  # the cycle goes through the thread that only reads
        assert any(edge.first.startswith("T4.") for edge in found.cycle)


def test_a_shared_connection_is_not_or_crashes():
    unlocked = strategies.SharedConnection
    runs = (sandbox.call(appends.under_load, unlocked, may_crash=True) for _ in range(3))
    assert any(run.kind != "returned" or not run.value.serializable for run in runs)


def test_a_shared_connection_is_refused_outside_the_sandbox():
    with pytest.raises(RuntimeError, match=r"sandbox\.run_load"):
        appends.under_load(strategies.SharedConnection)


def test_the_face_offers_the_checker():
    assert histories.judge is judge
