"""The checks of the explorer: they pass where it is right, and can fail where it is not."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
from ways import HANDLER, RULE, needs_handler

from helpers.__main__ import main
from helpers.commands import soundness
from helpers.explorer import explore, scenarios

pytestmark = pytest.mark.slow

BY_NAME = {scenario.name: scenario for scenario in scenarios.SCENARIOS}


@pytest.mark.parametrize(
    ("name", "mode"),
    [
        ("read-modify-write, BEGIN DEFERRED", "delete"),
        ("read-modify-write, sqlite3's default", "wal"),
        ("two Python locks, opposite orders", "delete"),
    ],
)
def test_free_runs_show_nothing_that_exploration_did_not_list(name, mode):
    program = BY_NAME[name].program(mode)
    found = soundness.completeness(program, explore(program), 30)
    assert (found.runs, found.unlisted) == (30, ())
    assert found.seen >= 1


def test_a_free_run_with_an_outcome_that_is_not_listed_is_counted():
    program = BY_NAME["one atomic UPDATE"].program("wal")
    nothing = replace(explore(program), outcomes=())
    assert soundness.completeness(program, nothing, 5).unlisted == (("2", 5),)


OPPOSITE = "a Python lock and BEGIN IMMEDIATE, opposite orders"


@pytest.mark.parametrize(
    ("name", "mode", "way"),
    [
        pytest.param("read-modify-write, BEGIN DEFERRED", "delete", HANDLER, marks=needs_handler),
        ("read-modify-write, BEGIN DEFERRED", "delete", RULE),
        ("read-modify-write, BEGIN DEFERRED", "wal", RULE),
        pytest.param(OPPOSITE, "delete", HANDLER, marks=needs_handler),
        (OPPOSITE, "delete", RULE),
        pytest.param("shared connection, no lock", "wal", HANDLER, marks=needs_handler),
    ],
)
def test_waiting_is_decided_as_sqlites_own_busy_handler_decides(name, mode, way):
    found = soundness.waiting(BY_NAME[name].program(mode), way)
    assert found.differences == ()
    assert found.steps > 40
    assert found.waits + found.at_once > 0 or "shared" in name


def test_a_wrong_decision_is_found():
    program = BY_NAME["read-modify-write, BEGIN IMMEDIATE"].program("delete")
    schedules = copy.deepcopy(list(soundness._all_steps(program, "auto")))
    waiting = next(step for steps in schedules for step in steps if step.outcome == "waits")
    waiting.outcome = "ok"
    result = soundness.sandbox.call(soundness.by_apsw, program.template(), schedules)
    (difference,) = result.get()
    assert "ok here, waits by APSW" in difference


def test_exploring_again_under_load_finds_the_same():
    program = BY_NAME["read-modify-write, BEGIN DEFERRED"].program("delete")
    with soundness.load(2):
        assert soundness.is_repeatable(program, 3)


def test_the_command_ends_with_the_figures(capsys):
    assert main(["scenarios", "atomic", "--check", "--runs", "4", "--times", "2"]) == 0
    printed = capsys.readouterr().out
    assert "Completeness: 8 free runs, 0 with an outcome not listed" in printed
    assert "0 differences" in printed
    assert "Determinism: 2 explorations of each under load, all the same." in printed
