"""Tables for reading: nothing cut off, nothing random, nothing that depends on colour alone."""

import pandas as pd
import pytest

from helpers.display import Table


@pytest.fixture
def frame():
    return pd.DataFrame({"thread": ["T1", "T2"], "sql": ["SELECT <1>", "x" * 200], "n": [1, 20]})


def test_long_text_is_kept_and_markup_is_escaped(frame):
    shown = Table(frame)._repr_html_()
    assert "x" * 200 in shown
    assert "SELECT &lt;1&gt;" in shown
    assert "x" * 200 in repr(Table(frame))


def test_text_stands_left_and_numbers_right(frame):
    header = Table(frame)._repr_html_().split("</thead>")[0]
    assert header.count("text-align: left") == 2
    assert header.count("text-align: right") == 1


def test_it_is_the_same_every_time(frame):
    assert Table(frame)._repr_html_() == Table(frame)._repr_html_()


def test_a_marked_row_is_bold_and_has_a_word(frame):
    table = Table(frame, marks={1: "error"})
    first, second = table._repr_html_().split("<tbody>")[1].split("</tr>")[:2]
    assert "<b>" not in first
    assert "<b>error</b>" in second
    assert list(frame.columns) == ["thread", "sql", "n"], "the caller's frame is not changed"


def test_caption_and_index(frame):
    table = Table(frame.set_index("thread"), "Steps", index=True)
    assert "<caption>Steps</caption>" in table._repr_html_()
    assert repr(table).startswith("Steps\n")
    assert list(table.frame.columns) == ["thread", "sql", "n"]
