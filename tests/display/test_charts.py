"""Charts that compare runs."""

import pytest

from helpers import load, workloads
from helpers.display import charts
from helpers.strategies import TransactionLock


@pytest.fixture(scope="module")
def run():
    return load.run(workloads.Increment(3), TransactionLock, threads=3)


def texts(axes):
    return [text.get_text() for text in axes.texts]


def test_every_thread_and_run_has_a_bar_in_both_panels(run):
    picture = charts.turns({"one": run, "two": run}, "Turns", alt="bars", threads={"T1": "writer"})
    left, right = picture.figure.axes
    assert texts(left) == ["3"] * 6
    assert len(texts(right)) == 6
    assert [label.get_text() for label in left.get_yticklabels()] == ["writer", "T2", "T3"]
    assert picture.alt == "bars"
    assert picture.png().startswith(b"\x89PNG")


def test_the_runs_of_one_chart_differ_by_colour_and_by_hatch(run):
    picture = charts.turns(dict.fromkeys("abcd", run), "Turns", alt="bars")
    bars = [container.patches[0] for container in picture.figure.axes[0].containers]
    assert len({bar.get_hatch() for bar in bars}) == 4
    assert len({bar.get_facecolor() for bar in bars}) == 4


def test_runs_that_cannot_be_compared_are_refused(run):
    other = load.run(workloads.Increment(1), TransactionLock, threads=2)
    with pytest.raises(ValueError, match="the same threads"):
        charts.turns({"three": run, "two": other}, "Turns", alt="bars")
    with pytest.raises(ValueError, match="give 1 to 4 runs, not 0"):
        charts.turns({}, "Turns", alt="bars")
    with pytest.raises(ValueError, match="not 5"):
        charts.turns(dict.fromkeys("abcde", run), "Turns", alt="bars")


GRID = {
    "first": {("left", "a"): (True, "1 of 2"), ("right", "b"): (False, "0 of 2")},
    "second": {("left", "a"): (False, "0 of 3"), ("right", "b"): (True, "3 of 3")},
}


def test_a_matrix_says_yes_and_no_by_colour_and_by_symbol():
    picture = charts.matrix(GRID, "Possible", alt="two by two")
    (axes,) = picture.figure.axes
    found = texts(axes)
    assert (found.count("●"), found.count("–")) == (2, 2)
    assert {"1 of 2", "0 of 2", "0 of 3", "3 of 3", "left", "right"} < set(found)
    colors = [bar.get_facecolor() for bar in axes.patches]
    assert colors[0] == colors[3] != colors[1] == colors[2]
    assert picture.png().startswith(b"\x89PNG")


def test_a_matrix_with_gaps_is_refused():
    gap = {**GRID, "third": {("left", "a"): (True, "")}}
    with pytest.raises(ValueError, match="the same columns"):
        charts.matrix(gap, "Possible", alt="")
    with pytest.raises(ValueError, match="at least one row"):
        charts.matrix({}, "Possible", alt="")
