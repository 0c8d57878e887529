"""Cases are data: what can be written, and what is refused with a reason."""

import pytest

from helpers.isolation import CaseError, Level, anomalies, matrix, read_case, read_cases

GOOD = """
name = "mine"
anomaly = [{ A = [[10]], end = [11, 20] }]
[sessions]
A = ["SELECT value FROM t WHERE id = 1"]
B = ["UPDATE t SET value = 11 WHERE id = 1;"]
"""


def test_hermitage_and_the_read_only_anomaly_are_there():
    hermitage = ["G0", "G1a", "G1b", "G1c", "OTV", "PMP", "P4", "G-single", "G2-item", "G2"]
    assert list(anomalies()) == [*hermitage, "read-only"]


@pytest.mark.parametrize("case", anomalies().values(), ids=lambda case: case.name)
def test_no_serial_order_has_the_anomaly(case):
    assert case.serial_anomaly() is None


def test_a_reader_adds_a_case_without_code():
    case = read_case(GOOD)
    assert case.title == "mine"
    assert case.sessions["B"] == ("UPDATE t SET value = 11 WHERE id = 1",)
    assert case.serial_anomaly() == ("A", "B")
    (cell,) = matrix([case], [Level("WAL", "autocommit")]).values()
    assert str(cell) == "1 of 2"


def test_a_serial_run_tells_what_each_session_saw():
    case = read_case(GOOD)
    assert case.serial("B", "A").results == {"B": [], "A": [[11]]}
    assert case.serial("A").rows == [(10,), (20,)]
    assert case.serial().rows == [(10,), (20,)]


def test_a_session_that_takes_back_leaves_nothing_behind():
    end = anomalies()["G1a"].serial("A", "B")
    assert end.results == {"A": [], "B": [[10]]}
    assert end.rows == [(10,), (20,)]


def test_a_serial_run_keeps_the_error_of_a_session():
    text = GOOD.replace("UPDATE t SET value = 11 WHERE id = 1;", "INSERT INTO t VALUES (1, 0)")
    end = read_case(text).serial("B", "A")
    assert "UNIQUE" in end.errors["B"].message
    assert end.results == {"A": [[10]]}


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("[sessions]", "[sessions", "this is not TOML"),
        ("name =", "nmae =", "'nmae' is none of anomaly, look"),
        ('name = "mine"', "name = 5", "are texts"),
        ('B = ["UPDATE t SET value = 11 WHERE id = 1;"]', "", "give two or three sessions"),
        ('B = ["UPDATE t SET value = 11 WHERE id = 1;"]', "B = []", "session B must be a list"),
        ('B = ["UPDATE t SET value = 11 WHERE id = 1;"]', "B = 7", "session B must be a list"),
        ('["UPDATE t', '["COMMIT", "UPDATE t', "statement 1: COMMIT cannot stand here"),
        ("UPDATE t SET value = 11", "DROP TABLE t; --", "statement 1: DROP cannot stand here"),
        ("UPDATE t", "-- UPDATE t", "session B, statement 1: -- cannot stand here"),
        ('["UPDATE t', '["ROLLBACK", "UPDATE t', "only the last can be ROLLBACK"),
        ("UPDATE t SET", "UPDATE u SET", "session B, statement 1: no such table: u"),
        ("UPDATE t SET", "UPDATE t SETS", "session B, statement 1: near"),
        ("id = 1;", "id = 1; SELECT 1", "one statement at a time"),
        ("B = ", "end = ", "no session can be called 'end'"),
        ("B = ", "'b:timeout' = ", "no session can be called 'b:timeout'"),
        ("A = [[10]]", "A = [10]", "A must be a list for each SELECT, [[10], []], not"),
        (
            "A = [[10]]",
            "A = [[10], [10]]",
            "that read 1, lists in an ending 2",
        ),
        ("A = [[10]]", "A = 10", "A must be a list for each SELECT, [[10], []], not"),
        ("end = [11, 20]", "end = [[11], [20]]", "end must be one list of values"),
        ("{ A = [[10]], end", "{ C = [[10]], end", "names ['C']"),
        ("[{ A = [[10]], end = [11, 20] }]", "[]", "say in 'anomaly'"),
        ("[{ A = [[10]], end = [11, 20] }]", "[{}]", "an ending is"),
        ("[sessions]", 'look = "SELECT x FROM t"\n[sessions]', "look: no such column: x"),
        ("[sessions]", 'setup = "CREATE"\n[sessions]', "setup: "),
    ],
)
def test_what_cannot_be_run_is_refused_with_a_reason(old, new, reason):
    assert GOOD.count(old) == 1
    with pytest.raises(CaseError) as caught:
        read_case(GOOD.replace(old, new))
    assert reason in str(caught.value)


def test_several_cases_in_one_text():
    one = "[[case]]" + GOOD.replace("[sessions]", "[case.sessions]")
    first, second = read_cases(one + one.replace("mine", "yours"))
    assert (first.name, second.name) == ("mine", "yours")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (GOOD, "each case stands under [[case]]"),
        ("", "each case stands under [[case]]"),
        ("[[cases]]" + GOOD, "each case stands under [[case]]"),
        ("[case]" + GOOD.replace("[sessions]", "[case.sessions]"), "each case stands under"),
        (2 * ("[[case]]" + GOOD.replace("[sessions]", "[case.sessions]")), "is called 'mine'"),
    ],
)
def test_a_text_of_cases_that_holds_none_or_one_twice_is_refused(text, reason):
    with pytest.raises(CaseError) as caught:
        read_cases(text)
    assert reason in str(caught.value)
