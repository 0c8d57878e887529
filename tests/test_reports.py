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


@pytest.mark.parametrize("report", [snapshot_first, one_statement])
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
    ],
    ids=["loose", "deferred", "immediate"],
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
        reports.check(never)
    )
    assert "ZeroDivisionError" in reports.check(lambda connection: 1 / 0).reason


def test_another_total_is_not_taken_for_two_states():
    def doubled(connection):
        connection.execute(INSERT, (2 * reports.total(connection),))

    assert "table report holds 6000" in reports.check(doubled).reason
