"""The course's widgets, all kinds in one notebook: the rules of axe, and the keyboard alone.

In JupyterLab, light and dark, and in Voila; only the widgets count, not what is round them.
The keyboard for the other two: `test_browser_widgets.py`, `test_browser_lab.py`.
"""

import browsing
import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook
from playwright.sync_api import expect

#: Milliseconds for what a widget does to be shown, whatever the machine does besides.
SHOWN = 30_000

#: A game at its start and at its end, a question, an answer with its question, a lab with a run.
CELLS = [
    """
import sqlite3
from contextlib import closing
from helpers import failures, load
from helpers.exercises import predict
from helpers.explorer import Program, SchedulerGame
from helpers.explorer.scenarios import no_increment_lost

def increment(path):
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        (value,) = connection.execute("SELECT value FROM counter").fetchone()
        connection.execute("UPDATE counter SET value = ?", (value + 1,))

program = Program("counter", [increment] * 2, no_increment_lost)
""",
    "guess = predict('What now?', {'A': 'an error', 'B': 'nothing', 'C': 'both'})\nguess",
    "SchedulerGame(program).press('A')",
    "SchedulerGame(program).press('A B A B')",
    "failures.look_up()",
    "lab = load.Lab()\nlab.choices['seconds'].value = 0.3\nlab.start()\nlab",
]
WIDGETS = ".jp-OutputArea-output .jupyter-widgets"
LOCKED = "sqlite3.OperationalError: database is locked"


#: The default run takes one: dark, where a colour is forgotten first.
PLACES = [
    "JupyterLab Dark",
    pytest.param("JupyterLab Light", marks=pytest.mark.slow),
    pytest.param("Voila", marks=pytest.mark.slow),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("widgets")
    notebook = new_notebook(cells=[new_code_cell(source) for source in CELLS])
    notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python 3"}
    nbformat.write(notebook, folder / "widgets.ipynb")
    return folder


@pytest.fixture(scope="module", params=PLACES)
def page(browser, folder, tmp_path_factory, request):
    """The notebook, run to its end, in each of the three."""
    state = tmp_path_factory.mktemp("state")
    with browser.new_page(viewport=browsing.VIEWPORT) as page:
        if request.param == "Voila":
            with browsing.running_voila(folder / "widgets.ipynb", state) as url:
                page.route("**/*", browsing.on_loopback)
                page.goto(url, timeout=browsing.RUN * 1000)
                yield page
            return
        with browsing.running_lab(folder, state) as lab:
            page.goto(lab.notebook_url("widgets.ipynb"), timeout=browsing.SHOWN * 1000)
            name, limit = "widgets.ipynb", browsing.SHOWN * 1000
            page.wait_for_function(browsing.IS_SHOWN, arg=name, timeout=limit)
            theme = "theme => window.jupyterapp.commands.execute('apputils:change-theme', {theme})"
            page.evaluate(theme, request.param)
            page.evaluate(browsing.RUN_ALL)
            page.wait_for_function(browsing.IS_FINISHED, timeout=browsing.RUN * 1000)
            yield page


def press_until(page, element, limit=15):
    """Press Tab until `element` has the focus."""
    for _ in range(limit):
        if element.evaluate("node => node === document.activeElement"):
            return
        page.keyboard.press("Tab")
    expect(element).to_be_focused()


def test_a_prediction_is_made_with_the_keyboard_alone(page):
    first = page.get_by_role("radio").first
    expect(first).to_be_visible(timeout=SHOWN)
    first.focus()
    page.keyboard.press("Space")
    expect(first).to_be_checked()
    page.keyboard.press("ArrowDown")
    expect(page.get_by_role("radio").nth(1)).to_be_checked()


def test_an_error_is_looked_up_with_the_keyboard_alone(page):
    area = page.get_by_role("textbox", name="error")
    area.focus()
    page.keyboard.insert_text(LOCKED)
    button = page.get_by_role("button", name="What does it mean?")
    press_until(page, button)
    page.keyboard.press("Enter")
    answer = page.get_by_text("Fix:").first
    expect(answer).to_be_visible(timeout=SHOWN)
    choice = page.locator(WIDGETS).get_by_role("button", name="at once").first
    press_until(page, choice)
    page.keyboard.press("Enter")
    expect(page.get_by_text("You said:")).to_be_visible(timeout=SHOWN)


def test_no_serious_rule_of_axe_is_broken(page):
    expect(page.locator(".lab-of-runs tbody tr")).to_have_count(1, timeout=SHOWN)
    expect(page.get_by_text("▶").first).to_be_visible()
    # What Voila's page has scrolled away axe cannot compare, and JupyterLab's has a body without
    # height that hides what overflows: axe takes all in it for hidden.
    page.set_viewport_size({**browsing.VIEWPORT, "height": 5000})
    page.add_style_tag(content="body { height: 100% !important; overflow: visible !important }")
    assert browsing.grave(page, WIDGETS) == []
