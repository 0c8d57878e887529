"""Tables for reading: left-aligned, nothing cut off, the same HTML in every run.

pandas shortens long cells and aligns text to the right, and its `Styler` puts random
ids into the HTML, which a strict comparison of stored outputs cannot accept.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

_TABLE = "border-collapse: collapse; font-size: 90%"
_CELL = "text-align: {align}; padding: 0.25em 0.8em; vertical-align: top; white-space: {wrap}"

#: Longest text, in characters, that is never broken into two lines.
WHOLE = 24


class Table:
    """A data frame as it should be read; shown in a notebook, printed as text elsewhere.

    Args:
        frame: the rows. Numbers are aligned to the right, everything else to the left.
        caption: a line above the table.
        index: whether to show the index.
        marks: rows (by position) to mark, and the word to mark them with: a bold row with
            the word in front, so that it does not depend on a colour.
    """

    def __init__(
        self,
        frame: pd.DataFrame,
        caption: str = "",
        *,
        index: bool = False,
        marks: Mapping[int, str] | None = None,
    ) -> None:
        self.frame = frame.reset_index() if index else frame
        self.caption = caption
        self.marks = dict(marks or {})
        if self.marks:
            column = [self.marks.get(position, "") for position in range(len(frame))]
            self.frame = self.frame.copy()
            self.frame.insert(0, "", column)

    def __repr__(self) -> str:
        text = self.frame.to_string(index=False, max_colwidth=None, justify="left")
        return f"{self.caption}\n{text}" if self.caption else text

    def _repr_html_(self) -> str:
        caption = f"<caption>{html.escape(self.caption)}</caption>" if self.caption else ""
        aligned = ["right" if self._numeric(name) else "left" for name in self.frame.columns]
        head = _row("th", self.frame.columns, aligned)
        body = "\n".join(
            _row("td", row, aligned, bold=position in self.marks)
            for position, row in enumerate(self.frame.itertuples(index=False))
        )
        return (
            f'<table style="{_TABLE}">{caption}\n<thead>\n{head}\n</thead>\n'
            f"<tbody>\n{body}\n</tbody>\n</table>"
        )

    def _numeric(self, name: object) -> bool:
        return self.frame[name].dtype.kind in "iuf"


def _row(tag: str, values: Iterable[Any], aligned: list[str], bold: bool = False) -> str:
    cells = []
    for value, align in zip(values, aligned, strict=True):
        text = html.escape(str(value))
        wrap = "nowrap" if len(str(value)) <= WHOLE else "normal"
        style = _CELL.format(align=align, wrap=wrap)
        cells.append(f'<{tag} style="{style}">{f"<b>{text}</b>" if bold else text}</{tag}>')
    return f"<tr>{''.join(cells)}</tr>"
