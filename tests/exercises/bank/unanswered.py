"""Notebook 18: a withdrawal that is done once, however often its answer gets lost."""

import sqlite3
import threading
import uuid

from helpers.strategies import OutcomeUnknown

TAKE = "UPDATE account SET balance = balance - ? WHERE id = 1"
BALANCE = "SELECT balance FROM account WHERE id = 1"
KNOWN = "SELECT balance FROM answer WHERE request = ?"
KEEP = "INSERT INTO answer VALUES (?, ?)"


def balance(connection):
    return connection.execute(BALANCE).fetchone()[0]


def repeated(server, unit, times=5):
    for _ in range(times - 1):
        try:
            return server.write(unit)
        except OutcomeUnknown:
            continue
    return server.write(unit)


def take(connection, amount):
    connection.execute(TAKE, [amount])
    return balance(connection)


def taken_once(connection, request, amount):
    known = connection.execute(KNOWN, [request]).fetchone()
    if known:
        return known[0]
    left = take(connection, amount)
    connection.execute(KEEP, [request, left])
    return left


# -- right -----------------------------------------------------------------------------------


def looked_up(server, request, amount):
    return repeated(server, lambda connection: taken_once(connection, request, amount))


def claimed_first(server, request, amount):
    """The name of the request is inserted first; if it is there, nothing is taken."""

    def unit(connection):
        sql = "INSERT OR IGNORE INTO answer VALUES (?, NULL)"
        if connection.execute(sql, [request]).rowcount:
            left = take(connection, amount)
            connection.execute("UPDATE answer SET balance = ? WHERE request = ?", [left, request])
        return connection.execute(KNOWN, [request]).fetchone()[0]

    return repeated(server, unit)


def in_sql(server, request, amount):
    def unit(connection):
        connection.execute(
            f"{TAKE} AND NOT EXISTS (SELECT * FROM answer WHERE request = ?)", [amount, request]
        )
        connection.execute(
            "INSERT OR IGNORE INTO answer SELECT ?, balance FROM account WHERE id = 1", [request]
        )
        return connection.execute(KNOWN, [request]).fetchone()[0]

    return repeated(server, unit)


def by_recursion(server, request, amount, attempts=5):
    try:
        return server.write(lambda connection: taken_once(connection, request, amount))
    except OutcomeUnknown:
        if attempts == 1:
            raise
        return by_recursion(server, request, amount, attempts - 1)


def refused_by_the_key(server, request, amount):
    """The primary key refuses the second one, by its own error alone."""

    def unit(connection):
        try:
            connection.execute(KEEP, [request, None])
        except sqlite3.IntegrityError:
            return connection.execute(KNOWN, [request]).fetchone()[0]
        left = take(connection, amount)
        connection.execute("UPDATE answer SET balance = ? WHERE request = ?", [left, request])
        return left

    return repeated(server, unit, 6)


RIGHT = {
    "looked up": looked_up,
    "claimed first": claimed_first,
    "in SQL": in_sql,
    "by recursion": by_recursion,
    "refused by the key": refused_by_the_key,
}


# -- wrong -----------------------------------------------------------------------------------


def just_again(server, request, amount):
    return repeated(server, lambda connection: take(connection, amount))


def not_again(server, request, amount):
    return server.write(lambda connection: taken_once(connection, request, amount))


def a_new_name_each_time(server, request, amount):
    return repeated(
        server, lambda connection: taken_once(connection, f"{request}-{uuid.uuid4()}", amount)
    )


def one_name_for_all(server, request, amount):
    return repeated(server, lambda connection: taken_once(connection, "withdrawal", amount))


def named_by_the_amount(server, request, amount):
    return repeated(server, lambda connection: taken_once(connection, str(amount), amount))


def looks_first(server, request, amount):
    """Whether it is known is asked in a transaction of its own."""
    for attempt in range(5):
        try:
            known = server.write(lambda c: c.execute(KNOWN, [request]).fetchone())
            if known:
                return known[0]

            def unit(connection):
                left = take(connection, amount)
                connection.execute("INSERT OR REPLACE INTO answer VALUES (?, ?)", [request, left])
                return left

            return server.write(unit)
        except OutcomeUnknown:
            if attempt == 4:
                raise
    return None


def notes_it_afterwards(server, request, amount):
    known = repeated(server, lambda c: c.execute(KNOWN, [request]).fetchone())
    if known:
        return known[0]
    left = repeated(server, lambda connection: take(connection, amount))
    repeated(server, lambda connection: connection.execute(KEEP, [request, left]))
    return left


def notes_it_before(server, request, amount):
    def note(connection):
        sql = "INSERT OR IGNORE INTO answer VALUES (?, NULL)"
        return connection.execute(sql, [request]).rowcount

    if repeated(server, note):
        return repeated(server, lambda connection: take(connection, amount))
    return server.write(balance)


def tells_the_present_balance(server, request, amount):
    def unit(connection):
        if not connection.execute(KNOWN, [request]).fetchone():
            connection.execute(KEEP, [request, 0])
            connection.execute(TAKE, [amount])
        return balance(connection)

    return repeated(server, unit)


def compares_balances(server, request, amount):
    """If the balance has fallen by so much, it must have been this one."""
    before = server.write(balance)
    for attempt in range(5):
        try:
            now = server.write(balance)
            if now <= before - amount:
                return now
            return server.write(lambda connection: take(connection, amount))
        except OutcomeUnknown:
            if attempt == 4:
                raise
    return None


def any_integrity_error(server, request, amount):
    """A balance below 0 is an IntegrityError, too."""

    def unit(connection):
        try:
            connection.execute(KEEP, [request, balance(connection) - amount])
            connection.execute(TAKE, [amount])
        except sqlite3.IntegrityError:
            pass
        return connection.execute(KNOWN, [request]).fetchone()[0]

    return repeated(server, unit)


def never_gives_up(server, request, amount):
    while True:
        try:
            return server.write(lambda connection: taken_once(connection, request, amount))
        except OutcomeUnknown:
            pass


def gives_up_in_silence(server, request, amount):
    try:
        return looked_up(server, request, amount)
    except OutcomeUnknown:
        return None


def replaces_the_answer(server, request, amount):
    def unit(connection):
        left = take(connection, amount)
        connection.execute("INSERT OR REPLACE INTO answer VALUES (?, ?)", [request, left])
        return left

    return repeated(server, unit)


def commits_by_itself(server, request, amount):
    def unit(connection):
        left = taken_once(connection, request, amount)
        connection.execute("COMMIT")
        return left

    return repeated(server, unit)


def gives_it_back(server, request, amount):
    """Takes it each time, and gives back what was taken twice: if the account holds as much."""

    def unit(connection):
        known = connection.execute(KNOWN, [request]).fetchone()
        left = take(connection, amount)
        if known:
            take(connection, -amount)
            return known[0]
        connection.execute(KEEP, [request, left])
        return left

    return repeated(server, unit)


def an_error_of_its_own(server, request, amount):
    def unit(connection):
        known = connection.execute(KNOWN, [request]).fetchone()
        if not known and balance(connection) < amount:
            raise ValueError("too much")
        return taken_once(connection, request, amount)

    return repeated(server, unit)


def with_a_lock(lock):
    def withdraw(server, request, amount):
        with lock:
            known = repeated(server, lambda c: c.execute(KNOWN, [request]).fetchone())
            if known:
                return known[0]
            return repeated(server, lambda connection: taken_once(connection, request, amount))

    return withdraw


#: Name -> the answer, and what its refusal says.
WRONG = {
    "just again": (just_again, "is taken 2 times"),
    "not again": (not_again, "it gives up"),
    "a new name each time": (a_new_name_each_time, "is taken 2 times"),
    "one name for all": (one_name_for_all, "What tells one request from another?"),
    "named by the amount": (named_by_the_amount, "What tells one request from another?"),
    "looks first": (looks_first, "must be one unit of work"),
    "notes it afterwards": (notes_it_afterwards, "What, in the database"),
    "notes it before": (notes_it_before, "is taken 2 times"),
    "tells the present balance": (tells_the_present_balance, "Which answer must be kept"),
    "compares balances": (compares_balances, "Which answer must be kept"),
    "any IntegrityError": (any_integrity_error, "is swallowed"),
    "never gives up": (never_gives_up, "does not end"),
    "gives up in silence": (gives_up_in_silence, "Nobody knows"),
    "replaces the answer": (replaces_the_answer, "is taken 2 times"),
    "gives it back": (gives_it_back, "r2 takes 900"),
    "an error of its own": (an_error_of_its_own, "let the IntegrityError of CHECK out"),
    "a lock in Python": (with_a_lock(threading.Lock()), "what only this process has"),
    "commits by itself": (commits_by_itself, "already when every answer arrives"),
}
