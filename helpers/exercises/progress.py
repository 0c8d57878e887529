"""Which exercises a learner has solved, and what comes next; notebook 00 shows it.

    progress.show()          # in a notebook of the course
    progress.reset()         # forget everything; progress.reset("04") forgets one exercise

A check that says *Solved* in a notebook of the course is kept in `.progress.sqlite` beside it, by
one statement in one transaction: two notebooks that pass in the same moment both count. Only
where a person runs the notebook: Jupyter's server names it in an environment variable (its
``SessionManager.get_kernel_env``), VS Code in a variable of the notebook. nbval and nbclient name
none, so tests neither write nor read anything, and `show` shows them a course not yet begun.
"""

from __future__ import annotations

import functools
import html
import inspect
import json
import os
import re
import sqlite3
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from helpers.databases import DATA
from helpers.exercises.verdict import Verdict

#: The environment variable that names another file to keep it in.
ENVIRONMENT = "SQLITE_UNDER_THREADS_PROGRESS"
FILE = ".progress.sqlite"
#: The first notebook, by which a folder of the course is known.
START = "00_start_here.ipynb"

#: Notebook -> the checks of its exercise, with the arguments that they are given there.
ASKED = {
    "01": ("check_under_load(strategy, workload)",),
    "02": ("check(labels)",),
    "03": ("check(jobs)",),
    "04": ("check(jobs)",),
    "05": ("check(labels)",),
    "06": ("check_strategy(strategy, contract)",),
    "07": ("check_strategy(strategy)", "check_closing(strategy)"),
    "08": ("check(transfer)",),
    "09": ("check(report)",),
    "10": ("check_strategy(strategy, journal_mode, promises)",),
    "11": ("check(jobs, share)",),
    "12": ("check_requests(application)",),
    "13": ("check_server(application, serve)",),
    "14": ("check_server(application, serve)",),
    "15": ("check_tasks(write)",),
    "16": ("check(answers)",),
    "17": ("check(text)",),
    "18": ("check(withdraw)",),
    "19": ("check_inventory(service)",),
}
_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS passed (notebook TEXT, name TEXT, PRIMARY KEY (notebook, name))",
    "CREATE TABLE IF NOT EXISTS predicted"
    " (notebook TEXT, question TEXT, was_right INTEGER, PRIMARY KEY (notebook, question))",
)
_NAME = re.compile(r"(\d\d)_.*\.ipynb")
_HEADING = re.compile(r"^## (.*\bExercise\b.*)$", re.MULTILINE)
_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")


@dataclass(frozen=True)
class Exercise:
    """One exercise of the course: its notebook's number, title and file, and its heading."""

    number: str
    title: str
    file: str
    heading: str


@dataclass(frozen=True)
class Progress:
    """What is solved, what comes next; its text is shown in a notebook.

    `solved` are numbers of notebooks; `predictions` and `right` count the predictions made, and
    those that were as observed at the first try.
    """

    exercises: tuple[Exercise, ...]
    solved: frozenset[str]
    predictions: int = 0
    right: int = 0

    @property
    def next(self) -> Exercise | None:
        """The first exercise that is not solved; None if all are."""
        return next((one for one in self.exercises if one.number not in self.solved), None)

    def __str__(self) -> str:
        numbers = [one.number for one in self.exercises if one.number in self.solved]
        names = f": {', '.join(numbers)}" if numbers else ""
        lines = [f"Solved: {len(numbers)} of {len(self.exercises)} exercises{names}"]
        if self.predictions:
            lines.append(f"Predictions: {self.right} of {self.predictions} as observed")
        ahead = self.next
        return "\n".join(
            [*lines, f"Next: {ahead.title}, {ahead.heading}" if ahead else "Well done."]
        )

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        lines = [html.escape(line) for line in str(self).splitlines()]
        if self.next:
            link = f'<a href="{_link(self.next)}">{lines[-1].removeprefix("Next: ")}</a>'
            lines[-1] = f"Next: {link}"
        boxes = " ".join(self._box(one) for one in self.exercises)
        return f"<p>{'<br>'.join(lines)}</p>\n<p>{boxes}</p>"

    def _box(self, one: Exercise) -> str:
        mark = "\N{BALLOT BOX WITH CHECK}" if one.number in self.solved else "\N{BALLOT BOX}"
        title = html.escape(one.title, quote=True)
        return f'<a href="{_link(one)}" title="{title}">{mark}&nbsp;{one.number}</a>'


def show() -> Progress:
    """What the person who runs this notebook has solved; nothing where no person does."""
    here = _here()
    folder = here[0] if here else DATA.parent / "notebooks"
    exercises = tuple(_exercises(folder))
    rows = _read(_file(folder)) if here and _file(folder).exists() else []
    passed = {(number, name) for number, name, right in rows if right is None}
    guesses = [right for _, _, right in rows if right is not None]
    solved = frozenset(
        number for number, asked in ASKED.items() if {(number, name) for name in asked} <= passed
    )
    return Progress(exercises, solved, len(guesses), sum(guesses))


def reset(number: str = "") -> Progress:
    """Forget what was solved and predicted, in all notebooks or in one; returns what is left.

    Args:
        number: two digits, as in the notebook's name; all notebooks if empty.

    Raises:
        ValueError: if no notebook with an exercise has that number.
    """
    if number and number not in ASKED:
        raise ValueError(f"no notebook {number!r} has an exercise: use one of {', '.join(ASKED)}")
    for table in ("passed", "predicted"):
        _store(f"DELETE FROM {table} WHERE ? IN ('', notebook)", number)
    return show()


def records(check: Callable[_Arguments, Verdict]) -> Callable[_Arguments, Verdict]:
    """A check whose verdicts are kept where they answer the exercise of the notebook that runs.

    Of an exercise with several checks, what passed is forgotten when another check fails before
    all have passed: the same attempt must pass them all.
    """

    @functools.wraps(check)
    def recorded(*arguments: _Arguments.args, **options: _Arguments.kwargs) -> Verdict:
        verdict = check(*arguments, **options)
        here = _here()
        asked = ASKED.get(here[1], ()) if here else ()
        if here and called(check, *arguments, **options) in asked:
            _judged(here[1], called(check, *arguments, **options), verdict.solved, len(asked))
        return verdict

    return recorded


def called(check: Callable[..., Any], *arguments: Any, **options: Any) -> str:
    """A check and the arguments that it is given, by their names: ``check(jobs, share)``."""
    given = inspect.signature(check).bind(*arguments, **options).arguments
    return f"{check.__name__}({', '.join(name for name in given if name != 'self')})"


def predicted(question: str, right: bool) -> None:
    """Keep what came of a prediction; the first time counts."""
    here = _here()
    if here:
        _store("INSERT OR IGNORE INTO predicted VALUES (?, ?, ?)", here[1], question, right)


def _judged(number: str, name: str, solved: bool, checks: int) -> None:
    if solved:
        _store("INSERT OR IGNORE INTO passed VALUES (?, ?)", number, name)
    else:
        left = "(SELECT count(*) FROM passed WHERE notebook = ?) < ?"
        _store(f"DELETE FROM passed WHERE notebook = ? AND {left}", number, number, checks)


def _here() -> tuple[Path, str] | None:
    """The folder and the number of the notebook that a person runs; None elsewhere."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    name = shell.user_ns.get("__vsc_ipynb_file__") if shell else None
    path = Path(name or os.environ.get("JPY_SESSION_NAME", ""))
    # Older servers name it from their own root; the kernel begins in the notebook's folder.
    folder = path.parent if path.is_absolute() else Path.cwd()
    number = _NAME.fullmatch(path.name)
    if number is None or not (folder / START).exists():  # a solution, or another course
        return None
    return folder, number[1]


def _file(folder: Path) -> Path:
    return Path(os.environ.get(ENVIRONMENT) or folder / FILE)


def _store(sql: str, *values: Any) -> None:
    """Run one statement in one transaction, where a person runs the notebook."""

    def store(connection: sqlite3.Connection) -> None:
        connection.execute("BEGIN IMMEDIATE")
        for table in _SCHEMA:
            connection.execute(table)
        connection.execute(sql, values)
        connection.execute("COMMIT")

    here = _here()
    if here:
        _with_connection(_file(here[0]), store, "Your progress is not kept")


def _read(file: Path) -> list[tuple[str, str, Any]]:
    """All rows: notebook, check, None; notebook, question, whether the prediction was right."""

    def read(connection: sqlite3.Connection) -> list[tuple[str, str, Any]]:
        if not connection.execute("SELECT 1 FROM sqlite_master").fetchone():
            return []
        both = "SELECT notebook, name, NULL FROM passed UNION ALL SELECT * FROM predicted"
        return connection.execute(both).fetchall()

    return _with_connection(file, read, "Your progress cannot be read") or []


def _with_connection(
    file: Path, work: Callable[[sqlite3.Connection], _Result], otherwise: str
) -> _Result | None:
    """What `work` returns; None, after a word on stderr, if the database refuses it."""
    if _damaged(file):
        _put_aside(file)
    try:
        with closing(sqlite3.connect(file, isolation_level=None)) as connection:
            return work(connection)
    except sqlite3.Error as error:
        print(f"{otherwise}: {file.name}: {error}.", file=sys.stderr)
        return None


def _damaged(path: Path) -> bool:
    """Whether the file is there and no database."""
    if not path.exists():
        return False
    try:
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            return connection.execute("PRAGMA quick_check").fetchall() != [("ok",)]
    except sqlite3.Error as error:
        codes = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
        return (getattr(error, "sqlite_errorcode", 0) & 0xFF) in codes


def _put_aside(path: Path) -> None:
    """Rename a damaged file; another notebook may be about to do the same.

    The lock is that of a second database, which the system gives back if this process ends.
    """
    turn = path.with_name(path.name + ".turn")
    try:
        with closing(sqlite3.connect(turn, isolation_level=None)) as lock:
            lock.execute("BEGIN EXCLUSIVE")
            if _damaged(path):  # else the other one has done it
                aside = _free(path)
                path.rename(aside)
                # A journal left here would be played back into the next database.
                with suppress(FileNotFoundError):
                    path.with_name(f"{path.name}-journal").rename(f"{aside}-journal")
                print(f"{path.name} was damaged. It is now {aside.name}.", file=sys.stderr)
        with suppress(OSError):  # Windows keeps it while another process has it open
            turn.unlink()
    except (sqlite3.Error, OSError) as error:
        print(f"{path.name} is damaged and could not be renamed: {error}.", file=sys.stderr)


def _free(path: Path) -> Path:
    names = (path.with_name(f"{path.name}.damaged-{number}") for number in range(1, 1000))
    return next(name for name in names if not name.exists())


def _exercises(folder: Path) -> Iterator[Exercise]:
    for path in sorted(folder.glob("[0-9][0-9]_*.ipynb")):
        # Not 04_lost_updates.mine-1.ipynb, nor -Copy1, as a reset and JupyterLab name theirs.
        if path.name[:2] in ASKED and re.fullmatch(r"[a-z0-9_]+", path.stem):
            texts = list(_prose(path))
            heading = next(iter(_HEADING.findall("\n".join(texts))), "")
            title = texts[0].partition("\n")[0].removeprefix("# ") if texts else path.stem
            yield Exercise(path.name[:2], title, path.name, heading)


def _prose(path: Path) -> Iterable[str]:
    try:
        notebook = json.loads(path.read_text(encoding="utf-8"))
        cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "markdown"]
        return ["".join(cell["source"]) for cell in cells]
    except (OSError, ValueError, KeyError, TypeError):
        return []  # the learner's own file, half written: its name must do


def _link(one: Exercise) -> str:
    anchor = f"#{one.heading.replace(' ', '-')}" if one.heading else ""
    return html.escape(one.file + anchor, quote=True)
