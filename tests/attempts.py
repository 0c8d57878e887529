"""Attempts at a lock round a unit of work, right and wrong, for those who judge them."""

import sqlite3
import threading

from helpers.strategies import SharedConnection


class Base(SharedConnection):
    def __init__(self, path, connect=sqlite3.connect):
        super().__init__(path, connect)
        self.lock = threading.Lock()


class WholeUnit(Base):
    def write(self, unit_of_work, /):
        with self.lock, self.connection:
            return unit_of_work(self.connection)


class NeverReleased(Base):
    def write(self, unit_of_work, /):
        self.lock.acquire()
        result = unit_of_work(self.connection)
        self.connection.commit()
        self.lock.release()
        return result


class NoRollback(Base):
    def write(self, unit_of_work, /):
        with self.lock:
            result = unit_of_work(self.connection)
            self.connection.commit()
            return result
