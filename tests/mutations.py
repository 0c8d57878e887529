"""Does a notebook notice when what it claims is no longer so?

A claim is a code cell with the tag `claim:<name>`. A mutation is a named change to one file
of `helpers`, or to the notebook, after which the claim is false (a fix taken away, a flaw
repaired). The course is copied to a temporary folder, the change is made there, and nbval runs
the notebook of the copy, as far as the claim depends on it: it must be red at the claim, and
`without_a_change` must find nothing in the whole notebook.

The first cell to go red must be a claim: a change that breaks an import, say, would prove
nothing. Cells after it may go red in consequence, but a claim not for want of a name.

The mutations themselves are in `mutated/`, a module for each notebook.
"""

import os
import shutil
from contextlib import chdir
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

import nbformat
import nbval.kernel
import pytest
import slices
from nbformat.v4 import new_code_cell, new_output

ROOT = Path(__file__).resolve().parent.parent

#: What a copy of the course needs so that one notebook runs as the tests run it.
PARTS = ("helpers", "data", "notebooks/applications", "pyproject.toml", "tests/sanitize.cfg")


@dataclass(frozen=True)
class Mutation:
    """A change to one file of the course that makes claims of one notebook false.

    `old` must stand in `file` (relative to the course's folder) exactly once.
    """

    name: str
    claims: tuple[str, ...]
    notebook: str
    file: str
    old: str
    new: str


class MutationError(Exception):
    """The change cannot be made, or the notebook could not be run at all."""


def problems(mutation: Mutation, root: Path = ROOT) -> list[str]:
    """What is wrong with the notebook's proof of its claims; empty when it is sound.

    Raises:
        MutationError: if the mutation no longer fits the course.
    """
    cells = claimed(root / mutation.notebook)
    unknown = [claim for claim in mutation.claims if claim not in cells]
    if unknown:
        return [f"{mutation.notebook} has no cell tagged claim:{claim}" for claim in unknown]
    found = []
    with TemporaryDirectory(prefix="mutation-", ignore_cleanup_errors=True) as folder:
        copy_course(root, Path(folder), mutation.notebook)
        change(mutation, Path(folder))
        kept = cut(Path(folder) / mutation.notebook, [cells[claim] for claim in mutation.claims])
        red = failed_cells(Path(folder), mutation.notebook)
    red = {kept[number]: report for number, report in red.items()}
    if red and min(red) not in cells.values():
        found.append(f"red before any claim: Cell {min(red)}")
    for claim in mutation.claims:
        if cells[claim] not in red:
            found.append(f"claim:{claim} stays green with the change {mutation.name}")
        elif "NameError" in red[cells[claim]]:
            found.append(f"claim:{claim} is red only because a cell before it failed")
    return found


def without_a_change(notebook: str, root: Path = ROOT, watched: bool = False) -> list[str]:
    """What is red in an unchanged copy, where a mutation would prove nothing. Empty if nothing.

    Of a `watched` notebook the cell after the last one is red if it leaves a thread or a process.
    """
    with TemporaryDirectory(prefix="mutation-", ignore_cleanup_errors=True) as folder:
        copy_course(root, Path(folder), notebook)
        if watched:
            watch(Path(folder) / notebook)
        red = failed_cells(Path(folder), notebook)
    return [f"red without the change: Cell {cell - watched}" for cell in red]


def claimed(path: Path) -> dict[str, int]:
    """Claims and the number that nbval gives their cell: code cells, from 0."""
    notebook = nbformat.read(path, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    return {
        tag.removeprefix("claim:"): number
        for number, cell in enumerate(code)
        for tag in cell.metadata.get("tags", [])
        if tag.startswith("claim:")
    }


def copy_course(root: Path, folder: Path, notebook: str) -> None:
    """Copy what one notebook needs into `folder`."""
    for part in (*PARTS, notebook):
        source, target = root / part, folder / part
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target)  # with the bytecode, which takes a while to make
        else:
            shutil.copy(source, target)


def cut(path: Path, claims: list[int]) -> list[int]:
    """Drop the cells that can tell nothing about those claims; the numbers of the cells kept."""
    notebook = nbformat.read(path, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    kept = slices.needed([cell.source for cell in code], claims)
    notebook.cells = [code[number] for number in kept]
    nbformat.write(notebook, path)
    return kept


#: Cells round a notebook that compare the kernel's threads and children before and after it.
BEFORE = "import threading\n_before = set(threading.enumerate())"
AFTER = """
import gc, psutil
gc.collect()
_left = [
    thread.name
    for thread in threading.enumerate()
    # What the kernel starts (pyzmq, for large messages) is not the notebook's, and a pool of
    # Dask's belongs to its module.
    if thread not in _before
    and not type(thread).__module__.startswith("zmq.")
    and not thread.name.startswith("Dask-Offload")
]
_children = [" ".join(child.cmdline()) for child in psutil.Process().children(recursive=True)]
# Python's own helper of multiprocessing lives as long as the kernel.
print(sorted(_left), [line for line in _children if "resource_tracker" not in line])
"""


def watch(path: Path) -> None:
    """Have the notebook fail in one more cell if it leaves a thread or a process behind."""
    notebook = nbformat.read(path, as_version=4)
    nothing = [new_output("stream", name="stdout", text="[] []\n")]
    after = new_code_cell(AFTER, execution_count=len(notebook.cells), outputs=nothing)
    notebook.cells = [new_code_cell(BEFORE), *notebook.cells, after]
    nbformat.write(notebook, path)


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


def failed_cells(folder: Path, notebook: str) -> dict[int, str]:
    """Run nbval strict on a notebook of the copy: the cells that fail, and what they report.

    In this process, which has imported pytest and nbval already; the kernel is a new one.

    Raises:
        MutationError: if no cell was run.
    """
    # First on the path: before the course's own helpers, which are installed in place.
    path = os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH")]))
    options = ["-q", "-cpyproject.toml", *_OPTIONS, f"--rootdir={folder}", notebook]
    with (
        chdir(folder),
        patch.dict(os.environ, {"PYTHONPATH": path}),
        open(os.devnull, "w") as silence,
        # nbval leaves open what it opens for the kernel; the test that is next is blamed for it.
        patch.object(nbval.kernel, "open", lambda *_: silence, create=True),
    ):
        # Of two kernels that start together and chose the same port, one dies: a second try.
        for _ in range(2):
            cells = _Cells()
            status = pytest.main(options, plugins=[cells])
            if not cells.died:
                break
    if not cells.ran:
        raise MutationError(f"{notebook} was not run: pytest ended with {status!r}")
    return cells.failed


#: Without plugins that belong to the run that is going on.
_OPTIONS = ["-pno:cacheprovider", "-pno:faulthandler", "-pno:xdist"]


class _Cells:
    """A plugin of pytest that notes which cells ran, and what those that failed report."""

    def __init__(self) -> None:
        self.ran: set[int] = set()
        self.failed: dict[int, str] = {}
        self.died = False

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        number = int(report.nodeid.rpartition("Cell ")[2])
        self.ran.add(number)
        if report.failed:
            self.failed[number] = report.longreprtext
            self.died |= "Kernel died before replying" in report.longreprtext
