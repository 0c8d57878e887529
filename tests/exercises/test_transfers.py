"""The exercise of notebook 08: what its verdicts show; `test_bank.py` has the answers."""

import pytest
from bank.transfers import RIGHT, WRONG

from helpers.exercises import transfers

both_modes = pytest.mark.parametrize("journal_mode", ["delete", "wal"])


@both_modes
@pytest.mark.parametrize("name", ["BEGIN IMMEDIATE", "the condition in the UPDATE", "one UPDATE"])
def test_a_right_transfer_is_proved(name, journal_mode):
    assert transfers.check(RIGHT[name], journal_mode).exploration.proved


@both_modes
@pytest.mark.parametrize("name", ["no transaction", "DEFERRED", "no rollback"])
def test_the_stage_replays_the_order_that_is_named(name, journal_mode):
    verdict = transfers.check(WRONG[name][0], journal_mode)
    schedule = " ".join(verdict.stage().schedule)
    assert f"for example {schedule}." in verdict.reason
    assert verdict.stage().outcome.kind in ("wrong", "error")


@both_modes
def test_half_of_a_transfer_that_somebody_sees_is_replayed(journal_mode):
    stage = transfers.check(WRONG["two, and gives back"][0], journal_mode).stage()
    assert dict(stage.outcome.threads)["reader"] == "returned 1300"
