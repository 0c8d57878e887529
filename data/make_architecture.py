"""Draw architecture.svg, the rooms of `helpers` and who imports whom, from the real imports.

Run from anywhere: ``python data/make_architecture.py``.

A room stands one row above the highest room that it imports. An arrow leads from a room to one
that it imports; left out are those that others imply (`load` imports `display` too, but there is
a way by `explorer`). The imports are read, not run, those for types as well.
"""

import ast
import functools
import io
from graphlib import TopologicalSorter
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from helpers.display.figures import PALETTE, Picture

DATA = Path(__file__).resolve().parent
HELPERS = DATA.parent / "helpers"
FILE = DATA / "architecture.svg"

#: Room -> the middle of its box from the left (0 to 10), and its question in a few words.
ROOMS = {
    "strategies": (1.6, "in which ways can threads\nshare a database?"),
    "databases": (5.0, "where do samples come from,\nwho has a connection open?"),
    "history": (8.4, "what did the threads do?"),
    "workloads": (3.3, "which jobs do they do,\nand was anything lost?"),
    "display": (5.0, "what does it look like?"),
    "explorer": (5.0, "how do I run it in an order\nthat I choose, in every order?"),
    "load": (5.0, "how do I run it at full speed,\nand where it may crash?"),
    "web": (5.0, "how does a web application\nbehave under load?"),
    "isolation": (1.6, "which anomalies can happen,\nunder which settings?"),
    "failures": (8.4, "what can go wrong,\nwhat does this error mean?"),
    "exercises": (5.0, "is what a learner\nwrote right?"),
    "commands": (8.4, "is my installation complete?\npython -m helpers …"),
}
#: Of a box, in the units of the axes: ten to the width, one to a row.
WIDTH, HEIGHT, PAD, LINE = 2.9, 0.56, 0.06, 0.16
#: How far from the middle of a box a leaning arrow ends.
LEAN = 0.9
GREY = "#555555"
KEY = """An arrow leads from a room
to one that it imports.
Not drawn: arrows that
a longer way implies."""


@functools.cache
def imports():
    """Room -> the other rooms that it imports."""
    found = {}
    for path in sorted(HELPERS.rglob("*.py")):
        room = path.relative_to(HELPERS).parts[0].removesuffix(".py")
        if not room.startswith("__"):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            others = {other for node in ast.walk(tree) for other in _rooms(node)}
            found[room] = found.get(room, set()) | (others - {room})
    return {room: others & found.keys() for room, others in found.items()}


def _rooms(node):
    """The rooms that one statement imports."""
    names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
    if isinstance(node, ast.ImportFrom):
        names = [f"{node.module}.{alias.name}" for alias in node.names]
    return [name.split(".")[1] for name in names if name.startswith("helpers.")]


def arrows():
    """(importing room, imported room), without those that a longer way implies, in order."""
    direct, below = imports(), {}
    for room in TopologicalSorter(direct).static_order():
        below[room] = direct[room].union(*(below[other] for other in direct[room]))
    return sorted(
        (room, other)
        for room, others in direct.items()
        for other in others
        if not any(other in below[between] for between in others)
    )


def rows():
    """Room -> its row, 0 for the lowest."""
    direct, row = imports(), {}
    for room in TopologicalSorter(direct).static_order():
        row[room] = max((row[other] + 1 for other in direct[room]), default=0)
    return row


def draw():
    """The picture. Each box and each arrow has an id that says what it is."""
    row = rows()
    top = max(row.values())
    figure = Figure(figsize=(8, 1.02 * (top + 0.9)))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.set_xlim(0, 10)
    axes.set_ylim(-0.45, top + 0.45)
    for room, (x, words) in ROOMS.items():
        _box(axes, room, x, row[room], words)
    for one, other in arrows():
        _arrow(axes, one, other)
    _text(axes, 8.4, 3, KEY, color=GREY)
    return Picture(figure, alternative())


def alternative():
    """The picture in words: the rooms from top to bottom, each with those that it imports."""
    row, pairs = rows(), arrows()
    lines = []
    for room in sorted(row, key=lambda room: (-row[room], room)):
        others = [other for one, other in pairs if one == room]
        lines.append(f"{room} imports {' and '.join(others) or 'no room'}")
    return (
        "The rooms of helpers, each above those that it imports; imports that a longer way "
        f"implies are left out: {'; '.join(lines)}."
    )


def _box(axes, room, x, y, words):
    box = FancyBboxPatch(
        (x - WIDTH / 2, y - HEIGHT / 2), WIDTH, HEIGHT, boxstyle=f"round,pad={PAD}",
        facecolor="white", edgecolor=PALETTE["stored"].color, linewidth=2, gid=f"room.{room}",
    )  # fmt: skip
    axes.add_patch(box)
    _text(axes, x, y + 0.19, room, fontsize=11, weight="bold")
    _text(axes, x, y - 0.12, words)


def _text(axes, x, y, text, **style):
    """Each line by itself, so that it is in the middle in another font, too."""
    lines = text.splitlines()
    for place, line in enumerate(lines):
        above = LINE * ((len(lines) - 1) / 2 - place)
        axes.text(x, y + above, line, **{"ha": "center", "va": "center", "fontsize": 9, **style})


def ends(one, other):
    """Where an arrow begins, at a box's lower edge, and ends, at another's upper edge."""
    row = rows()
    (start, _), (end, _) = ROOMS[one], ROOMS[other]
    lean = max(-LEAN, min(LEAN, (end - start) / 3))
    half = HEIGHT / 2 + PAD + 0.01
    return (start + lean, row[one] - half), (end - lean, row[other] + half)


def _arrow(axes, one, other):
    arrow = FancyArrowPatch(
        *ends(one, other), arrowstyle="-|>", mutation_scale=14, shrinkA=0, shrinkB=0,
        color=GREY, linewidth=1.4, gid=f"import.{one}.{other}",
    )  # fmt: skip
    axes.add_patch(arrow)


def svg():
    """The file: the same each time, text as text, with its description."""
    picture, buffer = draw(), io.BytesIO()
    about = {"Title": "The rooms of helpers", "Description": picture.alt}
    without = {"Date": None, "Creator": None}
    with matplotlib.rc_context({"svg.hashsalt": "rooms", "svg.fonttype": "none"}):
        picture.figure.savefig(buffer, format="svg", metadata={**about, **without})
    return buffer.getvalue()


if __name__ == "__main__":
    FILE.write_bytes(svg())
