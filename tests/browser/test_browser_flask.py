"""A Flask page in the browser while sixteen clients buy: notebook 12 starts it, serves, stops it.

The notebook is cut down to its definitions and to the three cells that start the server,
send the load and stop the server; the load is made long enough to be watched.
"""

import re
import shutil
from pathlib import Path

import browsing
import nbformat
import notebook_code
import pytest
from nbformat.v4 import new_code_cell, new_notebook
from playwright.sync_api import Error, expect

OUTPUT = Path(__file__).resolve().parent.parent / "output"
NOTEBOOK = browsing.ROOT / "notebooks" / "12_flask.ipynb"
#: Rounds of two sales and a page that each client sends: in the notebook, and here.
ROUNDS, LONGER = "webload.ROUND * 30", 60

pytestmark = pytest.mark.slow


def cut_down(target):
    """Write the definitions and the last section's cells of the notebook to `target`."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    code = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    (start,) = [n for n, source in enumerate(code) if source.startswith("running = ExitStack()")]
    last = code[start : start + 3]
    assert ROUNDS in last[1]
    assert "running.close()" in last[2]
    last[1] = last[1].replace(ROUNDS, f"webload.ROUND * {LONGER}")
    sources = [*notebook_code.defining_cells(NOTEBOOK), *last]
    short = new_notebook(cells=[new_code_cell(source) for source in sources])
    short.metadata.kernelspec = {"name": "python3", "display_name": "Python 3"}
    nbformat.write(short, target)


def test_a_page_is_shown_under_load_and_gone_afterwards(browser, tmp_path_factory):
    folder = tmp_path_factory.mktemp("flask")
    cut_down(folder / "flask.ipynb")
    shutil.copytree(NOTEBOOK.parent / "applications", folder / "applications")
    OUTPUT.mkdir(exist_ok=True)
    with (
        browsing.running_lab(folder, tmp_path_factory.mktemp("state")) as lab,
        browser.new_page(viewport=browsing.VIEWPORT) as notebook,
        browser.new_page(viewport={"width": 500, "height": 200}) as page,
    ):
        notebook.goto(lab.notebook_url("flask.ipynb"), timeout=browsing.SHOWN * 1000)
        notebook.wait_for_function(
            browsing.IS_SHOWN, arg="flask.ipynb", timeout=browsing.SHOWN * 1000
        )
        notebook.evaluate(browsing.RUN_ALL)
        outputs = notebook.locator(".jp-OutputArea-output")
        link = outputs.filter(has_text="open this page:")
        expect(link).to_be_visible(timeout=browsing.RUN * 1000)
        (url,) = re.findall(r"http://127\.0\.0\.1:\d+/watch", link.inner_text())
        watch(page, url)
        notebook.wait_for_function(browsing.IS_FINISHED, timeout=browsing.RUN * 1000)
        sold = f"sold: {16 * 2 * LONGER}"
        expect(outputs.filter(has_text=sold)).to_be_visible()
        expect(outputs.filter(has_text="answered: False")).to_be_visible()
        visit = browsing.Visit(cells=notebook.evaluate(browsing.CELLS))
        assert visit.problems() == []
        with pytest.raises(Error, match="ERR_CONNECTION_REFUSED"):
            page.goto(url)


def watch(page, url):
    """The page opens while the clients are at work, and shows more sales when it reloads."""
    page.goto(url)
    first = page.locator("h1").inner_text()
    assert re.fullmatch(r"\d+ sold", first)
    expect(page.locator("h1")).not_to_have_text(first, timeout=10_000)
    page.screenshot(path=OUTPUT / "flask-under-load.png")
    before, after = (int(text.split()[0]) for text in (first, page.locator("h1").inner_text()))
    assert before < after < 16 * 2 * LONGER
