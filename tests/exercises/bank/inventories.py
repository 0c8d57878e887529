"""Notebook 19: the inventory service, repaired whole, in part, and wrongly."""

import queue
import sqlite3
import sys
import threading
import time
from contextlib import closing
from pathlib import Path

from helpers.strategies import PerThread, TransactionLock, Writer

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "notebooks" / "applications"))

from inventory import SCHEMA, Inventory

ADD = "UPDATE stock SET quantity = quantity + ? WHERE item = ?"
BOOK = "INSERT INTO delivery VALUES (?, ?, ?)"
KEEP = "INSERT INTO reservation VALUES (?, ?, ?, ?)"
KEPT = "SELECT quantity, item FROM reservation WHERE number = ?"
FORGET = "DELETE FROM reservation WHERE number = ?"
LEFT = """SELECT quantity - (
    SELECT coalesce(sum(quantity), 0) FROM reservation WHERE item = stock.item
) FROM stock WHERE item = ?"""
LOW = "SELECT item, quantity FROM stock WHERE quantity < ? ORDER BY quantity, item"
OLD = "DELETE FROM reservation WHERE day < ?"
NEW = "INSERT INTO stock VALUES (?, ?)"


# -- one method repaired each -------------------------------------------------------------------


class Deliveries(Inventory):
    def receive(self, delivery, item, quantity):
        with self._connection() as connection:
            connection.execute(ADD, (quantity, item))
            connection.execute(BOOK, (delivery, item, quantity))


class Reservations(Inventory):
    def reserve(self, order, item, quantity, day=0):
        with self._connection() as connection:
            connection.execute("BEGIN IMMEDIATE")
            enough = self.available(item) >= quantity
            if enough:
                connection.execute(KEEP, (order, item, quantity, day))
            return enough


class Shipping(Inventory):
    def ship(self, order):
        with self._connection() as connection:
            connection.execute("BEGIN IMMEDIATE")
            kept = connection.execute(KEPT, (order,)).fetchone()
            if kept is not None:
                connection.execute(FORGET, (order,))
                connection.execute("UPDATE stock SET quantity = quantity - ? WHERE item = ?", kept)
            return kept is not None


class Imports(Inventory):
    def load(self, rows):
        with self._connection() as connection:
            for row in rows:
                connection.execute(NEW, row)


class Listings(Inventory):
    def low_stock(self, below=10):
        return self._connection().execute(LOW, (below,)).fetchall()


class Releases(Inventory):
    def cancel(self, order):
        if not self._store(FORGET, (order,)):
            raise KeyError(order)

    def sweep(self, day):
        return self._store(OLD, (day,))


REPAIRS = {
    "deliveries": Deliveries,
    "reservations": Reservations,
    "shipping": Shipping,
    "imports": Imports,
    "listings": Listings,
    "releases": Releases,
}


def but(*left_out, beside=()):
    """All repairs but these, with other classes before them."""
    repairs = tuple(repair for key, repair in REPAIRS.items() if key not in left_out)
    return type("Repaired", (*beside, *repairs), {"__module__": __name__})


# -- repaired as a whole ---------------------------------------------------------------------------


class Units:
    """Every method is a unit of work of `write` or `read`, which a subclass has."""

    def receive(self, delivery, item, quantity):
        def unit(connection):
            connection.execute(ADD, (quantity, item))
            connection.execute(BOOK, (delivery, item, quantity))

        self.write(unit)

    def reserve(self, order, item, quantity, day=0):
        def unit(connection):
            enough = connection.execute(LEFT, (item,)).fetchall()[0][0] >= quantity
            if enough:
                connection.execute(KEEP, (order, item, quantity, day))
            return enough

        return self.write(unit)

    def ship(self, order):
        def unit(connection):
            kept = connection.execute(KEPT, (order,)).fetchone()
            if kept:
                connection.execute(FORGET, (order,))
                connection.execute("UPDATE stock SET quantity = quantity - ? WHERE item = ?", kept)
            return bool(kept)

        return self.write(unit)

    def load(self, rows):
        rows = list(rows)
        self.write(lambda connection: connection.executemany(NEW, rows) and None)

    def low_stock(self, below=10):
        return self.read(lambda connection: connection.execute(LOW, (below,)).fetchall())

    def available(self, item):
        return self.read(lambda connection: connection.execute(LEFT, (item,)).fetchall()[0][0])

    def cancel(self, order):
        if not self.write(lambda connection: connection.execute(FORGET, (order,)).rowcount):
            raise KeyError(order)

    def sweep(self, day):
        return self.write(lambda connection: connection.execute(OLD, (day,)).rowcount)

    def sweep_every(self, seconds, today):
        self.ended = threading.Event()

        def run():
            while not self.ended.wait(seconds):
                self.sweep(today())

        self.sweeper = threading.Thread(target=run, name="sweeper")
        self.sweeper.start()

    def stop_sweeping(self):
        if hasattr(self, "ended"):
            self.ended.set()
            self.sweeper.join()


class OnStrategy(Units):
    """On one of the kit's strategies."""

    strategy = PerThread

    def __init__(self, path):
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.executescript(SCHEMA)
        self.chosen = self.strategy(path)
        self.write, self.read = self.chosen.write, self.chosen.read

    def close(self):
        self.stop_sweeping()
        self.chosen.close()


class OnLock(OnStrategy):
    strategy = TransactionLock


class OnWriter(OnStrategy):
    strategy = Writer


class OneLock(Units):
    """One connection, and one lock for whole units."""

    def __init__(self, path):
        self.connection = sqlite3.connect(path, check_same_thread=False)
        self.connection.executescript(SCHEMA)
        self.lock = threading.Lock()

    def write(self, unit):
        with self.lock, self.connection:
            return unit(self.connection)

    read = write

    def close(self):
        self.stop_sweeping()
        self.connection.close()


class OneWriter(Units):
    """A thread that takes functions from a queue; written by hand."""

    def __init__(self, path):
        self.path, self.asked = path, queue.Queue()
        self.thread = threading.Thread(target=self.run, name="writer")
        self.thread.start()

    def run(self):
        with closing(sqlite3.connect(self.path)) as connection:
            while (asked := self.asked.get()) is not None:
                unit, answers = asked
                try:
                    with connection:
                        answer = unit(connection)
                    answers.put((answer, None))
                except Exception as error:
                    answers.put((None, error))

    def write(self, unit):
        answers = queue.SimpleQueue()
        self.asked.put((unit, answers))
        answer, error = answers.get()
        if error is not None:
            raise error
        return answer

    read = write

    def close(self):
        self.stop_sweeping()
        self.asked.put(None)
        self.thread.join()


class OneStatement(Inventory):
    """The condition stands in the statement."""

    def reserve(self, order, item, quantity, day=0):
        sql = f"INSERT INTO reservation SELECT ?, ?, ?, ? WHERE ({LEFT}) >= ?"
        return bool(self._store(sql, (order, item, quantity, day, item, quantity)))


class LockedReleases(Inventory):
    """The connection stays shared, and a lock is held over whole transactions."""

    def __init__(self, path):
        self.lock = threading.Lock()
        super().__init__(path)

    def cancel(self, order):
        with self.lock:
            super().cancel(order)

    def sweep(self, day):
        with self.lock, self._releasing:
            return self._releasing.execute(OLD, (day,)).rowcount


class Known(Inventory):
    """A delivery that is sent again is ignored."""

    def receive(self, delivery, item, quantity):
        with self._connection() as connection:
            sql = "INSERT INTO delivery VALUES (?, ?, ?) ON CONFLICT DO NOTHING"
            if connection.execute(sql, (delivery, item, quantity)).rowcount:
                connection.execute(ADD, (quantity, item))


RIGHT = {
    "method by method": but(),
    "one lock for whole units": OneLock,
    "a writer thread": OneWriter,
    "PerThread": OnStrategy,
    "TransactionLock": OnLock,
    "Writer": OnWriter,
    "one statement, a lock, and a known delivery": but(
        "reservations", "releases", "deliveries", beside=(OneStatement, LockedReleases, Known)
    ),
}


# -- wrong ---------------------------------------------------------------------------------------


class EachStatement(Inventory):
    """A lock around each statement."""

    lock = threading.RLock()

    def _store(self, sql, parameters):
        with self.lock:
            return super()._store(sql, parameters)

    def available(self, item):
        with self.lock:
            return super().available(item)


class WriteRetried(Inventory):
    """The write alone is done again."""

    def reserve(self, order, item, quantity, day=0):
        if self.available(item) < quantity:
            return False
        while True:
            try:
                self._store(KEEP, (order, item, quantity, day))
            except sqlite3.OperationalError:
                time.sleep(0.05)
            else:
                return True


class Deferred(Inventory):
    def reserve(self, order, item, quantity, day=0):
        with self._connection() as connection:
            connection.execute("BEGIN")
            enough = self.available(item) >= quantity
            if enough:
                connection.execute(KEEP, (order, item, quantity, day))
            return enough


class CheckedAfterwards(Inventory):
    """Reserve, look, and take it back: both may take it back."""

    def reserve(self, order, item, quantity, day=0):
        self._store(KEEP, (order, item, quantity, day))
        if self.available(item) < 0:
            self._store(FORGET, (order,))
            return False
        return True


class Excused(Reservations):
    def reserve(self, *arguments):
        try:
            return super().reserve(*arguments)
        except sqlite3.OperationalError:
            return False


class Longer(Inventory):
    """A timeout of a minute."""

    def _open(self):
        connection = super()._open()
        connection.execute("PRAGMA busy_timeout = 60000")
        return connection


class Wal(Inventory):
    def _open(self):
        connection = super()._open()
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        return connection


class OneBigLock(Inventory):
    """Methods that call each other, and a lock that its holder cannot take again."""

    def __init__(self, path):
        self.lock = threading.Lock()
        super().__init__(path)

    def available(self, item):
        with self.lock:
            return super().available(item)

    def reserve(self, *arguments, **options):
        with self.lock:
            return super().reserve(*arguments, **options)


class NeverReleased(OneLock):
    """The lock is not given back after an error."""

    def write(self, unit):
        self.lock.acquire()
        with self.connection:
            result = unit(self.connection)
        self.lock.release()
        return result

    read = write


class PageUnderLock(OneLock):
    """The page holds the lock from row to row."""

    def low_stock(self, below=10):
        with self.lock:
            yield from self.connection.execute(LOW, (below,)).fetchall()


class Released(OneLock):
    """The lock is given back before the commit."""

    def write(self, unit):
        with self.lock:
            result = unit(self.connection)
        self.connection.commit()
        return result


class ShippingFalse(Shipping):
    """Locked, hence not shipped? False means that nothing is reserved."""

    def ship(self, order):
        try:
            return super().ship(order)
        except sqlite3.OperationalError:
            return False


class TwoTransactions(Inventory):
    """Shipped once, in two transactions."""

    def ship(self, order):
        kept = self._connection().execute(KEPT, (order,)).fetchone()
        if kept is None or not self._store(FORGET, (order,)):
            return False
        self._store("UPDATE stock SET quantity = quantity - ? WHERE item = ?", kept)
        return True


class SecondRetried(Inventory):
    """Only the second statement is done again, and at last given up."""

    def receive(self, delivery, item, quantity):
        self._store(ADD, (quantity, item))
        for _ in range(3):
            try:
                return self._store(BOOK, (delivery, item, quantity)) and None
            except sqlite3.OperationalError:
                time.sleep(0.05)
        raise sqlite3.OperationalError("database is locked")


class Compensated(Inventory):
    """What was added is taken away again."""

    def receive(self, delivery, item, quantity):
        self._store(ADD, (quantity, item))
        try:
            self._store(BOOK, (delivery, item, quantity))
        except sqlite3.Error:
            self._store(ADD, (-quantity, item))
            raise


class DatabaseErrors(Inventory):
    """Rolls back after SQLite's errors only."""

    def load(self, rows):
        connection = self._connection()
        try:
            for row in rows:
                connection.execute(NEW, row)
            connection.commit()
        except sqlite3.Error:
            connection.rollback()
            raise


class RowByRow(Inventory):
    """Each row is committed, and taken away again after an error."""

    def load(self, rows):
        stored = []
        try:
            for row in rows:
                self._store(NEW, row)
                stored.append(row[0])
        except Exception:
            for item in stored:
                self._store("DELETE FROM stock WHERE item = ?", (item,))
            raise


class RollbackFirst(Inventory):
    """Each import begins by rolling back what the one before may have left."""

    def load(self, rows):
        self._connection().rollback()
        super().load(rows)


class Ignored(Inventory):
    """INSERT OR IGNORE: no error, and not what was asked for."""

    def load(self, rows):
        with self._connection() as connection:
            for row in rows:
                connection.execute("INSERT OR IGNORE INTO stock VALUES (?, ?)", row)


class FewRows(Inventory):
    """Rows are fetched two at a time."""

    def low_stock(self, below=10):
        cursor = self._connection().execute(LOW, (below,))
        while rows := cursor.fetchmany(1):
            yield from rows


class OwnReader(Inventory):
    """The page has a connection of its own, and keeps its snapshot all the same."""

    def low_stock(self, below=10):
        with closing(sqlite3.connect(self.path)) as connection:
            yield from connection.execute(LOW, (below,))


class LockedSweep(Inventory):
    """Only the sweeper takes the lock."""

    lock = threading.Lock()

    def sweep(self, day):
        with self.lock:
            return super().sweep(day)


class OneOwn(Inventory):
    """cancel has left the shared connection, and forgotten to commit."""

    def cancel(self, order):
        if not self._connection().execute(FORGET, (order,)).rowcount:
            self._connection().rollback()
            raise KeyError(order)


class Swallowed(Releases):
    def sweep(self, day):
        try:
            return super().sweep(day)
        except sqlite3.OperationalError:
            return 1


class LooksFirst(Releases):
    """Whether there is a reservation is read before it is deleted."""

    def cancel(self, order):
        if self._connection().execute(KEPT, (order,)).fetchone() is None:
            raise KeyError(order)
        self._store(FORGET, (order,))


class NobodySweeps(Releases):
    """No sweeper, no fault."""

    def sweep_every(self, seconds, today):
        pass


class EveryPage(Listings):
    """All items, whatever was asked for."""

    def low_stock(self, below=10):
        return super().low_stock(1 << 40)


class Later(OneWriter):
    """An import of pins is queued, answered before it is stored, and tried until it is."""

    def load(self, rows):
        def unit(connection):
            while True:
                try:
                    return connection.executemany(NEW, rows) and None
                except sqlite3.OperationalError:
                    time.sleep(0.05)

        if rows == [("pin", 1)]:
            self.asked.put((unit, queue.SimpleQueue()))
        else:
            super().load(rows)


class OneConnection(Inventory):
    """One connection for all threads, and a lock around some of the methods."""

    def __init__(self, path):
        self.lock = threading.RLock()
        super().__init__(path)

    def _connection(self):
        return self._releasing

    def reserve(self, *arguments):
        with self.lock:
            return super().reserve(*arguments)

    def cancel(self, order):
        with self.lock:
            super().cancel(order)

    def sweep(self, day):
        with self.lock:
            return super().sweep(day)


class LockForEach(OneLock):
    """A lock for each kind of request, and one connection."""

    def __init__(self, path):
        super().__init__(path)
        self.locks = {}

    def write(self, unit):
        kind = unit.__qualname__.split(".")[1].replace("cancel", "sweep").replace("ship", "sweep")
        with self.locks.setdefault(kind, threading.Lock()), self.connection:
            return unit(self.connection)


class Flag(OneLock):
    """A lock made of a variable."""

    busy = False

    def take(self):
        self.busy = True

    def write(self, unit):
        while self.busy:
            time.sleep(0.001)
        self.take()
        try:
            with self.connection:
                return unit(self.connection)
        finally:
            self.busy = False

    read = write


def instead(key, wrong):
    """All repaired but one promise, and that wrongly."""
    return but(key, beside=(wrong,))


def one(key):
    return f"1 of 6 promises broken: {key}. First {key}: "


WRONG = {
    **{f"all but {key}": (but(key), one(key)) for key in REPAIRS},
    "as it is": (Inventory, "6 of 6 promises broken"),
    "a timeout of a minute": (Longer, "6 of 6 promises broken"),
    "WAL": (Wal, "6 of 6 promises broken"),
    "a lock around each statement": (EachStatement, "6 of 6 promises broken"),
    "one big lock that deadlocks": (instead("reservations", OneBigLock), "deadlock"),
    "the write alone again": (instead("reservations", WriteRetried), one("reservations")),
    "BEGIN alone": (instead("reservations", Deferred), "database is locked"),
    "checked afterwards": (instead("reservations", CheckedAfterwards), one("reservations")),
    "locked, hence not enough": (instead("reservations", Excused), one("reservations")),
    "a lock never released": (NeverReleased, "deadlock"),
    "a lock round the page": (PageUnderLock, "deadlock"),
    "the commit outside the lock": (Released, "promises broken"),
    "locked, hence False": (instead("shipping", ShippingFalse), one("shipping")),
    "shipped in two transactions": (instead("shipping", TwoTransactions), one("shipping")),
    "the second statement again": (instead("deliveries", SecondRetried), one("deliveries")),
    "taken away again": (instead("deliveries", Compensated), one("deliveries")),
    "SQLite's errors only": (instead("imports", DatabaseErrors), one("imports")),
    "row by row": (instead("imports", RowByRow), one("imports")),
    "rolled back by the next": (instead("imports", RollbackFirst), one("imports")),
    "OR IGNORE": (instead("imports", Ignored), one("imports")),
    "a few rows at a time": (instead("listings", FewRows), one("listings")),
    "a page with its own connection": (instead("listings", OwnReader), one("listings")),
    "only the sweeper locks": (instead("releases", LockedSweep), one("releases")),
    "no commit": (instead("releases", OneOwn), one("releases")),
    "a sweep that hides its error": (instead("releases", Swallowed), one("releases")),
    "looks before it cancels": (instead("releases", LooksFirst), one("releases")),
    "nobody sweeps": (instead("releases", NobodySweeps), "the sweeper has stopped"),
    "every item on the page": (instead("listings", EveryPage), "one request after another"),
    "an import that is stored later": (Later, "A imports; then another program looks"),
    "one connection, some locks": (but("releases", beside=(OneConnection,)), "3 of 6"),
    "a lock for each kind of request": (LockForEach, "each promise is kept, but"),
    "a lock made of a variable": (Flag, "under load"),
}
