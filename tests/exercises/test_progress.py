"""Progress: what counts as solved, that no pass is lost, and that no test run is anybody's."""

import ast
import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest

from helpers import exercises
from helpers.databases import DATA
from helpers.exercises import Verdict, cases, predict, progress

NOTEBOOKS = DATA.parent / "notebooks"
PASS = "INSERT OR IGNORE INTO passed VALUES (?, ?)"


@pytest.fixture
def course(tmp_path, monkeypatch):
    """A folder with the notebooks' beginnings; `course("04")` is that notebook, run by a person."""
    for path in NOTEBOOKS.glob("*.ipynb"):
        (tmp_path / path.name).symlink_to(path) if os.name != "nt" else shutil.copy(path, tmp_path)
    monkeypatch.delenv(progress.ENVIRONMENT, raising=False)

    def run(number):
        (path,) = tmp_path.glob(f"{number}_*.ipynb")
        monkeypatch.setenv("JPY_SESSION_NAME", str(path))
        return tmp_path / progress.FILE

    return run


def check(solved, name="check"):
    """A check of notebook 04, or of another name, with this verdict."""

    def judge(*jobs, share=None):
        return Verdict(solved, "because")

    judge.__name__ = name
    return progress.records(judge)


def closing_check(solved, name):
    def judge(strategy):
        return Verdict(solved, "because")

    judge.__name__ = name
    return progress.records(judge)(None)


def test_a_solved_exercise_is_kept_and_the_next_one_named(course):
    course("04")
    assert str(progress.show()).startswith("Solved: 0 of 19 exercises\nNext: 01 · One connection")
    check(True)("a job")
    assert str(progress.show()).startswith("Solved: 1 of 19 exercises: 04\nNext: 01 · ")
    course("03")
    check(True)("a job", "another")
    assert progress.show().solved == {"03", "04"}


def test_a_failure_takes_nothing_back_once_all_is_solved(course):
    course("04")
    check(True)("a job")
    check(False)("a job")
    assert progress.show().solved == {"04"}


@pytest.mark.parametrize(
    ("verdicts", "solved"),
    [
        ([("check_strategy", True)], set()),
        ([("check_strategy", True), ("check_closing", True)], {"07"}),
        ([("check_strategy", True), ("check_strategy", False), ("check_closing", True)], set()),
        ([("check_strategy", True), ("check_closing", False), ("check_closing", True)], set()),
        ([("check_closing", True), ("check_strategy", True), ("check_strategy", False)], {"07"}),
    ],
)
def test_one_attempt_must_pass_all_checks_of_its_exercise(course, verdicts, solved):
    course("07")
    for name, verdict in verdicts:
        closing_check(verdict, name)
    assert progress.show().solved == solved


def test_a_check_that_the_exercise_does_not_ask_for_counts_for_nothing(course):
    course("04")
    check(True)("a job", share="an engine")
    check(True, "check_server")("a job")
    assert progress.show().solved == set()
    course("00")
    check(True)("a job")
    assert progress.show().solved == set()


def test_a_real_check_of_a_real_notebook_counts(course):
    course("02")
    wanted = {n: case.cause for n, case in enumerate(cases.ERRORS.cases, 1)}
    assert not cases.ERRORS.check(dict.fromkeys(wanted, "")).solved
    assert progress.show().solved == set()
    assert cases.ERRORS.check(wanted).solved
    assert progress.show().solved == {"02"}


def asked_in(path):
    """The checks that the cells tagged `exercise` call, as `progress.called` names them."""
    names: dict[str, object] = {"exercises": exercises}
    exec("from helpers.exercises import *", names)
    if path.name[:2] == "02":
        names["cases"] = cases.ERRORS
    for cell in nbformat.read(path, as_version=4).cells:
        for node in ast.walk(ast.parse(cell.source)) if cell.metadata.get("tags") else ():
            if isinstance(node, ast.Call) and "exercise" in cell.metadata.tags:
                words = ast.unparse(node.func)
                if re.search(r"(^|\.)check(_\w+)?$", words):
                    check = eval(words, names)
                    options = {keyword.arg: None for keyword in node.keywords}
                    yield progress.called(check, *node.args, **options)


@pytest.mark.parametrize("number", progress.ASKED)
def test_the_checks_asked_for_are_those_of_the_notebook(number):
    (path,) = NOTEBOOKS.glob(f"{number}_*.ipynb")
    assert tuple(asked_in(path)) == progress.ASKED[number]


def test_every_notebook_but_the_first_has_an_exercise():
    numbers = [path.name[:2] for path in sorted(NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))]
    assert numbers == ["00", *progress.ASKED]
    assert all(one.heading for one in progress.show().exercises)


def test_predictions_are_counted_at_the_first_try(course):
    course("01")
    guess = predict("What happens?", {"A": "this", "B": "that"})
    guess.observed("B")
    assert progress.show().predictions == 0
    for answer in "AB":
        guess.answer = answer
        guess.observed("B")
    predict("And then?", {"A": "this", "B": "that"}, answer="A").observed("A")
    assert "Predictions: 1 of 2 as observed" in str(progress.show())


def test_it_can_be_forgotten_in_one_notebook_or_in_all(course):
    for number in ("03", "04"):
        course(number)
        check(True)("a job")
        predict("What?", {"A": "this", "B": "that"}, answer="A").observed("A")
    assert progress.reset("03").solved == {"04"}
    assert progress.show().predictions == 1
    assert progress.reset() == progress.show()
    assert (progress.show().solved, progress.show().predictions) == (set(), 0)
    with pytest.raises(ValueError, match="no notebook '00' has an exercise: use one of 01, 02"):
        progress.reset("00")


@pytest.mark.parametrize(
    "name",
    [
        "",
        "04_lost_updates.ipynb",  # of no folder of the course
        "{folder}/solutions/04_lost_updates.ipynb",
        "{folder}/console-1",
        "{folder}/notes.ipynb",
    ],
)
def test_what_no_learner_runs_is_not_kept(course, monkeypatch, tmp_path, name):
    file = course("04")
    (tmp_path / "solutions").mkdir()
    monkeypatch.setenv("JPY_SESSION_NAME", name.format(folder=tmp_path))
    check(True)("a job")
    predict("What?", {"A": "this", "B": "that"}, answer="A").observed("A")
    assert progress.show().solved == set()
    assert not file.exists()
    assert not (NOTEBOOKS / "solutions" / progress.FILE).exists()


def test_a_test_run_never_takes_itself_for_a_learner():
    """Neither this one, nor the kernels that it starts."""
    assert "JPY_SESSION_NAME" not in os.environ
    ended = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(NOTEBOOKS)!r});"
         "import conftest, os; print(os.environ.get('JPY_SESSION_NAME'))"],
        env={**os.environ, "JPY_SESSION_NAME": "04_lost_updates.ipynb"},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert ended.stdout == "None\n"


def test_another_file_can_be_named(course, monkeypatch, tmp_path):
    file = course("04")
    monkeypatch.setenv(progress.ENVIRONMENT, str(tmp_path / "mine.sqlite"))
    check(True)("a job")
    assert progress.show().solved == {"04"}
    assert not file.exists()
    assert (tmp_path / "mine.sqlite").exists()


def test_a_path_from_the_servers_root_counts_too(course, monkeypatch, tmp_path):
    file = course("04")
    monkeypatch.setenv("JPY_SESSION_NAME", "notebooks/04_lost_updates.ipynb")
    monkeypatch.chdir(tmp_path)
    check(True)("a job")
    assert progress.show().solved == {"04"}
    assert file.exists()


def test_what_vs_code_says_counts_too(course, monkeypatch, tmp_path):
    course("04")
    path = os.environ["JPY_SESSION_NAME"]
    monkeypatch.delenv("JPY_SESSION_NAME")

    shell = SimpleNamespace(user_ns={"__vsc_ipynb_file__": path})
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    check(True)("a job")
    assert progress.show().solved == {"04"}


WRITER = """
import sys
from helpers.exercises import progress, Verdict
sys.stdin.readline()
for number in progress.ASKED:
    if int(number) % 4 == int(sys.argv[1]):
        for name in progress.ASKED[number]:
            progress._judged(number, name, True, 1)
"""


def test_notebooks_that_pass_at_the_same_moment_all_count(course):
    """Four processes, begun together on a file that none has made yet."""
    course("04")
    command = [sys.executable, "-c", WRITER]
    pipes = {"stdin": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    processes = [subprocess.Popen([*command, str(n)], **pipes) for n in range(4)]
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    assert [process.communicate()[1] for process in processes] == [""] * 4
    assert progress.show().solved == set(progress.ASKED)


def test_a_damaged_file_is_put_aside(course, capsys):
    file = course("04")
    for number in (1, 2):
        file.write_bytes(b"no database, but something that a learner may want to look at" * 20)
        check(True)("a job")
        assert capsys.readouterr().err == (
            f".progress.sqlite was damaged. It is now .progress.sqlite.damaged-{number}.\n"
        )
        assert progress.show().solved == {"04"}
    names = {path.name for path in file.parent.glob(".*")}
    assert names == {file.name, f"{file.name}.damaged-1", f"{file.name}.damaged-2"}


def test_two_that_find_it_damaged_put_it_aside_once(course, monkeypatch, capsys):
    """Both have looked before either renames it: the second one must not rename the new file."""
    file = course("04")
    file.write_bytes(b"no database" * 100)
    looked, found = threading.Barrier(2, timeout=30), progress._put_aside

    def late(path):
        looked.wait()
        found(path)

    monkeypatch.setattr(progress, "_put_aside", late)
    threads = [
        threading.Thread(
            target=progress._judged, args=(number, "check(jobs)", True, 1), name=number
        )
        for number in ("03", "04")
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert progress.show().solved == {"03", "04"}
    assert capsys.readouterr().err.count("was damaged") == 1


def test_in_half_a_file_the_damage_is_seen(course, capsys):
    file = course("04")
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        connection.execute("CREATE TABLE passed (notebook, name)")
        connection.execute("CREATE TABLE predicted (notebook, question, was_right)")
    file.write_bytes(file.read_bytes()[:5000])
    assert progress.show().solved == set()
    assert "was damaged" in capsys.readouterr().err


def test_another_database_under_that_name_is_left_alone(course, capsys):
    file = course("04")
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        connection.execute("CREATE TABLE passed (something)")
    before = file.read_bytes()
    check(True)("a job")
    assert progress.show().solved == set()
    assert "Your progress is not kept: .progress.sqlite: " in capsys.readouterr().err
    assert file.read_bytes() == before


@pytest.fixture
def without_rights():
    """Root may write everywhere: the test goes on as a user without rights."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    yield
    os.seteuid(0)


@pytest.fixture
def readonly(monkeypatch):
    """A folder that everybody may read and nobody write, with notebook 04 and progress in it."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for path in NOTEBOOKS.glob("0[04]_*.ipynb"):
            shutil.copy(path, folder)
            (folder / path.name).chmod(0o644)
        monkeypatch.setenv("JPY_SESSION_NAME", str(folder / "04_lost_updates.ipynb"))
        check(True)("a job")
        (folder / progress.FILE).chmod(0o444)
        folder.chmod(0o555)
        yield folder
        folder.chmod(0o755)
        (folder / progress.FILE).chmod(0o644)


def test_in_a_folder_that_may_not_be_written_it_says_so_and_goes_on(
    readonly, without_rights, capsys
):
    assert check(True)("a job").solved
    assert (
        "Your progress is not kept: .progress.sqlite: attempt to write" in capsys.readouterr().err
    )
    assert progress.show().solved == {"04"}


def test_a_notebook_that_is_half_written_keeps_its_name(course, tmp_path):
    course("00")
    path = tmp_path / "04_lost_updates.ipynb"
    path.unlink()
    path.write_text('{"cells": [')
    (named,) = [one for one in progress.show().exercises if one.number == "04"]
    assert (named.title, named.heading) == ("04_lost_updates", "")


@pytest.mark.parametrize("name", ["04_lost_updates.mine-1.ipynb", "04_lost_updates-Copy1.ipynb"])
def test_a_second_version_of_a_notebook_is_the_same_exercise(course, monkeypatch, tmp_path, name):
    course("04")
    shutil.copy(NOTEBOOKS / "04_lost_updates.ipynb", tmp_path / name)
    monkeypatch.setenv("JPY_SESSION_NAME", str(tmp_path / name))
    check(True)("a job")
    assert "1 of 19 exercises: 04" in str(progress.show())
    assert progress.show().exercises[3].file == "04_lost_updates.ipynb"


def test_what_is_shown_links_to_each_exercise(course, tmp_path):
    course("04")
    check(True)("a job")
    shown = progress.show()._repr_html_()
    assert shown.count("☑") == 1
    assert shown.count("☐") == 18
    assert "☑&nbsp;04" in shown
    link = "01_one_connection_many_threads.ipynb#9-·-Exercise:-repair-it-yourself"
    assert f'Next: <a href="{link}">01 · One connection, many threads, 9 · Exercise' in shown


def test_the_stored_output_is_that_of_a_course_not_begun():
    cells = json.loads((NOTEBOOKS / progress.START).read_text(encoding="utf-8"))["cells"]
    (cell,) = [cell for cell in cells if "progress.show()" in cell["source"]]
    assert "".join(cell["outputs"][0]["data"]["text/plain"]) == str(progress.show())
    assert progress.show().solved == set()
