"""Is a recorded history serializable? If not: which transactions depend on each other in a cycle.

The idea is Elle's (Kingsbury and Alvaro 2020, https://doi.org/10.14778/3430915.3430918).
Transactions append values, each of them once, to lists, and read whole lists. A list then tells in
which order its values came, and so which transaction had to come before which:

    ww   A's value stands before B's
    wr   B read a list with A's value in it
    rw   A read a list that does not have B's value yet

A history is serializable if and only if these dependencies have no cycle: with the lists of the
end, the order of all appends is known (Adya 1999, https://pmg.csail.mit.edu/papers/adya-phd.pdf).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from typing import NamedTuple

Value = int


class Append(NamedTuple):
    """Append `value`, which no other append has, to the list `key`."""

    key: str
    value: Value


class Read(NamedTuple):
    """The list `key` was read, and held `values`."""

    key: str
    values: tuple[Value, ...]


@dataclass(frozen=True)
class Transaction:
    """What one transaction did, in order; `acknowledged` unless it was told of an error."""

    name: str
    operations: tuple[Append | Read, ...]
    acknowledged: bool = True


class Edge(NamedTuple):
    """`first` comes before `then`, because of `kind` (``ww``, ``wr``, ``rw``) on a list."""

    first: str
    kind: str
    key: str
    then: str

    def __str__(self) -> str:
        return f"{self.first} –{self.kind} {self.key}→ {self.then}"


@dataclass(frozen=True)
class Judgement:
    """What `judge` found: nothing, a `fault` that needs no cycle, or a `cycle` of dependencies.

    `acknowledged` and `failed` count the transactions.
    """

    acknowledged: int
    failed: int = 0
    fault: str = ""
    cycle: tuple[Edge, ...] = ()

    @property
    def serializable(self) -> bool:
        """Whether some serial order of the transactions explains all that was read and stored."""
        return not (self.fault or self.cycle)

    def __str__(self) -> str:
        if self.cycle:
            start, *rest = self.cycle
            more = "".join(f" –{edge.kind} {edge.key}→ {edge.then}" for edge in rest)
            return f"not serializable: {start}{more}"
        return f"not serializable: {self.fault}" if self.fault else "serializable"

    __repr__ = __str__


def judge(transactions: Iterable[Transaction], end: Mapping[str, Sequence[Value]]) -> Judgement:
    """Judge a history.

    Args:
        transactions: all that were acknowledged, and those that failed.
        end: list -> its values when all had ended.

    Raises:
        ValueError: if a value is appended twice, or two transactions have one name.
    """
    transactions = list(transactions)
    writers = _writers(transactions)
    done = sum(one.acknowledged for one in transactions)
    failed = len(transactions) - done
    faults = [_stored(writers, end), *(_read(one, writers, end) for one in transactions)]
    for fault in filter(None, faults):
        return Judgement(done, failed, fault)
    return Judgement(done, failed, cycle=_cycle(_edges(transactions, writers, end)))


def _writers(transactions: Sequence[Transaction]) -> dict[Value, Transaction]:
    """Value -> who appended it."""
    if len({transaction.name for transaction in transactions}) < len(transactions):
        raise ValueError("two transactions have the same name")
    writers: dict[Value, Transaction] = {}
    for transaction in transactions:
        for operation in transaction.operations:
            if isinstance(operation, Append):
                if operation.value in writers:
                    raise ValueError(f"{operation.value} is appended twice: each value once")
                writers[operation.value] = transaction
    return writers


def _stored(writers: Mapping[Value, Transaction], end: Mapping[str, Sequence[Value]]) -> str:
    """What in the lists of the end nobody asked for, or is missing; empty if nothing."""
    stored = [(key, value) for key, values in end.items() for value in values]
    appended = {
        (one.key, one.value): writer
        for writer in writers.values()
        for one in writer.operations
        if isinstance(one, Append)
    }
    for key, value in stored:
        if (key, value) not in appended or stored.count((key, value)) > 1:
            return f"{key} ends with {value}, which nobody appended there, or only once"
        if not appended[key, value].acknowledged:
            return f"{appended[key, value].name} failed, and its {value} is stored in {key}"
    for (key, value), writer in appended.items():
        if writer.acknowledged and (key, value) not in stored:
            return f"{writer.name} appended {value} to {key}, and it is lost"
    return ""


def _read(
    transaction: Transaction,
    writers: Mapping[Value, Transaction],
    end: Mapping[str, Sequence[Value]],
) -> str:
    """What in the reads of one transaction no serial order explains; empty if nothing."""
    if not transaction.acknowledged:
        return ""
    own: dict[str, list[Value]] = {}
    for operation in transaction.operations:
        mine = own.setdefault(operation.key, [])
        if isinstance(operation, Append):
            mine.append(operation.value)
            continue
        values = list(operation.values)
        says = f"{transaction.name} read {values} in {operation.key}"
        for value in values:
            if value not in writers:
                return f"{says}, and nobody appended {value}"
            if not writers[value].acknowledged:
                return f"{says}, and {writers[value].name}, who appended {value}, failed"
        if values != list(end.get(operation.key, ()))[: len(values)]:
            return f"{says}, and it ends as {list(end.get(operation.key, ()))}"
        if [value for value in values if writers[value] is transaction] != mine or (
            mine and values[-len(mine) :] != mine
        ):
            return f"{says}, and had itself appended {mine}"
    return ""


def _edges(
    transactions: Sequence[Transaction],
    writers: Mapping[Value, Transaction],
    end: Mapping[str, Sequence[Value]],
) -> list[Edge]:
    """All dependencies between two different transactions, each once."""
    names = {value: writer.name for value, writer in writers.items()}
    found = {
        Edge(names[value], "ww", key, names[after])
        for key, values in end.items()
        for value, after in itertools.combinations(values, 2)
    }
    for transaction in transactions:
        for one in transaction.operations:
            if transaction.acknowledged and isinstance(one, Read):
                me, later = transaction.name, end.get(one.key, ())[len(one.values) :]
                found |= {Edge(names[value], "wr", one.key, me) for value in one.values}
                found |= {Edge(me, "rw", one.key, names[value]) for value in later}
    return sorted(edge for edge in found if edge.first != edge.then)


def _cycle(edges: Sequence[Edge]) -> tuple[Edge, ...]:
    """A shortest cycle, empty if there is none."""
    after: dict[str, list[Edge]] = {}
    for edge in edges:
        after.setdefault(edge.first, []).append(edge)
    try:
        TopologicalSorter({name: [e.then for e in out] for name, out in after.items()}).prepare()
    except CycleError:
        cycles = (_back_to(start, after) for start in after)
        return min(filter(None, cycles), key=len)
    return ()


def _back_to(start: str, after: Mapping[str, Sequence[Edge]]) -> tuple[Edge, ...]:
    """A shortest way from `start` to itself, breadth first; empty if there is none."""
    ways: dict[str, tuple[Edge, ...]] = {start: ()}
    for place in (front := [start]):
        for edge in after.get(place, ()):
            if edge.then == start:
                return (*ways[place], edge)
            if edge.then not in ways:
                ways[edge.then] = (*ways[place], edge)
                front.append(edge.then)
    return ()
