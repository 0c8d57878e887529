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
TRANSACTIONS = "notebooks/08_transactions.ipynb"
TRANSACTIONS_SOLVED = "notebooks/solutions/08_transactions.ipynb"
WAL = "notebooks/09_wal.ipynb"
WAL_SOLVED = "notebooks/solutions/09_wal.ipynb"
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
        name="begin-before-the-read",
        claims=("a-with-block-pays-twice", "the-read-is-outside"),
        notebook=TRANSACTIONS,
        file=TRANSACTIONS,
        old=r"""timeout=60)) as connection, connection:\n",""",
        new=r"""timeout=60)) as connection, connection:\n",
    "        connection.execute(\"BEGIN IMMEDIATE\")\n",""",
    ),
    Mutation(
        name="no-implicit-begin",
        claims=("four-words-begin",),
        notebook=TRANSACTIONS,
        file=TRANSACTIONS,
        old="closing(database.connect()) as connection",
        new="closing(database.connect(isolation_level=None)) as connection",
    ),
    Mutation(
        name="default-without-begin",
        claims=("what-autocommit-does",),
        notebook=TRANSACTIONS,
        file="helpers/regimes.py",
        old='Regime("default", {})',
        new='Regime("default", {"isolation_level": None})',
    ),
    Mutation(
        name="second-writer-deferred",
        claims=("a-writer-lets-read-and-keeps-out-writers",),
        notebook=TRANSACTIONS,
        file=TRANSACTIONS,
        old=r"jobs[\"B\"] = steps(\"BEGIN IMMEDIATE\"",
        new=r"jobs[\"B\"] = steps(\"BEGIN\"",
    ),
    Mutation(
        name="only-one-step-of-a",
        claims=("who-waits-for-whom",),
        notebook=TRANSACTIONS,
        file=TRANSACTIONS,
        old=r"[\"A\"] * len(held)",
        new=r"[\"A\"]",
    ),
    Mutation(
        name="always-deferred",
        claims=("three-kinds-of-begin",),
        notebook=TRANSACTIONS,
        file=TRANSACTIONS,
        old="connection.execute(begin)",
        new=r"connection.execute(\"BEGIN\")",
    ),
    Mutation(
        name="stubborn-with-the-write-lock",
        claims=("the-same-statement-is-refused-again",),
        notebook=TRANSACTIONS,
        file=TRANSACTIONS,
        old=r"""connection.execute(\"BEGIN\")\n",
    "        if paid := connection""",
        new=r"""connection.execute(\"BEGIN IMMEDIATE\")\n",
    "        if paid := connection""",
    ),
    Mutation(
        name="forgetful-with-the-write-lock",
        claims=("repeating-the-write-pays-twice",),
        notebook=TRANSACTIONS,
        file=TRANSACTIONS,
        old=r"""connection.execute(\"BEGIN\")\n",
    "        paid = connection""",
        new=r"""connection.execute(\"BEGIN IMMEDIATE\")\n",
    "        paid = connection""",
    ),
    Mutation(
        name="retry-forgotten",
        claims=("the-whole-unit-again-is-proved",),
        notebook=TRANSACTIONS,
        file=TRANSACTIONS,
        old="patient = Retry(seconds=10)(",
        new="patient = (",
    ),
    Mutation(
        name="condition-forgotten",
        claims=("one-statement-is-proved",),
        notebook=TRANSACTIONS,
        file=TRANSACTIONS,
        old="{TAKE} AND balance >= 700",
        new="{TAKE} AND 700 >= 0",
    ),
    Mutation(
        name="swap-without-compare",
        claims=("compare-and-swap-is-proved",),
        notebook=TRANSACTIONS,
        file=TRANSACTIONS,
        old="SET balance = ? WHERE id = 1 AND balance = ?",
        new="SET balance = ? WHERE id = 1 AND 0 < ?",
    ),
    Mutation(
        name="phantom-in-autocommit",
        claims=("an-update-of-nothing-holds-the-lock",),
        notebook=TRANSACTIONS,
        file=TRANSACTIONS,
        old="with closing(sqlite3.connect(path)) as connection:",
        new="with closing(sqlite3.connect(path, isolation_level=None)) as connection:",
    ),
    Mutation(
        name="pythons-begin-made-immediate",
        claims=("four-ways-under-load",),
        notebook=TRANSACTIONS,
        file=TRANSACTIONS,
        old=r""""            return unit(connection)\n",""",
        new=r""""            connection.execute(\"BEGIN IMMEDIATE\")\n",
    "            return unit(connection)\n",""",
    ),
    Mutation(
        name="batches-counted-as-rows",
        claims=("what-batches-gain-depends",),
        notebook=TRANSACTIONS,
        file=TRANSACTIONS,
        old="rows += batch",
        new="rows += 1",
    ),
    Mutation(
        name="transfer-deferred",
        claims=("immediate",),
        notebook=TRANSACTIONS_SOLVED,
        file=TRANSACTIONS_SOLVED,
        old=r"""    "    with connection:\n",
    "        connection.execute(\"BEGIN IMMEDIATE\")\n",""",
        new=r"""    "    with connection:\n",
    "        connection.execute(\"BEGIN\")\n",""",
    ),
    Mutation(
        name="transfer-without-condition",
        claims=("condition-in-sql",),
        notebook=TRANSACTIONS_SOLVED,
        file=TRANSACTIONS_SOLVED,
        old="{UPDATE} AND balance >= ?",
        new="{UPDATE} AND ? > 0",
    ),
    Mutation(
        name="transfer-without-retry",
        claims=("retried",),
        notebook=TRANSACTIONS_SOLVED,
        file=TRANSACTIONS_SOLVED,
        old="check(Retry(seconds=10)(deferred))",
        new="check(deferred)",
    ),
    Mutation(
        name="one-order-of-the-transfers",
        claims=("deferred-is-refused", "only-the-updates-again", "no-rollback", "no-transaction"),
        notebook=TRANSACTIONS_SOLVED,
        file="helpers/explorer/search.py",
        old="if node.position + 1 < len(node.options):",
        new="if False:",
    ),
    Mutation(
        name="auditor-says-immediate",
        claims=(
            "wal-refuses-too",
            "a-stale-snapshot-may-not-write",
        ),
        notebook=WAL,
        file=WAL,
        old=r"def auditor(path, begin=\"BEGIN\")",
        new=r"def auditor(path, begin=\"BEGIN IMMEDIATE\")",
    ),
    Mutation(
        name="reader-without-begin",
        claims=(
            "each-reader-has-its-snapshot",
            "a-journal-makes-them-wait",
            "no-reader-waits-in-wal",
            "a-snapshot-needs-begin",
        ),
        notebook=WAL,
        file=WAL,
        old=r""""        connection.execute(\"BEGIN\")\n",
    "        first, second""",
        new=r""""        first, second""",
    ),
    Mutation(
        name="loose-reads-in-a-transaction",
        claims=("torn-reads-under-load",),
        notebook=WAL,
        file=WAL,
        old="            return unit(connection)",
        new=r"""            connection.execute(\"BEGIN\")\n",
    "            return unit(connection)""",
    ),
    Mutation(
        name="auditor-always-deferred",
        claims=("immediate-cures-the-stale-snapshot",),
        notebook=WAL,
        file=WAL,
        old=r"connection.execute(begin)",
        new=r"connection.execute(\"BEGIN\")",
    ),
    Mutation(
        name="reader-without-a-snapshot",
        claims=(
            "a-reader-holds-up-the-checkpoint",
            "readers-without-a-gap-starve-the-checkpoint",
        ),
        notebook=WAL,
        file=WAL,
        old=r""""    connection.execute(READ).fetchone()\n",
    "    return connection""",
        new=r""""    return connection""",
    ),
    Mutation(
        name="one-file-for-all",
        claims=("three-files-while-connected",),
        notebook=WAL,
        file=WAL,
        old=r"""databases.fresh(\"counter\", \"wal\") as database:\n",
    "    seen""",
        new=r"""databases.fresh(\"counter\") as database:\n",
    "    seen""",
    ),
    Mutation(
        name="copied-from-a-rollback-journal",
        claims=("a-copied-file-lacks-the-log",),
        notebook=WAL,
        file=WAL,
        old=r"databases.fresh(\"counter\", \"wal\") as database, closing(AS_IT_IS",
        new=r"databases.fresh(\"counter\") as database, closing(AS_IT_IS",
    ),
    Mutation(
        name="killed-before-its-commit",
        claims=("a-killed-process-loses-nothing",),
        notebook=WAL,
        file=WAL,
        old=r""""    commit(connection, 10)\n",
    "    connection.execute(\"BEGIN IMMEDIATE\")\n",""",
        new=r""""    connection.execute(\"BEGIN IMMEDIATE\")\n",
    "    commit(connection, 10)\n",""",
    ),
    Mutation(
        name="all-pages-reach-the-disk",
        claims=("a-lost-tail-leaves-a-sound-database",),
        notebook=WAL,
        file=WAL,
        old=r"log[: 32 + 4 * page] + bytes(page) + ",
        new=r"log[: 32 + 5 * page] + ",
    ),
    Mutation(
        name="journal-mode-not-switched",
        claims=("only-the-journal-mode-is-kept",),
        notebook=WAL,
        file=WAL,
        old=r"Settings(\"wal\", \"OFF\", foreign_keys=True)",
        new=r"Settings(\"delete\", \"OFF\", foreign_keys=True)",
    ),
    Mutation(
        name="backports-forgotten",
        claims=("versions-with-the-reset-bug",),
        notebook=WAL,
        file="helpers/doctor.py",
        old="WAL_RESET_BACKPORTS = {(3, 44): 6, (3, 50): 7}",
        new="WAL_RESET_BACKPORTS: dict[tuple[int, int], int] = {}",
    ),
    Mutation(
        name="report-with-the-write-lock",
        claims=("snapshot-first",),
        notebook=WAL_SOLVED,
        file=WAL_SOLVED,
        old=r"connection.execute(\"BEGIN\")",
        new=r"connection.execute(\"BEGIN IMMEDIATE\")",
    ),
    Mutation(
        name="report-of-one-account",
        claims=("one-statement",),
        notebook=WAL_SOLVED,
        file=WAL_SOLVED,
        old="sum(balance)",
        new="max(balance)",
    ),
    Mutation(
        name="one-order-of-the-report",
        claims=(
            "no-transaction-two-states",
            "one-begin-is-refused",
            "immediate-keeps-the-clerk-waiting",
            "retried-keeps-the-clerk-waiting",
        ),
        notebook=WAL_SOLVED,
        file="helpers/explorer/search.py",
        old="if node.position + 1 < len(node.options):",
        new="if False:",
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
