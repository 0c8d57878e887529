"""The exercise of notebook 08: right transfers pass, wrong ones are told why."""

import sqlite3
import threading

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
        except sqlite3.Error:
            if ends:
                connection.rollback()
            raise

    return transfer


def atomic(connection, source, target, amount):
    with connection:
        connection.execute("BEGIN")
        sql = f"{UPDATE} AND balance >= ?"
        paid = connection.execute(sql, (-amount, source, amount)).rowcount
        if paid:
            connection.execute(UPDATE, (amount, target))
        return bool(paid)


def one_update(connection, source, target, amount):
    """Both rows in one statement, which is a transaction of its own."""
    sql = """UPDATE account SET balance = balance + iif(id = :source, -:amount, :amount)
        WHERE id IN (:source, :target)
        AND (SELECT balance FROM account WHERE id = :source) >= :amount"""
    given = {"source": source, "target": target, "amount": amount}
    return connection.execute(sql, given).rowcount == 2


def hides_the_refusal(connection, source, target, amount):
    try:
        return made("BEGIN")(connection, source, target, amount)
    except sqlite3.OperationalError:
        return False


def hides_every_error(connection, source, target, amount):
    try:
        return made("BEGIN IMMEDIATE")(connection, source, target, amount)
    except sqlite3.Error:
        return False


lock = threading.Lock()


def behind_a_lock(begin):
    def transfer(*arguments):
        with lock:
            return made(begin)(*arguments)

    return transfer


def never_gives_up(connection, *arguments):
    while True:
        try:
            return made("BEGIN IMMEDIATE")(connection, *arguments)
        except sqlite3.Error:
            pass


def without_try(connection, source, target, amount):
    connection.execute("BEGIN IMMEDIATE")
    (balance,) = connection.execute(SELECT, (source,)).fetchone()
    if paid := balance >= amount:
        connection.execute(UPDATE, (-amount, source))
        connection.execute(UPDATE, (amount, target))
    connection.commit()
    return paid


def keeps_half(connection, source, target, amount):
    connection.execute("BEGIN IMMEDIATE")
    try:
        (balance,) = connection.execute(SELECT, (source,)).fetchone()
        if balance >= amount:
            connection.execute(UPDATE, (-amount, source))
            connection.execute(UPDATE, (amount, target))
        return balance >= amount
    finally:
        connection.commit()


def half(connection, source, target, amount):
    connection.execute(UPDATE, (-amount, source))
    return True


@pytest.mark.parametrize("journal_mode", ["delete", "wal"])
@pytest.mark.parametrize(
    "transfer",
    [made("BEGIN IMMEDIATE"), atomic, Retry()(made("BEGIN")), one_update,
     behind_a_lock("BEGIN IMMEDIATE")],
    ids=["immediate", "atomic", "retried", "one update", "immediate and a lock"],
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


@pytest.mark.parametrize("journal_mode", ["delete", "wal"])
@pytest.mark.parametrize(
    ("transfer", "reason"),
    [
        (hides_the_refusal, "returns False, though the balance suffices: in step 6 A is told"),
        (behind_a_lock("BEGIN"), "two threads keep the promise, but beside another process"),
        (behind_a_lock(""), "beside another process, in 2 of 6 orders, the promise is broken"),
        (without_try, "its transaction stays open"),
        (keeps_half, "account 1 holds 900 all the same"),
        (never_gives_up, "it never ends"),
        (hides_every_error, "it returns False, and nobody learns why"),
    ],
)
def test_what_two_threads_alone_do_not_show_is_told(transfer, reason, journal_mode):
    verdict = transfers.check(transfer, journal_mode)
    assert not verdict.solved
    assert reason in verdict.reason
    assert len(verdict.reason.split()) <= 60


def test_what_is_wrong_alone_is_said_so():
    assert "already alone" in transfers.check(half).reason
    assert "(-400), (1000) after 700 and 700" not in transfers.check(half).reason
    assert "(100), (1000) after 700 and 200" in transfers.check(half).reason
    never = transfers.check(lambda *_: False)
    assert "(1000), (1000) after 700 and 200 were asked for, not 100 and 1900" in never.reason
    assert "ZeroDivisionError" in transfers.check(lambda *_: 1 / 0).reason
