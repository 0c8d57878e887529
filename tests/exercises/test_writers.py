"""What a writer promises: the kit's own is proved; `test_bank.py` has the answers."""

import pytest
from bank.writers import AllTogether, OneByOne, TooEarly

from helpers import exercises, explorer
from helpers.exercises import writers
from helpers.strategies import Writer


def check(writer):
    return exercises.check_strategy(writer, journal_mode="wal", promises=writers.PROMISES)


def test_a_right_writer_is_told_what_it_keeps():
    verdict = check(OneByOne)
    assert all(promise.kept in verdict.reason for promise in writers.PROMISES)


ALL = [part for promise in writers.PROMISES for part in (promise, *promise.also)]


@pytest.mark.slow  # notebook 10 says the same, in every run
@pytest.mark.parametrize("promise", ALL, ids=lambda promise: promise.kept)
def test_the_writer_of_the_kit_is_proved(promise):
    found = explorer.explore(promise.program(Writer, "wal"), seconds=120, show=False)
    assert found.proved
    assert found.counts == {"right": found.schedules}


def test_an_answer_before_the_commit_is_told_step_by_step():
    reason = check(TooEarly).reason
    assert "acknowledge what is not committed" in reason
    assert "COMMIT comes in step 10" in reason


def test_the_schedule_that_breaks_it_is_replayed():
    stage = check(AllTogether).stage()
    assert stage.outcome.kind == "wrong"
    assert "ROLLBACK" in str(stage)
