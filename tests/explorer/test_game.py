"""You are the scheduler: every button does what it says, and the goal is judged."""

import sqlite3
from contextlib import closing

import pytest

from helpers.exercises import no_increment_lost
from helpers.explorer import Program, ScheduleError, SchedulerGame


def increment(path):
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        (value,) = connection.execute("SELECT value FROM counter").fetchone()
        connection.execute("UPDATE counter SET value = ?", (value + 1,))


def immediate(path):
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("UPDATE counter SET value = value + 1")
        connection.execute("COMMIT")


def game(job):
    return SchedulerGame(Program("counter", [job, job], no_increment_lost))


def button(game, label):
    (found,) = [b for b in game.view.children[2].children if b.description == label]
    return found


def status(game):
    return game.view.children[3].value


def test_pressing_the_buttons_loses_an_update():
    play = game(increment)
    assert "Nobody has taken a step" in status(play)
    for name in "ABAB":
        button(play, f"Step {name}").click()
    assert "You did it: 1." in status(play)
    assert "The schedule: A B A B" in status(play)
    assert "Schedules tried to their end: 1 of 6" in status(play)
    assert "SELECT value FROM counter" in play.view.children[4].value
    assert all(button(play, f"Step {name}").disabled for name in "AB")


def test_undo_and_reset_and_the_count_of_schedules():
    play = game(increment).press("A B A B")
    button(play, "Undo").click()
    assert play.stage.schedule == ("A", "B", "A")
    assert not button(play, "Step B").disabled
    button(play, "Step B").click()
    assert len(play.tried) == 1
    button(play, "Reset").click()
    assert play.stage.schedule == ()
    assert button(play, "Undo").disabled
    play.press("A A B B")
    assert "Not this time: 2." in status(play)
    assert "2 of 6" in status(play)


def test_the_next_step_is_marked_in_the_code():
    play = game(increment)
    marked = [line for line in play._panes["A"].value.split("\n") if "▶" in line]
    assert len(marked) == 1
    assert "SELECT value" in marked[0]
    play.press("A")
    (line,) = [line for line in play._panes["A"].value.split("\n") if "▶" in line]
    assert "UPDATE counter" in line
    assert "SELECT value" in play._panes["B"].value


def test_a_thread_that_waits_is_disabled_and_says_for_what():
    play = game(immediate).press("A B")
    assert button(play, "Step B").disabled
    assert "waits" in play._panes["B"].value
    with pytest.raises(ScheduleError, match="waits"):
        play.press("B")
    play.press("A A B B B")
    assert "Not this time: 2" in status(play)


def test_the_worst_is_shown_or_said_to_be_impossible():
    play = game(increment)
    button(play, "Show me the worst").click()
    assert "You did it" in status(play)
    play = game(immediate)
    button(play, "Show me the worst").click()
    assert "You cannot: none of the" in status(play)
    assert play.stage.schedule == ()


def test_a_timeout_has_its_button():
    def hold(path):
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute("BEGIN EXCLUSIVE")
            with closing(sqlite3.connect(path, isolation_level=None)) as other:
                other.execute("UPDATE counter SET value = 5")

    play = SchedulerGame(
        Program("counter", [hold], no_increment_lost), "be told that it is locked", ("error",)
    ).press("A A")
    assert not button(play, "A's timeout expires").disabled
    button(play, "A's timeout expires").click()
    button(play, "Step A").click()
    assert "database is locked" in status(play)


def test_without_widgets_it_is_text():
    play = game(increment).press("A")
    assert repr(play) == ("Your goal: lose an update.\nA. Schedules tried to their end: 0 of 6.")
    bundle = play._repr_mimebundle_()
    assert bundle["text/plain"] == repr(play)
    assert "application/vnd.jupyter.widget-view+json" in bundle
