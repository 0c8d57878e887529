"""Every schedule: depth-first search, and what it need not run; or random ones, if too many.

The search cannot go back to a state: it keeps the choices of the schedule at hand, and runs the
program again from a fresh database with all but the last choice the same (Godefroid, POPL 1997).
Where a run comes to a state that is known (`engine.states`), it stops, and what was found below
that state is counted once more.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import Protocol

from helpers.explorer.engine.policies import before_timeout
from helpers.explorer.engine.scheduler import Scheduler
from helpers.explorer.engine.states import CannotMerge, keys_of, settled
from helpers.explorer.program import START, Diverged, Schedule, Step, thread_of
from helpers.explorer.runner import Runner
from helpers.explorer.tally import Below, Tally, at_end


@dataclass(frozen=True)
class Search:
    """How to search; see `helpers.explorer.explore`.

    merge: do not run on from a state again, but count what was found below it. preemptions: at
    most so many switches away from a thread that could go on. starts: threads may start later
    than before the first step. late: those that do.
    """

    merge: bool = False
    preemptions: int | None = None
    starts: bool = False
    late: frozenset[str] = frozenset()


#: Every schedule, each by a run of its own.
IN_FULL = Search()


@dataclass(slots=True)
class Node:
    """A point of the search at which a choice was made.

    `options` are the threads to try here, `position` the one being tried, `label` its step.
    `going` is the thread that ran last, if it could go on; `spent` counts the preemptions before.
    `settled` is the content of the database where nothing else of it matters, `states` the keys of
    the state, where states are merged, `below` what was found in the branches left behind.
    """

    options: list[str]
    position: int = 0
    label: str = ""
    going: str = ""
    spent: int = 0
    settled: bytes | None = None
    states: list[object] = field(default_factory=list)
    below: Below | None = None

    @property
    def choice(self) -> str:
        """The thread being tried."""
        return self.options[self.position]

    @property
    def preempts(self) -> bool:
        """Whether that switches away from a thread that could go on."""
        return self.going not in ("", self.choice) and not self.choice.endswith(START)


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
        search: what to leave out.
        root: nodes whose choices stand fixed; the search covers what lies below them.
        depth: do not go deeper than this many steps; None for no limit.
        known: states and what lies below them, by the searches of other parts of the tree.
    """

    def __init__(
        self,
        search: Search = IN_FULL,
        root: list[Node] | None = None,
        depth: int | None = None,
        known: dict[object, Below] | None = None,
    ) -> None:
        self.search = search
        self.known = {} if known is None else known
        self.met: Below | None = None  # where the run at hand came to a known state
        self.nodes: list[Node] = list(root or ())
        self.fixed = len(self.nodes)
        self.depth = depth
        self.pruned = False  # the run at hand leads only where another one has been
        self.in_vain = False  # a retry is under way that failed before, when its node was made

    def pick(self, run: Played, offers: list[str]) -> str | None:
        """The recorded choice, or the first untried one; None where nothing new lies below."""
        level = len(run.schedule)
        if self.in_vain:
            raise Diverged(f"{_DIVERGED}: {run.schedule[-1]} need not wait where it had to before")
        if level < len(self.nodes):
            return self._replay(run, self.nodes[level], offers)
        if self.pruned or level == self.depth:
            return None
        node = self._new(run, offers)
        if node.states:
            self.met = next((self.known[key] for key in node.states if key in self.known), None)
            if self.met is not None:
                self.pruned = True
                return None
        limit = self.search.preemptions
        if limit is not None and node.going and node.spent == limit:
            offers = [name for name in offers if name == node.going or name.endswith(START)]
        node.options = offers
        self.nodes.append(node)
        choice = offers[0]
        node.label = (run.threads.get(choice) or run.threads[thread_of(choice)]).label
        return choice

    def _new(self, run: Played, offers: list[str]) -> Node:
        """The node at which the run stands, without its options."""
        node = Node([])
        if not isinstance(run, Scheduler):
            return node
        if self.search.preemptions is not None and self.nodes:
            last = self.nodes[-1]
            name = last.going if last.choice.endswith(START) else thread_of(last.choice)
            node.spent = last.spent + last.preempts
            node.going = name if name in offers and not run.threads[name].waiting else ""
        if self.search.merge:
            node.below, node.settled = Below(), settled(run)
            limit = (node.going, node.spent)
            node.states = [(key, *limit) for key in self._keys(run, node)]
        return node

    def _keys(self, run: Scheduler, node: Node) -> list[bytes]:
        contents = [each.settled for each in (*self.nodes, node)]
        at = max((n for n, content in enumerate(contents) if content), default=0)
        return keys_of(run, at, contents[at])

    def _replay(self, run: Played, node: Node, offers: list[str]) -> str:
        choice = node.choice
        if choice not in offers and isinstance(run, Scheduler):
            retry = before_timeout(run, choice, offers)
            if retry is not None:
                self.in_vain = True
                return retry
        if choice not in offers:
            raise Diverged(f"{_DIVERGED}: {choice} cannot go on where it could before")
        label = (run.threads.get(choice) or run.threads[thread_of(choice)]).label
        if node.label and node.label != label:
            raise Diverged(f"{_DIVERGED}: {choice} was at {node.label!r}, now it is at {label!r}")
        node.label = label
        return choice

    def erased(self, name: str) -> None:
        """A retry failed: it is no choice at this node, and never was."""
        if self.in_vain:
            self.in_vain = False
            return
        node = self.nodes[-1]
        if not node.position:
            self.nodes.pop()  # what else can go on may include a timeout now
            return
        del node.options[node.position]
        node.label = ""
        if node.position == len(node.options):
            self.pruned = True
            self._leave()

    def advance(self) -> bool:
        """After a run: move on to the next untried choice; False when there is none."""
        self.pruned, self.met = False, None
        while len(self.nodes) > self.fixed:
            node = self.nodes[-1]
            if node.position + 1 < len(node.options):
                node.position += 1
                node.label = ""
                return True
            self._leave()
        return False

    def _leave(self) -> None:
        """All branches of the last node have been tried: remember what lies below it."""
        node = self.nodes.pop()
        if node.below is not None:
            self.known.update(dict.fromkeys(node.states, node.below))
            if self.nodes and (last := self.nodes[-1]).below is not None:
                last.below.add(node.below, [last.choice])

    def found(self, below: Below, schedule: Schedule) -> None:
        """Note what the run at hand came to after `schedule`."""
        last = self.nodes[-1].below if self.nodes else None
        if last is not None:
            last.add(below, schedule[len(self.nodes) - 1 :])

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


def depth_first(
    runner: Runner,
    tally: Tally,
    search: Search = IN_FULL,
    root: list[Node] | None = None,
    known: dict[object, Below] | None = None,
) -> Iterator[Tally]:
    """Run every schedule below `root`; yields the tally after each run.

    At the end `tally.complete` is True. Stop iterating to stop the search. `known` is for
    further calls with the same tally.
    """
    policy = DepthFirst(search, root, known=known)
    while True:
        scheduler, outcome = runner.run(policy, late=search.late)
        schedule = tuple(scheduler.schedule)
        if outcome is not None:
            tally.add(outcome, schedule, search.starts)
            if search.merge:
                policy.found(at_end(outcome), schedule)
        elif policy.met is not None:
            if len(schedule) + policy.met.deepest >= runner.step_limit:
                raise CannotMerge("a schedule may be cut after as many steps")
            tally.add_again(policy.met, schedule)
            policy.found(policy.met, schedule)
        else:
            tally.pruned += 1
        tally.unseen = runner.unseen
        more = policy.advance()
        tally.covered = policy.covered()
        if not more:
            tally.complete, tally.covered = True, 1.0
        yield tally
        if not more:
            return


def starts(search: Search, threads: Iterable[str]) -> list[Search]:
    """The searches that make up `search`: with every set of `threads`, but all, that start late."""
    if not search.starts:
        return [search]
    names = list(threads)
    sets = (frozenset(late) for n in range(len(names)) for late in combinations(names, n))
    return [replace(search, late=late) for late in sets]


def every_start(runner: Runner, tally: Tally, search: Search) -> Iterator[Tally]:
    """As `depth_first`, for each search of `starts`."""
    searches = starts(search, runner.program.threads)
    for number, each in enumerate(searches, start=1):
        for _ in depth_first(runner, tally, each):
            tally.complete = tally.complete and number == len(searches)
            tally.covered = (number - 1 + tally.covered) / len(searches)
            yield tally


def split(runner: Runner, search: Search, parts: int) -> list[list[Node]]:
    """The tree cut into subtrees, in the order of the search: at least `parts`, if it is deep.

    Each is the list of nodes that lead to it, to be given to `depth_first` as its root.
    """
    depth = 1
    while True:
        roots = list(_roots(runner, search, depth))
        if len(roots) >= parts or depth > 12:
            return roots
        depth += 1


def _roots(runner: Runner, search: Search, depth: int) -> Iterator[list[Node]]:
    policy = DepthFirst(replace(search, merge=False), depth=depth)
    while True:
        runner.run(policy, late=search.late)
        if not policy.pruned:
            yield [_fixed(node) for node in policy.nodes]
        if not policy.advance():
            return


def _fixed(node: Node) -> Node:
    """A copy in which the choice at hand is the only one."""
    return replace(node, options=[node.choice], position=0)


class RandomPriorities:
    """A random policy: every thread has a priority, and a few random steps change them.

    Of the threads that can go on, the one with the highest priority does. With `changes` = d − 1
    it finds any bug that needs d ordering decisions among k steps of n threads with a chance of
    at least 1 / (n · k^(d−1)) (PCT: Burckhardt et al., ASPLOS 2010).
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
