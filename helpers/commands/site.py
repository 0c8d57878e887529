"""``python -m helpers site FOLDER``: a static site of the course, from its stored outputs.

Nothing is executed. `site_pages` and `site_errors` write the pages, Sphinx with MyST-NB and
the theme Furo makes HTML of them (https://myst-nb.readthedocs.io, https://pradyunsg.me/furo),
and every link and anchor in the result is looked up. Whatever is found wrong is listed, a
warning of Sphinx's too; then FOLDER stays as it was, and the exit status is 1.

The site needs no server and no network: its search, its fonts and its scripts are its own.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

from helpers.commands.site_errors import write_errors
from helpers.commands.site_pages import ROOT, Pages

#: A file of every site, by which a former site is known.
MARK = ".sqlite-under-threads"

#: Where a site may be made inside the course: Git ignores it.
INSIDE = "build"

NEEDED = ("sphinx", "myst_nb", "furo")

#: Attributes whose value is the address of something that belongs to the page.
_ADDRESSES = {"a": "href", "link": "href", "img": "src", "script": "src", "source": "src"}


class SiteError(Exception):
    """The site cannot be made; the message says what to do."""


@dataclass
class Page:
    """What a page of HTML refers to, and the anchors that it has.

    Attributes:
        links: addresses of other pages, as they are written.
        parts: addresses of what is loaded with the page.
        anchors: ids.
    """

    links: list[str] = field(default_factory=list)
    parts: list[str] = field(default_factory=list)
    anchors: set[str] = field(default_factory=set)


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.page = Page()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if name := values.get("id"):
            self.page.anchors.add(name)
        address = values.get(_ADDRESSES.get(tag, ""))
        if address:
            is_link = tag == "a" or values.get("rel") in ("next", "prev", "search", "index")
            (self.page.links if is_link else self.page.parts).append(address)


def read(path: Path) -> Page:
    """The links, parts and anchors of one page."""
    reader = _Reader()
    reader.feed(path.read_text(encoding="utf-8"))
    reader.close()
    return reader.page


def site(folder: Path, root: Path = ROOT) -> dict[str, int]:
    """Make the site; returns each page's weight in bytes, with all that is loaded with it.

    Args:
        folder: where to; empty, a former site, or not there yet.
        root: the course's folder.

    Raises:
        SiteError: if `folder` will not do, a package is missing, or anything is wrong with a
            page; `folder` is as it was then.
    """
    check_packages()
    check_folder(folder, root)
    with tempfile.TemporaryDirectory(prefix="site-", ignore_cleanup_errors=True) as scratch:
        sources, made = Path(scratch, "sources"), Path(scratch, "html")
        pages = Pages(root, sources)
        pages.write(write_errors)
        problems = pages.problems + _sphinx(sources, made)
        found = {path: read(path) for path in sorted(made.rglob("*.html"))}
        problems += broken(found, made)
        if problems:
            raise SiteError("\n".join([*problems, f"{len(problems)} problems: mend these first"]))
        weights = {path.relative_to(made).as_posix(): weight(path, page)
                   for path, page in found.items()}  # fmt: skip
        (made / MARK).touch()
        _replace(folder, made)
    return weights


def _replace(folder: Path, made: Path) -> None:
    """Put a new site into a folder, which itself stays: it may be mounted, or somebody's own."""
    for old in folder.iterdir() if folder.exists() else ():
        if old.is_dir():
            shutil.rmtree(old)
        else:
            old.unlink()
    shutil.copytree(made, folder, dirs_exist_ok=True)


def check_packages() -> None:
    """Raises `SiteError` if what makes the site is not installed."""
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise SiteError(
            f"not installed: {', '.join(missing)}; "
            'run "uv run --extra site python -m helpers site FOLDER", or pip install -e ".[site]"'
        )


def check_folder(folder: Path, root: Path = ROOT) -> None:
    """Raises `SiteError` if a site in `folder` would overwrite or mix with anything else."""
    place, root = folder.resolve(), root.resolve()
    if root.is_relative_to(place) or (
        place.is_relative_to(root) and not place.is_relative_to(root / INSIDE)
    ):
        raise SiteError(
            f"{folder} is among the course's own files: "
            f"name a folder in {INSIDE}/, such as {INSIDE}/site, or one outside the course"
        )
    if folder.exists() and not folder.is_dir():
        raise SiteError(f"{folder} is a file: name a folder")
    if folder.exists() and any(folder.iterdir()) and not (folder / MARK).exists():
        raise SiteError(
            f"{folder} holds files, and not a site of this course: "
            "empty it, or name a folder that is not there yet"
        )


def _sphinx(sources: Path, made: Path) -> list[str]:
    """Make the HTML; returns Sphinx's warnings and errors, a line each."""
    scratch = sources.parent
    log, doctrees = scratch / "warnings.log", scratch / "doctrees"
    options = ["-b", "html", "-W", "--keep-going", "-q", "-E", "-j", "auto"]
    places = ["-d", str(doctrees), "-w", str(log), str(sources), str(made)]
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", *options, *places],
        cwd=ROOT,
        # If it fails it keeps a log where temporary files are.
        env={**os.environ, "TMPDIR": str(scratch), "TEMP": str(scratch), "TMP": str(scratch)},
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        check=False,
    )
    text = log.read_text(encoding="utf-8") if log.exists() else ""
    if done.returncode and not text:
        text = done.stderr
    return [line.replace(str(sources), "") for line in text.splitlines() if line.strip()]


def broken(pages: dict[Path, Page], folder: Path) -> list[str]:
    """Links to what is not there, and whatever would be loaded from elsewhere.

    Args:
        pages: every page of the site.
        folder: the site.
    """
    found = []
    for path, page in pages.items():
        name = path.relative_to(folder).as_posix()
        found += [
            f"{name}: loads {part}, which is not in the site"
            for part in page.parts
            if urlsplit(part).scheme != "data" and not _local(path, part).is_file()
        ]
        for link in page.links:
            if urlsplit(link).scheme:
                continue
            target, anchor = _local(path, link), unquote(urlsplit(link).fragment)
            if not target.is_file():
                found.append(f"{name}: {link} leads nowhere")
            elif anchor and target in pages and anchor not in pages[target].anchors:
                found.append(f"{name}: {link} has no such anchor")
    return found


def _local(path: Path, address: str) -> Path:
    """The file that an address on a page stands for; one elsewhere is no file."""
    parts = urlsplit(address)
    if parts.scheme or parts.netloc:
        return Path(address)
    named = os.path.normpath(path.parent / unquote(parts.path))
    return Path(named) if parts.path else path


def weight(path: Path, page: Page) -> int:
    """Bytes of a page with everything that is loaded with it."""
    parts = {_local(path, part) for part in page.parts if urlsplit(part).scheme != "data"}
    return sum(part.stat().st_size for part in {path, *parts})


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Where to make the site."""
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="such as build/site")


def main(arguments: argparse.Namespace) -> int:
    """Make the site and say how large it is; returns 1 if it was not made."""
    folder = arguments.folder
    try:
        weights = site(folder)
    except (SiteError, OSError) as error:
        print(f"no site made: {error}", file=sys.stderr)
        return 1
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    largest = max(weights, key=lambda name: weights[name])
    print(
        f"{folder}: {len(weights)} pages, {size / 1e6:.1f} MB; the largest is {largest} "
        f"with {weights[largest] / 1e6:.2f} MB; open {folder / 'index.html'}"
    )
    return 0
