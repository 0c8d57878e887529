"""Exercises and predictions: what verdicts say and show; `test_bank.py` has the answers."""

import pytest
from bank import increments as bank
from bank.shared_connection import WholeUnit

from helpers import exercises, workloads
from helpers.exercises import checks, predict


def test_a_lock_round_the_whole_unit_is_right():
    workload = workloads.Transfer(units=20, cancel_every=4)
    verdict = exercises.check_under_load(WholeUnit, workload)
    assert str(verdict) == "Solved: 5 runs of 5 threads kept every promise"


@pytest.mark.parametrize(("patience", "solved"), [(2000, True), (1, False)])
def test_a_right_answer_on_a_slow_machine_gets_more_time(monkeypatch, patience, solved):
    monkeypatch.setattr(checks, "SECONDS", 0.01)
    monkeypatch.setattr(checks, "PATIENCE", patience)
    verdict = exercises.check_under_load(WholeUnit, workloads.Transfer(units=20), runs=1)
    assert verdict.solved is solved
    assert solved or "left undone at the time limit" in str(verdict)


OPTIONS = {"A": "all is well", "B": "an error"}


def test_a_prediction_is_shown_beside_the_observation():
    guess = predict("What happens?", OPTIONS, answer="A")
    assert str(guess.observed("B")) == (
        "Predicted: A - all is well\n"
        "Observed:  B - an error (not what you predicted: what is different?)"
    )
    assert guess.observed("A").right
    assert "(as predicted)" in str(guess.observed("A"))


def test_without_a_prediction_the_observation_stands_alone():
    observation = predict("What happens?", OPTIONS).observed("B")
    assert not observation.right
    assert repr(observation) == "Observed:  B - an error"


def test_the_buttons_and_the_answer_follow_each_other():
    guess = predict("What happens?", OPTIONS)
    bundle = guess._repr_mimebundle_()
    assert bundle["text/plain"] == "What happens?\n  A  all is well\n  B  an error"
    assert "application/vnd.jupyter.widget-view+json" in bundle
    guess._buttons.value = "B"
    assert guess.answer == "B"
    guess.answer = "A"
    assert guess._buttons.value == "A"


def test_wrong_choices_are_named():
    guess = predict("What happens?", OPTIONS)
    with pytest.raises(ValueError, match="'C' is not one of the choices: use one of A, B"):
        guess.answer = "C"
    with pytest.raises(ValueError, match="'Z' is not one"):
        guess.observed("Z")
    with pytest.raises(ValueError, match="'X' is not one"):
        predict("What happens?", OPTIONS, answer="X")
    with pytest.raises(ValueError, match="two choices or more, not 1"):
        predict("What happens?", {"A": "this"})


# -- check: the explorer tells which schedule breaks an attempt ------------------------------


@pytest.mark.parametrize("right", [bank.locked, bank.atomic, bank.in_with])
def test_a_right_increment_is_proved(right):
    verdict = exercises.check(right)
    assert verdict.exploration.proved
    with pytest.raises(ValueError, match="nothing to replay"):
        verdict.stage()


@pytest.mark.parametrize(
    "name", ["no transaction", "a lock of one thread", "DEFERRED", "BEGIN after the read"]
)
def test_the_stage_replays_what_breaks_an_increment(name):
    attempt, _ = bank.WRONG[name]
    jobs = attempt if isinstance(attempt, tuple) else (attempt,)
    assert exercises.check(*jobs).stage().outcome is not None


def test_a_long_schedule_is_shortened():
    assert "…" in exercises.check(bank.atomic, bank.goes_round_at_two).reason


def test_the_stage_replays_a_wait_that_is_too_short():
    ends = dict(exercises.check(bank.waits_a_millisecond).stage().outcome.threads)
    assert "OperationalError: database is locked" in ends.values()


def test_a_thread_that_waits_and_overwrites_all_the_same_is_shown():
    verdict = exercises.check(bank.waits)
    assert "for example A B A B A B B. B reads in step 2, A writes in step 3" in verdict.reason
    assert "B even waits for the lock in step 4" in verdict.reason
    assert len(str(verdict).split()) <= 60
    assert "waits" in [step.outcome for step in verdict.stage().steps]


def test_the_schedule_of_a_lost_update_is_told_step_by_step():
    told = "A reads in step 1, B writes in step 3, and A overwrites that in step 4."
    assert told in exercises.check(bank.naive).reason
    told = "A reads in step 1, B writes in step 4, and A overwrites that in step 7."
    assert told in exercises.check(bank.begins_too_late).reason


def test_the_number_of_functions_is_checked():
    with pytest.raises(ValueError, match="one function, or one for each of two threads, not 3"):
        exercises.check(bank.naive, bank.naive, bank.naive)
