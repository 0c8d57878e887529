"""Run notebooks again, top to bottom, and store their outputs the same way every time.

``python -m helpers refresh notebooks/01_one_connection_many_threads.ipynb`` runs every
cell in a fresh kernel of this Python and writes the notebook back with execution counts
1..n and nothing in it that differs from run to run or tells of the machine:

- no timestamps, no Python patch version; the kernel is always ``python3``;
- no widget ids (a stored notebook shows a widget's text; nbval ignores the ids);
- what ``tests/sanitize.cfg`` replaces before comparing is stored replaced;
- tracebacks without colours, their paths relative to the course or to ``site-packages``;
- of the same code, the same pictures, tracebacks and outputs that are not compared: see `changes`.

So a second run changes not one byte. What did change is said in words.

A notebook is written only if it ran to its end. It stays as it was when a cell raises without
the tag ``raises-exception``, when a cell with that tag does not raise, and when a cell takes
longer than `TIMEOUT` seconds; the exit status is 1 then.
"""

from __future__ import annotations

import argparse
import copy
import glob
import os
import re
import sys
import sysconfig
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbval.plugin import get_sanitize_patterns

from helpers.commands import changes
from helpers.display.progress import WIDGET_VIEW

ROOT = Path(__file__).resolve().parent.parent.parent
SANITIZE = ROOT / "tests" / "sanitize.cfg"

#: Seconds that one cell may take; the tests allow as much (``--nbval-cell-timeout``).
TIMEOUT = 180

RAISES = "raises-exception"
METADATA = {
    "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
    "language_info": {
        "codemirror_mode": {"name": "ipython", "version": 3},
        "file_extension": ".py",
        "mimetype": "text/x-python",
        "name": "python",
        "nbconvert_exporter": "python",
        "pygments_lexer": "ipython3",
    },
}
#: What else a cell's metadata may keep.
CELL_METADATA = ("tags", "jupyter", "slideshow")

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


class RefreshError(Exception):
    """A notebook did not run as its tags say; the message names the cell."""


@dataclass(frozen=True)
class Refreshed:
    """How many code cells ran, and what changed, in lines of words; none if nothing did."""

    cells: int
    changes: list[str]


def refresh(path: str | os.PathLike[str], *, redraw: bool = False) -> Refreshed:
    """Run one notebook and write it back in place, if anything in it changed.

    Args:
        path: an `.ipynb` file. The kernel works in the file's folder.
        redraw: store every picture and timing anew, also those of the same code.

    Raises:
        RefreshError: if it does not run to its end as tagged; the file is untouched then.
        OSError, nbformat.reader.NotJSONError: if `path` is no notebook.
    """
    path = Path(path)
    notebook = nbformat.read(path, as_version=4)
    old = copy.deepcopy(notebook)
    execute(notebook, path.parent)
    tidy(notebook, sanitizer())
    notebook.metadata[changes.KEY] = {changes.DIGEST: changes.digest(notebook, ROOT)}
    if not redraw:
        changes.keep(old, notebook)
    text = f"{nbformat.writes(notebook)}\n".encode()
    said = changes.told(old, notebook)
    if text != path.read_bytes():
        # Written beside it and then moved: an interruption leaves the old file whole.
        part = path.with_name(path.name + ".part")
        part.write_bytes(text)
        part.replace(path)
        said = said or ["the file's layout"]
    return Refreshed(sum(cell.cell_type == "code" for cell in notebook.cells), said)


def execute(notebook: nbformat.NotebookNode, folder: Path) -> None:
    """Run all cells in a fresh kernel of this Python, filling in their outputs.

    Raises:
        RefreshError: see `refresh`.
    """
    client = NotebookClient(
        notebook,
        timeout=TIMEOUT,
        record_timing=False,
        store_widget_state=False,
        coalesce_streams=True,
        # It warns that its messages are not encrypted, on one machine.
        extra_arguments=["--log-level=ERROR"],
        resources={"metadata": {"path": str(folder)}},
    )
    manager = client.create_kernel_manager()
    # The kernel named python3 may be another interpreter, installed by the user long ago.
    if manager.kernel_spec is not None:
        manager.kernel_spec.argv[0] = sys.executable
    # Started from a notebook, it must not take itself for that one: its reader's progress is kept.
    alone = {name: value for name, value in os.environ.items() if name != "JPY_SESSION_NAME"}
    try:
        client.execute(env=alone)
    except CellExecutionError as error:
        raise RefreshError(f"{_raised_in(notebook)}: {error.ename}: {error.evalue}") from error
    except CellTimeoutError as error:
        raise RefreshError(f"a cell took longer than {TIMEOUT} s") from error
    except DeadKernelError as error:
        raise RefreshError("the kernel died") from error
    for number, cell in enumerate(_code_cells(notebook), 1):
        if RAISES in cell.metadata.get("tags", []) and not _error(cell):
            raise RefreshError(f"code cell {number} is tagged {RAISES} but did not raise")


def tidy(notebook: nbformat.NotebookNode, sanitize: Callable[[str], str]) -> None:
    """Remove from an executed notebook what differs from run to run or tells of the machine.

    Args:
        notebook: changed in place.
        sanitize: applied to every text of the outputs, see `sanitizer`.
    """
    notebook.metadata = nbformat.from_dict(METADATA)
    for cell in notebook.cells:
        kept = {key: cell.metadata[key] for key in CELL_METADATA if cell.metadata.get(key)}
        cell.metadata = nbformat.from_dict(kept)
    for cell in _code_cells(notebook):
        for output in cell.outputs:
            _tidy_output(output, sanitize)
        # A progress bar is a widget and nothing else.
        cell.outputs = [output for output in cell.outputs if output.get("data", True)]


def sanitizer(file: Path = SANITIZE) -> Callable[[str], str]:
    """The replacements of a file for ``nbval --nbval-sanitize-with``, as one function."""
    patterns = get_sanitize_patterns(file.read_text(encoding="ascii"))

    def sanitize(text: str) -> str:
        for pattern, replacement in patterns:
            text = re.sub(pattern, replacement, text)
        return text

    return sanitize


def shorten(traceback: str) -> str:
    """A traceback's text without colours and without the folders of this machine."""
    text = _COLOUR.sub("", traceback)
    for folder, shown in _folders():
        text = text.replace(folder + os.sep, shown)
    return text


def _folders() -> list[tuple[str, str]]:
    """Folders and what is shown instead, the longest first; IPython writes the home as ``~``."""
    places = {str(ROOT): ""}
    for scheme in ("purelib", "platlib"):
        places[sysconfig.get_path(scheme)] = "site-packages/"
    for scheme in ("stdlib", "platstdlib"):
        places[sysconfig.get_path(scheme)] = "python/"
    home = str(Path.home())
    for folder in list(places):
        if folder.startswith(home + os.sep):
            places["~" + folder.removeprefix(home)] = places[folder]
    return sorted(places.items(), key=lambda place: -len(place[0]))


def _tidy_output(output: Any, sanitize: Callable[[str], str]) -> None:
    if output.output_type == "stream":
        output.text = sanitize(output.text)
    elif output.output_type == "error":
        output.evalue = sanitize(output.evalue)
        output.traceback = [sanitize(shorten(part)) for part in output.traceback]
    else:
        output.data.pop(WIDGET_VIEW, None)
        for kind in [kind for kind in output.data if kind.startswith("text/")]:
            output.data[kind] = sanitize(output.data[kind])


def _code_cells(notebook: nbformat.NotebookNode) -> list[Any]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def _error(cell: Any) -> bool:
    return any(output.output_type == "error" for output in cell.outputs)


def _raised_in(notebook: nbformat.NotebookNode) -> str:
    """The first code cell whose error no tag announces, in words."""
    for number, cell in enumerate(_code_cells(notebook), 1):
        if _error(cell) and RAISES not in cell.metadata.get("tags", []):
            return f"code cell {number} raised"
    return "a cell raised"


def _expand(patterns: Iterable[str]) -> list[str]:
    """Paths as given, with wildcards expanded: Windows shells leave that to programs."""
    return [path for pattern in patterns for path in sorted(glob.glob(pattern)) or [pattern]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The notebooks to run."""
    parser.add_argument("notebooks", nargs="+", metavar="NOTEBOOK", help="an .ipynb file")
    parser.add_argument(
        "--redraw", action="store_true", help="store pictures and timings of the same code anew"
    )


def main(arguments: argparse.Namespace) -> int:
    """Refresh every notebook named; returns 1 if one of them was left as it was."""
    status = 0
    for name in _expand(arguments.notebooks):
        start = time.perf_counter()
        try:
            done = refresh(name, redraw=arguments.redraw)
        except (RefreshError, OSError, nbformat.reader.NotJSONError) as error:
            print(f"{name}: left as it was: {error}", file=sys.stderr)
            status = 1
        else:
            end = "changed:" if done.changes else "nothing changed"
            seconds = time.perf_counter() - start
            print(f"{name}: {done.cells} code cells in {seconds:.1f} s, {end}")
            for line in done.changes:
                print(f"  {line}")
    return status
