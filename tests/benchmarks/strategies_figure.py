"""The figure of `strategies.py`: units a second, and the longest wait, for every strategy."""

from matplotlib.figure import Figure
from matplotlib.patches import Patch

from helpers.display.pictures import PALETTE

#: Whose bars are drawn how.
KINDS = {"the kit": "stored", "peers": "lost", "one thread": "other"}


def draw(results, kinds, path):
    """Write the PNG and return its alternative text; `kinds` says which strategy is whose."""
    rows = max(len(found) for found in results.values())
    figure = Figure(figsize=(13, 1.6 + 0.33 * rows * len(results)), layout="constrained")
    grid = figure.subplots(len(results), 2, squeeze=False)
    for axes, (mode, found) in zip(grid, results.items(), strict=True):
        _bars(axes[0], found, kinds, "units_per_second", f"{mode}: units a second")
        _bars(axes[1], found, kinds, "longest_wait_ms", f"{mode}: longest wait, ms")
        axes[1].set_yticks([])
    handles = [_legend(kind) for kind in KINDS]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(KINDS), frameon=False)
    text = alternative(results)
    figure.savefig(path, format="png", dpi=110, metadata={"Description": text})
    return text


def _bars(axes, found, kinds, key, title):
    values = [strategy[key] for strategy in found.values()]
    for lane, (name, value) in enumerate(zip(found, values, strict=True)):
        axes.barh(lane, value, height=0.7, **_fill(kinds[name]))
        axes.annotate(
            f"{value:,.0f}", (value, lane), (4, 0),
            textcoords="offset points", va="center", fontsize=8,
        )  # fmt: skip
    axes.set_xscale("log")
    axes.set_xlim(min(values) / 3, max(values) * 3)
    axes.set_yticks(range(len(found)), list(found), fontsize=8)
    axes.set_ylim(len(found) - 0.4, -0.6)
    axes.set_title(f"{title} (logarithmic)", fontsize=10, loc="left")
    axes.spines[["top", "right"]].set_visible(False)


def _fill(kind):
    style = PALETTE[KINDS[kind]]
    edge = "white" if style.hatch else style.color
    return {"facecolor": style.color, "hatch": style.hatch, "edgecolor": edge, "linewidth": 0}


def _legend(kind):
    return Patch(label=kind, **_fill(kind))


def alternative(results):
    """The same in words."""
    parts = []
    for mode, found in results.items():
        speeds = [
            f"{name} {run['units_per_second']:,.0f} units a second, longest wait "
            f"{run['longest_wait_ms']:,.0f} ms"
            for name, run in found.items()
        ]
        parts.append(f"{mode}: " + "; ".join(speeds) + ".")
    return "Bars of units a second and of the longest wait. " + " ".join(parts)
