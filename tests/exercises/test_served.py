"""Exercises with a web application: parts of a verdict; `test_bank.py` has the answers."""

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("cherrypy")
from bank import requests, servers

from helpers import exercises
from helpers.exercises import served


@pytest.mark.slow
@pytest.mark.parametrize("name", servers.BESIDE_A_LOCK)
def test_two_processes_beside_a_lock_are_told_what_breaks(name):
    attempt, words = servers.BESIDE_A_LOCK[name]
    assert words in served.beside_a_lock(*attempt)


def test_async_def_without_a_transaction_is_refused():
    attempt, words = servers.BESIDE_A_LOCK["async def, no transaction"]
    assert words in served.beside_a_lock(*attempt)


@pytest.mark.parametrize("name", ["no transaction", "UPDATE, then SELECT"])
def test_the_stage_replays_what_breaks_a_request(name):
    assert exercises.check_requests(requests.WRONG[name][0]).stage().outcome.kind == "wrong"


def test_two_visitors_are_not_told_the_same_count():
    verdict = exercises.check_requests(requests.WRONG["UPDATE, then SELECT"][0])
    assert str(verdict) == (
        "Not yet: 4 of 6 orders tell a visitor a wrong count, for example A B B A. A is told 2, B "
        "is told 2. Between the UPDATE of one and its SELECT the other sells. Keep both in one "
        "transaction, or answer what the UPDATE itself returns."
    )
