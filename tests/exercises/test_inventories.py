"""The check of notebook 19: what it counts, what it keeps to itself, and the audit of its load."""

import re

import pytest
from bank import inventories as bank

from helpers.exercises import check_inventory, inventories


def test_the_service_breaks_each_promise_and_a_repair_none():
    repaired = inventories.counts(bank.RIGHT["method by method"])
    broken = inventories.counts(bank.Inventory)
    assert list(broken) == list(repaired) == list(inventories.PROMISES)
    assert all(0 < failures <= schedules for failures, schedules in broken.values())
    assert all(failures == 0 < schedules for failures, schedules in repaired.values())


@pytest.mark.parametrize("key", bank.REPAIRS)
def test_each_repair_keeps_its_promise_and_no_other(key):
    """Six faults, independent of each other."""
    assert set(inventories.broken(bank.REPAIRS[key])) == set(inventories.PROMISES) - {key}


@pytest.mark.slow
@pytest.mark.parametrize("key", bank.REPAIRS)
def test_the_verdict_counts_what_remains_and_names_no_method(key):
    verdict = check_inventory(bank.but(key))
    assert str(verdict).startswith(f"Not yet: 1 of 6 promises broken: {key}.")
    methods = {name for name in vars(bank.Inventory) if callable(getattr(bank.Inventory, name))}
    assert not methods & set(re.findall(r"\w+", str(verdict)))
    assert "line" not in str(verdict)
    assert verdict.stage().table().shape[0] > 0


def test_one_promise_alone():
    assert check_inventory(bank.Shipping, only="shipping").solved
    assert str(check_inventory(bank.Inventory, only="shipping")).startswith("Not yet: shipping: A")
    with pytest.raises(ValueError, match="no promise is called 'sales': they are deliveries, "):
        check_inventory(bank.Inventory, only="sales")


class Uncommitted(bank.OneLock):
    def write(self, unit):
        with self.lock:
            return unit(self.connection)


class Halves(bank.OneLock):
    def load(self, rows):
        for row in rows:
            self.write(lambda connection, row=row: connection.execute(bank.NEW, row) and None)


class ForgetsTheStock(bank.OneLock):
    def receive(self, *delivery):
        self.write(lambda connection: connection.execute(bank.BOOK, delivery) and None)


class ReservesAnything(bank.OneLock):
    def reserve(self, order, item, quantity, day=0):
        row = (order, item, quantity, day)
        self.write(lambda connection: connection.execute(bank.KEEP, row) and None)
        return True


class SweepsNothing(bank.OneLock):
    def sweep(self, day):
        return 0


class Raises(bank.OneLock):
    def receive(self, *delivery):
        raise bank.sqlite3.ProgrammingError("recursive use of cursors")


class RaisesSomethingElse(bank.OneLock):
    def receive(self, *delivery):
        raise IndexError("pop from empty list")


class RefusesInItsOwnWords(Uncommitted):
    """What has to fail does, and what it then stores is looked at all the same."""

    def load(self, rows):
        try:
            super().load(rows)
        except bank.sqlite3.IntegrityError as error:
            raise RuntimeError("no") from error


@pytest.mark.slow
@pytest.mark.parametrize(
    ("service", "reason"),
    [
        (Uncommitted, "acknowledged requests are not in the file"),
        (Halves, "half of an import that failed is in the file"),
        (ForgetsTheStock, "the stock is not that of the deliveries and shipments"),
        (ReservesAnything, "more is reserved than there is"),
        (SweepsNothing, "the sweeper releases nothing"),
        (Raises, 'a thread is told "ProgrammingError: recursive use'),
        (RaisesSomethingElse, 'a thread is told "IndexError: pop from empty list"'),
        (RefusesInItsOwnWords, "acknowledged requests are not in the file"),
        (bank.OneLock, ""),
    ],
)
def test_the_audit_says_what_is_wrong(service, reason):
    found = inventories.under_load(service)
    assert bool(found) == bool(reason)
    assert reason in found
