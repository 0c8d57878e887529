"""Does a notebook notice when what it claims is no longer so?

A claim is a code cell with the tag `claim:<name>`. A mutation is a named change to one file
of `helpers` after which the claim is false (a fix taken away, a flaw repaired). The course
is copied to a temporary folder, the change is made there, and nbval runs the notebook of
the copy: it must be red at the claim, and green without the change.

The first cell to go red must be a claim: a change that breaks an import, say, would prove
nothing. Cells after it may go red in consequence, but a claim not for want of a name.
"""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from xml.etree import ElementTree

import nbformat

ROOT = Path(__file__).resolve().parent.parent

#: What a copy of the course needs so that one notebook runs as the tests run it.
PARTS = ("helpers", "data", "pyproject.toml", "tests/sanitize.cfg")
#: Seconds for one notebook, kernel start included.
TIMEOUT = 300


@dataclass(frozen=True)
class Mutation:
    """A change to `helpers` that makes claims of one notebook false.

    `old` must stand in `file` (relative to the course's folder) exactly once.
    """

    name: str
    claims: tuple[str, ...]
    notebook: str
    file: str
    old: str
    new: str


ONE_CONNECTION = "notebooks/01_one_connection_many_threads.ipynb"
ONE_CONNECTION_SOLVED = "notebooks/solutions/01_one_connection_many_threads.ipynb"
LOST_UPDATES = "notebooks/04_lost_updates.ipynb"
LOST_UPDATES_SOLVED = "notebooks/solutions/04_lost_updates.ipynb"
LOCKED = "notebooks/05_database_is_locked.ipynb"
LOCKED_SOLVED = "notebooks/solutions/05_database_is_locked.ipynb"
EACH_ERROR = "notebooks/02_what_each_error_means.ipynb"
EACH_ERROR_SOLVED = "notebooks/solutions/02_what_each_error_means.ipynb"
THREADING_MODES = "notebooks/03_threading_modes.ipynb"
THREADING_MODES_SOLVED = "notebooks/solutions/03_threading_modes.ipynb"
FLASK = "notebooks/12_flask.ipynb"
FLASK_SOLVED = "notebooks/solutions/12_flask.ipynb"
FASTAPI = "notebooks/13_fastapi_and_cherrypy.ipynb"
FASTAPI_SOLVED = "notebooks/solutions/13_fastapi_and_cherrypy.ipynb"
FAILURES = "helpers/failures/__init__.py"

#: Lines of `helpers.failures` that run a recipe, in this process and in a child.
RUN_HERE = "entry.recipe(room, fixed)"
RUN_IN_CHILD = '*(["--fixed"] * fixed)'

#: Lines of notebook 04 as its file holds them.
READ = r'"        (value,) = connection.execute(\"SELECT value FROM counter\").fetchone()\n"'
WRITE = r'"        connection.execute(\"UPDATE counter SET value = ?\", (value + 1,))\n"'
ONE = r'"        connection.execute(\"UPDATE counter SET value = value + 1\")\n"'
BEFORE_PROGRAM = r""",
    "\n",
    "\n",
    "program = Program"""

MUTATIONS = [
    Mutation(
        name="shared-made-safe",
        claims=("five-threads-break", "acknowledged-work-is-lost"),
        notebook=ONE_CONNECTION,
        file="helpers/strategies/shared.py",
        old="""\
        result = unit_of_work(self.connection)
        self.connection.commit()
        return result
""",
        new="""\
        lock = self.__dict__.setdefault("lock", __import__("threading").Lock())
        with lock, self.connection:
            return unit_of_work(self.connection)
""",
    ),
    Mutation(
        name="any-thread-may-call",
        claims=("python-refuses",),
        notebook=ONE_CONNECTION,
        file="helpers/databases.py",
        old="SAMPLES = tuple(_SCHEMAS)",
        new="""\
SAMPLES = tuple(_SCHEMAS)
sqlite3.connect = functools.partial(sqlite3.connect, check_same_thread=False)
""",
    ),
    Mutation(
        name="rollback-forgotten",
        claims=("a-rollback-takes-the-other-threads-work", "the-explorer-finds-every-outcome"),
        notebook=ONE_CONNECTION,
        file="helpers/explorer/connections.py",
        old='self._end("ROLLBACK", lambda: sqlite3.Connection.rollback(self))',
        new='self._end("ROLLBACK", lambda: None)',
    ),
    Mutation(
        name="lock-forgotten",
        claims=("one-lock-keeps-every-promise",),
        notebook=ONE_CONNECTION,
        file=ONE_CONNECTION,
        old="with self.lock, self.connection:",
        new="with self.connection:",
    ),
    Mutation(
        name="nobody-cancels",
        claims=("releasing-is-not-enough",),
        notebook=ONE_CONNECTION_SOLVED,
        file="helpers/workloads.py",
        old="(number + 1) % self.cancel_every == 0",
        new="False",
    ),
    Mutation(
        name="rollback-before-release-forgotten",
        claims=("rollback-before-release",),
        notebook=ONE_CONNECTION_SOLVED,
        file=ONE_CONNECTION_SOLVED,
        old="self.connection.rollback()",
        new="pass",
    ),
    Mutation(
        name="whole-unit-locked",
        claims=("locking-the-commit-is-not-enough",),
        notebook=ONE_CONNECTION_SOLVED,
        file=ONE_CONNECTION_SOLVED,
        old="class LocksTheCommit(Locked):",
        new='LocksTheCommit = Repaired\\n",\n    "class Other(Locked):',
    ),
    Mutation(
        name="one-order-only",
        claims=("four-of-six-orders-lose",),
        notebook=LOST_UPDATES,
        file=LOST_UPDATES,
        old="found = explore(program)",
        new="found = explore(program, max_schedules=1)",
    ),
    Mutation(
        name="write-lock-before-the-read",
        claims=("begin-loses-nothing-and-refuses",),
        notebook=LOST_UPDATES,
        file=LOST_UPDATES,
        old=r'"explore(in_transaction(\"BEGIN\"))"',
        new=r'"explore(in_transaction(\"BEGIN IMMEDIATE\"))"',
    ),
    Mutation(
        name="one-statement",
        claims=("six-schedules", "own-connections-lose-an-update"),
        notebook=LOST_UPDATES,
        file=LOST_UPDATES,
        old=f"{READ},\n    {WRITE}{BEFORE_PROGRAM}",
        new=f"{ONE}{BEFORE_PROGRAM}",
    ),
    Mutation(
        name="unit-in-a-transaction",
        claims=("load-loses-acknowledged-increments",),
        notebook=LOST_UPDATES,
        file=LOST_UPDATES,
        old=r""""            return unit_of_work(connection)\n",
    "\n",
    "    def close""",
        new=r""""            connection.execute(\"BEGIN IMMEDIATE\")\n",
    "            result = unit_of_work(connection)\n",
    "            connection.execute(\"COMMIT\")\n",
    "            return result\n",
    "\n",
    "    def close""",
    ),
    Mutation(
        name="immediate-forgotten",
        claims=("immediate-is-proved",),
        notebook=LOST_UPDATES,
        file=LOST_UPDATES,
        old=r"proof = explore(in_transaction(\"BEGIN IMMEDIATE\"))",
        new=r"proof = explore(in_transaction(\"BEGIN\"))",
    ),
    Mutation(
        name="begin-under-load-forgotten",
        claims=("immediate-holds-under-load",),
        notebook=LOST_UPDATES,
        file=LOST_UPDATES,
        old=r""""            connection.execute(\"BEGIN IMMEDIATE\")\n",
    "            return unit_of_work(connection)""",
        new=r""""            return unit_of_work(connection)""",
    ),
    Mutation(
        name="one-order-only-in-the-solutions",
        claims=(
            "immediate",
            "atomic",
            "locked",
            "a-lock-per-statement-loses",
            "a-lock-of-one-thread-loses",
            "deferred-is-refused",
            "beginning-after-the-read-loses",
        ),
        notebook=LOST_UPDATES_SOLVED,
        file="helpers/explorer/search.py",
        old="if node.position + 1 < len(node.options):",
        new="if False:",
    ),
    Mutation(
        name="cures-in-place",
        claims=("thirteen-ways-to-be-locked", "with-connection-loses-the-work"),
        notebook=LOCKED,
        file="helpers/failures/__init__.py",
        old="return _report(entry, entry.recipe(room, fixed))",
        new="return _report(entry, entry.recipe(room, True))",
    ),
    Mutation(
        name="write-lock-first",
        claims=(
            "seventy-schedules",
            "an-upgrade-is-refused-at-once",
            "a-stale-snapshot-is-refused-at-once",
        ),
        notebook=LOCKED,
        file=LOCKED,
        old=r"connection.execute(\"BEGIN\")",
        new=r"connection.execute(\"BEGIN IMMEDIATE\")",
    ),
    Mutation(
        name="both-refusals-alike",
        claims=("the-error-name-tells-them-apart",),
        notebook=LOCKED,
        file=LOCKED,
        old="errors = [stage.steps[-1].error, stale.steps[-1].error]",
        new="errors = [stage.steps[-1].error] * 2",
    ),
    Mutation(
        name="write-lock-forgotten",
        claims=("immediate-waits", "immediate-is-never-refused"),
        notebook=LOCKED,
        file=LOCKED,
        old=r"connection.execute(\"BEGIN IMMEDIATE\")",
        new=r"connection.execute(\"BEGIN\")",
    ),
    Mutation(
        name="cures-forgotten",
        claims=("what-is-left-open-locks-others",),
        notebook=LOCKED,
        file=LOCKED,
        old="failures.table(left_open, fixed=True)",
        new="failures.table(left_open)",
    ),
    Mutation(
        name="answers-ignored",
        claims=("two-answers-narrow-it-down",),
        notebook=LOCKED,
        file="helpers/symptoms.py",
        old="known = {**_hints(text), **answers}",
        new="known = _hints(text)",
    ),
    Mutation(
        name="write-lock-first-under-load",
        claims=("refused-under-load-or-not",),
        notebook=LOCKED,
        file=LOCKED,
        old=r"kind = \"BEGIN\"",
        new=r"kind = \"BEGIN IMMEDIATE\"",
    ),
    Mutation(
        name="another-label-for-a-lock",
        claims=("the-eight-labels", "a-wrong-label-is-named"),
        notebook=LOCKED_SOLVED,
        file="helpers/failures/cases.py",
        old='Case("f-upgrade", "read, then write"',
        new='Case("f-upgrade", "left open"',
    ),
    Mutation(
        name="recipes-always-cured",
        claims=(
            "each-error-happens",
            "some-uses-are-not-checked",
            "silent-failures",
            "no-cache-is-no-cure",
        ),
        notebook=EACH_ERROR,
        file=FAILURES,
        old=RUN_HERE,
        new="entry.recipe(room, True)",
    ),
    Mutation(
        name="children-always-cured",
        claims=("thread-ids-are-reused", "a-crash-and-a-hang"),
        notebook=EACH_ERROR,
        file=FAILURES,
        old=RUN_IN_CHILD,
        new='"--fixed"',
    ),
    Mutation(
        name="recipes-never-cured",
        claims=("the-cure-works",),
        notebook=EACH_ERROR,
        file=FAILURES,
        old=RUN_HERE,
        new="entry.recipe(room, False)",
    ),
    Mutation(
        name="first-case-relabelled",
        claims=("the-labels-are-right",),
        notebook=EACH_ERROR_SOLVED,
        file="helpers/failures/cases.py",
        old='Case("a-fetch", "wrong thread",',
        new='Case("a-fetch", "lost update",',
    ),
    Mutation(
        name="case-six-always-cured",
        claims=("case-six-needs-a-lock-before-reading",),
        notebook=EACH_ERROR_SOLVED,
        file=FAILURES,
        old=RUN_HERE,
        new="entry.recipe(room, True)",
    ),
    Mutation(
        name="commit-forgotten",
        claims=("serialized-is-not-isolated", "serialized-orders-break-the-promise"),
        notebook=THREADING_MODES,
        file="helpers/explorer/connections.py",
        old='self._end("COMMIT", lambda: sqlite3.Connection.commit(self))',
        new='self._end("COMMIT", lambda: None)',
    ),
    Mutation(
        name="modes-always-cured",
        claims=("threadsafety-3-crashes-and-hangs",),
        notebook=THREADING_MODES,
        file=FAILURES,
        old=RUN_IN_CHILD,
        new='"--fixed"',
    ),
    Mutation(
        name="own-connections-without-transactions",
        claims=("own-connections-keep-the-promise",),
        notebook=THREADING_MODES,
        file=THREADING_MODES,
        old=r'"        connection = sqlite3.connect(path)\n"',
        new=r'"        connection = sqlite3.connect(path, isolation_level=None)\n"',
    ),
    Mutation(
        name="value-written-back",
        claims=("one-statement-is-enough",),
        notebook=THREADING_MODES_SOLVED,
        file=THREADING_MODES_SOLVED,
        old="SET value = value + 1",
        new="SET value = 1",
    ),
    Mutation(
        name="deferred-again",
        claims=("begin-immediate-is-enough",),
        notebook=THREADING_MODES_SOLVED,
        file=THREADING_MODES_SOLVED,
        old=r"connection.execute(\"BEGIN IMMEDIATE\")",
        new=r"connection.execute(\"BEGIN\")",
    ),
    Mutation(
        name="check-left-off",
        claims=("which-pools-still-refuse",),
        notebook=FLASK,
        file=FLASK,
        old=r"(f\"{file}?check_same_thread=true\", {})",
        new="(file, {})",
    ),
    Mutation(
        name="refused-sale-rolled-back",
        claims=("a-refused-sale-is-stored", "a-page-shows-what-nobody-has-stored"),
        notebook=FLASK,
        file=FLASK,
        old=r"if \"refused\" in flask.request.args:",
        new=r"if \"refused\" in flask.request.args and not session.rollback():",
    ),
    Mutation(
        name="served-by-one-thread",
        claims=("one-session-breaks-under-load", "own-sessions-lose-sales"),
        notebook=FLASK,
        file="helpers/webload.py",
        old="serve(app, threads=threads) as server",
        new="serve(app, threads=1) as server",
    ),
    Mutation(
        name="session-not-removed",
        claims=("a-session-per-request-forgets",),
        notebook=FLASK,
        file=FLASK,
        old="session.remove()",
        new="pass",
    ),
    Mutation(
        name="sqlite-adds",
        claims=("two-requests-lose-a-sale", "most-orders-of-two-requests-lose-a-sale"),
        notebook=FLASK,
        file=FLASK,
        old=r"connection().execute(\"UPDATE counter SET value = ?\", [value + 1])",
        new=r"connection().execute(\"UPDATE counter SET value = value + 1\")",
    ),
    Mutation(
        name="request-begins-deferred",
        claims=("immediate-requests-are-proved",),
        notebook=FLASK,
        file=FLASK,
        old=r"share=partial(plain_shop, begin=\"BEGIN IMMEDIATE\")",
        new=r"share=partial(plain_shop, begin=\"BEGIN\")",
    ),
    Mutation(
        name="engine-begins-deferred",
        claims=(
            "the-write-lock-first-loses-nothing",
            "three-applications-of-nine-keep-their-promises",
            "nothing-is-lost-while-you-watch",
        ),
        notebook=FLASK,
        file=FLASK,
        old=r"connection.exec_driver_sql(\"BEGIN\" if reads else \"BEGIN IMMEDIATE\")",
        new=r"connection.exec_driver_sql(\"BEGIN\")",
    ),
    Mutation(
        name="server-left-running",
        claims=("the-server-has-stopped",),
        notebook=FLASK,
        file=FLASK,
        old="running.close()",
        new="running",
    ),
    Mutation(
        name="flask-solutions-deferred",
        claims=("immediate-is-right",),
        notebook=FLASK_SOLVED,
        file=FLASK_SOLVED,
        old=r"""\"BEGIN IMMEDIATE\")\n",
    "    value = write(connection""",
        new=r"""\"BEGIN\")\n",
    "    value = write(connection""",
    ),
    Mutation(
        name="flask-solution-reads-first",
        claims=("one-statement-is-right",),
        notebook=FLASK_SOLVED,
        file=FLASK_SOLVED,
        old=r"return connection.execute(sql).fetchall()[0][0]",
        new=r"return write(connection, read(connection) + 1)",
    ),
    Mutation(
        name="every-request-passes",
        claims=("four-wrong-repairs-are-refuted",),
        notebook=FLASK_SOLVED,
        file="helpers/exercises.py",
        old="    return bool(end.value == len(end.succeeded))",
        new="    return True",
    ),
    Mutation(
        name="lock-forgotten-under-load",
        claims=("right-under-load-too",),
        notebook=FLASK_SOLVED,
        file=FLASK_SOLVED,
        old=r"for add in (immediate, locked)",
        new=r"for add in (immediate, with_connection)",
    ),
    Mutation(
        name="check-off-everywhere",
        claims=("one-request-has-several-threads",),
        notebook=FASTAPI,
        file=FASTAPI,
        old=r"{\"isolation_level\": None, \"timeout\": 30, **options}",
        new=r"{\"isolation_level\": None, \"check_same_thread\": False, **options}",
    ),
    Mutation(
        name="sqlite-adds-everywhere",
        claims=(
            "the-flag-is-no-licence",
            "fastapi-with-the-write-lock-loses-nothing",
            "a-connection-per-thread-needs-the-lock-too",
            "a-lock-in-python-ends-at-the-process",
            "seven-applications-keep-their-promises",
        ),
        notebook=FASTAPI,
        file=FASTAPI,
        old=r"connection.execute(\"UPDATE counter SET value = ?\", [value + 1])",
        new=r"connection.execute(\"UPDATE counter SET value = value + 1\")",
    ),
    Mutation(
        name="commit-before-the-answer",
        claims=("the-answer-comes-before-the-commit",),
        notebook=FASTAPI,
        file=FASTAPI,
        old="Depends(dependency, **options)",
        new=r"Depends(dependency, scope=\"function\")",
    ),
    Mutation(
        name="commit-after-the-answer",
        claims=("scope-function-commits-first",),
        notebook=FASTAPI,
        file=FASTAPI,
        old="Depends(dependency, **options)",
        new=r"Depends(dependency, scope=\"request\")",
    ),
    Mutation(
        name="sessions-begin-deferred",
        claims=("a-session-per-request-needs-the-lock-too",),
        notebook=FASTAPI,
        file=FASTAPI,
        old=r"\"BEGIN IMMEDIATE\" if writes else \"BEGIN\"",
        new=r"\"BEGIN\"",
    ),
    Mutation(
        name="both-in-the-pool",
        claims=("a-waiting-sale-blocks-the-loop",),
        notebook=FASTAPI,
        file=FASTAPI,
        old="async def on_the_loop():",
        new="def on_the_loop():",
    ),
    Mutation(
        name="no-await-in-between",
        claims=("an-await-in-between-loses-sales",),
        notebook=FASTAPI,
        file=FASTAPI,
        old="await asyncio.sleep(0)",
        new="pass",
    ),
    Mutation(
        name="a-connection-for-each-thread-of-the-pool",
        claims=("a-pool-too-small-refuses",),
        notebook=FASTAPI,
        file=FASTAPI,
        old=r"\"pool_size\": 2",
        new=r"\"pool_size\": 8",
    ),
    Mutation(
        name="no-lock-in-the-dependency",
        claims=("the-pool-waits-for-itself",),
        notebook=FASTAPI,
        file=FASTAPI,
        old=r"opened.execute(\"BEGIN IMMEDIATE\")",
        new="pass",
    ),
    Mutation(
        name="shops-with-one-thread",
        claims=("the-questions-application-breaks",),
        notebook=FASTAPI,
        file="helpers/webload.py",
        old="serve(app, threads=threads) as server",
        new="serve(app, threads=1) as server",
    ),
    Mutation(
        name="closing-not-checked",
        claims=("stop-thread-runs-in-another-thread",),
        notebook=FASTAPI,
        file=FASTAPI,
        old="around=at_once, check=True",
        new="around=at_once, check=False",
    ),
    Mutation(
        name="writer-does-not-write",
        claims=("the-writer-on-the-bus-loses-nothing",),
        notebook=FASTAPI,
        file=FASTAPI,
        old=r"self.bus.subscribe(\"db-write\", self.writer.write)",
        new=r"self.bus.subscribe(\"db-write\", self.writer.read)",
    ),
    Mutation(
        name="endpoint-begins-deferred",
        claims=("the-repaired-endpoint-is-right",),
        notebook=FASTAPI_SOLVED,
        file=FASTAPI_SOLVED,
        old=r"begin=\"BEGIN IMMEDIATE\", end",
        new=r"begin=\"BEGIN\", end",
    ),
    Mutation(
        name="early-answers-unseen",
        claims=("each-mistake-alone-is-seen",),
        notebook=FASTAPI_SOLVED,
        file="helpers/exercises.py",
        old='return "a sale was acknowledged before it was stored" if early else ""',
        new='return ""',
    ),
]


class MutationError(Exception):
    """The change cannot be made, or the notebook could not be run at all."""


def problems(mutation: Mutation, root: Path = ROOT) -> list[str]:
    """What is wrong with the notebook's proof of its claims; empty when it is sound.

    Raises:
        MutationError: if the mutation no longer fits the course.
    """
    cells = claimed(root / mutation.notebook)
    unknown = [claim for claim in mutation.claims if claim not in cells]
    if unknown:
        return [f"{mutation.notebook} has no cell tagged claim:{claim}" for claim in unknown]
    found = [f"red without the change: Cell {cell}" for cell in failures(mutation.notebook, root)]
    with TemporaryDirectory(prefix="mutation-", ignore_cleanup_errors=True) as folder:
        copy_course(root, Path(folder), mutation.notebook)
        change(mutation, Path(folder))
        cut(Path(folder) / mutation.notebook, max(cells[claim] for claim in mutation.claims))
        red = failed_cells(Path(folder), mutation.notebook)
    if red and min(red) not in cells.values():
        found.append(f"red before any claim: Cell {min(red)}")
    for claim in mutation.claims:
        if cells[claim] not in red:
            found.append(f"claim:{claim} stays green with the change {mutation.name}")
        elif "NameError" in red[cells[claim]]:
            found.append(f"claim:{claim} is red only because a cell before it failed")
    return found


def claimed(path: Path) -> dict[str, int]:
    """Claims and the number that nbval gives their cell: code cells, from 0."""
    notebook = nbformat.read(path, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    return {
        tag.removeprefix("claim:"): number
        for number, cell in enumerate(code)
        for tag in cell.metadata.get("tags", [])
        if tag.startswith("claim:")
    }


@cache
def failures(notebook: str, root: Path) -> dict[int, str]:
    """The cells that fail in an unchanged copy; run once for all mutations of a notebook."""
    with TemporaryDirectory(prefix="mutation-", ignore_cleanup_errors=True) as folder:
        copy_course(root, Path(folder), notebook)
        return failed_cells(Path(folder), notebook)


def copy_course(root: Path, folder: Path, notebook: str) -> None:
    """Copy what one notebook needs into `folder`."""
    for part in (*PARTS, notebook):
        source, target = root / part, folder / part
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target)


def cut(path: Path, last: int) -> None:
    """Drop the code cells after number `last`: they cannot tell anything about its claim."""
    notebook = nbformat.read(path, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    notebook.cells = code[: last + 1]
    nbformat.write(notebook, path)


def change(mutation: Mutation, folder: Path) -> None:
    """Make the change in the copy.

    Raises:
        MutationError: if the old text does not stand in the file exactly once.
    """
    path = folder / mutation.file
    text = path.read_text(encoding="utf-8")
    times = text.count(mutation.old)
    if times != 1:
        raise MutationError(
            f"mutation {mutation.name}: its old text stands {times} times in {mutation.file}"
        )
    path.write_text(text.replace(mutation.old, mutation.new), encoding="utf-8")


def failed_cells(folder: Path, notebook: str) -> dict[int, str]:
    """Run nbval strict on a notebook of the copy: the cells that fail, and what they report.

    Raises:
        MutationError: if no cell was run, or pytest did not come to an end.
    """
    report = folder / "report.xml"
    command = [
        sys.executable, "-m", "pytest", "-q", "--color=no", "-p", "no:cacheprovider",
        f"--junitxml={report}", f"--rootdir={folder}", notebook,
    ]  # fmt: skip
    # First on the path: before the course's own helpers, which are installed in place.
    path = os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH")]))
    run = subprocess.run(
        command, cwd=folder, env={**os.environ, "PYTHONPATH": path}, check=False,
        capture_output=True, encoding="utf-8", errors="replace", timeout=TIMEOUT,
    )  # fmt: skip
    if not report.exists():
        raise MutationError(f"pytest ended with {run.returncode}:\n{run.stdout}{run.stderr}")
    cases = {case.get("name", ""): case for case in ElementTree.parse(report).iter("testcase")}
    if not cases or not all(name.startswith("Cell ") for name in cases):
        raise MutationError(f"{notebook} was not run:\n{run.stdout}{run.stderr}")
    return {
        int(name.removeprefix("Cell ")): "".join(case.itertext())
        for name, case in cases.items()
        if len(case)
    }
