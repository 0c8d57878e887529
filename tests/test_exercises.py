"""Exercises and predictions: right answers pass, each plausible wrong one hears why not."""

import contextlib
import sqlite3
import threading
from contextlib import closing

import flask
import pytest
from attempts import Base, NeverReleased, NoRollback, WholeUnit

from helpers import exercises, workloads
from helpers.predictions import predict
from helpers.strategies import SharedConnection


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


# -- check: the explorer tells which schedule breaks an attempt ------------------------------

SELECT = "SELECT value FROM counter"
UPDATE = "UPDATE counter SET value = ?"
lock = threading.Lock()


def add_one(connection):
    (value,) = connection.execute(SELECT).fetchone()
    connection.execute(UPDATE, (value + 1,))
    return value + 1


def naive(path, timeout=5.0):
    with closing(sqlite3.connect(path, isolation_level=None, timeout=timeout)) as connection:
        add_one(connection)


def patient(path):
    naive(path, timeout=60)


def locked_per_statement(path):
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        with lock:
            (value,) = connection.execute(SELECT).fetchone()
        with lock:
            connection.execute(UPDATE, (value + 1,))


def locked(path):
    with lock:
        naive(path)


def transaction(kind):
    def job(path):
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute(f"BEGIN {kind}".strip())
            add_one(connection)
            connection.execute("COMMIT")

    return job


def begins_too_late(path):
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        (value,) = connection.execute(SELECT).fetchone()
        connection.execute("BEGIN IMMEDIATE")
        connection.execute(UPDATE, (value + 1,))
        connection.execute("COMMIT")


def atomic(path):
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("UPDATE counter SET value = value + 1")


@pytest.mark.parametrize("journal_mode", ["delete", "wal"])
@pytest.mark.parametrize("right", [locked, transaction("IMMEDIATE"), atomic])
def test_right_increments_are_solved(right, journal_mode):
    verdict = exercises.check(right, journal_mode=journal_mode)
    assert verdict.solved
    assert verdict.exploration.proved
    assert "no increment is lost in any" in str(verdict)
    with pytest.raises(ValueError, match="nothing to replay"):
        verdict.stage()


@pytest.mark.parametrize(
    ("jobs", "lesson"),
    [
        ([naive], "No transaction spans the SELECT and the UPDATE"),
        ([patient], "a longer timeout changes nothing"),
        ([locked_per_statement], "gives it back between its SELECT and its UPDATE"),
        ([locked, naive], "Only A takes the lock"),
        ([transaction("DEFERRED")], "Which BEGIN takes the write lock before the SELECT?"),
        ([transaction("")], "refused at once, whatever its timeout"),
        ([begins_too_late], "it must begin before the SELECT"),
    ],
)
def test_each_wrong_increment_hears_what_is_wrong_with_it(jobs, lesson):
    verdict = exercises.check(*jobs)
    assert not verdict.solved
    assert lesson in verdict.reason
    assert verdict.stage().outcome is not None


def test_the_schedule_of_a_lost_update_is_told_step_by_step():
    told = "B reads in step 2, A writes in step 3, and B overwrites that in step 4."
    assert told in exercises.check(naive).reason
    told = "B reads in step 4, A commits in step 5, and B overwrites that in step 7."
    assert told in exercises.check(begins_too_late).reason


def test_an_increment_that_is_wrong_alone_is_told_so():
    def by_two(path):
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute("UPDATE counter SET value = value + 2")

    def misspelt(path):
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("UPDATE countre SET value = 1")

    def uncommitted(path):
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("UPDATE counter SET value = value + 1")

    assert "already alone, without a second thread: 2 in the counter" in str(
        exercises.check(by_two)
    )
    assert "no such table: countre" in str(exercises.check(misspelt))
    assert "0 in the counter" in str(exercises.check(uncommitted))


def test_two_locks_in_opposite_orders_are_a_deadlock():
    first, second = threading.Lock(), threading.Lock()

    def forwards(path):
        with first, second:
            atomic(path)

    def backwards(path):
        with second, first:
            atomic(path)

    verdict = exercises.check(forwards, backwards)
    assert not verdict.solved
    assert "does not come to an end: deadlock" in verdict.reason


def test_the_number_of_functions_is_checked():
    with pytest.raises(ValueError, match="one function, or one for each of two threads, not 3"):
        exercises.check(naive, naive, naive)


def flask_shop(job):
    """An application whose `POST /increment` runs `job` on a connection of its own."""

    @contextlib.contextmanager
    def application(path):
        app = flask.Flask("shop")

        @app.post("/increment")
        def increment():
            with closing(sqlite3.connect(path, isolation_level=None, timeout=30)) as connection:
                return flask.jsonify(job(connection))

        yield app

    return application


def in_transaction(begin):
    def job(connection):
        connection.execute(begin)
        value = add_one(connection)
        connection.execute("COMMIT")
        return value

    return flask_shop(job)


def test_requests_that_lose_an_increment():
    verdict = exercises.check_requests(flask_shop(add_one))
    assert not verdict.solved
    assert "4 of 6 orders lose an increment, for example A B A B" in verdict.reason
    assert verdict.stage().outcome.kind == "wrong"


def test_requests_that_are_refused():
    verdict = exercises.check_requests(in_transaction("BEGIN"))
    assert not verdict.solved
    assert "Which BEGIN takes the write lock" in verdict.reason


def test_requests_that_are_right():
    verdict = exercises.check_requests(in_transaction("BEGIN IMMEDIATE"))
    assert str(verdict) == "Solved: 8 orders, and no increment is lost in any"


def test_a_request_that_fails_alone():
    def job(connection):
        connection.execute("UPDATE counters SET value = 1")

    verdict = exercises.check_requests(flask_shop(job))
    assert verdict.reason.startswith("already one request alone goes wrong: 0; A ")
