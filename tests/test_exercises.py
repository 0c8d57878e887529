"""Exercises and predictions: right answers pass, each plausible wrong one hears why not."""

import sqlite3
import threading

import pytest

from helpers import exercises, workloads
from helpers.predictions import predict
from helpers.strategies.shared import SharedConnection


class Base(SharedConnection):
    def __init__(self, path, connect=sqlite3.connect):
        super().__init__(path, connect)
        self.lock = threading.Lock()


class WholeUnit(Base):
    def write(self, unit_of_work, /):
        with self.lock, self.connection:
            return unit_of_work(self.connection)


class NeverReleased(Base):
    def write(self, unit_of_work, /):
        self.lock.acquire()
        result = unit_of_work(self.connection)
        self.connection.commit()
        self.lock.release()
        return result


class NoRollback(Base):
    def write(self, unit_of_work, /):
        with self.lock:
            result = unit_of_work(self.connection)
            self.connection.commit()
            return result


class OnlyTheCommit(Base):
    def write(self, unit_of_work, /):
        result = unit_of_work(self.connection)
        with self.lock:
            self.connection.commit()
        return result


@pytest.fixture
def workload():
    return workloads.Transfer(units=20, cancel_every=4)


def test_a_lock_round_the_whole_unit_is_right(workload):
    verdict = exercises.check_under_load(WholeUnit, workload)
    assert verdict.solved
    assert str(verdict) == "Solved: 5 runs of 5 threads kept every promise"


def test_a_lock_that_is_not_released_is_told_so(workload, monkeypatch):
    monkeypatch.setattr(exercises, "SECONDS", 1.0)
    verdict = exercises.check_under_load(NeverReleased, workload)
    assert not verdict.solved
    assert "is a lock taken and not released?" in verdict.reason


def test_a_missing_rollback_is_told_that_promises_are_broken(workload):
    verdict = exercises.check_under_load(NoRollback, workload)
    assert not verdict.solved
    assert "does not hold what the threads were told" in verdict.reason


@pytest.mark.parametrize("strategy", [OnlyTheCommit, SharedConnection])
def test_too_small_a_lock_or_none_is_not_enough(strategy, workload):
    assert not exercises.check_under_load(strategy, workload).solved


OPTIONS = {"A": "all is well", "B": "an error"}


def test_a_prediction_is_shown_beside_the_observation():
    guess = predict("What happens?", OPTIONS, answer="A")
    assert str(guess.observed("B")) == (
        "Predicted: A - all is well\n"
        "Observed:  B - an error (not what you predicted: what is different?)"
    )
    assert guess.observed("A").right
    assert "(as predicted)" in str(guess.observed("A"))


def test_no_prediction_is_said_so():
    observation = predict("What happens?", OPTIONS).observed("B")
    assert not observation.right
    assert repr(observation).startswith("Predicted: nothing; choose before you run")


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
