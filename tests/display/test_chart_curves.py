"""The curves: one line a series, each with a marker of its own, and an alternative text."""

import pytest

from helpers.display.charts import curves

RATES = {"a": {1: 10.0, 10: 90.0}, "b": {1: 30.0, 10: 60.0}}


def test_every_series_is_drawn_with_a_cue_of_its_own():
    picture = curves(RATES, "Rates", x="rows", y="rows/s", alt="Two lines.", logarithmic=True)
    (axes,) = picture.figure.axes
    assert [line.get_label() for line in axes.lines] == ["a", "b"]
    assert len({(line.get_marker(), line.get_linestyle()) for line in axes.lines}) == 2
    assert [list(line.get_ydata()) for line in axes.lines] == [[10, 90], [30, 60]]
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    assert picture.alt == "Two lines."
    assert picture.png().startswith(b"\x89PNG")


def test_a_linear_axis_begins_at_zero():
    (axes,) = curves({"a": RATES["a"]}, "", x="", y="", alt="A line.").figure.axes
    assert axes.get_ylim()[0] == 0
    assert axes.get_yscale() == "linear"


@pytest.mark.parametrize("series", [{}, {"a": {}}, {key: {1: 1.0} for key in "abcde"}])
def test_too_few_or_too_many_are_refused(series):
    with pytest.raises(ValueError, match="give 1 to 4 series"):
        curves(series, "", x="", y="", alt="")
