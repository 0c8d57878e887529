"""Notebook 08: a transfer between two accounts, on a connection that is given."""

import sqlite3
import threading
import time

from helpers.strategies import Retry

SELECT = "SELECT balance FROM account WHERE id = ?"
UPDATE = "UPDATE account SET balance = balance + ? WHERE id = ?"
lock = threading.Lock()


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
            move(connection, source, target, amount)
            connection.commit()
            return True
        except sqlite3.Error:
            if ends:
                connection.rollback()
            raise

    return transfer


def move(connection, source, target, amount):
    connection.execute(UPDATE, (-amount, source))
    connection.execute(UPDATE, (amount, target))


# -- right -----------------------------------------------------------------------------------


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


def behind_a_lock(begin):
    def transfer(*arguments):
        with lock:
            return made(begin)(*arguments)

    return transfer


def in_savepoint(connection, source, target, amount):
    with connection:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("SAVEPOINT transfer")
        try:
            (balance,) = connection.execute(SELECT, (source,)).fetchone()
            if balance >= amount:
                move(connection, source, target, amount)
            return balance >= amount
        except BaseException:
            connection.execute("ROLLBACK TO transfer")
            raise
        finally:
            connection.execute("RELEASE transfer")


def retried_by_hand(connection, source, target, amount):
    """Begins again only after a refusal: another error is the caller's."""
    while True:
        try:
            return made("BEGIN")(connection, source, target, amount)
        except sqlite3.OperationalError:
            time.sleep(0.01)


def takes_then_looks(connection, source, target, amount):
    """The first statement takes the lock, and what follows can be taken back."""
    connection.execute("BEGIN")
    try:
        move(connection, source, target, amount)
        enough = connection.execute(SELECT, (source,)).fetchone()[0] >= 0
        connection.execute("COMMIT" if enough else "ROLLBACK")
        return enough
    except BaseException:
        connection.rollback()
        raise


# -- wrong -----------------------------------------------------------------------------------


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
        move(connection, source, target, amount)
    connection.commit()
    return paid


def keeps_half(connection, source, target, amount):
    connection.execute("BEGIN IMMEDIATE")
    try:
        (balance,) = connection.execute(SELECT, (source,)).fetchone()
        if balance >= amount:
            move(connection, source, target, amount)
        return balance >= amount
    finally:
        connection.commit()


def returns_in_finally(connection, source, target, amount):
    paid = False
    try:
        paid = made("BEGIN IMMEDIATE")(connection, source, target, amount)
    finally:
        return paid  # noqa: B012


def half(connection, source, target, amount):
    connection.execute(UPDATE, (-amount, source))
    return True


def never(connection, source, target, amount):
    return False


def fails(connection, source, target, amount):
    return 1 / 0


def looks_before_it_begins(connection, source, target, amount):
    (balance,) = connection.execute(SELECT, (source,)).fetchone()
    if balance < amount:
        return False
    with connection:
        connection.execute("BEGIN IMMEDIATE")
        move(connection, source, target, amount)
    return True


def updates_again(connection, source, target, amount):
    """Only the updates are done again, on a balance that was read in another transaction."""
    with connection:
        connection.execute("BEGIN")
        if paid := connection.execute(SELECT, (source,)).fetchone()[0] >= amount:
            try:
                move(connection, source, target, amount)
            except sqlite3.OperationalError:
                connection.rollback()
                connection.execute("BEGIN IMMEDIATE")
                move(connection, source, target, amount)
        return paid


def commits_again(connection, source, target, amount):
    """Only the COMMIT is tried again."""
    connection.execute("BEGIN")
    try:
        (balance,) = connection.execute(SELECT, (source,)).fetchone()
        if paid := balance >= amount:
            move(connection, source, target, amount)
        while connection.in_transaction:
            try:
                connection.commit()
            except sqlite3.OperationalError:
                time.sleep(0.01)
        return paid
    except BaseException:
        connection.rollback()
        raise


def lock_per_call(*arguments):
    with threading.Lock():
        return made("BEGIN")(*arguments)


def writes_what_it_read(connection, source, target, amount):
    """Computes both balances in Python, without a transaction."""
    (paying,) = connection.execute(SELECT, (source,)).fetchone()
    (paid,) = connection.execute(SELECT, (target,)).fetchone()
    if paying < amount:
        return False
    update = "UPDATE account SET balance = ? WHERE id = ?"
    with connection:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute(update, (paying - amount, source))
        connection.execute(update, (paid + amount, target))
    return True


def two_transactions(connection, source, target, amount):
    """Each update is safe by itself, and is committed by itself."""
    sql = f"{UPDATE} AND balance >= ?"
    if not connection.execute(sql, (-amount, source, amount)).rowcount:
        return False
    connection.execute(UPDATE, (amount, target))
    return True


def gives_back_by_hand(connection, source, target, amount):
    """As `two_transactions`, and repays after an error: between the two, money is missing."""
    sql = f"{UPDATE} AND balance >= ?"
    if not connection.execute(sql, (-amount, source, amount)).rowcount:
        return False
    try:
        connection.execute(UPDATE, (amount, target))
    except sqlite3.Error:
        connection.execute(UPDATE, (amount, source))
        raise
    return True


def only_names_its_error(connection, source, target, amount):
    """Rolls back what is locked, and not what is closed."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        (balance,) = connection.execute(SELECT, (source,)).fetchone()
        if paid := balance >= amount:
            move(connection, source, target, amount)
        connection.commit()
        return paid
    except sqlite3.OperationalError:
        connection.rollback()
        raise


balances = {1: 1000, 2: 1000}


def in_python(connection, source, target, amount):
    """Looks into a cache of its own, and writes through."""
    with lock:
        if balances.get(source, 0) < amount:
            return False
        balances[source] -= amount
    with connection:
        connection.execute("BEGIN IMMEDIATE")
        move(connection, source, target, amount)
    return True


ENDS = "What ends it"
BESIDE = "two threads keep the promise, but beside another process"
RIGHT = {
    "BEGIN IMMEDIATE": made("BEGIN IMMEDIATE"),
    "BEGIN EXCLUSIVE": made("BEGIN EXCLUSIVE"),
    "the condition in the UPDATE": atomic,
    "retried": Retry()(made("BEGIN")),
    "retried by hand": retried_by_hand,
    "one UPDATE": one_update,
    "immediate and a lock": behind_a_lock("BEGIN IMMEDIATE"),
    "SAVEPOINT inside": in_savepoint,
    "takes, then looks": takes_then_looks,
}


def commits_outside_the_try(connection, source, target, amount):
    connection.execute("BEGIN IMMEDIATE")
    try:
        (balance,) = connection.execute(SELECT, (source,)).fetchone()
        if balance < amount:
            connection.rollback()
            return False
        move(connection, source, target, amount)
    except BaseException:
        connection.rollback()
        raise
    connection.commit()
    return True


def knows_the_target(connection, source, target, amount):
    (held,) = connection.execute(SELECT, (target,)).fetchone()
    with connection:
        connection.execute("BEGIN IMMEDIATE")
        (balance,) = connection.execute(SELECT, (source,)).fetchone()
        if balance < amount:
            return False
        connection.execute(UPDATE, (-amount, source))
        connection.execute("UPDATE account SET balance = ? WHERE id = ?", (held + amount, target))
        return True


def keeps_the_last(connection, source, target, amount):
    with connection:
        connection.execute("BEGIN IMMEDIATE")
        (balance,) = connection.execute(SELECT, (source,)).fetchone()
        if balance <= amount:
            return False
        move(connection, source, target, amount)
        return True


WRONG = {
    "COMMIT outside the try": (commits_outside_the_try, "its COMMIT is refused, because somebody"),
    "the target from before": (knows_the_target, "of 50 orders break the promise"),
    "not the last of it": (keeps_the_last, "(300), (1700) after 700 and 300 were asked for, not 0"),
    "no transaction": (made(), "A reads in step 1, B changes the balances in step 3"),
    "DEFERRED": (made("BEGIN"), "Which BEGIN does"),
    "no rollback": (made("BEGIN IMMEDIATE", ends=False), ENDS),
    "False for a refusal": (
        hides_the_refusal,
        "returns False, though the balance suffices: in step 6 A is told",
    ),
    "a lock and BEGIN": (behind_a_lock("BEGIN"), BESIDE),
    "a lock and no BEGIN": (behind_a_lock(""), "beside another process, in 29 of 38 orders"),
    "no try": (without_try, "its transaction stays open"),
    "COMMIT in finally": (keeps_half, "account 1 holds 900 all the same"),
    "a retry that never ends": (never_gives_up, "it never ends"),
    "False for every error": (hides_every_error, "it returns False, and nobody learns why"),
    "return in finally": (returns_in_finally, "it returns False, and nobody learns why"),
    "half": (half, "(100), (1000) after 700 and 200"),
    "never": (never, "(1000), (1000) after 700 and 200 were asked for, not 100 and 1900"),
    "raises": (fails, "ZeroDivisionError"),
    "looks before it begins": (looks_before_it_begins, "reads in step"),
    "only the updates again": (updates_again, "reads in step"),
    "only the COMMIT again": (commits_again, "Which BEGIN does"),
    "a lock for each call": (lock_per_call, "Which BEGIN does"),
    "writes what it read": (writes_what_it_read, "reads in step"),
    "two transactions": (two_transactions, "holds 900 all the same"),
    "two, and gives back": (gives_back_by_hand, "a reader adds up both accounts to 1300"),
    "rolls back named errors": (only_names_its_error, "its transaction stays open"),
    "balances in Python": (in_python, "already alone, without a second thread, the accounts hold"),
}
