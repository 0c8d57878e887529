"""The structure of every notebook, and for each rule a bad notebook that it must catch.

What a notebook looks like (the rules are in `notebook_rules.py`):

- The first cell is Markdown: a title (`# ...`), a line `**Refutes:** "the wrong belief"`
  and a line `**Time:** 45 minutes: core path 22, exercise 13, further 9`. Only notebook 00 may
  refute nothing (`**Refutes:** -`); notebooks in `solutions/` need the title alone.
- The minutes stated are at least what reading takes (200 words of prose a minute, 8 lines of
  code, 400 words of output) and the minutes that the exercise states (`**Time:**` again); they
  are 45 at most (75 in notebook 19), in at most 50 cells with 1,500 words of prose.
- A section with the line `*Further*` below its heading can wait, and is marked in the list of
  contents. The core path, all else but the exercise, takes 25 minutes or less, reads no name
  that a further section binds, and observes what it predicts.
- Every code cell is stored with its outputs and an execution count 1..n, has at most 12
  lines (15 with blank ones) of plain Python (no magics, no closing `;`, no nbval comments),
  and stands directly below prose, or below one other code cell that does.
- Tags: `raises-exception` (with a stored error, and the other way round),
  `nbval-ignore-output` (two, or a tenth of the code cells; an `assert` in the cell or in
  the next code cell), `claim:<name>` (once in a notebook), `exercise`, `solution`.
- An image that a cell shows carries its alternative text, 40 characters or more, as
  text/plain beside the image (or as `alt` in the output's metadata). Images in prose have
  alternative text too.
- Every `name = predict(...)` is followed, in a later cell, by `name.observed(...)`.
- Links lead to files and headings that exist. The last cell links to the notebooks before
  and after where they exist.
- No function run by a thread prints. No stored output has a machine's path, a thread id,
  an address or an automatic thread name in it.
- The metadata is what `python -m helpers refresh` writes: kernel `python3`, no Python
  version, no widget state.
"""

import re
from pathlib import Path

import nbformat
import notebook_rules as rules
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

ROOT = Path(__file__).resolve().parent.parent.parent
NOTEBOOKS = [
    path
    for path in sorted((ROOT / "notebooks").rglob("*.ipynb"))
    if ".ipynb_checkpoints" not in path.parts
]
TITLE = '# Title\n\n**Refutes:** "the flag makes it safe"\n\n**Time:** 25 minutes: core path 20'
PNG = "iVBORw0KGgo="
KERNEL = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
#: Not the course's own folder, whose notebooks would be neighbours.
NOWHERE = Path("nowhere")


def names(path):
    return path.relative_to(ROOT / "notebooks").as_posix()


def test_there_are_notebooks():
    assert NOTEBOOKS


@pytest.mark.parametrize("rule", rules.RULES, ids=lambda rule: rule.__name__)
@pytest.mark.parametrize("path", NOTEBOOKS, ids=[names(path) for path in NOTEBOOKS])
def test_notebook_keeps(path, rule):
    assert list(rule(nbformat.read(path, as_version=4), path)) == []


def test_readme_links_resolve():
    readme = ROOT / "README.md"
    links, images = rules.links_and_images(readme.read_text(encoding="utf-8"))
    targets = links + [source for source, _ in images]
    assert [reason for target in targets if (reason := rules.broken(target, readme))] == []
    assert [source for source, alternative in images if not alternative] == []


def test_readme_and_start_map_the_course_alike_and_in_order():
    row = re.compile(
        r"^\| (\d\d) \| \[(.+?)\]\((?:notebooks/)?(.+?)\) \| (.+) \| (\d+) \| (\d+) \|$", re.M
    )
    mapped = row.findall((ROOT / "README.md").read_text(encoding="utf-8"))
    start = nbformat.read(ROOT / "notebooks" / "00_start_here.ipynb", as_version=4)
    assert row.findall("\n".join(cell.source for cell in start.cells)) == mapped[1:]
    course = sorted(path.name for path in (ROOT / "notebooks").glob("*.ipynb"))
    assert [name for _, _, name, *_ in mapped] == course
    assert [number for number, *_ in mapped] == [name[:2] for name in course]
    titles = [nbformat.read(ROOT / "notebooks" / name, as_version=4).cells[0] for name in course]
    stated = [rules.TIME.search(title.source)["minutes"] for title in titles]
    assert [minutes for *_, minutes, _ in mapped] == stated
    parts = [dict(rules.PART.findall(title.source)) for title in titles]
    # The first notebook is one core path.
    assert [core for *_, core in mapped] == stated[:1] + [part["core path"] for part in parts[1:]]


def code(source="1 + 1", count=1, outputs=(), tags=()):
    return new_code_cell(
        source, execution_count=count, outputs=list(outputs), metadata={"tags": list(tags)}
    )


def result(text="2", **data):
    return new_output("execute_result", {"text/plain": text, **data}, execution_count=1)


def printed(text):
    return new_output("stream", name="stdout", text=text)


def error(evalue="no", traceback=()):
    return new_output("error", ename="ValueError", evalue=evalue, traceback=list(traceback))


def image(text):
    return new_output("display_data", {"image/png": PNG, "text/plain": text})


def problems(*cells, name="01_one.ipynb", title=TITLE, folder=NOWHERE):
    """What all rules say of a notebook that begins with a title cell and these cells."""
    notebook = new_notebook(cells=[new_markdown_cell(title), *cells], metadata=KERNEL)
    return [problem for rule in rules.RULES for problem in rule(notebook, folder / name)]


GOOD = [
    code(outputs=[result()]),
    code("raise ValueError('no')", 2, [error()], ["raises-exception", "claim:a-thing"]),
    new_markdown_cell("Prose with [a link](https://www.sqlite.org/wal.html)."),
    code("value = await ask()\nassert value", 3, tags=["nbval-ignore-output"]),
    code("figure", 4, [image("A timeline: one lane for each thread, errors as crosses.")]),
]


def test_a_good_notebook_passes():
    assert problems(*GOOD) == []


def test_the_minutes_are_those_of_prose_code_output_and_exercise():
    prose = new_markdown_cell("word " * 200 + "[](https://a.link/which.counts.not)")
    exercise = new_markdown_cell("## Exercise\n\n**Time:** 10 minutes")
    shown = [result(), printed("out " * 399), image("A figure's text is not read by all. " * 90)]
    notebook = new_notebook(cells=[prose, code("x = 1\n\n" * 8, outputs=shown), exercise])
    assert rules.minutes(notebook) == pytest.approx(1 + 1 + 1 + 10 + 4 / 200)


def test_only_notebook_00_may_refute_nothing():
    title = TITLE.replace('"the flag makes it safe"', "-")
    assert problems(*GOOD, title=title, name="00_start.ipynb") == []
    assert "refutes nothing" in problems(*GOOD, title=title)[0]


def test_solutions_need_a_title_only():
    folder = NOWHERE / "solutions"
    assert problems(*GOOD, title="# Solutions", folder=folder) == []
    assert "not a Markdown cell with a title" in problems(*GOOD, title="S", folder=folder)[0]


@pytest.mark.parametrize(
    ("title", "problem"),
    [
        ("No title", "not a Markdown cell with a title"),
        ("# Title\n\n**Time:** 25 minutes", "no line '**Refutes:**"),
        ('# Title\n\n**Refutes:** "the flag is safe"', "no line '**Time:**"),
        (TITLE.replace("25", "90"), "states 90 minutes"),
        (TITLE.replace("25", "0"), "states 0 minutes: it takes 1"),
    ],
)
def test_bad_openings_are_caught(title, problem):
    (found,) = problems(*GOOD, title=title)
    assert problem in found


def test_the_capstone_may_take_75_minutes_and_its_core_path_25():
    title = TITLE.replace("25 minutes", "{} minutes").replace("core path 20", "core path {}")
    assert problems(*GOOD, title=title.format(75, 25), name="19_capstone.ipynb") == []
    assert problems(*GOOD, title=title.format(76, 25), name="19_capstone.ipynb")
    assert problems(*GOOD, title=title.format(75, 26), name="19_capstone.ipynb")
    assert problems(*GOOD, title=title.format(46, 25), name="18_other.ipynb")


THREAD = "import threading\n\nthreading.Thread(target={}, name='one').start()"
SPEAKER = "def speak():\n    print('here')\n\n\ndef work():\n    speak()"

BAD = {
    "51 cells: at most 50": [new_markdown_cell("prose") for _ in range(50)],
    "1501 words of prose": [new_markdown_cell("word " * (1501 - rules.words(TITLE)))],
    "is not introduced by prose": [code(count=n, outputs=[result()]) for n in (1, 2, 3)],
    "cell 2 has execution count None, not 1": [code(count=None, outputs=[result()])],
    "cell 2 has execution count 2, not 1": [code(count=2, outputs=[result()])],
    "no outputs are stored": [code()],
    "is 16 lines high": [code("x = 1" + "\n" * 15 + "x = 1", outputs=[result()])],
    "has 13 lines of code": [code("\n".join("x = 1" for _ in range(13)), outputs=[result()])],
    "ends with ';'": [code("1 + 1;", outputs=[result()])],
    "has an nbval comment": [code("# NBVAL_SKIP\n1 + 1", outputs=[result()])],
    "is not plain Python": [code("%time 1 + 1", outputs=[result()])],
    "cell 2 is empty": [new_markdown_cell(" ")],
    "cell 3 is empty": [code(outputs=[result()]), code(" ", 2)],
    "unknown tag 'nbval-skip'": [code(outputs=[result()], tags=["nbval-skip"])],
    "unknown tag 'claim:'": [code(outputs=[result()], tags=["claim:"])],
    "repeats the tag 'claim:a'": [
        code(count=n, outputs=[result()], tags=["claim:a"]) for n in (1, 2)
    ],
    "claims something, but its output is ignored": [
        code("1 + 1", 1, [result()], ["claim:a", "nbval-ignore-output"]),
        code("assert True", 2),
    ],
    "stores no error": [code(outputs=[result()], tags=["raises-exception"])],
    "stores an error without": [code(outputs=[error()])],
    "with no assertion": [
        code(outputs=[result()], tags=["nbval-ignore-output"]),
        code(count=2),
        new_markdown_cell("Prose"),
        code("assert True", 3),
    ],
    "3 of 5 code cells are tagged": [
        cell
        for n in range(1, 6)
        for cell in (
            new_markdown_cell("Prose"),
            code("assert True", n, [result()], ["nbval-ignore-output"] if n < 4 else []),
        )
    ],
    "speak, run by a thread, prints": [
        code(SPEAKER, outputs=[printed("here")]),
        code(THREAD.format("work"), 2),
    ],
    "a lambda, run by a thread, prints": [
        code(THREAD.format("lambda: print(1)"), outputs=[result()])
    ],
    "f, run by a thread, prints": [
        code("def f():\n    print(1)\n\n\npool.submit(f)", outputs=[printed("1")])
    ],
    "no later cell says guess.observed(...)": [
        code("guess.observed('B')", outputs=[result()]),
        code("guess = predict('How many?', {'A': '1', 'B': '2'})", 2),
    ],
    "nowhere.ipynb leads nowhere": [new_markdown_cell("[x](nowhere.ipynb)")],
    "gone.png leads nowhere": [new_markdown_cell('<img src="gone.png" alt="a picture">')],
    "gone.html leads nowhere": [new_markdown_cell('| a |\n|---|\n| <a href="gone.html">x</a> |')],
    "web.png has no alternative text": [
        new_markdown_cell("![](https://www.sqlite.org/web.png)"),
    ],
    "html.png has no alternative text": [
        new_markdown_cell('Text <img src="https://www.sqlite.org/html.png"> and so on'),
    ],
    "shows an image without": [code(outputs=[image("<Figure size 640x480 with 1 Axes> etc")])],
    "an image without alternative text": [code(outputs=[image("Too short")])],
    "stores an SVG image": [
        code(outputs=[result("A picture described in 40 letters or more", **{"image/svg+xml": ""})])
    ],
    "stores an absolute path: ...'/home/": [code(outputs=[printed("in /home/ann/course")])],
    "stores an absolute path: ...'C:\\": [code(outputs=[printed("in C:\\Users\\ann")])],
    "stores an absolute path: ...'/tmp/": [code(outputs=[result("(/tmp/x)")])],
    "stores an absolute path: ...'~/course": [code(outputs=[printed("in ~/course")])],
    "stores a thread id: ...'thread id 1": [
        code(outputs=[error("thread id 140")], tags=["raises-exception"])
    ],
    "stores a thread id: ...'started 1": [code(outputs=[result("<Thread(a, started 140123)>")])],
    "stores an address": [code(outputs=[result("<object at 0x7f1234567890>")])],
    "stores an automatic thread name": [
        code(outputs=[error(traceback=["in Thread-5"])], tags=["raises-exception"])
    ],
}  # fmt: skip


@pytest.mark.parametrize("problem", BAD)
def test_bad_notebook_is_caught(problem):
    (found,) = problems(*BAD[problem])
    assert problem in found


@pytest.mark.parametrize(
    ("stored", "problem"),
    [
        ({}, "kernel is not python3"),
        ({**KERNEL, "language_info": {"name": "python", "version": "3.11.7"}}, "Python version"),
        ({**KERNEL, "widgets": {}}, "widget state is stored"),
    ],
)
def test_bad_metadata_is_caught(stored, problem):
    (found,) = rules.metadata(new_notebook(metadata=stored), NOWHERE)
    assert problem in found


@pytest.fixture
def course(tmp_path):
    """Three numbered notebooks in one folder; the one in the middle is returned."""
    for number in ("00", "01", "02"):
        notebook = new_notebook(cells=[new_markdown_cell("# Title\n\n## A Heading, twice")])
        nbformat.write(notebook, tmp_path / f"{number}_x.ipynb")
    return tmp_path / "01_x.ipynb"


@pytest.mark.parametrize(
    ("closing", "missing"),
    [
        ("[before](00_x.ipynb) [after](02_x.ipynb)", []),
        ("[before](00_x.ipynb)", ["02_x.ipynb"]),
        ("The end", ["00_x.ipynb", "02_x.ipynb"]),
    ],
)
def test_neighbours(course, closing, missing):
    notebook = new_notebook(cells=[new_markdown_cell(closing)])
    found = list(rules.neighbours(notebook, course))
    assert found == [f"the last cell has no link to {name}" for name in missing]


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("00_x.ipynb", ""),
        ("00_x.ipynb#A-Heading,-twice", ""),
        ("02_x.ipynb#a-heading-twice", ""),
        ("#A-Heading,-twice", ""),
        ("00_x.ipynb#Another", "there is no such heading"),
        ("#Another", "there is no such heading"),
        ("07_x.ipynb", "leads nowhere"),
        ("https://www.sqlite.org/nothing", ""),
    ],
)
def test_links(course, target, reason):
    found = rules.broken(target, course)
    assert found.endswith(reason)
    assert bool(found) == bool(reason)
