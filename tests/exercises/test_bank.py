"""Every exercise judges its answers: the right ones are accepted, the wrong ones hear why not."""

import functools
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("cherrypy")
from bank import (
    engines,
    hooks,
    increments,
    inventories,
    locks,
    programs,
    reports,
    requests,
    servers,
    shared_connection,
    skews,
    tasks,
    thread_connections,
    threading_modes,
    transfers,
    unanswered,
    writers,
)

from helpers import exercises, workloads
from helpers.exercises import cases, checks
from helpers.exercises import programs as program_check
from helpers.exercises import reports as report_check
from helpers.exercises import skews as skew_check
from helpers.exercises import tasks as task_check
from helpers.exercises import transfers as transfer_check
from helpers.exercises import unanswered as unanswered_check
from helpers.exercises import writers as writer_check
from helpers.web import servers as web

ROOT = Path(__file__).resolve().parents[2]
#: Exercises in which labels are chosen, so that one answer is right: see `test_cases.py`.
LABELLED = {"02": cases.ERRORS, "05": cases.LOCKED}
#: How many answers each exercise has at least.
LEAST = {"RIGHT": 3, "WRONG": 8}
#: How many of them are tried every time; the others by CI.
EVERY_TIME = {"RIGHT": 1, "WRONG": 3}
#: Words of a refusal at most; a schedule counts as one.
WORDS = 60
#: A schedule in a refusal.
SCHEDULE = re.compile(
    r"(?<=for example )[\w:…]+( [\w:…]+)*(?=[.,])|(?<=in the order )[\w:…]+( [\w:…]+)*(?=,|:| it )"
)
#: How a refusal begins that one thread alone has shown, or one after another.
WITHOUT_SCHEDULE = (
    "already ", "two increments are stored", "when a statement fails",
    "no increment is lost, but when an UPDATE", "no increment is lost, but a connection",
    "no increment is lost, but under load", "in every order both promises are kept",
    "there is no method read",
)  # fmt: skip


@dataclass(frozen=True)
class Exercise:
    """A check, its answers, and which of them are left to CI.

    `quick` judges the right ones in less time: what is to be seen is that they are accepted.
    """

    check: Callable[[Any], exercises.Verdict]
    answers: Any
    slow: tuple[str, ...] = ()
    quick: Callable[[Any], exercises.Verdict] | None = None

    def judge(self, kind, name):
        attempt = getattr(self.answers, kind)[name]
        if kind == "WRONG":
            return self.check(attempt[0])
        return (self.quick or self.check)(attempt)


def under_load(attempt, runs=checks.RUNS):
    workload = workloads.Transfer(units=20, cancel_every=4)
    return exercises.check_under_load(attempt, workload, runs=runs)


def in_two_threads(attempt, **options):
    jobs = attempt if isinstance(attempt, tuple) else (attempt,)
    return exercises.check(*jobs, **options)


def kept_and_closed(strategy):
    verdict = exercises.check_strategy(strategy)
    return exercises.check_closing(strategy) if verdict.solved else verdict


def on_an_engine(attempt):
    unit_of_work, engine = attempt
    return exercises.check(unit_of_work, share=engine)


def behind_a_server(attempt):
    return exercises.check_server(*attempt, runs=1)


def behind_cherrypy(attempt):
    return behind_a_server((attempt, web.cherrypy))


def every(answers):
    return (*answers.RIGHT, *answers.WRONG)


EXERCISES = {
    "01": Exercise(
        under_load,
        shared_connection,
        slow=("rollback in finally", "SAVEPOINT inside BEGIN IMMEDIATE"),
        quick=functools.partial(under_load, runs=1),
    ),
    "03": Exercise(in_two_threads, threading_modes),
    "04": Exercise(in_two_threads, increments, slow=("the retry of the kit",)),
    "04 in WAL mode": Exercise(
        functools.partial(in_two_threads, journal_mode="wal"), increments, slow=every(increments)
    ),
    "06": Exercise(functools.partial(exercises.check_strategy, contract=True), locks),
    "07": Exercise(kept_and_closed, thread_connections, slow=("Pool",)),
    "08": Exercise(transfer_check.check, transfers, slow=("retried", "retried by hand")),
    "08 in WAL mode": Exercise(
        functools.partial(transfer_check.check, journal_mode="wal"),
        transfers,
        slow=every(transfers),
    ),
    "09": Exercise(report_check.check, reports),
    "10": Exercise(
        functools.partial(
            exercises.check_strategy, journal_mode="wal", promises=writer_check.PROMISES
        ),
        writers,
        slow=(
            "BEGIN EXCLUSIVE",
            "in groups, one by one",
            "a connection of its own thread",
            "exception returned",
        ),
    ),
    "11": Exercise(
        on_an_engine,
        engines,
        slow=(
            "DEFERRED, retried",
            "SAVEPOINT alone",
            "a commit after the read",
            "only the COMMIT again",
            "two Sessions",
            "exception swallowed",
        ),
    ),
    "12": Exercise(
        exercises.check_requests, requests, slow=("DEFERRED, retried", "only the COMMIT again")
    ),
    "13": Exercise(
        behind_a_server,
        servers,
        slow=every(servers),
    ),
    "14": Exercise(
        behind_cherrypy,
        hooks,
        slow=every(hooks),
    ),
    "15": Exercise(exercises.check_tasks, tasks),
    "16": Exercise(program_check.check, programs, slow=("as many Writers and locks as possible",)),
    "17": Exercise(skew_check.check, skews),
    "18": Exercise(unanswered_check.check, unanswered),
    "19": Exercise(
        exercises.check_inventory, inventories, slow=("a writer thread", "one lock for whole units")
    ),
}
ANSWERS = [
    pytest.param(
        number, kind, name,
        id=f"{number}-{kind}-{name}",
        marks=[pytest.mark.slow] if name in exercise.slow or place >= EVERY_TIME[kind] else [],
    )
    for number, exercise in EXERCISES.items()
    for kind in LEAST
    for place, name in enumerate(getattr(exercise.answers, kind))
]  # fmt: skip


@functools.cache
def judged(number, kind, name):
    """Whether the answer is accepted, why (not), and whether a schedule can be replayed."""
    with pytest.MonkeyPatch.context() as patch:
        if kind == "WRONG":  # a thread that never comes back is waited for in real time
            patch.setattr(checks, "SECONDS", 1.5)
            patch.setattr(task_check, "TIMEOUT", 1.0)
        verdict = EXERCISES[number].judge(kind, name)
    return verdict.solved, str(verdict), verdict.exploration is not None


@pytest.mark.parametrize(("number", "kind", "name"), ANSWERS)
def test_the_answer_is_judged(number, kind, name):
    solved, told, explored = judged(number, kind, name)
    assert solved == (kind == "RIGHT"), told
    if kind == "WRONG":
        says = EXERCISES[number].answers.WRONG[name][1]
        assert says
        assert says in told
        assert len(SCHEDULE.sub("schedule", told).split()) <= WORDS
        reason = told.removeprefix("Not yet: ")
        if explored and not reason.startswith(WITHOUT_SCHEDULE):
            assert SCHEDULE.search(reason)


def test_each_exercise_has_answers_enough():
    solutions = {path.name[:2] for path in (ROOT / "notebooks" / "solutions").glob("*.ipynb")}
    assert solutions == {number[:2] for number in EXERCISES} | set(LABELLED)
    few = [
        (number, kind)
        for number, exercise in EXERCISES.items()
        for kind, least in LEAST.items()
        if len(getattr(exercise.answers, kind)) < least
    ]
    assert few == []
    # Labels have one right answer; each of them can be replaced by each other one.
    for exercise in LABELLED.values():
        assert len(exercise.cases) * (len(exercise.labels) - 1) >= LEAST["WRONG"]


def test_the_confusion_matrix_is_a_diagonal():
    """Of the answers of every run; each of the others has a test of its own."""
    answers = [answer.values for answer in ANSWERS if not answer.marks]
    matrix = Counter((kind, judged(number, kind, name)[0]) for number, kind, name in answers)
    kinds = Counter(kind for _, kind, _ in answers)
    assert matrix == {("RIGHT", True): kinds["RIGHT"], ("WRONG", False): kinds["WRONG"]}
