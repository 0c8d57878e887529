"""A learner's copy in JupyterLab: what is solved in one notebook is ticked in notebook 00."""

import sys
from pathlib import Path

import browsing
import nbformat
import pytest
from nbformat.v4 import new_code_cell

from helpers.commands import workshop
from helpers.exercises import progress

OUTPUT = Path(__file__).resolve().parent.parent / "output"
SOLVED = """
import sqlite3
from contextlib import closing
from helpers import exercises

def my_increment(path):
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("UPDATE counter SET value = value + 1")

exercises.check(my_increment)
"""


@pytest.mark.slow
def test_what_is_solved_is_ticked_in_notebook_00(browser, tmp_path):
    copy, state = tmp_path / "copy", tmp_path / "state"
    workshop.make(copy)
    state.mkdir()
    path = copy / "notebooks" / "04_lost_updates.ipynb"
    notebook = nbformat.read(path, as_version=4)
    notebook.cells[1:] = [new_code_cell(SOLVED)]
    nbformat.write(notebook, path)
    root = f"--ServerApp.root_dir={path.parent}"
    command = [sys.executable, "-m", "jupyterlab", root, "--allow-root"]
    here = {"PYTHONPATH": str(copy), progress.ENVIRONMENT: ""}
    with browsing.serving(command, state, state, here) as lab:
        visit = browsing.run_all(browser, lab, path.name, OUTPUT / "progress-04.png")
        assert visit.problems() == []
        start, first = progress.START, "01_one_connection_many_threads.ipynb"
        wait = {"timeout": browsing.SHOWN * 1000}
        with browser.new_page(viewport=browsing.VIEWPORT) as page:
            page.goto(lab.notebook_url(start), **wait)
            page.wait_for_function(browsing.IS_SHOWN, arg=start, **wait)
            page.evaluate(browsing.RUN_ALL)
            page.wait_for_function(browsing.IS_FINISHED, timeout=browsing.RUN * 1000)
            shown = page.locator(".jp-OutputArea", has_text="Solved: 1 of 19 exercises: 04").last
            shown.scroll_into_view_if_needed()
            page.screenshot(path=OUTPUT / "progress-00.png")
            assert shown.get_by_text("☑").count() == 1
            shown.get_by_text("One connection, many threads, 9").click()
            page.wait_for_function(browsing.IS_SHOWN, arg=first, **wait)
    assert (copy / "notebooks" / progress.FILE).exists()
