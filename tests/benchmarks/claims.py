"""The mutation table: does every claim of the notebooks go red when what it shows is changed?

    python tests/benchmarks/claims.py --processes 3      # all: 11 minutes on two cores
    python tests/benchmarks/claims.py --notebook 04 --notebook 08 --processes 4
    python tests/benchmarks/claims.py --json > claims.json

Each mutation of `tests/mutated` is made in a copy of the course, and the cells of the notebook
that its claims depend on are run. A claim counts as red if all of its mutations turn it red, as
`tests/mutations.py` demands. The exit status is 1 if anything stays green or cannot be run.
"""

import argparse
import contextlib
import io
import json
import multiprocessing
import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import mutations
from mutated import MUTATIONS
from mutations import Mutation, MutationError


@dataclass(frozen=True)
class Row:
    """One notebook: its claims and mutations, and how many of each went red."""

    notebook: str
    claims: int
    claims_red: int
    mutations: int
    red: int

    @property
    def share(self) -> str:
        """Of the mutations that went red, in percent, rounded down: 100 means all."""
        return f"{100 * self.red // self.mutations} %" if self.mutations else "-"


def judged(mutation: Mutation, root: Path = mutations.ROOT) -> list[str]:
    """What is wrong with one mutation, in words; empty if its claims went red."""
    # pytest, which runs in this process, says a lot.
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        try:
            return mutations.problems(mutation, root)
        except MutationError as error:
            return [str(error)]


def run(chosen: list[Mutation], processes: int) -> Iterator[tuple[Mutation, list[str]]]:
    """Each mutation with what is wrong with it, in their order."""
    # New processes: pytest and its kernels take memory that one process would keep.
    fresh = multiprocessing.get_context("spawn")
    with fresh.Pool(processes, maxtasksperchild=20) as pool:
        yield from zip(chosen, pool.imap(judged, chosen), strict=True)


def table(results: Iterable[tuple[Mutation, list[str]]]) -> list[Row]:
    """A row for each notebook, in order, and the total."""
    found = list(results)
    names = sorted({mutation.notebook for mutation, _ in found})
    rows = [_row(name, [pair for pair in found if pair[0].notebook == name]) for name in names]
    return [*rows, _row("total", found)]


def _row(name: str, found: list[tuple[Mutation, list[str]]]) -> Row:
    claims = {(m.notebook, claim) for m, _ in found for claim in m.claims}
    green = {(m.notebook, claim) for m, wrong in found if wrong for claim in m.claims}
    red = sum(not wrong for _, wrong in found)
    return Row(name, len(claims), len(claims - green), len(found), red)


def text(rows: list[Row]) -> str:
    """The table for a terminal."""
    width = max(len(row.notebook) for row in rows)
    lines = [f"{'notebook':{width}}  claims   red  mutations   red  share"]
    for row in rows:
        numbers = f"{row.claims:6}  {row.claims_red:4}  {row.mutations:9}  {row.red:4}"
        lines.append(f"{row.notebook:{width}}  {numbers}  {row.share:>5}")
    return "\n".join(lines)


def select(numbers: list[str] | None) -> list[Mutation]:
    """The mutations of these notebooks and of their solutions; all without numbers.

    Raises:
        ValueError: if a number has none.
    """
    known = sorted({Path(mutation.notebook).name[:2] for mutation in MUTATIONS})
    for number in numbers or []:
        if number not in known:
            raise ValueError(f"no notebook {number!r} has claims: give one of {', '.join(known)}")
    wanted = numbers or known
    return [mutation for mutation in MUTATIONS if Path(mutation.notebook).name[:2] in wanted]


def main(argv: list[str] | None = None) -> int:
    """Run, print the table, name what stayed green; returns 1 if anything did."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--notebook", action="append", metavar="NN", help="only this one")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1, metavar="N")
    parser.add_argument("--json", action="store_true", help="the table and what stayed green")
    arguments = parser.parse_args(argv)
    if arguments.processes < 1:
        parser.error(f"--processes {arguments.processes}: give 1 or more")
    try:
        chosen = select(arguments.notebook)
    except ValueError as error:
        parser.error(str(error))
    found = []
    for done, (mutation, wrong) in enumerate(run(chosen, arguments.processes), 1):
        found.append((mutation, wrong))
        state = "; ".join(wrong) or "red"
        print(f"{done}/{len(chosen)} {mutation.notebook} {mutation.name}: {state}", file=sys.stderr)
    rows = table(found)
    green = {mutation.name: wrong for mutation, wrong in found if wrong}
    if arguments.json:
        print(json.dumps({"rows": [asdict(row) for row in rows], "green": green}, indent=1))
    else:
        print(text(rows))
        for name, wrong in green.items():
            print(f"{name}: {'; '.join(wrong)}")
    return int(bool(green))


if __name__ == "__main__":
    sys.exit(main())
