"""The matrix equals what reasoning and SQLite's documentation say, cell by cell."""

import itertools
import sqlite3
from contextlib import closing, suppress

import pytest

from helpers.isolation import Level, anomalies, levels, matrix

#: Notebook 17 finds the same cells, in every run.
pytestmark = pytest.mark.slow

ALL = set(anomalies())
#: An ending of the anomaly that needs a transaction that is taken back. Without one, nothing is.
TAKEN_BACK = {"G1a"}
#: Anomalies of which one side only reads. A reader that locks nothing and sees what is not
#: committed (sharedcache.html, section 2.2.1) meets them whatever the writer does.
READERS = {"G1a", "G1b", "OTV", "PMP", "G-single"}
#: Both sides write what they decided by a read: only a lock or a check between the read and the
#: write prevents them.
DECISIONS = {"P4", "G2-item", "G2", "read-only"}

#: (journal, BEGIN, one connection) -> what must be possible, and why.
EXPECTED = {
    # isolation.html: a statement alone is a transaction. So others come between any two, and
    # nothing is ever taken back.
    **{
        (journal, "autocommit", shared): ALL - TAKEN_BACK
        for journal in ("rollback journal", "WAL", "read_uncommitted")
        for shared in (False, True)
    },
    # isolation.html: "SQLite implements serializable transactions by actually serializing the
    # writes". lockingv3.html: a reader keeps SHARED to its end, so no other commits between its
    # read and its write; two that have read and want to write: one is refused.
    ("rollback journal", "DEFERRED", False): set(),
    # isolation.html: a reader sees its snapshot, and may write only if that is the newest state
    # (SQLITE_BUSY_SNAPSHOT). So a transaction that writes has read what is true at its commit,
    # and one that only reads belongs where its snapshot was taken.
    ("WAL", "DEFERRED", False): set(),
    # lang_transaction.html: the write lock is taken before the first read.
    ("rollback journal", "IMMEDIATE", False): set(),
    ("WAL", "IMMEDIATE", False): set(),
    # sharedcache.html, 2.1: "At most one connection to a single shared cache may open a write
    # transaction at any one time": no dirty write (G0), and no circle of two writers who have
    # not ended (G1c). 2.2.1: reads lock nothing and see all: the rest is possible.
    ("read_uncommitted", "DEFERRED", False): READERS | DECISIONS,
    # Whoever writes holds the write transaction before its first read: no decision is overtaken.
    ("read_uncommitted", "IMMEDIATE", False): READERS,
    # isolation.html, "No Isolation Between Operations On The Same Database Connection".
    **{
        (journal, begin, True): ALL
        for journal in ("rollback journal", "WAL", "read_uncommitted")
        for begin in ("DEFERRED", "IMMEDIATE")
    },
}


@pytest.fixture(scope="module")
def cells():
    return matrix(anomalies(), levels())


def test_every_cell_is_what_reasoning_says(cells):
    found = {
        (level.journal, level.begin, level.shared): {
            case for case in ALL if cells[case, level.name].possible
        }
        for level in levels()
    }
    assert found == EXPECTED


def test_every_cell_was_explored_to_its_end_without_a_deadlock(cells):
    assert len(cells) == 11 * 18
    for cell in cells.values():
        assert cell.found.complete
        if cell.level != Level("WAL", "autocommit"):
            # There the last connection's close, no step, may write the log into the file.
            assert not cell.found.unseen
        assert set(cell.found.counts) <= {"wrong", "error", "right"}


def test_what_happens_can_be_replayed_on_the_stage(cells):
    for cell in cells.values():
        if not cell.possible:
            with pytest.raises(ValueError, match=f"{cell.case.name} happens in none of"):
                cell.stage()
        else:
            outcome = cell.stage().outcome
            assert outcome is not None
            assert not outcome.kept
            assert outcome == cell.found.replay().outcome


@pytest.mark.parametrize("begin", ["autocommit", "DEFERRED", "IMMEDIATE"])
@pytest.mark.parametrize("name", anomalies())
def test_without_isolation_the_count_is_that_of_a_model(cells, name, begin):
    """Where no step waits, each interleaving is run on one connection in this thread."""
    case = anomalies()[name]
    plans = {session: _steps(given, begin) for session, given in case.sessions.items()}
    tally = [_happens(case, order) for order in _interleavings(plans)]
    one = cells[name, Level("rollback journal", begin, shared=True).name]
    assert (one.possible, one.found.schedules) == (sum(tally), len(tally))
    if begin == "autocommit" and name != "G1a":  # whose ROLLBACK is no step there
        own = cells[name, Level("rollback journal", begin).name]
        assert (own.possible, own.found.schedules) == (sum(tally), len(tally))


@pytest.mark.parametrize("begin", ["DEFERRED", "IMMEDIATE"])
@pytest.mark.parametrize("name", anomalies())
def test_with_read_uncommitted_the_count_is_that_of_one_writer_at_a_time(cells, name, begin):
    """As on one connection, less the interleavings in which two write transactions overlap."""
    case = anomalies()[name]
    plans = {session: _steps(given, begin) for session, given in case.sessions.items()}
    orders = [order for order in _interleavings(plans) if _one_writer(order, plans, begin)]
    happens = sum(_happens(case, order) for order in orders)
    assert cells[name, Level("read_uncommitted", begin).name].possible == happens


def _one_writer(order, plans, begin):
    writers = {n for n, steps in plans.items() if any(map(_writes, steps))}
    writer = None
    for name, sql in order:
        if _writes(sql) or (sql == "BEGIN" and begin == "IMMEDIATE" and name in writers):
            if writer not in (None, name):
                return False
            writer = name
        if writer == name and (sql in ("COMMIT", "ROLLBACK") or len(plans[name]) == 1):
            writer = None
    return True


def _writes(sql):
    return sql.startswith(("INSERT", "UPDATE"))


def _steps(statements, begin):
    if begin == "autocommit" or len(statements) == 1:
        return list(statements)
    return ["BEGIN", *statements, *([] if "ROLLBACK" in statements else ["COMMIT"])]


def _interleavings(plans):
    names = [name for name, steps in plans.items() for _ in steps]
    for order in sorted(set(_permutations(names))):
        left = {name: iter(steps) for name, steps in plans.items()}
        yield [(name, next(left[name])) for name in order]


def _permutations(names):
    if not names:
        yield ()
    for name in dict.fromkeys(names):
        rest = list(names)
        rest.remove(name)
        yield from ((name, *more) for more in _permutations(rest))


def _happens(case, order):
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        connection.executescript(case.setup)
        seen = {name: [] for name in case.sessions}
        for name, sql in order:
            with suppress(sqlite3.OperationalError):  # BEGIN inside, COMMIT outside a transaction
                rows = connection.execute(sql).fetchall()
                if sql.startswith("SELECT"):
                    seen[name].append(list(itertools.chain(*rows)))
        seen["end"] = list(itertools.chain(*connection.execute(case.look).fetchall()))
    return any(all(seen[key] == values for key, values in a.items()) for a in case.anomaly)


def test_without_locks_there_are_as_many_orders_as_words(cells):
    """Two sessions of n steps: (2n)! / n!², as for two letters n times each."""
    one = {name: cells[name, "WAL, DEFERRED, one connection"].found.schedules for name in ALL}
    assert one["G0"] == one["P4"] == one["G2-item"] == 70  # 4 and 4 steps
    assert one["PMP"] == one["G1b"] == 5  # 4 and 1
    assert one["read-only"] == 30  # 4, 1 and 1
    # Three of four steps, BEGIN apart, come before the write lock is asked for. Derived in
    # test_scenarios.py for the same programs: with IMMEDIATE one waits for the other.
    assert cells["P4", "WAL, DEFERRED"].found.schedules == 70
    assert cells["P4", "WAL, IMMEDIATE"].found.schedules == 8


def test_what_deferred_refuses_immediate_does_not(cells):
    for name in ("P4", "G2-item", "G2"):
        for journal in ("rollback journal", "WAL"):
            assert cells[name, f"{journal}, DEFERRED"].refused == 60
            assert cells[name, f"{journal}, IMMEDIATE"].refused == 0


def test_the_matrix_can_be_read_and_seen(cells):
    own = matrix([anomalies()["P4"]], levels(shared=False))
    assert str(own["P4", "WAL, autocommit"]) == "4 of 6"
    assert str(own["P4", "WAL, DEFERRED"]) == "none of 70"
    assert own.possible()[Level("WAL", "autocommit")] == ["P4"]
    summary = matrix(list(anomalies().values())[:4], levels(shared=False)).summary()
    assert summary.loc["WAL"].to_dict() == {
        "autocommit": "all but G1a",
        "DEFERRED": "none",
        "IMMEDIATE": "none",
    }
    assert summary.loc["read_uncommitted", "DEFERRED"] == "G1a, G1b"
    assert set(matrix([anomalies()["P4"]], levels(shared=True)).summary().loc["WAL"]) == {"all"}
    picture = own.picture("P4")
    assert picture.alt.startswith("P4: possible in 4 of 9 cells")
    assert picture.png().startswith(b"\x89PNG")


@pytest.mark.parametrize("arguments", [("wal", "DEFERRED"), ("WAL", "deferred")])
def test_a_level_that_does_not_exist_is_refused(arguments):
    with pytest.raises(ValueError, match="is none of"):
        Level(*arguments)
