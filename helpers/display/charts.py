"""Charts that compare runs: turns and waits of each thread, how a number grows with another.

`panels` and `waits` compare many ways in several workloads, `decisions` draws what follows.
A neighbour of `figures`.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from helpers.display.pictures import PALETTE, Picture, Style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Entries of the palette for the first run, the second, …; each differs by its hatch as well.
_SERIES = ("schedules", "runs", "damaged", "unacknowledged")


class Turns(Protocol):
    """What `turns` needs of a run; `load.LoadResult` has it."""

    @property
    def threads(self) -> tuple[str, ...]:
        """Names, in order."""

    @property
    def acknowledged(self) -> Mapping[str, int]:
        """Thread name -> units it was told had succeeded."""

    @property
    def longest_wait(self) -> Mapping[str, float]:
        """Thread name -> seconds that its slowest unit took."""


def turns(
    runs: Mapping[str, Turns],
    title: str,
    *,
    alt: str,
    threads: Mapping[str, str] | None = None,
) -> Picture:
    """Two panels, a bar for each thread and run: units acknowledged, and the longest wait.

    Args:
        runs: label -> run; at most four, all with the same threads.
        title: above the figure.
        alt: alternative text: what the bars show, without numbers that differ from run to run.
        threads: thread name -> what to call it in the figure; by default its name.

    Raises:
        ValueError: for no run, more than four, or runs whose threads differ.
    """
    if not 1 <= len(runs) <= len(_SERIES):
        raise ValueError(f"give 1 to {len(_SERIES)} runs, not {len(runs)}")
    from matplotlib.figure import Figure

    names = next(iter(runs.values())).threads
    if any(run.threads != names for run in runs.values()):
        raise ValueError("all runs must have the same threads")
    labels = [(threads or {}).get(name, name) for name in names]
    figure = Figure(figsize=(8.5, 1.5 + 0.24 * len(names) * len(runs)), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    units = {label: [run.acknowledged[name] for name in names] for label, run in runs.items()}
    waits = {label: [run.longest_wait[name] * 1e3 for name in names] for label, run in runs.items()}
    _bars(left, units, "units of work acknowledged")
    _bars(right, waits, "longest wait, in milliseconds")
    left.set_yticks(range(len(names)), labels)
    left.set_ylim(len(names) - 0.5, -0.5)
    figure.suptitle(title, fontsize=11, x=0.01, ha="left")
    handles, _ = left.get_legend_handles_labels()
    figure.legend(handles=handles, loc="outside lower center", ncols=2, frameon=False)
    return Picture(figure, alt)


def _bars(axes: Axes, series: Mapping[str, Sequence[float]], label: str) -> None:
    """One group of bars a lane, one bar of it for each entry of `series`."""
    height = 0.8 / len(series)
    for number, (name, values) in enumerate(series.items()):
        style = PALETTE[_SERIES[number]]
        offset = (number - (len(series) - 1) / 2) * height
        bars = axes.barh(
            [lane + offset for lane in range(len(values))], values, height=height, label=name,
            facecolor=style.color, hatch=style.hatch, edgecolor="white", linewidth=0.5,
        )  # fmt: skip
        axes.bar_label(bars, fmt="{:.0f}", padding=3, fontsize=8)
    axes.margins(x=0.15)
    axes.set_xlabel(label)
    axes.spines[["top", "right"]].set_visible(False)


#: Colour, marker and line of the first curve, the second, …: where curves lie on each other,
#: the solid one is seen between the dashes of those above it.
_STYLES = (
    (PALETTE["stored"].color, "o", "-"),
    (PALETTE["lost"].color, "s", "--"),
    (PALETTE["runs"].color, "^", "-."),
    (PALETTE["unacknowledged"].color, "D", ":"),
)


def curves(
    series: Mapping[str, Mapping[float, float]],
    title: str,
    *,
    x: str,
    y: str,
    alt: str,
    logarithmic: bool = False,
) -> Picture:
    """One curve for each entry of `series`, named in a legend.

    Args:
        series: label -> x -> y; at most four labels.
        title: above the figure.
        x: what the horizontal axis shows, with the unit.
        y: what the vertical axis shows, with the unit.
        alt: alternative text: what the curves show, without numbers that differ from run to run.
        logarithmic: whether both axes are; then all numbers must be more than 0.

    Raises:
        ValueError: for no series, more than four, or one without points.
    """
    if not 1 <= len(series) <= len(_STYLES) or not all(series.values()):
        raise ValueError(
            f"give 1 to {len(_STYLES)} series with at least one point each, not {len(series)}"
        )
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.5, 3.8), layout="constrained")
    axes = figure.subplots()
    for (label, points), (color, marker, line) in zip(series.items(), _STYLES, strict=False):
        axes.plot(
            list(points), list(points.values()), label=label, color=color, marker=marker,
            linestyle=line, linewidth=2, markersize=7, markeredgecolor="white",
        )  # fmt: skip
    if logarithmic:
        axes.set_xscale("log")
        axes.set_yscale("log")
    else:
        axes.set_ylim(bottom=0)
        # Threads and workers come whole.
        whole = all(float(at).is_integer() for points in series.values() for at in points)
        axes.locator_params(axis="x", integer=whole)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.set_title(title, fontsize=11, loc="left")
    axes.grid(color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    if len(series) > 1:
        figure.legend(loc="outside lower center", ncols=len(series), frameon=False)
    return Picture(figure, alt)


def matrix(
    rows: Mapping[str, Mapping[tuple[str, str], tuple[bool, str]]], title: str, *, alt: str
) -> Picture:
    """A table of yes and no, each cell with a colour, a symbol (● or –) and a text.

    Args:
        rows: label -> (group of columns, column) -> (yes or no, text); all rows with the same
            columns, those of a group beside each other.
        title: above the figure.
        alt: alternative text.

    Raises:
        ValueError: for no row, or rows whose columns differ.
    """
    columns = list(next(iter(rows.values()), {}))
    if not columns or any(list(row) != columns for row in rows.values()):
        raise ValueError("give at least one row, all with the same columns")
    from matplotlib.figure import Figure

    width = max(0.95, *(0.08 * len(name) for _, name in columns))
    size = (2.6 + width * len(columns), 1.1 + 0.42 * len(rows))
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots()
    for y, row in enumerate(rows.values()):
        for x, (yes, text) in enumerate(row.values()):
            color, symbol = (PALETTE["error"].color, "●") if yes else ("#e8f3ef", "–")
            axes.barh(y, 0.94, 0.88, left=x - 0.47, color=color)
            ink = "white" if yes else "#333333"
            axes.text(x, y - 0.14, symbol, color=ink, ha="center", va="center", fontsize=9)
            axes.text(x, y + 0.21, text, color=ink, ha="center", va="center", fontsize=7.5)
    axes.set_xticks(range(len(columns)), [name for _, name in columns], fontsize=8)
    axes.set_yticks(range(len(rows)), list(rows), fontsize=9)
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlim(-0.5, len(columns) - 0.5)
    axes.spines[:].set_visible(False)
    groups = [group for group, _ in columns]
    for group in dict.fromkeys(groups):
        first, count = groups.index(group), groups.count(group)
        axes.text(first + (count - 1) / 2, -1.05, group, ha="center", weight="bold", fontsize=9)
        if first:
            axes.axvline(first - 0.5, color="#555555", linewidth=1)
    figure.suptitle(title, fontsize=11, x=0.01, ha="left")
    return Picture(figure, alt)


#: How a way is drawn that broke its promises.
_BROKEN = PALETTE["damaged"]


def panels(
    values: Mapping[str, Mapping[str, float]],
    title: str,
    *,
    x: str,
    alt: str,
    broken: Mapping[str, Mapping[str, bool]] | None = None,
) -> Picture:
    """A panel for each entry of `values`, side by side, in each a bar for each name.

    Args:
        values: panel -> name -> length of the bar. A name without a value in a panel has no bar.
        title: above the figure.
        x: what the bars show, with the unit.
        alt: alternative text, without numbers that differ from run to run.
        broken: panel -> name -> whether to mark the bar with a cross and a hatch.

    Raises:
        ValueError: for no panel.
    """
    figure, every, names = _side_by_side(values, title, x)
    for axes, (panel, bars) in zip(every, values.items(), strict=True):
        for lane, name in enumerate(names):
            if name not in bars:
                continue
            style = _BROKEN if broken and broken[panel][name] else PALETTE["runs"]
            mark = "✗ " if style is _BROKEN else ""
            axes.barh(lane, bars[name], 0.7, color=style.color, hatch=style.hatch, ec="white")
            text = f"{mark}{bars[name]:,.3g}" if bars[name] < 100 else f"{mark}{bars[name]:,.0f}"
            axes.annotate(text, (bars[name], lane), (3, 0), **_BESIDE)
        axes.margins(x=0.45)
        axes.set_xticks([])
    return Picture(figure, alt)


#: What is drawn of waits: label, colour, marker.
_WAITS = (
    ("median", PALETTE["stored"].color, "o"),
    ("99 of 100 are shorter", PALETTE["lost"].color, "s"),
    ("longest", PALETTE["damaged"].color, "X"),
)
_BESIDE: dict[str, Any] = {"textcoords": "offset points", "va": "center", "fontsize": 8}


def waits(
    values: Mapping[str, Mapping[str, tuple[float, float, float]]], title: str, *, alt: str
) -> Picture:
    """A panel for each entry of `values`: of each name the median, 99th percentile, longest wait.

    Args:
        values: panel -> name -> the three, in seconds. Drawn in milliseconds, logarithmically.
        title: above the figure.
        alt: alternative text, without numbers that differ from run to run.

    Raises:
        ValueError: for no panel.
    """
    figure, every, names = _side_by_side(values, title, "wait for a unit, in milliseconds")
    for axes, marks in zip(every, values.values(), strict=True):
        lanes = [lane for lane, name in enumerate(names) if name in marks]
        three = [[max(1e-3, wait * 1e3) for wait in marks[names[lane]]] for lane in lanes]
        axes.hlines(lanes, [w[0] for w in three], [w[2] for w in three], color="#bbbbbb")
        for place, (label, color, marker) in enumerate(_WAITS):
            points = [waits[place] for waits in three]
            axes.plot(points, lanes, marker, color=color, label=label, markeredgecolor="white")
        axes.set_xscale("log")
        axes.set_xlim(0.005, 5000)
        axes.set_xticks([0.01, 1, 100], ["0.01", "1", "100"])
        axes.grid(axis="x", color="#dddddd", linewidth=0.6)
    handles, _ = every[0].get_legend_handles_labels()
    figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False)
    return Picture(figure, alt)


def _side_by_side(
    values: Mapping[str, Mapping[str, Any]], title: str, x: str
) -> tuple[Figure, list[Axes], list[str]]:
    """A figure with a panel for each entry; all names of all entries share the vertical axis."""
    if not values:
        raise ValueError("there is nothing to draw: give at least one panel")
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(name for panel in values.values() for name in panel))
    size = (max(4.5, 1.4 + 1.75 * len(values)), 1.3 + 0.28 * len(names))
    figure = Figure(figsize=size, layout="constrained")
    every = list(figure.subplots(1, len(values), sharey=True, squeeze=False)[0])
    for axes, panel in zip(every, values, strict=True):
        axes.set_title(panel.replace(", ", ",\n"), fontsize=9)
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_axisbelow(True)
    every[0].set_yticks(range(len(names)), names)
    every[0].set_ylim(len(names) - 0.5, -0.5)
    figure.suptitle(title, fontsize=11, x=0.01, ha="left")
    every[len(every) // 2].set_xlabel(x, fontsize=9)
    return figure, every, names


def decisions(
    questions: Sequence[tuple[str, str]], otherwise: str, title: str, *, alt: str
) -> Picture:
    """A chain of questions from top to bottom: yes leads to the right, no down to the next.

    Args:
        questions: (question, what to take if the answer is yes), in order.
        otherwise: what to take if all answers are no.
        title: above the figure.
        alt: alternative text: the questions and answers.

    Raises:
        ValueError: for no question.
    """
    if not questions:
        raise ValueError("there is nothing to decide: give at least one question")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.5, 0.6 + 0.95 * (len(questions) + 1)), layout="constrained")
    axes = figure.subplots()
    axes.set_axis_off()
    axes.set_xlim(0, 10)
    axes.set_ylim(len(questions) + 0.5, -0.5)
    arrow = {"arrowstyle": "-|>", "color": "#555555"}
    for lane, (question, answer) in enumerate(questions):
        _box(axes, (3, lane), 5.4, question, PALETTE["stored"])
        _box(axes, (8.6, lane), 2.4, answer, PALETTE["runs"])
        axes.annotate("", (7.4, lane), (5.7, lane), arrowprops=arrow)
        axes.text(6.5, lane - 0.08, "yes", ha="center", va="bottom", fontsize=9)
        axes.annotate("", (3, lane + 0.68), (3, lane + 0.32), arrowprops=arrow)
        axes.text(3.15, lane + 0.5, "no", va="center", fontsize=9)
    _box(axes, (3, len(questions)), 2.4, otherwise, PALETTE["runs"])
    axes.set_title(title, fontsize=11, loc="left")
    return Picture(figure, alt)


def _box(axes: Axes, centre: tuple[float, float], width: float, text: str, style: Style) -> None:
    from matplotlib.patches import Rectangle

    text = textwrap.fill(text, 45)
    x, y = centre
    corner = (x - width / 2, y - 0.32)
    axes.add_patch(Rectangle(corner, width, 0.64, fc="white", ec=style.color, linewidth=2))
    axes.text(x, y, text, ha="center", va="center", fontsize=9, linespacing=1.4)
