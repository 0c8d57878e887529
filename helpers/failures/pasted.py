"""What a pasted text holds: its messages, the statement that failed, the library in use.

Texts come from terminals, logs, notebooks and issue threads: with colours, HTML escapes, line
breaks in the middle of a message, frames of chained exceptions. Formats that were seen are in
``tests/failures/real_errors.jsonl``.
"""

from __future__ import annotations

import html
import re
import traceback
from collections.abc import Iterator, Mapping

#: Characters of a text that are looked at, from its end: the error is there.
LONGEST = 100_000

#: SQL that takes the write lock as UPDATE does -> what to take it for.
_AS_UPDATE = ("CREATE", "ALTER", "DROP", "REPLACE", "VACUUM", "REINDEX")
_STATEMENTS = ("SELECT", "INSERT", "UPDATE", "DELETE", "BEGIN", "COMMIT", "WITH", "PRAGMA")

#: SQLite's extended result codes, as drivers without names show them.
_CODES = {
    "261": "SQLITE_BUSY_RECOVERY",
    "262": "SQLITE_LOCKED_SHAREDCACHE",
    "517": "SQLITE_BUSY_SNAPSHOT",
}

#: An exception's line, however deep it is indented.
_RAISED = r"[ |+]*[\w.]*(?:Error|Exception|Warning)\b(?::|$)"

#: Library -> what in a text tells that it is used; the first that is found counts.
_LIBRARIES = {
    "django": r"\bdjango\b",
    "flask_sqlalchemy": r"flask_sqlalchemy|\bdb\.session\b",
    "peewee": r"\bpeewee\b",
    "sqlalchemy": r"sqlalche|\(sqlite3\.\w+Error\)",
    "aiosqlite": r"\baiosqlite\b",
}


def clean(text: str) -> str:
    """The text without terminal colours and HTML escapes; its end, if it is very long."""
    text = re.sub(r"\x1b\[[0-9;?]*[ -/]*[@-~]", "", text[-LONGEST:])
    return html.unescape(text).replace("\r\n", "\n").replace("\r", "\n").strip()


def messages(text: str) -> list[str]:
    """The lines of a cleaned text, with "" for those that are source code of a traceback."""
    lines, depth = [], -1
    for line in text.split("\n"):
        indent = len(line) - len(line.lstrip(" |+"))
        frame = re.match(r'[ |+]*File "', line)
        if frame:
            depth = indent
        elif indent <= depth or re.match(_RAISED, line):
            depth = -1
        lines.append("" if frame or depth >= 0 else line)
    return lines


def joined(lines: list[str]) -> str:
    """The lines as one: a message may have been broken, and its parts indented or quoted."""
    return " ".join(" ".join(line.strip(" \t|>\u2502") for line in lines).split())


def reworded(line: str, wordings: Mapping[str, str]) -> str:
    """The line with SQLite's own words for those of a driver (words -> pattern)."""
    for words, pattern in wordings.items():
        line = re.sub(pattern, words, line, flags=re.IGNORECASE)
    return line


def library(text: str) -> str:
    """The library through which SQLite was used: a key of the tables [fix.…]."""
    found = (name for name, pattern in _LIBRARIES.items() if re.search(pattern, text, re.I))
    return next(found, "sqlite3")


def hints(text: str, line: int) -> dict[str, str]:
    """Answers that the text itself suggests: an error name, the statement that failed.

    Args:
        text: the cleaned text.
        line: the number of the line with the message; frames after it are of a later exception.
    """
    found = {}
    names = re.findall(r"\bSQLITE_(?:BUSY|LOCKED|READONLY|CANTOPEN)_\w+", text)
    names += [
        _CODES[code] for code in re.findall(r"(?i)(?:code:? |error |\()(261|262|517)\b", text)
    ]
    if names:
        found["errorname"] = names[-1]
    if statement := _statement(text, line):
        found["at"] = statement
    return found


def _statement(text: str, line: int) -> str:
    """The kind of the statement that failed, "" if it is not seen."""
    logged = re.findall(r"\[SQL: *u?['\"]?\s*(\w+)\s*(\w*)", text)
    before = "\n".join(text.split("\n")[: line + 1])
    frames = re.findall(r'^[ |]*File ".*\n[ |]+(.*\S)', before, re.MULTILINE)
    place = frames[-1] if frames else ""
    if logged:
        return _kind(*logged[-1])
    if re.match(r"(?:async )?with\b", place):
        return "WITH"
    # A Session's commit writes, too: only the driver's is the statement.
    if re.search(r"(?<!session)\.commit\(", place, re.IGNORECASE):
        return "COMMIT"
    sql = re.findall(r"(?i)execute\w*\(\s*[rfu]?[\"']+\s*(\w+)\s*(\w*)", place)
    return _kind(*sql[-1]) if sql else ""


def _kind(word: str, following: str) -> str:
    word = "UPDATE" if word.upper() in _AS_UPDATE else word.upper()
    # Other PRAGMAs read, as SQLAlchemy's look at the tables does, and say nothing.
    if word == "PRAGMA" and following.lower() != "journal_mode":
        return ""
    return word if word in _STATEMENTS else ""


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """An exception and what it came from; SQLAlchemy keeps the driver's exception in `orig`."""
    seen: set[int] = set()
    waiting = [error]
    while waiting:
        one = waiting.pop()
        if isinstance(one, BaseException) and id(one) not in seen:
            seen.add(id(one))
            yield one
            waiting += [one.__context__, one.__cause__, getattr(one, "orig", None)]


def described(error: BaseException) -> str:
    """The exception as a traceback, its driver's exception included."""
    lines = traceback.format_exception(error)
    originals = [one for one in chain(error) if one is getattr(error, "orig", None)]
    # Not the last line: what the library says of it comes last.
    return "".join([*map(_one_line, originals), *lines])


def _one_line(error: BaseException) -> str:
    return "".join(traceback.format_exception_only(error))


def errorname_of(error: BaseException) -> dict[str, str]:
    """SQLite's name of the error, as an answer; empty if the driver gave none."""
    for one in chain(error):
        if name := getattr(one, "sqlite_errorname", None):
            return {"errorname": str(name)}
    return {}
