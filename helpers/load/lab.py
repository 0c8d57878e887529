"""The lab: choose a strategy and the work, run it in a child process, compare the runs.

A panel of widgets over `helpers.load.trials`, for JupyterLab and Voila, to be used with the
keyboard alone as well. A run is a thread that waits for the child process; it changes no widget:
what it has to tell, the event loop of the kernel is asked to show.
"""

from __future__ import annotations

import asyncio
import base64
import contextvars
import html
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from helpers.display import Picture, Table, charts, figures
from helpers.display.keyboard import keep_keys
from helpers.load.trials import FLAWED, Measured, Trial, strategies
from helpers.strategies import Settings
from helpers.workloads import Mix

if TYPE_CHECKING:
    import pandas as pd

#: Reads to writes that the panel offers.
MIXES = ((0, 1), (1, 1), (4, 1), (19, 1), (1, 0))
#: Longest label of a widget, so that it is not cut off.
_LABEL = {"description_width": "9em"}
#: As many runs are drawn below each other.
_DRAWN = 6


class Lab:
    """Widgets that describe a `Trial`, a button that runs it, and the runs so far.

    Attributes:
        runs: what was chosen and measured, one row for each run that came to an end.
        choices: name -> widget; set ``lab.choices["threads"].value`` to choose without a mouse.
    """

    def __init__(self) -> None:
        from ipywidgets import HTML, Button, GridBox, HBox, IntProgress, Layout, VBox

        self.choices = _choices()
        self.measured: dict[str, Measured] = {}
        self._rows: list[dict[str, Any]] = []
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        wide = Layout(width="auto", min_width="7em")
        self._run = Button(description="Run", button_style="primary", layout=wide)
        self._halt = Button(description="Stop", disabled=True, layout=wide)
        self._clear = Button(description="Forget the runs", disabled=True, layout=wide)
        self._run.on_click(lambda _: self.start())
        self._halt.on_click(lambda _: self.stop())
        self._clear.on_click(lambda _: self.clear())
        self._bar = IntProgress(value=0, max=1, layout=Layout(width="16em"))
        self._status, self._file, self._pictures, self._table = (HTML() for _ in range(4))
        grid = Layout(grid_template_columns="repeat(2, minmax(0, 1fr))", max_width="60em")
        buttons = HBox([self._run, self._halt, self._bar], layout=Layout(align_items="center"))
        view = VBox(
            [
                GridBox(list(self.choices.values()), layout=grid),
                buttons,
                self._status,
                self._table,
                HBox([self._clear, self._file], layout=Layout(align_items="center")),
                self._pictures,
            ]
        )
        self.view = keep_keys(view).add_class("lab-of-runs")
        self._show("No run yet.")

    @property
    def runs(self) -> pd.DataFrame:
        """One row for each run."""
        import pandas as pd

        return pd.DataFrame(self._rows, index=range(1, len(self._rows) + 1)).rename_axis("run")

    @property
    def trial(self) -> Trial:
        """What is chosen.

        Raises:
            ValueError: if it cannot be run; the message says why.
        """
        chosen = {name: widget.value for name, widget in self.choices.items()}
        reads, writes = chosen["mix"]
        work = Mix(reads, writes, inside=chosen["inside"] / 1e3, insert=chosen["insert"])
        settings = Settings(chosen["journal"], chosen["synchronous"], chosen["timeout"])
        return Trial(chosen["strategy"], work, settings, chosen["threads"], chosen["processes"])

    def start(self) -> None:
        """Run what is chosen; returns at once if there is an event loop, as in a notebook.

        While a run is under way, it does nothing.
        """
        if self._thread is not None:
            return
        try:
            trial, seconds = self.trial, self.choices["seconds"].value
        except ValueError as error:
            self._show(f"This cannot be run: {error}")
            return
        row = self._chosen()
        self._stop.clear()
        self._bar.value, self._bar.max = 0, round(seconds * 1e3)
        self._thread = threading.Thread(
            target=self._work,
            args=(trial, seconds, row, _loop(), contextvars.copy_context()),
            name="lab",
            daemon=True,
        )
        self._show("Running …")
        self._thread.start()
        if _loop() is None:
            self.wait()

    def stop(self) -> None:
        """End the run that is under way."""
        self._stop.set()

    def wait(self) -> None:
        """Return when the run that is under way has ended."""
        if self._thread is not None:
            self._thread.join()

    def clear(self) -> None:
        """Forget all runs."""
        self._rows.clear()
        self.measured.clear()
        self._show("No run yet.")

    def csv(self) -> str:
        """The table of runs as CSV."""
        text: str = self.runs.to_csv()
        return text

    def _work(
        self,
        trial: Trial,
        seconds: float,
        row: dict[str, Any],
        loop: asyncio.AbstractEventLoop | None,
        context: contextvars.Context,
    ) -> None:
        """The thread: run, and leave what there is to show to the event loop."""

        def later(function: Callable[..., None], *arguments: Any) -> None:
            if loop is None:
                function(*arguments)
            elif not loop.is_closed():
                # ipykernel 7.0 sends nothing without the context of a message from the page.
                loop.call_soon_threadsafe(function, *arguments, context=context)

        measured = trial.run(seconds, lambda done: later(self._progressed, done), self._stop)
        later(self._ended, row, measured)

    def _progressed(self, done: int) -> None:
        self._bar.value = done

    def _ended(self, row: dict[str, Any], measured: Measured) -> None:
        self._thread = None
        if measured.ended == "stopped":
            self._show("Stopped: nothing was measured.")
            return
        # What was chosen stands behind what was measured: a wide table is cut off at the right.
        self._rows.append({"strategy": row["strategy"], **measured.numbers(), **row})
        name = f"{len(self._rows)} · {row['strategy']}"
        self.measured[name] = measured
        self._show(f"Run {len(self._rows)}: {_told(measured)}")

    def _chosen(self) -> dict[str, Any]:
        """What is chosen, in the words of the widgets."""
        values = {name: widget.value for name, widget in self.choices.items()}
        values["mix"] = "{}:{}".format(*values["mix"])
        values["insert"] = "INSERT" if values["insert"] else "read, work, UPDATE"
        return {_COLUMNS[name]: value for name, value in values.items()}

    def _show(self, status: str) -> None:
        running = self._thread is not None
        if not running:
            self._show_runs()
        # Last, since the first table and the first picture take a second: libraries are imported.
        self._run.disabled, self._halt.disabled = running, not running
        self._clear.disabled = running or not self._rows
        self._status.value = f'<p role="status" aria-live="polite">{html.escape(status)}</p>'

    def _show_runs(self) -> None:
        self._bar.value = 0
        table = saved = pictures = ""
        if self._rows:
            wide = Table(self.runs, index=True)._repr_html_()
            table = f'<div style="overflow-x: auto" tabindex="0">{wide}</div>'
            saved, pictures = _download(self.csv()), "".join(self._drawn())
        self._table.value, self._file.value, self._pictures.value = table, saved, pictures

    def _drawn(self) -> list[str]:
        """The last run, thread by thread, and the audits of the last runs, as images."""
        name, last = list(self.measured.items())[-1]
        pictures = []
        if last.threads:
            alt = f"Run {name}: units of each thread, and its longest wait; the table has totals."
            pictures.append(charts.turns({name: last}, "The last run, thread by thread", alt=alt))
        audits = {name: run.audit for name, run in self.measured.items() if run.audit}
        if audits:
            drawn = dict(list(audits.items())[-_DRAWN:])
            pictures.append(figures.audit_bars(drawn, "What was acknowledged, and what is stored"))
        return [_image(picture) for picture in pictures]

    def __repr__(self) -> str:
        return (
            "The lab: in JupyterLab or Voila choose a strategy and the work, and press Run. "
            f"Runs so far: {len(self._rows)}."
        )

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        """The widgets where they render, the text everywhere else."""
        bundle = dict(self.view._repr_mimebundle_(include=include, exclude=exclude))
        bundle["text/plain"] = repr(self)
        return bundle


#: Name of a choice -> its label, and its column in the table of runs.
_COLUMNS = {
    "strategy": "strategy",
    "insert": "a write is",
    "mix": "reads:writes",
    "inside": "work inside, ms",
    "threads": "threads",
    "processes": "processes",
    "journal": "journal mode",
    "synchronous": "synchronous",
    "timeout": "busy timeout, s",
    "seconds": "seconds",
}


def _choices() -> dict[str, Any]:
    from ipywidgets import BoundedFloatText, BoundedIntText, Dropdown, Layout

    wide = Layout(width="auto")

    def made(kind: Any, name: str, **options: Any) -> Any:
        return kind(description=_COLUMNS[name], style=_LABEL, layout=wide, **options)

    kinds = {"read, work, UPDATE": False, "one INSERT": True}
    mixes = [(f"{reads}:{writes}", (reads, writes)) for reads, writes in MIXES]
    modes = ["wal", "delete", "truncate", "persist", "memory", "off"]
    known = [(f"{name} (flawed)" if name in FLAWED else name, name) for name in strategies()]
    return {
        "strategy": made(Dropdown, "strategy", options=known),
        "insert": made(Dropdown, "insert", options=list(kinds.items())),
        "mix": made(Dropdown, "mix", options=mixes),
        "inside": made(BoundedFloatText, "inside", value=1.0, min=0.0, max=1000.0, step=0.5),
        "threads": made(BoundedIntText, "threads", value=8, min=1, max=64),
        "processes": made(BoundedIntText, "processes", value=1, min=1, max=8),
        "journal": made(Dropdown, "journal", options=modes),
        "synchronous": made(Dropdown, "synchronous", options=["normal", "full", "extra", "off"]),
        "timeout": made(BoundedFloatText, "timeout", value=5.0, min=0.0, max=60.0, step=0.1),
        "seconds": made(BoundedFloatText, "seconds", value=1.0, min=0.1, max=30.0, step=0.5),
    }


def _told(measured: Measured) -> str:
    """A run in one sentence."""
    if measured.audit is None:
        return f"it did not come to its end: {measured.ended}."
    errors = sum(measured.errors.values())
    said = f"{measured.units_per_second:,.0f} units a second; {measured.audit}; {errors} errors"
    first = next(iter(measured.errors), "")
    return f"{said}, for example {first}" if first else f"{said}."


def _download(text: str) -> str:
    """A link that saves `text` as a file: it needs no server."""
    data = base64.b64encode(text.encode()).decode()
    return (
        '<a class="jupyter-button" style="text-decoration: none" download="runs.csv" '
        f'href="data:text/csv;base64,{data}">Save as CSV</a>'
    )


def _image(picture: Picture) -> str:
    data = base64.b64encode(picture.png()).decode()
    alt = html.escape(picture.alt)
    return f'<img style="max-width: 100%" alt="{alt}" src="data:image/png;base64,{data}">'


def _loop() -> asyncio.AbstractEventLoop | None:
    """The event loop that runs in this thread, which in a kernel shows the widgets."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
