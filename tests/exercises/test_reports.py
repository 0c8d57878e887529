"""The exercise of notebook 09: right reports pass, wrong ones are told why."""

import pytest

from helpers.exercises import reports

INSERT = "INSERT INTO report VALUES (?)"


def loose(connection):
    connection.execute(INSERT, (reports.total(connection),))


def in_one_transaction(begin):
    def report(connection):
        with connection:
            connection.execute(begin)
            loose(connection)

    return report


def snapshot_first(connection):
    with connection:
        connection.execute("BEGIN")
        total = reports.total(connection)
    connection.execute(INSERT, (total,))


def one_statement(connection):
    connection.execute("INSERT INTO report SELECT sum(balance) FROM account")


def in_python(connection):
    """The three balances in one SELECT, which is a transaction of its own."""
    rows = connection.execute("SELECT balance FROM account").fetchall()
    connection.execute(INSERT, (sum(balance for (balance,) in rows),))


def constant(connection):
    connection.execute("INSERT INTO report VALUES (3000)")


def left_open(connection):
    snapshot_first(connection)
    connection.execute("BEGIN")


def open_if_it_comes_late(connection):
    balances = connection.execute("SELECT balance FROM account").fetchall()
    one_statement(connection)
    if balances[0][0] < 1000:
        connection.execute("BEGIN")


@pytest.mark.parametrize("report", [snapshot_first, one_statement, in_python])
def test_right_reports_pass(report):
    verdict = reports.check(report)
    assert verdict.solved, verdict
    assert verdict.exploration.proved
    assert verdict.exploration.counts.keys() == {"right"}


@pytest.mark.parametrize(
    ("report", "reason"),
    [
        (loose, "two states"),
        (in_one_transaction("BEGIN"), "the report has read and wants to write"),
        (in_one_transaction("BEGIN IMMEDIATE"), "the clerk would have to wait"),
        (open_if_it_comes_late, "orders the report leaves its transaction open"),
    ],
    ids=["loose", "deferred", "immediate", "open if late"],
)
def test_wrong_reports_are_told_which_order_breaks_them(report, reason):
    verdict = reports.check(report)
    assert not verdict.solved
    assert reason in verdict.reason
    stage = verdict.stage()
    assert f"for example {' '.join(stage.schedule)}." in verdict.reason
    assert stage.outcome.kind in ("wrong", "error")


def test_what_is_wrong_alone_is_said_so():
    def never(connection):
        connection.execute("BEGIN")
        loose(connection)

    assert "already alone, without the clerk, table report holds no rows" in str(
        reports.check(lambda connection: reports.total(connection))
    )
    assert "already alone, without the clerk, its transaction is still" in str(reports.check(never))
    assert "ZeroDivisionError" in reports.check(lambda connection: 1 / 0).reason


def test_a_constant_and_a_transaction_left_open_are_refused():
    told = "table report holds 3000, and the accounts 3500 together"
    assert told in reports.check(constant).reason
    assert "still open when it returns" in reports.check(left_open).reason


def test_another_total_is_not_taken_for_two_states():
    def doubled(connection):
        connection.execute(INSERT, (2 * reports.total(connection),))

    assert "table report holds 6000" in reports.check(doubled).reason
