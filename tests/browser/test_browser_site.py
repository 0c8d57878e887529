"""The site in a browser, from its files alone: no network, axe, a narrow window, search, print."""

import html
import re

import browsing
import nbformat
import pytest
from nbformat.v4 import new_markdown_cell, new_notebook
from playwright.sync_api import expect

from helpers.__main__ import main
from helpers.commands import site
from helpers.failures import symptoms

pytestmark = pytest.mark.slow

OUTPUT = browsing.ROOT / "tests" / "output"

#: One page of each kind.
PAGES = [
    "index.html", "notebooks/00_start_here.html", "notebooks/01_one_connection_many_threads.html",
    "notebooks/16_which_fix.html", "notebooks/solutions/index.html",
    "notebooks/solutions/06_locks.html", "errors/index.html", "errors/locked-at-commit.html",
    "glossary.html", "CONTRIBUTING.html", "files/helpers/strategies/index.html",
    "files/helpers/strategies/writer.py.html", "search.html?q=database+is+locked",
]  # fmt: skip

#: Bytes of the heaviest page, with all that is loaded with it.
HEAVIEST = 2e6

SEARCHED = "/found|did not match/.test(document.querySelector('.search-summary')?.innerText)"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The site, and the weight of each page."""
    folder = tmp_path_factory.mktemp("published") / "site"
    return folder, site.site(folder)


@pytest.fixture(params=["light", "dark"])
def context(browser, request):
    """A window without a network."""
    context = browser.new_context(color_scheme=request.param, viewport=browsing.VIEWPORT)
    context.set_offline(True)
    yield context
    context.close()


def visit(context, folder, name, **viewport):
    """A page as it is opened from its file, and what it asked others for."""
    page, asked = context.new_page(), []
    page.on("request", lambda request: asked.append(request.url))
    if viewport:
        page.set_viewport_size(viewport)
    path, _, query = name.partition("?")
    page.goto(f"{(folder / path).as_uri()}?{query}")
    if query:
        page.wait_for_function(SEARCHED)
    return page, [url for url in asked if not url.startswith(("file:", "data:"))]


@pytest.mark.parametrize("name", PAGES)
def test_a_page_needs_no_network_fits_and_breaks_no_serious_rule_of_axe(context, made, name):
    page, strangers = visit(context, made[0], name)
    assert strangers == []
    expect(page.locator("article h1, #search-results h2").first).to_be_visible()
    for image in page.locator("article img").all():
        assert image.evaluate("async image => (await image.decode(), image.naturalWidth)") > 0
    for width in (browsing.VIEWPORT["width"], 375):
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert browsing.grave(page) == []


def test_every_page_is_light_and_every_figure_has_alternative_text(made):
    folder, weights = made
    assert max(weights.values()) < HEAVIEST
    assert len(weights) > len(symptoms.entries()) + 40
    figures = 0
    for path in folder.rglob("*.html"):
        text = path.read_text(encoding="utf-8")
        assert "could not be displayed" not in text
        for image in re.findall(r"<img [^>]*>", text):
            assert re.search(r'alt="[^"]{20,}"', image), (path.name, image)
            figures += 1
    assert figures > 40


def test_each_error_has_a_page_with_its_message_as_the_title(made):
    titles = {}
    for entry in symptoms.entries():
        text = (made[0] / "errors" / f"{entry.id}.html").read_text(encoding="utf-8")
        titles[entry.id] = html.unescape(re.search(r"<title>(.*?)</title>", text, re.DOTALL)[1])
        last = " ".join(entry.example.strip().splitlines()[-1].split())
        assert titles[entry.id].startswith(last)
    assert len(set(titles.values())) == len(titles)


@pytest.mark.parametrize(
    "message", ["database is locked", "Recursive use of cursors not allowed.", "QueuePool limit"]
)
def test_a_search_for_a_message_finds_its_page_first(context, made, message):
    page, _ = visit(context, made[0], f"search.html?q={message}")
    first = page.locator("#search-results li a").first
    expect(first).to_contain_text(message)
    expect(first).to_have_attribute("href", re.compile("^errors/"))


def test_a_wide_table_scrolls_in_its_box_by_the_keyboard_too(context, made):
    page, _ = visit(context, made[0], "notebooks/10_one_writer.html", width=375, height=900)
    box = page.locator(".output:has(table)").first
    assert box.evaluate("box => box.scrollWidth > box.clientWidth && box.clientWidth <= 375")
    box.focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_function("box => box.scrollLeft > 0", arg=box.element_handle())


def test_on_paper_there_are_contents_only_and_nothing_is_folded(context, made):
    page, _ = visit(context, made[0], "notebooks/10_one_writer.html")
    folded = page.locator("details").count()
    page.emulate_media(media="print")
    page.pdf(path=OUTPUT / "site-on-paper.pdf", format="A4")
    assert page.locator("details[open]").count() == folded > 0
    for part in (".sidebar-drawer", ".toc-drawer", ".skip-to-content"):
        expect(page.locator(part)).to_be_hidden()
    background = "node => getComputedStyle(node).backgroundColor"
    assert page.locator("body").evaluate(background) in ("rgb(255, 255, 255)", "rgba(0, 0, 0, 0)")


@pytest.fixture
def small(tmp_path, monkeypatch):
    """A course of one notebook, without the catalogue, that a test spoils."""
    root = tmp_path / "course"
    for name in ("notebooks", "data/site"):
        (root / name).mkdir(parents=True)
    for path in (browsing.ROOT / "data" / "site").iterdir():
        (root / "data" / "site" / path.name).write_bytes(path.read_bytes())
    (root / "README.md").write_text("# A course\n\n## Part\n", encoding="utf-8")
    (root / "CONTRIBUTING.md").write_text("# How\n\n## Glossary\n\n#### Term\n", encoding="utf-8")
    pages = "---\norphan: true\n---\n# Errors\n"
    monkeypatch.setattr(site, "write_errors", lambda made: made.put("errors/index.md", pages))
    monkeypatch.setattr(site.site, "__defaults__", (root,))
    return root


def write(root, text):
    notebook = new_notebook(cells=[new_markdown_cell(f"# 00 · One\n\n{text}")])
    nbformat.write(notebook, root / "notebooks" / "00_one.ipynb")


def test_every_mistake_is_listed_and_the_former_site_stays(small, tmp_path, capsys):
    folder = tmp_path / "site"
    write(small, "[good](../README.md#part)")
    assert main(["site", str(folder)]) == 0
    said = capsys.readouterr().out
    assert re.search(r": \d+ pages, \d+\.\d MB; the largest is \S+ with 0\.\d\d MB; open ", said)
    former = (folder / "index.html").read_bytes()

    write(small, "[a](gone.py) [b](../README.md#no-such) ![c](gone.png)\n\n### Too deep")
    assert main(["site", str(folder)]) == 1
    told = capsys.readouterr().err
    for mistake in ("gone.py leads nowhere", "no-such", "gone.png", "H1 to H3"):
        assert mistake in told
    assert (folder / "index.html").read_bytes() == former
