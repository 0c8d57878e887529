"""The tests of inventory.py: one request after another, in one thread. All are green."""

from contextlib import closing

import pytest
from inventory import Inventory


@pytest.fixture
def inventory(tmp_path):
    with closing(Inventory(tmp_path / "inventory.db")) as opened:
        opened.load([("bolt", 10), ("nut", 3)])
        yield opened


def test_a_delivery_adds_to_the_stock(inventory):
    inventory.receive(1, "bolt", 5)
    assert inventory.available("bolt") == 15


def test_no_more_is_reserved_than_there_is(inventory):
    assert inventory.reserve(1, "bolt", 6)
    assert not inventory.reserve(2, "bolt", 6)
    assert inventory.available("bolt") == 4


def test_what_is_shipped_has_left_the_stock(inventory):
    inventory.reserve(1, "bolt", 6)
    assert inventory.ship(1)
    assert not inventory.ship(1)
    assert inventory.available("bolt") == 4


def test_a_known_item_is_refused(inventory):
    with pytest.raises(Exception, match="UNIQUE"):
        inventory.load([("bolt", 1)])


def test_what_runs_out_is_listed_the_scarcest_first(inventory):
    assert list(inventory.low_stock(11)) == [("nut", 3), ("bolt", 10)]
    assert list(inventory.low_stock(5)) == [("nut", 3)]


def test_what_is_cancelled_is_available_again(inventory):
    inventory.reserve(1, "bolt", 6)
    inventory.cancel(1)
    assert inventory.available("bolt") == 10
    with pytest.raises(KeyError):
        inventory.cancel(1)


def test_old_reservations_are_swept(inventory):
    inventory.reserve(1, "bolt", 3, day=1)
    inventory.reserve(2, "bolt", 3, day=9)
    assert inventory.sweep(5) == 1
    assert inventory.available("bolt") == 7


def test_the_sweeper_ends_with_close(inventory):
    inventory.sweep_every(60, lambda: 1)
