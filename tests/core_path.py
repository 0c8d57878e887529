"""The core path of a notebook: what remains without the exercise and the sections for later.

A section is *further* if the line below its heading says so. The core path stands by itself: no
cell of it reads a name that a further section binds, and what it predicts it observes.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import slices
from nbformat import NotebookNode, from_dict
from nbformat.v4 import new_markdown_cell

HEADING = re.compile(r"^(?=#{1,3} )", re.MULTILINE)
FURTHER = re.compile(r"\A#{2,3} .*\n\n\*Further\*$", re.MULTILINE)
#: Of the parts of a notebook, in the order in which the title states them.
KINDS = ("core path", "exercise", "further")
EXERCISE = re.compile(r"^\*\*Time:\*\* \d+ minutes$", re.MULTILINE)


@dataclass
class Section:
    """A heading, what follows it, and the numbers of its code cells, from 0."""

    heading: str
    cells: list[NotebookNode] = field(default_factory=list)
    code: list[int] = field(default_factory=list)

    @property
    def kind(self) -> str:
        """`core path`, `exercise` or `further`."""
        if FURTHER.search(self.cells[0].source):
            return "further"
        stated = any(EXERCISE.search(cell.source) for cell in self.cells)
        return "exercise" if stated else "core path"

    @property
    def number(self) -> str:
        """`3` of `3 · Every order`; empty for a section without one."""
        number = re.match(r"(\d{1,2}) · ", self.heading)
        return number[1] if number else ""

    def alone(self) -> NotebookNode:
        """A notebook of this section, to measure it."""
        return from_dict({"cells": self.cells})


def sections(notebook: NotebookNode) -> list[Section]:
    """A cell that holds several headings is divided between their sections."""
    found = [Section("")]
    number = 0
    for cell in notebook.cells:
        if cell.cell_type == "code":
            found[-1].cells.append(cell)
            found[-1].code.append(number)
            number += 1
            continue
        for part in filter(str.strip, HEADING.split(cell.source)):
            if HEADING.match(part):
                found.append(Section(part.partition("\n")[0].lstrip("# ")))
            found[-1].cells.append(new_markdown_cell(part.strip()))
    return [section for section in found if section.cells]


def needs(sources: list[str], core: Iterable[int]) -> Iterator[str]:
    """What the cells `core` need of the others: names that those bind, and observations."""
    kept = set(core)
    names = [slices.names(source) for source in sources]
    within = set[str]().union(*(names[number][1] for number in kept))
    binder: dict[str, int] = {}
    for number, (reads, binds, late) in enumerate(names):
        for name in sorted(reads) if number in kept else ():
            # What a function reads may be bound after it.
            if binder.get(name, number) not in kept and name not in late & within:
                yield f"code cell {number} reads {name}, bound by {binder[name]}, which is no core"
        binder |= dict.fromkeys(binds, number)
    for number, source in enumerate(sources):
        for name in re.findall(r"^(\w+) = predict\(", source, re.MULTILINE):
            met = {place for place in kept if f"{name}.observed(" in sources[place]}
            if number in kept and not met:
                yield f"code cell {number} predicts {name}, which the core path does not observe"
