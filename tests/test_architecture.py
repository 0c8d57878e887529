"""The house: rooms with public faces, imports that run one way, for types as well."""

import ast
import json
import re
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
HELPERS = ROOT / "helpers"

#: What Python asks for, beside the rooms.
FOR_PYTHON = {"__init__.py", "__main__.py", "__pycache__", "py.typed"}


def _name(path):
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {_name(path): path for path in HELPERS.rglob("*.py")}


def _room(module):
    return module.split(".")[1] if "." in module else ""


def _imported(source):
    """(module, name) of each import from `helpers`; name "" where the module itself is meant."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "helpers":
            yield from ((node.module, alias.name) for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from ((a.name, "") for a in node.names if a.name.split(".")[0] == "helpers")


def _module(module, name):
    inner = f"{module}.{name}"
    return inner if inner in MODULES else module


def _graph():
    return {
        module: {_module(*pair) for pair in _imported(path.read_text(encoding="utf-8"))} - {module}
        for module, path in MODULES.items()
    }


def _face(room):
    """Room -> what its ``__all__`` names; None for a room that is one module."""
    path = HELPERS / room / "__init__.py"
    if not path.exists():
        return None
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and node.targets[0].id == "__all__":
            return set(ast.literal_eval(node.value))
    raise AssertionError(f"{room} has no __all__: what is its public face?")


def _reaches_in(source, own=""):
    """Imports of what another room does not offer.

    A room offers what its face names; from a module that the face names, all that is public.
    """
    for module, name in _imported(source):
        room, *inside = module.split(".")[1:] or [name]
        face = _face(room)
        if room == own or face is None:
            continue
        offered = inside[0] in face and len(inside) == 1 if inside else name in face or not name
        if module == "helpers":  # the room itself
            offered = True
        if not offered or name.startswith("_"):
            yield f"{module}: {name}"


def _notebooks():
    for path in sorted((ROOT / "notebooks").rglob("*.ipynb")):
        if ".ipynb_checkpoints" not in path.parts:
            cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
            code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
            yield path, [text for text in code if "helpers" in text and not text.startswith("%%")]


def test_a_module_has_at_most_400_lines():
    lengths = {m: len(p.read_text(encoding="utf-8").splitlines()) for m, p in MODULES.items()}
    assert [m for m, length in lengths.items() if length > 400] == []


def test_at_most_twelve_rooms():
    assert len({path.name for path in HELPERS.iterdir()} - FOR_PYTHON) <= 12


def test_imports_run_one_way_between_modules():
    TopologicalSorter(_graph()).prepare()  # raises CycleError, which names the circle


def test_imports_run_one_way_between_rooms():
    rooms = {}
    for module, others in _graph().items():
        rooms.setdefault(_room(module), set()).update(_room(other) for other in others)
    TopologicalSorter({room: others - {room, ""} for room, others in rooms.items()}).prepare()


def test_what_the_rationale_names_is_there():
    text = (
        (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").replace("notebook_NN", "notebook_01")
    )
    names = set(re.findall(r"`([\w/]+\.py)`", text))
    paths = [
        path.as_posix()
        for part in ("data", "helpers", "tests")
        for path in (ROOT / part).rglob("*.py")
    ]
    assert names
    assert [n for n in sorted(names) if not any(p.endswith(f"/{n}") for p in paths)] == []


@pytest.mark.parametrize("module", [m for m in MODULES if m != "helpers.__main__"])
def test_a_room_imports_only_what_others_offer(module):
    source = MODULES[module].read_text(encoding="utf-8")
    assert list(_reaches_in(source, _room(module))) == []


@pytest.mark.parametrize(("path", "cells"), [pytest.param(*n, id=n[0].stem) for n in _notebooks()])
def test_a_notebook_imports_only_what_rooms_offer(path, cells):
    assert [found for cell in cells for found in _reaches_in(cell)] == []


@pytest.mark.parametrize("module", MODULES)
def test_a_module_uses_nothing_that_another_keeps_for_itself(module):
    tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
    theirs = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("helpers")
        for alias in node.names
    }
    found = [
        f"line {node.lineno}: {node.value.id}.{node.attr}"
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id in theirs
        and node.attr.startswith("_")
        and not node.attr.endswith("__")
    ]
    assert found == []


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("from helpers.explorer import explore", []),
        ("from helpers.display.tables import Table", []),
        ("from helpers import load", []),
        ("from helpers.explorer.engine.scheduler import Scheduler", ["helpers.explorer.engine.scheduler: Scheduler"]),  # noqa: E501
        ("from helpers.explorer import runner", ["helpers.explorer: runner"]),
        ("from helpers.load.sandbox import _child", ["helpers.load.sandbox: _child"]),
    ],
)  # fmt: skip
def test_reaching_in_is_seen(source, found):
    assert list(_reaches_in(source)) == found
