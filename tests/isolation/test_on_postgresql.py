"""The anomalies on PostgreSQL equal what Hermitage found and the documentation says."""

import os

import pytest

from helpers.isolation import anomalies, postgres
from helpers.load import sessions
from helpers.load.postgres import missing

with_postgresql = pytest.mark.skipif(
    bool(missing()) and not os.environ.get("CI"), reason=missing() or "nothing is missing"
)
#: Level -> case -> in how many orders it is possible; all others are in none. Which they are:
#: https://github.com/ept/hermitage#summary-of-test-results, and, for the read-only anomaly,
#: Fekete et al. 2004: snapshot isolation has it. A session of one statement is a transaction.
EXPECTED = {
    # transaction-iso.html: each statement sees what was committed when it began. PMP: A's one
    # statement stands between B's SELECTs. P4, G2-item, G2: all but the orders in which one reads
    # after the other's COMMIT: two can be first, and the second's BEGIN has 5 places. G-single:
    # A's COMMIT stands between B's SELECTs, and before it three steps of A and two of B, in 10
    # ways. read-only: D and then R stand between W's SELECT and COMMIT, its UPDATE in 3 places.
    "READ COMMITTED": {
        "PMP": (1, 5),
        "P4": (40, 50),
        "G-single": (10, 70),
        "G2-item": (60, 70),
        "G2": (60, 70),
        "read-only": (3, 30),
    },
    # A transaction has one snapshot, and may not overwrite a newer row.
    "REPEATABLE READ": {"G2-item": (60, 70), "G2": (60, 70), "read-only": (3, 30)},
    "SERIALIZABLE": {},
}


@pytest.fixture(scope="module")
def recorded():
    return postgres.matrix(anomalies(), sessions.Recorded())


@pytest.mark.parametrize("level", postgres.LEVELS)
def test_every_cell_is_what_reasoning_says(recorded, level):
    cells = [recorded[name, level] for name in anomalies()]
    found = {c.case.name: (c.possible, c.schedules) for c in cells if c.possible}
    assert found == EXPECTED[level]


def test_what_is_prevented_is_refused_or_never_seen(recorded):
    refused = {
        level: {name for name in anomalies() if recorded[name, level].refused}
        for level in postgres.LEVELS
    }
    assert refused == {
        "READ COMMITTED": set(),
        "REPEATABLE READ": {"G0", "P4"},  # a newer row is overwritten
        "SERIALIZABLE": {"G0", "P4", "G1c", "G2-item", "G2", "read-only"},
    }


@with_postgresql
def test_a_server_does_in_every_order_what_the_record_says(recorded):
    server = sessions.Live()
    try:
        live = postgres.matrix(anomalies(), server)
    finally:
        server.close()
    assert {key: cell.found for key, cell in live.items()} == {
        key: cell.found for key, cell in recorded.items()
    }
    assert {cell.level.journal for cell in live.values()} == {"PostgreSQL"}


def test_the_record_is_marked_and_runs_the_scripts_unchanged(recorded):
    assert {cell.level.journal for cell in recorded.values()} == {"PostgreSQL, recorded"}
    for cell in recorded.values():
        for name, given in cell.case.sessions.items():
            run = cell.found.runs[0].case.sessions[name]
            assert tuple(sql for sql in run if sql not in ("BEGIN", "COMMIT")) == given
    assert str(recorded["P4", "READ COMMITTED"]) == "40 of 50"
    assert str(recorded["P4", "SERIALIZABLE"]) == "none of 50"


def test_an_example_can_be_looked_at(recorded):
    run = recorded["read-only", "REPEATABLE READ"].runs[0]
    end = postgres.ending(run)
    assert (end.results["W"], end.results["R"]) == ([[0, 0]], [[0, 20]])
    assert "R" in run.frame().connection.tolist()


def test_an_ending_is_what_was_read_refused_and_left():
    case = postgres.on_server(anomalies()["G2"], "SERIALIZABLE")
    told = (("A", "BEGIN"), ("A", "[]"), ("B", "BEGIN"), ("B", "waits"), ("B", "5"))
    refused = ("A", "refused: could not serialize")
    told = tuple(sessions.Told(*one) for one in (*told, refused, ("B", "COMMIT")))
    end = postgres.ending(sessions.Run(case, (), told, "[10, 20]"))
    assert end.rows == [(10,), (20,)]
    assert end.results == {"B": [[5]]}
    assert end.errors["A"].message == "could not serialize"


def test_another_level_is_refused():
    with pytest.raises(ValueError, match="'SNAPSHOT' is none of READ COMMITTED, "):
        postgres.on_server(anomalies()["P4"], "SNAPSHOT")


@with_postgresql
def test_one_that_is_refused_sets_a_third_free():
    write = "UPDATE t SET value = {} WHERE id = {}".format
    setup = anomalies()["P4"].setup
    given = {
        "X": [write(22, 2)],  # waits for Z, which waits for Y
        "Y": ["BEGIN", write(11, 1), "COMMIT"],
        "Z": ["BEGIN", write(21, 2), write(12, 1), "COMMIT"],
    }
    chain = sessions.Case(given, setup, anomalies()["P4"].look, level="REPEATABLE READ")
    server = sessions.Live(record=None)
    try:
        run = server.play(chain, "Y Y Z Z X Z Y")
    finally:
        server.close()
    assert [one.name for one in run.told[-3:]] == ["Y", "X", "Z"]
    assert run.told[-1].result.startswith(sessions.REFUSED)
    assert run.end == "[11, 22]"
