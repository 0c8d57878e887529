"""The exercise of notebook 09: what its verdicts show; `test_bank.py` has the answers."""

import pytest
from bank.reports import RIGHT, WRONG

from helpers.exercises import reports


@pytest.mark.parametrize("name", RIGHT)
def test_a_right_report_is_proved(name):
    verdict = reports.check(RIGHT[name])
    assert verdict.exploration.proved
    assert verdict.exploration.counts.keys() == {"right"}


@pytest.mark.parametrize("name", ["no transaction", "BEGIN", "BEGIN IMMEDIATE", "open if late"])
def test_the_stage_replays_the_order_that_is_named(name):
    verdict = reports.check(WRONG[name][0])
    stage = verdict.stage()
    assert f"for example {' '.join(stage.schedule)}." in verdict.reason
    assert stage.outcome.kind in ("wrong", "error")
