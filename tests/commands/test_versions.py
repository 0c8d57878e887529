"""What do your versions imply? Each row turns with the version it names."""

import sqlite3
import sys

import pytest

from helpers.commands import versions


def here(python, sqlite=(3, 40, 1)):
    return {item.behaviour: item.here for item in versions.implications(python, sqlite)}


@pytest.mark.parametrize(
    ("behaviour", "last_without", "first_with"),
    [
        ("Threads share a prepared statement when they share a connection", (3, 11), (3, 12)),
        ("Connections have the autocommit attribute", (3, 11), (3, 12)),
        ("An unclosed connection warns", (3, 12), (3, 13)),
    ],
)
def test_python_versions(behaviour, last_without, first_with):
    assert not here(last_without)[behaviour]
    assert here(first_with)[behaviour]


def test_the_wal_reset_bug_follows_the_sqlite_version():
    assert here((3, 11), (3, 40, 1))["The WAL-reset bug"]
    assert not here((3, 11), (3, 51, 3))["The WAL-reset bug"]


def test_what_is_said_of_this_python_is_so():
    found = {item.behaviour: item.here for item in versions.implications()}
    assert found["Connections have the autocommit attribute"] == hasattr(
        sqlite3.Connection, "autocommit"
    )
    free = not getattr(sys, "_is_gil_enabled", lambda: True)()
    assert found["Threads run Python code at the same time"] == free


def test_the_table_says_yes_or_no():
    table = versions.table()
    assert set(table["here"]) <= {"yes", "no"}
    assert not table.isna().any().any()
