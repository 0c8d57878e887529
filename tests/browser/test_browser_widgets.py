"""You are the scheduler, played in a browser: by clicking, and with the keyboard alone."""

from pathlib import Path

import browsing
import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook
from playwright.sync_api import expect

OUTPUT = Path(__file__).resolve().parent.parent / "output"

SETUP = """
import sqlite3
from contextlib import closing
from helpers.explorer import Program, SchedulerGame
from helpers.explorer.scenarios import no_increment_lost

def increment(path):
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        (value,) = connection.execute("SELECT value FROM counter").fetchone()
        connection.execute("UPDATE counter SET value = ?", (value + 1,))

def immediate(path):
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        (value,) = connection.execute("SELECT value FROM counter").fetchone()
        connection.execute("UPDATE counter SET value = ?", (value + 1,))
        connection.execute("COMMIT")
"""
GAME = "SchedulerGame(Program('counter', [{job}] * 2, no_increment_lost), '{goal}')"


@pytest.fixture(scope="module")
def page(browser, tmp_path_factory):
    """A notebook with two games, run to its end, in a window 1200 pixels wide."""
    folder = tmp_path_factory.mktemp("games")
    cells = [
        SETUP,
        GAME.format(job="increment", goal="lose an update"),
        GAME.format(job="immediate", goal="make the repair fail"),
    ]
    notebook = new_notebook(cells=[new_code_cell(source) for source in cells])
    notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python 3"}
    nbformat.write(notebook, folder / "games.ipynb")
    with (
        browsing.running_lab(folder, tmp_path_factory.mktemp("state")) as lab,
        browser.new_page(viewport=browsing.VIEWPORT) as page,
    ):
        page.goto(lab.notebook_url("games.ipynb"), timeout=browsing.SHOWN * 1000)
        page.wait_for_function(browsing.IS_SHOWN, arg="games.ipynb", timeout=browsing.SHOWN * 1000)
        page.evaluate(browsing.RUN_ALL)
        page.wait_for_function(browsing.IS_FINISHED, timeout=browsing.RUN * 1000)
        yield page


def game(page, number):
    """The cell of one of the games: 0 or 1."""
    return page.locator(".jp-CodeCell").nth(number + 1)


def press(page, number, *labels):
    for label in labels:
        button = game(page, number).get_by_role("button", name=label, exact=True)
        expect(button).to_be_enabled(timeout=20_000)
        before = game(page, number).inner_text()
        button.click()
        page.wait_for_function(
            "([node, text]) => node.innerText !== text",
            arg=[game(page, number).element_handle(), before],
        )


def test_clicking_loses_an_update_and_undo_takes_it_back(page):
    press(page, 0, "Step A", "Step B", "Step A", "Step B")
    shown = game(page, 0)
    expect(shown).to_contain_text("You did it: 1. The schedule: A B A B")
    expect(shown).to_contain_text("Schedules tried to their end: 1 of 6")
    OUTPUT.mkdir(exist_ok=True)
    shown.screenshot(path=OUTPUT / "scheduler-game.png")
    press(page, 0, "Undo")
    expect(shown).not_to_contain_text("You did it")
    expect(shown.locator("span", has_text="UPDATE counter").first).to_contain_text("▶")
    press(page, 0, "Step B", "Reset")
    expect(shown).to_contain_text("Nobody has taken a step")
    press(page, 0, "Show me the worst")
    expect(shown).to_contain_text("You did it")


def test_the_repair_cannot_be_made_to_fail_and_who_waits_cannot_be_stepped(page):
    press(page, 1, "Step A", "Step B")
    shown = game(page, 1)
    expect(shown.get_by_role("button", name="Step B", exact=True)).to_be_disabled()
    expect(shown).to_contain_text("B waits for the lock on the database file")
    shown.screenshot(path=OUTPUT / "scheduler-game-waiting.png")
    press(page, 1, "Show me the worst")
    expect(shown).to_contain_text("You cannot: none of the 8 schedules reaches it")


def test_the_keyboard_is_enough(page):
    press(page, 1, "Step A")
    first = game(page, 1).get_by_role("button", name="Step A", exact=True)
    first.focus()
    page.keyboard.press("Enter")
    expect(game(page, 1).locator("tbody tr")).to_have_count(2)
    page.keyboard.press("Tab")
    expect(game(page, 1).get_by_role("button", name="Step B", exact=True)).to_be_focused()
    page.keyboard.press("Space")
    expect(game(page, 1).locator("tbody tr")).to_have_count(3)


def test_everything_fits_into_1200_pixels(page):
    for number in (0, 1):
        room = game(page, number).bounding_box()
        for part in game(page, number).locator("pre, button, table").all():
            box = part.bounding_box()
            if box is not None:
                assert box["x"] + box["width"] <= room["x"] + room["width"]
