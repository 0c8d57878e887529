"""Does a notebook notice when what it claims is no longer so?

A claim is a code cell with the tag `claim:<name>`. A mutation is a named change to one file
of `helpers` after which the claim is false (a fix taken away, a flaw repaired). The course
is copied to a temporary folder, the change is made there, and nbval runs the notebook of
the copy: it must be red at the claim, and green without the change.

A cell before the claim may go red too only if it is a claim itself: a change that breaks
an import, say, would prove nothing.
"""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from xml.etree import ElementTree

import nbformat

ROOT = Path(__file__).resolve().parent.parent

#: What a copy of the course needs so that one notebook runs as the tests run it.
PARTS = ("helpers", "data", "pyproject.toml", "tests/sanitize.cfg")
#: Seconds for one notebook, kernel start included.
TIMEOUT = 300


@dataclass(frozen=True)
class Mutation:
    """A change to `helpers` that makes one claim of one notebook false.

    `old` must stand in `file` (relative to the course's folder) exactly once.
    """

    name: str
    claim: str
    notebook: str
    file: str
    old: str
    new: str


MUTATIONS: list[Mutation] = []


class MutationError(Exception):
    """The change cannot be made, or the notebook could not be run at all."""


def problems(mutation: Mutation, root: Path = ROOT) -> list[str]:
    """What is wrong with the notebook's proof of its claim; empty when it is sound.

    Raises:
        MutationError: if the mutation no longer fits the course.
    """
    claims = claimed(root / mutation.notebook)
    if mutation.claim not in claims.values():
        return [f"{mutation.notebook} has no cell tagged claim:{mutation.claim}"]
    found = [f"red without the change: Cell {cell}" for cell in failures(mutation.notebook, root)]
    with TemporaryDirectory(prefix="mutation-", ignore_cleanup_errors=True) as folder:
        copy_course(root, Path(folder), mutation.notebook)
        change(mutation, Path(folder))
        red = failed_cells(Path(folder), mutation.notebook)
    claim = next(cell for cell, name in claims.items() if name == mutation.claim)
    if claim not in red:
        found.append(f"the claim stays green with the change {mutation.name}")
    early = [cell for cell in red if cell < claim and cell not in claims]
    return found + [f"red before the claim: Cell {cell}" for cell in early]


def claimed(path: Path) -> dict[int, str]:
    """Claims by the number that nbval gives their cell: code cells, from 0."""
    notebook = nbformat.read(path, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    return {
        number: tag.removeprefix("claim:")
        for number, cell in enumerate(code)
        for tag in cell.metadata.get("tags", [])
        if tag.startswith("claim:")
    }


@cache
def failures(notebook: str, root: Path) -> list[int]:
    """The cells that fail in an unchanged copy; run once for all mutations of a notebook."""
    with TemporaryDirectory(prefix="mutation-", ignore_cleanup_errors=True) as folder:
        copy_course(root, Path(folder), notebook)
        return failed_cells(Path(folder), notebook)


def copy_course(root: Path, folder: Path, notebook: str) -> None:
    """Copy what one notebook needs into `folder`."""
    for part in (*PARTS, notebook):
        source, target = root / part, folder / part
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target)


def change(mutation: Mutation, folder: Path) -> None:
    """Make the change in the copy.

    Raises:
        MutationError: if the old text does not stand in the file exactly once.
    """
    path = folder / mutation.file
    text = path.read_text(encoding="utf-8")
    times = text.count(mutation.old)
    if times != 1:
        raise MutationError(
            f"mutation {mutation.name}: its old text stands {times} times in {mutation.file}"
        )
    path.write_text(text.replace(mutation.old, mutation.new), encoding="utf-8")


def failed_cells(folder: Path, notebook: str) -> list[int]:
    """Run nbval strict on a notebook of the copy; the numbers of the cells that fail.

    Raises:
        MutationError: if no cell was run, or pytest did not come to an end.
    """
    report = folder / "report.xml"
    command = [
        sys.executable, "-m", "pytest", "-q", "--color=no", "-p", "no:cacheprovider",
        f"--junitxml={report}", f"--rootdir={folder}", notebook,
    ]  # fmt: skip
    # First on the path: before the course's own helpers, which are installed in place.
    path = os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH")]))
    run = subprocess.run(
        command, cwd=folder, env={**os.environ, "PYTHONPATH": path}, check=False,
        capture_output=True, encoding="utf-8", errors="replace", timeout=TIMEOUT,
    )  # fmt: skip
    if not report.exists():
        raise MutationError(f"pytest ended with {run.returncode}:\n{run.stdout}{run.stderr}")
    cells = ElementTree.parse(report).iter("testcase")
    passed = {case.get("name", ""): len(case) == 0 for case in cells}
    if not passed or not all(name.startswith("Cell ") for name in passed):
        raise MutationError(f"{notebook} was not run:\n{run.stdout}{run.stderr}")
    return [int(name.removeprefix("Cell ")) for name, green in passed.items() if not green]
