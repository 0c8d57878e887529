"""Change every line of the strategies, one at a time: which changes does no test notice?

    python tests/benchmarks/mutants.py > mutants.json
    python tests/benchmarks/mutants.py --file pool.py --sample 20

A change drops a statement, negates a condition, swaps ``and`` and ``or``, turns a comparison
round, or takes another constant. Messages and documentation are left alone. Each is made in a
copy of the course; the fastest tests run first. A change that no test notices is listed.
"""

import argparse
import ast
import copy
import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).resolve().parent.parent.parent
ROOM = Path("helpers", "strategies")
#: File -> (class for the table of promises, selection of the tests, files of tests).
TESTS = {
    "transaction_lock.py": ("TransactionLock", ["each", "mixes", "exit", "proofs"]),
    "per_thread.py": ("PerThread", ["each", "mixes", "exit", "proofs"]),
    "pool.py": ("Pool", ["each", "mixes", "exit", "proofs"]),
    "writer.py": ("Writer", ["writer", "each", "mixes", "exit"]),
    "settings.py": ("", ["settings", "each"]),
    "retry.py": ("", ["retry"]),
}
SWAPPED = {
    ast.Lt: ast.GtE, ast.GtE: ast.Lt, ast.Gt: ast.LtE, ast.LtE: ast.Gt, ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq, ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip
CONSTANTS = {"BEGIN IMMEDIATE": "BEGIN", "IMMEDIATE": "DEFERRED", "BEGIN": "BEGIN IMMEDIATE"}
#: Seconds for the table of promises, and for all other tests of a file.
LIMITS = 60, 240


def mutants(source):
    """(line, what was done, the changed source) for every change."""
    tree = ast.parse(source)
    for number, node in enumerate(ast.walk(tree)):
        for what, change in changes(node):
            changed = copy.deepcopy(tree)
            target = next(n for i, n in enumerate(ast.walk(changed)) if i == number)
            change(target)
            yield node_line(node), what, ast.unparse(ast.fix_missing_locations(changed))


def node_line(node):
    return getattr(node, "lineno", 0)


def changes(node):
    """What can be done to one node: (name, function that does it to a copy of the node)."""
    for field in ("body", "orelse", "finalbody"):
        block = getattr(node, field, None)
        if isinstance(block, list) and not isinstance(node, (ast.Module, ast.ClassDef)):
            for place, statement in enumerate(block):
                if can_go(statement):
                    yield f"drop: {ast.unparse(statement)[:70]}", drop(field, place)
    if isinstance(node, (ast.If, ast.While, ast.IfExp)):
        yield f"negate: {ast.unparse(node.test)[:70]}", negate
    if isinstance(node, ast.BoolOp):
        yield f"swap and, or: {ast.unparse(node)[:70]}", swap_boolean
    if isinstance(node, ast.Compare):
        yield f"turn round: {ast.unparse(node)[:70]}", turn_round
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


def another_constant(node):
    node.value = other(node.value)


def other(value):
    if isinstance(value, bool):
        return not value
    if isinstance(value, (int, float)):
        return value + 1
    return CONSTANTS.get(value)


def noticed(folder, file):
    """The test that turns red, empty if none does. A run that hangs is red as well."""
    make, selected = TESTS[file]
    python = [sys.executable, "-W", "ignore"]
    if make:
        command = [*python, "-I", "tests/protocol.py", str(ROOM / file), make]
        if red(command, folder, LIMITS[0]):
            return "protocol"
    each = f"not slow and ({make or 'test'} or not interruption)"
    for name in selected:
        command = [*python, "-m", "pytest", "-xq", "-p", "no:cacheprovider", "-p", "no:nbval"]
        command += ["-o", "addopts=", "-m", "not slow"]
        command.append(f"tests/strategies/test_strategies_{name}.py")
        if name in ("mixes", "exit", "proofs"):
            command += ["-k", f"{make} or {Path(file).stem}"]
        if name == "each":
            command += ["-k", each.partition(" and ")[2]]
        if red(command, folder, LIMITS[1]):
            return name
    return ""


def red(command, folder, limit):
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    try:
        done = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, timeout=limit
        )
    except subprocess.TimeoutExpired:
        return True
    return done.returncode != 0


def measure(file, sample, seed):
    source = (ROOT / ROOM / file).read_text()
    # The first one is the file as it is: it has to be green.
    chosen = list(mutants(source))
    if sample:
        chosen = random.Random(seed).sample(chosen, min(sample, len(chosen)))
    rows = []
    with TemporaryDirectory() as folder:
        for part in ("helpers", "tests", "data", "pyproject.toml"):
            whole = ROOT / part
            copier = shutil.copytree if whole.is_dir() else shutil.copy
            copier(whole, Path(folder, part))
        target = Path(folder, ROOM, file)
        target.write_text(ast.unparse(ast.parse(source)))
        if test := noticed(folder, file):
            raise RuntimeError(f"{file} is red as it is: {test}")
        for line, what, text in chosen:
            target.write_text(text)
            rows.append({"file": file, "line": line, "change": what, "red": noticed(folder, file)})
            print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--file", choices=TESTS, action="append", help="all by default")
    parser.add_argument("--sample", type=int, help="so many changes of each file, drawn at random")
    parser.add_argument("--seed", type=int, default=1, help="of the sample")
    arguments = parser.parse_args()
    rows = []
    for file in arguments.file or TESTS:
        rows += measure(file, arguments.sample, arguments.seed)
    survived = [row for row in rows if not row["red"]]
    score = {"changes": len(rows), "red": len(rows) - len(survived), "survived": survived}
    print(json.dumps(score, indent=1))


if __name__ == "__main__":
    main()
