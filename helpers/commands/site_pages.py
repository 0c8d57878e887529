"""The pages of the site, in Markdown and as notebooks, for Sphinx.

`Pages` writes them into a folder that is laid out as the course is, so that a link between
two pages stays as it is. A link to any other file gets a page that shows the file; what a
stored output holds is turned into what a page can show: a figure with alternative text,
a table, a text, and for a widget what it says and where it is live.
"""

from __future__ import annotations

import base64
import html
import json
import posixpath
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import nbformat

ROOT = Path(__file__).resolve().parent.parent.parent

README, CONTRIBUTING, GLOSSARY = "README.md", "CONTRIBUTING.md", "glossary.md"

#: Suffix -> how a page shows a file's text; others are shown as plain text.
LANGUAGES = {".py": "python", ".toml": "toml", ".json": "json", ".md": "markdown", ".sql": "sql"}

#: Suffixes of files that are copied and linked to as they are.
PICTURES = (".png", ".svg")

_CODE = re.compile(r"(^```.*?^```|^~~~.*?^~~~|`+[^`\n]+`+)", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_CHOICES = re.compile(r"[^\n]+(\n {2}\S+ {2}[^\n]+){2,}")

#: What a cell calls -> where the widget is live, and what it does there, as HTML.
WIDGETS = {
    "predict(": "Live in JupyterLab: choose there before you read on, and your answer is kept.",
    "SchedulerGame(": (
        "Live in JupyterLab: there you see each thread's code, and buttons take one step, "
        "undo it, begin again, and show the worst schedule."
    ),
    "look_up(": (
        "Live in JupyterLab: a field takes the text, a button answers. "
        'Without it: <a href="../errors/index.html">all errors</a>.'
    ),
    "Lab(": "Live in JupyterLab and Voila: runs are drawn and listed as they are made.",
}

#: What a cell calls -> a picture of such a widget in use (`data/site`), and its alternative text.
SEEN = {
    "SchedulerGame(": (
        "game.png",
        "The code of two threads side by side, each with its next step marked; a button for "
        "each thread, Undo, Reset and Show me the worst; below, a table of the steps so far.",
    ),
    "Lab(": (
        "lab.png",
        "Ten choices from the strategy to the seconds, the buttons Run and Stop, a table of the "
        "runs so far, and bars of what each thread did and of what is stored.",
    ),
}

_WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"


def slug(title: str) -> str:
    """The anchor of a heading, as GitHub forms it; also what JupyterLab's becomes here.

    JupyterLab only replaces blanks by hyphens, so its anchors end as GitHub's do.
    """
    return re.sub(r"[^\w\- ]", "", title.strip().lower()).replace(" ", "-")


def escape(text: str) -> str:
    """Any text as Markdown that shows it unchanged, on one line."""
    return re.sub(r"([!-/:-@\[-`{-~])", r"\\\1", " ".join(text.split()))


class Pages:
    """The pages, written one by one; `problems` tells what cannot be shown or linked to.

    Args:
        root: the course's folder.
        folder: where to write; it is made.
    """

    def __init__(self, root: Path, folder: Path) -> None:
        self.root, self.folder = root, folder
        self.problems: list[str] = []
        self._files: set[str] = set()
        self._guides = [f"notebooks/{path.name}" for path in sorted(root.glob("notebooks/*.md"))]
        text = (root / CONTRIBUTING).read_text(encoding="utf-8")
        self.contributing, _, glossary = text.partition("\n## Glossary\n")
        self.glossary = re.sub(r"^####", "##", glossary, flags=re.MULTILINE)
        self._terms = {slug(term) for term in re.findall(r"^## (.+)", self.glossary, re.MULTILINE)}

    def write(self, errors: Callable[[Pages], None]) -> None:
        """Write all pages.

        Args:
            errors: writes the catalogue's pages, with `put`.
        """
        shutil.copytree(self.root / "data" / "site", self.folder / "_static")
        (self.folder / "_static" / "conf.py").replace(self.folder / "conf.py")
        notebooks = sorted(path.stem for path in (self.root / "notebooks").glob("[0-9]*.ipynb"))
        solutions = [name for name in notebooks if self._solution(name).exists()]
        for name in notebooks:
            self._notebook(f"notebooks/{name}.ipynb")
        for name in solutions:
            self._notebook(f"notebooks/solutions/{name}.ipynb")
        for name in self._guides:
            self.put(name, self.linked((self.root / name).read_text(encoding="utf-8"), name))
        readme = (self.root / README).read_text(encoding="utf-8")
        tree = [
            _toctree(["errors/index", "glossary"], "Look it up"),
            _toctree([f"notebooks/{name}" for name in notebooks], "The course"),
            _toctree(["notebooks/solutions/index", *self._guides, "CONTRIBUTING"], "More"),
        ]
        self.put("index.md", self.linked(readme, README) + "\n".join(tree))
        self.put(
            "notebooks/solutions/index.md",
            "# Solutions\n\nTry each exercise before you read on.\n" + _toctree(solutions),
        )
        ending = "\n## Glossary\n\nThe terms have [a page of their own](glossary.md).\n"
        self.put(CONTRIBUTING, self.linked(self.contributing, CONTRIBUTING) + ending)
        self.put(GLOSSARY, "# Glossary\n" + self.linked(self.glossary, CONTRIBUTING))
        errors(self)
        self._show_files()

    def put(self, name: str, text: str) -> None:
        """Write one page's Markdown."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", newline="\n")

    def linked(self, text: str, page: str) -> str:
        """Markdown of one file of the course with links as the site needs them.

        Args:
            text: the Markdown; code in it stays as it is.
            page: the file's name in the course.
        """
        parts = _CODE.split(text)
        for number in range(0, len(parts), 2):
            parts[number] = _LINK.sub(
                lambda link: f"]({self.target(link[1], page)})", parts[number]
            )
        return "".join(parts)

    def target(self, link: str, page: str) -> str:
        """Where a link of a file of the course leads in the site."""
        if re.match(r"[a-z]+:", link):
            return link
        path, _, anchor = unquote(link).partition("#")
        name = posixpath.normpath(posixpath.join(posixpath.dirname(page), path)) if path else page
        anchor = f"#{slug(anchor)}" if anchor else ""
        if name == CONTRIBUTING and anchor[1:] in {*self._terms, "glossary"}:
            name, anchor = GLOSSARY, anchor if anchor[1:] in self._terms else ""
        elif not (self.root / name).exists():
            self.problems.append(f"{page}: {link} leads nowhere")
            return link
        elif name == README:
            name = "index.md"
        elif name not in (CONTRIBUTING, *self._guides) and not name.endswith((".ipynb", *PICTURES)):
            self._files.add(name)
            name = f"files/{name}/index.md" if (self.root / name).is_dir() else f"files/{name}.md"
        elif name.endswith(PICTURES):
            self._copy(name)
        return posixpath.relpath(name, posixpath.dirname(page) or ".") + anchor

    def _copy(self, name: str) -> None:
        (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(self.root / name, self.folder / name)

    def _solution(self, name: str) -> Path:
        return self.root / "notebooks" / "solutions" / f"{name}.ipynb"

    # -- notebooks ---------------------------------------------------------------------------

    def _notebook(self, name: str) -> None:
        notebook = nbformat.read(self.root / name, as_version=4)
        for number, cell in enumerate(notebook.cells):
            if cell.cell_type == "markdown":
                cell.source = self.linked(cell.source, name)
            elif cell.cell_type == "code":
                shown = (self._output(output, cell.source, name) for output in cell.outputs)
                cell.outputs = [output for output in shown if output]
                for place, output in enumerate(cell.outputs):
                    self._figure(output, name, f"{number}-{place}")
        self.put(name, nbformat.writes(notebook))

    def _output(self, output: Any, source: str, name: str) -> Any:
        """An output with the one form that the page shows; None if there is nothing to show."""
        if "data" not in output:
            return output
        data = output.data
        data.pop(_WIDGET_VIEW, None)
        text = data.get("text/plain", "")
        if "text/html" in data:
            shown = {"text/html": self._page_links(data["text/html"], name)}
        elif "image/png" in data:
            if not text.strip():
                self.problems.append(f"{name}: a figure has no alternative text")
            return output
        elif "text/markdown" in data:
            shown = {"text/markdown": self.linked(data["text/markdown"], name)}
        elif call := _live(source, text):
            shown = {"text/html": _static(text, call)}
        else:
            shown = {"text/plain": text}
        output.data = nbformat.from_dict(shown)
        return output if any(shown.values()) else None

    def _figure(self, output: Any, name: str, number: str) -> None:
        """Put an image into a file, and its alternative text where a reader's software looks."""
        data = output.get("data", {})
        if "image/png" not in data:
            return
        image = f"figures/{posixpath.splitext(name)[0].replace('/', '-')}-{number}.png"
        path = self.folder / image
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(base64.b64decode(data["image/png"]))
        link = posixpath.relpath(image, posixpath.dirname(name))
        shown = {"text/markdown": f"![{escape(data.get('text/plain', ''))}]({link})"}
        output.data, output.metadata = nbformat.from_dict(shown), nbformat.from_dict({})

    def _page_links(self, text: str, name: str) -> str:
        """Links in HTML go past Sphinx, so they name the page itself."""

        def replace(found: re.Match[str]) -> str:
            target = self.target(html.unescape(found[1]), name)
            return f'href="{html.escape(re.sub(r"[.](md|ipynb)(?=#|$)", ".html", target))}"'

        return re.sub(r'href="([^"]+)"', replace, text)

    # -- files -------------------------------------------------------------------------------

    def _show_files(self) -> None:
        """A page for every file that is linked to; for a folder a page that lists its files."""
        for name in sorted(self._files):
            if (self.root / name).is_dir():
                inside = sorted(path.name for path in _inside(self.root / name))
                self._files.update(f"{name}/{one}" for one in inside)
                items = "\n".join(f"- [{escape(one)}]({one}.md)" for one in inside)
                self.put(f"files/{name}/index.md", f"---\norphan: true\n---\n# {name}\n\n{items}\n")
        for name in sorted(name for name in self._files if (self.root / name).is_file()):
            language = LANGUAGES.get(Path(name).suffix, "text")
            text = (self.root / name).read_text(encoding="utf-8")
            code = f"``````{language}\n{text.rstrip()}\n``````\n"
            self.put(f"files/{name}.md", f"---\norphan: true\n---\n# {escape(name)}\n\n{code}")


def _inside(folder: Path) -> Iterator[Path]:
    return (path for path in folder.iterdir() if path.is_file() and path.suffix != ".pyc")


def _live(source: str, text: str) -> str:
    """What a cell calls that shows a widget, a key of `WIDGETS`; empty for other texts."""
    for call in WIDGETS:
        if call in source and (call != "predict(" or _CHOICES.fullmatch(text)):
            return call
    return ""


def _static(text: str, call: str) -> str:
    """A widget on paper: what it says, its choices as a list, where it is live, a picture."""
    first, *others = text.split("\n")
    lines = [f"<p><b>{html.escape(first)}</b></p>"]
    if _CHOICES.fullmatch(text):
        choices = [line.strip().partition("  ") for line in others]
        items = "".join(f"<li>{html.escape(f'{a} · {b}')}</li>" for a, _, b in choices)
        lines.append(f"<ul>{items}</ul>")
    else:
        lines += [f"<p>{html.escape(line)}</p>" for line in others]
    lines.append(f'<p class="live">{WIDGETS[call]}</p>')
    if call in SEEN:
        name, alt = SEEN[call]
        image = f'<img src="../_static/{name}" alt="{html.escape(alt)}">'
        lines.append(f"<details><summary>One in use</summary>{image}</details>")
    return f'<div class="widget">{"".join(lines)}</div>'


def _toctree(pages: list[str], caption: str = "") -> str:
    options = f":caption: {caption}\n:hidden:\n" if caption else ""
    return "\n```{toctree}\n" + options + "\n".join(["", *pages]) + "\n```\n"


def quoted(text: str) -> str:
    """A text for a page's front matter."""
    return json.dumps(text, ensure_ascii=False)
