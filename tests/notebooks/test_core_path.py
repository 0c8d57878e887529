"""The core path stands by itself, and takes the minutes that the title states."""

from pathlib import Path

import core_path
import notebook_rules as rules
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

TITLE = (
    '# 01 · Title\n\n**Refutes:** "the flag makes it safe"\n\n'
    "**Time:** 30 minutes: core path 5, exercise 12, further 3\n\n"
    "1. One\n2. Two *(further)*\n3. Exercise"
)
TWO = "It is said.\n\n## 2 · Two\n\n*Further*\n\nIt goes on."
EXERCISE = "### A part\n\nProse.\n\n## 3 · Exercise\n\n**Time:** 10 minutes"


def found(one="a = 1", two="b = a", part="a", last="0", title=TITLE, two_prose=TWO):
    prose = [title, "## 1 · One", two_prose, EXERCISE, "## Limits"]
    cells = [new_markdown_cell(text) for text in prose]
    code = {2: one, 4: two, 6: part, 8: last}
    for place, source in code.items():
        cells.insert(place, new_code_cell(source))
    # "A part" begins in the cell that ends with the exercise: its code is the exercise's.
    return list(rules.core(new_notebook(cells=cells), Path("01_one.ipynb")))


def test_a_cell_with_two_headings_belongs_to_two_sections():
    cells = [new_markdown_cell(TITLE), new_markdown_cell(TWO), new_code_cell("1")]
    parts = core_path.sections(new_notebook(cells=cells))
    assert [part.heading for part in parts] == ["01 · Title", "2 · Two"]
    assert [part.kind for part in parts] == ["core path", "further"]
    assert [part.code for part in parts] == [[], [0]]
    assert parts[0].cells[-1].source == "It is said."


def test_a_good_core_path_passes():
    assert found() == []
    assert found(two="a = 2", part="b", last="c") == []
    assert found(one="def f():\n    return a", two="f", last="a = 1\nf()") == []
    assert found(one="p = predict('?', {})", last="p.observed('A')") == []


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"last": "b"}, "code cell 3 reads b, bound by 1, which is no core"),
        ({"two": "a = 2", "last": "a"}, "code cell 3 reads a, bound by 1, which is no core"),
        ({"last": "def f():\n    return b"}, "code cell 3 reads b, bound by 1"),
        (
            {"one": "p = predict('?', {})", "two": "p.observed('A')"},
            "code cell 0 predicts p, which the core path does not observe",
        ),
        ({"two_prose": TWO.replace("*Further*", "")}, "lists the sections ['2'] as further: []"),
        ({"title": TITLE.replace("*(further)*", "")}, "lists the sections [] as further: ['2']"),
        ({"title": TITLE.replace("exercise 12", "exercise 9")}, "states 9 minutes of exercise"),
        ({"title": TITLE.replace(", further 3", "")}, "states no minutes of further: it takes 0.2"),
        ({"title": TITLE.replace("path 5", "path 26")}, "states 26 minutes of core path: it takes"),
        ({"one": "a = 1\n" * 60}, "states 5 minutes of core path: it takes 7."),
    ],
)
def test_a_bad_core_path_is_caught(given, problem):
    assert [text for text in found(**given) if problem in text]
