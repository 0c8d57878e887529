"""What every figure is made of: colours with a second cue, and a picture with alternative text.

The palette is Okabe and Ito's (https://jfly.uni-koeln.de/color/), made to stay apart under every
common kind of colour blindness. Colours come from `PALETTE` alone, and each has a second cue: a
marker or a hatch.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # it takes most of a second, so it is imported where something is drawn
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Style:
    """How one kind of thing is drawn: its colour and its second cue."""

    color: str
    hatch: str = ""
    marker: str = ""


#: Kind -> style. The one place where colours are declared.
PALETTE: dict[str, Style] = {
    "read": Style("#56B4E9"),
    "write": Style("#0072B2", hatch="///"),
    "transaction": Style("#009E73", hatch="..."),
    "error": Style("#D55E00", marker="X"),
    "stored": Style("#0072B2"),
    "lost": Style("#E69F00", hatch="///"),
    "unacknowledged": Style("#CC79A7", hatch="xxx"),
    "damaged": Style("#D55E00", hatch="..."),
    "other": Style("#999999", hatch="\\\\\\"),
    "schedules": Style("#E69F00", hatch="///"),
    "runs": Style("#009E73"),
}


@dataclass(frozen=True)
class Picture:
    """A figure and the text that says the same to someone who cannot see it."""

    figure: Figure
    alt: str

    def png(self) -> bytes:
        """The figure as PNG."""
        buffer = io.BytesIO()
        self.figure.savefig(buffer, format="png", dpi=110, metadata={"Description": self.alt})
        return buffer.getvalue()

    def _ipython_display_(self) -> None:
        from IPython.display import display

        picture = {"image/png": self.png(), "text/plain": self.alt}
        show: Callable[..., object] = display
        show(picture, raw=True, metadata={"image/png": {"alt": self.alt}})
        show({"text/markdown": f"*{self.alt}*", "text/plain": self.alt}, raw=True)
