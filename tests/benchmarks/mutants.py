"""Change every line of the strategies or the explorer: which changes does no test notice?

    python tests/benchmarks/mutants.py > mutants.json
    python tests/benchmarks/mutants.py --only pool.py --sample 20
    python tests/benchmarks/mutants.py --room explorer --sample 80 --seed 1

A change drops a statement, negates a condition, swaps ``and`` and ``or`` or ``min`` and ``max``,
turns a comparison round, or takes another constant. Messages, annotations and documentation are
left alone. Each is made in a copy of the course; the fastest tests run first, and one that hangs
is stopped. A change that no test notices is listed.
"""

import argparse
import ast
import functools
import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).resolve().parent.parent.parent
#: Of the strategies: file -> (class for the table of promises, selections of the tests).
STRATEGIES = {
    "transaction_lock.py": ("TransactionLock", ["each", "mixes", "exit", "proofs"]),
    "per_thread.py": ("PerThread", ["each", "mixes", "exit", "proofs"]),
    "pool.py": ("Pool", ["each", "mixes", "exit", "proofs"]),
    "writer.py": ("Writer", ["writer", "each", "mixes", "exit"]),
    "settings.py": ("", ["settings", "each"]),
    "retry.py": ("", ["retry"]),
}
#: Of the explorer: file -> files of tests, the quickest first.
SMALL = [
    "explorer/test_steps.py", "explorer/test_engine.py", "explorer/test_footprints.py",
    "explorer/test_as_without.py", "explorer/test_explorer.py",
]  # fmt: skip
SHARED = ["explorer/test_states.py -k=not random", "explorer/test_explorer_strategies.py"]
SLOW = [
    "explorer/test_scenarios.py",
    "explorer/test_states.py::test_random_programs_count_the_same[0]",
]
#: Of which the slow tests are run, too.
WITH_SLOW = [SLOW[1], "commands/test_soundness.py"]
WHOLE = [
    *SMALL,
    "explorer/test_stage.py",
    "commands/test_soundness.py",
    "explorer/test_explorer_sqlalchemy.py",
    *SHARED,
    *SLOW,
]
EXPLORER = {
    **dict.fromkeys(["steps/connections.py", "steps/cursors.py", "steps/statements.py"], WHOLE),
    **dict.fromkeys(["steps/waiting.py", "steps/watched.py", "engine/states.py"], WHOLE),
    **dict.fromkeys(["steps/locks.py", "steps/primitives.py"], SMALL + SHARED),
    "engine/confinement.py": SMALL + SHARED,
    "steps/discovery.py": [*SMALL, "explorer/test_modules.py", *SHARED],
    "steps/pools.py": ["explorer/test_explorer_sqlalchemy.py"],
    "engine/threads.py": [*SMALL, "explorer/test_stage.py", *SLOW],
    **dict.fromkeys(["engine/scheduler.py", "engine/run_state.py", "tally.py"], WHOLE),
    "engine/policies.py": [*SMALL, "explorer/test_game.py", "explorer/test_stage.py"],
    "runner.py": [*SMALL, "explorer/test_game.py", *WHOLE[5:]],
    "search.py": [*SMALL, "explorer/test_parallel.py", *WHOLE[5:]],
    "engine/processor.py": ["explorer/test_processor.py", "explorer/test_gc_paused.py"],
    "report.py": [*SMALL, "commands/test_explore.py", *WHOLE[5:]],
    "program.py": [*SMALL, "commands/test_explore.py", "explorer/test_stage.py"],
    "parallel.py": ["explorer/test_parallel.py", "commands/test_explore.py"],
    "saved.py": ["commands/test_explore.py"],
    "stage.py": ["explorer/test_stage.py", "explorer/test_named_thread.py"],
}  # fmt: skip
ROOMS = {"strategies": STRATEGIES, "explorer": EXPLORER}
SWAPPED = {
    ast.Lt: ast.GtE, ast.GtE: ast.Lt, ast.Gt: ast.LtE, ast.LtE: ast.Gt, ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq, ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip
NAMES = {"min": "max", "max": "min", "any": "all", "all": "any"}
CONSTANTS = {
    "BEGIN IMMEDIATE": "BEGIN",
    "IMMEDIATE": "DEFERRED",
    "BEGIN": "BEGIN IMMEDIATE",
    "w": "r",
}
#: Seconds for the table of promises, and for all other tests of a file.
LIMITS = 60, 240


def mutants(source):
    """(line, what is done, function that returns the changed source) for every change."""
    tree = ast.parse(source)
    noted = [
        getattr(node, part, None) for node in ast.walk(tree) for part in ("annotation", "returns")
    ]
    cosmetic = {id(node) for note in noted if note for node in ast.walk(note)}
    for number, node in enumerate(ast.walk(tree)):
        if id(node) in cosmetic:
            continue
        for what, change in changes(node):
            yield node_line(node), what, functools.partial(changed, source, number, change)


def changed(source, number, change):
    """The source after a change to one node, which goes by its number."""
    tree = ast.parse(source)
    change(next(itertools.islice(ast.walk(tree), number, None)))
    return ast.unparse(ast.fix_missing_locations(tree))


def node_line(node):
    return getattr(node, "lineno", 0)


def changes(node):
    """What can be done to one node: (name, function that does it to a copy of the node)."""
    for field in ("body", "orelse", "finalbody"):
        block = getattr(node, field, None)
        if isinstance(block, list) and not isinstance(node, (ast.Module, ast.ClassDef)):
            for place, statement in enumerate(block):
                if can_go(statement):
                    yield (
                        f"drop line {statement.lineno}: {ast.unparse(statement)[:60]}",
                        drop(field, place),
                    )
    if isinstance(node, (ast.If, ast.While, ast.IfExp)):
        yield f"negate: {ast.unparse(node.test)[:70]}", negate
    if isinstance(node, ast.BoolOp):
        yield f"swap and, or: {ast.unparse(node)[:70]}", swap_boolean
    if isinstance(node, ast.Compare):
        yield f"turn round: {ast.unparse(node)[:70]}", turn_round
    if isinstance(node, ast.Name) and node.id in NAMES:
        yield f"name: {node.id}", another_name
    if isinstance(node, ast.Constant) and other(node.value) is not None:
        yield f"constant: {node.value!r}", another_constant


def can_go(statement):
    """Whether it does something: no documentation, definition, `raise` alone or error message."""
    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
        return False
    return not isinstance(
        statement, (ast.FunctionDef, ast.ClassDef, ast.Import, ast.ImportFrom, ast.Pass, ast.With)
    )


def drop(field, place):
    def change(node):
        getattr(node, field)[place] = ast.Pass()

    return change


def negate(node):
    node.test = ast.UnaryOp(ast.Not(), node.test)


def swap_boolean(node):
    node.op = ast.And() if isinstance(node.op, ast.Or) else ast.Or()


def turn_round(node):
    node.ops[0] = SWAPPED[type(node.ops[0])]()


def another_name(node):
    node.id = NAMES[node.id]


def another_constant(node):
    node.value = other(node.value)


def other(value):
    if isinstance(value, bool):
        return not value
    if isinstance(value, (int, float)):
        return value + 1
    return CONSTANTS.get(value)


def commands(room, file):
    """(name, command, seconds) of the tests that should notice, in the order in which they run."""
    python = [sys.executable, "-W", "ignore"]
    pytest = [*python, "-m", "pytest", "-xq", "-p", "no:cacheprovider", "-p", "no:nbval"]
    pytest += ["-o", "addopts="]
    if room == "explorer":
        for tests in EXPLORER[file]:
            marks = [] if tests in WITH_SLOW else ["-m", "not slow"]
            yield tests, [*pytest, *marks, *f"tests/{tests}".split(" ", 1)], LIMITS[tests in SLOW]
        return
    pytest += ["-m", "not slow"]
    make, selected = STRATEGIES[file]
    if make:
        command = [*python, "-I", "tests/protocol.py", f"helpers/strategies/{file}", make]
        yield "protocol", command, LIMITS[0]
    each = f"not slow and ({make or 'test'} or not interruption)"
    for name in selected:
        command = [*pytest, f"tests/strategies/test_strategies_{name}.py"]
        if name in ("mixes", "exit", "proofs"):
            command += ["-k", f"{make} or {Path(file).stem}"]
        if name == "each":
            command += ["-k", each.partition(" and ")[2]]
        yield name, command, LIMITS[1]
    yield "all", [*pytest, "tests/strategies/test_strategies.py", "-k", "is_refused"], LIMITS[1]


def noticed(folder, room, file):
    """The test that turns red, empty if none does. A run that hangs is red as well."""
    turns = (name for name, command, limit in commands(room, file) if red(command, folder, limit))
    return next(turns, "")


def red(command, folder, limit):
    # Two changes in a second would share their bytecode.
    environment = {**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    own_group = os.name == "posix"
    with subprocess.Popen(
        command, cwd=folder, env=environment, start_new_session=own_group, **silent
    ) as child:
        try:
            return child.wait(limit) != 0
        except subprocess.TimeoutExpired:  # with the processes that it has started
            os.killpg(child.pid, signal.SIGKILL) if own_group else child.kill()
            return True


def measure(room, chosen):
    """A row for each of the changes `chosen`: (file, line, what is done, source)."""
    rows = []
    files = list(dict.fromkeys(file for file, *_ in chosen))
    with TemporaryDirectory() as folder:
        for part in ("helpers", "tests", "data", "pyproject.toml"):
            whole = ROOT / part
            copier = shutil.copytree if whole.is_dir() else shutil.copy
            copier(whole, Path(folder, part))
        target = Path(folder, "helpers", room)
        sources = {file: (target / file).read_text(encoding="utf-8") for file in files}
        for file, source in sources.items():
            (target / file).write_text(ast.unparse(ast.parse(source)), encoding="utf-8")
        # As it is, it has to be green.
        runs = {str(run): run for file in files for run in commands(room, file)}
        for name, command, limit in runs.values():
            if red(command, folder, limit):
                raise RuntimeError(f"red without a change: {name}")
        for file, line, what, make in chosen:
            (target / file).write_text(make(), encoding="utf-8")
            test = noticed(folder, room, file)
            rows.append({"file": file, "line": line, "change": what, "red": test})
            print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
            (target / file).write_text(sources[file], encoding="utf-8")
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--room", choices=ROOMS, default="strategies")
    parser.add_argument("--only", action="append", help="a file of the room; all by default")
    parser.add_argument("--sample", type=int, help="so many changes of all, drawn at random")
    parser.add_argument("--seed", type=int, default=1, help="of the sample")
    arguments = parser.parse_args()
    files = arguments.only or list(ROOMS[arguments.room])
    if unknown := set(files) - set(ROOMS[arguments.room]):
        parser.error(f"{min(unknown)} is none of {', '.join(ROOMS[arguments.room])}")
    folder = ROOT / "helpers" / arguments.room
    chosen = [
        (file, *change)
        for file in files
        for change in mutants(Path(folder, file).read_text(encoding="utf-8"))
    ]
    if arguments.sample:
        number = min(arguments.sample, len(chosen))
        drawn = random.Random(arguments.seed).sample(range(len(chosen)), number)
        chosen = [chosen[number] for number in sorted(drawn)]
    if hasattr(os, "nice"):
        os.nice(10)  # the tests are children
    rows = measure(arguments.room, chosen)
    survived = [row for row in rows if not row["red"]]
    score = {"changes": len(rows), "red": len(rows) - len(survived), "survived": survived}
    print(json.dumps(score, indent=1))


if __name__ == "__main__":
    main()
