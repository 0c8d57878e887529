"""Progress of long work: a widget in a notebook, plain text in a terminal, nothing elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

#: How a front end is told to show a widget.
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"

#: Called with how many units are done so far.
Progress = Callable[[int], None]


def in_notebook() -> bool:
    """Whether this code runs in a Jupyter kernel."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return hasattr(shell, "kernel")


@contextmanager
def bar(total: int, label: str, show: bool = True) -> Iterator[Progress]:
    """A progress bar for `total` units, for the time of the ``with`` block.

    In a kernel it is tqdm's ipywidgets bar, on a terminal tqdm's text bar on stderr, and
    where stderr is not a terminal nothing is shown. Call the result from the thread that
    entered the block.
    """
    notebook = in_notebook()
    if not show or not (notebook or sys.stderr.isatty()):
        yield lambda done: None
        return
    if notebook:
        from tqdm.notebook import tqdm
    else:
        from tqdm import tqdm
    # tqdm's monitor thread would outlive the bar.
    tqdm.monitor_interval = 0
    options = {"display": False} if notebook else {"leave": False}
    with tqdm(total=total, desc=label, **options) as shown:
        if notebook:
            _show(shown.container)

        def update(done: int) -> None:
            shown.update(done - shown.n)

        yield update


def _show(widget: Any) -> None:
    """Display `widget` without a text beside it.

    Whether a bar appears depends on how fast the machine is, and what is displayed as text is
    compared when a notebook is tested.
    """
    from IPython.display import display

    bundle = widget._repr_mimebundle_()
    display({WIDGET_VIEW: bundle[WIDGET_VIEW]}, raw=True)
