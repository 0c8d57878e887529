"""What cannot be explored is refused, with the value and what to give instead."""

import json

import pytest

from helpers.explorer import Program, ScheduleError, SchedulerGame, Stage, explore, replay, saved
from helpers.explorer.scenarios import begin, no_increment_lost


def job(path):
    pass


def make(**arguments):
    return Program(
        **{"database": "counter", "threads": [job], "invariant": bool, "name": "p"} | arguments
    )


@pytest.fixture
def program():
    return Program("counter", [begin("IMMEDIATE")] * 2, no_increment_lost)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"threads": job}, TypeError, "threads is <function job.*give a list"),
        ({"threads": {1: job}}, ValueError, "1 names no thread"),
        ({"threads": {"": job}}, ValueError, "'' names no thread"),
        ({"threads": {"A:1": job}}, ValueError, "'A:1' names no thread"),
        ({"share": "x"}, TypeError, "share is 'x', which cannot be called"),
        ({"database": None}, TypeError, "database is None"),
        ({"expire": 1}, ValueError, "not 1"),
        ({"expire": 0}, ValueError, "not 0"),
    ],
)
def test_a_program_names_what_is_wrong(arguments, error, message):
    with pytest.raises(error, match=message):
        make(**arguments)


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"step_limit": 0}, "step_limit must be at least 1, not 0"),
        ({"max_schedules": 0}, "max_schedules must be at least 1, not 0"),
        ({"seconds": 0}, "seconds=0 must be more than 0"),
        ({"preemptions": -1}, "preemptions=-1 None, 0 or more"),
    ],
)
def test_a_limit_is_named_with_its_value(limits, message, program):
    with pytest.raises(ValueError, match=message):
        explore(program, **limits)


def test_a_kind_of_outcome_that_does_not_exist(program):
    with pytest.raises(ValueError, match="called 'worng': give one of wrong, deadlock"):
        SchedulerGame(program, wins=("worng",))
    with pytest.raises(ValueError, match="called 'worng'"):
        explore(program).example("worng")


def test_a_schedule_may_be_a_text(program):
    schedule = "A A A A B B B B"
    assert replay(program, schedule).schedule == tuple(schedule.split())
    assert explore(program).replay(schedule).schedule == tuple(schedule.split())


@pytest.mark.parametrize(
    "content",
    [
        {"schedule": [1], "steps": ["x"], "outcome": None},
        {"schedule": [], "steps": [], "outcome": "endless: cut after 3 steps"},
    ],
)
def test_a_file_that_holds_no_schedule(content, program, tmp_path):
    path = tmp_path / "saved.json"
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"saved\.json holds no schedule that was saved here"):
        saved.replay_saved(program, path)


def test_steps_after_the_end_are_refused(program):
    ended = "A A A A B B B B"
    for extra in ("A", "Z"):
        with pytest.raises(ScheduleError, match=f"9: {extra} cannot go on, for the run is over"):
            replay(program, f"{ended} {extra}")
    stage = Stage(program).run(ended)
    with pytest.raises(ScheduleError, match="step 9"):
        stage.step("A")
    assert stage.undo().schedule == tuple("AAAABBB")
