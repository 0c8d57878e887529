"""Where does a program keep its locks? Those made earlier must be made anew for each schedule.

In a notebook a lock is made in one cell and used in another. `find_slots` starts from the
thread functions and follows global names, closures, attributes, lists and dicts.
"""

from __future__ import annotations

import collections
import contextlib
import functools
import queue
import threading
import types
from collections.abc import Callable, Iterable
from typing import Any

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
    found: list[tuple[Any, Any, str]] = []
    for name, item in list(names.items()):
        special = name.startswith("__") and name.endswith("__")
        item = item.__func__ if isinstance(item, (staticmethod, classmethod)) else item
        if not special or isinstance(item, types.FunctionType):
            found.append((item, functools.partial(setattr, value, name), name))
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
