"""What a notebook defines, without its experiments: the applications that tests serve again."""

import ast
import builtins
from pathlib import Path
from typing import Any

import nbformat

#: Calls that run an experiment, also in an assignment.
RUNNING = (
    "webload.run", "sandbox.call", "predict(", "explore(", "check_", "databases.fresh(",
    "enter_context(",
)  # fmt: skip


def defining_cells(path: Path) -> list[str]:
    """For each code cell that defines something: those statements, in order.

    An assignment or a decorator counts if it runs no experiment and needs no result of one.
    """
    notebook = nbformat.read(path, as_version=4)
    known, cells = set(dir(builtins)), []
    for cell in notebook.cells:
        if cell.cell_type == "code":
            kept = [node for node in ast.parse(cell.source).body if _defines(node, known)]
            if kept:
                cells.append("\n".join(ast.unparse(node) for node in kept))
    return cells


def _defines(node: ast.stmt, known: set[str]) -> bool:
    """Whether the statement only defines; if so, its names are added to `known`."""
    if isinstance(node, ast.Assign):
        names = [name for name in ast.walk(node) if isinstance(name, ast.Name)]
        stored = {name.id for name in names if isinstance(name.ctx, ast.Store)}
        if any(word in ast.unparse(node) for word in RUNNING):
            return False
        if {name.id for name in names} - stored - known:
            return False
        known |= stored
    elif isinstance(node, (ast.FunctionDef, ast.ClassDef)):
        used = [name for part in node.decorator_list for name in ast.walk(part)]
        if {name.id for name in used if isinstance(name, ast.Name)} - known:
            return False
        known.add(node.name)
    elif isinstance(node, (ast.Import, ast.ImportFrom)):
        known |= {(alias.asname or alias.name).partition(".")[0] for alias in node.names}
    else:
        return False
    return True


def definitions(path: Path) -> dict[str, Any]:
    """The names that a notebook defines."""
    names: dict[str, Any] = {}
    for source in defining_cells(path):
        exec(compile(source, path.name, "exec"), names)
    return names
