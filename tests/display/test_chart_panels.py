"""Small charts side by side, and a chain of questions."""

import pytest

from helpers.display import charts

RATES = {"reads": {"one": 40_000.0, "two": 2.5}, "writes, durable": {"two": 90.0, "three": 7.0}}


def texts(axes):
    return [text.get_text() for text in axes.texts]


def test_each_panel_has_a_bar_for_each_name_that_has_a_value():
    broken = {panel: dict.fromkeys(bars, False) for panel, bars in RATES.items()}
    broken["reads"]["two"] = True
    picture = charts.panels(RATES, "Rates", x="a second", alt="bars", broken=broken)
    reads, writes = picture.figure.axes
    assert texts(reads) == ["40,000", "✗ 2.5"]
    assert texts(writes) == ["90", "7"]
    assert [label.get_text() for label in reads.get_yticklabels()] == ["one", "two", "three"]
    assert [bar.get_hatch() for bar in reads.patches] == ["", "..."]
    assert picture.alt == "bars"
    assert picture.png().startswith(b"\x89PNG")


def test_three_marks_for_each_wait_in_milliseconds():
    waits = {"reads": {"one": (0.001, 0.01, 0.5), "two": (0.0, 0.02, 0.3)}}
    (axes,) = charts.waits(waits, "Waits", alt="marks").figure.axes
    assert [line.get_label() for line in axes.lines] == [
        "median", "99 of 100 are shorter", "longest",
    ]  # fmt: skip
    assert len({line.get_marker() for line in axes.lines}) == 3
    assert list(axes.lines[2].get_xdata()) == [500.0, 300.0]
    assert min(axes.lines[0].get_xdata()) > 0, "the axis is logarithmic"


def test_a_chain_of_questions_shows_all_of_them():
    picture = charts.decisions([("Cold?", "coat"), ("Rain?", "umbrella")], "hat", "What?", alt="x")
    (axes,) = picture.figure.axes
    assert texts(axes).count("yes") == texts(axes).count("no") == 2
    assert {"Cold?", "coat", "Rain?", "umbrella", "hat"} <= set(texts(axes))


def test_nothing_to_draw_is_an_error():
    with pytest.raises(ValueError, match="give at least one panel"):
        charts.panels({}, "", x="", alt="")
    with pytest.raises(ValueError, match="give at least one question"):
        charts.decisions([], "hat", "", alt="")
