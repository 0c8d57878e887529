"""Predict before you run: a choice, recorded, and shown beside what happened.

    guess = predict("What will happen?", {"A": "all is well", "B": "an error"})
    ...
    guess.observed("B")

In JupyterLab the first line shows one button per choice. Without widgets, pass the
choice instead: ``predict(..., answer="A")``. A demonstration that is predicted first
teaches more than one that is only watched (Crouch, Fagen, Callan and Mazur, American
Journal of Physics 72, 2004).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from helpers.display.keyboard import keep_keys
from helpers.exercises import progress


@dataclass(frozen=True)
class Observation:
    """What was predicted beside what was observed; its text is shown in a notebook.

    Without a prediction it is the observation alone: a page is read by others than learners.
    """

    question: str
    options: Mapping[str, str]
    predicted: str | None
    observed: str

    @property
    def right(self) -> bool:
        """Whether the prediction was what happened."""
        return self.predicted == self.observed

    def __str__(self) -> str:
        seen = f"Observed:  {self.observed} - {self.options[self.observed]}"
        if self.predicted is None:
            return seen
        verdict = "as predicted" if self.right else "not what you predicted: what is different?"
        guess = f"Predicted: {self.predicted} - {self.options[self.predicted]}"
        return f"{guess}\n{seen} ({verdict})"

    def __repr__(self) -> str:
        return str(self)


class Prediction:
    """A question with choices and at most one answer; made by `predict`."""

    def __init__(self, question: str, options: Mapping[str, str], answer: str | None) -> None:
        if len(options) < 2:
            raise ValueError(f"a prediction needs two choices or more, not {len(options)}")
        self.question = question
        self.options = dict(options)
        self._answer: str | None = None
        self._buttons: Any = None
        if answer is not None:
            self.answer = answer

    @property
    def answer(self) -> str | None:
        """The choice made so far, or None. Assigning another is allowed until it is observed.

        Raises:
            ValueError: on assigning what is not one of the choices.
        """
        return self._answer

    @answer.setter
    def answer(self, answer: str) -> None:
        self._answer = self._known(answer)
        if self._buttons is not None:
            self._buttons.value = answer

    def observed(self, option: str) -> Observation:
        """What happened, beside the prediction.

        Raises:
            ValueError: if `option` is not one of the choices.
        """
        seen = Observation(self.question, self.options, self._answer, self._known(option))
        if self._answer is not None:
            progress.predicted(self.question, seen.right)
        return seen

    def _known(self, option: str) -> str:
        if option not in self.options:
            known = ", ".join(self.options)
            raise ValueError(f"{option!r} is not one of the choices: use one of {known}")
        return option

    def __str__(self) -> str:
        choices = (f"  {letter}  {text}" for letter, text in self.options.items())
        return "\n".join([self.question, *choices])

    def __repr__(self) -> str:
        return str(self)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        """The buttons where widgets render, the text everywhere else."""
        bundle = dict(self._widget()._repr_mimebundle_(include=include, exclude=exclude))
        bundle["text/plain"] = str(self)
        return bundle

    def _widget(self) -> Any:
        import html

        from ipywidgets import HTML, Layout, RadioButtons, VBox

        self._buttons = RadioButtons(
            options=[(f"{key} · {text}", key) for key, text in self.options.items()],
            value=self._answer,
            layout=Layout(width="auto"),
        )
        self._buttons.observe(self._chosen, names="value")
        return keep_keys(VBox([HTML(f"<b>{html.escape(self.question)}</b>"), self._buttons]))

    def _chosen(self, change: dict[str, Any]) -> None:
        self._answer = change["new"]


def predict(question: str, options: Mapping[str, str], answer: str | None = None) -> Prediction:
    """Ask for a prediction.

    Args:
        question: what will happen?
        options: letter -> what could happen, two or more.
        answer: the choice, for use without widgets.

    Raises:
        ValueError: for fewer than two options, or an answer that is not one of them.
    """
    return Prediction(question, options, answer)
