"""``python -m helpers new NN_words``: a notebook to begin with, complete and green.

It is written from ``data/template.ipynb`` with the whole anatomy of a lesson, and beside it a
notebook for its solutions, from ``data/template_solution.ipynb``. Both run: the example in them,
a lost update and its repair, gives way to your own, and so does every text that says
*Write here*. In the templates' prose, ``$name``, ``$number``, ``$title`` and ``$neighbours`` stand
for what the command fills in. Outputs are stored as `refresh` stores them.

Neither notebook has a tag ``claim:…``, for a claim needs a change that must turn it red.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path
from string import Template

import nbformat

from helpers.commands import refresh
from helpers.databases import DATA

FOLDER = refresh.ROOT / "notebooks"
NAME = re.compile(r"\d\d(_[a-z0-9]+)+")

NEXT = """\
Next:
1. Add a row for it to the maps in README.md and in notebook 00{links}.
2. Replace what says "Write here", tag the cells that prove something with claim:<name>, and run
   python -m helpers refresh on both notebooks.
3. For each claim, add to tests/mutated/notebook_{number}.py the change that must turn it red."""


def new(name: str, folder: Path = FOLDER) -> list[Path]:
    """Write a notebook and the one for its solutions, with their outputs; returns their paths.

    Args:
        name: two digits and words, all joined by underscores: ``16_which_fix``.
        folder: where the numbered notebooks are; the solutions go to ``solutions`` in it.

    Raises:
        ValueError: if `name` is not of that form.
        FileExistsError: if the number is taken, or a file is in the way.
        FileNotFoundError: if there is no `folder`.
        RefreshError: if a notebook does not run; nothing is written then.
    """
    _check(name, folder)
    lesson, solutions = folder / f"{name}.ipynb", folder / "solutions" / f"{name}.ipynb"
    if solutions.exists():
        raise FileExistsError(f"{solutions} exists: move it away, or choose another name")
    values = _values(name, folder)
    texts = {
        lesson: _run(_filled("template.ipynb", values), folder),
        solutions: _run(_filled("template_solution.ipynb", values), folder),
    }
    solutions.parent.mkdir(exist_ok=True)
    for path, text in texts.items():
        path.write_text(text, encoding="utf-8", newline="\n")
    return list(texts)


def neighbours(name: str, folder: Path = FOLDER) -> dict[str, Path]:
    """The notebooks next to `name` in the course, by number: ``Previous`` and ``Next``."""
    course = sorted(folder.glob("[0-9][0-9]_*.ipynb"))
    before = [path for path in course if path.name[:2] < name[:2]]
    after = [path for path in course if path.name[:2] > name[:2]]
    found = {"Previous": before[-1:], "Next": after[:1]}
    return {word: paths[0] for word, paths in found.items() if paths}


def _check(name: str, folder: Path) -> None:
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {folder}: give the one with the notebooks")
    if not NAME.fullmatch(name):
        raise ValueError(
            f"{name!r} is no name for a notebook: give two digits and words in small letters, "
            "joined by underscores, such as 16_which_fix"
        )
    course = sorted(path.name for path in folder.glob("[0-9][0-9]_*.ipynb"))
    taken = [other for other in course if other[:2] == name[:2]]
    if taken:
        free = int(course[-1][:2]) + 1
        raise FileExistsError(f"number {name[:2]} is taken by {taken[0]}: {free:02} is free")


def _values(name: str, folder: Path) -> dict[str, str]:
    """What stands for the placeholders of the templates' prose."""
    number, _, words = name.partition("_")
    title = words.replace("_", " ").capitalize()
    beside = neighbours(name, folder)
    links = [f"{word}: [{_title(path)}]({path.name})" for word, path in beside.items()]
    closing = " · ".join(links)
    return {"name": name, "number": number, "title": title, "neighbours": closing}


def _title(path: Path) -> str:
    first: str = nbformat.read(path, as_version=4).cells[0].source
    return first.partition("\n")[0].removeprefix("# ")


def _filled(template: str, values: dict[str, str]) -> nbformat.NotebookNode:
    notebook: nbformat.NotebookNode = nbformat.read(DATA / template, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = Template(cell.source).substitute(values).rstrip()
    return notebook


def _run(notebook: nbformat.NotebookNode, folder: Path) -> str:
    refresh.execute(notebook, folder)
    refresh.tidy(notebook, refresh.sanitizer())
    return f"{nbformat.writes(notebook)}\n"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The name, and where to write."""
    parser.add_argument("name", metavar="NN_words", help="such as 16_which_fix")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="the notebooks' folder")


def main(arguments: argparse.Namespace) -> int:
    """Write the notebook and say what comes next; returns 1 if nothing was written."""
    name, folder = arguments.name, arguments.folder
    try:
        written = new(name, folder)
    except (ValueError, OSError, refresh.RefreshError) as error:
        print(f"nothing written: {error}", file=sys.stderr)
        return 1
    for path in written:
        print(f"{path}: written and run")
    beside = [path.name for path in neighbours(name, folder).values()]
    links = f", and links to it at the end of {' and '.join(beside)}" if beside else ""
    print(NEXT.format(number=name[:2], links=links))
    return 0
