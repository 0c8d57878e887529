"""What a search has found: how often each outcome came about, and its simplest schedule."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from operator import ne

from helpers.explorer.program import START, Outcome, Schedule, thread_of

#: Choices as nested pairs, (first, (second, ...)): what follows a state is shared by all ways in.
Choices = tuple[()] | tuple[str, "Choices"]


@dataclass(slots=True)
class Below:
    """What the schedules have come to that lead through one state: how many, by outcome.

    `steps` counts their steps from that state on, `deepest` those of the longest. `simplest` has,
    for each outcome and first choice, the switches between threads and the choices from there on.
    """

    counts: Counter[Outcome] = field(default_factory=Counter)
    steps: int = 0
    deepest: int = 0
    simplest: dict[tuple[Outcome, str], tuple[int, Choices]] = field(default_factory=dict)

    def add(self, other: Below, path: Sequence[str]) -> None:
        """Add what was found below a state to which the choices of `path` lead."""
        self.counts.update(other.counts)
        self.steps += other.steps + len(path) * other.counts.total()
        self.deepest = max(self.deepest, other.deepest + len(path))
        for (outcome, first), (switches, choices) in other.simplest.items():
            for choice in reversed(path):
                switches += bool(first) and thread_of(first) != thread_of(choice)
                first, choices = choice, (choice, choices)
            found = self.simplest.get((outcome, first))
            if found is None or (switches, choices) < found:
                self.simplest[outcome, first] = switches, choices


def at_end(outcome: Outcome) -> Below:
    """What lies below the end of a schedule."""
    return Below(Counter([outcome]), simplest={(outcome, ""): (0, ())})


def simplicity(schedule: Schedule) -> tuple[int, Schedule]:
    """The least has the fewest switches between threads, and comes first by name."""
    has_more = ":" in "".join(schedule)  # expiries and starts
    threads = tuple(map(thread_of, schedule)) if has_more else schedule
    return sum(map(ne, threads, threads[1:])), schedule


@dataclass
class Tally:
    """What a search has found so far: schedules, runs, and outcomes with a schedule each.

    That schedule is the simplest of its outcome, see `simplicity`.
    `seen` is filled where threads may start late: schedules without the starts, with their
    outcomes. When a thread started does not count where no other thread could tell.
    """

    schedules: int = 0
    runs: int = 0
    pruned: int = 0
    steps: int = 0
    outcomes: dict[Outcome, tuple[int, Schedule]] = field(default_factory=dict)
    complete: bool = False
    covered: float = 0.0
    unseen: str = ""
    seen: dict[tuple[Schedule, Outcome], tuple[Outcome, Schedule]] = field(default_factory=dict)

    def add(self, outcome: Outcome, schedule: Schedule, starts: bool = False) -> None:
        """Count one schedule; with `starts` unless it differs in starts alone from another."""
        self.runs += 1
        if starts:
            found = outcome, schedule
            if self.seen.setdefault(_but_for_starts(schedule, outcome), found) is not found:
                if outcome in self.outcomes:
                    self._add(outcome, 0, schedule)
                return
        self.schedules += 1
        self.steps += len(schedule)
        self._add(outcome, 1, schedule)

    def add_again(self, below: Below, schedule: Schedule) -> None:
        """Count the schedules below a state that is known, to which `schedule` leads."""
        total = below.counts.total()
        self.schedules += total
        self.runs += 1
        self.steps += below.steps + len(schedule) * total
        for (outcome, _), (_, choices) in below.simplest.items():
            self._add(outcome, 0, (*schedule, *_flat(choices)))
        for outcome, more in below.counts.items():
            count, example = self.outcomes[outcome]
            self.outcomes[outcome] = count + more, example

    def _add(self, outcome: Outcome, more: int, schedule: Schedule) -> None:
        count, example = self.outcomes.get(outcome, (0, schedule))
        if example != schedule:
            example = min(example, schedule, key=simplicity)
        self.outcomes[outcome] = count + more, example

    def merge(self, later: Tally) -> None:
        """Add what a search of a later part of the tree found."""
        self.runs += later.runs
        self.pruned += later.pruned
        self.unseen = self.unseen or later.unseen
        if later.seen:
            self.runs -= len(later.seen)
            for outcome, schedule in later.seen.values():
                self.add(outcome, schedule, starts=True)
            for outcome, (_, schedule) in later.outcomes.items():
                if outcome in self.outcomes:
                    self._add(outcome, 0, schedule)
            return
        self.schedules += later.schedules
        self.steps += later.steps
        for outcome, (count, schedule) in later.outcomes.items():
            self._add(outcome, count, schedule)


def _flat(choices: Choices) -> Iterator[str]:
    while choices:
        choice, choices = choices
        yield choice


def _but_for_starts(schedule: Schedule, outcome: Outcome) -> tuple[Schedule, Outcome]:
    """Without the starts, and what only they change: locks are numbered in order of use."""
    steps = tuple(choice for choice in schedule if not choice.endswith(START))
    ended, cycle = (re.sub(r"\d+", "#", text) for text in (outcome.ended, outcome.cycle))
    return steps, replace(outcome, ended=ended, cycle=cycle)
