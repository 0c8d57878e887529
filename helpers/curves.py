"""Curves: how one number grows with another, a line and a marker for each of several ways.

A neighbour of `figures`: the same `Picture`, the same palette.
"""

from __future__ import annotations

from collections.abc import Mapping

from matplotlib.figure import Figure

from helpers.figures import PALETTE, Picture

#: Colour, marker and line of the first curve, the second, …: where curves lie on each other,
#: the solid one is seen between the dashes of those above it.
_STYLES = (
    (PALETTE["stored"].color, "o", "-"),
    (PALETTE["lost"].color, "s", "--"),
    (PALETTE["reduced"].color, "^", "-."),
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
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.set_title(title, fontsize=11, loc="left")
    axes.grid(color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    if len(series) > 1:
        figure.legend(loc="outside lower center", ncols=len(series), frameon=False)
    return Picture(figure, alt)
