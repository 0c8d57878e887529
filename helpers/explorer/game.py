"""The game *You are the scheduler*: a widget that shows what the stage and the explorer know.

It shows each thread's code with its next step marked, a button for each thread, and a goal, and
holds no logic of its own. Without a browser, `press` does what a button does.
"""

from __future__ import annotations

import html
import inspect
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from helpers.explorer.program import Program, ScheduleError, check_kind
from helpers.explorer.report import explore
from helpers.explorer.stage import Stage

if TYPE_CHECKING:
    from ipywidgets import Button

#: Kinds of outcome that reach the goal of the game, unless told otherwise.
GOAL = ("wrong",)

_PANE = (
    "border: 1px solid #999; border-radius: 4px; padding: 0.4em 0.6em; margin: 0 0.6em 0.4em 0; "
    "font-size: 11px; line-height: 1.5; white-space: normal"
)
#: Long lines are broken, so that both threads fit beside each other.
_CODE = (
    "margin: 0.3em 0 0; font-size: 11px; white-space: pre-wrap; word-break: normal; "
    "overflow-wrap: anywhere"
)
#: Black on yellow, also where the page is dark.
_NEXT = "background: #FFF3BF; color: #000; font-weight: bold"


class SchedulerGame:
    """You are the scheduler of `program`: press a thread's button, and it takes its next step.

    Args:
        program: what to schedule; its thread functions need source code to be shown.
        goal: what the player tries to reach, in words.
        wins: kinds of outcome (see `Outcome.kind`) that reach it.

    Raises:
        ValueError: for another kind.

    All schedules are explored when the game is made, so that it can say how many there
    are, and whether the goal can be reached at all.
    """

    def __init__(
        self, program: Program, goal: str = "lose an update", wins: tuple[str, ...] = GOAL
    ) -> None:
        from ipywidgets import HTML, HBox, Layout, VBox

        self.goal, self.wins = goal, tuple(map(check_kind, wins))
        self.stage = Stage(program)
        self.found = explore(program, show=False)
        self.tried: set[tuple[str, ...]] = set()
        self._panes = {
            name: HTML(layout=Layout(flex="1 1 0", min_width="0")) for name in program.threads
        }
        self._status, self._table = HTML(), HTML()
        self._steppers = {
            name: self._button(f"Step {name}", partial(self.press, name))
            for name in program.threads
        }
        self._undo = self._button("Undo", self.undo)
        self._reset = self._button("Reset", self.reset)
        self._worst = self._button("Show me the worst", self.show_worst)
        self.view = VBox(
            [
                HTML(f"<b>Your goal: {html.escape(goal)}.</b>"),
                HBox(list(self._panes.values())),
                HBox([*self._steppers.values(), self._undo, self._reset, self._worst]),
                self._status,
                self._table,
            ]
        )
        self._show()

    @staticmethod
    def _button(label: str, action: Callable[[], Any]) -> Button:
        from ipywidgets import Button, Layout

        button = Button(description=label, layout=Layout(width="auto", min_width="7em"))
        button.on_click(lambda _: action())
        return button

    def press(self, schedule: str) -> SchedulerGame:
        """Take steps: thread names with blanks between them, as in ``"A B"``.

        A thread that can only time out does so.

        Raises:
            ScheduleError: if a thread cannot take a step; nothing changes then.
        """
        before = len(self.stage.schedule)
        try:
            for name in schedule.split():
                expiry = f"{name}:timeout"
                self.stage.step(expiry if expiry in self.stage.choices else name)
        except ScheduleError:
            self.stage.undo(len(self.stage.schedule) - before)
            raise
        return self._show()

    def undo(self) -> SchedulerGame:
        """Take back the last step."""
        self.stage.undo()
        return self._show()

    def reset(self) -> SchedulerGame:
        """Go back to the start."""
        self.stage.reset()
        return self._show()

    def show_worst(self) -> SchedulerGame:
        """Run the first schedule that reaches the goal; if there is none, say so."""
        example = self._best()
        self.reset()
        if example is not None:
            self.stage.run(example)
        return self._show("" if example else f"{self._impossible()} ")

    def _best(self) -> tuple[str, ...] | None:
        return next((s for outcome, _, s in self.found.outcomes if outcome.kind in self.wins), None)

    def _impossible(self) -> str:
        if not self.found.complete:
            return "No schedule was found that reaches it; not all were tried."
        return f"You cannot: none of the {self.found.schedules} schedules reaches it."

    def _show(self, remark: str = "") -> SchedulerGame:
        outcome = self.stage.outcome
        if outcome is not None:
            self.tried.add(self.stage.schedule)
        able = {name.partition(":")[0] for name in self.stage.choices}
        for name, button in self._steppers.items():
            expires = f"{name}:timeout" in self.stage.choices
            button.disabled = name not in able
            button.description = f"{name}'s timeout expires" if expires else f"Step {name}"
        self._undo.disabled = self._reset.disabled = not self.stage.schedule
        for name, pane in self._panes.items():
            pane.value = self._code(name)
        self._status.value = f"<p>{html.escape(remark + self.status)}</p>"
        self._table.value = self.stage.table_html() if self.stage.schedule else ""
        return self

    @property
    def status(self) -> str:
        """Where the game stands, in a few sentences."""
        outcome, count = self.stage.outcome, f"{len(self.tried)} of {self.found.schedules}"
        if outcome is None:
            state = " ".join(self.stage.schedule) or "Nobody has taken a step"
        elif outcome.kind in self.wins:
            state = f"You did it: {outcome.text}. The schedule: {' '.join(self.stage.schedule)}"
        else:
            state = f"Not this time: {outcome.text}. Undo some steps, or reset"
        return f"{state}. Schedules tried to their end: {count}."

    def _code(self, name: str) -> str:
        lines, first = _source(self.stage.program.threads[name])
        at = self.stage.lines.get(name)
        why = self.stage.blocked.get(name, "")
        ended = name not in self.stage.pending
        rows = []
        for number, line in enumerate(lines, first):
            marked = number == at
            text = f"{'▶' if marked else ' '} {html.escape(line.rstrip())}"
            rows.append(f'<span style="{_NEXT}">{text}</span>' if marked else text)
        note = "has ended" if ended else (why or f"next: {self.stage.pending[name]}")
        code = "\n".join(rows)
        return (
            f'<div style="{_PANE}"><b>{html.escape(name)}</b> · {html.escape(note)}'
            f'<pre style="{_CODE}">{code}</pre></div>'
        )

    def __repr__(self) -> str:
        return f"Your goal: {self.goal}.\n{self.status}"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        """The widget where widgets render, the text everywhere else."""
        bundle = dict(self.view._repr_mimebundle_(include=include, exclude=exclude))
        bundle["text/plain"] = repr(self)
        return bundle


def _source(function: Callable[..., Any]) -> tuple[list[str], int]:
    """The lines of a function, dedented, and the number of the first in its file."""
    try:
        lines, first = inspect.getsourcelines(function)
    except (OSError, TypeError):
        return [f"{getattr(function, '__name__', 'function')}: no source code to show"], 0
    return inspect.cleandoc("\n" + "".join(lines)).split("\n"), first
