"""Whether an exercise is solved, in words, and the schedule that broke the attempt."""

from __future__ import annotations

import html
from dataclasses import dataclass, field

from helpers.exercises import lessons
from helpers.explorer import Exploration, Stage


@dataclass(frozen=True)
class Verdict:
    """Whether an exercise is solved, and why (not); its text is shown in a notebook.

    `exploration` is what `check` found; `stage()` replays the schedule that the reason names:
    `schedule`, or else the simplest that fails.
    """

    solved: bool
    reason: str
    exploration: Exploration | None = field(default=None, repr=False, compare=False)
    schedule: tuple[str, ...] | None = field(default=None, repr=False, compare=False)

    def stage(self) -> Stage:
        """The stage after the schedule that broke the attempt.

        Raises:
            ValueError: if no schedule did.
        """
        schedule = self.schedule
        if schedule is None and self.exploration is not None:
            schedule = lessons.example(self.exploration)
        if self.exploration is None or schedule is None:
            raise ValueError("no schedule broke this attempt: there is nothing to replay")
        return Stage(self.exploration.program).run(schedule)

    def __str__(self) -> str:
        return f"{'Solved' if self.solved else 'Not yet'}: {self.reason}"

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        word, _, reason = str(self).partition(": ")
        return f"<p><b>{word}:</b> {html.escape(reason)}</p>"
