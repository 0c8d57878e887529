"""What does this error mean? Paste it, and get the cause, the fix and the notebook that shows both.

`diagnose` takes a pasted traceback, an exception or a sentence, and looks it up in
``data/errors.toml``. Several causes share one text ("database is locked"): what tells them
apart is asked as one question, and answered by calling again with the answer::

    diagnose(error)
    diagnose(error, waited="at once", journal_mode="wal")

A text that matches nothing is said to match nothing.
"""

from __future__ import annotations

import functools
import html
import re
import tomllib
import traceback
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from helpers.databases import DATA

CATALOGUE = DATA / "errors.toml"

#: How many matches a diagnosis shows.
SHOWN = 3

#: Characters of a text that are looked at, from its end: the error is there.
LONGEST = 100_000


@dataclass(frozen=True)
class Entry:
    """One cause of one error message; see the head of ``data/errors.toml``."""

    id: str
    raiser: str
    pattern: str
    example: str
    cause: str
    fix: str
    notebook: str
    source: str
    errorname: str = ""
    when: Mapping[str, list[str]] = field(default_factory=dict)
    context: str = ""
    bare: bool = False
    failures: tuple[str, ...] = ()

    @property
    def link(self) -> str:
        """The notebook's file name, for a link from beside it."""
        return f"{self.notebook}.ipynb"


@dataclass(frozen=True)
class Question:
    """What to ask to tell causes apart: the name of the answer, the question, its options."""

    key: str
    text: str
    options: tuple[str, ...]

    def __str__(self) -> str:
        choices = " | ".join(f'{self.key}="{option}"' for option in self.options)
        return f"{self.text}\n  diagnose(..., {choices})"


_STATEMENTS = ("SELECT", "INSERT", "UPDATE", "DELETE", "BEGIN", "COMMIT", "WITH", "PRAGMA")
_QUESTIONS = [
    Question("waited", "How long did it wait before it failed?", ("at once", "the timeout")),
    Question("timeout", "Which timeout does the connection have?", ("0", "more than 0")),
    Question(
        "at",
        "At which statement did it fail (WITH: at the end of 'with connection:')?",
        _STATEMENTS,
    ),
    Question(
        "journal_mode",
        "What does PRAGMA journal_mode answer?",
        ("delete", "wal", "truncate", "persist", "memory"),
    ),
    Question(
        "holder",
        "What has the other thread done with its transaction?",
        ("is working", "has committed", "failed", "changed nothing", "ended"),
    ),
    Question("shared_cache", "Was it opened with cache=shared?", ("yes", "no")),
    Question("autocommit", "What is connection.autocommit?", ("False", "not False")),
    Question("database", "Is it a database in memory?", (":memory:", "a file")),
    Question("file_replaced", "Was the file deleted or replaced while open?", ("yes", "no")),
]
#: Answer -> the question that it answers, in the order in which questions are asked.
QUESTIONS = {question.key: question for question in _QUESTIONS}


@dataclass(frozen=True)
class Match:
    """An entry whose pattern was found, and the text that was found."""

    entry: Entry
    found: str

    def __str__(self) -> str:
        entry = self.entry
        return (
            f"{entry.id} ({entry.raiser})\n  cause: {entry.cause}\n  fix:   {entry.fix}\n"
            f"  see:   notebooks/{entry.link}\n         {entry.source}"
        )


@dataclass(frozen=True)
class Diagnosis:
    """The best matches, the best first, and the one question that would tell more."""

    matches: tuple[Match, ...]
    question: Question | None = None

    def __bool__(self) -> bool:
        return bool(self.matches)

    def __str__(self) -> str:
        if not self.matches:
            return f"No match: the text is none of the {len(entries())} that this course knows."
        shown = [str(match) for match in self.matches[:SHOWN]]
        hidden = len(self.matches) - len(shown)
        parts = [f"{len(self.matches)} possible causes" if len(self.matches) > 1 else "1 cause"]
        parts += shown + ([f"... and {hidden} more"] if hidden else [])
        if self.question:
            parts.append(f"To tell them apart: {self.question}")
        return "\n\n".join(parts)

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        if not self.matches:
            return f"<p>{html.escape(str(self))}</p>"
        items = "".join(_item(match.entry) for match in self.matches[:SHOWN])
        asked = f"<p><b>{html.escape(self.question.text)}</b></p>" if self.question else ""
        return f"<ol>{items}</ol>{asked}"


def _item(entry: Entry) -> str:
    cause, fix, link, source = map(html.escape, (entry.cause, entry.fix, entry.link, entry.source))
    return (
        f"<li><b>{html.escape(entry.id)}</b> ({html.escape(entry.raiser)})<br>{cause}<br>"
        f'<i>Fix:</i> {fix}<br><a href="{link}">{link}</a>, <a href="{source}">source</a></li>'
    )


@functools.cache
def entries(path: Path = CATALOGUE) -> tuple[Entry, ...]:
    """The catalogue, in the order of the file: the more common cause of a text comes first.

    Raises:
        FileNotFoundError: if there is no such file.
    """
    with open(path, "rb") as file:
        found = tomllib.load(file)["error"]
    return tuple(Entry(**{**item, "failures": tuple(item.get("failures", ()))}) for item in found)


def diagnose(problem: str | BaseException, **answers: str) -> Diagnosis:
    """Look up an error.

    Args:
        problem: a traceback or a log as it was pasted, an exception, or a sentence.
        **answers: what is known besides, by the keys of `QUESTIONS`, and ``errorname``
            (the exception's `sqlite_errorname`).

    Raises:
        TypeError: if `problem` is neither text nor an exception.
        ValueError: for an answer that no question has.
    """
    _check(answers)
    if isinstance(problem, BaseException):
        answers = {**_errorname_of(problem), **answers}
        problem = _described(problem)
    if not isinstance(problem, str):
        raise TypeError(f"give a text or an exception, not {type(problem).__name__}")
    text = clean(problem)
    known = {**_hints(text), **answers}
    found = list(_found(text))
    if not found:
        return Diagnosis(())
    last = max(line for line, _ in found)
    best = _fitting([match for line, match in found if line == last], known)
    earlier = [match for line, match in found if line < last]
    others = [match for match in earlier if match.found not in {m.found for m in best}]
    question = _question([match.entry for match in best if match.found == best[0].found], known)
    return Diagnosis((*best, *_fitting(others, known)), question)


def clean(text: str) -> str:
    """The text with plain line ends, without terminal colours; its end, if it is very long."""
    text = re.sub(r"\x1b\[[0-9;?]*[ -/]*[@-~]", "", text[-LONGEST:])
    return text.replace("\r\n", "\n").replace("\r", "\n").strip()


def _check(answers: Mapping[str, str]) -> None:
    for key, answer in answers.items():
        if key == "errorname":
            continue
        if key not in QUESTIONS:
            raise ValueError(f"unknown answer {key}=: use one of errorname, {', '.join(QUESTIONS)}")
        if answer not in QUESTIONS[key].options:
            options = ", ".join(map(repr, QUESTIONS[key].options))
            raise ValueError(f"{key} must be one of {options}, not {answer!r}")


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An exception and what it came from; SQLAlchemy keeps the driver's exception in `orig`."""
    seen: set[int] = set()
    waiting = [error]
    while waiting:
        one = waiting.pop()
        if isinstance(one, BaseException) and id(one) not in seen:
            seen.add(id(one))
            yield one
            waiting += [one.__context__, one.__cause__, getattr(one, "orig", None)]


def _errorname_of(error: BaseException) -> dict[str, str]:
    for one in _chain(error):
        if name := getattr(one, "sqlite_errorname", None):
            return {"errorname": str(name)}
    return {}


def _described(error: BaseException) -> str:
    """The exception as a traceback, its driver's exception included."""
    lines = traceback.format_exception(error)
    originals = [one for one in _chain(error) if one is getattr(error, "orig", None)]
    # Not the last line: what the library says of it comes last.
    return "".join([*map(_one_line, originals), *lines])


def _one_line(error: BaseException) -> str:
    return "".join(traceback.format_exception_only(error))


# -- matching ------------------------------------------------------------------------------


def _messages(text: str) -> list[str]:
    """Lines that may hold a message: of a traceback, not its source lines."""
    lines = text.split("\n")
    if not re.search(r"^\s*(?:[+|] *)*Traceback \(most recent call last\)", text, re.MULTILINE):
        return lines
    return [line for line in lines if not re.match(r"[\s|+]*(?:File \"|\^|~)|\s{4,}\S", line)]


def _found(text: str) -> Iterator[tuple[int, Match]]:
    """Every entry whose pattern is in the text, with the number of the last line that has it."""
    lines = _messages(text)
    alone = "\n" not in text
    for entry in entries():
        allowed = bool(re.search(entry.context, text, re.IGNORECASE)) or (alone and entry.bare)
        if entry.context and not allowed:
            continue
        for number in range(len(lines) - 1, -1, -1):
            if match := re.search(entry.pattern, lines[number], re.IGNORECASE):
                yield number, Match(entry, match[0].lower())
                break


def _hints(text: str) -> dict[str, str]:
    """Answers that the text itself holds: an error name, the statement that failed."""
    hints = {}
    if name := re.findall(r"\b(SQLITE_(?:BUSY|LOCKED|READONLY|CANTOPEN)\w*)", text):
        hints["errorname"] = name[-1]
    frames = re.findall(r'^[ |]*File ".*\n[ |]+(.*\S)', text, re.MULTILINE)
    place = frames[-1] if frames else ""
    statements = re.findall(r"\[SQL: (\w+)", text)
    if re.match(r"(?:async )?with\b", place):
        hints["at"] = "WITH"
    elif re.search(r"\.commit\(", place) and not statements:
        hints["at"] = "COMMIT"
    else:
        statements = statements or re.findall(r"execute\w*\(\s*[rf]?[\"']+\s*(\w+)", place)
    if statements and statements[-1].upper() in _STATEMENTS:
        hints["at"] = statements[-1].upper()
    return hints


def _conflicts(entry: Entry, known: Mapping[str, str]) -> int:
    wrong = sum(known.get(key, values[0]) not in values for key, values in entry.when.items())
    named = known.get("errorname", "")
    return wrong + 2 * bool(named and entry.errorname and entry.errorname != named)


def _agreements(entry: Entry, known: Mapping[str, str]) -> int:
    agreed = sum(known.get(key) in values for key, values in entry.when.items())
    return agreed + 2 * bool(entry.errorname and known.get("errorname") == entry.errorname)


def _fitting(matches: Iterable[Match], known: Mapping[str, str]) -> list[Match]:
    """The matches that conflict least with what is known, the best first."""
    ranked = sorted(
        matches,
        key=lambda match: (
            _conflicts(match.entry, known),
            -bool(match.entry.context),
            -len(match.found),
            -_agreements(match.entry, known),
        ),
    )
    if not ranked:
        return []
    least = _conflicts(ranked[0].entry, known)
    return [match for match in ranked if _conflicts(match.entry, known) == least]


def _question(candidates: list[Entry], known: Mapping[str, str]) -> Question | None:
    """The question whose worst answer leaves the fewest candidates; None if none leaves fewer."""
    best, fewest = None, len(candidates)
    for key, question in QUESTIONS.items():
        if key in known:
            continue
        left = [
            sum(option in entry.when.get(key, [option]) for entry in candidates)
            for option in question.options
        ]
        if any(key in entry.when for entry in candidates) and 0 < max(left) < fewest:
            best, fewest = question, max(left)
    return best
