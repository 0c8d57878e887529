"""What the thread functions of a program refer to: where its locks are, and what they share.

In a notebook a lock is made in one cell and used in another; it must be made anew for each
schedule. `find_slots` starts from the thread functions and follows global names, closures,
attributes, lists and dicts.

Locks, queues and the database are followed step by step; a list, a variable that a thread binds
again, an object with attributes are not. Where threads may share such a thing (`may_share`), two
runs that took the same steps need not be in the same state. What cannot be told counts as shared.
"""

from __future__ import annotations

import collections
import contextlib
import dis
import enum
import functools
import queue
import re
import sqlite3
import threading
import types
from collections.abc import Callable, Iterable
from typing import Any, get_args, get_origin

#: The types of `threading.Lock()` and `threading.RLock()`.
LOCK_TYPES = (type(threading.Lock()), type(threading.RLock()))
# The classes themselves: during an exploration others have their names.
_PRIMITIVES = (
    *LOCK_TYPES, threading.Condition, threading.Event, threading.Semaphore, threading.Barrier,
    threading.local, queue.Queue, queue.SimpleQueue,
)  # fmt: skip
_SIMPLE = queue.SimpleQueue


class Slot:
    """A place in the program that holds a lock, a queue, a thread-local, or a patched name."""

    def __init__(self, original: Any, put: Callable[[Any], None], name: str) -> None:
        self.original = original
        self.put = put
        self.name = name


def is_primitive(value: Any) -> bool:
    """Whether it is a lock, a queue or the like, whose use is a step."""
    return isinstance(value, _PRIMITIVES)


def items_of(value: Any) -> list[Any]:
    """What a queue holds; it holds the same afterwards. Nothing for other primitives."""
    if not isinstance(value, _SIMPLE):
        return list(getattr(value, "queue", ()))
    items = []
    with contextlib.suppress(queue.Empty):
        while True:
            items.append(value.get_nowait())
    for item in items:
        value.put(item)
    return items


def find_slots(functions: Iterable[Any], patched: dict[int, Any]) -> list[Slot]:
    """The places, reachable from `functions`, of what a fresh run must have anew.

    Looks into functions and objects of the program's own modules and of `helpers`, never
    into other libraries. `patched` maps the id of a replaced callable to its replacement, so
    that ``from threading import Lock`` is seen too.
    """
    functions = list(functions)
    roots = {root(function) for function in functions} | {"__main__", "helpers"}
    slots: list[Slot] = []
    seen: set[int] = set()
    todo = collections.deque((function, None, "") for function in functions)
    while todo:
        value, put, name = todo.popleft()
        if put is None and is_primitive(value):
            raise ValueError(
                f"a {type(value).__name__} stands in a tuple or a set, where no schedule can have "
                "its own: put it into a list, a dict or a variable"
            )
        if put is not None and (id(value) in patched or is_primitive(value)):
            slots.append(Slot(value, put, name))
        elif id(value) not in seen:
            seen.add(id(value))
            todo.extend(inside(value, roots))
    return slots


def root(value: Any) -> str:
    """The top-level package in which a function, a method or an object's class is defined."""
    value = getattr(value, "func", value)
    module = getattr(value, "__module__", None) or type(value).__module__
    return str(module).partition(".")[0]


def inside(value: Any, roots: set[str]) -> list[tuple[Any, Any, str]]:
    """What `value` refers to: (thing, how to replace it or None, its name)."""
    module = str(getattr(value, "__module__", ""))
    if module.startswith("helpers.explorer") and module != "helpers.explorer.scenarios":
        return []
    if isinstance(value, types.FunctionType):
        return _in_function(value, roots) if root(value) in roots else []
    if isinstance(value, types.MethodType):
        return [(value.__func__, None, ""), (value.__self__, None, "")]
    if isinstance(value, functools.partial):
        named = [*inside(value.keywords, roots), *inside(vars(value), roots)]
        return [(value.func, None, ""), *_in_arguments(value), *named]
    if isinstance(value, dict):
        return [(v, functools.partial(value.__setitem__, k), str(k)) for k, v in value.items()]
    if isinstance(value, list):
        put = value.__setitem__
        return [(v, functools.partial(put, i), f"item {i}") for i, v in enumerate(value)]
    if isinstance(value, (tuple, set, frozenset)):
        own = _in_object(value) if root(value) in roots else []
        return [*((v, None, "") for v in value), *own]
    if isinstance(value, types.ModuleType) or root(value) not in roots:
        return []
    return _in_object(value)


def _in_arguments(value: functools.partial[Any]) -> list[tuple[Any, Any, str]]:
    def put(number: int, new: Any) -> None:
        arguments = [*value.args]
        arguments[number] = new
        state = (value.func, tuple(arguments), value.keywords, vars(value))
        value.__setstate__(state)  # type: ignore[attr-defined]

    found = enumerate(value.args)
    return [(v, functools.partial(put, i), f"argument {i}") for i, v in found]


def _in_object(value: Any) -> list[tuple[Any, Any, str]]:
    names = getattr(value, "__dict__", {})
    # Past the `__setattr__` of a frozen dataclass; a class has no such item to set.
    put = getattr(names, "__setitem__", functools.partial(setattr, value))
    found: list[tuple[Any, Any, str]] = []
    for name, item in list(names.items()):
        special = name.startswith("__") and name.endswith("__")
        item = item.__func__ if isinstance(item, (staticmethod, classmethod)) else item
        if not special or isinstance(item, types.FunctionType):
            found.append((item, functools.partial(put, name), name))
    for part in type(value).__mro__:
        slots = vars(part).get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if not name.startswith("__") and hasattr(value, name):
                put = functools.partial(object.__setattr__, value)
                found.append((getattr(value, name), functools.partial(put, name), name))
    if type(value) is not type:
        found.append((type(value), None, ""))
    for part in getattr(value, "__mro__", ())[1:]:
        found.append((part, None, ""))
    return found


def _named(names: dict[str, Any], used: list[str], roots: set[str]) -> list[tuple[Any, Any, str]]:
    """What a function finds in `names`, and as ``module.name`` in modules of the program."""
    found: list[tuple[Any, Any, str]] = []
    for name in used:
        if name not in names:
            continue
        value = names[name]
        found.append((value, functools.partial(names.__setitem__, name), name))
        if isinstance(value, types.ModuleType) and value.__name__.partition(".")[0] in roots:
            others = [other for other in used if other != name]
            found += _named(vars(value), others, roots)
    return found


def _in_function(function: types.FunctionType, roots: set[str]) -> list[tuple[Any, Any, str]]:
    used = sorted(names_in(function.__code__))
    found = _named(function.__globals__, used, roots)
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        with contextlib.suppress(ValueError):  # a name that is not bound yet
            put = functools.partial(setattr, cell, "cell_contents")
            found.append((cell.cell_contents, put, name))
    for number, value in enumerate(function.__defaults__ or ()):
        found.append((value, functools.partial(_set_default, function, number), ""))
    keywords = function.__kwdefaults__ or {}
    for name, value in keywords.items():
        found.append((value, functools.partial(keywords.__setitem__, name), name))
    return found + inside(function.__dict__, roots)


def _set_default(function: types.FunctionType, number: int, value: Any) -> None:
    defaults = list(function.__defaults__ or ())
    defaults[number] = value
    function.__defaults__ = tuple(defaults)


def names_in(code: types.CodeType) -> set[str]:
    """Global names that a code object and the functions inside it may use."""
    names = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            names |= names_in(constant)
    return names


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
    """What a function binds that others may read, or uses that no step shows; empty if nothing."""
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
    """Why no step shows what an instruction does; empty if it is harmless."""
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
