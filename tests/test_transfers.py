"""The exercise of notebook 08: right transfers pass, wrong ones are told why."""

import sqlite3

import pytest

from helpers.exercises import transfers
from helpers.strategies import Retry

SELECT = "SELECT balance FROM account WHERE id = ?"
UPDATE = "UPDATE account SET balance = balance + ? WHERE id = ?"


def made(begin="", ends=True):
    def transfer(connection, source, target, amount):
        try:
            if begin:
                connection.execute(begin)
            (balance,) = connection.execute(SELECT, (source,)).fetchone()
            if balance < amount:
                if ends:
                    connection.rollback()
                return False
            connection.execute(UPDATE, (-amount, source))
            connection.execute(UPDATE, (amount, target))
            connection.commit()
            return True
        except sqlite3.OperationalError:
            if ends:
                connection.rollback()
            raise

    return transfer


def atomic(connection, source, target, amount):
    connection.execute("BEGIN")
    sql = f"{UPDATE} AND balance >= ?"
    paid = connection.execute(sql, (-amount, source, amount)).rowcount
    if paid:
        connection.execute(UPDATE, (amount, target))
    connection.commit()
    return bool(paid)


def half(connection, source, target, amount):
    connection.execute(UPDATE, (-amount, source))
    return True


@pytest.mark.parametrize("journal_mode", ["delete", "wal"])
@pytest.mark.parametrize(
    "transfer", [made("BEGIN IMMEDIATE"), atomic, Retry()(made("BEGIN"))],
    ids=["immediate", "atomic", "retried"],
)  # fmt: skip
def test_right_transfers_pass(transfer, journal_mode):
    verdict = transfers.check(transfer, journal_mode)
    assert verdict.solved, verdict
    assert verdict.exploration.proved


@pytest.mark.parametrize("journal_mode", ["delete", "wal"])
@pytest.mark.parametrize(
    ("transfer", "reason"),
    [
        (made(), "B reads in step"),
        (made("BEGIN"), "Which BEGIN does"),
        (made("BEGIN IMMEDIATE", ends=False), "What ends it"),
    ],
    ids=["no transaction", "deferred", "no rollback"],
)
def test_wrong_transfers_are_told_which_order_breaks_them(transfer, reason, journal_mode):
    verdict = transfers.check(transfer, journal_mode)
    assert not verdict.solved
    assert reason in verdict.reason
    schedule = " ".join(verdict.stage().schedule)
    assert f"for example {schedule}." in verdict.reason
    assert verdict.stage().outcome.kind in ("wrong", "error")


def test_what_is_wrong_alone_is_said_so():
    assert "already alone" in transfers.check(half).reason
    assert "(-400), (1000) after 700 and 700" not in transfers.check(half).reason
    assert "(100), (1000) after 700 and 200" in transfers.check(half).reason
    never = transfers.check(lambda *_: False)
    assert "(1000), (1000) after 700 and 200 were asked for, not 100 and 1900" in never.reason
    assert "ZeroDivisionError" in transfers.check(lambda *_: 1 / 0).reason
