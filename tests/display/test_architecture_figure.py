"""The figure of the architecture: drawn from the imports, up to date, and legible."""

import itertools
import re
import sys
from xml.etree import ElementTree

import pytest
import test_architecture
from matplotlib.backends.backend_agg import FigureCanvasAgg
from test_architecture import ROOT


@pytest.fixture(scope="module")
def script():
    sys.path.insert(0, str(ROOT / "data"))
    try:
        import make_architecture
    finally:
        sys.path.remove(str(ROOT / "data"))
    return make_architecture


@pytest.fixture(scope="module")
def stored(script):
    """The ids in the file: boxes and arrows. Its bytes differ between versions of matplotlib."""
    return [part.get("id", "") for part in ElementTree.parse(script.FILE).iter()]


def ids(stored, kind):
    return sorted(tuple(name.split(".")[1:]) for name in stored if name.startswith(f"{kind}."))


AGAIN = "run: python data/make_architecture.py"


def test_the_stored_figure_has_the_arrows_of_today(script, stored):
    assert ids(stored, "import") == script.arrows(), AGAIN


def test_the_stored_figure_has_the_rooms_of_today_and_says_so(script, stored):
    rooms = {room for (room,) in ids(stored, "room")}
    assert rooms == set(script.ROOMS) == set(script.imports()), AGAIN
    text = script.FILE.read_text(encoding="utf-8")
    assert script.alternative() in text, AGAIN
    words = {part.text for part in ElementTree.fromstring(text).iter() if part.tag.endswith("text")}
    assert {line for _, text in script.ROOMS.values() for line in text.splitlines()} < words, AGAIN


def test_the_rooms_are_those_of_the_readme(script):
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    _, _, table = readme.partition("| question | room |")
    rows = re.findall(r"^\| .+ \| `(\w+)` \|$", table, re.MULTILINE)
    assert sorted(rows) == sorted(script.ROOMS)


def test_arrows_stand_for_all_imports_and_none_for_more(script):
    rooms = {}
    for module, others in test_architecture._graph().items():
        found = rooms.setdefault(test_architecture._room(module), set())
        found |= {test_architecture._room(other) for other in others}
    found = {room: found - {room, ""} for room, found in rooms.items() if room in script.ROOMS}
    assert found == script.imports()

    def below(room, without=None):
        ways = [other for one, other in script.arrows() if one == room and (one, other) != without]
        return set(ways).union(*(below(other, without) for other in ways))

    assert all(others <= below(room) for room, others in found.items())
    assert all(other in found[one] for one, other in script.arrows())
    assert not any(arrow[1] in below(arrow[0], arrow) for arrow in script.arrows())


def test_arrows_lead_down(script):
    row = script.rows()
    assert [pair for pair in script.arrows() if row[pair[0]] <= row[pair[1]]] == []


def test_it_is_the_same_in_every_run(script):
    assert script.svg() == script.svg()


@pytest.fixture(scope="module")
def drawn(script):
    """What was drawn: the whole, the boxes, the texts and the axes; extents in pixels."""
    figure = script.draw().figure
    FigureCanvasAgg(figure).draw()
    (axes,) = figure.axes
    boxes = {p.get_gid(): p.get_window_extent() for p in axes.patches if "room." in p.get_gid()}
    texts = {text.get_text(): text.get_window_extent() for text in axes.texts}
    return figure.bbox, boxes, texts, axes


def overlap(one, two):
    return one.x0 < two.x1 and two.x0 < one.x1 and one.y0 < two.y1 and two.y0 < one.y1


def inside(inner, outer):
    return outer.x0 < inner.x0 < inner.x1 < outer.x1 and outer.y0 < inner.y0 < inner.y1 < outer.y1


def test_nothing_overlaps_or_is_cut_off(script, drawn):
    whole, boxes, texts, _ = drawn
    pairs = [*itertools.combinations(boxes.items(), 2), *itertools.combinations(texts.items(), 2)]
    assert [(one[0], two[0]) for one, two in pairs if overlap(one[1], two[1])] == []
    assert [name for name, box in {**boxes, **texts}.items() if not inside(box, whole)] == []
    for room, (_, words) in script.ROOMS.items():
        for line in (room, *words.splitlines()):
            assert inside(texts[line], boxes[f"room.{room}"]), line
    for line in script.KEY.splitlines():
        assert not any(overlap(texts[line], box) for box in boxes.values()), line


def test_an_arrow_passes_no_box_and_no_text(script, drawn):
    _, boxes, texts, axes = drawn
    for one, other in script.arrows():
        (x0, y0), (x1, y1) = axes.transData.transform(script.ends(one, other))
        line = [(x0 + (x1 - x0) * part / 200, y0 + (y1 - y0) * part / 200) for part in range(201)]
        for name, box in {**boxes, **texts}.items():
            assert not any(box.contains(x, y) for x, y in line), (one, other, name)


def test_texts_are_legible(drawn):
    """At 800 pixels, the width of a page: the figure is 8 inches wide, so 100 to the inch."""
    whole, _, texts, _ = drawn
    assert whole.width == 800
    assert min(box.height for box in texts.values()) >= 9
