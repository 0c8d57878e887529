"""Do a program's threads share Python objects whose use is no step?

Locks, queues and the database are followed step by step; a list, a variable that a thread binds
again, an object with attributes are not. Where threads may share such a thing, two runs that took
the same steps need not be in the same state. What cannot be told counts as shared.
"""

from __future__ import annotations

import dis
import enum
import functools
import re
import types
from collections.abc import Callable, Iterable
from typing import Any

from helpers.explorer.steps.lock_discovery import inside, is_primitive, root

_PLAIN = (type(None), bool, int, float, complex, str, bytes, range, enum.Enum, re.Pattern)
#: Modules whose functions keep nothing that threads could share, or are steps.
_MODULES = {
    "builtins", "collections", "contextlib", "datetime", "decimal", "enum", "functools",
    "itertools", "json", "math", "operator", "queue", "re", "sqlite3", "statistics",
    "string", "textwrap", "threading", "time", "typing", "_io", "_operator", "_sqlite3", "_thread",
}  # fmt: skip
#: Names under which a function finds what is no step: files, other code, and what it may read of
#: locks, threads and connections without one.
_NAMES = {
    "__dict__", "__import__", "__setattr__", "active_count", "broken", "compile",
    "create_aggregate", "create_collation", "create_function", "delattr", "eval", "exec",
    "globals", "input", "is_alive", "is_set", "n_waiting", "open", "register_adapter",
    "register_converter", "row_factory", "set_authorizer", "set_progress_handler",
    "set_trace_callback", "setattr", "text_factory", "total_changes", "vars",
}  # fmt: skip


def may_share(functions: Iterable[Callable[..., Any]]) -> str:
    """What the threads of these functions may share, in words; empty if only what steps show."""
    functions = list(functions)
    roots = {root(function) for function in functions} | {"__main__", "helpers"}
    seen: set[int] = set()
    todo = [(function, "") for function in functions]
    while todo:
        value, name = todo.pop()
        if id(value) in seen or is_primitive(value):
            continue
        seen.add(id(value))
        reason = _is_followed(value, roots)
        if reason:
            return f"{name or 'a thread'}: {reason}"
        todo += [(part, part_name or name) for part, _, part_name in inside(value, roots)]
    return ""


def _is_followed(value: Any, roots: set[str]) -> str:
    """Why `value` may carry something from thread to thread; empty if it cannot."""
    if isinstance(value, types.FunctionType):
        return _binds(value) if root(value) in roots else _of_library(value)
    if isinstance(value, (types.BuiltinFunctionType, types.ModuleType)):
        return "" if _is_module(getattr(value, "__self__", value), roots) else _text(value)
    if isinstance(value, type):
        return "" if root(value) in roots else _of_library(value)
    if isinstance(value, (functools.partial, types.MethodType, tuple, frozenset, *_PLAIN)):
        return ""
    if isinstance(value, (staticmethod, classmethod, property, types.MemberDescriptorType)):
        return _text(value)
    frozen = getattr(getattr(value, "__dataclass_params__", None), "frozen", False)
    return "" if frozen and root(value) in roots else _text(value)


def _text(value: Any) -> str:
    return f"a {type(value).__name__}"


def _is_module(value: Any, roots: set[str]) -> bool:
    if not isinstance(value, types.ModuleType):
        return False
    return value.__name__.partition(".")[0] in _MODULES | roots


def _of_library(value: Any) -> str:
    return "" if root(value) in _MODULES else f"part of {root(value)}"


def _binds(function: types.FunctionType) -> str:
    """Whether a function binds what others may read, or uses what no step shows."""
    outer = set(function.__code__.co_freevars)
    todo = [function.__code__]
    while todo:
        code = todo.pop()
        todo += [constant for constant in code.co_consts if isinstance(constant, types.CodeType)]
        used = _NAMES.intersection(code.co_names)
        if used:
            return f"the name {min(used)}"
        if any(isinstance(c, str) and "attach" in c.lower() for c in code.co_consts):
            return "ATTACH"
        for instruction in dis.get_instructions(code):
            operation, argument = instruction.opname, instruction.argval
            if operation == "IMPORT_NAME" and argument.partition(".")[0] not in _MODULES:
                return f"imports {argument}"
            if (
                operation.startswith(("STORE_ATTR", "DELETE_ATTR"))
                and argument != "isolation_level"
            ):
                return f"sets the attribute {argument}"
            binds = operation.startswith(("STORE_DEREF", "DELETE_DEREF")) and argument in outer
            if binds or operation.startswith(("STORE_GLOBAL", "DELETE_GLOBAL")):
                return f"binds the name {argument}"
    return ""
