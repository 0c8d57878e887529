"""The site's pages about errors: one for each cause that the catalogue knows, and the list.

A page's title is the message itself, so that a search for the message finds it. Where
several causes share a message, the title goes on with the cause's own name, and the page
says what tells them apart.
"""

from __future__ import annotations

import functools
import re
from collections import Counter
from pathlib import Path

import nbformat

from helpers.commands.site_pages import Pages, escape, quoted, slug
from helpers.failures import FAILURES, QUESTIONS
from helpers.failures.symptoms import Diagnosis, Entry, Match, entries

INTRODUCTION = """# Errors and their causes

Each message has a page with the cause, the fix, and the notebook that shows both. Search for
yours, or paste a traceback into `python -m helpers diagnose`, which asks what tells causes apart.
"""


def write_errors(pages: Pages, catalogue: tuple[Entry, ...] | None = None) -> None:
    """Write the catalogue's page and one for each entry into ``errors/``.

    Args:
        pages: where they go.
        catalogue: the entries; by default all of ``data/errors.toml``.
    """
    found = entries() if catalogue is None else catalogue
    names = titles(found)
    for entry in found:
        others = [other for other in found if other is not entry and _alike(other, entry)]
        pages.put(f"errors/{entry.id}.md", _page(pages, entry, names, others))
    pages.put("errors/index.md", _catalogue(found, names))


def message(entry: Entry) -> str:
    """The error's message: the last line of the example, as Python prints it."""
    return entry.example.strip().rpartition("\n")[2].strip()


def titles(catalogue: tuple[Entry, ...]) -> dict[str, str]:
    """Id -> title, each different: the message, and the cause's name where others share it."""
    shared = Counter(message(entry) for entry in catalogue)
    found = {
        entry.id: f"{message(entry)} ({words(entry)})"
        if shared[message(entry)] > 1
        else message(entry)
        for entry in catalogue
    }
    often = Counter(found.values())
    return {name: f"{title} ({name})" if often[title] > 1 else title
            for name, title in found.items()}  # fmt: skip


def words(entry: Entry) -> str:
    """What an entry's id says that its message does not; all of the id if it says no more."""
    known = re.findall(r"[a-z]+", message(entry).lower())
    said = [word for word in entry.id.split("-") if word not in known] or entry.id.split("-")
    return " ".join("WAL" if word == "wal" else word for word in said)


def _alike(one: Entry, other: Entry) -> bool:
    return message(one) == message(other)


def _page(pages: Pages, entry: Entry, names: dict[str, str], others: list[Entry]) -> str:
    description = quoted(f"{message(entry)}. {entry.cause}")
    heading, target = section(pages.root, entry)
    parts = [
        f'---\norphan: true\nmyst:\n  html_meta:\n    "description": {description}\n---',
        f"# {escape(names[entry.id])}",
        f"Raised by {escape(entry.raiser)}"
        + (f", with `sqlite_errorname` `{entry.errorname}`." if entry.errorname else "."),
        f"## Cause\n\n{escape(entry.cause)}",
        f"## Fix\n\n{escape(entry.fix)}",
        f"```python\n{code}\n```" if (code := _code(entry)) else "",
        f"## Where to see both\n\n[{escape(heading)}]({pages.target(target, 'errors/index.md')})",
        _made(entry),
        _told_apart(entry, others),
        f"## Sources\n\n- <{entry.source}>",
        "[All errors](index.md)",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _code(entry: Entry) -> str:
    """The fix as code to paste, where the look-up has it."""
    return Diagnosis((Match(entry, message(entry)),)).code


def _made(entry: Entry) -> str:
    """How to make it happen, where there is a recipe."""
    known = [FAILURES[name] for name in entry.failures if name in FAILURES]
    if not known:
        return ""
    lines = "\n".join(f'print(failures.run("{one.id}"))  # {one.title}' for one in known)
    return f"## Make it happen\n\n```python\nfrom helpers import failures\n\n{lines}\n```"


def _told_apart(entry: Entry, others: list[Entry]) -> str:
    """What is so with this cause, and the other causes of the same message."""
    if not others:
        return ""
    asked = [
        f"- {escape(QUESTIONS[key].text)} **{escape(' or '.join(map(str, answers)))}**"
        for key, answers in entry.when.items()
        if key in QUESTIONS
    ]
    parts = ["## Other causes of this message"]
    if asked:
        parts.append("This is the one if these are the answers:\n\n" + "\n".join(asked))
    parts.append("The others:" if asked else "")
    parts.append("\n".join(_item(other, words(other)) for other in others))
    return "\n\n".join(part for part in parts if part)


def _catalogue(catalogue: tuple[Entry, ...], names: dict[str, str]) -> str:
    """All errors, by who raises them; the causes of one message below each other."""
    messages: dict[str, list[Entry]] = {}
    for entry in catalogue:
        messages.setdefault(message(entry), []).append(entry)
    raisers: dict[str, list[Entry]] = {}
    for causes in messages.values():
        raisers.setdefault(causes[0].raiser, []).extend(causes)
    parts = [INTRODUCTION]
    for raiser, mine in raisers.items():
        items = "\n".join(_item(entry, names[entry.id]) for entry in mine)
        parts.append(f"## {escape(raiser)}\n\n{items}\n")
    return "\n".join(parts)


def _item(entry: Entry, name: str) -> str:
    return f"- [{escape(name)}]({entry.id}.md)\\\n  {escape(entry.cause)}"


def section(root: Path, entry: Entry) -> tuple[str, str]:
    """The section of the entry's notebook that is most about it: its heading, and a link.

    That is the one where the entry's recipes are the largest part of all recipes named; then
    one that has the message. If there is neither, it is the notebook.
    """
    name = f"notebooks/{entry.notebook}.ipynb"
    title, *sections = _sections(root / name)
    best = max(sections, key=lambda one: _about(entry, one[1]), default=title)
    if not sections or not _about(entry, best[1]):
        return title[0], f"../{name}"
    return f"{title[0]}: {best[0]}", f"../{name}#{slug(best[0])}"


@functools.cache
def _sections(path: Path) -> list[tuple[str, str]]:
    """Heading and text of each section, with code and outputs; the first is the title."""
    found: list[list[str]] = []
    for cell in nbformat.read(path, as_version=4).cells:
        rest, begun = cell.source + "".join(map(str, cell.get("outputs", []))), []
        if cell.cell_type == "markdown":
            prose = re.sub(r"^```.*?^```", "", cell.source, flags=re.MULTILINE | re.DOTALL)
            rest, *begun = re.split(r"^##? ", prose, flags=re.MULTILINE)
        if found:
            found[-1].append(rest)
        found += [[part] for part in begun]
    return [(parts[0].partition("\n")[0].replace("`", ""), "\n".join(parts)) for parts in found]


def _about(entry: Entry, text: str) -> float:
    named = [name for name in FAILURES if f'"{name}"' in text]
    mine = [name for name in named if name in entry.failures]
    said = bool(re.search(entry.pattern, text, re.IGNORECASE))
    return len(mine) / max(len(named), 1) + said / 10
