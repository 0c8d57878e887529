"""The scenarios: counts as derived, the same by both ways to wait, reduced and in full."""

from __future__ import annotations

import csv
import itertools
import math
import random
import sqlite3
import sys
from collections import Counter
from contextlib import closing
from pathlib import Path

import lock_model
import pytest
from ways import HANDLER, RULE, WAYS, needs_handler

from helpers.__main__ import main
from helpers.explorer import Program, explore, replay, scenarios
from helpers.explorer.steps import waiting
from helpers.explorer.steps.waiting import SWITCH, choose

CASES = [
    pytest.param(scenario, mode, id=f"{scenario.name}-{mode}")
    for scenario in scenarios.SCENARIOS
    for mode in ("delete", "wal")
]


pytestmark = pytest.mark.usefixtures("no_thread_left")


def outcomes(exploration):
    return {outcome: count for outcome, count, _ in exploration.outcomes}


@pytest.mark.parametrize(("scenario", "mode"), CASES)
def test_counts_are_as_derived_by_the_rule(scenario, mode):
    assert explore(scenario.program(mode), waiting=RULE).counts == dict(scenario.counts)


@needs_handler
@pytest.mark.parametrize(("scenario", "mode"), CASES)
def test_both_ways_to_wait_find_the_same(scenario, mode):
    by_handler, by_rule = (explore(scenario.program(mode), waiting=way) for way in (HANDLER, RULE))
    assert by_handler.counts == dict(scenario.counts)
    assert (by_handler.waiting, by_rule.waiting) == (HANDLER, RULE)
    assert by_handler == by_rule


@pytest.mark.parametrize(("scenario", "mode"), CASES)
def test_every_example_replays_to_its_outcome(scenario, mode):
    exploration = explore(scenario.program(mode))
    for outcome, _, schedule in exploration.outcomes:
        run = replay(exploration.program, schedule)
        assert (run.outcome, run.schedule) == (outcome, schedule)


def test_the_switch_forces_the_rule_as_if_the_symbols_were_hidden(monkeypatch):
    monkeypatch.setenv(SWITCH, RULE)
    assert choose().name == RULE
    with pytest.raises(OSError, match=SWITCH):
        choose(HANDLER)


def test_a_switch_that_says_something_else_is_refused(monkeypatch):
    monkeypatch.setenv(SWITCH, "never")
    with pytest.raises(ValueError, match=f"{SWITCH} is 'never': set it to 'rule'"):
        choose()


def test_where_the_symbols_are_hidden_the_rule_takes_over(monkeypatch):
    monkeypatch.delenv(SWITCH, raising=False)
    monkeypatch.setattr(waiting, "_load", lambda: object())
    assert waiting._made.__wrapped__("auto", hidden=False).name == RULE


def test_this_python_waits_inside_sqlite_wherever_it_can_be_reached(monkeypatch):
    monkeypatch.delenv(SWITCH, raising=False)
    visible = hasattr(waiting._load(), "sqlite3_busy_handler")
    assert choose().name == (HANDLER if visible else RULE)


# -- against the model on paper --------------------------------------------------------------

SQL = {
    "b": "BEGIN",
    "i": "BEGIN IMMEDIATE",
    "s": "SELECT value FROM counter",
    "u": "UPDATE counter SET value = value + 1",
    "c": "COMMIT",
}


def job(letters):
    def run(path):
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            for letter in letters:
                connection.execute(SQL[letter]).fetchall()

    return run


def random_thread(choose):
    kind = choose.choice(["b", "i", ""])
    body = "".join(choose.choice("su") for _ in range(choose.randint(1, 2)))
    return f"{kind}{body}c" if kind else body


def random_programs(number):
    choose = random.Random(number)
    threads = 2 if number % 4 else 3
    return [random_thread(choose) for _ in range(threads)]


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("mode", ["delete", "wal"])
def test_counts_agree_with_a_model_that_knows_neither_threads_nor_sqlite(mode, way):
    upgrades = [["bsuc", "bsuc"], ["bsuc", "su"], ["bsuc", "isuc"], ["bsuc", "bsuc", "u"]]
    for letters in upgrades + [random_programs(number) for number in range(40)]:
        expected = lock_model.count(letters, mode)
        if sum(expected.values()) > 1000:
            continue
        jobs = [job(text) for text in letters]
        program = Program("counter", jobs, lambda end: True, journal_mode=mode)
        found: Counter[tuple[bool, ...]] = Counter()
        exploration = explore(program, waiting=way)
        for outcome, count, _ in exploration.outcomes:
            found[tuple("Error" in text for _, text in outcome.threads)] += count
        assert found == expected, (letters, mode)


CACHES = {
    "own caches": ("{}", ()),
    "shared cache": ("file:{}?cache=shared", ()),
    "shared cache, read uncommitted": ("file:{}?cache=shared", ("PRAGMA read_uncommitted = 1",)),
}


def reading(letters, uri, first):
    def run(path):
        name = uri.format(path)
        with closing(sqlite3.connect(name, uri=True, isolation_level=None)) as connection:
            for sql in first:
                connection.execute(sql)
            return [connection.execute(SQL[letter]).fetchall() for letter in letters]

    return run


@pytest.mark.slow  # as are most of the random programs of test_states.py
@pytest.mark.parametrize("mode", ["wal", "delete"])
@pytest.mark.parametrize("cache", CACHES)
def test_random_programs_with_own_and_shared_caches_are_counted_as_in_full(cache, mode):
    compared = 0
    for letters in [["iuc", "s"], *(random_programs(number) for number in range(30))]:
        jobs = [reading(text, *CACHES[cache]) for text in letters]
        program = Program("counter", jobs, lambda end: True, journal_mode=mode)
        full = explore(program, max_schedules=150, merge=False)
        if full.complete:
            assert explore(program) == full, letters
            compared += 1
    assert compared > 12


# -- the rule, where a statement's first word does not tell what it locks -----------------------

HARD = {
    "half-read SELECT": ["SELECT 1 FROM counter UNION ALL SELECT 2", "u", "rest"],
    "half-read SELECT, then BEGIN": [
        "SELECT 1 FROM counter UNION ALL SELECT 2",
        "b",
        "u",
        "rest",
        "c",
    ],
    "SELECT read after COMMIT": ["b", "SELECT 1 FROM counter UNION ALL SELECT 2", "c", "rest"],
    "RETURNING": ["b", "UPDATE counter SET value = value + 1 RETURNING value", "rest", "c"],
    "PRAGMA that writes": ["b", "PRAGMA user_version = 5", "c"],
    "SAVEPOINT": ["SAVEPOINT here", "u", "RELEASE here"],
    "read-modify-write": ["b", "s", "u", "c"],
}


def hard(name):
    def run(path):
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            unread = connection.cursor()
            for text in HARD[name]:
                if text == "rest":
                    unread.fetchall()
                elif text in SQL:
                    connection.execute(SQL[text]).fetchall()
                else:
                    unread.execute(text).fetchone()

    return run


@needs_handler
@pytest.mark.slow
@pytest.mark.parametrize("mode", ["delete", "wal"])
@pytest.mark.parametrize(("one", "other"), [*itertools.combinations_with_replacement(HARD, 2)])
def test_the_rule_agrees_with_sqlite_on_statements_that_it_cannot_follow(one, other, mode):
    program = Program("counter", [hard(one), hard(other)], lambda end: True, journal_mode=mode)
    by_handler, by_rule = (explore(program, waiting=way) for way in (HANDLER, RULE))
    assert outcomes(by_handler) == outcomes(by_rule)


def test_the_model_itself_is_right_about_the_classic():
    # C(4,2): two threads of two steps that never wait.
    assert lock_model.count(["su", "su"], "wal") == {(False, False): 6}
    # See scenarios._DEFERRED for the derivation.
    found = lock_model.count(["bsuc", "bsuc"], "delete")
    assert found == {(False, False): 10, (True, False): 30, (False, True): 30}


# -- the command -----------------------------------------------------------------------------


def test_the_command_prints_the_table_and_finds_the_counts_as_derived(capsys):
    assert main(["scenarios", "atomic", "deadlock", "write skew"]) == 0
    printed = capsys.readouterr().out
    assert "All counts are as derived." in printed
    assert printed.count("write skew, autocommit") == 2


def test_the_command_fails_when_a_count_is_not_as_derived(capsys, monkeypatch):
    wrong = scenarios.Scenario("one too many", [scenarios.atomic] * 2, {"right": 3}, "")
    monkeypatch.setattr(scenarios, "SCENARIOS", (wrong,))
    assert main(["scenarios"]) == 1
    assert "EXPECTED {'right': 3}" in capsys.readouterr().out


# -- how programs grow -----------------------------------------------------------------------

DATA = Path(__file__).resolve().parent.parent.parent / "data"


def test_the_table_of_growth_is_what_exploring_finds():
    sys.path.insert(0, str(DATA))
    try:
        import make_schedules
    finally:
        sys.path.remove(str(DATA))
    with open(make_schedules.TABLE, encoding="utf-8", newline="") as file:
        stored = list(csv.DictReader(file))
    programs = list(make_schedules.programs())
    assert len(stored) == len(programs)
    for row, (name, threads, increments, work) in zip(stored, programs, strict=True):
        assert (row["program"], int(row["threads"])) == (name, threads)
        assert int(row["increments"]) == increments
        # The long ones are run by data/make_schedules.py alone.
        if int(row["runs"]) < 400:
            found = explore(Program("counter", [work] * threads, lambda end: True))
            assert (found.schedules, found.runs) == (int(row["schedules"]), int(row["runs"]))
        if name == "autocommit" and threads == 2:
            assert int(row["schedules"]) == math.comb(4 * increments, 2 * increments)
