"""Make a learner's copy of the course, without outputs and answers, or reset a notebook in one.

    python -m helpers workshop FOLDER          # makes the copy, or brings it up to date
    python -m helpers workshop --reset 04      # in the copy: notebook 04 as it was

The copy is complete but for the solutions, the stored outputs, the tests and the teacher's guide;
links to these become plain text. It needs no git: `.workshop/` in it holds each notebook as it was,
and a digest of every other file. Work is never overwritten: if a cell or a file of an existing
copy was changed, nothing is written, and the files are named. A reset keeps the learner's version
beside the notebook as `04_lost_updates.mine-1.ipynb`. Outputs alone are no work.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent
#: Folders and files that the copy takes as they are.
PARTS = (
    "helpers", "data", "notebooks/applications", "binder", ".devcontainer", ".gitattributes",
    ".gitignore", "LICENSE", "environment.yml", "pyproject.toml",
)  # fmt: skip
#: Not these: made by runs, for those who write notebooks, or made anew here.
LEFT_OUT = re.compile(
    r"__pycache__|\.ipynb_checkpoints|\.pyc$|\.part$|~$|\.DS_Store|/template\w*\."
)
NOTES, MANIFEST = ".workshop", "files.json"
NOTEBOOK = re.compile(r"notebooks/(\d\d)_[a-z0-9_]+\.ipynb")
#: A Markdown link, but no image, to a place in the course: its text and the place.
_LINK = re.compile(r"(?<!!)\[((?:[^\[\]]|\[[^\]]*\])*)\]\((?![a-z]+:|#)([^)#\s]+)(?:#[^)\s]*)?\)")
#: Lines of prose that lead to answers, or that are for the teacher, and what stands there instead.
_ANSWERS = re.compile(r"^.*\]\(solutions/.*$", re.MULTILINE), "Your teacher has worked answers."
_TEACHERS = re.compile(r"^.*\]\(teaching\.md.*\n\n?", re.MULTILINE), ""

README = """\
# SQLite under threads: your copy

Notebooks in which you break programs that use one SQLite database from several threads, see why
they broke, repair them, and prove the repair. Change every cell as you like.

## Start

Install [uv](https://docs.astral.sh/uv/getting-started/installation/). In the folder of this file:

```bash
{start}
```

This sets everything up and opens the first notebook. With conda: `conda env create -f
environment.yml`, then `conda activate sqlite-under-threads`, then the same line from `jupyter` on.
With pip, in an environment of its own: `pip install -e ".[web,cluster]"`, then the same.

The day before a workshop, `uv run python -m helpers doctor` says what is missing and names the
command that installs it.

## A notebook as it was

Close notebook 04 in JupyterLab. In a terminal, in this folder (without uv, leave out `uv run`):

```bash
uv run python -m helpers workshop --reset 04
```

What you wrote stays beside it, as `04_lost_updates.mine-1.ipynb`.
"""


class WorkshopError(Exception):
    """Nothing was written; the message says why, and what to do."""


def make(folder: Path, root: Path = ROOT) -> int:
    """Write a learner's copy into a folder, which is made; returns how many files it has.

    Args:
        folder: new, empty, or an earlier copy, which is brought up to date.
        root: the course.

    Raises:
        WorkshopError: if the folder is none of that, or holds work that would be overwritten.
    """
    folder, root = folder.resolve(), root.resolve()
    if (root / NOTES).exists():
        raise WorkshopError(f"{root} is itself a learner's copy: make another from the course")
    own = {root / part for part in (*PARTS, "notebooks", "tests")}
    if folder in (root, *root.parents) or own & {folder, *folder.parents}:
        raise WorkshopError(f"{folder} belongs to the course: give another folder")
    files = contents(root)
    if folder.exists():
        _refuse_to_overwrite(folder, files)
    digests = {name: _digest(content) for name, content in files.items()}
    manifest = folder / NOTES / MANIFEST
    if not manifest.exists():
        _write(manifest, b"{}")
    # In this order, a copy that was interrupted can be made again.
    for name, content in files.items():
        _write(folder / name, content)
        if NOTEBOOK.fullmatch(name):
            _write(folder / NOTES / name, content)
    _write(manifest, json.dumps(digests, indent=1, sort_keys=True).encode())
    return len(files)


def reset(folder: Path, number: str) -> str:
    """Put a notebook of a learner's copy back as it was; returns what was done, in words.

    Args:
        folder: the copy, or a folder in it.
        number: two digits, as in the notebook's name.

    Raises:
        WorkshopError: if it is no copy, or no notebook has that number.
    """
    copy = next((place for place in _upwards(folder) if (place / NOTES / MANIFEST).exists()), None)
    if copy is None:
        raise WorkshopError(
            f"{folder.resolve()} is not in a learner's copy: give the copy's folder before --reset"
        )
    known = {path.name[:2]: path for path in sorted((copy / NOTES / "notebooks").glob("*.ipynb"))}
    if number not in known:
        raise WorkshopError(f"there is no notebook {number!r}: give one of {', '.join(known)}")
    original = known[number].read_bytes()
    path = copy / "notebooks" / known[number].name
    if not path.exists():
        said = f"{path.name} was missing, and is back"
    elif path.read_bytes() == original:
        return f"{path.name} is as it was: nothing to do"
    elif not _is_work(path.read_bytes(), original):
        said = f"{path.name} had no change in its cells; its outputs are gone"
    else:
        said = f"{path.name} is as it was; yours is now {_keep(path).name}"
    _write(path, original)
    return said


def contents(root: Path) -> dict[str, bytes]:
    """Every file of a learner's copy, by its path with slashes."""
    files = {}
    for part in PARTS:
        place = root / part
        for path in sorted(place.rglob("*")) if place.is_dir() else [place]:
            name = path.relative_to(root).as_posix()
            if path.is_file() and not LEFT_OUT.search(name):
                files[name] = path.read_bytes()
    readme = (root / "README.md").read_text(encoding="utf-8")
    start = readme.partition("```bash\n")[2].partition("```")[0].strip()
    files["README.md"] = README.format(start=start).encode()
    terms = (root / "CONTRIBUTING.md").read_text(encoding="utf-8").partition("## Glossary\n")[2]
    notebooks = {
        path.relative_to(root).as_posix(): json.loads(path.read_text(encoding="utf-8"))
        for path in sorted((root / "notebooks").glob("[0-9][0-9]_*.ipynb"))
    }
    names = {*files, *notebooks, "CONTRIBUTING.md"}
    for name, notebook in notebooks.items():
        files[name] = _for_learners(notebook, lambda text: _linked(text, "notebooks", names))
    # The notebooks link to its terms, under this name.
    files["CONTRIBUTING.md"] = _linked(f"## Glossary\n{terms}", ".", names).encode()
    return files


def _for_learners(notebook: Any, linked: Callable[[str], str]) -> bytes:
    """A notebook that nobody has run yet."""
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            cell["outputs"], cell["execution_count"] = [], None
        elif cell["cell_type"] == "markdown":
            text = "".join(cell["source"])
            for pattern, instead in (_ANSWERS, _TEACHERS):
                text = pattern.sub(instead, text)
            cell["source"] = linked(text).splitlines(keepends=True)
    notebook["metadata"].pop("sqlite_under_threads", None)  # of the outputs: see `changes`
    return (json.dumps(notebook, indent=1, ensure_ascii=False) + "\n").encode()


def _linked(text: str, folder: str, names: set[str]) -> str:
    """A text whose links to files that the copy lacks are plain text."""

    def keep(match: re.Match[str]) -> str:
        target = _joined(folder, match[2])
        there = target in names or any(name.startswith(f"{target}/") for name in names)
        return match[0] if there else match[1]

    return _LINK.sub(keep, text)


def _joined(folder: str, link: str) -> str:
    parts: list[str] = []
    for part in PurePosixPath(folder, link).parts:
        if part == "..":
            parts = parts[:-1]
        else:
            parts.append(part)
    return "/".join(parts)


def _refuse_to_overwrite(folder: Path, files: dict[str, bytes]) -> None:
    """Raise unless each file that would be overwritten is as an earlier copy made it."""
    manifest = folder / NOTES / MANIFEST
    if not manifest.exists():
        if folder.is_dir() and not any(folder.iterdir()):
            return
        raise WorkshopError(f"{folder} is not empty, and no learner's copy: give a new folder")
    made = json.loads(manifest.read_text(encoding="utf-8"))
    changed = [name for name in files if _was_changed(folder, name, made, files[name])]
    if changed:
        lines = "\n".join(f"  {name}" for name in changed)
        raise WorkshopError(
            f"{folder} holds work, and was left as it is. Changed:\n{lines}\n"
            "Give a new folder, or move these away; --reset NN keeps a notebook under another name."
        )


def _was_changed(folder: Path, name: str, made: dict[str, str], coming: bytes) -> bool:
    path = folder / name
    if not path.exists():
        return False
    content = path.read_bytes()
    if _digest(content) in (made.get(name), _digest(coming)):
        return False
    original = folder / NOTES / name
    return not (original.exists() and not _is_work(content, original.read_bytes()))


def _is_work(content: bytes, original: bytes) -> bool:
    """Whether a notebook's cells differ from the original's, in more than their outputs."""
    try:
        return _cells(content) != _cells(original)
    except (ValueError, KeyError, TypeError):
        return True  # no notebook any more: somebody's, whatever it is


def _cells(content: bytes) -> list[Any]:
    cells = json.loads(content)["cells"]
    return [
        (cell["cell_type"], "".join(cell["source"]), cell.get("attachments") or {})
        for cell in cells
        # JupyterLab may add an empty cell at the end.
        if cell["source"] or cell is not cells[-1]
    ]


def _keep(path: Path) -> Path:
    """A second copy of a learner's notebook, under the first free name."""
    for number in range(1, 1000):
        mine = path.with_name(f"{path.stem}.mine-{number}.ipynb")
        try:
            with mine.open("xb") as file:
                file.write(path.read_bytes())
        except FileExistsError:
            continue
        return mine
    raise WorkshopError(f"{path.parent} holds 999 versions of {path.name}: move them away")


def _write(path: Path, content: bytes) -> None:
    """Written beside it and then moved: an interruption leaves the old file whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.write_bytes(content)
    part.replace(path)


def _digest(content: bytes) -> str:
    """Of the text: git on Windows may have changed its line ends."""
    return hashlib.sha256(content.replace(b"\r\n", b"\n")).hexdigest()


def _upwards(folder: Path) -> Iterator[Path]:
    yield folder.resolve()
    yield from folder.resolve().parents


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Where the copy is, or is to be, and what to reset."""
    parser.add_argument("folder", nargs="?", type=Path, metavar="FOLDER", help="the learner's copy")
    parser.add_argument(
        "--reset", action="append", metavar="NN", help="a notebook to put back as it was"
    )


def main(arguments: argparse.Namespace) -> int:
    """Make a copy, or reset notebooks; returns 1 if something could not be done."""
    try:
        if arguments.reset:
            _reset_all(arguments.folder or Path.cwd(), arguments.reset)
        elif arguments.folder:
            count = make(arguments.folder)
            print(f"{arguments.folder}: a learner's copy of {count} files. Its README says more.")
        else:
            raise WorkshopError("give the folder for the learner's copy, or --reset NN in one")
    except (WorkshopError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _reset_all(folder: Path, numbers: Sequence[str]) -> None:
    for number in numbers:
        print(f"{reset(folder, number)}.")
    print("In JupyterLab: File > Reload Notebook from Disk, where it is still open.")
