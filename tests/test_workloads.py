"""The jobs threads do: each audit sees what is lost, unasked for and damaged."""

import sqlite3
from contextlib import closing

import pytest

from helpers import databases, workloads
from helpers.workloads import Acknowledged, Audit


@pytest.fixture(params=[workloads.AppendLetter, workloads.Increment, workloads.Transfer])
def workload(request):
    return request.param(units=20)


def run_serially(workload, database, workers=3):
    """Every unit of every worker, one after the other on one connection."""
    done = []
    with closing(database.connect()) as connection:
        for worker in range(workers):
            for number in range(workload.units):
                result = workload.unit(worker, number)(connection)
                connection.commit()
                done.append(Acknowledged(worker, number, result))
    return done


def test_serial_work_passes_its_audit(workload):
    with databases.fresh(workload.sample) as database:
        audit = workload.audit(database, run_serially(workload, database))
    assert audit == Audit(60, 60)
    assert audit.holds
    assert audit.lost == 0


def test_work_that_is_not_in_the_database_is_lost(workload):
    with databases.fresh(workload.sample) as database:
        done = run_serially(workload, database)
        done += [Acknowledged(3, number) for number in range(5)]
        audit = workload.audit(database, done)
    assert (audit.acknowledged, audit.stored, audit.lost) == (65, 60, 5)
    assert not audit.holds


def test_work_that_nobody_was_told_of_is_counted(workload):
    with databases.fresh(workload.sample) as database:
        audit = workload.audit(database, run_serially(workload, database)[:-7])
    assert (audit.lost, audit.unacknowledged) == (0, 7)
    assert not audit.holds


@pytest.mark.parametrize(
    ("workload", "damage"),
    [
        (
            workloads.AppendLetter(20),
            "UPDATE Investment SET SectorGroup = 'Y' WHERE InvestmentID = 1",
        ),
        (
            workloads.AppendLetter(20),
            "UPDATE Investment SET SectorGroup = NULL WHERE InvestmentID = 2",
        ),
        (workloads.Increment(20), "UPDATE counter SET value = 'many'"),
        (workloads.Transfer(20), "UPDATE account SET balance = balance + 1 WHERE id = 3"),
    ],
)
def test_damage_is_seen(workload, damage):
    with databases.fresh(workload.sample) as database:
        done = run_serially(workload, database)
        with closing(database.connect()) as connection, connection:
            connection.execute(damage)
        audit = workload.audit(database, done)
    assert audit.damaged == 1
    assert not audit.holds


def test_append_letter_gives_each_worker_rows_of_its_own():
    workload = workloads.AppendLetter(units=100)
    rows = [workload.row(worker, number) for worker in range(10) for number in range(100)]
    assert rows == list(range(1, 1001))


def test_transfers_move_money_between_two_different_accounts():
    workload = workloads.Transfer()
    plans = [workload.plan(worker, number) for worker in range(16) for number in range(100)]
    assert all(source != target for source, target, _ in plans)
    assert {account for source, target, _ in plans for account in (source, target)} == set(
        range(1, 11)
    )
    assert all(amount > 0 for *_, amount in plans)


def test_a_long_read_beside_a_writer_must_see_one_total():
    workload = workloads.LongRead(units=4)
    assert [workload.reads(worker) for worker in range(3)] == [False, True, True]
    with databases.fresh(workload.sample) as database:
        done = run_serially(workload, database)
        assert workload.audit(database, done).holds
        torn = [*done[:-1], done[-1]._replace(result=[10_000, 9_993])]
        assert workload.audit(database, torn).damaged == 1


def test_an_index_error_of_the_question_is_not_caught():
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute("CREATE TABLE Investment (InvestmentID, SectorGroup)")
        with pytest.raises(IndexError):
            workloads.AppendLetter().unit(0, 0)(connection)


@pytest.mark.parametrize("make", [workloads.AppendLetter, workloads.Increment, workloads.LongRead])
def test_a_bad_number_of_units_is_named(make):
    with pytest.raises(ValueError, match="units must be at least 1, not 0"):
        make(units=0)
    with pytest.raises(TypeError, match="units must be a whole number, not '3'"):
        make(units="3")


def test_audits_add_up():
    assert workloads.total([Audit(5, 4, 1), Audit(3, 3, 0, 2)]) == Audit(8, 7, 1, 2)
    assert str(Audit(5, 4)) == (
        "5 acknowledged, 4 of them stored, 1 lost, 0 stored without acknowledgement, 0 damaged"
    )


def mixed(workload, database, units, workers=2):
    """So many units of each worker, one after the other on one connection."""
    with closing(database.connect()) as connection:
        done = []
        for worker in range(workers):
            for number in range(units):
                result = workload.unit(worker, number)(connection)
                connection.commit()
                done.append(Acknowledged(worker, number, result))
    return done


@pytest.mark.parametrize("insert", [False, True])
def test_a_mix_reads_and_writes_in_turn_and_finds_what_is_lost(insert):
    workload = workloads.Mix(2, 1, insert=insert)
    assert [workload.reads(1, number) for number in range(4)] == [True, True, False, True]
    with databases.fresh(workload.sample) as database:
        done = mixed(workload, database, 6)
        assert workload.audit(database, done) == Audit(12, 12)
        assert workload.audit(database, [*done, Acknowledged(5, 2)]).lost == 1
        assert workload.audit(database, done[:5]).unacknowledged == 3


def test_a_read_of_two_states_is_damaged():
    workload = workloads.Mix(1, 0)
    with databases.fresh(workload.sample) as database:
        assert mixed(workload, database, 1, 1) == [Acknowledged(0, 0, True)]
        audit = workload.audit(database, [Acknowledged(0, 0, False), Acknowledged(0, 1, True)])
    assert (audit.lost, audit.damaged) == (0, 1)


def test_worker_0_reads_alone_and_for_long():
    workload = workloads.Mix(insert=True, long_read=0.01)
    assert [workload.reads(worker, 0) for worker in range(3)] == [True, False, False]


def test_an_insert_is_one_statement_also_for_what_takes_no_functions():
    unit = workloads.Mix(insert=True).unit(3, 4)
    assert unit.sql.startswith("INSERT INTO transfer")
    assert unit.parameters == (3, 4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"reads": 0, "writes": 0}, "give reads and writes, one of them at least 1, not 0:0"),
        ({"reads": -1}, "not -1:1"),
        ({"inside": -1.0}, "inside counts seconds, from 0 on, not -1.0"),
        ({"burst": 0}, "burst must be at least 1, not 0"),
    ],
)
def test_a_mix_that_cannot_be_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        workloads.Mix(**arguments)
