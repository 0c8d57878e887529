"""The site's pages before Sphinx sees them, its folder, and its links; no Sphinx is needed.

The site as a browser shows it: `tests/browser/test_browser_site.py`.
"""

import re
from dataclasses import replace
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from helpers.__main__ import main
from helpers.commands import site, site_errors, site_pages
from helpers.failures import symptoms

ROOT = Path(__file__).resolve().parent.parent.parent
FIGURE = new_output("display_data", {"image/png": "iVBORw0KGgo=", "text/plain": "Bars [two]."})


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """All pages of the course: their folder, and what could not be shown or linked to."""
    folder = tmp_path_factory.mktemp("sources") / "pages"
    pages = site_pages.Pages(ROOT, folder)
    pages.write(site_errors.write_errors)
    return folder, pages.problems


def course(folder, *cells):
    """A course of one notebook with these cells, as far as the site looks at it."""
    (folder / "notebooks").mkdir(parents=True)
    (folder / "README.md").write_text("# A course\n", encoding="utf-8")
    text = (
        "# Contributing\n\n## How\n\nSo.\n\n## Glossary\n\n#### Lost update\n\nA write is gone.\n"
    )
    (folder / "CONTRIBUTING.md").write_text(text, encoding="utf-8")
    notebook = new_notebook(cells=[new_markdown_cell("# 00 · One"), *cells])
    nbformat.write(notebook, folder / "notebooks" / "00_one.ipynb")
    (folder / "data" / "site").mkdir(parents=True)
    for path in (ROOT / "data" / "site").iterdir():
        (folder / "data" / "site" / path.name).write_bytes(path.read_bytes())
    return folder


def shown(tmp_path, *outputs, source="run()"):
    """The outputs of a cell as the page has them, and the problems."""
    cell = new_code_cell(source, outputs=list(outputs))
    pages = site_pages.Pages(course(tmp_path / "course", cell), tmp_path / "pages")
    pages.write(lambda pages: None)
    made = nbformat.read(tmp_path / "pages" / "notebooks" / "00_one.ipynb", as_version=4)
    return [dict(output.data) for output in made.cells[1].outputs], pages.problems


def test_all_of_the_course_can_be_shown_and_every_link_leads_somewhere(written):
    folder, problems = written
    assert problems == []
    names = {path.stem for path in (ROOT / "notebooks").glob("[0-9]*.ipynb")}
    assert names == {path.stem for path in (folder / "notebooks").glob("*.ipynb")}
    for path in (folder / "notebooks").rglob("*.ipynb"):
        for cell in nbformat.read(path, as_version=4).cells:
            for output in cell.get("outputs", []):
                kinds = set(output.get("data", ["text/plain"]))
                assert kinds in ({"text/plain"}, {"text/html"}, {"text/markdown"})


def test_every_widget_of_the_course_says_where_it_is_live(written):
    folder, _ = written
    widgets = 0
    for path in (folder / "notebooks").glob("*.ipynb"):
        for cell in nbformat.read(path, as_version=4).cells:
            if cell.cell_type == "code":
                calls = r"(?<!print\()\b(?:predict|SchedulerGame|look_up|Lab)\("
                made = len(re.findall(calls, cell.source))
                assert str(cell.outputs).count("Live in JupyterLab") == made, cell.source
                widgets += made
    assert widgets > 50


@pytest.mark.parametrize(
    ("link", "page", "target"),
    [
        ("https://example.org/a#B", "README.md", "https://example.org/a#B"),
        ("#your-own-code", "README.md", "index.md#your-own-code"),
        ("CONTRIBUTING.md#how-to-add", "README.md", "CONTRIBUTING.md#how-to-add"),
        ("../CONTRIBUTING.md#lost-update", "notebooks/09_wal.ipynb", "../glossary.md#lost-update"),
        ("../CONTRIBUTING.md#glossary", "notebooks/06_locks.ipynb", "../glossary.md"),
        ("06_locks.ipynb#2-·-The-program,-once", "notebooks/09_wal.ipynb", "06_locks.ipynb#2--the-program-once"),  # noqa: E501
        ("../helpers/history.py", "notebooks/09_wal.ipynb", "../files/helpers/history.py.md"),
        ("helpers/strategies", "README.md", "files/helpers/strategies/index.md"),
        ("README.md", "CONTRIBUTING.md", "index.md"),
        ("notebooks/teaching.md", "README.md", "notebooks/teaching.md"),
    ],
)  # fmt: skip
def test_a_link_leads_to_the_page_of_what_it_names(tmp_path, link, page, target):
    assert site_pages.Pages(ROOT, tmp_path).target(link, page) == target


def test_a_link_that_leads_nowhere_is_told_and_code_is_no_link(tmp_path):
    pages = site_pages.Pages(ROOT, tmp_path)
    text = "[a](no.py) and `[b](no.py)`\n\n```python\nx = [c](README.md)\n```\n[d](README.md)"
    assert pages.linked(text, "README.md").endswith("x = [c](README.md)\n```\n[d](index.md)")
    assert pages.problems == ["README.md: no.py leads nowhere"]


def test_a_page_for_a_folder_lists_its_files_and_each_has_a_page(written):
    folder, _ = written
    text = (folder / "files" / "helpers" / "strategies" / "index.md").read_text(encoding="utf-8")
    for path in (ROOT / "helpers" / "strategies").glob("*.py"):
        page = (folder / "files" / "helpers" / "strategies" / f"{path.name}.md").read_text("utf-8")
        assert path.read_text(encoding="utf-8").rstrip() in page
        assert f"({path.name}.md)" in text


def test_a_figure_keeps_its_alternative_text_and_one_without_is_told(tmp_path):
    (data,), problems = shown(tmp_path / "with", FIGURE)
    assert data == {"text/markdown": r"![Bars \[two\]\.](../figures/notebooks-00_one-1-0.png)"}
    assert problems == []
    assert (tmp_path / "with/pages/figures/notebooks-00_one-1-0.png").read_bytes()
    bare = new_output("display_data", {"image/png": "iVBORw0KGgo="})
    _, problems = shown(tmp_path / "without", bare)
    assert problems == ["notebooks/00_one.ipynb: a figure has no alternative text"]


def test_a_widget_is_shown_as_what_it_says_and_never_as_an_empty_box(tmp_path):
    view = {"application/vnd.jupyter.widget-view+json": {"model_id": "1"}}
    text = {"text/plain": "What now?\n  A  <one>\n  B  two"}
    bar, question = (new_output("display_data", data) for data in (view, {**view, **text}))
    ((data),), _ = shown(tmp_path, bar, question, source="predict(what)")
    assert "<b>What now?</b>" in data["text/html"]
    assert "<li>A · &lt;one&gt;</li><li>B · two</li>" in data["text/html"]
    assert "Live in JupyterLab" in data["text/html"]
    assert "<img" not in data["text/html"]


@pytest.mark.parametrize("call", site_pages.SEEN)
def test_a_widget_that_is_more_than_its_text_is_shown_in_a_picture(tmp_path, call):
    text = new_output("execute_result", {"text/plain": "Your goal: none."})
    (data,), _ = shown(tmp_path, text, source=f"{call}program)")
    (picture,) = re.findall(r'<img src="../_static/([^"]+)" alt="[^"]{80,}">', data["text/html"])
    assert (tmp_path / "pages" / "_static" / picture).is_file()


def test_links_in_an_outputs_html_are_those_of_the_site(tmp_path):
    text = '<a href="00_one.ipynb">x</a> <a href="https://example.org/?a=1&amp;b=2">y</a>'
    (data,), _ = shown(tmp_path, new_output("execute_result", {"text/html": text}))
    assert data["text/html"] == text.replace("ipynb", "html")


def test_each_error_has_a_page_whose_title_is_its_message(written):
    folder, _ = written
    titles = set()
    for entry in symptoms.entries():
        text = (folder / "errors" / f"{entry.id}.md").read_text(encoding="utf-8")
        (heading,) = re.findall(r"^# (.+)", text, re.MULTILINE)
        title = re.sub(r"\\([!-~])", r"\1", heading)
        last = " ".join(entry.example.strip().splitlines()[-1].split())
        assert title.startswith(last)
        titles.add(title)
        assert site_pages.escape(entry.cause) in text
        assert site_pages.escape(entry.fix) in text
        assert f"<{entry.source}>" in text
        assert f"(../notebooks/{entry.notebook}.ipynb" in text
    assert len(titles) == len(symptoms.entries())


def test_an_error_leads_to_the_section_that_is_most_about_it(tmp_path):
    cells = [
        new_markdown_cell("## 1 · All, side by side"),
        new_code_cell('failures.table(["f-timeout", "f-exclusive", "f-upgrade"])'),
        new_markdown_cell("## 2 · This `one`\n\n```python\n# no heading\n```"),
        new_code_cell('# The cause\nfailures.run("f-timeout")'),
    ]
    root = course(tmp_path, *cells)
    entry = replace(symptoms.entries()[0], notebook="00_one", failures=("f-timeout",))
    link = "../notebooks/00_one.ipynb"
    assert site_errors.section(root, entry) == ("00 · One: 2 · This one", f"{link}#2--this-one")
    other = replace(entry, failures=(), pattern="nothing of the kind")
    assert site_errors.section(root, other) == ("00 · One", link)


@pytest.mark.parametrize("place", [".", "notebooks", "helpers/new", "..", "notebooks/../data/site"])
def test_a_folder_among_the_courses_own_files_is_refused(place):
    with pytest.raises(site.SiteError, match="such as build/site, or one outside the course"):
        site.check_folder(ROOT / place)


def test_a_folder_that_holds_something_else_is_refused_and_a_former_site_is_not(tmp_path):
    (tmp_path / "thesis.md").touch()
    with pytest.raises(site.SiteError, match="empty it, or name a folder that is not there yet"):
        site.check_folder(tmp_path)
    with pytest.raises(site.SiteError, match="is a file: name a folder"):
        site.check_folder(tmp_path / "thesis.md")
    (tmp_path / site.MARK).touch()
    site.check_folder(tmp_path)
    site.check_folder(tmp_path / "new")
    site.check_folder(ROOT / "build" / "site")


def test_without_sphinx_the_command_says_what_to_install(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(site, "NEEDED", ("sphinx_is_not_here",))
    assert main(["site", str(tmp_path / "site")]) == 1
    assert "not installed: sphinx_is_not_here; run" in capsys.readouterr().err
    assert not (tmp_path / "site").exists()


def test_what_leads_nowhere_and_what_comes_from_elsewhere_is_found(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "a.css").write_text("p {}")
    texts = {
        "index.html": '<p id="top"><a href="sub/b.html#há">1</a><a href="#no">2</a>'
        '<a href="gone.html">3</a><a href="https://example.org/x">4</a>'
        '<link rel="stylesheet" href="a.css?v=1"><script src="https://cdn.example/x.js"></script>',
        "sub/b.html": '<h1 id="há">B</h1><a href="../index.html#top">5</a><img src="gone.png">',
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    pages = {tmp_path / name: site.read(tmp_path / name) for name in texts}
    assert site.broken(pages, tmp_path) == [
        "index.html: loads https://cdn.example/x.js, which is not in the site",
        "index.html: #no has no such anchor",
        "index.html: gone.html leads nowhere",
        "sub/b.html: loads gone.png, which is not in the site",
    ]
    index = tmp_path / "index.html"
    pages[index].parts.pop()
    assert site.weight(index, pages[index]) == index.stat().st_size + 4
