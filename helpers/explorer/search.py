"""Every schedule: depth-first search, its reduction, and random sampling.

The search is stateless: it keeps no state of the program, only the choices of the
schedule at hand. To go back it runs the program again from a fresh database with all but the
last choice the same (Godefroid, POPL 1997).

`Sleep sets` (Godefroid 1996) leave out schedules that differ from one already run only in
the order of neighbouring steps that touch nothing in common: after a thread's step was tried
at a node, it *sleeps* in the other branches of that node until a step that depends on it.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from helpers.explorer.engine.scheduler import TIMEOUT, Diverged, Scheduler
from helpers.explorer.engine.states import state_of
from helpers.explorer.program import Outcome, Schedule, Step
from helpers.explorer.runner import Runner

#: What a step touched: resource -> ``r`` or ``w``.
Footprint = dict[str, str]


def independent(one: Footprint, other: Footprint) -> bool:
    """Whether two steps of different threads can change places without anyone noticing."""
    if "everything" in one or "everything" in other:
        return False
    return not any(name in other and "w" in (mode, other[name]) for name, mode in one.items())


@dataclass(slots=True)
class Below:
    """What the schedules have come to that lead through one state: how many, by outcome.

    `steps` counts their steps from that state on.
    """

    counts: Counter[Outcome] = field(default_factory=Counter)
    steps: int = 0

    def add(self, other: Below, distance: int) -> None:
        """Add what was found below a state that is `distance` steps further."""
        self.counts.update(other.counts)
        self.steps += other.steps + distance * other.counts.total()


@dataclass(slots=True)
class Node:
    """A point of the search at which a choice was made.

    `options` are the threads worth trying here, `position` the one being tried; `asleep`
    maps threads that need not be tried to the footprint of the step that they would take;
    `done` the same for those tried before. `label` is the chosen thread's step. `state` is its
    key where states are merged, `below` what was found so far in the branches left behind.
    """

    options: list[str]
    asleep: dict[str, Footprint] = field(default_factory=dict)
    position: int = 0
    label: str = ""
    done: dict[str, Footprint] = field(default_factory=dict)
    state: bytes = b""
    below: Below = field(default_factory=lambda: Below())

    @property
    def choice(self) -> str:
        """The thread being tried."""
        return self.options[self.position]


class Standing(Protocol):
    """Where a thread or task stands."""

    @property
    def label(self) -> str:
        """Its next step."""


class Played(Protocol):
    """What the search needs to know of a run: of threads (`Scheduler`), or of tasks."""

    @property
    def schedule(self) -> list[str]:
        """The choices so far."""

    @property
    def steps(self) -> list[Step]:
        """The steps so far."""

    @property
    def threads(self) -> Mapping[str, Standing]:
        """Where those stand that can be chosen."""


class DepthFirst:
    """The policy of the search: replays the choices on its stack, then tries new ones.

    Args:
        reduce: use sleep sets.
        root: nodes whose choices stand fixed; the search covers what lies below them.
        depth: do not go deeper than this many steps; None for no limit.
        merge: do not explore a state again, but count what was found below it.
    """

    def __init__(
        self,
        reduce: bool = False,
        root: list[Node] | None = None,
        depth: int | None = None,
        merge: bool = False,
    ) -> None:
        self.reduce, self.merge = reduce, merge
        self.known: dict[bytes, Below] = {}
        self.met: Below | None = None  # where the run at hand came to a known state
        self.nodes: list[Node] = list(root or ())
        self.fixed = len(self.nodes)
        self.depth = depth
        self.pruned = False  # the run at hand leads only where another one has been

    def pick(self, run: Played, offers: list[str]) -> str | None:
        """The recorded choice, or the first untried one; None where nothing new lies below."""
        level = len(run.schedule)
        if level < len(self.nodes):
            return self._replay(run, self.nodes[level], offers)
        if self.pruned or level == self.depth:
            return None
        state = state_of(run) if self.merge and isinstance(run, Scheduler) else b""
        if state in self.known:
            self.met, self.pruned = self.known[state], True
            return None
        asleep = self._sleeping(run) if self.reduce else {}
        options = [name for name in offers if name not in asleep]
        if not options:
            self.pruned = True
            return None
        self.nodes.append(node := Node(options, asleep, state=state))
        return self._record(run, node)

    def _record(self, run: Played, node: Node) -> str:
        node.label = run.threads[node.choice.removesuffix(TIMEOUT)].label
        return node.choice

    def _replay(self, run: Played, node: Node, offers: list[str]) -> str:
        choice = node.choice
        if choice not in offers:
            raise Diverged(f"{_DIVERGED}: {choice} cannot go on where it could before")
        label = run.threads[choice.removesuffix(TIMEOUT)].label
        if node.label and node.label != label:
            raise Diverged(f"{_DIVERGED}: {choice} was at {node.label!r}, now it is at {label!r}")
        node.label = label
        return choice

    def _sleeping(self, run: Played) -> dict[str, Footprint]:
        """Threads that sleep at the new node: asleep or tried before, and independent."""
        if not self.nodes:
            return {}
        last = self.nodes[-1]
        taken = run.steps[-1].touched
        candidates = {**last.asleep, **last.done}
        return {name: step for name, step in candidates.items() if independent(step, taken)}

    def erased(self, name: str) -> None:
        """A retry failed: it is no choice at this node, and never was."""
        node = self.nodes[-1]
        del node.options[node.position]
        node.label = ""
        if node.position == len(node.options):
            self.pruned = bool(node.position or node.asleep)
            self._leave(known=bool(node.position))

    def advance(self, run: Played) -> bool:
        """After a run: move on to the next untried choice; False when there is none."""
        self.pruned, self.met = False, None
        while len(self.nodes) > self.fixed:
            node = self.nodes[-1]
            if node.position + 1 < len(node.options):
                node.done[node.choice] = run.steps[len(self.nodes) - 1].touched
                node.position += 1
                node.label = ""
                return True
            self._leave(known=True)
        return False

    def _leave(self, known: bool) -> None:
        """All branches of the last node have been tried: remember what lies below it."""
        node = self.nodes.pop()
        if self.merge and known:
            self.known[node.state] = node.below
            if self.nodes:
                self.nodes[-1].below.add(node.below, 1)

    def found(self, below: Below, depth: int) -> None:
        """Note what the run at hand came to, after `depth` steps."""
        if self.nodes:
            self.nodes[-1].below.add(below, depth - len(self.nodes) + 1)

    def covered(self) -> float:
        """The share of the tree that lies behind the search, in 0..1, branches weighed equally."""
        share, weight = 0.0, 1.0
        for node in self.nodes[self.fixed :]:
            weight /= len(node.options)
            share += weight * node.position
        return share


_DIVERGED = (
    "the same schedule led elsewhere: the program depends on something that is not made "
    "anew for each schedule (a global list, a clock, a random number)"
)


class RandomPriorities:
    """A random policy: every thread has a priority, and a few random steps change them.

    The highest priority that can go on goes on. With `changes` = d − 1 it finds any bug that
    needs d ordering decisions among k steps of n threads with a chance of at least
    1 / (n · k^(d−1)) (PCT: Burckhardt et al., ASPLOS 2010).
    """

    def __init__(self, seed: int, length: int, changes: int = 3) -> None:
        self.random = random.Random(seed)
        self.points = set(self.random.sample(range(length), min(changes, length)))
        self.priority: dict[str, float] = {}

    def pick(self, scheduler: Scheduler, offers: list[str]) -> str:
        """The offer with the highest priority."""
        for name in offers:
            if name not in self.priority:
                self.priority[name] = self.random.random() + 1
        best = max(offers, key=lambda name: self.priority[name])
        if len(scheduler.schedule) in self.points:
            self.points.discard(len(scheduler.schedule))
            self.priority[best] = self.random.random() / (2 + len(scheduler.schedule))
            best = max(offers, key=lambda name: self.priority[name])
        return best

    def erased(self, name: str) -> None:
        """Let another thread go first next time."""
        self.priority[name] = self.random.random()


@dataclass
class Tally:
    """What a search has found so far: schedules, runs, and outcomes with an example each."""

    schedules: int = 0
    runs: int = 0
    pruned: int = 0
    steps: int = 0
    outcomes: dict[Outcome, tuple[int, Schedule]] = field(default_factory=dict)
    complete: bool = False
    covered: float = 0.0
    unseen: str = ""

    def add(self, outcome: Outcome, schedule: Schedule) -> None:
        """Count one schedule."""
        self.schedules += 1
        self.runs += 1
        self.steps += len(schedule)
        count, example = self.outcomes.get(outcome, (0, schedule))
        self.outcomes[outcome] = (count + 1, example)

    def add_again(self, below: Below, depth: int) -> None:
        """Count the schedules below a state that is known, reached after `depth` steps."""
        self.schedules += below.counts.total()
        self.runs += 1
        self.steps += below.steps + depth * below.counts.total()
        for outcome, more in below.counts.items():
            count, example = self.outcomes[outcome]
            self.outcomes[outcome] = (count + more, example)

    def merge(self, later: Tally) -> None:
        """Add what a search of a later part of the tree found."""
        self.schedules += later.schedules
        self.runs += later.runs
        self.pruned += later.pruned
        self.steps += later.steps
        self.unseen = self.unseen or later.unseen
        for outcome, (count, schedule) in later.outcomes.items():
            before, example = self.outcomes.get(outcome, (0, schedule))
            self.outcomes[outcome] = (before + count, example)


def depth_first(
    runner: Runner,
    tally: Tally,
    reduce: bool,
    root: list[Node] | None = None,
    merge: bool = False,
) -> Iterator[Tally]:
    """Run every schedule below `root`; yields the tally after each run.

    At the end `tally.complete` is True. Stop iterating to stop the search.
    """
    policy = DepthFirst(reduce, root, merge=merge)
    while True:
        scheduler, outcome = runner.run(policy)
        depth = len(scheduler.schedule)
        if outcome is not None:
            tally.add(outcome, tuple(scheduler.schedule))
            policy.found(Below(Counter([outcome])), depth)
        elif policy.met is not None:
            tally.add_again(policy.met, depth)
            policy.found(policy.met, depth)
        else:
            tally.pruned += 1
        tally.unseen = runner.unseen
        more = policy.advance(scheduler)
        tally.covered = policy.covered()
        if not more:
            tally.complete, tally.covered = True, 1.0
        yield tally
        if not more:
            return


def sample(runner: Runner, tally: Tally, seed: int, length: int = 30) -> Iterator[Tally]:
    """Run random schedules forever, the same ones for the same `seed`; see `RandomPriorities`."""
    number = 0
    while True:
        policy = RandomPriorities(seed * 1_000_003 + number, length)
        scheduler, outcome = runner.run(policy)
        length = max(2, len(scheduler.schedule))
        assert outcome is not None
        tally.unseen = runner.unseen
        tally.add(outcome, tuple(scheduler.schedule))
        number += 1
        yield tally


def split(runner: Runner, reduce: bool, parts: int) -> list[list[Node]]:
    """The tree cut into subtrees, in the order of the search: at least `parts`, if it is deep.

    Each is the list of nodes that lead to it, to be given to `depth_first` as its root.
    """
    depth = 1
    while True:
        roots = list(_roots(runner, reduce, depth))
        if len(roots) >= parts or depth > 12:
            return roots
        depth += 1


def _roots(runner: Runner, reduce: bool, depth: int) -> Iterator[list[Node]]:
    policy = DepthFirst(reduce, depth=depth)
    while True:
        scheduler, _ = runner.run(policy)
        if not policy.pruned:
            yield [Node([n.choice], dict(n.asleep), 0, n.label, dict(n.done)) for n in policy.nodes]
        if not policy.advance(scheduler):
            return
