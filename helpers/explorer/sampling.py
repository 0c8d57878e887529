"""Schedules drawn at random, where there are too many to run all."""

from __future__ import annotations

import random
from collections.abc import Iterator

from helpers.explorer.engine.scheduler import Scheduler
from helpers.explorer.runner import Runner
from helpers.explorer.tally import Tally


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
