"""The applications that a notebook defines, without running its experiments."""

import ast
from pathlib import Path
from typing import Any

import nbformat

#: Statements that only define something.
DEFINING = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef, ast.Assign)
#: Calls that run an experiment, also in an assignment.
RUNNING = ("webload.run", "sandbox.call", "predict(", "explore(", "check_", "databases.fresh(")


def defining_cells(path: Path) -> list[str]:
    """Sources of the code cells that import and define and do nothing else, in order."""
    notebook = nbformat.read(path, as_version=4)
    sources = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    return [source for source in sources if _defines(source)]


def _defines(source: str) -> bool:
    """Whether every statement only defines; inside a function anything may stand."""
    for node in ast.parse(source).body:
        if not isinstance(node, DEFINING):
            return False
        if isinstance(node, ast.Assign) and any(word in ast.unparse(node) for word in RUNNING):
            return False
    return True


def definitions(path: Path) -> dict[str, Any]:
    """The names that these cells define."""
    names: dict[str, Any] = {}
    for source in defining_cells(path):
        exec(compile(source, path.name, "exec"), names)
    return names
