"""The five programs of notebook 16: each is run, alone or with the others."""

import pytest
from bank.programs import SOLUTION

from helpers.exercises import programs
from helpers.strategies import PerThread


def test_the_programs_and_what_they_require():
    table = programs.table()
    assert list(table["no."]) == list(SOLUTION)
    assert all(table["program"])
    assert max(map(len, table["program"] + table["requirement"])) <= 110


def test_one_program_alone():
    assert programs.check_one(5, SOLUTION[5]).solved
    verdict = programs.check_one(5, PerThread)
    assert str(verdict).startswith("Not yet: program 5: it cannot be made: give a file")


def test_no_answer_and_no_such_program():
    assert programs.check({}).reason == "program 1 has no strategy yet"
    with pytest.raises(ValueError, match="there is no program 6: they go from 1 to 5"):
        programs.check({**SOLUTION, 6: PerThread})
    with pytest.raises(ValueError, match="there is no program 0"):
        programs.check_one(0, PerThread)


def test_no_strategy_is_right_for_two_programs_that_exclude_each_other():
    for number, other in ((3, 4), (3, 5)):
        assert not programs.check_one(other, SOLUTION[number]).solved


def test_what_the_strategy_raises_is_told():
    class Broken:
        def __init__(self, path, connect):
            self.read = self.write = self.close = lambda *_: 1 / 0

    assert "program 5: ZeroDivisionError" in programs.check_one(5, Broken).reason
