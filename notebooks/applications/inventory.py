"""The inventory of a workshop in one SQLite file: the part of a web service that stores.

One `Inventory` serves all threads of the service, and a thread of its own that sweeps:

    inventory = Inventory("inventory.db")
    inventory.receive(delivery=1, item="bolt", quantity=100)
    if inventory.reserve(order=7, item="bolt", quantity=30):
        inventory.ship(7)
"""

import functools
import logging
import sqlite3
import threading
import time
from contextlib import closing

SCHEMA = """
CREATE TABLE IF NOT EXISTS stock (
    item TEXT PRIMARY KEY,
    quantity INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS delivery (
    number INTEGER PRIMARY KEY,
    item TEXT NOT NULL,
    quantity INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS reservation (
    number INTEGER PRIMARY KEY,
    item TEXT NOT NULL,
    quantity INTEGER NOT NULL,
    day INTEGER NOT NULL
);
"""
log = logging.getLogger("inventory")


def patient(method):
    """Try a method again if the database is locked."""

    @functools.wraps(method)
    def tried(*arguments, **keywords):
        for pause in (0.05, 0.1, 0.2):
            try:
                return method(*arguments, **keywords)
            except sqlite3.OperationalError as error:
                log.info("%s: %s", method.__name__, error)
                time.sleep(pause)
        return method(*arguments, **keywords)

    return tried


class Inventory:
    """What is in stock, what has come in, and what is kept for whom."""

    def __init__(self, path):
        self.path = path
        self._local = threading.local()
        self._opened = []
        self._sweeper = None
        self._closing = threading.Event()
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.executescript(SCHEMA)
        self._releasing = self._open()

    def _open(self):
        # close(), which another thread may call, closes it.
        connection = sqlite3.connect(self.path, timeout=5, check_same_thread=False)
        self._opened.append(connection)
        return connection

    def _connection(self):
        """The connection of this thread."""
        if not hasattr(self._local, "connection"):
            self._local.connection = self._open()
        return self._local.connection

    def _store(self, sql, parameters):
        """One statement that changes something, committed; how many rows it changed."""
        with self._connection() as connection:
            return connection.execute(sql, parameters).rowcount

    @patient
    def receive(self, delivery, item, quantity):
        """Book a delivery in. Its number is its own: a second one with it is refused."""
        self._store("UPDATE stock SET quantity = quantity + ? WHERE item = ?", (quantity, item))
        self._store("INSERT INTO delivery VALUES (?, ?, ?)", (delivery, item, quantity))

    def available(self, item):
        """How many pieces are in stock and not reserved."""
        sql = """SELECT quantity - (
            SELECT coalesce(sum(quantity), 0) FROM reservation WHERE item = stock.item
        ) FROM stock WHERE item = ?"""
        return self._connection().execute(sql, (item,)).fetchall()[0][0]

    def reserve(self, order, item, quantity, day=0):
        """Keep pieces for an order; False if there are not enough."""
        if self.available(item) < quantity:
            return False
        self._store("INSERT INTO reservation VALUES (?, ?, ?, ?)", (order, item, quantity, day))
        return True

    def ship(self, order):
        """Send off what is reserved for an order; False if nothing is."""
        sql = "SELECT quantity, item FROM reservation WHERE number = ?"
        update = "UPDATE stock SET quantity = quantity - ? WHERE item = ?"
        try:
            with self._connection() as connection:
                connection.execute("BEGIN IMMEDIATE")
                kept = connection.execute(sql, (order,)).fetchone()
                if kept is None:
                    return False
                connection.execute("DELETE FROM reservation WHERE number = ?", (order,))
                connection.execute(update, kept)
        except sqlite3.OperationalError as error:
            log.info("order %s: %s", order, error)
        return True

    def load(self, rows):
        """Enter new items, pairs of a name and a quantity: all of them or, with an error, none."""
        connection = self._connection()
        for item, quantity in rows:
            connection.execute("INSERT INTO stock VALUES (?, ?)", (item, quantity))
        connection.commit()

    def low_stock(self, below=10):
        """Yield name and quantity of what runs out, the scarcest first, for a page."""
        sql = "SELECT item, quantity FROM stock WHERE quantity < ? ORDER BY quantity, item"
        yield from self._connection().execute(sql, (below,))

    def cancel(self, order):
        """Release what is reserved for an order; KeyError if nothing is."""
        sql = "DELETE FROM reservation WHERE number = ?"
        if not self._releasing.execute(sql, (order,)).rowcount:
            self._releasing.rollback()
            raise KeyError(order)
        self._releasing.commit()

    def sweep(self, day):
        """Release what was reserved before `day`, and return how many orders that were."""
        sql = "DELETE FROM reservation WHERE day < ?"
        released = self._releasing.execute(sql, (day,)).rowcount
        self._releasing.commit()
        return released

    def sweep_every(self, seconds, today):
        """Start the thread that sweeps; `today` returns the day. It ends with `close`."""

        def run():
            while not self._closing.wait(seconds):
                self.sweep(today())

        self._sweeper = threading.Thread(target=run, name="sweeper")
        self._sweeper.start()

    def close(self):
        """End the sweeper, and close what was opened."""
        self._closing.set()
        if self._sweeper is not None:
            self._sweeper.join()
        for connection in self._opened:
            connection.close()
