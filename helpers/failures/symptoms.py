"""What does this error mean? Paste it, and get the cause, the fix and the notebook that shows both.

`diagnose` takes a pasted traceback, an exception or a sentence, and looks it up in
``data/errors.toml``. Several causes share one text ("database is locked"): what tells them
apart is asked as one question, and answered by calling again with the answer::

    diagnose(error)
    diagnose(error, seen="at once", journal_mode="wal")
    diagnose(error, seen=UNKNOWN)       # says how to find out, and asks something else

What you answer excludes causes; what the text only suggests (a statement, a path) puts the more
likely ones first. `Diagnosis.confidence` says how sure the first one is. A text that matches
nothing is said to match nothing.
"""

from __future__ import annotations

import functools
import html
import re
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from helpers.databases import DATA
from helpers.failures import pasted

CATALOGUE = DATA / "errors.toml"

#: How many matches a diagnosis describes; the others are named.
SHOWN = 3

#: The answer to a question that cannot be answered yet.
UNKNOWN = "I don't know"

#: How sure the first match is.
ONE, LIKELY, UNSURE = "one cause fits", "most likely", "cannot tell"


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
    clue: str = ""
    follows: bool = False
    code: str = ""
    failures: tuple[str, ...] = ()

    @property
    def link(self) -> str:
        """The notebook's file name, for a link from beside it."""
        return f"{self.notebook}.ipynb"


@dataclass(frozen=True)
class Question:
    """What to ask to tell causes apart.

    Attributes:
        key: the name of the answer, a keyword of `diagnose`.
        options: the answers -> what each means, "" where it says so itself.
        find_out: what to do where the answer is not known.
    """

    key: str
    text: str
    options: Mapping[str, str]
    find_out: str

    def __str__(self) -> str:
        calls = {
            f'diagnose(..., {self.key}="{option}")': text for option, text in self.options.items()
        }
        width = max(map(len, calls))
        return "\n".join([self.text, *(f"  {c:{width}}  {calls[c]}".rstrip() for c in calls)])


@dataclass(frozen=True)
class Match:
    """An entry whose pattern was found, and the text that was found."""

    entry: Entry
    found: str


@dataclass(frozen=True)
class Diagnosis:
    """The matches, the best first, and the one question that would tell more.

    Attributes:
        candidates: how many of the matches share the message: the first ones.
        confidence: how sure the first match is: `ONE`, `LIKELY` or `UNSURE`; "" without one.
        question: what to ask next, None if nothing would tell more.
        library: what the text uses SQLite through, a key of the tables [fix.…].
        find_out: how to answer what was answered with `UNKNOWN`.
    """

    matches: tuple[Match, ...]
    candidates: int = 0
    confidence: str = ""
    question: Question | None = None
    library: str = "sqlite3"
    find_out: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.matches)

    @property
    def code(self) -> str:
        """The shortest fix as code to paste; "" if there is none."""
        variants = _catalogue().fixes.get(self.matches[0].entry.code, {}) if self.matches else {}
        usual = variants.get("sqlite3", variants.get("shell", ""))
        orm = {"flask_sqlalchemy": variants.get("sqlalchemy", usual)}
        return variants.get(self.library, orm.get(self.library, usual)).strip("\n")

    @property
    def heading(self) -> str:
        """How sure the first match is, in words."""
        if self.confidence == ONE:
            return "One cause fits."
        if self.candidates == 1:
            return "Most likely:"
        return {
            LIKELY: f"Most likely, of {self.candidates} possible causes:",
            UNSURE: f"Cannot tell yet: {self.candidates} possible causes, the most common first.",
        }[self.confidence]

    def report(self) -> str:
        """All but the question, as text."""
        if not self.matches:
            return (
                f"No match: the text is none of the {len(entries())} that this course knows.\n"
                "Paste the whole traceback, with its last line; or only the message, in SQLite's "
                "own words.\nSQLite's own list: https://www.sqlite.org/rescode.html"
            )
        first, *others = (match.entry for match in self.matches)
        parts = [self.heading, _block(first, self.code)]
        if others:
            lines = [f"  {entry.id}: {_sentence(entry.cause)}" for entry in others[: SHOWN - 1]]
            rest = ", ".join(entry.id for entry in others[SHOWN - 1 :])
            parts.append("\n".join(["Also possible:", *lines, *([f"  {rest}"] if rest else [])]))
        parts += [f"To find out: {text}" for text in self.find_out]
        return "\n\n".join(parts)

    def __str__(self) -> str:
        asked = f"\n\nTo tell them apart: {self.question}" if self.question else ""
        return self.report() + asked

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        if not self.matches:
            return f"<p>{html.escape(self.report())}</p>"
        first, *others = (match.entry for match in self.matches)
        code = f"<pre>{html.escape(self.code)}</pre>" if self.code else ""
        less = "".join(f"<li>{_brief(entry)}</li>" for entry in others[: SHOWN - 1])
        rest = ", ".join(html.escape(entry.id) for entry in others[SHOWN - 1 :])
        less += f"<li>{rest}</li>" if rest else ""
        less = f"<p>Also possible:</p><ul>{less}</ul>" if less else ""
        found = "".join(f"<p><i>To find out:</i> {html.escape(text)}</p>" for text in self.find_out)
        asked = f"<p><b>{html.escape(self.question.text)}</b></p>" if self.question else ""
        return f"<p><b>{self.heading}</b></p><p>{_full(first)}</p>{code}{less}{found}{asked}"


def _block(entry: Entry, code: str) -> str:
    indented = code.replace("\n", "\n         ").replace("\n         \n", "\n\n")
    return (
        f"{entry.id} ({entry.raiser})\n  cause: {entry.cause}\n  fix:   {entry.fix}\n"
        + (f"  code:  {indented}\n" if code else "")
        + f"  see:   notebooks/{entry.link}\n         {entry.source}"
    )


def _sentence(text: str) -> str:
    """The first sentence, or clause, of a cause."""
    return re.split(r"(?<=\w)[:.;] |\.$", text)[0] + "."


def _brief(entry: Entry) -> str:
    return f"<b>{html.escape(entry.id)}</b>: {html.escape(_sentence(entry.cause))}"


def _full(entry: Entry) -> str:
    cause, fix, link, source = map(html.escape, (entry.cause, entry.fix, entry.link, entry.source))
    return (
        f"<b>{html.escape(entry.id)}</b> ({html.escape(entry.raiser)})<br>{cause}<br>"
        f'<i>Fix:</i> {fix}<br><a href="{link}"><u>{link}</u></a>, '
        f'<a href="{source}"><u>source</u></a>'
    )


@dataclass(frozen=True)
class _Catalogue:
    """What ``data/errors.toml`` holds; see its head."""

    entries: tuple[Entry, ...]
    questions: Mapping[str, Question]
    fixes: Mapping[str, Mapping[str, str]]
    wordings: Mapping[str, str]


@functools.cache
def _catalogue(path: Path = CATALOGUE) -> _Catalogue:
    with open(path, "rb") as file:
        read = tomllib.load(file)
    found = [
        Entry(**{**item, "failures": tuple(item.get("failures", ()))}) for item in read["error"]
    ]
    questions = {key: Question(key, **item) for key, item in read["question"].items()}
    return _Catalogue(tuple(found), questions, read["fix"], read["wordings"])


def entries(path: Path = CATALOGUE) -> tuple[Entry, ...]:
    """The catalogue, in the order of the file: the more common cause of a text comes first.

    Raises:
        FileNotFoundError: if there is no such file.
    """
    return _catalogue(path).entries


#: Answer -> the question that it answers, in the order in which questions are asked.
QUESTIONS = _catalogue().questions


def diagnose(problem: str | BaseException, **answers: str) -> Diagnosis:
    """Look up an error.

    Args:
        problem: a traceback or a log as it was pasted, an exception, or a sentence.
        **answers: what is known besides, by the keys of `QUESTIONS`, and ``errorname``
            (the exception's `sqlite_errorname`); `UNKNOWN` for what is not known.

    Raises:
        TypeError: if `problem` is neither text nor an exception.
        ValueError: for an answer that no question has.
    """
    _check(answers)
    if isinstance(problem, BaseException):
        answers = {**pasted.errorname_of(problem), **answers}
        problem = pasted.described(problem)
    if not isinstance(problem, str):
        raise TypeError(f"give a text or an exception, not {type(problem).__name__}")
    text = pasted.clean(problem)
    found = _found(text)
    if not found:
        return Diagnosis(())
    # A message that only reports an earlier error does not hide that one.
    telling = [line for line, match in found if not match.entry.follows]
    last = max(telling or [line for line, _ in found])
    known = {key: answer for key, answer in answers.items() if answer != UNKNOWN}
    score = functools.partial(_score, known=known, hints=pasted.hints(text, last), text=text)
    best = _ranked([m for n, m in found if n == last and not (telling and m.entry.follows)], score)
    sharing = [match for match in best if match.found == best[0].found]
    shown = {match.found for match in best}
    return Diagnosis(
        (*best, *_ranked([match for _, match in found if match.found not in shown], score)),
        len(sharing),
        _confidence(sharing, score, text),
        _question([match.entry for match in sharing], answers),
        pasted.library(text),
        tuple(QUESTIONS[key].find_out for key, answer in answers.items() if answer == UNKNOWN),
    )


def _check(answers: Mapping[str, str]) -> None:
    for key, answer in answers.items():
        if key == "errorname":
            continue
        if key not in QUESTIONS:
            raise ValueError(f"unknown answer {key}=: use one of errorname, {', '.join(QUESTIONS)}")
        if answer not in [*QUESTIONS[key].options, UNKNOWN]:
            options = ", ".join(map(repr, [*QUESTIONS[key].options, UNKNOWN]))
            raise ValueError(f"{key} must be one of {options}, not {answer!r}")


# -- matching ------------------------------------------------------------------------------


def _found(text: str) -> list[tuple[int, Match]]:
    """Every entry whose pattern is in the text, with the number of the last line that has it."""
    lines = [pasted.reworded(line, _catalogue().wordings) for line in pasted.messages(text)]
    together = pasted.joined(lines)
    # A message that was broken is found in no line.
    return list(_in(lines, text)) or list(_in([*[""] * (len(lines) - 1), together], text))


def _in(lines: list[str], text: str) -> Iterator[tuple[int, Match]]:
    whole = "\n".join(lines)
    for entry in entries():
        if not re.search(entry.pattern, whole, re.IGNORECASE | re.MULTILINE):
            continue
        bare = entry.bare and "\n" not in text
        if entry.context and not (bare or re.search(entry.context, text, re.IGNORECASE)):
            continue
        for number in range(len(lines) - 1, -1, -1):
            if match := re.search(entry.pattern, lines[number], re.IGNORECASE):
                yield number, Match(entry, match[0].lower())
                break


def _conflicts(entry: Entry, known: Mapping[str, str]) -> int:
    wrong = sum(known.get(key, values[0]) not in values for key, values in entry.when.items())
    named = known.get("errorname", "")
    return wrong + 2 * bool(named and entry.errorname and entry.errorname != named)


def _agreements(entry: Entry, known: Mapping[str, str]) -> int:
    agreed = sum(known.get(key) in values for key, values in entry.when.items())
    return agreed + 2 * bool(entry.errorname and known.get("errorname") == entry.errorname)


_Score = tuple[int, ...]


def _score(match: Match, known: Mapping[str, str], hints: Mapping[str, str], text: str) -> _Score:
    """The more the better: what was answered comes first, what the text suggests last."""
    entry = match.entry
    clue = bool(entry.clue and re.search(entry.clue, text))
    suggested = _agreements(entry, hints) - _conflicts(entry, hints) + 2 * clue
    return (
        -_conflicts(entry, known),
        bool(entry.context),
        len(match.found),
        _agreements(entry, known),
        suggested,
    )


def _ranked(matches: Iterable[Match], score: Callable[[Match], _Score]) -> list[Match]:
    """The matches that conflict least with what is known, the best first."""
    ranked = sorted(matches, key=score, reverse=True)
    return [match for match in ranked if score(match)[0] == score(ranked[0])[0]]


def _confidence(sharing: list[Match], score: Callable[[Match], _Score], text: str) -> str:
    """How sure the first of those that share a message is."""
    entry = sharing[0].entry
    if len(sharing) == 1:
        return LIKELY if entry.bare and not re.search(entry.context, text, re.I) else ONE
    return LIKELY if score(sharing[0]) > score(sharing[1]) else UNSURE


def _question(candidates: list[Entry], asked: Mapping[str, str]) -> Question | None:
    """The question whose worst answer leaves the fewest candidates; None if none leaves fewer."""
    best, fewest = None, len(candidates)
    for key, question in QUESTIONS.items():
        if key in asked:
            continue
        left = [
            sum(option in entry.when.get(key, [option]) for entry in candidates)
            for option in question.options
        ]
        if any(key in entry.when for entry in candidates) and 0 < max(left) < fewest:
            best, fewest = question, max(left)
    return best
