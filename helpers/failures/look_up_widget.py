"""Paste an error, get the answer: `helpers.failures.symptoms` with a text area and a button."""

from __future__ import annotations

import html
from typing import Any

from helpers.failures.symptoms import UNKNOWN, Diagnosis, Question, diagnose


class LookUp:
    """A text area, a button, the answer below; buttons for the question that the answer asks.

    Attributes:
        diagnosis: the last answer, None before the first.
        answers: what has been answered for the text in the area.
    """

    def __init__(self) -> None:
        from ipywidgets import HTML, Button, HBox, Layout, Textarea, VBox

        self.diagnosis: Diagnosis | None = None
        self.answers: dict[str, str] = {}
        self.area = Textarea(
            description="The error:",
            placeholder="Paste an error message or a traceback",
            layout=Layout(width="100%", height="9em"),
        )
        wide = Layout(width="auto", align_self="flex-start")
        self.button = Button(description="What does it mean?", button_style="primary", layout=wide)
        self.output = HTML()
        self.choices = HBox(layout=Layout(flex_flow="row wrap"))
        self.box = VBox([self.area, self.button, self.output, self.choices])
        self.button.on_click(self._asked)

    def _asked(self, _button: Any) -> None:
        self.answers = {}
        self._show()

    def _answered(self, key: str, option: str) -> None:
        self.answers[key] = option
        self._show()

    def _show(self) -> None:
        self.diagnosis = diagnose(self.area.value, **self.answers)
        told = ", ".join(f"{key}: {answer}" for key, answer in self.answers.items())
        said = f"<p>You said: {html.escape(told)}</p>" if told else ""
        self.output.value = said + self.diagnosis._repr_html_()
        self.choices.children = self._buttons(self.diagnosis.question)

    def _buttons(self, question: Question | None) -> list[Any]:
        from ipywidgets import Button, Layout

        if question is None:
            return []
        wide = Layout(width="auto", max_width="100%", height="auto")
        buttons = []
        for option, meaning in {**question.options, UNKNOWN: "say how to find out"}.items():
            name = f"{option}: {meaning}" if meaning else option
            button = Button(description=name, layout=wide)
            button.on_click(lambda _, key=question.key, option=option: self._answered(key, option))
            buttons.append(button)
        return buttons

    def __repr__(self) -> str:
        return (
            "Paste an error here in JupyterLab; elsewhere: python -m helpers diagnose < error.txt"
        )

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        """The widgets where they render, the text everywhere else."""
        bundle = dict(self.box._repr_mimebundle_(include=include, exclude=exclude))
        bundle["text/plain"] = repr(self)
        return bundle


def look_up() -> LookUp:
    """The widget, to be the last line of a cell."""
    return LookUp()
