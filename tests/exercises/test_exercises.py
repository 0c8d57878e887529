"""Exercises and predictions: right answers pass, each plausible wrong one hears why not."""

import contextlib
import sqlite3
import threading
import time
from contextlib import closing

import flask
import pytest
from attempts import Base, NeverReleased, NoRollback, WholeUnit

from helpers import exercises, workloads
from helpers.exercises import checks, predict
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
    monkeypatch.setattr(checks, "SECONDS", 1.0)
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


def in_with(path):
    with closing(sqlite3.connect(path, isolation_level=None)) as connection, connection:
        connection.execute("BEGIN IMMEDIATE")
        add_one(connection)


def compares_and_swaps(path):
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        while True:
            (value,) = connection.execute(SELECT).fetchone()
            swap = connection.execute(f"{UPDATE} WHERE value = ?", (value + 1, value))
            if swap.rowcount:
                return


def retries(begin, pause, timeout):
    def job(path):
        with closing(sqlite3.connect(path, isolation_level=None, timeout=timeout)) as connection:
            while True:
                try:
                    with connection:
                        connection.execute(begin)
                        return add_one(connection)
                except sqlite3.OperationalError:
                    if pause:
                        time.sleep(0.01)

    return job


def locked_and_hasty(path):
    with lock:
        naive(path, timeout=0)


RIGHT = {
    "lock": locked,
    "immediate": transaction("IMMEDIATE"),
    "one statement": atomic,
    "with": in_with,
    "compare and swap": compares_and_swaps,
    "retry": retries("BEGIN", pause=True, timeout=5),
    "short waits, retried": retries("BEGIN IMMEDIATE", pause=True, timeout=0.1),
    "short waits, never needed": locked_and_hasty,
}


@pytest.mark.parametrize("journal_mode", ["delete", "wal"])
@pytest.mark.parametrize("right", RIGHT.values(), ids=RIGHT)
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


def never_closes(path):
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    add_one(connection)
    connection.execute("COMMIT")


def closes_if_all_goes_well(path):
    connection = sqlite3.connect(path)
    connection.execute("UPDATE counter SET value = value + 1")
    connection.commit()
    connection.close()


def releases_if_all_goes_well(path):
    lock.acquire()
    naive(path)
    lock.release()


def counts_to_two(path):
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("UPDATE counter SET value = value + 1 WHERE value < 2")


def swallows(path):
    with contextlib.suppress(sqlite3.Error):
        atomic(path)


def waits_a_millisecond(path):
    with closing(sqlite3.connect(path, isolation_level=None, timeout=0.001)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        add_one(connection)
        connection.execute("COMMIT")


@pytest.mark.parametrize("journal_mode", ["delete", "wal"])
@pytest.mark.parametrize(
    ("job", "breaks"),
    [
        (never_closes, "but a connection is never closed"),
        (closes_if_all_goes_well, "but when an UPDATE raises, a connection is never closed"),
        (releases_if_all_goes_well, "what the first one holds is not given back"),
        (counts_to_two, "three, one after the other, leave 2 in the counter"),
        (swallows, "your function returns as if all were well"),
        (waits_a_millisecond, "a wait of 0.001 s is too short: then in 6 of 8 orders"),
        (retries("BEGIN", pause=False, timeout=5), "while B gets no turn to finish"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_every_order_does_not_show_is_refused_briefly(job, breaks, journal_mode):
    verdict = exercises.check(job, journal_mode=journal_mode)
    assert not verdict.solved
    assert breaks in verdict.reason
    assert len(str(verdict).split()) <= 60


def test_an_increment_that_never_ends_is_cut():
    def goes_round_at_two(path):
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute("UPDATE counter SET value = value + 1")
            while connection.execute(SELECT).fetchone() == (2,):
                pass

    verdict = exercises.check(atomic, goes_round_at_two)
    assert "does not come to an end: cut after 32 steps" in verdict.reason
    assert "…" in verdict.reason


def test_the_stage_replays_a_wait_that_is_too_short():
    ends = dict(exercises.check(waits_a_millisecond).stage().outcome.threads)
    assert "OperationalError: database is locked" in ends.values()


def test_a_thread_that_waits_and_overwrites_all_the_same_is_shown():
    def waits(path):
        with closing(sqlite3.connect(path, timeout=60)) as connection:
            add_one(connection)
            connection.commit()

    verdict = exercises.check(waits)
    assert "for example A B A B A B B. B reads in step 2, A writes in step 3" in verdict.reason
    assert "B even waits for the lock in step 4" in verdict.reason
    assert len(str(verdict).split()) <= 60
    assert "waits" in [step.outcome for step in verdict.stage().steps]


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
