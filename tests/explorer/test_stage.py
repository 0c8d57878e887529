"""The stage: you choose the order, and see what each step does to transactions and locks."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import closing

import pytest
from ways import WAYS

from helpers.display import figures
from helpers.explorer import Program, ScheduleError, SchedulerGame, Stage, explore
from helpers.explorer.scenarios import (
    Shared,
    begin,
    lock_per_statement,
    no_increment_lost,
    read_twice,
    without_lock,
)


def program(*threads, mode="delete", **options):
    return Program("counter", threads, no_increment_lost, journal_mode=mode, **options)


def column(stage, name):
    return list(stage.table()[name])


@pytest.mark.parametrize("way", WAYS)
def test_every_lock_of_the_rollback_journal_is_seen(way):
    stage = Stage(program(*[begin("DEFERRED")] * 2), waiting=way).run("A B A B A A B B A")
    assert column(stage, "A's connection") == [
        "BEGIN, no lock yet", "BEGIN, no lock yet", "read · SHARED", "read · SHARED",
        "write · RESERVED", "write · PENDING", "write · PENDING", "write · PENDING", "closed",
    ]  # fmt: skip
    assert column(stage, "B's connection")[3:8] == [*["read · SHARED"] * 4, "closed"]
    assert column(stage, "result")[5:7] == ["waits", "OperationalError: database is locked"]
    assert column(stage, "in the file") == [*["0"] * 8, "1"]
    assert stage.outcome is not None
    assert stage.outcome.kind == "error"


@pytest.mark.parametrize("way", WAYS)
def test_an_exclusive_lock_hides_the_file_from_nobody_but_readers(way):
    stage = Stage(program(begin("EXCLUSIVE")), waiting=way).run("A A A")
    assert column(stage, "A's connection") == ["write · EXCLUSIVE"] * 3
    assert column(stage, "in the file") == ["0"] * 3


@pytest.mark.parametrize("way", WAYS)
def test_in_wal_a_reader_keeps_its_snapshot(way):
    reader, writer = read_twice(True), begin("IMMEDIATE")
    stage = Stage(program(reader, writer, mode="wal"), waiting=way).run("A A B B B B A")
    assert column(stage, "A's connection")[1:] == ["read · snapshot 0"] * 6
    assert column(stage, "B's connection")[2] == "write · snapshot 0"
    assert column(stage, "in the file")[-2:] == ["1", "1"]
    assert column(stage, "result")[-1] == "(0)"


def test_a_later_snapshot_has_a_later_number():
    stage = Stage(program(*[begin("IMMEDIATE")] * 2, mode="wal")).run("A A A A B")
    assert column(stage, "B's connection")[-1] == "write · snapshot 1"


def test_undo_goes_back_one_step_and_reset_to_the_start():
    stage = Stage(program(*[begin("IMMEDIATE")] * 2)).run(["A", "B", "A"])
    before = str(stage)
    assert str(stage.step("A").undo()) == before
    assert stage.schedule == ("A", "B", "A")
    assert stage.undo(2).schedule == ("A",)
    assert stage.reset().schedule == ()
    assert stage.undo().schedule == ()
    assert stage.choices == ["A", "B"]


def test_it_says_who_is_where_who_waits_and_who_can_go_on():
    stage = Stage(program(*[begin("IMMEDIATE")] * 2)).run("A B A")
    assert stage.pending == {"A": "UPDATE counter SET value = ?", "B": "BEGIN IMMEDIATE"}
    assert "A holds a write transaction" in stage.blocked["B"]
    assert stage.status.endswith("Can go on: A.")
    assert stage.outcome is None


def test_a_step_that_cannot_be_taken_changes_nothing():
    stage = Stage(program(*[begin("IMMEDIATE")] * 2)).run("A B")
    with pytest.raises(ScheduleError, match="B waits for the lock on the database file"):
        stage.step("B")
    assert stage.schedule == ("A", "B")
    assert stage.step("A").schedule == ("A", "B", "A")


def test_a_timeout_is_a_step_when_nobody_else_can_go_on():
    lock = threading.Lock()

    def first(path):
        with lock:
            begin("IMMEDIATE")(path)

    def second(path):
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            with lock:
                connection.execute("COMMIT")

    stage = Stage(program(first, second)).run("A B A")
    assert stage.choices == ["A:timeout"]
    stage.step("A:timeout")
    assert column(stage, "result")[-1] == "OperationalError: database is locked"
    assert stage.choices == ["B"]


def test_a_timeout_after_others_have_moved_in_vain_can_be_replayed():
    kept = []

    def leaves_it_open(path):
        kept.append(sqlite3.connect(path, isolation_level=None, check_same_thread=False))
        kept[-1].execute("BEGIN IMMEDIATE")
        kept[-1].execute("SELECT value FROM counter").fetchone()

    found = explore(program(begin("IMMEDIATE"), leaves_it_open))
    timeouts = [s for _, _, s in found.outcomes if "A:timeout" in s]
    assert timeouts
    for schedule in timeouts:
        assert Stage(found.program).run(schedule).schedule == schedule
    with pytest.raises(ScheduleError, match="the timeout of A expires only when nobody else"):
        Stage(found.program).run("B A A:timeout")
    with pytest.raises(ScheduleError, match="A no longer has to wait"):
        Stage(program(*[begin("IMMEDIATE")] * 2)).run("B A B B B A:timeout B")


def test_on_a_shared_connection_the_implicit_begin_is_two_steps():
    stage = Stage(program(*[without_lock] * 2, share=Shared)).run("A B A B A B")
    steps = column(stage, "step")
    assert steps[2].startswith("is a transaction open? no")
    assert steps[4:] == ["BEGIN (implicit)", "BEGIN (implicit)"]
    assert "cannot start a transaction within a transaction" in column(stage, "result")[-1]
    assert list(stage.table().columns) == [
        "thread", "step", "result", "shared connection", "in the file",
    ]  # fmt: skip


def test_a_lock_that_is_held_is_named_with_its_holder():
    stage = Stage(program(*[lock_per_statement] * 2, share=Shared)).step("A")
    assert stage.blocked == {"B": "B waits for lock 1 (A holds lock 1)"}


def test_it_is_shown_as_text_and_as_html_and_drawn_as_a_timeline():
    stage = Stage(program(*[begin("IMMEDIATE")] * 2)).run("A A A A B B B B")
    assert "The end: 2 (right)." in str(stage)
    assert "<table" in stage._repr_html_()
    assert "Timeline of 2 threads" in figures.timeline(stage.history()).alt


def test_nothing_stays_open_between_two_steps(tmp_path):
    stage = Stage(program(*[begin("IMMEDIATE")] * 2)).run("A B")
    assert not [thread for thread in threading.enumerate() if thread.name in ("A", "B")]
    assert stage.steps[1].outcome == "waits"


class Box:
    """What two threads share besides the database."""

    def __init__(self, path):
        self.path, self.flag = path, False


def sets_the_flag(box):
    with closing(sqlite3.connect(box.path, isolation_level=None)) as connection:
        connection.execute("SELECT 1 FROM counter").fetchone()
        box.flag = True
        connection.execute("SELECT 2 FROM counter").fetchone()


def sees_the_flag(box):
    seen = box.flag
    with closing(sqlite3.connect(box.path, isolation_level=None)) as connection:
        connection.execute("SELECT 3 FROM counter").fetchone()
    return seen


def test_a_thread_may_start_late_on_the_stage_too():
    jobs = [sets_the_flag, sees_the_flag]
    found = explore(Program("counter", jobs, lambda end: not end.results["B"], share=Box))
    assert "B:start" in found.failing
    stage = Stage(found.program).run(found.failing)
    assert stage.outcome is not None
    assert stage.outcome.kind == "wrong"
    assert stage.undo().schedule == found.failing[:-1]
    with pytest.raises(ScheduleError, match="B can start late only after a step of another"):
        Stage(found.program).run("B:start A")


def test_a_game_shows_a_late_start_and_takes_back_what_cannot_be_taken():
    jobs = [sets_the_flag, sees_the_flag]
    game = SchedulerGame(
        Program("counter", jobs, lambda end: not end.results["B"], share=Box), wins=("wrong",)
    )
    assert "You did it" in game.show_worst().status
    game.reset().press("A")
    with pytest.raises(ScheduleError, match="'X'"):
        game.press("A X")
    assert game.stage.schedule == ("A",)


def test_an_error_in_a_fetch_is_one_of_its_step():
    def overflows(path):
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            sql = "SELECT 1 FROM counter UNION ALL SELECT abs(-9223372036854775807 - value)"
            connection.execute(f"{sql} FROM (SELECT 1 AS value)").fetchall()

    stage = Stage(program(overflows)).step("A")
    assert column(stage, "result") == ["OperationalError: integer overflow"]
    assert stage.steps[0].outcome == "error"
