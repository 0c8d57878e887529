"""`python -m helpers explore`: a reader's own functions."""

from __future__ import annotations

import json
import sqlite3
import sys
from contextlib import closing

import pytest

from helpers.__main__ import main

MODULE = """
import sqlite3
from contextlib import closing

def sell(path, begin=""):
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        if begin:
            connection.execute(begin)
        (left,) = connection.execute("SELECT amount FROM stock").fetchone()
        if left:
            connection.execute("UPDATE stock SET amount = ?", (left - 1,))
            connection.execute("INSERT INTO sale VALUES (1)")
        if begin:
            connection.execute("COMMIT")

def careful(path):
    sell(path, "BEGIN IMMEDIATE")

def patient(connection):
    connection.execute("SELECT 1").fetchone()

class Shop:
    sell = staticmethod(sell)

def share(path):
    return sqlite3.connect(path, check_same_thread=False)

number = 3
"""
SCHEMA = """CREATE TABLE stock (amount INTEGER); INSERT INTO stock VALUES (1);
CREATE TABLE sale (amount INTEGER);"""
KEPT = "SELECT (SELECT amount FROM stock) + (SELECT count(*) FROM sale) = 1"


@pytest.fixture
def explore(tmp_path, monkeypatch, capsys):
    (tmp_path / "shop_to_explore.py").write_text(MODULE)
    (tmp_path / "schema.sql").write_text(SCHEMA)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))

    def explore(*functions, database="schema.sql", invariant=KEPT, options=()):
        names = [f"shop_to_explore:{name}" for name in functions]
        arguments = ["explore", *names, "--database", database, "--invariant", invariant]
        status = main([*arguments, *options])
        out, err = capsys.readouterr()
        return status, out, err

    yield explore
    sys.modules.pop("shop_to_explore", None)


def test_what_is_broken_is_refuted_with_the_schedule(explore):
    status, out, _ = explore("sell", "Shop.sell")
    assert status == 1
    assert "B: shop_to_explore:Shop.sell" in out
    assert f"Refuted: {KEPT}. Of 16 schedules, 12 break it." in out
    assert "  1  A  SELECT amount FROM stock  ok" in out


def test_what_is_right_is_proved(explore):
    status, out, _ = explore("careful", "careful")
    assert (status, "Proved: " in out) == (0, True)


def test_a_database_file_and_processes_do_as_well(explore, tmp_path):
    with closing(sqlite3.connect(tmp_path / "shop.db")) as connection:
        connection.executescript(SCHEMA)
    found = explore("sell", "sell", database="shop.db", options=["--workers", "2"])
    assert found == explore("sell", "sell")


def test_few_preemptions_and_the_journal_mode(explore):
    status, out, _ = explore(
        "careful", "sell", options=["--preemptions", "0", "--journal-mode", "wal"]
    )
    assert status == 0
    assert "with at most 0 preemptions" in out


def test_what_is_shared_is_made_for_each_schedule(explore):
    status, out, _ = explore("patient", "patient", options=["--share", "shop_to_explore:share"])
    assert (status, "Proved: " in out) == (0, True)


def test_waits_that_are_too_short(explore):
    status, out, _ = explore("careful", "careful", options=["--impatient"])
    assert status == 0
    assert "Waits with a timeout may end at any step." in out


@pytest.mark.parametrize("options", [["--seconds", "0.000001"], ["--seed", "7", "--seconds", "1"]])
def test_what_is_not_finished_is_not_proved(explore, options):
    status, out, _ = explore("careful", "careful", options=options)
    assert (status, "Not proved: " in out) == (2, True)


def test_a_schedule_is_saved_and_run_again(explore, tmp_path):
    assert explore("sell", "sell", options=["--save", "lost.json"])[0] == 1
    saved = json.loads((tmp_path / "lost.json").read_text())
    status, out, _ = explore("sell", "sell", options=["--replay", "lost.json"])
    assert status == 1
    assert out.rstrip().endswith(saved["outcome"])
    changed = "the program has changed since the schedule was saved"
    status, _, err = explore("careful", "careful", options=["--replay", "lost.json"])
    assert (status, changed in err) == (2, True)
    saved["steps"][1] = "B: SELECT 2"
    (tmp_path / "lost.json").write_text(json.dumps(saved))
    status, _, err = explore("sell", "sell", options=["--replay", "lost.json"])
    assert status == 2
    assert f"{changed}: step 2 was 'B: SELECT 2', now it is 'B: SELECT amount" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"functions": ["number", "sell"]}, "shop_to_explore:number is 3, which cannot be called"),
        ({"functions": ["nothing"]}, "there is no 'nothing' in <module 'shop_to_explore'"),
        ({"invariant": "SELECT amount FROM stok"}, "no such table: stok\nraised by look="),
        ({"database": "missing.sql"}, "missing.sql"),
        ({"options": ["--share", "shop"]}, "'shop' is not MODULE:FUNCTION"),
        ({"options": ["--seconds", "-1"]}, "must be more than 0"),
        ({"options": ["--replay", "schema.sql"]}, "schema.sql holds no schedule"),
    ],
)
def test_what_cannot_be_explored_says_why(explore, arguments, message):
    arguments = {"functions": ["sell", "sell"], **arguments}
    status, _, err = explore(*arguments.pop("functions"), **arguments)
    assert status == 2
    assert message in err
