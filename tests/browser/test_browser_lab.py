"""The lab in a browser: Run, Stop, a second run, the table, the file, and the keyboard alone.

In JupyterLab, and a run also in Voila.
"""

import csv
from pathlib import Path

import browsing
import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook
from playwright.sync_api import expect

OUTPUT = Path(__file__).resolve().parent.parent / "output"
#: Milliseconds for a run of half a second to be shown, whatever the machine does besides.
SHOWN = 30_000


def write_notebook(folder):
    cells = ["from helpers import load", "lab = load.Lab()\nlab"]
    notebook = new_notebook(cells=[new_code_cell(source) for source in cells])
    notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python 3"}
    nbformat.write(notebook, folder / "lab.ipynb")
    return folder / "lab.ipynb"


@pytest.fixture(scope="module")
def page(browser, tmp_path_factory):
    """A notebook with the lab, run to its end, in a window 1200 pixels wide."""
    folder = tmp_path_factory.mktemp("lab")
    write_notebook(folder)
    with (
        browsing.running_lab(folder, tmp_path_factory.mktemp("state")) as lab,
        browser.new_page(viewport=browsing.VIEWPORT, accept_downloads=True) as page,
    ):
        page.goto(lab.notebook_url("lab.ipynb"), timeout=browsing.SHOWN * 1000)
        page.wait_for_function(browsing.IS_SHOWN, arg="lab.ipynb", timeout=browsing.SHOWN * 1000)
        page.evaluate(browsing.RUN_ALL)
        page.wait_for_function(browsing.IS_FINISHED, timeout=browsing.RUN * 1000)
        yield page


@pytest.fixture
def lab(page):
    """The lab in the page."""
    return page.locator(".lab-of-runs")


def button(lab, name):
    return lab.get_by_role("button", name=name, exact=True)


def fill(lab, label, value):
    field = lab.get_by_label(label, exact=True)
    field.fill(value)
    field.press("Tab")


def status(lab):
    return lab.get_by_role("status")


def test_run_stop_run_again_and_save(lab, page, tmp_path):
    expect(status(lab)).to_have_text("No run yet.")
    expect(button(lab, "Stop")).to_be_disabled()
    fill(lab, "seconds", "0.5")
    button(lab, "Run").click()
    expect(status(lab)).to_contain_text("Run 1:", timeout=SHOWN)
    expect(status(lab)).to_contain_text("0 lost")

    fill(lab, "seconds", "20")
    button(lab, "Run").click()
    expect(button(lab, "Run")).to_be_disabled()
    bar = lab.locator(".progress-bar").first
    page.wait_for_function("bar => bar.clientWidth > 0", arg=bar.element_handle(), timeout=SHOWN)
    lab.screenshot(path=OUTPUT / "lab-running.png")
    button(lab, "Stop").click()
    expect(status(lab)).to_have_text("Stopped: nothing was measured.", timeout=SHOWN)
    expect(lab.locator("tbody tr")).to_have_count(1)

    lab.get_by_label("strategy", exact=True).select_option("StatementLock (flawed)")
    fill(lab, "seconds", "0.5")
    button(lab, "Run").click()
    expect(status(lab)).to_contain_text("Run 2:", timeout=SHOWN)
    expect(lab.locator("tbody tr")).to_have_count(2)
    expect(lab.get_by_role("img")).to_have_count(2)
    lab.screenshot(path=OUTPUT / "lab.png")

    with page.expect_download() as download:
        lab.get_by_role("link", name="Save as CSV").click()
    download.value.save_as(tmp_path / "runs.csv")
    with open(tmp_path / "runs.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["strategy"] for row in rows] == ["TransactionLock", "StatementLock"]
    assert int(rows[0]["lost"]) == 0 < int(rows[1]["lost"])


def test_the_keyboard_is_enough(lab, page):
    before = lab.locator("tbody tr").count()
    lab.get_by_label("a write is", exact=True).focus()
    page.keyboard.press("ArrowDown")
    for _ in range(9):  # past the other choices
        page.keyboard.press("Tab")
    expect(button(lab, "Run")).to_be_focused()
    page.keyboard.press("Enter")
    expect(lab.locator("tbody tr")).to_have_count(before + 1, timeout=SHOWN)
    expect(lab.locator("tbody tr").last).to_contain_text("INSERT")
    button(lab, "Forget the runs").focus()
    page.keyboard.press("Enter")
    expect(status(lab)).to_have_text("No run yet.")


def test_it_fits_into_1200_pixels(lab):
    room = lab.bounding_box()
    for part in lab.locator("input, select, button, img").all():
        box = part.bounding_box()
        if box is not None:
            assert box["x"] + box["width"] <= room["x"] + room["width"] + 1


def test_voila_shows_it_runs_it_and_hides_the_code(browser, tmp_path):
    with (
        browsing.running_voila(write_notebook(tmp_path), tmp_path) as url,
        browser.new_page(viewport=browsing.VIEWPORT) as page,
    ):
        page.route("**/*", browsing.on_loopback)
        page.goto(url, timeout=browsing.RUN * 1000)
        lab = page.locator(".lab-of-runs")
        expect(status(lab)).to_have_text("No run yet.", timeout=SHOWN)
        expect(page.get_by_text("load.Lab()")).to_have_count(0)
        fill(lab, "seconds", "20")
        button(lab, "Run").click()
        expect(button(lab, "Run")).to_be_disabled()
        button(lab, "Stop").click()
        expect(status(lab)).to_have_text("Stopped: nothing was measured.", timeout=SHOWN)
        fill(lab, "seconds", "0.5")
        button(lab, "Run").click()
        expect(status(lab)).to_contain_text("Run 1:", timeout=SHOWN)
        expect(status(lab)).to_contain_text("0 lost")
        expect(lab.locator("tbody tr")).to_have_count(1)
        expect(lab.get_by_role("img")).to_have_count(2)
        lab.screenshot(path=OUTPUT / "lab-voila.png")
