"""Unlabelled cases: every one happens, and only the right label solves it."""

import pytest

from helpers.exercises import cases
from helpers.failures import ALWAYS, FAILURES, HERE, Build


def right(exercise):
    return {number: case.cause for number, case in enumerate(exercise.cases, 1)}


EXERCISES = {"02": cases.ERRORS, "05": cases.LOCKED}
exercises = pytest.mark.parametrize("exercise", EXERCISES.values(), ids=EXERCISES)
EACH = [
    pytest.param(exercise, number, id=f"{name}-{number}")
    for name, exercise in EXERCISES.items()
    for number in right(exercise)
]


@exercises
def test_every_case_happens_everywhere(exercise):
    for case in exercise.cases:
        entry = FAILURES[case.failure]
        assert entry.where == HERE
        for python in ((3, 11, 0), (3, 12, 0), (3, 14, 0)):
            assert entry.happens(Build(python, (3, 40, 1), True)) == ALWAYS
    seen = exercise.unlabelled()
    assert list(seen["case"]) == list(right(exercise))
    assert all(seen["what was seen"])


@exercises
def test_the_right_labels_solve_it(exercise):
    verdict = exercise.check(right(exercise))
    assert verdict.solved
    assert verdict.reason == f"all {len(exercise.cases)} cases have their cause"


@pytest.mark.parametrize(("exercise", "number"), EACH)
def test_a_wrong_label_is_counted_and_not_named(exercise, number):
    labels = right(exercise)
    for label in set(exercise.labels) - {labels[number]} | {""}:
        verdict = exercise.check(labels | {number: label})
        assert not verdict.solved
        assert verdict.reason == f"{len(labels) - 1} of {len(labels)} labels are right"


@exercises
def test_a_missing_and_an_unknown_label_are_told(exercise):
    assert exercise.check({}).reason == f"0 of {len(exercise.cases)} labels are right"
    assert exercise.check({2: "magic"}).reason.startswith("case 2: 'magic' is none of")
    with pytest.raises(ValueError, match="there is no case 99"):
        exercise.check({99: "magic"})


@exercises
def test_every_label_is_needed(exercise):
    assert set(right(exercise).values()) == set(exercise.causes()["label"])


def test_the_clues_tell_the_cases_of_notebook_05_apart():
    seen = cases.LOCKED.unlabelled().drop(columns="case")
    assert not seen.duplicated().any()
