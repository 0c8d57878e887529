"""Which cells of a notebook a claim depends on: only these need to run to see it turn red.

A program slice (M. Weiser, "Program slicing", 1981) by names, read from Python's bytecode. It
keeps a cell that binds a name which is read later, and, where that name may stand for something
that can change, each cell in between that uses it. It does not see what cells share by other
ways than names, a file at a fixed path, say; no notebook does that.
"""

import ast
import builtins
import dis
from collections.abc import Iterable, Sequence
from itertools import chain
from types import CodeType

_DEFINITIONS = (
    ast.Import, ast.ImportFrom, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef,
)  # fmt: skip
#: Where none of these is in the value, it cannot change after its assignment.
_CHANGEABLE = (ast.Call, ast.List, ast.Dict, ast.Set, ast.ListComp, ast.DictComp, ast.SetComp)


def needed(sources: Sequence[str], targets: Iterable[int]) -> list[int]:
    """Numbers of the cells, from 0, that cells `targets` need, themselves among them, in order."""
    kept, late = set(targets), set[str]()
    fixed = set(dir(builtins)) | _fixed(sources)
    last = max(kept)
    cells = [names(source) for source in sources]
    while True:
        # What a function reads may be bound after it, as long as it is before the call.
        wanted = set(late)
        for number in range(last, -1, -1):
            reads, binds, _ = cells[number]
            used = (reads - fixed) & wanted or binds & wanted
            if number in kept or used or _changes_a_module(sources[number], fixed):
                kept.add(number)
                wanted = (wanted - binds) | reads
        before, late = late, set[str]().union(*(cells[number][2] for number in kept))
        if late <= before:
            return sorted(kept)


def names(source: str) -> tuple[set[str], set[str], set[str]]:
    """Names that a cell reads before it binds them; that it binds; that its functions read."""
    return _names(_compiled(ast.parse(source).body))


def _compiled(statements: list[ast.stmt]) -> CodeType:
    tree = ast.Module(statements, type_ignores=[])
    return compile(tree, "cell", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)


def _names(code: CodeType) -> tuple[set[str], set[str], set[str]]:
    reads: set[str] = set()
    binds: set[str] = set()
    late: set[str] = set()
    for step in dis.get_instructions(code):
        if step.opname in ("STORE_NAME", "DELETE_NAME"):
            binds.add(step.argval)
        elif step.opname in ("LOAD_NAME", "LOAD_GLOBAL", "LOAD_FROM_DICT_OR_GLOBALS"):
            reads |= {step.argval} - binds
        elif isinstance(step.argval, CodeType):  # a function or a class in the cell
            inner, own, deeper = _names(step.argval)
            reads |= inner - own - binds
            late |= inner - own | deeper
    return reads, binds, late


def _fixed(sources: Iterable[str]) -> set[str]:
    """Names that every cell which binds them imports, defines or sets to what cannot change."""
    fixed: set[str] = set()
    loose: set[str] = set()
    for statement in chain.from_iterable(ast.parse(source).body for source in sources):
        constant = isinstance(statement, ast.Assign) and not _any(statement.value, _CHANGEABLE)
        _, binds, _ = _names(_compiled([statement]))
        (fixed if constant or isinstance(statement, _DEFINITIONS) else loose).update(binds)
    return fixed - loose


def _changes_a_module(source: str, fixed: set[str]) -> bool:
    """Whether a cell sets an attribute of something fixed: a module, a class."""
    return any(
        isinstance(node, ast.Attribute)
        and not isinstance(node.ctx, ast.Load)
        and isinstance(node.value, ast.Name)
        and node.value.id in fixed
        for node in ast.walk(ast.parse(source))
    )


def _any(tree: ast.AST, kinds: tuple[type[ast.AST], ...]) -> bool:
    return any(isinstance(node, kinds) for node in ast.walk(tree))
