"""What a refresh keeps of the outputs that were stored, and what it changed, in words.

A picture of a load run, a timing, a traceback differ from run to run, and nbval compares none of
them (a picture's alternative text it does). Such outputs stay as they were stored as long as they
are of the same code: a digest in the notebook's metadata stands for the code of its cells, of
`helpers` and of `notebooks/applications`, and for `data`. So what is stored was always seen in a
run of this code, not necessarily in the last one; versions of packages are not in the digest.
``refresh --redraw`` keeps nothing.
"""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

#: Where a notebook's metadata hold the digest.
KEY, DIGEST = "sqlite_under_threads", "code"
IGNORED = "nbval-ignore-output"
PARTS = (
    "helpers/**/*.py",
    "notebooks/applications/*.py",
    "data/*.csv",
    "data/*.json",
    "data/*.toml",
)
#: Lines of a cell's difference that are shown, and characters of each.
SHOWN, WIDTH = 6, 100
_PICTURE = "image/png"


def digest(notebook: Any, root: Path) -> str:
    """Sixteen hexadecimal digits that stand for the code of a notebook and for what it imports.

    Args:
        notebook: its code cells count, by their sources.
        root: the course's folder.
    """
    code = hashlib.sha256()
    for cell in notebook.cells:
        if cell.cell_type == "code":
            code.update(cell.source.encode() + b"\0")
    for part in PARTS:
        for path in sorted(root.glob(part)):
            # Windows may have other line ends.
            text = path.read_bytes().replace(b"\r\n", b"\n")
            code.update(path.relative_to(root).as_posix().encode() + b"\0" + text + b"\0")
    return code.hexdigest()[:16]


def keep(old: Any, new: Any) -> None:
    """Give a notebook that ran the outputs that nbval does not compare, if the code is the same.

    Args:
        old: as it was stored.
        new: the same notebook after a run, with the digest in its metadata; changed in place.
    """
    if _digest(old) != _digest(new):
        return
    for before, after in zip(_code(old), _code(new), strict=True):
        if IGNORED in after.metadata.get("tags", []):
            after.outputs = before.outputs or after.outputs
        elif len(before.outputs) == len(after.outputs):
            for stored, output in zip(before.outputs, after.outputs, strict=True):
                _keep_one(stored, output)


def told(old: Any, new: Any) -> list[str]:
    """What differs between a notebook as it was stored and after a refresh, a line for each thing.

    Cells keep their places: a refresh changes outputs, counts and metadata only.
    """
    lines = []
    for number, (before, after) in enumerate(zip(_code(old), _code(new), strict=True), 1):
        what, shown = _lines_told(_text(before), _text(after))
        what += [word for word, part in _PARTS.items() if part(before) != part(after)]
        if what:
            lines += [f"code cell {number}: {', '.join(what)}", *shown]
    kept = [[cell.metadata for cell in notebook.cells] for notebook in (old, new)]
    if old.metadata != new.metadata or kept[0] != kept[1]:
        lines.append("metadata")
    return lines


def _digest(notebook: Any) -> Any:
    return notebook.metadata.get(KEY, {}).get(DIGEST)


def _code(notebook: Any) -> list[Any]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def _keep_one(stored: Any, output: Any) -> None:
    if stored.output_type != output.output_type:
        return
    if output.output_type == "error":
        if (stored.ename, stored.evalue) == (output.ename, output.evalue):
            output.traceback = stored.traceback
    elif _PICTURE in output.get("data", {}):
        texts = [
            {kind: text for kind, text in one.data.items() if kind != _PICTURE}
            for one in (stored, output)
        ]
        if texts[0] == texts[1]:
            output.data[_PICTURE] = stored.data.get(_PICTURE, output.data[_PICTURE])


def _text(cell: Any) -> list[str]:
    """The lines that a reader of the outputs' plain text sees."""
    texts = [
        one.get("text") or one.get("evalue") or one.get("data", {}).get("text/plain", "")
        for one in cell.outputs
    ]
    return [line for text in texts for line in text.splitlines()]


def _of_kind(kind: str, cell: Any) -> list[Any]:
    return [one.data[kind] for one in cell.outputs if kind in one.get("data", {})]


def _others(cell: Any) -> list[Any]:
    """What the other parts do not name: HTML, widgets, the types of the outputs."""
    seen = ("text/plain", _PICTURE)
    return [
        (one.output_type, {k: v for k, v in one.get("data", {}).items() if k not in seen})
        for one in cell.outputs
    ]


#: What else may differ, and how to find it in a cell.
_PARTS: dict[str, Callable[[Any], Any]] = {
    "another picture": lambda cell: _of_kind(_PICTURE, cell),
    "another traceback": lambda cell: [one.traceback for one in cell.outputs if "traceback" in one],
    "other HTML": _others,
    "another number": lambda cell: cell.execution_count,
}


def _lines_told(before: list[str], after: list[str]) -> tuple[list[str], list[str]]:
    """How many output lines were changed, added and removed, and some of them."""
    counts = {"changed": 0, "added": 0, "removed": 0}
    matcher = difflib.SequenceMatcher(None, before, after, autojunk=False)
    shown: list[str] = []
    for word, start, end, first, last in matcher.get_opcodes():
        if word != "equal":
            gone, come = end - start, last - first
            both = min(gone, come)
            counts["changed"] += both
            counts["removed"] += gone - both
            counts["added"] += come - both
            shown += [f"  - {line[:WIDTH]}" for line in before[start:end]]
            shown += [f"  + {line[:WIDTH]}" for line in after[first:last]]
    what = [f"{_lines(count)} {word}" for word, count in counts.items() if count]
    return what, list(_first(shown))


def _lines(count: int) -> str:
    return f"{count} output line{'s' * (count != 1)}"


def _first(lines: list[str]) -> Iterator[str]:
    yield from lines[:SHOWN]
    if len(lines) > SHOWN:
        yield f"  … and {len(lines) - SHOWN} more"
