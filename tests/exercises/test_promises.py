"""What a strategy promises: right ones keep it in every order, wrong ones hear which breaks it."""

import sqlite3
from contextlib import closing

import pytest
from bank.locks import (
    WRONG,
    CommitsOutside,
    KnowsTheHolder,
    Locked,
    LockedAgain,
    ReadsWithoutTheLock,
    RollsBackByHand,
    Whole,
)

from helpers import exercises
from helpers.exercises import promises
from helpers.explorer.steps.primitives import Unseen
from helpers.strategies import PerThread, Pool, StatementLock, TransactionLock


def test_a_right_strategy_is_solved():
    verdict = exercises.check_strategy(Locked)
    assert verdict.solved
    assert "no reader sees half a transfer" in verdict.reason


@pytest.mark.parametrize("journal_mode", [pytest.param("delete", marks=pytest.mark.slow), "wal"])
@pytest.mark.parametrize(
    "strategy", [Whole, RollsBackByHand, KnowsTheHolder, TransactionLock, PerThread, Pool]
)
def test_the_contract_is_kept(strategy, journal_mode):
    verdict = exercises.check_strategy(strategy, journal_mode=journal_mode, contract=True)
    assert verdict.solved, verdict
    assert "beside another process nothing is lost or refused" in verdict.reason


#: Wrong answers to notebook 06 that keep what is asked of any strategy.
BEYOND = [
    "a plain lock only", "RLock lets itself in", "BEGIN", "Python's own BEGIN",
    "rolls back named errors", "rolls back Exception", "BEGIN before the try",
    "COMMIT after the try", "inner joins outer", "no method read",
    "refused by its BEGIN", "no transaction for reads", "gives up in silence",
]  # fmt: skip


@pytest.mark.parametrize("name", BEYOND)
def test_who_breaks_the_rest_of_the_contract_keeps_the_beginning(name):
    strategy, _ = WRONG[name]
    assert exercises.check_strategy(strategy).solved


@pytest.mark.parametrize(
    "name",
    sorted(set(WRONG) - {*BEYOND, "runs the unit twice", "no COMMIT", "in without the lock"}),
)
def test_the_stage_replays_the_schedule_that_is_named(name):
    strategy, lesson = WRONG[name]
    verdict = exercises.check_strategy(strategy)
    assert lesson in verdict.reason
    stage = verdict.stage()
    assert " ".join(name for name in stage.schedule if name != "end") in verdict.reason
    assert stage.outcome is None or stage.outcome.kind != "right"


def test_a_unit_inside_a_unit_must_be_refused():
    assert exercises.check_strategy(LockedAgain).solved
    let_in = exercises.check_strategy(LockedAgain, contract=True)
    assert "the inner one commits in step" in let_in.reason
    stuck = exercises.check_strategy(Locked, contract=True)
    assert "waits for what it holds itself" in stuck.reason


def test_half_a_unit_is_named_step_by_step():
    told = exercises.check_strategy(CommitsOutside).reason
    assert "A writes in step 5, and before its COMMIT B rolls back in step 9" in told
    told = exercises.check_strategy(ReadsWithoutTheLock).reason
    assert "B reads in steps 4 and 5, A writes in steps 3 and 6" in told


def test_a_strategy_that_cannot_be_tried_is_refused():
    class Nothing:
        def __init__(self, path):
            pass

    class Elsewhere(Nothing):
        real = staticmethod(sqlite3.Connection)

        def __init__(self, path):
            self.path = path

        def write(self, unit_of_work, /):
            with closing(self.real(self.path, timeout=5)) as connection, connection:
                connection.execute("BEGIN IMMEDIATE")
                return unit_of_work(connection)

    with pytest.raises(TypeError, match="Nothing has no method 'write'"):
        exercises.check_strategy(Nothing)
    with pytest.raises(Unseen, match="by other means than"):
        exercises.check_strategy(Elsewhere)


def test_a_strategy_without_read_is_tried_without_it():
    verdict = exercises.check_strategy(
        type("WriteOnly", (), {k: v for k, v in vars(Locked).items() if k != "read"})
    )
    assert verdict.solved
    assert "of 2 programs" in verdict.reason


def test_a_table_compares_strategies_promise_by_promise():
    table = promises.table({"statement": StatementLock, "unit": TransactionLock}, nested=True)
    broken = table.set_index("strategy")["of which break it"]
    assert (broken["statement"] > 0).all()
    assert (broken["unit"] == 0).all()
    assert len(table) == 8
