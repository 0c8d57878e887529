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
import sqlite3
import types
from collections.abc import Callable, Iterable
from typing import Any, get_args, get_origin

from helpers.explorer.steps.lock_discovery import inside, is_primitive, items_of, names_in, root

_PLAIN = (type(None), bool, int, float, complex, str, bytes, range, enum.Enum, re.Pattern)
#: ``list[int]``, ``int | None``
_ALIASES = (types.GenericAlias, types.UnionType)
#: Modules whose functions keep nothing that threads could share, or are steps.
_MODULES = {
    "builtins", "collections", "contextlib", "datetime", "decimal", "enum", "functools",
    "itertools", "json", "math", "operator", "queue", "re", "sqlite3", "statistics",
    "string", "textwrap", "threading", "time", "typing", "_io", "_operator", "_sqlite3", "_thread",
}  # fmt: skip
#: Names under which a function finds what is no step: files, other code, and what it may read of
#: locks, threads and connections without one.
_NAMES = {
    "__dict__", "__import__", "__setattr__", "__subclasses__", "_count", "_flag", "_is_owned",
    "_state", "_value", "_waiters", "activeCount", "active_count", "adapters", "attrgetter",
    "backup", "blobopen", "broken", "chdir", "compile", "converters", "create_aggregate",
    "create_collation", "create_function", "create_window_function", "delattr", "deserialize",
    "enable_shared_cache", "eval", "exec", "getattr", "globals", "input", "isSet", "is_alive",
    "is_set", "methodcaller", "n_waiting", "open", "redirect_stderr", "redirect_stdout",
    "register_adapter", "register_converter", "row_factory", "serialize", "set_authorizer",
    "set_progress_handler", "set_trace_callback", "setattr", "text_factory", "total_changes",
    "unfinished_tasks", "vars",
}  # fmt: skip
#: The same, but only as attributes: other things have these names too.
_ATTRIBUTES = {"enumerate", "queue"}


def may_share(functions: Iterable[Callable[..., Any]]) -> str:
    """What the threads of these functions may share, in words; empty if only what steps show."""
    functions = list(functions)
    roots = {root(function) for function in functions} | {"__main__", "helpers"}
    seen: dict[int, Any] = {}
    todo = [(function, "") for function in (*functions, *_registered(roots))]
    while todo:
        value, name = todo.pop()
        if id(value) not in seen:
            seen[id(value)] = value
            reason = "" if is_primitive(value) else _is_followed(value, roots)
            if reason:
                return f"{name or 'a thread'}: {reason}"
            todo += [(part, part_name or name) for part, part_name in _parts(value, roots)]
        todo = todo or _in_modules(seen, roots)
    return ""


def _registered(roots: set[str]) -> list[Any]:
    """The program's functions that `sqlite3` calls by itself to convert values."""
    known = (*sqlite3.adapters.values(), *sqlite3.converters.values())
    return [function for function in known if root(function) in roots]


def _parts(value: Any, roots: set[str]) -> list[tuple[Any, str]]:
    """What `value` refers to, with names."""
    if is_primitive(value):  # a class of the program may have more; a queue may hold something
        kinds = [type(value)] if root(type(value)) in roots else []
        return [(part, "") for part in (*kinds, *items_of(value))]
    if isinstance(value, _ALIASES):  # an attribute of one is that of the class behind it
        return [(part, "") for part in (get_origin(value), *get_args(value))]
    return [(part, name) for part, _, name in inside(value, roots)]


def _in_modules(seen: dict[int, Any], roots: set[str]) -> list[tuple[Any, str]]:
    """What the functions may find in modules that they have, under names that they use."""
    codes = [value.__code__ for value in seen.values() if isinstance(value, types.FunctionType)]
    used = {name for code in codes for name in names_in(code)}
    modules = [value for value in seen.values() if isinstance(value, types.ModuleType)]
    found = [
        (vars(module)[name], name)
        for module in modules
        for name in sorted(used.intersection(vars(module)))
        if _is_own(module, roots) or isinstance(vars(module)[name], types.ModuleType)
    ]
    return [(part, name) for part, name in found if id(part) not in seen]


def _is_own(module: types.ModuleType, roots: set[str]) -> bool:
    return module.__name__.partition(".")[0] in roots


def _is_followed(value: Any, roots: set[str]) -> str:
    """Why `value` may carry something from thread to thread; empty if it cannot."""
    if isinstance(value, types.FunctionType):
        return _binds(value) if root(value) in roots else _of_library(value)
    if isinstance(value, types.BuiltinFunctionType):
        known = _is_module(value.__self__, roots) and value.__name__ not in _NAMES
        return "" if known else _text(value)
    if isinstance(value, types.ModuleType):
        return "" if _is_module(value, roots) else _text(value)
    if isinstance(value, type):
        if root(value) not in roots:
            return _of_library(value)
        return "the attribute isolation_level" if "isolation_level" in vars(value) else ""
    plain = (functools.partial, types.MethodType, tuple, frozenset, *_ALIASES, *_PLAIN)
    if isinstance(value, plain):
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
    known = root(value) in _MODULES and value.__name__ not in _NAMES | _ATTRIBUTES
    return "" if known else f"part of {root(value)}"


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
        for instruction in dis.get_instructions(code):
            operation, argument = instruction.opname, instruction.argval
            reason = _shows_nothing(operation, argument, outer)
            if reason:
                return reason
    return ""


def _shows_nothing(operation: str, argument: Any, outer: set[str]) -> str:
    """Why an instruction of Python's is none that a step shows; empty if it is harmless."""
    if operation == "IMPORT_NAME" and argument.partition(".")[0] not in _MODULES:
        return f"imports {argument}"
    if operation.startswith(("LOAD_ATTR", "LOAD_METHOD")) and argument in _ATTRIBUTES:
        return f"the attribute {argument}"
    if operation.startswith(("STORE_ATTR", "DELETE_ATTR")) and argument != "isolation_level":
        return f"sets the attribute {argument}"
    binds = operation.startswith(("STORE_DEREF", "DELETE_DEREF")) and argument in outer
    if binds or operation.startswith(("STORE_GLOBAL", "DELETE_GLOBAL")):
        return f"binds the name {argument}"
    return ""
