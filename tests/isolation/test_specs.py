"""Spec files of PostgreSQL's isolation tester: ten are run as they are, the rest is refused."""

from pathlib import Path

import pytest

from helpers.isolation import specs

FOLDER = Path(__file__).parent / "specs"

#: Name -> outcomes by kind, in both journal modes, and why.
EXPECTED = {
    # Two transactions that read, then write: see the same program in test_matrix.py. Of 70
    # orders, 10 are as good as serial: in the others one of the two is refused.
    "accounts": {"error": 60, "right": 10},
    "black-and-white": {"error": 60, "right": 10},
    "doctors": {"error": 60, "right": 10},
    "rooms": {"error": 60, "right": 10},
    # IMMEDIATE: the second waits at its BEGIN. See the same program in test_matrix.py.
    "totals": {"right": 8},
    # Four statements: of 4! / 2!² = 6 orders only the two serial ones are right.
    "counter": {"wrong": 4, "right": 2},
    "doctors-without-begin": {"wrong": 4, "right": 2},
    # The key refuses one of the two in every order.
    "users": {"error": 6},
}
#: Spec files with three sessions, of which the count differs with the journal.
SERIALIZABLE = ("deposit", "receipts")


def read(name):
    return specs.read(name, (FOLDER / f"{name}.spec").read_text(encoding="utf-8"))


def test_there_are_ten_files():
    files = {path.stem for path in FOLDER.glob("*.spec")}
    assert files == set(EXPECTED) | {*SERIALIZABLE}
    assert len(files) == 10


@pytest.mark.parametrize("journal_mode", ["delete", "wal"])
@pytest.mark.parametrize("name", EXPECTED)
def test_a_file_is_run_in_every_order(name, journal_mode):
    found = read(name).explore(journal_mode)
    assert found.complete
    assert found.counts == EXPECTED[name]


@pytest.mark.slow
@pytest.mark.parametrize("journal_mode", ["delete", "wal"])
@pytest.mark.parametrize("name", SERIALIZABLE)
def test_transactions_are_serializable_in_every_order(name, journal_mode):
    found = read(name).explore(journal_mode)
    assert found.proved
    assert set(found.counts) == {"error", "right"}


@pytest.mark.slow
@pytest.mark.parametrize("name", SERIALIZABLE)
def test_without_their_transactions_they_are_not(name):
    text = (FOLDER / f"{name}.spec").read_text(encoding="utf-8")
    loose = text.replace("{ BEGIN; }", "{ SELECT 1; }").replace("{ COMMIT; }", "{ SELECT 1; }")
    assert specs.read(name, loose).explore("wal").failures > 0


def ends(name, journal_mode="delete"):
    return [(run.outcome and run.outcome.kind, run) for _, run in read(name).run(journal_mode)]


def test_permutations_are_run_as_listed():
    (serial, run), (refused, _), (overlapping, other) = ends("doctors")
    assert (serial, refused, overlapping) == ("right", "error", "error")
    assert run.schedule == ("ana", "ben", *["ana"] * 3, *["ben"] * 3)
    assert "ben OperationalError: database is locked" in other.outcome.text
    assert other.outcome.rows == "doctor: 'ana' 0, 'ben' 1"
    # Ana's COMMIT has to wait for Ben, who reads, and goes on when Ben, refused, has closed.
    assert [step.outcome for step in other.steps[5:]] == ["error", "waits", "ok", "ok"]
    assert other.schedule == (*["ana", "ben"] * 4, "ana")
    (_, right), (kind, wrong) = ends("doctors-without-begin")
    assert kind == "wrong"
    assert right.outcome.rows == wrong.outcome.rows == "doctor: 'ana' 0, 'ben' 0"


def test_a_session_waits_and_goes_on():
    spec = read("totals")
    spec.permutations = [("sum1", "add2", "end1", "sum2", "add1", "end2")]
    ((_, run),) = spec.run("wal")  # two's BEGIN IMMEDIATE, its setup, waits for one
    assert run.outcome.kind == "right"
    assert [step.thread for step in run.steps if step.outcome == "waits"] == ["two"]


def test_a_permutation_that_a_waiting_session_stops_has_no_outcome():
    (stopped, run), (right, _) = ends("receipts")
    assert (stopped, right) == (None, "right")
    assert "closing" in run.blocked
    assert [kind for kind, _ in ends("receipts", "wal")] == ["error", "right"]


def test_the_read_only_anomaly_is_refused_to_the_writer():
    ((kind, run),) = ends("deposit", "wal")
    assert kind == "error"
    assert "withdrawal OperationalError" in run.outcome.text
    assert run.steps[-2].error.sqlite_errorname == "SQLITE_BUSY_SNAPSHOT"


GOOD = """# a comment with { and }
setup { CREATE TABLE t (x INTEGER); }
setup { INSERT INTO t VALUES (1); }
teardown { DROP TABLE t, u; }
session "s 1"
setup { BEGIN; }
step r1
{
  SELECT x
    FROM t;
  COMMIT; -- here it ends; and
  /* not; here */
}
teardown { SELECT ';'; }
session s2
step w2 { UPDATE t SET x = 2; }
permutation r1 w2
permutation "w2" r1
"""


def test_what_the_format_allows_is_read():
    spec = specs.read("good", GOOD)
    assert list(spec.sessions) == ["s 1", "s2"]
    assert [one.line for one in spec.sessions["s 1"].steps["r1"]] == [9, 11]
    assert spec.permutations == [("r1", "w2"), ("w2", "r1")]
    assert [run.outcome.rows for _, run in spec.run()] == ["t: 2", "t: 2"]
    assert spec.explore().proved


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("BEGIN;", "BEGIN ISOLATION LEVEL SERIALIZABLE;", "line 6: SQLite does not take 'BEGIN IS"),
        ("BEGIN;", "SET lock_timeout = 5;", "BEGIN DEFERRED, IMMEDIATE and EXCLUSIVE"),
        ("FROM t;", "FROM t FOR UPDATE;", "line 9: SQLite does not take 'SELECT x FROM t FOR"),
        ("COMMIT;", "LOCK TABLE t;", "line 11: SQLite does not take 'LOCK TABLE t'"),
        ("x = 2", "y = 2", "line 16: SQLite does not take 'UPDATE t SET y = 2': no such column"),
        ("(x INTEGER)", "(x INTEGER", "line 2: SQLite does not take"),
        ("FROM t;\n", "FROM t;\n  SELECT '{';", "line 8: the block that begins here has no }"),
        ("2; }", "2;", "line 16: the block that begins here"),
        ("SELECT ';'", "SELECT '", "line 14: this statement does not end"),
        ("permutation r1 w2", "permutation r1(w2) w2", "line 17: marks of blocking, '(', are not"),
        ("permutation r1 w2", "permutation r1 w3", "line 17: no session has a step 'w3'"),
        ('permutation "w2" r1', "permutation", "line 19: the permutation before has no step"),
        ("session s2", 'session "s:2"', "line 15: no session can be called"),
        ("session s2", 'session "s 1"', "line 15: there is another session"),
        ("step w2", "step r1", "line 16: there is another step 'r1'"),
        ("step w2 {", "step {", "line 16: here must stand a name"),
        ("step w2 {", "step w2 = {", "line 16: here must stand { SQL }, not '='"),
        ("step w2 { UPDATE t SET x = 2; }", "", "has no step"),
        ("session s2", "notices s2", "line 15: 'notices' is not supported, or not here"),
        ("session s2", "session setup", "line 15: here must stand a name, not 'setup'"),
    ],
)
def test_what_is_not_supported_is_refused_with_its_line(old, new, reason):
    assert GOOD.count(old) == 1
    with pytest.raises(specs.SpecError) as caught:
        specs.read("bad", GOOD.replace(old, new))
    assert reason in str(caught.value)


def test_a_file_without_sessions_is_refused():
    with pytest.raises(specs.SpecError, match="line 1: the file has no session"):
        specs.read("empty", "setup { SELECT 1; }")
