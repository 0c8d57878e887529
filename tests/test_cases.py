"""Unlabelled cases: every one happens, and only the right label solves it."""

import pytest

from helpers.failures import ALWAYS, FAILURES, HERE, Build, cases

RIGHT = {number: case.cause for number, case in enumerate(cases.CASES, 1)}


def test_every_case_happens_everywhere():
    for case in cases.CASES:
        entry = FAILURES[case.failure]
        assert entry.where == HERE
        for python in ((3, 11, 0), (3, 12, 0), (3, 14, 0)):
            assert entry.happens(Build(python, (3, 40, 1), True)) == ALWAYS
    seen = cases.unlabelled()
    assert list(seen["case"]) == list(RIGHT)
    assert all(seen["what was seen"])


def test_the_right_labels_solve_it():
    verdict = cases.check(RIGHT)
    assert verdict.solved
    assert verdict.reason == "all 6 cases have their cause"


@pytest.mark.parametrize("number", RIGHT)
def test_a_wrong_label_is_named_and_explained(number):
    for label in set(cases.CAUSES) - {RIGHT[number]}:
        verdict = cases.check(RIGHT | {number: label})
        assert not verdict.solved
        assert verdict.reason == f"case {number}: {cases.CASES[number - 1].think}"


def test_a_missing_and_an_unknown_label_are_told():
    assert cases.check({}).reason == "case 1: no label yet"
    assert cases.check({1: "magic"}).reason.startswith("case 1: 'magic' is none of wrong thread")
    with pytest.raises(ValueError, match="there is no case 7"):
        cases.check({7: "wrong thread"})


def test_every_label_is_needed():
    assert set(RIGHT.values()) == set(cases.causes()["label"])
