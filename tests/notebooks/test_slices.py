"""Which cells a claim needs: no cell is dropped that binds or changes what it reads."""

import pytest
import slices

#: What the last cell needs of the cells before it.
CASES = {
    "nothing": (["import os", "os.getcwd()", "1"], [2]),
    "an import": (["import os\nfrom sys import path as where", "1", "os.name"], [0, 2]),
    "what it is made of": (["a = list()", "b = a + 1", "c = list()", "b"], [0, 1, 3]),
    "the last value": (["a = list()", "a.append(1)", "a = list()", "a"], [2, 3]),
    "what may change it": (["a = []", "a.append(1)", "dict(a)", "len('a')", "a"], [0, 1, 2, 4]),
    "what may change the changer": (["a = list()", "b = []", "a.use(b)", "a"], [0, 1, 2, 3]),
    "an item": (["a = {}", "a['b'] = 1", "a"], [0, 1, 2]),
    "augmented": (["a = 1", "a += 1", "a"], [0, 1, 2]),
    "not who only reads a constant": (["a = 'b'", "print(a)", "a"], [0, 2]),
    "unless it may also change": (["a = 'b'", "a = []", "print(a)", "a"], [1, 2, 3]),
    "not who only calls": (["def f(): pass", "f()", "f()"], [0, 2]),
    "for the body of a function": (["a = list()", "def b():\n    return a", "b()"], [0, 1, 2]),
    "for the body of a method": (
        ["a = list()", "class B:\n    c = 1\n    def d(self):\n        a", "c = 2", "B()"],
        [0, 1, 3],
    ),
    "what a function finds when it is called": (
        ["def a():\n    b()", "c = 1", "def b():\n    c", "a()"],
        [0, 1, 2, 3],
    ),
    "not a name of its own": (["a = list()", "def b(a):\n    return a", "b(1)"], [1, 2]),
    "not what it binds itself": (["a = list()", "with dict() as a:\n    a.go()"], [1]),
    "an attribute of a module": (["import os", "os.linesep = 1", "os.name"], [0, 1, 2]),
    "awaited": (["a = await list()", "await dict()", "await a"], [0, 2]),
    "what a handler uses": (
        ["a = list()", "try:\n    dict()\nexcept OSError as e:\n    a.append(e)", "a"],
        [0, 1, 2],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_the_last_cell_needs(case):
    sources, kept = CASES[case]
    assert slices.needed(sources, [len(sources) - 1]) == kept


def test_several_cells_at_once():
    sources = ["a = list()", "b = list()", "a", "c = list()", "b"]
    assert slices.needed(sources, [2, 4]) == [0, 1, 2, 4]
    assert slices.needed(sources, [4]) == [1, 4]
