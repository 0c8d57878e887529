"""Every case under every level, in every schedule."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from helpers.display import Picture, charts, progress
from helpers.explorer import Exploration, Stage, explore
from helpers.isolation.cases import Case
from helpers.isolation.levels import Level, ServerLevel

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Counted(ABC):
    """One case under one level: in how many schedules the anomaly happens, and of how many."""

    case: Case
    level: Level | ServerLevel

    @property
    @abstractmethod
    def possible(self) -> int:
        """In how many schedules the anomaly happens."""

    @property
    @abstractmethod
    def schedules(self) -> int:
        """How many there are."""

    def __str__(self) -> str:
        return f"{self.possible or 'none'} of {self.schedules}"


AnyCell = TypeVar("AnyCell", bound=Counted)


@dataclass(frozen=True)
class Cell(Counted):
    """What the exploration of one case under one level found."""

    level: Level
    found: Exploration

    @property
    def possible(self) -> int:
        """In how many schedules the anomaly happens."""
        return self.found.counts.get("wrong", 0)

    @property
    def schedules(self) -> int:
        """How many there are."""
        return self.found.schedules

    @property
    def refused(self) -> int:
        """In how many schedules a session is told of an error, and the anomaly does not happen."""
        return sum(n for outcome, n, _ in self.found.outcomes if outcome.raised and outcome.kept)

    def stage(self) -> Stage:
        """The stage after the simplest schedule with the anomaly.

        Raises:
            ValueError: if it happens in none.
        """
        schedule = self.found.example("wrong")
        if schedule is None:
            count = self.found.schedules
            raise ValueError(f"{self.case.name} happens in none of {count} schedules")
        return Stage(self.found.program).run(schedule)


class Matrix(dict[tuple[str, str], AnyCell]):
    """(name of the case, name of the level) -> cell."""

    def possible(self) -> dict[Level | ServerLevel, list[str]]:
        """Level -> the names of the cases that are possible there."""
        found: dict[Level | ServerLevel, list[str]] = {}
        for cell in self.values():
            found.setdefault(cell.level, []).extend([cell.case.name] if cell.possible else [])
        return found

    def summary(self) -> pd.DataFrame:
        """One row a journal, one column a BEGIN: which cases are possible."""
        import pandas as pd

        rows: dict[str, dict[str, str]] = {}
        for level, names in self.possible().items():
            missing = [case for case, name in self if name == level.name and case not in names]
            few = len(missing) < len(names)
            text = f"all but {', '.join(missing)}" if missing and few else ", ".join(names)
            rows.setdefault(level.journal, {})[level.begin] = text if missing else "all"
        return pd.DataFrame(rows).T.replace("", "none").rename_axis("journal")

    def picture(self, title: str) -> Picture:
        """Each cell with a colour, a symbol and in how many of its schedules it happens."""
        rows: dict[str, dict[tuple[str, str], tuple[bool, str]]] = {}
        for cell in self.values():
            label = f"{cell.case.name} · {cell.case.title}"
            column = (cell.level.journal, cell.level.begin)
            text = f"{cell.possible} of {cell.schedules}"
            rows.setdefault(label, {})[column] = (bool(cell.possible), text)
        count = sum(bool(cell.possible) for cell in self.values())
        where = f"possible in {count} of {len(self)} cells (●), in the others in no order"
        return charts.matrix(rows, title, alt=f"{title}: {where}.")


def matrix(
    cases: Mapping[str, Case] | Iterable[Case], levels: Iterable[Level], *, show: bool = True
) -> Matrix[Cell]:
    """Explore every case under every level.

    Args:
        cases: from `anomalies` or `read_cases`.
        levels: from `levels`.
        show: whether to show progress.
    """
    cases = list(cases.values() if isinstance(cases, Mapping) else cases)
    pairs = [(case, level) for case in cases for level in levels]
    cells: Matrix[Cell] = Matrix()
    with progress.bar(len(pairs), "cells explored", show) as update:
        for number, (case, level) in enumerate(pairs, 1):
            found = explore(case.program(level), show=False)
            cells[case.name, level.name] = Cell(case, level, found)
            update(number)
    return cells
